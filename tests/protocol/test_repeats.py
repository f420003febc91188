"""Repeats are independent: what is random in a run depends on seed and draw, and only on them and the step."""

import dataclasses

import pytest
import torch

from benchmark.protocol import setup, step, train
from benchmark.protocol.batches import Batches, Draw

CPU = torch.device("cpu")
REPEATS = [(0, 0), (1, 0), (0, 1), (1, 1)]  # draw, seed


def repeats(toy) -> list:
    return [dataclasses.replace(toy, method="mean_teacher", draw=draw, seed=seed) for draw, seed in REPEATS]


def all_differ(values: list[torch.Tensor]) -> bool:
    return not any(torch.equal(one, other) for i, one in enumerate(values) for other in values[:i])


@pytest.fixture
def same_images(store) -> Draw:
    """One labelled subset for all repeats, so that only order, crops and noise can make batches differ."""
    places = [i for i in store.split()["train"] if store.records[i].annotated]
    return Draw(places, places, [], store.split()["test"])


@pytest.mark.parametrize("step", [0, 3])
@pytest.mark.parametrize("part", ["x", "y", "u"])
def test_batches_of_the_same_images_differ_between_repeats(store, toy, same_images, step, part):
    batches = [Batches(run, store, same_images, CPU).at(step) for run in repeats(toy)]
    assert all_differ([getattr(batch, part) for batch in batches])


def test_order_crops_and_noise_differ_each_by_itself(store, toy, same_images):
    pools = [Batches(run, store, same_images, CPU) for run in repeats(toy)]
    windows = [pool._windows(pool.labelled, 4, 0, 0) for pool in pools]
    assert all_differ([torch.tensor([pool.labelled.turn(pool.run, 0, k) for k in range(40)]) for pool in pools])
    assert all_differ([torch.from_numpy(window) for _, window in windows])
    assert all_differ([pool.normals for pool in pools])


def test_initial_weights_differ_between_repeats_and_not_between_methods_of_one(store, toy):
    built = [setup.build(run, len(store.classes(""))) for run in repeats(toy)]
    heads = [next(p for name, p in method.named_parameters() if "head" in name and p.ndim > 1) for method in built]
    assert all_differ(heads)
    alone = setup.build(dataclasses.replace(toy, method="supervised"), len(store.classes("")))
    shared = next(p for name, p in alone.named_parameters() if "head" in name and p.ndim > 1)
    assert torch.equal(shared, heads[0])


def test_dropout_differs_between_repeats_and_steps(store, toy, tmp_path, monkeypatch):
    """Which channels a step of training would drop, before it computes anything."""
    take_step, masks = step.take_step, []

    def watched(method, *given):
        state = torch.get_rng_state()
        masks.append(torch.nn.functional.dropout2d(torch.ones(8, 64, 1, 1)) == 0)
        torch.set_rng_state(state)
        return take_step(method, *given)

    monkeypatch.setattr(step, "take_step", watched)
    for draw, seed in REPEATS:
        train.train(dataclasses.replace(toy, steps=2, draw=draw, seed=seed), store, tmp_path)
    assert len(masks) == 2 * len(REPEATS)
    assert all_differ(masks)


def test_the_same_repeat_has_the_same_batches_for_every_method(store, toy, same_images):
    one, other = (
        Batches(dataclasses.replace(toy, method=name), store, same_images, CPU).at(2) for name in ("cdma", "fixmatch")
    )
    assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y) and torch.equal(one.u, other.u)
