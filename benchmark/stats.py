"""Statistics of scores, with patients as the unit that is drawn at random."""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.stats import t as student


def mean_interval(
    values: Sequence[float], groups: Sequence[Hashable], level: float = 0.95
) -> tuple[float, float, float]:
    """The mean over images, and a t interval for it in which only groups (patients) are independent: mean, low, high.

    The mean weighs every image equally; nan is left out. The variance is cluster-robust and bias-reduced: with N
    images, n of them in group g and residuals e, Σ_g (Σ_{i∈g} e_i)² / (1 − n/N) / N²; the degrees of freedom are those
    that fit its spread when images are independent (Bell and McCaffrey, Survey Methodology 28, 2002), so that a patient
    with most of the images does not make it narrow. Groups of equal size give the usual t interval of the group means.
    Fewer than two groups: the bounds are nan. No value at all: the mean, too.
    """
    values = np.asarray(values, dtype=np.float64)
    valid = ~np.isnan(values)
    if not valid.any():
        return np.nan, np.nan, np.nan
    mean = float(values[valid].mean())
    numbers: dict[Hashable, int] = {}
    group = [numbers.setdefault(g, len(numbers)) for g, there in zip(groups, valid, strict=True) if there]
    if len(numbers) < 2:
        return mean, np.nan, np.nan
    total, sizes = valid.sum(), np.bincount(group)
    sums = np.bincount(group, weights=values[valid] - mean)
    error = np.sqrt((sums**2 / (1 - sizes / total)).sum()) / total
    inflated = sizes**2 / (1 - sizes / total)
    freedom = total**2 / ((sizes**2).sum() + (inflated.sum() ** 2 - (inflated**2).sum()) / total**2)
    reach = student.ppf((1 + level) / 2, freedom) * error
    return mean, float(mean - reach), float(mean + reach)
