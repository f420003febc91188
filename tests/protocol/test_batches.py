"""Draws are nested and stratified; a batch depends on seed and step alone and shows what the store holds."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from benchmark.datasets.base import Record
from benchmark.protocol import batches
from benchmark.protocol.batches import Batches, certificate, draw, gathered, in_stratified_order, sliced

CPU = torch.device("cpu")


def records(strata: dict[str, int]) -> list[Record]:
    names = [f"{stratum}{i}" for stratum, count in strata.items() for i in range(count)]
    return [Record(n, n, n, n[0], (), 64, 64, 0, True, n, n, "") for n in names]


def test_every_beginning_of_an_order_keeps_the_shares_of_the_strata():
    all_ = records({"a": 60, "b": 30, "c": 10})
    order = in_stratified_order(range(100), all_, seed=3)
    assert sorted(order) == list(range(100))
    for length in (10, 20, 50, 80):
        counts = Counter(all_[i].stratum for i in order[:length])
        for stratum, share in {"a": 0.6, "b": 0.3, "c": 0.1}.items():
            assert abs(counts[stratum] - share * length) <= 1


def test_a_smaller_ratio_lies_inside_a_larger_one(store, toy):
    toy = dataclasses.replace(toy, split=next(iter(store.dataset.splits)))
    drawn = {ratio: draw(store, dataclasses.replace(toy, ratio=ratio)) for ratio in (0.2, 0.5, 1.0)}
    assert set(drawn[0.2].labelled) < set(drawn[0.5].labelled) < set(drawn[1.0].labelled)
    for one in drawn.values():
        assert not set(one.labelled) & set(one.unlabelled)
        assert set(one.labelled) | set(one.unlabelled) == set(store.split()["train"])
        assert len(one.val) <= len(one.labelled)
        assert one.test == drawn[1.0].test
    assert all(not store.records[i].annotated for i in drawn[1.0].unlabelled)


def test_draws_differ_and_repeat(store, toy):
    first, again, other = (draw(store, dataclasses.replace(toy, draw=k, ratio=0.3)) for k in (0, 0, 1))
    assert first == again
    assert first.labelled != other.labelled


def test_a_ratio_too_small_for_one_image_is_refused_with_the_smallest(store, toy):
    with pytest.raises(ValueError, match="leaves no labelled image among the .* takes one, and 1 takes all"):
        draw(store, dataclasses.replace(toy, ratio=0.01))


def test_a_batch_depends_on_seed_and_step_alone(store, toy):
    drawn = draw(store, toy)
    first, second = Batches(toy, store, drawn, CPU), Batches(toy, store, drawn, CPU)
    for step in (5, 0, 3):
        second.at(step)
    for step in (0, 3, 5):
        one, two = first.at(step), second.at(step)
        assert torch.equal(one.x, two.x) and torch.equal(one.y, two.y) and torch.equal(one.u, two.u)
    other = Batches(dataclasses.replace(toy, seed=1), store, drawn, CPU)
    assert not torch.equal(first.at(0).x, other.at(0).x)


def test_labelled_images_are_the_same_whether_or_not_a_method_looks_at_the_others(store, toy):
    drawn = draw(store, toy)
    with_, without = Batches(toy, store, drawn, CPU), Batches(toy, store, drawn, CPU, uses_unlabelled=False)
    assert torch.equal(with_.at(2).x, without.at(2).x) and torch.equal(with_.at(2).y, without.at(2).y)
    assert with_.at(2).u.shape == (2, 3, 32, 32)
    assert without.at(2).u.shape == (0, 3, 32, 32)


def test_image_and_mask_are_cut_turned_and_flipped_together(store, toy):
    """Discs are dark and the ground is pale, so a mask can be read off its image."""
    batches = Batches(dataclasses.replace(toy, labelled=8), store, draw(store, toy), CPU)
    for step in range(6):
        batch = batches.at(step)
        dark = batch.x[:, 1] < 0.54
        assert (dark == (batch.y > 0)).float().mean() > 0.97


def test_all_eight_views_and_all_places_occur(store, toy):
    batches = Batches(toy, store, draw(store, toy), CPU)
    windows = np.concatenate([batches._windows(batches.labelled, 16, step, 0)[1].T for step in range(40)])
    assert set(windows[:, 2]) == set(range(8))
    assert set(windows[:, 0]) == set(windows[:, 1]) == set(range(48 - 32 + 1))
    flat = torch.arange(48 * 48)
    cuts = [
        batches._cut(flat, np.array([0]), np.array([48]), np.array([[3], [5], [view]]), torch.int64)[0].tolist()
        for view in range(8)
    ]
    square = flat.view(48, 48)[3:35, 5:37]
    turns = [torch.rot90(side, k) for side in (square, square.flip(1)) for k in range(4)]
    assert sorted(cuts) == sorted(turn.tolist() for turn in turns)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_crops_of_slices_and_of_one_gather_are_the_same(channels):
    """The first is how a CPU cuts, the second how a GPU does."""
    flat = torch.randint(256, (2 * 40 * 50, *channels), dtype=torch.uint8)
    starts, widths = np.repeat([0, 2000], 8), np.repeat([50, 40], 8)  # images of 40 × 50 and 50 × 40 pixels
    window = np.stack([np.arange(16) % 9, np.arange(16) % 7, np.tile(np.arange(8), 2)])
    for dtype in (torch.uint8, torch.int64):
        crops = sliced(flat, starts, widths, window, 32, dtype)
        assert crops.shape == (16, 32, 32, *channels) and crops.dtype == dtype
        assert torch.equal(crops, gathered(flat, starts, widths, window, 32, dtype))


def test_every_image_has_its_turn_before_any_has_a_second(store, toy):
    batches = Batches(toy, store, draw(store, toy), CPU)
    count = len(batches.labelled.starts)
    turns = [batches.labelled.turn(toy, 0, position) for position in range(3 * count)]
    for round_ in range(3):
        assert sorted(turns[round_ * count : (round_ + 1) * count]) == list(range(count))
    assert turns[:count] != turns[count : 2 * count]


def test_noise_stays_in_range_and_touches_a_quarter(store, toy):
    run = dataclasses.replace(toy, labelled=8)
    batches = Batches(run, store, draw(store, run), CPU)
    noisy = [image for step in range(40) for image in batches.at(step).x]
    grid = torch.stack([((image * 255 - (image * 255).round()).abs() < 1e-3).all() for image in noisy])
    assert 0.65 < grid.float().mean() < 0.85
    assert all(image.min() >= 0 and image.max() <= 1 for image in noisy)


def test_noise_is_normal_of_its_own_strength_and_never_the_same(store, toy, monkeypatch):
    run = dataclasses.replace(toy, labelled=8, crop=48)  # whole images, of which none is black or white
    plain, noisy = (Batches(run, store, draw(store, run), CPU) for _ in range(2))
    monkeypatch.setattr(batches, "NOISE_SHARE", 1)
    monkeypatch.setattr(batches, "NOISE_STD", 0.02)  # so small that nothing is clipped
    with_noise = torch.cat([noisy.at(step).x for step in range(8)])
    monkeypatch.setattr(batches, "NOISE_SHARE", 0)
    noise = with_noise - torch.cat([plain.at(step).x for step in range(8)])
    strength = noise.std((1, 2, 3))
    assert strength.max() < 0.0205 and strength.std() == pytest.approx(0.02 / 12**0.5, rel=0.2), "of uniform strength"
    values = (noise / strength[:, None, None, None]).flatten(1)
    assert values.mean().abs() < 0.01
    assert (values**4).mean() == pytest.approx(3, abs=0.05), "as heavy at its ends as the normal distribution"
    alike = torch.corrcoef(values) - torch.eye(len(values))
    assert alike.abs().max() < 6 / values.shape[1] ** 0.5, "no two images have the same"
    assert torch.corrcoef(values.view(-1, 3, 48**2).transpose(0, 1).flatten(1)).triu(1).abs().max() < 0.01


def test_a_crop_larger_than_the_smallest_image_is_refused(store, toy):
    run = dataclasses.replace(toy, crop=64)
    with pytest.raises(ValueError, match="crop of 64 pixels is larger than the image .* give --crop 32"):
        Batches(run, store, draw(store, run), CPU)


def test_a_batch_larger_than_memory_is_refused_before_it_is_cut(store, toy):
    run = dataclasses.replace(toy, labelled=10**9)
    with pytest.raises(
        ValueError, match="batch of 1,000,000,00. crops of 32 pixels takes 12,288.0 GB .* GB are free; give"
    ):
        Batches(run, store, draw(store, run), CPU)


def test_the_certificate_names_the_lists(store, toy):
    drawn = draw(store, toy)
    one = certificate(store, toy, drawn, {"shared patients": 0})
    other = certificate(store, toy, dataclasses.replace(drawn, labelled=drawn.labelled[1:]), {})
    assert one.images["labelled"] == len(drawn.labelled) and one.labelled == drawn.labelled
    assert one.lists["labelled"] != other.lists["labelled"]
    assert one.lists["test"] == other.lists["test"]
