"""Headroom, the share of it that is closed, equivalence and what could have been found, against numbers by hand."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from benchmark.analysis.simulation.worlds import WORLDS, Design, simulate
from benchmark.analysis.stats import Spread, detectable, equivalence, gap_closed, spread
from benchmark.analysis.stats import tested as as_difference

# four patients of one image each; gains of the method and of all labels in points
SUPERVISED = np.array([70.0, 80.0, 60.0, 90.0])
GAIN = np.array([1.0, 3.0, 2.0, 2.0])
HEADROOM = np.array([3.0, 5.0, 5.0, 3.0])
ONE = np.zeros(4, dtype=int)


def parts(a: np.ndarray, b: np.ndarray) -> Spread:
    return spread(a, np.arange(4), ONE, ONE, less=b)


def closed(gain: np.ndarray, headroom: np.ndarray):
    method, bound = SUPERVISED + gain, SUPERVISED + headroom
    found = gap_closed(parts(method, SUPERVISED), parts(bound, SUPERVISED), parts(method, bound))
    return tuple(float(number[0]) for number in found)


def test_the_share_of_the_gap_and_its_interval_by_hand():
    """Variances of the means 1/6 and 1/3, covariance 1/6, t² = 10.128 with 3 degrees of freedom.

    (2 − 4θ)² = t² (1/6 − θ/3 + θ²/3) is θ² − θ + (4 − t²/6) / (16 − t²/3) = 0, so θ = ½ ± √(¼ − 0.18314).
    """
    share, low, high = closed(GAIN, HEADROOM)
    assert share == pytest.approx(0.5)
    assert (low, high) == pytest.approx((0.24143, 0.75857), abs=2e-4)


def test_a_method_as_good_as_all_labels_closes_the_gap_and_one_that_loses_opens_it():
    assert closed(HEADROOM, HEADROOM) == pytest.approx((1, 1, 1), abs=1e-3)
    assert closed(0 * GAIN, HEADROOM) == pytest.approx((0, 0, 0), abs=1e-3)
    share, low, high = closed(-GAIN, HEADROOM)
    assert share == pytest.approx(-0.5)
    assert low < share < high < 0


def test_no_share_of_a_headroom_that_may_be_nothing():
    """−1, 3, 1, 1: mean 1, standard error √(8/12) = 0.82, t = 1.2. Any share could be true, so none is given."""
    assert np.isnan(closed(GAIN, np.array([-1.0, 3.0, 1.0, 1.0]))).all()
    assert np.isnan(closed(GAIN, -HEADROOM)).all(), "and none of a headroom below 0"


@pytest.mark.parametrize("shares", [(0.0, 1.3)])
def test_intervals_of_shares_cover_as_often_as_they_say_after_three_repeats(shares):
    """Six methods; the gains are on the scale of the effects, the true shares those of the means."""
    gains = np.array([0.0, 0.5, *(0.5 * share for share in shares for _ in range(3))])
    found = simulate(WORLDS["easy"], Design(20, 3, 1), gains, 20, np.random.default_rng(0))
    labels, mean = (found.patients, found.draws, found.seeds), found.true_for_new_runs
    covered = []
    for values in np.moveaxis(found.values, 2, 0):
        base, bound, methods = values[:, [0]], values[:, [1]], values[:, 2:]
        base, bound = np.broadcast_to(base, methods.shape), np.broadcast_to(bound, methods.shape)
        pairs = ((methods, base), (bound, base), (methods, bound))
        share = gap_closed(*(spread(a, *labels, less=b) for a, b in pairs), over=np.full(6, 3))
        known = ~np.isnan(share.mean)
        true = (mean[2:] - mean[0]) / (mean[1] - mean[0])
        covered += ((share.low <= true) & (true <= share.high))[known].tolist()
    assert len(covered) > 60
    assert np.mean(covered) > 0.88  # twenty tables, and the methods of one share their patients


# ----------------------------------------------------------------------------------------------------------------------
# No difference


def test_equivalence_is_two_one_sided_tests():
    method = SUPERVISED + GAIN
    for margin in (1.0, 2.5, 4.0):
        expected = ttost_paired(method, SUPERVISED, -margin, margin)[0]
        assert equivalence(parts(method, SUPERVISED), margin) == pytest.approx(expected)
        assert equivalence(parts(SUPERVISED, method), margin) == pytest.approx(expected), "whichever is subtracted"
    with pytest.raises(ValueError, match="give a number above 0"):
        equivalence(parts(method, SUPERVISED), 0)


def test_what_is_not_significant_need_not_be_equivalent():
    """−3, 3, 1, −1: mean 0, standard error √(20/12) = 1.29; t(3) beyond 1/1.29 has 25 %."""
    noisy = parts(SUPERVISED + np.array([-3.0, 3.0, 1.0, -1.0]), SUPERVISED)
    assert as_difference(noisy).p == pytest.approx(1)
    assert equivalence(noisy, 1.0) == pytest.approx(stats.t.sf(1 / np.sqrt(20 / 12), 3))


def test_what_could_have_been_found_by_hand():
    """The standard error is √(1/6); of t(3) 2.5 % lie beyond 3.182, 2.5 % / 20 beyond 9.465 and 20 % beyond 0.978."""
    gain = parts(SUPERVISED + GAIN, SUPERVISED)
    assert detectable(gain) == pytest.approx((3.18245 + 0.97847) / np.sqrt(6), rel=1e-4)
    assert detectable(gain, tests=20) == pytest.approx((9.46490 + 0.97847) / np.sqrt(6), rel=1e-3)
