"""Statistics of scores, with patients, draws and seeds as what is drawn at random; never a bootstrap.

Functions of arrays: entry i of `values`, `patients`, `draws` and `seeds` is one image of one run. `values` may have a
second axis of k columns (k methods on the same images of the same runs); all results then have k entries. nan marks an
image without a score (no object, none predicted) and is left out. All test images are scored by all runs.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.optimize import elementwise, isotonic_regression
from scipy.special import digamma, expit, logit, ndtr, ndtri, polygamma, stdtrit
from scipy.stats import rankdata

FEWEST_PATIENTS = 10  # docs/statistics.md simulates no fewer
FARTHEST = 37.0  # deviates from zero; beyond, the normal distribution's tail leaves float64
Values = Float[np.ndarray, "n"] | Float[np.ndarray, "n k"]
Labels = Sequence[Hashable] | np.ndarray
# of images of a patient; at 0, skewed scores of few and unequal patients are covered too rarely (docs/statistics.md)
WORKING_CORRELATION = 0.05
SHARED = 0.25  # correlation of the variances of two differences that correlate by a half


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval; nan where nothing says how far it may be off."""

    mean: float | Float[np.ndarray, "k"]
    low: float | Float[np.ndarray, "k"]
    high: float | Float[np.ndarray, "k"]


class Difference(NamedTuple):
    """A mean difference, its confidence interval, and the two-sided p of no difference (from the same error)."""

    mean: float | Float[np.ndarray, "k"]
    low: float | Float[np.ndarray, "k"]
    high: float | Float[np.ndarray, "k"]
    p: float | Float[np.ndarray, "k"]


# ----------------------------------------------------------------------------------------------------------------------
# Means and differences


def hierarchical_interval(
    values: Values,
    patients: Labels,
    draws: Labels,
    seeds: Labels,
    level: float = 0.95,
    most: float | None = 1.0,
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

    What the design cannot tell is not covered: with one run the interval is for new patients, the run as it is; with
    one draw and several seeds, for new patients and seeds on these labelled images; with one patient and several runs,
    for new runs on this patient. One patient and one run: the bounds are nan. No value: the mean, too.
    """
    if most is not None and (np.nanmin(values, initial=0) < 0 or np.nanmax(values, initial=0) > most):
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

    Entry i of a and b is the same image under the same draw and seed. An image of which one of them alone has a score
    (a false alarm where the other is right) counts as it does in that one's own mean. p is the level at which the
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


class Spread(NamedTuple):
    """A mean's variances, in squared units of the score, and their degrees of freedom; 0 and inf where not estimable.

    `estimable` is False where neither patients nor runs vary.
    """

    mean: Float[np.ndarray, "k"]
    patients: Float[np.ndarray, "k"]
    runs: Float[np.ndarray, "k"]
    both: Float[np.ndarray, "k"]
    patients_freedom: Float[np.ndarray, "k"]
    runs_freedom: Float[np.ndarray, "k"]
    estimable: Bool[np.ndarray, "k"]


class _Mean(NamedTuple):
    """A mean over images, seeds and draws in turn, and what each image and each run has to do with it."""

    mean: Float[np.ndarray, "k"]
    weights: Float[np.ndarray, "n k"]  # of images in the mean
    residuals: Float[np.ndarray, "n k"]  # weight × (score − mean of its run)
    run_sums: Float[np.ndarray, "r k"]  # weight × (mean of the run − mean)
    images: Float[np.ndarray, "k"]  # that a run has, on average


def spread(values: Values, patients: Labels, draws: Labels, seeds: Labels, less: Values | None = None) -> Spread:
    """The variances of a mean over the images of a run, its draw's seeds, and draws, with patients crossed with draws.

    With `less`, of the difference of two means: the weighted residuals of `less` are subtracted image by image, those
    of its runs run by run (the means are ratios of sums with numbers of images of their own; this is their linear
    approximation, exact where the same images have scores). Runs in which one of the two has no score are left out.

    A run weighs q_r = 1/(D S_d) in the mean m of D draws, S_d seeds in its own, and each of its n_r scored images
    q_r/n_r, so that a draw with more seeds weighs no more. The sums of weight × (score − m_r) over a patient u_p, over
    both a patient and a draw u_pd, and a draw's sum of q_r (m_r − m), w_d, give
      V_p = Σ c_p u_p²,  V_r = Σ c_d w_d²,  V_pr = Σ c_p c_d (u_pd − Q_d u_p)²
    with Q_d the weight of draw d and c the factors that remove the bias (G/(G−1) for G equal ones). Each is what
    its name varies alone plus what patient and run vary together; the variance of m is V_p + V_r − V_pr, as in a
    crossed analysis of variance and in cluster-robust errors by two crossed clusters (Cameron, Gelbach and Miller,
    J. Bus. Econ. Stat. 29, 2011). Seeds lie within draws, so the spread of draws holds that of seeds; with one draw
    the seeds take its place. Factors and degrees of freedom are those of a working model (Bell and McCaffrey, Survey
    Methodology 28, 2002) in which images of a patient correlate a little; few or unequal patients lower the degrees of
    freedom.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in ([values] if less is None else [values, less])]
    sides = np.broadcast_arrays(*(side[:, None] if side.ndim < 2 else side for side in sides))
    patient, draw, seed = (_codes(labels, len(sides[0])) for labels in (patients, draws, seeds))
    run = _codes(draw * (seed.max(initial=0) + 1) + seed, len(sides[0]))
    of_run = _adder(run)
    scored = np.logical_and.reduce([of_run @ ~np.isnan(side) > 0 for side in sides])
    first = np.unique(run, return_index=True)[1]
    in_draw = _adder(draw[first])
    seeds_of_draw = in_draw @ scored
    run_weights = scored / np.maximum(seeds_of_draw[draw[first]] * (seeds_of_draw > 0).sum(0), 1)
    parts = [_mean(side, run, of_run, run_weights) for side in sides]
    mean, weights, residuals, run_sums, images = parts[0]
    if less is not None:
        mean, residuals, run_sums = mean - parts[1].mean, residuals - parts[1].residuals, run_sums - parts[1].run_sums
        weights, images = (weights + parts[1].weights) / 2, (images + parts[1].images) / 2

    of_patient = _adder(patient)
    shares = of_patient @ weights
    images = shares * images  # of a patient in a run
    by_patient, patients_freedom, patient_factors = _cluster(of_patient @ residuals, shares, images)
    patients_vary = (shares > 0).sum(0) > 1
    runs_vary = np.zeros(len(mean), dtype=bool)
    by_run, by_both, runs_freedom = np.zeros(len(mean)), np.zeros(len(mean)), np.full(len(mean), np.inf)
    for unit in (draw, run):  # seeds where there is one draw
        of_unit = _adder(unit[first])
        unit_shares = of_unit @ run_weights
        these = ~runs_vary & ((unit_shares > 0).sum(0) > 1)
        if these.any():
            variance, freedom, factors = _cluster(of_unit @ run_sums, unit_shares, np.ones_like(unit_shares))
            both = _interaction(residuals, patient, unit, patient_factors, factors, unit_shares)
            by_run, runs_freedom = np.where(these, variance, by_run), np.where(these, freedom, runs_freedom)
            by_both = np.where(these & patients_vary, both, by_both)
            runs_vary |= these
    return Spread(
        mean=mean,
        patients=np.where(patients_vary, by_patient, 0),
        runs=by_run,
        both=by_both,
        patients_freedom=np.where(patients_vary, patients_freedom, np.inf),
        runs_freedom=runs_freedom,
        estimable=patients_vary | runs_vary,
    )


