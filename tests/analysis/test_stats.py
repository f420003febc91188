"""An interval holds the true value as often as it says, a test keeps its level, and both say what they do not know."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats
from scipy.special import digamma, polygamma
from statsmodels.stats.multitest import multipletests

from benchmark.analysis.simulation import study
from benchmark.analysis.stats import (
    WORKING_CORRELATION,
    Difference,
    Interval,
    Spread,
    average_ranks,
    false_claim,
    half_width,
    hierarchical_interval,
    holm,
    labels_saved,
    mean_interval,
    paired_difference,
    pooled_runs,
    scores_at_cost,
    spread,
    worse_than_best,
)
from benchmark.analysis.stats import tested as as_difference
from benchmark.datasets import few_patients

VALUES = np.array([0.5, 0.7, 0.6, 0.9, 0.8])
BETTER = np.array([0.1, 0.05, -0.02, 0.08, 0.01])
ONE = np.zeros(5, dtype=int)


def benchmark_of(patients=7, draws=3, seeds=2, missing=0.1, columns=(), seed=0):
    """Made-up values between 0 and 1 of images of patients in every run, some of them nan; and their labels."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 6, patients))
    runs = [(draw, s) for draw in range(draws) for s in range(seeds)]
    labels = [np.tile(patient, len(runs)), *np.repeat(runs, len(patient), axis=0).T]
    effects = [0.2 * random.standard_normal((labels[i].max() + 1, *columns))[labels[i]] for i in (0, 1)]
    latent = 0.5 + sum(effects) + 0.3 * random.standard_normal((len(labels[0]), *columns))
    values = 1 / (1 + np.exp(-latent))
    values[random.random(values.shape) < missing] = np.nan
    return values, *labels


# ----------------------------------------------------------------------------------------------------------------------
# One run


def test_one_image_per_patient_gives_the_usual_t_interval():
    low, high = stats.t.interval(0.95, 4, VALUES.mean(), stats.sem(VALUES))
    assert mean_interval(VALUES, "abcde", most=None) == pytest.approx((VALUES.mean(), low, high))


def test_equal_groups_give_the_t_interval_of_the_patient_means():
    values, groups = np.array([0.5, 0.7, 0.6, 0.9, 0.8, 0.1]), ["a", "a", "b", "b", "c", "c"]
    means = values.reshape(3, 2).mean(1)
    low, high = stats.t.interval(0.9, 2, means.mean(), stats.sem(means))
    assert mean_interval(values, groups, level=0.9, most=None) == pytest.approx((means.mean(), low, high))


def test_unequal_groups_by_hand():
    # patient a: 1 and 1, patient b: 0. Mean 2/3; weighted residual sums ±2/9. The working variances are 0.05 + 0.95/2
    # and 1 for the patients' means, 4/9 · 0.525 + 1/9 = 31/90 for the whole mean, 0.525 (1 − 4/3) + 31/90 = 61/360 and
    # 1 − 2/3 + 31/90 = 61/90 for their differences; the factors are 189/61 and 90/61; two patients leave one freedom
    reach = stats.t.ppf(0.975, 1) * np.sqrt(4 / 81 * 279 / 61)
    assert mean_interval([1, 1, 0], "aab", most=None) == pytest.approx((2 / 3, 2 / 3 - reach, 2 / 3 + reach))


def test_repeating_every_image_of_a_patient_does_not_narrow_the_interval():
    once, thrice = mean_interval(VALUES, "abcde"), mean_interval(np.tile(VALUES, 3), "abcde" * 3)
    assert thrice == pytest.approx(once)


def test_nan_is_left_out_and_its_patient_with_it():
    assert mean_interval([0.5, np.nan, 0.7, np.nan], "aabc") == pytest.approx(mean_interval([0.5, 0.7], "ab"))


def test_one_patient_has_a_mean_but_no_interval():
    mean, low, high = mean_interval([0.5, 0.7], "aa")
    assert mean == pytest.approx(0.6)
    assert np.isnan([low, high]).all()
    assert np.isnan(mean_interval([np.nan], "a")).all()
    assert np.isnan(mean_interval([], "")).all()


