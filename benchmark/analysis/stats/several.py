"""Several methods at once: adjusted p-values, the methods that are tied with the best, average ranks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from benchmark.analysis.stats.intervals import Difference


def holm(p: Sequence[float] | Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """p-values adjusted so that any of them below a level is wrong at most at that level (Holm, 1979); nan stays."""
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    order = [i for i in np.argsort(p) if not np.isnan(p[i])]
    factors = np.arange(len(order), 0, -1)
    if order:
        adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def worse_than_best(differences: Sequence[Difference]) -> Float[np.ndarray, "k"]:
    """Adjusted p of each of k methods being no worse than the best, from `paired_difference(method, best)` of each.

    The best is one of them: its difference from itself is 0 with p 1 (or nan), and its p here is 1. Because the best is
    chosen by the same data, the ordinary test against it is wrong too often, with Holm's adjustment, too. Here a
    difference's p, as a normal deviate times √2, is held against the range of k equal methods (Tukey), stepped down as
    Holm does: the worst is compared as one of k, the next as one of k − 1 and so on, and none has a smaller p than one
    that is worse. Those below 0.05 are outside the tie group. A difference that cannot be tested has 1.
    """
    mean = np.array([d.mean for d in differences], dtype=np.float64)
    p = np.array([d.p for d in differences], dtype=np.float64)
    deviates = np.where((mean < 0) & ~np.isnan(p), -ndtri(np.clip(p, 1e-300, 1) / 2), 0)
    order = np.argsort(-deviates, kind="stable")
    adjusted = np.ones(len(differences))
    methods = len(differences) - np.arange(len(differences))
    alone = methods < 2  # what is left when all others are out
    adjusted[order] = np.maximum.accumulate(np.where(alone, 1, _range_tail(np.sqrt(2) * deviates[order], methods)))
    return adjusted


def _range_tail(ranges: Float[np.ndarray, "k"], methods: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """How probable it is that the range of so many standard normal variables is larger.

    With z the largest of k, all others below it (Φ(z)^{k−1}) but not all within the range (Φ(z) − Φ(z − r))^{k−1}.
    """
    z = np.linspace(-9, 9, 2001)  # the trapezoidal rule is exact to rounding for functions that vanish at both ends
    k, below = methods[:, None], ndtr(z)
    within = below - ndtr(z - ranges[:, None])
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.minimum(k[:, 0] * ((below ** (k - 1) - within ** (k - 1)) * density).sum(1) * (z[1] - z[0]), 1)


def average_ranks(scores: Float[np.ndarray, "b k"]) -> tuple[Float[np.ndarray, "k"], int]:
    """Ranks of k methods in each of b blocks (patients, or dataset × ratio), averaged; higher scores rank first.

    Ties share their mean rank. nan, nothing there and nothing predicted, is as good as can be and ranks first; where
    all are nan, nothing is to be ranked. Returns the ranks (1 is best) and how many blocks they are over.
    """
    scores = np.asarray(scores, dtype=np.float64)
    whole = np.nan_to_num(scores[~np.isnan(scores).all(1)], nan=np.inf)
    ranks = rankdata(-whole, axis=1)
    return ranks.mean(0) if len(whole) else np.full(scores.shape[1], np.nan), len(whole)
