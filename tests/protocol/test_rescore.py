"""Kept weights are scored again: what a record lacks is added, nothing else changes, and other datasets stand apart."""

import shutil

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TOY, blob
from PIL import Image

from benchmark import run_records
from benchmark.cli import main
from benchmark.datasets import store as stores
from benchmark.protocol import checkpoint, train
from benchmark.protocol.evaluate import evaluate
from benchmark.protocol.rescore import ExternalScores
from benchmark.protocol.scores import COMPUTED
from benchmark.runs import Run


def bench(*words: object) -> tuple[int, str]:
    outcome = CliRunner().invoke(main, [str(word) for word in words])
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.exit_code, outcome.output


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    results = tmp_path_factory.mktemp("trained")
    return results, train.train(Run(method="supervised", **TOY), store, results, train.Options(device="cpu"))


@pytest.fixture
def results(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture(scope="module")
def elsewhere(data, tmp_path_factory):
    """Beside `toy`: `other` with three new images and one of toy's, `classes` with three classes."""
    root = tmp_path_factory.mktemp("elsewhere")
    for name, seeds, top in (("other", (0, 101, 102, 103), 255), ("classes", (201, 202, 203), 2)):
        for folder in ("images", "masks"):
            (root / name / folder).mkdir(parents=True)
        for seed in seeds:
            image, mask = blob(seed)
            Image.fromarray(image).save(root / name / "images" / f"b{seed}.png")
            mask = (mask * top).astype(np.uint8)
            if name == "classes":
                mask[:2] = 1
            Image.fromarray(mask).save(root / name / "masks" / f"b{seed}.png")
        stores.add("folder", root / name, data, name)
    yield data
    for name in ("other", "classes"):
        shutil.rmtree(data / name)


def test_a_score_that_a_record_lacks_is_added_and_nothing_else_changes(results, trained, data):
    record = trained[1]
    old = run_records.find(results, record.key)
    lost = {name: old.scores.pop(name) for name in ("nsd", "background_dice")}
    old.scores["dice"][0][0], old.scores["jaccard"][0][0] = 0.1234, 0.0658  # what another machine has computed
    if old.best.step == old.run.steps:
        old.best.scores = {name: old.scores[name] for name in ("dice", "jaccard")}
    run_records.save(old, results)
    code, said = bench("score", record.key[:12], "--results", results, "--data", data, "--device", "cpu")
    assert code == 0, said
    assert f"{record.key}: added nsd, background_dice" in said
    assert "from that of the run record, which is kept" in said
    new = run_records.find(results, record.key)
    assert {name: new.scores[name] for name in lost} == lost, "the same numbers as after training"
    assert new.scores["dice"][0][0] == 0.1234
    assert set(new.added) == set(lost)
    new.scores, new.added = {k: v for k, v in new.scores.items() if k not in lost}, {}
    assert msgspec.json.encode(new) == msgspec.json.encode(old)


def test_a_record_with_every_score_is_not_touched(results, trained, data):
    path = run_records.path_of(results, trained[1].key)
    before = path.read_bytes()
    code, said = bench("score", "--results", results, "--data", data)
    assert (code, said) == (0, f"{trained[1].key}: has every score\n")
    assert path.read_bytes() == before


def test_what_cannot_be_scored_again_is_one_sentence(results, trained, data, blobs, tmp_path):
    key = trained[1].key
    where = ("--results", results, "--data", data)
    record = run_records.find(results, key)
    del record.scores["nsd"]
    run_records.save(record, results)
    assert bench("score", key, "--task", "grade", *where) == (
        1,
        "Error: --task is that of another dataset; give it together with --dataset.\n",
    )
    assert "leave out --dataset" in bench("score", key, "--dataset", "toy", *where)[1]
    weights = checkpoint.weights_path(results, key)
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    code, said = bench("score", key, *where)
    assert code == 1 and "its bytes do not have the SHA-256 that it states" in said
    weights.unlink()
    assert "are not here" in bench("score", key, *where)[1]
    assert "There are no weights of finished runs" in bench("score", *where)[1]
    (blobs / "masks" / "b03.png").rename(tmp_path / "b03.png")
    try:
        stores.add("folder", blobs, tmp_path / "changed", "toy")
    finally:
        (tmp_path / "b03.png").rename(blobs / "masks" / "b03.png")
    said = bench("score", key, "--results", results, "--data", tmp_path / "changed")[1]
    assert "its images or masks have changed" in said


def test_another_dataset_is_scored_into_a_file_of_its_own(results, trained, elsewhere):
    record = trained[1]
    before = run_records.path_of(results, record.key).read_bytes()
    code, said = bench(
        "score", record.key, "--dataset", "other", "--results", results, "--data", elsewhere, "--device", "cpu"
    )
    assert code == 0, said
    assert "Left out, because also in 'toy': 1 image." in said and "Supervised" in said and "95 % interval" in said
    path = results / "scores" / record.key / "other.json"
    assert str(path) in said.replace("\n", "")
    found = msgspec.json.decode(path.read_bytes(), type=ExternalScores)
    assert found.left_out == ["b0"] and found.scores["name"] == ["b101", "b102", "b103"]
    store = stores.open_store("other", elsewhere)
    places = [place for place, image in enumerate(store.records) if image.name != "b0"]
    method = checkpoint.trained(record, results, "cpu")
    expected = evaluate(method.predict, store, places, tile=record.run.tile)
    assert {score.name: found.scores.get(score.name) for score in COMPUTED if not score.needs_instances} == {
        score.name: [image[score.name] for image in expected] for score in COMPUTED if not score.needs_instances
    }
    assert run_records.path_of(results, record.key).read_bytes() == before


def test_other_classes_are_refused_and_named(results, trained, elsewhere):
    code, said = bench("score", trained[1].key, "--dataset", "classes", "--results", results, "--data", elsewhere)
    assert code == 1
    assert "The classes of 'classes' are background, class 1, class 2, but" in said
    assert "was trained on background, foreground; give a dataset or a --task with the same classes." in said
    assert not (results / "scores").exists()
