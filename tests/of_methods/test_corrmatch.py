"""CorrMatch's regions, labels, threshold and terms, by hand."""

import math

import pytest
import torch
from torch import nn

import methods
from methods import corrmatch
from methods.base import Batch
from methods.parts import correlation
from methods.parts.correlation import Correlation, propagated, regions
from methods.parts.nets import Arch
from methods.testing import contract

HALF = torch.tensor([[[0.4, 0.4, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4]]])  # the left half is a region, and the right
SIZES = torch.full((1, 1, 1, 4), 4.0)
THRESHOLD = torch.tensor(0.6)


def votes(background: list[float], gland: list[float]) -> torch.Tensor:
    """How many of each place's pixels are confident of either class, (1, 2, 1, 4)."""
    return torch.tensor([background, gland])[None, :, None]


def test_a_region_that_is_mostly_confident_of_one_class_becomes_all_of_it():
    covers, winner = regions(HALF, votes([0.0, 0, 0, 0], [4, 2, 2, 1]), SIZES, THRESHOLD)
    assert covers.tolist() == [[True, True, False, False]]  # ¾ of the left is confident, ⅜ of the right
    assert winner[0, :2].tolist() == [1, 1]


def test_a_region_of_two_classes_is_not_trusted():
    covers, _ = regions(HALF, votes([0.0, 4, 0, 0], [4, 0, 0, 0]), SIZES, THRESHOLD)
    assert not covers.any()


def test_a_region_without_a_pixel_of_its_own_is_not_trusted():
    covers, _ = regions(HALF, votes([0.0] * 4, [0.0] * 4), torch.zeros(1, 1, 1, 4), THRESHOLD)
    assert not covers.any()


def test_where_regions_disagree_most_decide():
    rows = torch.tensor([[[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0.3, 0.4, 0.4]]])
    covers, winner = regions(rows, votes([0, 0.4, 4, 4], [4, 3.6, 0, 0]), SIZES, THRESHOLD)
    assert covers.tolist() == [[True] * 4]
    assert winner.tolist() == [[1, 1, 0, 0]]


# Worked by hand: a row of eight places of one pixel each, two classes. Confident (c ≥ 0.75) are six pixels. Of the four
# regions A = {0, 1, 2, 3}, B = {4, 5, 6, 7}, C = {2, 3, 4, 5}, D = {0, 1, 2, 4}, A has 3 of 4 pixels confident (0.75,
# and equality counts), all of class 1; B 3 of 4, all of class 0. C has 3 of 4, but ⅔ of these of one class; D has 4 of
# 4, and ¾ of these of one class, which does not exceed 0.75. So pixel 3 becomes confident, and pixel 6 class 0.
P = [0.95, 0.90, 0.85, 0.60, 0.10, 0.05, 0.55, 0.02]  # probability of class 1
REGIONS = [(0, 1, 2, 3), (4, 5, 6, 7), (2, 3, 4, 5), (0, 1, 2, 4)]


@pytest.fixture
def rows_in_turn(monkeypatch):
    """Rows are drawn in turn, so that every region is among them."""
    monkeypatch.setattr(torch, "randint", lambda high, shape, device=None: torch.arange(shape[0]) % high)


def rows_of(regions: list[tuple[int, ...]]) -> torch.Tensor:
    """Eight rows of A: one for each region, and flat ones, which are none."""
    rows = torch.full((1, 8, 8), 0.125)
    for row, places in enumerate(regions):
        rows[0, row] = 0.05
        rows[0, row, list(places)] = 0.20
    return rows