def _mean(
    columns: Float[np.ndarray, "n k"],
    run: Int[np.ndarray, "n"],
    of_run: sparse.csr_array,
    run_weights: Float[np.ndarray, "r k"],
) -> _Mean:
    """The mean over runs of these weights; nan where all weigh nothing."""
    scored = run_weights > 0
    there = ~np.isnan(columns) & scored[run]
    counts = of_run @ there
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (of_run @ np.where(there, columns, 0)) / counts
        mean = np.where(scored.any(0), np.where(scored, run_weights * means, 0).sum(0), np.nan)
        weights = np.where(there, (run_weights / counts)[run], 0)
        residuals = np.where(there, weights * (columns - means[run]), 0)
        run_sums = np.where(scored, run_weights * (means - mean), 0)
    return _Mean(mean, weights, residuals, run_sums, counts.sum(0) / np.maximum(scored.sum(0), 1))


def _cluster(
    sums: Float[np.ndarray, "g k"], shares: Float[np.ndarray, "g k"], sizes: Float[np.ndarray, "g k"]
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"], Float[np.ndarray, "g k"]]:
    """Variance and degrees of freedom of a mean, and the factors c_g of the variance Σ c_g sums_g².

    From the clusters' weighted residual sums, shares of the weight and numbers of members. Were the variances of the
    clusters' means v_g, as in the working model, then Σ c_g sums_g² would be unbiased for Σ shares_g² v_g and would
    vary as a χ² of that many degrees of freedom (its mean and variance are those of the quadratic form).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        v = np.where(shares > 0, WORKING_CORRELATION + (1 - WORKING_CORRELATION) / sizes, 0)
        b = shares * v
        total = (shares * b).sum(0)
        own = v - 2 * b + total  # the variance of a cluster's mean less the whole mean
        factors = np.where(shares > 0, v / own, 0)
        h = factors * shares**2
        # Σ_gh h_g h_h cov(mean_g − mean, mean_h − mean)², where the covariance is total − b_g − b_h for g ≠ h
        pairs = h.sum(0) ** 2 * total**2 + 2 * (h * b).sum(0) ** 2
        pairs += 2 * h.sum(0) * ((h * b**2).sum(0) - 2 * total * (h * b).sum(0))
        pairs += (h**2 * (own**2 - (total - 2 * b) ** 2)).sum(0)
        freedom = (h * own).sum(0) ** 2 / pairs
        return (factors * sums**2).sum(0), freedom, factors


def _interaction(residuals, patient, units, patient_factors, unit_factors, unit_shares) -> Float[np.ndarray, "k"]:
    """What patients and draws (or seeds) vary together in the mean."""
    size = (len(patient_factors), len(unit_factors))
    cells = (_adder(patient * size[1] + units, size[0] * size[1]) @ residuals).reshape(*size, -1)
    centred = cells - unit_shares * cells.sum(1, keepdims=True)
    return np.einsum("pdk,pk,dk->k", centred**2, patient_factors, unit_factors)


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
    draw, and a difference over one draw, which tells nothing of how much draws vary, has the typical one: f = 0. Of
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


def tested(parts: Spread, level: float = 0.95) -> Difference:
    """The mean, its symmetric interval, and p of zero."""
    reach = half_width(parts, level)
    return Difference(parts.mean, parts.mean - reach, parts.mean + reach, 2 * ndtr(-_deviates(parts)))


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


def _deviates(parts: Spread) -> Float[np.ndarray, "k"]:
    """How many standard deviations of a normal distribution from zero the mean is: where its interval ends; 0 to 37."""
    beyond = _reach(parts, ndtr(-FARTHEST)) < np.abs(parts.mean)
    deviates = np.where(parts.estimable, np.where(beyond, FARTHEST, 0), np.nan)
    solve = parts.estimable & ~beyond & (parts.mean != 0)
    if solve.any():
        these = Spread(*(part[solve] for part in parts))
        deviates[solve] = elementwise.find_root(
            lambda z, *part: _reach(Spread(*part), ndtr(-z)) - np.abs(part[0]),
            (np.zeros(solve.sum()), np.full(solve.sum(), FARTHEST)),
            args=tuple(these),
            tolerances={"xatol": 1e-9, "xrtol": 1e-9},
        ).x
    return deviates


def _codes(labels: Labels, length: int) -> Int[np.ndarray, "n"]:
    """Labels as numbers from 0."""
    if len(labels) != length:
        raise ValueError(f"There are {length} values, but {len(labels)} labels; give one label to each value.")
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
        return np.unique(labels, return_inverse=True)[1]
    listed = labels.tolist() if isinstance(labels, np.ndarray) else labels
    numbers = {label: i for i, label in enumerate(dict.fromkeys(listed))}
    return np.fromiter(map(numbers.__getitem__, listed), dtype=np.int64, count=length)


def _adder(codes: Int[np.ndarray, "n"], size: int | None = None) -> sparse.csr_array:
    """The matrix (size, n) that adds up the entries of each code."""
    size = (codes.max(initial=-1) + 1) if size is None else size
    return sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(size, len(codes)))


def _plain(like: Values, *results: Float[np.ndarray, "k"]) -> list[float] | list[Float[np.ndarray, "k"]]:
    """Numbers where there was one column, arrays where there were several."""
    return [float(np.ravel(r)[0]) for r in results] if np.ndim(like) < 2 else list(results)


def mean_interval(
    values: Sequence[float], groups: Sequence[Hashable], level: float = 0.95, most: float | None = 1.0
) -> Interval:
    """`hierarchical_interval` of one run: for new groups (patients), the run as it is."""
    one = np.zeros(len(values), dtype=np.int64)
    return hierarchical_interval(np.asarray(values, dtype=np.float64), groups, one, one, level, most)


def reservation(patients: int) -> str:
    """What so few test patients can tell, in a sentence; "" where simulations say that intervals hold.

    The mean of n differences is significant beyond t₁₋₀.₀₂₅(n − 1) / √n of their deviations, patient by patient.
    """
    if patients >= FEWEST_PATIENTS:
        return ""
    if patients < 2:
        return "The test images are of one patient, so nothing follows for others; that needs images of more patients."
    needed, usual = (float(stdtrit(n - 1, 0.975)) / n**0.5 for n in (patients, 2 * FEWEST_PATIENTS))
    return (
        f"The test images are of only {patients} patients. A lead is significant only if it exceeds {needed:.1f} times "
        f"its own standard deviation over patients (with {2 * FEWEST_PATIENTS} patients {usual:.1f} times): masks of "
        "more patients tell more than more runs."
    )


# ----------------------------------------------------------------------------------------------------------------------
# Several methods


def holm(p: Sequence[float]) -> Float[np.ndarray, "k"]:
    """p-values adjusted so that any of them below a level is wrong at most at that level (Holm, 1979); nan stays."""
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    order = [i for i in np.argsort(p) if not np.isnan(p[i])]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1) if order else []
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


# ----------------------------------------------------------------------------------------------------------------------
# Labels and computing


def labels_saved(ratios: Sequence[float], differences: Sequence[Difference]) -> Interval:
    """The label ratio at which supervised training reaches a method's score, and an interval for it.

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
