"""Scores over labels and over computing: labels saved, scores at equal cost."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import isotonic_regression

from benchmark.analysis.stats.intervals import Difference, Interval


def labels_saved(ratios: Sequence[float], differences: Sequence[Difference]) -> Interval:
    """The labelled fraction at which supervised training reaches a method's score, and an interval for it.

    `differences[j]` is `paired_difference(method at its ratio, supervised at ratios[j])`, so that what the two share
    (test patients, draws, seeds) does not widen the interval. The difference falls as the ratio rises (made monotone by
    isotonic regression) and is linear over the logarithm of the ratio in between. The result is where it is zero; the
    interval holds the ratios where zero lies within the difference's own interval. 0 says below the smallest ratio,
    inf above the largest: the curve does not reach there. nan bounds where a difference has none.
    """
    if len(ratios) != len(differences) or not len(ratios):
        raise ValueError(f"There are {len(ratios)} ratios, but {len(differences)} differences; give one to each.")
    order = np.argsort(ratios)
    log = np.log(np.asarray(ratios, dtype=np.float64)[order])
    mean, low, high = (np.array([getattr(d, name) for d in differences])[order] for name in ("mean", "low", "high"))
    bounds = [_reaches_zero(log, low, first=True), _reaches_zero(log, high, first=False)]
    return Interval(_reaches_zero(log, mean, first=True), *bounds)


def _reaches_zero(log: Float[np.ndarray, "r"], values: Float[np.ndarray, "r"], first: bool) -> float:
    """Where a falling line over log ratios is no longer above zero (first) or last not below it; 0 or inf beyond."""
    if np.isnan(values).any():
        return np.nan
    falling = isotonic_regression(values, increasing=False).x
    above = falling > 0 if first else falling >= 0
    if not above[0]:
        return 0.0
    if above[-1]:
        return np.inf
    i = int(np.argmin(above))  # the first that is not above
    share = falling[i - 1] / (falling[i - 1] - falling[i])
    return float(np.exp(log[i - 1] + share * (log[i] - log[i - 1])))


def scores_at_cost(
    runs: Sequence[tuple[Sequence[float], Sequence[float]]], cost: float | None = None
) -> tuple[float, Float[np.ndarray, "k"]]:
    """The scores of k methods at equal cost: steps, FLOPs or seconds.

    `runs[j]` are the costs and the scores of method j's runs (or of one run as it went along, from its validation).
    Scores at the same cost are averaged, and are linear over the logarithm of the cost in between. Without `cost` it is
    the largest that every method has reached. nan: a method has no run as cheap or as dear as that; nothing is guessed
    beyond its runs. Returns the cost and the scores.
    """
    if not all(len(costs) and len(costs) == len(scores) and min(costs) > 0 for costs, scores in runs):
        raise ValueError("Every method needs at least one run, with one cost above 0 and one score each.")
    cost = float(min(max(costs) for costs, _ in runs)) if cost is None else float(cost)
    read = np.full(len(runs), np.nan)
    for j, (costs, scores) in enumerate(runs):
        levels, place = np.unique(np.asarray(costs, dtype=np.float64), return_inverse=True)
        means = np.bincount(place, weights=scores) / np.bincount(place)
        if levels[0] <= cost <= levels[-1]:
            read[j] = np.interp(np.log(cost), np.log(levels), means)
    return cost, read