class Given(nn.Module):
    """A network and a correlation that answer with given logits: of the weak view, then ½ everywhere."""

    def __init__(self):
        super().__init__()
        p = torch.tensor(P).view(1, 1, 1, 8)
        self.weak, self.asked, self.rows = torch.cat([1 - p, p], 1).log(), 0, rows_of(REGIONS)

    def encoder(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, x, x]

    def decoder(self, features: list[torch.Tensor]) -> torch.Tensor:
        self.asked += 1
        n = len(features[0])
        return self.weak.expand(n, -1, -1, -1) if self.asked == 1 else torch.zeros(n, 2, 1, 8)

    def forward(self, feature: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rows.expand(len(logits), -1, -1), torch.zeros_like(logits)

    def cell(self, logits: torch.Tensor) -> int:
        return 1


def terms_by_hand(monkeypatch, box: list[int], decay: float) -> dict[str, float]:
    settings = {"threshold": 0.75, "decay": decay, "adapt_decay": False, "regions": 1.0}
    method = methods.build("corrmatch", Arch("tu-test_efficientnet", weights="none", width=32), **settings)
    method.net = method.correlate = Given()
    where = torch.zeros(1, 1, 8, dtype=torch.bool)
    where[..., box] = True
    monkeypatch.setattr(corrmatch, "boxes", lambda u, p: where)
    batch = Batch(torch.rand(1, 3, 1, 8), torch.zeros(1, 1, 8, dtype=torch.long), torch.rand(1, 3, 1, 8))
    terms = method.losses(batch, torch.tensor(0.5))
    return {name: terms[name].item() / method.weights[name] for name in method.weights}


def test_every_term_has_the_value_worked_out_by_hand(monkeypatch, rows_in_turn):
    """All predictions but the weak one are ½, so a confident pixel costs ln 2 of eight."""
    terms = terms_by_hand(monkeypatch, box=[], decay=1.0)
    entropies = [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in (0.95, 0.90, 0.85, 0.10, 0.05, 0.02)]
    assert terms["strong"] == pytest.approx(math.log(2), abs=1e-4)  # all eight are confident after propagation
    assert terms["fp"] == pytest.approx(6 / 8 * math.log(2), abs=1e-4)  # 0.5199, and 0.6931 with propagated labels
    assert terms["corr"] == pytest.approx((1 + 6 / 8) / 2 * math.log(2), abs=1e-4)  # 0.6065
    assert terms["kl"] == pytest.approx(sum(math.log(2) - h for h in entropies) / 8, abs=1e-4)
    assert terms["kl"] == pytest.approx(0.3239, abs=1e-4)
    assert terms["sup_corr"] == pytest.approx(math.log(2), abs=1e-4)


def test_a_box_keeps_its_plain_labels(monkeypatch, rows_in_turn):
    """With pixel 3 in the box, region A is {0, 1, 2} and changes nothing; pixel 3 stays unsure, pixel 6 is won by B."""
    terms = terms_by_hand(monkeypatch, box=[3], decay=1.0)
    assert terms["strong"] == pytest.approx(7 / 8 * math.log(2), abs=1e-4)


def test_the_threshold_moves_before_it_is_used(monkeypatch, rows_in_turn):
    """τ = 0.999 · 0.75 + 0.001 · (0.95 + 0.98) / 2 = 0.750215: 0.75 of A and of B is no longer enough."""
    terms = terms_by_hand(monkeypatch, box=[], decay=0.999)
    assert terms["strong"] == pytest.approx(6 / 8 * math.log(2), abs=1e-4)


def test_labels_after_propagation_are_those_worked_out_by_hand(rows_in_turn):
    p = torch.tensor(P).view(1, 1, 8)
    y, kept = (p > 0.5).long(), torch.maximum(p, 1 - p) >= 0.75
    free = torch.ones_like(kept)
    y_prop, kept_prop = propagated(y, kept, free, 2, rows_of(REGIONS), 1, 1.0, torch.tensor(0.75))
    assert y_prop.flatten().tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert kept_prop.all()


def test_the_share_of_rows_is_a_share_of_the_places(monkeypatch):
    """0.076 of 8 × 8, 16 × 16 and 32 × 32 places are 5, 19 and 78 rows; a small map has at least one."""
    counts = []

    def counted(rows, *others):
        counts.append(rows.shape[1])
        return regions(rows, *others)

    monkeypatch.setattr(correlation, "regions", counted)
    for side in (2, 8, 16, 32):
        y = torch.zeros(1, side, side, dtype=torch.long)
        propagated(y, y == 0, y == 0, 2, torch.rand(1, side**2, side**2), 1, 0.076, torch.tensor(0.9))
    assert counts == [1, 5, 19, 78]


def test_the_correlation_has_a_bounded_number_of_places_however_large_the_image():
    method = methods.build("corrmatch", Arch("tu-test_efficientnet", weights="none"), grid=2)
    x = torch.rand(1, 3, 90, 70)
    alike, corr = method.correlate(method.net.encoder(x)[method.level], method.net(x))
    assert alike.shape == (1, 4, 4)
    assert corr.shape == (1, 2, 90, 70)
    torch.testing.assert_close(alike.sum(2), torch.ones(1, 4))


def test_the_threshold_follows_how_confident_the_classes_are_at_best():
    torch.manual_seed(0)
    settings = {"decay": 0.9, "adapt_decay": False}
    method = methods.build("corrmatch", Arch("tu-test_efficientnet", weights="none", width=32), **settings)
    x, u = torch.rand(1, 3, 32, 32), torch.rand(2, 3, 32, 32)
    kept = {name: value.clone() for name, value in method.state_dict().items()}
    method.losses(Batch(x, torch.zeros(1, 32, 32, dtype=torch.long), u), torch.tensor(0.5))
    now = method.state_dict()
    assert all(torch.equal(now[name], kept[name]) for name in kept), "losses alone change no saved state"
    p = method.net.eval()(u).softmax(1)
    best = [p[:, c][p.argmax(1) == c].max() for c in p.argmax(1).unique()]
    method.after_step()
    torch.testing.assert_close(method.threshold, 0.9 * torch.tensor(0.85) + 0.1 * sum(best) / len(best))


def test_in_a_short_run_the_threshold_follows_faster():
    decays = [methods.build("corrmatch", contract.TINY, **s).decay for s in ({}, {"adapt_decay": False})]
    assert decays == [0.9, 0.999]


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
    assert torch.isfinite(
        sum(vit.losses(Batch(x, torch.zeros(2, 64, 64, dtype=torch.long), x), torch.tensor(0.5)).values())
    )


def test_pixels_are_counted_in_single_precision_whatever_the_networks():
    """A region of 1,024 places of which 0.987 are confident is under a threshold of 0.989, which bf16 would lose."""
    torch.manual_seed(0)
    y = torch.zeros(1, 32, 32, dtype=torch.long)
    kept = torch.arange(1024).view(1, 32, 32) < 1011
    alike = torch.full((1, 1024, 1024), 0.6)
    alike[..., 0] = 0.0
    with torch.autocast("cpu", torch.bfloat16):
        _, covered = propagated(y, kept, y == 0, 2, alike.bfloat16(), 1, 0.01, torch.tensor(0.989))
    assert covered.sum() == 1011, "no more than were confident"
