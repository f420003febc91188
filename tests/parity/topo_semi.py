"""TopoSemiSeg, with components found by raising one pixel after the other above the water."""

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import strong


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    labelled, classes = len(batch.x), method.student.decoder.head[1].out_channels
    z = method.student(torch.cat([batch.x, strong(batch.u)]))
    p, q = torch.softmax(z[labelled:], 1), torch.softmax(method.teacher.net(batch.u).detach(), 1)
    squares = [((p[:, c] - q[:, c]) ** 2).mean() for c in range(classes)]
    topo = 0 * z.sum()
    for mine, its in zip(p, q, strict=True):  # a tile of 100 pixels holds the whole crop
        topo = topo + topological(1 - mine[0], 1 - its[0]) / len(p)
    return {
        "sup": sup(z[:labelled], batch.y),
        "consistency": 0.1 * ramp(t) * sum(squares) / classes,
        "topo": 0.002 * topo,
    }


def topological(f: Tensor, q: Tensor) -> Tensor:
    mine, its = risen(f), risen(q)
    signal = [point for point in mine if value(f, point[0]) - value(f, point[1]) > 0.7]
    theirs = [point for point in its if value(q, point[0]) - value(q, point[1]) > 0.7]
    partner = assigned(f, signal, q, theirs)
    total = 0 * f.sum()
    for point in mine:
        b, d = point
        to_b, to_d = value(f, d), value(f, b)
        if point in partner:
            to_b, to_d = value(q, partner[point][0]), value(q, partner[point][1])
        total = total + (f[b] - to_b) ** 2
        if d is not None:
            total = total + (f[d] - to_d) ** 2
    return total


def value(f: Tensor, place: tuple[int, int] | None) -> float:
    return 0.0 if place is None else f[place].item()


def risen(f: Tensor) -> list[tuple]:
    """(birth, death) of each component, with a list of pixels for each one above water."""
    height, width = f.shape
    levels = f.detach().tolist()
    owner: dict[tuple[int, int], list] = {}
    points = []
    places = [(r, c) for r in range(height) for c in range(width)]
    for r, c in sorted(places, key=lambda place: -levels[place[0]][place[1]]):
        beside = [owner[place] for place in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)) if place in owner]
        tops = sorted({component[0] for component in beside}, key=lambda top: -levels[top[0]][top[1]])
        whole = next((component for component in beside if component[0] == tops[0]), [])
        for top in tops[1:]:
            points.append((top, (r, c)))
            lesser = next(component for component in beside if component[0] == top)
            whole += lesser
            owner.update(dict.fromkeys(lesser, whole))
        whole.append((r, c))
        owner[r, c] = whole
    return [*points, (owner[0, 0][0], None)]


def assigned(f: Tensor, signal: list, q: Tensor, theirs: list) -> dict:
    """The cheapest partners among all ways to give each signal point one of theirs or none."""
    best, cheapest = {}, float("inf")
    stack = [({}, 0.0, list(theirs), list(signal))]
    while stack:
        partner, cost, left, todo = stack.pop()
        if not todo:
            cost += sum((value(q, b) - value(q, d)) / 2 for b, d in left)
            best, cheapest = (partner, cost) if cost < cheapest else (best, cheapest)
            continue
        (b, d), *rest = todo
        stack.append((partner, cost + (value(f, b) - value(f, d)) / 2, left, rest))
        for other in left:
            apart = max(abs(value(f, b) - value(q, other[0])), abs(value(f, d) - value(q, other[1])))
            stack.append(({**partner, (b, d): other}, cost + apart, [one for one in left if one != other], rest))
    return best
