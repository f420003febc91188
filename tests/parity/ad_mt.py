"""AD-MT, derived pixel by pixel."""

import math

import torch
from parity.fixmatch import dice_of, from_before
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, random_blur, random_colour, strong_stain

VARIANTS = ("no_threshold", "view_he")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    u, n = batch.u, len(batch.x)
    answers = [teacher.net(u).softmax(1).detach() for teacher in method.teachers]
    method.student.eval()
    own = method.student(u).softmax(1).detach()
    method.student.train()
    y, confidence = settled(*answers, own, method.exchange)
    areas = torch.tensor([1 - sorted(row.tolist())[3] for row in torch.rand(len(u), 7)])
    where = boxes(u, area=areas, aspect=(1, 1), p=1)
    coloured = strong_stain(u) if method.view is strong_stain else random_blur(random_colour(u, grey=0.0), p=0.2)
    view = coloured
    if not method.first:
        view, y, confidence = (from_before(values, where) for values in (u, y, confidence))
    z = method.student(torch.cat([batch.x, view]))
    strength = 2 * ramp(min(t / 0.25, 1.0))
    return {"sup": sup(z[:n], batch.y), "pseudo": strength * dice_of(z[n:], y, confidence, method.threshold)}


def settled(p: Tensor, q: Tensor, own: Tensor, exchange: bool) -> tuple[Tensor, Tensor]:
    """Labels and confidences of the ensemble, or the student's where teachers disagree and it is more confident."""
    n, _, height, width = p.shape
    labels, confidences = torch.zeros(n, height, width, dtype=torch.long), torch.zeros(n, height, width)
    confidences, exchanged = confidences.to(p.dtype), 0
    for i in range(n):
        for r in range(height):
            for c in range(width):
                one, two, mine = (values[i, :, r, c].tolist() for values in (p, q, own))
                w, v = (math.exp(sum(x * math.log2(x) for x in values)) for values in (one, two))
                mean = [(w * a + v * b) / (w + v) for a, b in zip(one, two, strict=True)]
                label, confidence = mean.index(max(mean)), max(mean)
                apart = one.index(max(one)) != two.index(max(two))
                if exchange and apart and mine.index(max(mine)) != label and max(mine) > confidence:
                    label, confidence, exchanged = mine.index(max(mine)), max(mine), exchanged + 1
                labels[i, r, c], confidences[i, r, c] = label, confidence
    assert exchanged or not exchange, "no conflict is settled by the student here"
    return labels, confidences