def test_scores_reach_further_away_from_the_end_that_they_crowd_at():
    mean, low, high = mean_interval([0.9, 0.95, 0.99, 0.97, 0.6], "abcde")
    assert mean - low > 1.5 * (high - mean)
    assert 0 < low < high < 1
    assert mean_interval([1.0, 1.0, 1.0], "abc") == (1, 1, 1)


def test_on_the_scale_of_log_odds_the_interval_is_symmetric_and_as_wide_as_the_t_interval():
    (mean, low, high), straight = mean_interval(VALUES, "abcde"), mean_interval(VALUES, "abcde", most=None)
    odds = [np.log(x / (1 - x)) for x in (low, mean, high)]
    assert np.diff(odds) == pytest.approx([(straight.high - mean) / (mean * (1 - mean))] * 2)


@given(some.lists(some.floats(0.05, 0.95), min_size=3, max_size=12), some.floats(0.1, 50))
def test_what_a_score_is_called_does_not_matter(scores, unit):
    scores, patients = np.array(scores), [i % 3 for i in range(len(scores))]
    mean, low, high = mean_interval(scores, patients)
    assert mean_interval(1 - scores, patients) == pytest.approx((1 - mean, 1 - high, 1 - low)), "an error is 1 − score"
    assert mean_interval(100 * scores, patients, most=100) == pytest.approx((100 * mean, 100 * low, 100 * high))
    distance = np.array(mean_interval(scores, patients, most=np.inf))
    assert mean_interval(unit * scores, patients, most=np.inf) == pytest.approx(unit * distance), (
        "pixels or micrometres"
    )


def test_scores_beyond_their_scale_are_refused():
    with pytest.raises(ValueError, match="from 3 to 9, but most is 1; .*inf for a distance"):
        mean_interval([3.0, 9.0], "ab")
    with pytest.raises(ValueError, match="from -0.1 to 0.2"):
        mean_interval([-0.1, 0.2], "ab")
    with pytest.raises(ValueError, match="3 values, but 2 labels"):
        mean_interval([0.1, 0.2, 0.3], "ab")


# ----------------------------------------------------------------------------------------------------------------------
# Several runs


def by_loops(values, patients, draws, seeds) -> tuple[float, float, float, float, float]:
    """Mean, the three variances and the patients' degrees of freedom, from their definitions."""
    runs = sorted(set(zip(draws, seeds, strict=True)))
    means, weight = {}, np.zeros(len(values))
    counts = []
    for run in runs:
        of_run = (draws == run[0]) & (seeds == run[1]) & ~np.isnan(values)
        means[run] = values[of_run].mean()
        weight[of_run] = 1 / len(runs) / of_run.sum()
        counts.append(of_run.sum())
    mean = sum(means.values()) / len(runs)
    of = list(zip(draws, seeds, strict=True))
    residual = np.array([weight[i] and weight[i] * (values[i] - means[of[i]]) for i in range(len(values))])
    units, names = (draws, sorted(set(draws))) if len(set(draws)) > 1 else (seeds, sorted(set(seeds)))

    def factors(shares: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, float]:
        minus_mean = np.eye(len(shares)) - shares
        working = minus_mean @ np.diag(variances) @ minus_mean.T
        c = variances / np.diag(working)
        form = np.diag(c * shares**2) @ working
        return c, np.trace(form) ** 2 / np.trace(form @ form)

    patient_names = sorted(set(patients))
    shares = np.array([weight[patients == p].sum() for p in patient_names])
    images = shares * np.mean(counts)
    c_p, freedom = factors(shares, WORKING_CORRELATION + (1 - WORKING_CORRELATION) / images)
    share_of_unit = np.array([len({run for run in runs if run[units is seeds] == d}) / len(runs) for d in names])
    c_d, _ = factors(share_of_unit, np.ones(len(names)))
    u = np.array([residual[patients == p].sum() for p in patient_names])
    w = [sum((means[run] - mean) / len(runs) for run in runs if run[units is seeds] == d) for d in names]
    both = 0.0
    for p, name in enumerate(patient_names):
        for d, unit in enumerate(names):
            cell = residual[(patients == name) & (units == unit)].sum()
            both += c_p[p] * c_d[d] * (cell - share_of_unit[d] * u[p]) ** 2
    return mean, (c_p * u**2).sum(), (c_d * np.square(w)).sum(), both, freedom


