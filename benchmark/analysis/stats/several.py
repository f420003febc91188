"""Several methods at once: adjusted p-values, the methods that are tied with the best, average ranks."""

from collections.abc import Sequence
from typing import NamedTuple

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
    """The probability that the range of so many standard normal variables is larger.

    With z the largest of k, all others below it (Φ(z)^{k−1}) but not all within the range (Φ(z) − Φ(z − r))^{k−1}.
    """
    z = np.linspace(-9, 9, 2001)  # the trapezoidal rule is exact to rounding for functions that vanish at both ends
    k, below = methods[:, None], ndtr(z)
    within = below - ndtr(z - ranges[:, None])
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.minimum(k[:, 0] * ((below ** (k - 1) - within ** (k - 1)) * density).sum(1) * (z[1] - z[0]), 1)


def average_ranks(scores: Float[np.ndarray, "b k"]) -> tuple[Float[np.ndarray, "k"], int]:
    """Ranks of k methods in each of b blocks (patients, or dataset × ratio), averaged; higher scores rank first.

    See `block_ranks`. Returns the ranks (1 is best) and how many blocks they are over.
    """
    ranks = block_ranks(scores)
    ranks = ranks[~np.isnan(ranks[:, 0])]
    return ranks.mean(0) if len(ranks) else np.full(ranks.shape[1], np.nan), len(ranks)


def block_ranks(scores: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b k"]:
    """The rank of each of k methods in each of b blocks; higher scores rank first, and ties share their mean rank.

    nan, nothing there and nothing predicted, is as good as can be and ranks first. A block in which all scores are nan
    has ranks of nan.
    """
    scores = np.asarray(scores, dtype=np.float64)
    ranks = rankdata(-np.nan_to_num(scores, nan=np.inf), axis=1)
    return np.where(np.isnan(scores).all(1, keepdims=True), np.nan, ranks)


class RankStability(NamedTuple):
    """Average ranks, their 95 % intervals under resampling, and how often each method has the best of them."""

    mean: Float[np.ndarray, "k"]
    low: Float[np.ndarray, "k"]
    high: Float[np.ndarray, "k"]
    first: Float[np.ndarray, "k"]  # share of the samples; ties share it


def rank_stability(
    ranks: Float[np.ndarray, "r p k"], draws: Sequence[int], samples: int = 2000, seed: int = 0
) -> RankStability:
    """How far average ranks depend on which patients were tested and which labelled subsets were used for training.

    A bootstrap that resamples patients and draws with replacement, independently of each other (Wiesenfarth et al.,
    Scientific Reports 2021, who resample test cases).

    Args:
        ranks: of k methods, in each of r runs on each of p patients; nan where none is ranked.
        draws: the labelled subset of each run.
        samples: of the bootstrap.
        seed: of its random numbers.

    >>> ranks = np.array([[[1.0, 2.0], [1.0, 2.0]]])
    >>> rank_stability(ranks, [0]).first.tolist()
    [1.0, 0.0]
    """
    random = np.random.default_rng(seed)
    groups, of_run = np.unique(draws, return_inverse=True)

    def weights(count: int) -> Int[np.ndarray, "s count"]:
        return random.multinomial(count, np.full(count, 1 / count), samples)

    runs, patients = weights(len(groups))[:, of_run], weights(ranks.shape[1])
    ranked = ~np.isnan(ranks[..., 0])
    total = np.einsum("sr,sp,rp->s", runs, patients, ranked, optimize=True)
    sums = np.einsum("sr,sp,rpk->sk", runs, patients, np.nan_to_num(ranks), optimize=True)
    found = sums[total > 0] / total[total > 0, None]
    best = found <= found.min(1, keepdims=True) + 1e-9
    low, high = np.quantile(found, (0.025, 0.975), axis=0)
    first = (best / best.sum(1, keepdims=True)).mean(0)
    return RankStability(np.nanmean(ranks.reshape(-1, ranks.shape[2]), axis=0), low, high, first)
