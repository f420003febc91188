"""0-dimensional persistence, on the host: births and deaths of the bright components of an image as the level falls.

Components are those of {p ≥ level} with four neighbours. Each is born at a local maximum and dies at the saddle where
it meets a component that was born at a higher level (Edelsbrunner & Harer, "Computational topology", 2010).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Places = Int[np.ndarray, "k"]  # indices of pixels, row by row
Values = Float[np.ndarray, "k"]
Pairs = Int[np.ndarray, "m 2"]


def components(p: Float[np.ndarray, "h w"]) -> tuple[Places, Places]:
    """The places where each component is born and dies; −1 for the highest, which never dies.

    Components that die at birth are left out. First every pixel is assigned to a maximum along its highest neighbours,
    for all pixels at once. Then these basins join, many at once: if the highest saddle of a basin leads to a higher
    maximum, the basin dies there, and its other saddles become those of the basin that it has joined (as in Borůvka's
    algorithm).
    """
    order = np.argsort(-p, axis=None, kind="stable")  # of equal pixels the first one counts as higher
    rank = np.empty(p.size, np.int64)
    rank[order] = np.arange(p.size)
    grid = np.pad(rank.reshape(p.shape), 1, constant_values=p.size)
    around = grid[1:-1, 1:-1], grid[:-2, 1:-1], grid[2:, 1:-1], grid[1:-1, :-2], grid[1:-1, 2:]
    peak = np.minimum.reduce(around).ravel()[order]  # for each rank the best rank in its neighbourhood
    while ((higher := peak[peak]) != peak).any():
        peak = higher
    first = np.concatenate([grid[1:-1, 1:-2].ravel(), grid[1:-2, 1:-1].ravel()])
    second = np.concatenate([grid[1:-1, 2:-1].ravel(), grid[2:-1, 1:-1].ravel()])
    tops = np.flatnonzero(peak == np.arange(p.size))
    basin = np.cumsum(peak == np.arange(p.size))[peak] - 1  # the place of each rank's maximum in `tops`
    death = _deaths(len(tops), basin[first], basin[second], np.maximum(first, second))
    born, dead = order[tops], np.where(death < 0, -1, order[death])
    lasting = (dead < 0) | (p.flat[born] > p.flat[dead])
    return born[lasting], dead[lasting]


def _deaths(count: int, first: Places, second: Places, saddle: Places) -> Places:
    """For each of the basins 0, 1, … (from high to low) the level where it joins a higher one; −1 if it never does.

    Basins `first` and `second` meet at level `saddle`, a rank: 0 is the highest.
    """
    death, into = np.full(count, -1), np.arange(count)
    while len(saddle := saddle[apart := first != second]):
        old, young = np.minimum(first[apart], second[apart]), np.maximum(first[apart], second[apart])
        highest = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(highest, old, saddle)
        np.minimum.at(highest, young, saddle)
        dies = saddle == highest[young]
        death[young[dies]], into[young[dies]] = saddle[dies], old[dies]
        while ((root := into[into]) != into).any():
            into = root
        first, second = into[old], into[young]
    return death


def matched(births: Values, deaths: Values, other_births: Values, other_deaths: Values) -> Pairs:
    """The pairs of the 1-Wasserstein matching of two persistence diagrams with distances max(|Δbirth|, |Δdeath|).

    Points without a pair are matched with the diagonal, at half their persistence.
    """
    pair_cost = np.maximum(abs(births[:, None] - other_births), abs(deaths[:, None] - other_deaths))
    diagonal_cost = (births - deaths)[:, None] / 2 + (other_births - other_deaths) / 2
    gain = np.minimum(pair_cost - diagonal_cost, 0)
    rows, columns = linear_sum_assignment(gain)
    return np.stack([rows, columns], 1)[gain[rows, columns] < 0]


@torch.library.custom_op("methods::topological_pulls", mutates_args=())
def pulls(f: Tensor, q: Tensor, active: Tensor, threshold: float, tile: int) -> Tensor:
    """For each pixel of f the number of its target values, their sum, and the sum of their squares.

    (n, h, w) and (n, h, w) -> (3, n, h, w); zeros unless `active`, a 0-dimensional boolean, is True. This is a custom
    operator, because a CUDA graph cannot contain its computation on the host.
    """
    if not active:
        return f.new_zeros(3, *f.shape)
    student, teacher = torch.stack([f, q]).cpu().numpy()
    maps = np.zeros((3, *student.shape), student.dtype)
    tiles = [
        np.s_[i, row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        for i, row, column in np.ndindex(len(f), -(-f.shape[1] // tile), -(-f.shape[2] // tile))
    ]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # NumPy lets them compute at the same time
        found = list(threads.map(lambda here: targets(student[here], teacher[here], threshold), tiles))
    for here, (where, values) in zip(tiles, found, strict=True):
        where = np.unravel_index(where, student[here].shape)
        for power in range(3):
            np.add.at(maps[power][here], where, values**power)
    return torch.from_numpy(maps).to(f.device)


@pulls.register_fake
def _(f: Tensor, q: Tensor, active: Tensor, threshold: float, tile: int) -> Tensor:
    return f.new_empty(3, *f.shape)


def targets(f: np.ndarray, q: np.ndarray, threshold: float) -> tuple[Places, Values]:
    """The pixels of one tile of f where components are born or die, and the target value of each."""
    (born, dead), (teacher_born, teacher_dead) = components(f), components(q)
    birth, death = f.flat[born], np.where(dead < 0, 0, f.flat[dead])
    teacher_birth, teacher_death = q.flat[teacher_born], np.where(teacher_dead < 0, 0, q.flat[teacher_dead])
    signal, teacher_signal = (
        np.flatnonzero(birth - death > threshold),
        np.flatnonzero(teacher_birth - teacher_death > threshold),
    )
    pairs = matched(birth[signal], death[signal], teacher_birth[teacher_signal], teacher_death[teacher_signal])
    matched_student, matched_teacher = signal[pairs[:, 0]], teacher_signal[pairs[:, 1]]
    to_birth, to_death = death.copy(), birth.copy()
    to_birth[matched_student], to_death[matched_student] = (
        teacher_birth[matched_teacher],
        teacher_death[matched_teacher],
    )
    dies = dead >= 0
    return np.concatenate([born, dead[dies]]), np.concatenate([to_birth, to_death[dies]])