@pytest.mark.parametrize("design", [(7, 3, 2), (4, 2, 1), (5, 1, 3)])
def test_the_variances_are_those_of_their_definition(design):
    values, *labels = benchmark_of(*design)
    found = spread(values, *labels)
    mean, *variances, freedom = by_loops(values, *labels)
    assert found.mean[0] == pytest.approx(mean)
    assert [found.patients[0], found.runs[0], found.both[0]] == pytest.approx(variances)
    assert found.patients_freedom[0] == pytest.approx(freedom)
    assert found.runs_freedom[0] == pytest.approx((design[1] if design[1] > 1 else design[2]) - 1)


def test_equal_numbers_give_the_mean_squares_of_a_crossed_analysis_of_variance():
    random = np.random.default_rng(0)
    patients, draws = 6, 4
    x = (
        random.standard_normal((draws, patients))
        + random.standard_normal(patients)
        + random.standard_normal((draws, 1))
    )
    rows, columns = x.mean(1, keepdims=True), x.mean(0, keepdims=True)
    squares = [
        draws * ((columns - x.mean()) ** 2).sum() / (patients - 1),
        patients * ((rows - x.mean()) ** 2).sum() / (draws - 1),
        ((x - rows - columns + x.mean()) ** 2).sum() / (patients - 1) / (draws - 1),
    ]
    found = spread(x.ravel(), np.tile(np.arange(patients), draws), np.repeat(np.arange(draws), patients), [0] * x.size)
    assert [found.patients[0], found.runs[0], found.both[0]] == pytest.approx(np.array(squares) / x.size)
    assert (found.patients_freedom[0], found.runs_freedom[0]) == pytest.approx((patients - 1, draws - 1))


def test_the_half_width_is_between_satterthwaite_and_howe_by_hand():
    # patients 4 less both 1 on 20 degrees of freedom, runs 2 on 2: 5²/(9/20 + 4/2) = 10.204 by Satterthwaite
    one = [np.array([number]) for number in (0.0, 4.0, 2.0, 1.0, 20.0, 2.0)]
    satterthwaite = stats.t.ppf(0.975, 25 / 2.45) ** 2 * 5
    howe = stats.t.ppf(0.975, 20) ** 2 * 3 + stats.t.ppf(0.975, 2) ** 2 * 2
    reach = half_width(Spread(*one, np.array([True])))[0]
    assert reach == pytest.approx(np.sqrt((satterthwaite + howe) / 2))
    # and with few patients, what is in both is taken out of the runs
    few = [np.array([number]) for number in (0.0, 4.0, 2.0, 1.0, 2.0, 20.0)]
    satterthwaite = stats.t.ppf(0.975, 25 / (16 / 2 + 1 / 20)) ** 2 * 5
    howe = stats.t.ppf(0.975, 2) ** 2 * 4 + stats.t.ppf(0.975, 20) ** 2 * 1
    assert half_width(Spread(*few, np.array([True])))[0] == pytest.approx(np.sqrt((satterthwaite + howe) / 2))


def test_the_mean_is_over_images_and_then_over_runs():
    values, draws = np.array([0.2, 0.4, 0.6, 0.9, np.nan, np.nan]), np.repeat([0, 1], 3)
    assert hierarchical_interval(values, "abcabc", draws, ONE[:1].repeat(6)).mean == pytest.approx((0.4 + 0.9) / 2)


def test_one_patient_gives_the_t_interval_of_the_means_of_draws():
    means = np.array([0.5, 0.7, 0.6])
    values = (means[:, None] + [-0.1, 0.1]).ravel()
    low, high = stats.t.interval(0.95, 2, 0.6, stats.sem(means))
    found = hierarchical_interval(values, ["a"] * 6, np.repeat([0, 1, 2], 2), [0] * 6, most=None)
    assert found == pytest.approx((0.6, low, high))


def test_with_one_draw_its_seeds_are_what_varies():
    values, patients, draws, seeds = benchmark_of(draws=3, seeds=1)
    as_draws = hierarchical_interval(values, patients, draws, seeds)
    assert hierarchical_interval(values, patients, seeds, draws) == pytest.approx(as_draws)


