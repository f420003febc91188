"""Confidence intervals and tests of mean scores and of their differences; never a bootstrap."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import elementwise
from scipy.special import expit, logit, ndtr, stdtrit

from benchmark.analysis.stats.variance import Labels, Spread, Values, spread

FARTHEST = 37.0  # deviates from zero; beyond, the normal distribution's tail leaves float64


Numbers = Any  # a float for one column of values, an array (k,) for k columns


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval; nan where nothing says how far it may be off."""

    mean: Numbers
    low: Numbers
    high: Numbers


class Difference(NamedTuple):
    """A mean difference, its confidence interval, and the two-sided p of no difference (from the same error)."""

    mean: Numbers
    low: Numbers
    high: Numbers
    p: Numbers


def hierarchical_interval(
    values: Values,
    patients: Labels,
    draws: Labels,
    seeds: Labels,
    level: float = 0.95,
    most: float | None = 1.0,
    linearised: bool = False,
) -> Interval:
    """The mean over images, seeds and draws in turn, and an interval for new patients, new draws and new seeds.

    The variance is that of patients plus that of runs (see `spread`); what patient and run vary together is in both,
    and is taken out of the one with more degrees of freedom. Two approximations lead from there to a half-width: a t of
    Satterthwaite's degrees of freedom, which reaches a little short when there are two to five draws, and Howe's (J.
    Am. Stat. Assoc. 69, 1974), in which each part reaches as far as it would alone and they add as squares, a little
    far. The root of their mean square is taken. With one part it is the t interval.

    Scores that crowd at an end of their scale have a longer tail on the other side, and so has the interval: it is
    symmetric on the scale of log(m / (most − m)) where scores lie from 0 to `most`, of log m where `most` is inf (a
    distance), and of m itself where `most` is None (any number). Then, one run of one image per patient gives the
    classical t interval.

    With `linearised` values (see `benchmark.protocol.class_mean`) only the mean lies from 0 to `most`.

    What the design cannot tell is not covered: with one run the interval is for new patients, the run as it is; with
    one draw and several seeds, for new patients and seeds on these labelled images; with one patient and several runs,
    for new runs on this patient. One patient and one run: the bounds are nan. No value: the mean, too.
    """
    if (
        most is not None
        and not linearised
        and (np.nanmin(values, initial=0) < 0 or np.nanmax(values, initial=0) > most)
    ):
        raise ValueError(
            f"Scores lie from {np.nanmin(values):g} to {np.nanmax(values):g}, but most is {most:g}; give the largest "
            "value of the metric (inf for a distance, None for numbers of either sign)."
        )
    parts = spread(values, patients, draws, seeds)
    reach = half_width(parts, level)
    return Interval(*_plain(values, parts.mean, *_bounds(parts.mean, reach, most)))


