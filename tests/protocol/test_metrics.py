"""Scores agree with values worked out by hand, with other people's code, and with one policy for empty masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import (
    DiceMetric,
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from torchmetrics.functional.classification import binary_calibration_error, binary_f1_score, binary_jaccard_index

from benchmark.protocol import metrics


def box(top: int, left: int, height: int, width: int, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


EMPTY, DIAGONAL = np.zeros((12, 16), np.uint8), 20.0  # 12² + 16² = 20²
masks = arrays(np.uint8, (9, 13), elements=st.integers(0, 1))
objects = arrays(np.uint8, (9, 13), elements=st.sampled_from([0, 0, 0, 1, 2, 5]))
quick = settings(max_examples=60, deadline=None)


def blobs(seed: int) -> np.ndarray:
    """A few overlapping boxes, some of them cut by the border."""
    random = np.random.default_rng(seed)
    mask = np.zeros((40, 50), np.uint8)
    for top, left, height, width in random.integers((-3, -3, 4, 4), (38, 48, 16, 16), size=(4, 4)):
        mask[max(top, 0) : top + height, max(left, 0) : left + width] = 1
    return mask


def surface_scores(truth, prediction, tolerance: float = metrics.BOUNDARY_TOLERANCE) -> tuple[float, float, float]:
    surface = metrics.surface(truth, prediction)
    return metrics.hd95(surface), metrics.assd(surface), metrics.boundary_f1(surface, tolerance)


def test_overlap_by_hand():
    truth, prediction = box(2, 2, 4, 4), box(2, 4, 4, 4)  # 16 pixels each, 8 in common
    assert metrics.dice(truth, prediction) == 0.5
    assert metrics.jaccard(truth, prediction) == pytest.approx(8 / 24)


def test_distances_by_hand():
    # a single pixel against one 3 right and 4 down of it
    assert surface_scores(box(1, 1, 1, 1), box(5, 4, 1, 1)) == (5.0, 5.0, 0.0)
    assert surface_scores(box(1, 1, 1, 1), box(5, 4, 1, 1), tolerance=5) == (5.0, 5.0, 1.0)
    # columns of 4 pixels, one of them with a second column beside it: of 8 and 4 distances, 4 are 1
    wide = surface_scores(box(2, 2, 4, 2), box(2, 2, 4, 1), tolerance=0)
    assert wide == pytest.approx((1.0, 4 / 12, 2 / 3))  # precision 1, recall 1/2


def test_hd95_is_the_larger_of_the_two_directed_percentiles():
    # 40 pixels of a line are found; the 20 pixels that follow are not: from the truth the distances are 0 … 0, 1 … 20
    truth, prediction = box(3, 0, 1, 60, (7, 70)), box(3, 0, 1, 40, (7, 70))
    expected = np.percentile(np.r_[np.zeros(40), np.arange(1, 21)], 95)
    assert metrics.hd95(metrics.surface(truth, prediction)) == pytest.approx(expected)
    assert metrics.hd95(metrics.surface(prediction, truth)) == pytest.approx(expected)


def test_both_empty_is_nan_everywhere():
    assert np.isnan(metrics.dice(EMPTY, EMPTY))
    assert np.isnan(metrics.jaccard(EMPTY, EMPTY))
    assert np.isnan(surface_scores(EMPTY, EMPTY)).all()
    assert np.isnan(metrics.object_scores(EMPTY, EMPTY)).all()


@pytest.mark.parametrize(("truth", "prediction"), [(EMPTY, box(1, 1, 2, 2)), (box(1, 1, 2, 2), EMPTY)])
def test_a_false_alarm_or_a_miss_scores_nothing_at_the_distance_of_the_diagonal(truth, prediction):
    assert metrics.dice(truth, prediction) == metrics.jaccard(truth, prediction) == 0
    assert surface_scores(truth, prediction) == (DIAGONAL, DIAGONAL, 0.0)
    assert metrics.object_scores(truth, prediction) == (0.0, 0.0, DIAGONAL)


def test_masks_of_different_sizes_are_refused():
    for score in (metrics.dice, metrics.jaccard, metrics.surface, metrics.object_scores):
        with pytest.raises(ValueError, match="must agree"):
            score(EMPTY, EMPTY.T)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils:FutureWarning")
@pytest.mark.parametrize("seed", range(12))
def test_overlap_and_distances_equal_monai_and_torchmetrics(seed):
    truth, prediction = blobs(seed), blobs(seed + 100)
    t, p = (torch.from_numpy(mask).long() for mask in (truth, prediction))
    assert metrics.dice(truth, prediction) == pytest.approx(binary_f1_score(p, t).item(), abs=1e-6)
    assert metrics.dice(truth, prediction) == pytest.approx(DiceMetric()(p[None, None], t[None, None]).item(), abs=1e-6)
    assert metrics.jaccard(truth, prediction) == pytest.approx(binary_jaccard_index(p, t).item(), abs=1e-6)
    hot_p, hot_t = (torch.stack([1 - mask, mask])[None] for mask in (p, t))
    hd95, assd, _ = surface_scores(truth, prediction)
    assert hd95 == pytest.approx(compute_hausdorff_distance(hot_p, hot_t, percentile=95).item(), abs=1e-4)
    assert assd == pytest.approx(compute_average_surface_distance(hot_p, hot_t, symmetric=True).item(), abs=1e-4)


def test_nsd_by_hand():
    # columns of 4 pixels, one of them with a second column beside it: 4 of 8 and 4 of 4 pixels are on the other's
    wide = metrics.surface(box(2, 2, 4, 2), box(2, 2, 4, 1))
    assert metrics.surface_dice(wide, 0) == pytest.approx(8 / 12)
    assert metrics.surface_dice(wide, 1) == 1
    single = metrics.surface(box(1, 1, 1, 1), box(5, 4, 1, 1))  # 5 pixels apart
    assert (metrics.surface_dice(single, 4.9), metrics.surface_dice(single, 5)) == (0, 1)
    assert np.isnan(metrics.surface_dice(metrics.surface(EMPTY, EMPTY)))
    small = np.zeros((2, 2), np.uint8)
    assert metrics.surface_dice(metrics.surface(small, small + 1)) == 0, "a false alarm in a tiny image"


@pytest.mark.filterwarnings("ignore:monai.metrics.utils:FutureWarning")
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tolerance", [0.0, 1.0, 3.0])
def test_nsd_equals_monais_surface_dice(seed, tolerance):
    truth, prediction = blobs(seed), blobs(seed + 100)
    hot_p, hot_t = (torch.from_numpy(np.stack([1 - mask, mask]))[None] for mask in (prediction, truth))
    expected = compute_surface_dice(hot_p, hot_t, [tolerance]).item()
    assert metrics.surface_dice(metrics.surface(truth, prediction), tolerance) == pytest.approx(expected, abs=1e-6)


@quick
@given(masks, masks, st.sampled_from([0.0, 1.0, 1.5, 3.0]))
def test_distances_equal_those_between_all_pairs_of_boundary_pixels(truth, prediction, tolerance):
    if not truth.any() or not prediction.any():
        return
    outlines = [np.argwhere(mask.astype(bool) & ~binary_erosion(mask)) for mask in (truth, prediction)]
    between = cdist(*outlines)
    misses, alarms = between.min(1), between.min(0)
    recall, precision = np.mean(misses <= tolerance), np.mean(alarms <= tolerance)
    hd95, assd, boundary_f1 = surface_scores(truth, prediction, tolerance)
    assert hd95 == pytest.approx(max(np.percentile(misses, 95), np.percentile(alarms, 95)))
    assert assd == pytest.approx(np.r_[misses, alarms].mean())
    nsd = metrics.surface_dice(metrics.surface(truth, prediction), tolerance)
    assert nsd == pytest.approx(np.r_[misses <= tolerance, alarms <= tolerance].mean())
    assert boundary_f1 == pytest.approx(2 * precision * recall / (precision + recall or 1))


@quick
@given(masks, masks)
def test_scores_are_bounded_symmetric_and_blind_to_flips(truth, prediction):
    def all_scores(a, b):
        return [metrics.dice(a, b), metrics.jaccard(a, b), *surface_scores(a, b)]

    scores = all_scores(truth, prediction)
    overlap, common, hd95, assd, boundary_f1 = scores
    assert all_scores(prediction, truth) == pytest.approx(scores, nan_ok=True)
    for turned in (np.flipud, np.fliplr, np.transpose):
        assert all_scores(turned(truth), turned(prediction)) == pytest.approx(scores, nan_ok=True)
    if truth.any() or prediction.any():
        assert 0 <= common <= overlap <= 1
        assert overlap == pytest.approx(2 * common / (1 + common))
        assert 0 <= hd95 <= np.hypot(*truth.shape)
        assert 0 <= assd <= np.hypot(*truth.shape)
        assert 0 <= boundary_f1 <= 1
    if truth.any():
        assert all_scores(truth, truth) == [1, 1, 0, 0, 1]


def test_object_scores_by_hand():
    # truth: 1 of 4×4 and 2 of 2×4; prediction: 7 covers the left half of 1, 9 lies apart from all
    truth = box(1, 1, 4, 4) + 2 * box(7, 1, 2, 4)
    prediction = 7 * box(1, 1, 4, 2) + 9 * box(1, 12, 4, 2)
    scores = metrics.object_scores(truth, prediction)
    assert scores.f1 == pytest.approx(2 * 1 / (2 + 2))  # exactly half of 1 is covered: a hit
    # truth's side: 16/24 · 2·8/(16+8) + 0; prediction's side: 8/16 · 2·8/24 + 0
    assert scores.dice == pytest.approx((16 / 24 * 2 / 3 + 8 / 16 * 2 / 3) / 2)
    # 1 to 7 and back: 2. 2 has no partner; nearest is 7, from row 1 to row 7. 9 has none; nearest is 1, 11 columns
    assert scores.hausdorff == pytest.approx((16 / 24 * 2 + 8 / 24 * np.hypot(6, 0) + 8 / 16 * 2 + 8 / 16 * 11) / 2)


def test_one_predicted_object_over_two_true_ones_is_one_hit_and_one_miss():
    truth = box(1, 1, 4, 4) + 2 * box(1, 6, 4, 4)
    assert metrics.object_scores(truth, box(1, 1, 4, 9)).f1 == pytest.approx(2 * 1 / (2 + 1))


def test_a_true_object_cut_in_halves_is_hit_once():
    truth = box(1, 1, 4, 4)
    assert metrics.object_scores(truth, box(1, 1, 4, 2) + 2 * box(1, 3, 4, 2)).f1 == pytest.approx(2 * 1 / (1 + 2))


def test_less_than_half_of_an_object_is_no_hit():
    assert metrics.object_scores(box(1, 1, 4, 4), box(1, 1, 4, 1)).f1 == 0


def test_the_inside_of_an_object_counts_in_its_hausdorff_distance():
    # a full square against its own outline, numbered alike: the centre is 3 from the outline, no boundary pixel is
    full, ring = box(2, 2, 7, 7), box(2, 2, 7, 7) - box(3, 3, 5, 5)
    assert metrics.object_scores(full, ring).hausdorff == 3


@quick
@given(objects, objects)
def test_object_scores_equal_a_plain_reading_of_their_definition(truth, prediction):
    if not truth.any() or not prediction.any():
        return
    scores = metrics.object_scores(truth, prediction)
    assert scores == pytest.approx(plain_object_scores(truth, prediction))
    assert 0 <= scores.f1 <= 1
    assert 0 <= scores.dice <= 1


@pytest.mark.parametrize("seed", range(8))
def test_object_scores_of_larger_objects_with_holes_equal_the_plain_reading(seed):
    truth, prediction = (metrics.components(blobs(s) ^ blobs(s + 50)) for s in (seed, seed + 100))
    assert metrics.object_scores(truth, prediction) == pytest.approx(plain_object_scores(truth, prediction))


def plain_object_scores(truth, prediction):
    """The three scores by loops over objects and over all pairs of pixels."""

    def hausdorff(a, b):
        between = cdist(np.argwhere(a), np.argwhere(b))
        return max(between.min(1).max(), between.min(0).max())

    def partner(a, others):
        shared = [(np.sum(a & (others == n)), -int(n)) for n in np.unique(others[others > 0])]
        most, number = max(shared)
        return others == -number if most else None

    hits, sides = 0, []
    covered = []
    for n in np.unique(prediction[prediction > 0]):
        its = partner(prediction == n, truth)
        if its is not None and np.sum(its & (prediction == n)) >= its.sum() / 2 and its.tobytes() not in covered:
            covered.append(its.tobytes())
            hits += 1
    for mine, others in ((truth, prediction), (prediction, truth)):
        overlap = distance = 0.0
        for n in np.unique(mine[mine > 0]):
            a, its = mine == n, partner(mine == n, others)
            share = a.sum() / np.sum(mine > 0)
            overlap += share * (0 if its is None else 2 * np.sum(a & its) / (a.sum() + its.sum()))
            distance += share * (
                min(hausdorff(a, others == m) for m in np.unique(others[others > 0]))
                if its is None
                else hausdorff(a, its)
            )
        sides.append((overlap, distance))
    count = sum(len(np.unique(o[o > 0])) for o in (truth, prediction))
    return (2 * hits / count, *np.mean(sides, axis=0))


@quick
@given(objects, objects)
def test_object_scores_do_not_change_with_flips(truth, prediction):
    scores = metrics.object_scores(truth, prediction)
    assert metrics.object_scores(np.flipud(truth), np.flipud(prediction)) == pytest.approx(scores, nan_ok=True)
    if truth.any():
        assert metrics.object_scores(truth, truth) == pytest.approx((1, 1, 0))


def test_pixels_that_touch_at_a_corner_are_one_component():
    diagonal = np.eye(3, dtype=np.uint8)
    assert metrics.components(diagonal).max() == 1
    assert metrics.components(box(0, 0, 2, 2) + box(0, 3, 2, 2)).max() == 2


def test_calibration_error_by_hand():
    # bin [0, .5): probabilities .1 .3, one foreground: |.4 − 1|; bin [.5, 1]: .9 1., both foreground: |1.9 − 2|
    bins = metrics.calibration_bins(np.array([0.1, 0.3, 0.9, 1.0]), np.array([1, 0, 1, 1], bool), bins=2)
    assert bins == pytest.approx(np.array([[2, 2], [0.4, 1.9], [1, 2]]))
    assert metrics.calibration_error(bins) == pytest.approx((0.6 + 0.1) / 4)
    assert np.isnan(metrics.calibration_error(np.zeros((3, 5))))


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_equals_torchmetrics_and_adds_up_over_parts(seed):
    random = np.random.default_rng(seed)
    probability = random.random((20, 30)).astype(np.float32)
    truth = random.random((20, 30)) < probability**2
    parts = [metrics.calibration_bins(probability[rows], truth[rows]) for rows in (slice(0, 7), slice(7, 20))]
    expected = binary_calibration_error(
        torch.from_numpy(probability), torch.from_numpy(truth).int(), n_bins=metrics.CALIBRATION_BINS
    )
    assert metrics.calibration_error(sum(parts)) == pytest.approx(expected.item(), abs=1e-6)


def test_false_alarms_are_counted_over_object_free_images_only():
    flags = [(True, True), (False, True), (False, False), (True, False)]
    alarms = [metrics.false_alarm(present, predicted) for present, predicted in flags]
    assert alarms == pytest.approx([np.nan, 1, 0, np.nan], nan_ok=True)


def test_dice_as_released_cdma_drops_the_first_image_and_counts_background_and_empty_classes():
    per_class = np.array([[0.2, 0.1], [0.9, 0.6], [1.0, np.nan]])
    assert metrics.dice_as_released_cdma(per_class) == pytest.approx((0.9 + 0.6 + 1 + 1) / 4)
    assert np.isnan(metrics.dice_as_released_cdma(per_class[:1]))