def test_as_many_patients_as_draws_give_the_same_in_any_order():
    values, patients = benchmark_of(patients=4, draws=1, seeds=1, missing=0)[:2]
    values, patients = np.concatenate([values[patients == p][:1] for p in range(4)] * 4), np.tile(np.arange(4), 4)
    values, draws = values + 0.05 * np.random.default_rng(1).standard_normal(16), np.repeat(np.arange(4), 4)
    found = hierarchical_interval(values, patients, draws, 0 * draws)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(16)
        assert hierarchical_interval(values[order], patients[order], draws[order], 0 * draws) == pytest.approx(found)


def test_seeds_of_one_draw_are_not_taken_for_draws():
    values, patients, draws, seeds = benchmark_of(draws=2, seeds=3, missing=0)
    values += 0.3 * (draws - 0.5)
    honest = hierarchical_interval(values, patients, draws, seeds, most=None)
    pretended = hierarchical_interval(values, patients, 3 * draws + seeds, 0 * seeds, most=None)
    assert honest.high - honest.low > 2 * (pretended.high - pretended.low)


def test_columns_are_as_one_by_one():
    values, *labels = benchmark_of(columns=(4,))
    values[labels[1] > 0, 2] = np.nan  # one draw
    values[labels[0] > 0, 3] = np.nan  # one patient
    together = hierarchical_interval(values, *labels)
    for k in range(4):
        alone = hierarchical_interval(values[:, k], *labels)
        assert [part[k] for part in together] == pytest.approx(list(alone))
    assert np.isfinite(together).all()


@given(some.randoms(use_true_random=False), some.floats(-5, 5), some.floats(0.1, 9))
def test_order_shift_and_unit_change_nothing_else(random, shift, unit):
    values, *labels = benchmark_of(patients=5, draws=2)
    found = np.array(hierarchical_interval(values, *labels, most=None))
    order = list(range(len(values)))
    random.shuffle(order)
    names = [[f"name {label}" for label in part[order]] for part in labels]
    assert hierarchical_interval(values[order], *names, most=None) == pytest.approx(found)
    assert hierarchical_interval(unit * values + shift, *labels, most=None) == pytest.approx(unit * found + shift)


# ----------------------------------------------------------------------------------------------------------------------
# Differences


def test_one_run_and_one_image_per_patient_give_the_paired_t_test():
    other = VALUES + BETTER
    found = paired_difference(other, VALUES, "abcde", ONE, ONE)
    usual = stats.ttest_rel(other, VALUES)
    assert found.p == pytest.approx(usual.pvalue)
    assert found[1:3] == pytest.approx(tuple(usual.confidence_interval()))


def test_p_is_the_level_at_which_the_interval_touches_zero():
    values, *labels = benchmark_of()
    other = values + 0.02 * np.random.default_rng(1).standard_normal(len(values)) + 0.01
    found = paired_difference(other, values, *labels)
    touching = paired_difference(other, values, *labels, level=1 - found.p)
    assert touching.low == pytest.approx(0, abs=1e-9)
    assert paired_difference(values, other, *labels) == pytest.approx((-found[0], -found[2], -found[1], found.p))


def test_what_both_methods_share_does_not_widen_their_difference():
    values, patients, draws, seeds = benchmark_of(missing=0)
    hard = values - 0.3 * (patients % 3) - 0.2 * draws
    noise = 0.01 * np.random.default_rng(1).standard_normal(len(values))
    found = paired_difference(hard + noise, hard, patients, draws, seeds)
    assert found == pytest.approx(paired_difference(values + noise, values, patients, draws, seeds))


def test_a_difference_is_that_of_the_means_and_a_false_alarm_of_one_method_counts():
    """Image 2 is a false alarm of b alone, which scores 0; where a predicts nothing, rightly, it has no score."""
    a, b = np.array([0.8, 0.6, np.nan, 0.7]), np.array([0.8, 0.6, 0.0, 0.7])
    found = paired_difference(a, b, "abcd", ONE[:4], ONE[:4])
    assert found.mean == pytest.approx(2.1 / 3 - 2.1 / 4)
    assert paired_difference(b, a, "abcd", ONE[:4], ONE[:4]).mean == pytest.approx(-found.mean)
    same = paired_difference(a, np.where(b == 0, np.nan, b), "abcd", ONE[:4], ONE[:4])
    assert (same.mean, same.p) == (0, 1)


