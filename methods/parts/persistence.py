"""How the bright components of an image are born and die as its level falls: 0-dimensional persistence, on the host.

Components of {p ≥ level}, by four neighbours: each appears at a local maximum and dies at the saddle where it meets one
that appeared at a higher level (Edelsbrunner & Harer, "Computational topology", 2010).
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Places = Int[np.ndarray, "k"]  # of pixels, row by row
Values = Float[np.ndarray, "k"]
Pairs = Int[np.ndarray, "m 2"]


def components(p: Float[np.ndarray, "h w"]) -> tuple[Places, Places]:
    """Where each component is born and dies; the highest never dies, −1. Those that die at birth are left out.

    Every pixel first climbs to a maximum along its best neighbours, all pixels at once; union-find then joins these
    basins in the order of their saddles, so that its loop is over neighbouring maxima and not over pixels.
    """
    order = np.argsort(-p, axis=None, kind="stable")  # of equal pixels the first counts as the higher
    rank = np.empty(p.size, np.int64)
    rank[order] = np.arange(p.size)
    grid = np.pad(rank.reshape(p.shape), 1, constant_values=p.size)
    around = grid[1:-1, 1:-1], grid[:-2, 1:-1], grid[2:, 1:-1], grid[1:-1, :-2], grid[1:-1, 2:]
    peak = np.minimum.reduce(around).ravel()[order]  # of each rank the best rank around it, and so on upwards
    while ((higher := peak[peak]) != peak).any():
        peak = higher
    beside = np.concatenate([np.stack([grid[1:-1, 1:-2], grid[1:-1, 2:-1]]).reshape(2, -1),
                             np.stack([grid[1:-2, 1:-1], grid[2:-1, 1:-1]]).reshape(2, -1)], 1)  # fmt: skip
    basins, saddle = np.sort(peak[beside], 0), beside.max(0)
    edges = np.unique(np.stack([saddle, *basins])[:, basins[0] != basins[1]], axis=1)
    death = {int(top): -1 for top in np.flatnonzero(peak == np.arange(p.size))}
    joined = {top: top for top in death}

    def oldest(top: int) -> int:
        while joined[top] != top:
            joined[top] = top = joined[joined[top]]
        return top

    for level, one, other in edges.T.tolist():
        old, young = sorted((oldest(one), oldest(other)))
        if old != young:
            joined[young], death[young] = old, level
    born, dead = order[list(death)], np.array([order[level] if level >= 0 else -1 for level in death.values()])
    lasting = (dead < 0) | (p.flat[born] > p.flat[dead])
    return born[lasting], dead[lasting]


def matched(births: Values, deaths: Values, other_births: Values, other_deaths: Values) -> Pairs:
    """The pairs of the 1-Wasserstein matching of two persistence diagrams with distances max(|Δbirth|, |Δdeath|).

    What is in no pair is matched with the diagonal, at half its persistence.
    """
    apart = np.maximum(abs(births[:, None] - other_births), abs(deaths[:, None] - other_deaths))
    alone = (births - deaths)[:, None] / 2 + (other_births - other_deaths) / 2
    gain = np.minimum(apart - alone, 0)
    mine, its = linear_sum_assignment(gain)
    return np.stack([mine, its], 1)[gain[mine, its] < 0]


@torch.library.custom_op("methods::topological_pulls", mutates_args=())
def pulls(f: Tensor, q: Tensor, active: Tensor, threshold: float, tile: int) -> Tensor:
    """How often each pixel of f is pulled, the sum of the values that it is pulled to, and the sum of their squares.

    (n, h, w) and (n, h, w) -> (3, n, h, w); zeros unless `active`, a truth value without dimensions. An operator of its
    own, because a graph cannot hold what it does on the host.
    """
    if not active:
        return f.new_zeros(3, *f.shape)
    student, teacher = torch.stack([f, q]).cpu().numpy()
    maps = np.zeros((3, *student.shape), student.dtype)
    for i, row, column in np.ndindex(len(f), -(-f.shape[1] // tile), -(-f.shape[2] // tile)):
        here = np.s_[i, row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        where, values = targets(student[here], teacher[here], threshold)
        where = np.unravel_index(where, student[here].shape)
        for power in range(3):
            np.add.at(maps[power][here], where, values**power)
    return torch.from_numpy(maps).to(f.device)


@pulls.register_fake
def _(f: Tensor, q: Tensor, active: Tensor, threshold: float, tile: int) -> Tensor:
    return f.new_empty(3, *f.shape)


def targets(f: np.ndarray, q: np.ndarray, threshold: float) -> tuple[Places, Values]:
    """The pixels of one tile of f at which components are born or die, and what each is pulled to."""
    (born, dead), (their_born, their_dead) = components(f), components(q)
    birth, death = f.flat[born], np.where(dead < 0, 0, f.flat[dead])
    their_birth, their_death = q.flat[their_born], np.where(their_dead < 0, 0, q.flat[their_dead])
    signal, theirs = np.flatnonzero(birth - death > threshold), np.flatnonzero(their_birth - their_death > threshold)
    pairs = matched(birth[signal], death[signal], their_birth[theirs], their_death[theirs])
    mine, its = signal[pairs[:, 0]], theirs[pairs[:, 1]]
    to_birth, to_death = death.copy(), birth.copy()
    to_birth[mine], to_death[mine] = their_birth[its], their_death[its]
    dies = dead >= 0
    return np.concatenate([born, dead[dies]]), np.concatenate([to_birth, to_death[dies]])
