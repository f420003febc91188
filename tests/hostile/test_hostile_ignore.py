"""The ignore label from `bench data add` to losses, scores and tables: no pixel of it decides anything."""

import csv

import numpy as np
import pytest
import torch
from conftest import TOY, blob
from PIL import Image

import methods.base
from benchmark.datasets import base
from benchmark.datasets.store import Store, add, at_resolution, summary
from benchmark.protocol import checkpoint, evaluate, scoring, setup, train
from benchmark.protocol.batches import Batches, draw
from benchmark.report import folder
from benchmark.runs import Run

SIZE, UNDECIDED = 48, slice(30, None)  # the columns that nobody has decided


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Ten images of five patients; of all masks but the first the right third is ignored, of the second everything."""
    root = tmp_path_factory.mktemp("folder")
    for part in ("images", "masks"):
        (root / part).mkdir()
    for i in range(10):
        image, mask = blob(i, SIZE)
        if i:
            mask[:, UNDECIDED] = base.IGNORE
        if i == 1:
            mask[:] = base.IGNORE
        Image.fromarray(image).save(root / "images" / f"b{i}.png")
        Image.fromarray(mask).save(root / "masks" / f"b{i}.png")
    (root / "patients.csv").write_text("image,patient\n" + "".join(f"b{i},p{i // 2}\n" for i in range(10)))
    return add("folder", root, tmp_path_factory.mktemp("data"), "toy")


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    """A rehearsal run on it: its results and its record."""
    results = tmp_path_factory.mktemp("results")
    return results, train.train(Run(method="supervised", **{**TOY, "ratio": 1.0}), store, results)


def test_the_number_is_the_same_for_data_and_methods():
    assert base.IGNORE == methods.base.IGNORE == 255


def test_the_summary_and_the_classes_say_what_it_is(store):
    assert store.ignores and store.classes() == ("background", "foreground")
    said = "\n".join(summary(store))
    assert "Ignore label 255" in said and "in 9 masks" in said


def test_it_arrives_in_the_batch_of_every_task_and_no_loss_depends_on_it(store):
    run = setup.complete(Run(method="supervised", **{**TOY, "ratio": 1.0, "labelled": 4}), store)
    batch = Batches(run, store, draw(store, run), torch.device("cpu")).at(0)
    ignored = batch.y == base.IGNORE
    assert ignored.any() and set(batch.y.unique().tolist()) <= {0, 1, base.IGNORE}
    method = setup.build(run, 2).eval()
    loss = method.losses(batch, 0.0)["sup"]
    assert 0 < float(loss) < 5
    logits = method.predict(batch.x).detach().requires_grad_()
    from methods.parts.losses import dice_ce

    dice_ce(logits, batch.y).backward()
    assert not logits.grad.permute(0, 2, 3, 1)[ignored].any()
    assert logits.grad.permute(0, 2, 3, 1)[~ignored].any()


def test_scores_are_those_of_the_decided_pixels(store, finished):
    results, record = finished
    method = checkpoint.trained(record, results, "cpu")
    places = {one.name: place for place, one in enumerate(store.records)}
    for name, dice, jaccard, ece in zip(
        *(record.scores[key] for key in ("name", "dice", "jaccard", "ece")), strict=True
    ):
        place = places[name]
        truth = store.label(place)
        guess = evaluate.segment(method.predict, store.image(place), tile=record.run.tile)
        decided = truth != base.IGNORE
        true, found = (truth == 1) & decided, (guess == 1) & decided
        both, all_ = (true & found).sum(), true.sum() + found.sum()
        assert (dice[0] is None) == (all_ == 0)
        if all_:
            assert dice[0] == pytest.approx(2 * both / all_, abs=1e-4)
            assert jaccard[0] == pytest.approx(both / (all_ - both), abs=1e-4)
        assert ece is None or 0 <= ece <= 1


def test_tables_have_the_same_mean(finished, tmp_path):
    _, record = finished
    folder.render([record], tmp_path)
    (path,) = tmp_path.glob("tables/*/ratios.csv")
    with open(path, newline="") as file:
        values = list(csv.DictReader(line for line in file if not line.startswith("#")))
    valid = [dice[0] for dice in record.scores["dice"] if dice[0] is not None]
    (printed,) = (float(value["value"]) for value in values if value["quantity"].startswith("Dice"))
    assert printed == pytest.approx(100 * np.mean(valid), abs=1e-3)


def test_what_lies_under_the_ignore_label_changes_no_score(store, finished):
    """The prediction there may be anything: an image that differs only there has the same scores."""
    results, record = finished
    method = checkpoint.trained(record, results, "cpu")
    place = draw(store, record.run).test[0]

    def elsewhere(x):
        logits = method.predict(x)
        logits[..., UNDECIDED] = logits[..., UNDECIDED].flip(1)
        return logits

    options = {"task": record.run.task, "tile": SIZE}
    with torch.inference_mode():
        first, second = (evaluate.evaluate(p, store, [place], **options) for p in (method.predict, elsewhere))
    assert first == second


@pytest.mark.parametrize("objects", [False, True])
def test_an_image_of_which_nothing_is_decided_has_no_score(objects):
    label, prediction = np.full((9, 9), base.IGNORE, np.uint8), np.ones((9, 9), np.uint8)
    numbers = np.zeros((9, 9), np.uint16) if objects else None
    scores = scoring.scores_of(scoring.Predicted(label, prediction, 2, numbers, []), np.zeros((3, 15)))
    assert scores.pop("present") == scores.pop("predicted") == [False]
    assert all(value is None or value == [None] for value in scores.values()), scores


def test_it_stays_at_a_reduced_resolution(store):
    reduced = at_resolution(store, Run(scale=0.5))
    assert reduced.ignores
    for place in range(1, len(store.records)):
        ignored = reduced.label(place) == base.IGNORE
        assert ignored[:, 15:].all() and ignored[:, :15].all() == (place == 1)