def test_the_error_of_a_difference_with_false_alarms_is_that_of_leaving_patients_out():
    """The jackknife over patients, an independent way to the error of a difference of two ratios."""
    random = np.random.default_rng(3)
    patients = np.repeat(np.arange(60), 3)
    a, b = np.clip(random.normal([0.8, 0.75], 0.1, (180, 2)) + random.normal(0, 0.1, 60)[patients, None], 0, 1).T
    empty = random.random(180) < 0.4
    a, b = (np.where(empty, np.where(random.random(180) < rate, 0.0, np.nan), x) for rate, x in ((0.3, a), (0.1, b)))
    found = paired_difference(a, b, patients, 0 * patients, 0 * patients)
    without = [np.nanmean(a[patients != p]) - np.nanmean(b[patients != p]) for p in range(60)]
    error = np.sqrt(59 / 60 * np.sum((without - np.mean(without)) ** 2))
    assert found.mean == pytest.approx(np.nanmean(a) - np.nanmean(b))
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 59) * error, rel=0.05)


def test_a_run_in_which_one_method_has_no_score_at_all_is_in_neither_mean():
    a, b = np.array([0.5, 0.7, 0.9, 0.8]), np.array([0.4, 0.4, np.nan, np.nan])
    found = paired_difference(a, b, "xyxy", [0, 0, 1, 1], [0, 0, 0, 0])
    assert found == pytest.approx(paired_difference(a[:2], b[:2], "xy", [0, 0], [0, 0]))


def test_equal_scores_differ_by_nothing_and_a_constant_difference_is_certain():
    assert paired_difference(VALUES, VALUES, "abcde", ONE, ONE) == (0, 0, 0, 1)
    assert paired_difference(VALUES + 0.25, VALUES, "abcde", ONE, ONE).p < 1e-9
    assert np.isnan(paired_difference(VALUES, 0 * VALUES, "aaaaa", ONE, ONE)[1:]).all()


def test_false_claim_is_the_published_formula_for_one_run_of_independent_images():
    other = VALUES + BETTER
    n, r = 5, np.corrcoef(other, VALUES)[0, 1]
    s_a, s_b = other.std(ddof=1), VALUES.std(ddof=1)
    t = np.sqrt(n) * (VALUES.mean() - other.mean()) / np.sqrt(s_a**2 + s_b**2 - 2 * r * s_a * s_b)
    labels = ("abcde", ONE, ONE)
    assert false_claim(paired_difference(other, VALUES, *labels)) == pytest.approx(stats.t.cdf(t, n - 1))
    assert false_claim(paired_difference(VALUES, other, *labels)) == pytest.approx(stats.t.cdf(-t, n - 1))
    assert false_claim(paired_difference(VALUES, VALUES, *labels)) == 0.5


def test_images_of_one_patient_do_not_make_a_claim_safer():
    other = VALUES + BETTER
    once = false_claim(paired_difference(other, VALUES, "abcde", ONE, ONE))
    four_times = [np.tile(part, 4) for part in (other, VALUES)]
    again = paired_difference(*four_times, "abcde" * 4, np.tile(ONE, 4), np.tile(ONE, 4))
    assert false_claim(again) == pytest.approx(once)


# ----------------------------------------------------------------------------------------------------------------------
# Several methods


def spread_of_runs(*variances: float, freedom: float = 2.0) -> Spread:
    """Of differences with these variances by runs, and nothing by patients."""
    k, runs = len(variances), np.array(variances)
    patients_freedom, runs_freedom = np.full(k, np.inf), np.full(k, freedom)
    return Spread(np.ones(k), np.zeros(k), runs, np.zeros(k), patients_freedom, runs_freedom, np.ones(k, dtype=bool))


def test_variances_that_are_alike_become_their_mean_with_more_degrees_of_freedom():
    found = pooled_runs(spread_of_runs(1, 2, 3, 2))
    assert found.runs == pytest.approx([2, 2, 3, 2]), "a larger one stays"
    assert found.runs_freedom == pytest.approx(2 * 4 / (1 + 3 / 4)), "less than 8, as all share one method"


