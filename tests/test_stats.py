"""An interval must hold the true mean as often as it says, with images that come in patients."""

import numpy as np
import pytest
from scipy import stats

from benchmark.stats import mean_interval


def test_one_image_per_patient_gives_the_usual_t_interval():
    values = np.array([0.5, 0.7, 0.6, 0.9, 0.8])
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert mean_interval(values, "abcde", most=None) == pytest.approx((values.mean(), low, high))


def test_equal_groups_give_the_t_interval_of_the_patient_means():
    values, groups = np.array([0.5, 0.7, 0.6, 0.9, 0.8, 0.1]), ["a", "a", "b", "b", "c", "c"]
    means = values.reshape(3, 2).mean(1)
    low, high = stats.t.interval(0.9, 2, means.mean(), stats.sem(means))
    assert mean_interval(values, groups, level=0.9, most=None) == pytest.approx((means.mean(), low, high))


def test_unequal_groups_by_hand():
    # patient a: 1 and 1, patient b: 0. Mean 2/3; weighted residual sums ±2/9. The working variances are
    # 0.05 + 0.95/2 and 1 for the patients' means, 4/9 · 0.525 + 1/9 = 31/90 for the whole mean, 0.525 (1 − 4/3) + 31/90 = 61/360 and
    # 1 − 2/3 + 31/90 = 61/90 for their differences; the factors are 189/61 and 90/61; two patients leave one freedom
    reach = stats.t.ppf(0.975, 1) * np.sqrt(4 / 81 * 279 / 61)
    assert mean_interval([1, 1, 0], "aab", most=None) == pytest.approx((2 / 3, 2 / 3 - reach, 2 / 3 + reach))


def test_repeating_every_image_of_a_patient_does_not_narrow_the_interval():
    values, groups = [0.5, 0.7, 0.6, 0.9], list("abcd")
    once, thrice = mean_interval(values, groups), mean_interval(values * 3, groups * 3)
    assert thrice == pytest.approx(once)


def test_nan_is_left_out_and_its_patient_with_it():
    assert mean_interval([0.5, np.nan, 0.7, np.nan], "aabc") == pytest.approx(mean_interval([0.5, 0.7], "ab"))


def test_one_patient_has_a_mean_but_no_interval():
    mean, low, high = mean_interval([0.5, 0.7], "aa")
    assert mean == pytest.approx(0.6)
    assert np.isnan(low)
    assert np.isnan(high)
    assert np.isnan(mean_interval([np.nan], "a")).all()
    assert np.isnan(mean_interval([], "")).all()


@pytest.mark.parametrize("sizes", [[5] * 8, [1, 2, 3, 5, 9, 20], [1] * 10 + [4] * 10])
@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(sizes, shared):
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    held, trials = 0, 1000
    for _ in range(trials):
        patient = random.standard_normal(len(sizes))[groups]
        values = np.sqrt(shared) * patient + np.sqrt(1 - shared) * random.standard_normal(len(groups))
        _, low, high = mean_interval(values, groups, most=None)
        held += low <= 0 <= high
    assert 0.92 <= held / trials <= 0.99
