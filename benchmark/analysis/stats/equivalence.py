"""What a difference that is not significant can still say: equivalence within a margin, and what could have been found.

A difference that is not significant is no proof that there is none. Two statements are possible: that it is smaller
than a margin, which is tested, or that nothing can be said, with the size that would have been found.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from benchmark.analysis.stats.intervals import deviates, half_width
from benchmark.analysis.stats.variance import Spread

POWER = 0.8


def equivalence(difference: Spread, margin: float) -> Float[np.ndarray, "k"]:
    """p of the claim that a true difference lies within ± margin: the larger p of two one-sided tests.

    Args:
        difference: `spread` of k differences of means, moderated or not.
        margin: the largest difference that is still called none, above 0, in the unit of the score.

    Returns:
        (k,) p-values; nan where the difference has no standard error.

    Source: Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987.
    """
    if not margin > 0:
        raise ValueError(f"A margin of {margin:g} leaves no room for equivalence; give a number above 0.")
    return np.maximum(_not_above(difference, -margin), _not_above(_mirrored(difference), -margin))


def _not_above(difference: Spread, bound: float) -> Float[np.ndarray, "k"]:
    """One-sided p of the claim that the true mean is above a bound."""
    beyond = difference._replace(mean=difference.mean - bound)
    tail = ndtr(-deviates(beyond))
    return np.where(beyond.mean > 0, tail, 1 - tail)


def _mirrored(difference: Spread) -> Spread:
    return difference._replace(mean=-difference.mean)


def detectable(difference: Spread, tests: int = 1, level: float = 0.05) -> Float[np.ndarray, "k"]:
    """The smallest true difference that such runs find with 80 %, when it is one of so many tests.

    The sum of two half-widths: of the two-sided test at level / tests (Bonferroni; Holm's first step, so that the
    number holds whatever the other tests find), and of the one-sided interval of 80 %. With normal errors of known
    size it is the usual (z₁₋α/₂ + z₀.₈) standard errors.

    Args:
        difference: `spread` of k differences of means, moderated or not.
        tests: how many claims are adjusted together.
        level: the chance of any false claim among them.

    Returns:
        (k,) differences in the unit of the score; nan where a difference has no standard error.

    Source: Bloom, Evaluation Review 19, 1995.
    """
    return half_width(difference, 1 - level / tests) + half_width(difference, 2 * POWER - 1)