def test_variances_that_differ_more_than_by_chance_are_drawn_together_and_not_made_equal():
    # logarithms differ by log 100 each: variance 21.2 · 5/3; less 3/4 of what chance brings, ψ′(1) = π²/6
    variances = 100.0 ** np.arange(4)
    found = pooled_runs(spread_of_runs(*variances))
    more = np.log(100) ** 2 * 5 / 3 - 0.75 * np.pi**2 / 6
    prior = found.runs_freedom[0] - 2
    assert polygamma(1, prior / 2) == pytest.approx(more)
    share = prior / (prior + 2)
    typical = (found.runs[0] - (1 - share) * variances[0]) / share
    expected = np.log(1000) - (digamma(1) - np.log(1)) + digamma(prior / 2) - np.log(prior / 2)
    assert np.log(typical) == pytest.approx(expected)


def test_what_does_not_vary_or_is_alone_is_not_pooled():
    kept = pooled_runs(spread_of_runs(0, 1, 2, 3))
    assert kept.runs.tolist() == pytest.approx([0, 2, 2, 3])
    assert kept.runs_freedom[0] == 2
    assert pooled_runs(spread_of_runs(1, 3)).runs.tolist() == [1, 3]
    assert pooled_runs(spread_of_runs(1, 2, 3, freedom=np.inf)).runs.tolist() == [1, 2, 3]


def test_a_difference_over_one_draw_has_the_typical_variance_of_a_draw():
    k = 5
    parts = Spread(
        mean=np.ones(k), patients=np.array([1.0, 1, 1, 1, 4]), runs=np.array([1.0, 2, 3, 2, 0]),
        both=np.array([0.1, 0.2, 0.3, 0.2, 0]), patients_freedom=np.full(k, 30.0),
        runs_freedom=np.array([2.0, 2, 2, 2, np.inf]), estimable=np.ones(k, dtype=bool),
    )  # fmt: skip
    found = pooled_runs(parts, np.array([3, 3, 3, 3, 1]))
    assert found.runs == pytest.approx([2, 2, 3, 2, 6]), "three times that of a mean over three draws"
    assert found.both == pytest.approx([0.1, 0.2, 0.3, 0.2, 0.6])
    assert found.runs_freedom == pytest.approx(2 * 4 / (1 + 3 / 4))
    two_and_three = pooled_runs(parts._replace(runs=np.array([1.5, 1.0, 1.5, 1.0, 0])), np.array([2, 3, 2, 3, 1]))
    assert two_and_three.runs == pytest.approx([1.5, 1.0, 1.5, 1.0, 3]), "a draw varies by 3 in all of them"
    few = Spread(*(part[[0, 1, 4]] for part in parts))
    assert pooled_runs(few, np.array([3, 3, 1])).runs.tolist() == [1, 2, 0], "two tell nothing"


def test_what_is_equal_after_one_draw_or_has_nobody_to_tell_stays_as_it_is():
    parts = spread_of_runs(1, 2, 3, 0)
    assert pooled_runs(parts, np.array([3, 3, 3, 1])).runs[-1] == 0, "scores that do not differ"
    alone = parts._replace(runs=np.zeros(4), patients=np.ones(4))
    for before, after in zip(alone, pooled_runs(alone, np.ones(4, dtype=int)), strict=True):
        assert after.tolist() == before.tolist()


def test_methods_of_a_table_need_fewer_draws_together_than_alone():
    values, *labels = benchmark_of(patients=20, draws=3, seeds=1, columns=(12,), missing=0)
    values += 0.05 * np.random.default_rng(1).standard_normal((3, 12))[labels[1]]
    alone, together = (
        as_difference(pool(spread(values, *labels, less=values[:, :1]))) for pool in (lambda p: p, pooled_runs)
    )
    assert together.mean == pytest.approx(alone.mean)
    assert np.median(together.high[1:] - together.low[1:]) < 0.75 * np.median(alone.high[1:] - alone.low[1:])
    assert [part[0] for part in together] == [0, 0, 0, 1], "the one that all are compared with"
    one_run = labels[1] == 0
    found = [
        as_difference(pool(spread(values[one_run], *(part[one_run] for part in labels), less=values[one_run, :1])))
        for pool in (lambda p: p, pooled_runs)
    ]
    assert found[0].p == pytest.approx(found[1].p), "one run has no spread of runs to share"


def test_holm_is_as_elsewhere_and_leaves_what_was_not_tested():
    p = [0.01, 0.04, 0.03, 0.005, 0.8]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert holm([]).shape == (0,)


