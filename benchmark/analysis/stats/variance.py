"""The variances of a mean score by patients and by runs, which are crossed.

Functions of arrays: entry i of `values`, `patients`, `draws` and `seeds` is one image of one run. `values` may have a
second axis of k columns (k methods on the same images of the same runs); all results then have k entries. nan marks an
image without a score (no object, none predicted) and is left out. All test images are scored by all runs.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

Values = Float[np.ndarray, "n"] | Float[np.ndarray, "n k"]
Labels = Sequence[Hashable] | np.ndarray
# of images of a patient; at 0, skewed scores of few and unequal patients are covered too rarely (docs/statistics.md)
WORKING_CORRELATION = 0.05


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
