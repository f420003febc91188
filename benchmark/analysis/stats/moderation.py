"""Variances by runs, moderated over the methods of a table (empirical Bayes)."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import digamma, polygamma

from benchmark.analysis.stats.variance import Spread

SHARED = 0.25  # correlation of the variances of two differences that correlate by a half


def pooled_runs(parts: Spread, over: Int[np.ndarray, "k ..."] | None = None) -> Spread:
    """The same with the variances by runs of several methods' differences to one method moderated by each other.

    Two to five draws say little about the variance of one difference, but many differences say much about variances in
    general. The variance s² with f degrees of freedom becomes (f₀ s₀² + f s²) / (f₀ + f) with f₀ + f; s₀² and f₀, how
    alike the variances are, are estimated from the differences themselves (empirical Bayes: Smyth, Statistical
    Applications in Genetics and Molecular Biology 3, 2004, sections 3 and 6.2). As all have one method in common, their
    variances correlate by a quarter, which limits what they tell together to f k / (1 + (k − 1)/4). A variance that is
    larger than what others make of it stays as it is: else a method that varies much more than the rest, which the
    prior does not foresee, would be found to differ too often. The first axis is that of the k methods; fewer than
    three tell nothing, and what has no variance by runs stays as it is.

    `over`: how many draws each mean is over (the same number, if not given). The variances above are then those of one
    draw, and a difference over one draw, which does not show how much draws vary, has the typical one: f = 0. Of
    that, as much is taken to be in its variance by patients already as is in theirs on average.
    """
    over = np.full(parts.runs.shape, 2) if over is None else over
    here = (over > 1) & (parts.runs > 0) & np.isfinite(parts.runs_freedom)
    by_draw = over * parts.runs
    f = np.where(here, parts.runs_freedom, 1)
    k = here.sum(0)

    def mean(values: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, "..."]:
        return np.where(here, values, 0).sum(0) / np.maximum(k, 1)

    logs = np.log(np.where(here, by_draw, 1)) - digamma(f / 2) + np.log(f / 2)
    expected = (1 - SHARED) * mean(polygamma(1, f / 2))
    prior = 2 * _trigamma_inverse(mean((logs - mean(logs)) ** 2) * k / np.maximum(k - 1, 1) - expected)
    alike = np.isinf(prior)  # as much as chance allows
    f0 = np.where(alike, 1, prior)
    typical = np.where(alike, mean(by_draw), np.exp(mean(logs) + digamma(f0 / 2) - np.log(f0 / 2)))
    share = np.where(alike, 1, f0 / (f0 + f))
    most = pooled_freedom(mean(f), k)
    pooled = here & (k > 2)
    alone = (over < 2) & (parts.patients > 0) & (k > 2)
    return parts._replace(
        runs=np.select(
            [pooled, alone], [np.maximum(share * typical + (1 - share) * by_draw, by_draw) / over, typical], parts.runs
        ),
        both=np.where(alone & (parts.runs == 0), np.minimum(mean(over * parts.both), typical), parts.both),
        runs_freedom=np.select(
            [pooled, alone], [np.minimum(prior + f, most), np.minimum(prior, most)], parts.runs_freedom
        ),
    )  # fmt: skip


def pooled_freedom(freedom: Float[np.ndarray, "..."], differences: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The degrees of freedom that so many equal variances of differences to one method have together."""
    return freedom * differences / (1 + (differences - 1) * SHARED)


def _trigamma_inverse(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Where the trigamma function has these values, by Newton's steps from below; inf where they are not above 0."""
    above = np.maximum(values, 1e-7)
    x = 0.5 + 1 / above
    for _ in range(20):
        trigamma = polygamma(1, x)
        x = x + trigamma * (1 - trigamma / above) / polygamma(2, x)
    return np.where(values > 1e-7, x, np.inf)