def worse(*p: float) -> list[Difference]:
    """The best method, and others that are worse with these p."""
    return [Difference(0.0, 0.0, 0.0, 1.0), *(Difference(-0.1, np.nan, np.nan, x) for x in p)]


def tied(differences: list[Difference]) -> np.ndarray:
    return worse_than_best(differences) >= 0.05


def test_the_best_of_two_is_significantly_better_at_the_two_sided_level():
    assert tied(worse(0.051)).tolist() == [True, True]
    assert tied(worse(0.049)).tolist() == [True, False]


def test_the_more_methods_the_better_the_best_must_be():
    # the range of three normal variables exceeds 3.314 with 5 %, a difference of two 3.314/√2 = 2.343: p 0.0191
    assert tied(worse(0.0192, 0.5)).all()
    assert tied(worse(0.0190, 0.5)).tolist() == [True, False, True]
    assert tied(worse(0.04, 0.5)).all(), "which Holm alone would call significant, one-sided"


def test_the_range_of_equal_methods_is_as_elsewhere():
    p = [1e-7, 1e-3, 0.03]
    deviates = stats.norm.isf(np.array(p) / 2)
    expected = [stats.studentized_range.sf(np.sqrt(2) * z, k, np.inf) for z, k in zip(deviates, (4, 3, 2), strict=True)]
    assert worse_than_best(worse(*p)) == pytest.approx([1, *expected], rel=1e-4)


def test_none_has_a_smaller_p_than_one_that_is_worse():
    assert worse_than_best(worse(0.001, 0.0011))[2] == worse_than_best(worse(0.001, 0.0011))[1]


def test_when_the_worst_is_out_the_next_is_compared_with_fewer():
    assert tied(worse(1e-6, 0.049)).tolist() == [True, False, False]
    assert tied(worse(0.049, 1e-6)).tolist() == [True, False, False]
    assert tied(worse(0.03, 0.049)).all()


def test_what_cannot_be_tested_stays_in():
    assert tied([*worse(np.nan), Difference(np.nan, np.nan, np.nan, np.nan)]).all()
    assert tied([Difference(0.0, np.nan, np.nan, np.nan)]).tolist() == [True]
    assert tied([]).shape == (0,)


def test_ranks_are_averaged_over_blocks_and_ties_share_theirs():
    scores = np.array([[0.9, 0.8, 0.7], [0.5, 0.5, 0.1], [0.3, 0.2, 0.6]])
    found = average_ranks(scores)
    assert found[0] == pytest.approx([(1 + 1.5 + 2) / 3, (2 + 1.5 + 3) / 3, (3 + 3 + 1) / 3])
    assert found[1] == 3


def test_who_rightly_finds_nothing_ranks_before_a_false_alarm_and_nothing_to_find_is_no_block():
    found = average_ranks(np.array([[np.nan, 0.0, np.nan], [0.4, 0.6, 0.5], [np.nan] * 3]))
    assert found[0] == pytest.approx([(1.5 + 3) / 2, (3 + 1) / 2, (1.5 + 2) / 2])
    assert found[1] == 2
    assert np.isnan(average_ranks(np.full((1, 3), np.nan))[0]).all()


# ----------------------------------------------------------------------------------------------------------------------
# Labels and computing


def differences(*means: float, reach: float = 0.02) -> list[Difference]:
    return [Difference(mean, mean - reach, mean + reach, np.nan) for mean in means]


def test_labels_saved_is_where_the_supervised_curve_reaches_the_method():
    # above supervised by 0.04 at 0.1 and below it by 0.04 at 0.4: equal at 0.2; 0.02 more or less at 0.1 · 4^(1/4, 3/4)
    found = labels_saved([0.1, 0.4], differences(0.04, -0.04))
    assert found == pytest.approx((0.2, 0.1 * 4**0.25, 0.1 * 4**0.75))
    assert labels_saved([0.4, 0.1], differences(-0.04, 0.04)) == pytest.approx(found), "in any order"


def test_beyond_the_curve_nothing_is_extrapolated():
    assert labels_saved([0.1, 0.4], differences(-0.04, -0.08)) == (0, 0, 0), "worse than the fewest labels"
    assert labels_saved([0.1, 0.4], differences(0.08, 0.04)) == (np.inf, np.inf, np.inf), "better than all labels"
    open_ended = labels_saved([0.1, 0.4], differences(0.01, -0.01))
    assert (open_ended.low, open_ended.high) == (0, np.inf)
    assert open_ended.mean == pytest.approx(0.2)