def _bounds(
    mean: Float[np.ndarray, "k"], reach: Float[np.ndarray, "k"], most: float | None
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """The ends of an interval that is symmetric on the scale that belongs to scores from 0 to `most`."""
    if most is None:
        return mean - reach, mean + reach
    inside = (mean > 0) & (mean < most)  # at an end all scores are equal
    m = np.where(inside, mean, most / 2 if np.isfinite(most) else 1.0)
    if np.isinf(most):
        low, high = m * np.exp(-reach / m), m * np.exp(reach / m)
    else:
        centre, width = logit(m / most), reach * most / (m * (most - m))
        low, high = most * expit(centre - width), most * expit(centre + width)
    return np.where(inside, low, mean - reach), np.where(inside, high, mean + reach)


def paired_difference(
    a: Values, b: Values, patients: Labels, draws: Labels, seeds: Labels, level: float = 0.95
) -> Difference:
    """The mean of a less that of b, each over the images that it has a score of, with a symmetric interval.

    Entry i of a and b is the same image under the same draw and seed. An image with a score of only one of them
    (a false alarm where the other is right) counts as in the mean of that one. p is the level at which the
    interval's end would touch zero. Where all differences are zero it is 1. Not estimable: bounds and p are nan.
    Several methods' differences to the same one tell each other how much runs vary: see `pooled_runs`.
    """
    parts = spread(a, patients, draws, seeds, less=b)
    return Difference(*_plain(a, *tested(parts, level)))


def false_claim(difference: Difference) -> float:
    """The probability that "a scores higher than b" is false, given the difference of a less b and no other knowledge.

    With one run and one image per patient it is t_{n−1}(√n (m_b − m_a) / √(s_a² + s_b² − 2 r s_a s_b)) of Christodoulou
    et al., False Promises in Medical Imaging AI?, 2025 (arXiv 2505.04720). There, cases are independent and the run is
    one; here, patients and runs are, so that images of one patient do not count as so many cases. Where a scores lower
    the probability is above one half.
    """
    return difference.p / 2 if difference.mean > 0 else 1 - difference.p / 2


def tested(parts: Spread, level: float = 0.95) -> Difference:
    """The mean, its symmetric interval, and p of zero."""
    reach = half_width(parts, level)
    return Difference(parts.mean, parts.mean - reach, parts.mean + reach, 2 * ndtr(-deviates(parts)))


def half_width(parts: Spread, level: float = 0.95) -> Float[np.ndarray, "k"]:
    """Half the width of the interval of `hierarchical_interval` where it is symmetric; nan where not estimable."""
    return _reach(parts, np.asarray((1 - level) / 2))


def _reach(parts: Spread, tail: Float[np.ndarray, "..."]) -> Float[np.ndarray, "k"]:
    """Half the width of the interval that leaves out `tail` on each side."""
    few_patients = parts.patients_freedom < parts.runs_freedom - 1e-6  # where they are equal, rounding decides nothing
    patients = np.where(few_patients, parts.patients, np.maximum(parts.patients - parts.both, 0))
    runs = np.where(few_patients, np.maximum(parts.runs - parts.both, 0), parts.runs)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        freedom = (patients + runs) ** 2 / (patients**2 / parts.patients_freedom + runs**2 / parts.runs_freedom)
        howe = np.zeros_like(parts.mean)
        for variance, own_freedom in ((patients, parts.patients_freedom), (runs, parts.runs_freedom)):
            howe = howe + stdtrit(np.where(variance > 0, own_freedom, np.inf), tail) ** 2 * variance
        satterthwaite = stdtrit(np.where(patients + runs > 0, freedom, np.inf), tail) ** 2 * (patients + runs)
        return np.where(parts.estimable, np.sqrt((howe + satterthwaite) / 2), np.nan)


def deviates(parts: Spread) -> Float[np.ndarray, "k"]:
    """How many standard deviations of a normal distribution from zero the mean is: where its interval ends; 0 to 37."""
    beyond = _reach(parts, ndtr(-FARTHEST)) < np.abs(parts.mean)
    found = np.where(parts.estimable, np.where(beyond, FARTHEST, 0), np.nan)
    solve = parts.estimable & ~beyond & (parts.mean != 0)
    if solve.any():
        these = Spread(*(part[solve] for part in parts))
        found[solve] = elementwise.find_root(
            lambda z, *part: _reach(Spread(*part), ndtr(-z)) - np.abs(part[0]),
            (np.zeros(solve.sum()), np.full(solve.sum(), FARTHEST)),
            args=tuple(these),
            tolerances={"xatol": 1e-9, "xrtol": 1e-9},
        ).x
    return found


def _plain(like: Values, *results: Float[np.ndarray, "k"]) -> list[Numbers]:
    """Numbers where there was one column, arrays where there were several."""
    return [float(np.ravel(r)[0]) for r in results] if np.ndim(like) < 2 else list(results)


def mean_interval(
    values: Sequence[float], groups: Sequence[Hashable], level: float = 0.95, most: float | None = 1.0,
    linearised: bool = False,
) -> Interval:  # fmt: skip
    """`hierarchical_interval` of one run: for new groups (patients), the run as it is."""
    one = np.zeros(len(values), dtype=np.int64)
    return hierarchical_interval(np.asarray(values, dtype=np.float64), groups, one, one, level, most, linearised)
