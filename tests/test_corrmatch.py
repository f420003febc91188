"""CorrMatch's regions, by hand: four places in a row, of four pixels each, and two classes."""

import torch

import methods
from methods.base import Batch
from methods.parts.correlation import Correlation, propagated, regions
from methods.parts.nets import Arch

ROWS = torch.tensor([[[0.4, 0.4, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4]]])  # the left half is a region, and the right
THRESHOLD = torch.tensor(0.6)


def surely(background: list[float], gland: list[float]) -> torch.Tensor:
    """Shares of each place's pixels that are surely of either class, (1, 2, 1, 4)."""
    return torch.tensor([background, gland])[None, :, None]


def test_a_region_that_is_mostly_sure_of_one_class_becomes_all_of_it():
    covers, winner = regions(ROWS, surely([0, 0, 0, 0], [1, 0.5, 0.5, 0.25]), THRESHOLD)
    assert covers.tolist() == [[True, True, False, False]]  # 0.75 of the left is sure, 0.375 of the right
    assert winner[0, :2].tolist() == [1, 1]


def test_a_region_of_two_classes_is_not_trusted():
    covers, _ = regions(ROWS, surely([0, 1, 0, 0], [1, 0, 0, 0]), THRESHOLD)
    assert not covers.any()


def test_where_regions_disagree_most_decide():
    rows = torch.tensor([[[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0.3, 0.4, 0.4]]])
    covers, winner = regions(rows, surely([0, 0.1, 1, 1], [1, 0.9, 0, 0]), THRESHOLD)
    assert covers.tolist() == [[True] * 4]
    assert winner.tolist() == [[1, 1, 0, 0]]


def test_the_correlation_has_a_bounded_number_of_places_however_large_the_image():
    method = methods.build("corrmatch", Arch("tu-test_efficientnet", weights="none"), grid=2)
    x = torch.rand(1, 3, 90, 70)
    alike, corr = method.correlate(method.net.encoder(x)[method.level], method.net(x))
    assert alike.shape == (1, 4, 4)
    assert corr.shape == (1, 2, 90, 70)
    torch.testing.assert_close(alike.sum(2), torch.ones(1, 4))


def test_the_threshold_follows_how_sure_the_classes_are_at_best():
    torch.manual_seed(0)
    method = methods.build("corrmatch", Arch("tu-test_efficientnet", weights="none"), decay=0.9)
    x, u = torch.rand(1, 3, 32, 32), torch.rand(2, 3, 32, 32)
    method.losses(Batch(x, torch.zeros(1, 32, 32, dtype=torch.long), u), 0.5)
    was, seen = method.threshold.clone(), method.seen.clone()
    assert 0.5 <= seen <= 1
    assert seen != was
    method.after_step()
    torch.testing.assert_close(method.threshold, 0.9 * was + 0.1 * seen)


def test_a_feature_of_any_stride_is_paired_with_its_own_pixels():
    torch.manual_seed(0)
    for stride in (8, 14, 16, 32):
        correlate, side = Correlation(4, stride, 32), 8
        feature = torch.rand(1, 4, side, side)
        logits = feature[:, :2].repeat_interleave(stride, 2).repeat_interleave(stride, 3)
        alike, corr = correlate(feature, logits)
        assert alike.shape == (1, side**2, side**2)
        assert corr.shape == logits.shape
        q = correlate.query(correlate.project(feature)).flatten(2)
        k = correlate.key(correlate.project(feature)).flatten(2)
        torch.testing.assert_close(alike, (q.mT @ k / 16).softmax(2))


def test_the_features_of_a_transformer_are_its_deepest_at_its_patch():
    unet = methods.build("corrmatch", Arch("tu-test_efficientnet", weights="none"))
    assert (unet.level, unet.correlate.stride) == (-2, 16)
    vit = methods.build("corrmatch", Arch("tu-test_vit", "dpt", weights="none", width=16))
    assert (vit.level, vit.correlate.stride) == (-1, vit.net.encoder.stride)
    x = torch.rand(2, 3, 64, 64)
    assert vit.net.encoder(x)[-1].shape[-1] * vit.correlate.stride == 64
    assert torch.isfinite(sum(vit.losses(Batch(x, torch.zeros(2, 64, 64, dtype=torch.long), x), 0.5).values()))


def test_shares_are_compared_in_single_precision_whatever_the_networks():
    """A region of 1,024 places of which 0.987 are sure is under a threshold of 0.989, which bf16 would lose."""
    torch.manual_seed(0)
    y, of_class = torch.zeros(1, 32, 32, dtype=torch.long), torch.zeros(1, 2, 32, 32)
    of_class[:, 0] = 1
    sure = torch.arange(1024).view(1, 32, 32) < 1011
    alike = torch.full((1, 1024, 1024), 0.6)
    alike[..., 0] = 0.0
    with torch.autocast("cpu", torch.bfloat16):
        _, covered = propagated(y, sure, of_class, alike.bfloat16(), 1, 8, torch.tensor(0.989))
    assert covered.sum() == 1011, "no more than were sure"