def test_a_curve_that_falls_by_chance_is_made_monotone():
    bumpy = labels_saved([0.05, 0.1, 0.2, 0.4], differences(0.06, 0.02, 0.04, -0.03))
    flat = labels_saved([0.05, 0.1, 0.2, 0.4], differences(0.06, 0.03, 0.03, -0.03))
    assert bumpy == pytest.approx(flat)
    assert bumpy.mean == pytest.approx(0.2 * 2**0.5)


def test_labels_saved_has_no_interval_where_the_differences_have_none():
    found = labels_saved(
        [0.1, 0.4], [Difference(0.04, np.nan, np.nan, np.nan), Difference(-0.04, np.nan, np.nan, np.nan)]
    )
    assert found == pytest.approx((0.2, np.nan, np.nan), nan_ok=True)
    with pytest.raises(ValueError, match="2 ratios, but 1 differences"):
        labels_saved([0.1, 0.4], differences(0.04))


def test_scores_are_read_where_all_methods_have_runs():
    cheap = ([100, 400, 400], [0.6, 0.7, 0.9])
    dear = ([200, 800], [0.5, 0.9])
    only = ([1000], [0.95])
    cost, scores = scores_at_cost([cheap, dear])
    assert (cost, scores.tolist()) == (400, pytest.approx([0.8, 0.7]))
    assert scores_at_cost([cheap, dear], 200)[1] == pytest.approx([0.7, 0.5])
    assert scores_at_cost([cheap, dear, only])[1] == pytest.approx([0.8, 0.7, np.nan], nan_ok=True)
    assert np.isnan(scores_at_cost([cheap], 99)[1]).all()
    with pytest.raises(ValueError, match="at least one run"):
        scores_at_cost([([], [])])


# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_whole_table_takes_under_two_seconds():
    values, *labels = benchmark_of(patients=220, draws=5, seeds=3, columns=(23,))
    start = time.process_time()
    for _ in range(5):  # ratios
        for k in range(23):
            hierarchical_interval(values[:, k], *labels)
        paired_difference(values, values[:, :1], *labels)
    assert len(values) / 15 > 600
    assert time.process_time() - start < 2


def test_few_test_patients_are_warned_of_by_what_their_t_allows():
    assert "cannot be generalised" in few_patients.warning(1)
    assert "only 2 patients" in few_patients.warning(2) and " 9.0 times" in few_patients.warning(2)  # 12.706 / √2
    assert " 0.8 times" in few_patients.warning(9)  # 2.306 / √9
    assert "20 patients: 0.5 times" in few_patients.warning(3)  # 2.093 / √20
    assert few_patients.warning(min(study.PATIENTS)) == ""


def test_results_are_numbers_for_one_column():
    found = hierarchical_interval(VALUES, "abcde", ONE, ONE)
    assert isinstance(found, Interval)
    assert all(type(part) is float for part in found)


def test_a_draw_with_more_seeds_weighs_no_more_than_another():
    patients, draws, seeds = list("ab") * 3, [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]
    values = np.array([0.2, 0.4, 0.7, 0.7, 0.9, 0.9])  # means 0.3; 0.7 and 0.9
    assert hierarchical_interval(values, patients, draws, seeds).mean == pytest.approx((0.3 + 0.8) / 2)
    assert paired_difference(values, 0 * values, patients, draws, seeds).mean == pytest.approx((0.3 + 0.8) / 2)
    parts = spread(values, patients, draws, seeds)
    # draws of 0.3 and 0.8, half each: two deviations of 0.25 halved, squared and doubled
    assert parts.runs == pytest.approx(2 * 2 * (0.25 / 2) ** 2)


def test_a_variance_above_what_the_others_make_of_it_stays():
    k, runs = 6, np.array([1.0, 1.1, 0.9, 1.05, 0.95, 40.0])
    one = np.ones(k)
    found = pooled_runs(Spread(0 * one, one, runs, 0 * one, 99 * one, 2 * one, one.astype(bool)))
    assert found.runs[-1] == 40
    assert (found.runs[:-1] > runs[:-1]).all()
