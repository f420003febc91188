"""The loop: exact resuming, one row, masks that are never opened, divergence that is told."""

import dataclasses
import json
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.torch
import timm
import torch

import methods
from benchmark import files, run_records
from benchmark.datasets.store import open_store
from benchmark.datasets.store.index import array_hash, sealed
from benchmark.protocol import checkpoint, setup, train
from benchmark.protocol.batches import draw
from benchmark.run_records import Best, RunRecord
from methods.base import REGISTRY, Method
from methods.parts import views
from methods.parts.losses import dice_ce

MEASURED = ("measured", "machine")  # what a row says of the machine and the clock


def weights(results: Path, key: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(checkpoint.weights_path(results, key))


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def decided(record: RunRecord) -> dict:
    """What a record holds that the machine has no part in."""
    fields = msgspec.json.decode(msgspec.json.encode(record))
    return {name: value for name, value in fields.items() if name not in MEASURED}


@pytest.fixture
def undisturbed(store, toy, tmp_path):
    row = train.train(toy, store, tmp_path / "undisturbed")
    return row, weights(tmp_path / "undisturbed", row.key)


@pytest.mark.parametrize("method", ["mean_teacher", "cdma"])
def test_a_run_that_stopped_anywhere_ends_in_the_same_bits(store, toy, tmp_path, monkeypatch, method):
    toy = dataclasses.replace(toy, method=method)
    row = train.train(toy, store, tmp_path / "a")

    class Stop(Exception):
        pass

    saved = checkpoint.save

    def stopping(state, path):
        saved(state, path)
        raise Stop

    for _ in range(toy.steps + 1):  # each goes on for one step, the last to the scoring of test images
        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(checkpoint, "save", stopping)
            train.train(toy, store, tmp_path / "b", train.Options(checkpoint_s=0))
    again = train.train(toy, store, tmp_path / "b", train.Options(checkpoint_s=0))
    assert decided(again) == decided(row)
    assert equal(weights(tmp_path / "a", row.key), weights(tmp_path / "b", row.key))
    assert not list((tmp_path / "b" / "checkpoints").iterdir())


def test_a_finished_run_is_only_read(store, toy, undisturbed, tmp_path, monkeypatch):
    row, _ = undisturbed
    monkeypatch.setattr(train, "train_missing", None)
    assert decided(train.train(toy, store, tmp_path / "undisturbed")) == decided(row)


def test_a_row_without_its_weights_is_enough_unless_they_are_asked_for(store, toy, undisturbed, tmp_path):
    row, _ = undisturbed
    run_records.save(row, tmp_path)
    train.train(toy, store, tmp_path)
    assert not (tmp_path / "weights").exists()
    path = run_records.path_of(tmp_path, row.key)
    before = path.read_bytes()
    again = train.train(toy, store, tmp_path, train.Options(weights=True))
    assert decided(again) == decided(row)
    assert equal(weights(tmp_path / "undisturbed", row.key), weights(tmp_path, row.key))
    assert path.read_bytes() == before, "a row is written once"


def test_masks_of_unlabelled_and_test_images_change_no_bit_of_the_weights(store, data, toy, tmp_path):
    toy = dataclasses.replace(toy, method="mean_teacher")
    row = train.train(toy, store, tmp_path / "true")
    shutil.copytree(data, tmp_path / "data")
    blind = open_store("toy", tmp_path / "data")
    drawn = draw(blind, setup.complete(toy, blind))
    masks = np.memmap(blind.folder / "masks.bin", np.uint8, "r+")
    hidden = [i for i in drawn.unlabelled + drawn.test if blind.records[i].annotated]
    before = [blind.mask(i).copy() for i in drawn.labelled + drawn.val]
    for i in hidden:
        record = blind.records[i]
        place = slice(record.start, record.start + record.height * record.width)
        masks[place] = np.random.default_rng(i).integers(0, 2, record.height * record.width)
    masks.flush()
    reseal(blind, hidden)
    blind = open_store("toy", tmp_path / "data")
    assert all(np.array_equal(a, blind.mask(i)) for a, i in zip(before, drawn.labelled + drawn.val, strict=True))
    assert not np.array_equal(blind.mask(hidden[0]), store.mask(hidden[0]))
    other = train.train(toy, blind, tmp_path / "noise")
    assert equal(weights(tmp_path / "true", row.key), weights(tmp_path / "noise", other.key))
    assert other.scores["dice"] != row.scores["dice"], "the test masks were noise, so their scores should differ"


def reseal(store, places):
    """Writes the index of a store of which these masks were changed, so that it matches again."""
    path = store.folder / "index.json"
    index = json.loads(path.read_bytes())
    for i in places:
        index["records"][i]["mask_hash"] = array_hash(store._mask(i))
    path.write_text(json.dumps(sealed(index)))


def test_a_damaged_checkpoint_is_named_with_the_remedy(store, toy, tmp_path):
    run = setup.complete(toy, store)
    path = tmp_path / "checkpoints" / f"{run.key}.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(ValueError, match="damaged.*delete it"):
        train.train(toy, store, tmp_path)
    assert not (tmp_path / "runs").exists()


class Diverging(Method):
    title, year, paper = "Diverging", 2026, ""

    def __init__(self, arch):
        super().__init__()
        self.net = arch.net()

    def losses(self, batch, t):
        return {"sup": dice_ce(self.net(batch.x), batch.y) * (float("nan") if t > 0.4 else 1)}

    def predict(self, x):
        return self.net(x)


def test_a_loss_that_is_not_finite_ends_the_run_with_a_row_that_says_so(store, toy, tmp_path, monkeypatch):
    monkeypatch.setitem(REGISTRY, "diverging", Diverging)
    monkeypatch.setattr(methods, "_here", lambda: {"diverging"})
    monkeypatch.setattr(methods.importlib, "import_module", lambda name: None)
    row = train.train(dataclasses.replace(toy, method="diverging"), store, tmp_path)
    assert row.status == "diverged" and not row.scores and row.best is None
    assert row.budget.steps == len(row.history["step"]) < toy.steps, "what was not trained cost nothing"
    assert row.history["sup"][-1] is None and row.history["step"][-1] == 4
    assert run_records.find(tmp_path, row.key).status == "diverged"


def test_the_row_counts_what_the_run_did(store, toy, tmp_path):
    plain = train.train(toy, store, tmp_path)
    taught = train.train(dataclasses.replace(toy, method="mean_teacher"), store, tmp_path)
    assert plain.budget.images == {"with_gradient": 2 * 6, "without_gradient": 0}
    assert taught.budget.images == {"with_gradient": 4 * 6, "without_gradient": 2 * 6}
    assert 2.2 < taught.budget.flops / plain.budget.flops < 2.5  # 3 + 3 + 1 over 3
    assert plain.history["step"] == [1, 2, 3, 4, 5, 6]
    assert plain.validation["step"] == [1, 2, 3, 4, 6]
    assert len(plain.scores["dice"]) == plain.certificate.images["test"] == len(plain.best.scores["dice"])


@pytest.mark.parametrize("changed", [{"precision": "bf16"}, {"norm": "batch"}, {"decoder": "deeplabv3plus"}])
def test_other_precisions_norms_and_decoders_train_and_differ(store, toy, undisturbed, tmp_path, changed):
    row = train.train(dataclasses.replace(toy, **changed), store, tmp_path)
    assert row.status == "done"
    assert row.history["sup"] != undisturbed[0].history["sup"]


@pytest.mark.parametrize(
    "changed", [{"optimiser": "sgd"}, {"schedule": "constant"}, {"schedule": "cosine"}, {"lr": 0.01}]
)
def test_optimiser_and_schedule_change_what_is_learnt(store, toy, undisturbed, tmp_path, changed):
    row = train.train(dataclasses.replace(toy, **changed), store, tmp_path)
    assert row.history["sup"][0] == undisturbed[0].history["sup"][0], "the first step is before any update"
    assert row.history["sup"][2:] != undisturbed[0].history["sup"][2:]


def test_views_of_a_run_reach_the_method_and_those_that_mean_nothing_are_refused(store, toy):
    run = dataclasses.replace(toy, method="fixmatch", views="stain")
    assert setup.build(setup.complete(run, store), 2).view is views.strong_stain
    assert setup.build(dataclasses.replace(run, views="own"), 2).view is views.strong
    with pytest.raises(ValueError, match="'mean_teacher' has no strong views; leave out --views"):
        setup.complete(dataclasses.replace(run, method="mean_teacher"), store)
    for twice in ({"variant": "colour"}, {"settings": (("view", "stain"),)}):
        with pytest.raises(ValueError, match="--views and the setting 'view' both choose"):
            setup.complete(dataclasses.replace(run, method="stain_match", **twice), store)


def test_weights_best_on_validation_are_scored_beside_the_last(store, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "best_step", lambda validation: validation[0]["step"])
    row = train.train(toy, store, tmp_path)
    assert row.best.step == 1
    assert row.best.scores["dice"] != row.scores["dice"]


def test_the_later_of_equals_is_best():
    assert checkpoint.best_step([{"step": 1, "dice": 0.5}, {"step": 2, "dice": 0.7}, {"step": 3, "dice": 0.7}]) == 3


def test_a_trained_method_predicts_as_it_was_scored(store, toy, undisturbed, tmp_path):
    row, _ = undisturbed
    method = checkpoint.trained(row, tmp_path / "undisturbed", "cpu")
    scored = train.evaluate(
        method.predict, store, store.split()["test"], tile=toy.tile, batch=8, device=torch.device("cpu")
    )
    assert [image["dice"] for image in scored] == row.scores["dice"]


def test_weights_that_are_not_here_are_asked_for(undisturbed, tmp_path):
    with pytest.raises(ValueError, match="run it again"):
        checkpoint.trained(undisturbed[0], tmp_path / "elsewhere", "cpu")


def bench_run(data: Path, results: Path, run) -> list[str]:
    options = [
        "dataset",
        "encoder",
        "weights",
        "width",
        "steps",
        "crop",
        "tile",
        "ratio",
        "labelled",
        "unlabelled",
        "method",
    ]
    given = [word for name in options for word in (f"--{name}", str(getattr(run, name)))]
    return [sys.executable, "-m", "benchmark.cli", "run", *given, "--data", str(data), "--results", str(results),
            "--checkpoint-s", "0", "--device", "cpu"]  # fmt: skip


@pytest.mark.slow
def test_twenty_sigkills_at_random_moments_cost_no_bit(store, data, toy, tmp_path):
    run = dataclasses.replace(toy, method="cdma", steps=60)
    command, wait, kills = bench_run(data, tmp_path / "b", run), random.Random(0), 0
    start = time.monotonic()
    subprocess.run(bench_run(data, tmp_path / "a", run), check=True, capture_output=True)
    whole_s = time.monotonic() - start
    (row,) = run_records.load(tmp_path / "a")

    def same() -> bool:
        (other,) = run_records.load(tmp_path / "b")
        return decided(row) == decided(other) and equal(
            weights(tmp_path / "a", row.key), weights(tmp_path / "b", row.key)
        )

    while kills < 20:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(wait.uniform(0.4 * whole_s, whole_s)) == 0
            assert same()
            shutil.rmtree(tmp_path / "b")  # done before its kill: once more from the start
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    subprocess.run(command, check=True, capture_output=True)
    assert same()


def test_two_processes_on_one_run_leave_one_row(data, toy, tmp_path):
    command = bench_run(data, tmp_path, toy)
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]
    assert len(run_records.load(tmp_path)) == 1


def test_a_run_that_another_process_holds_is_waited_for(store, data, toy, tmp_path):
    with files.claimed(tmp_path, setup.complete(toy, store).key, print):
        process = subprocess.Popen(bench_run(data, tmp_path, toy), stdout=subprocess.PIPE, text=True)
        assert "waiting for it" in process.stdout.readline()
        assert not run_records.load(tmp_path)
    process.communicate()
    assert process.returncode == 0 and len(run_records.load(tmp_path)) == 1


def test_what_is_best_on_validation_is_in_the_checkpoint_that_is_kept(store, toy, tmp_path, monkeypatch):
    """So a run that goes on never finds another step best than the weights beside its checkpoint are of."""
    kept, save = [], checkpoint.save

    def saved(state, path):
        kept.append((state.step, [line["step"] for line in state.validation]))
        save(state, path)

    monkeypatch.setattr(checkpoint, "save", saved)
    row = train.train(toy, store, tmp_path, train.Options(checkpoint_s=float("inf")))
    validated = row.validation["step"]
    assert [step for step, known in kept if known and known[-1] == step][: len(validated)] == validated


def test_without_validation_images_the_best_step_is_the_last(few, toy, tmp_path):
    row = train.train(dataclasses.replace(toy, ratio=1.0, method="mean_teacher"), few, tmp_path)
    assert row.certificate.images == {"labelled": 2, "unlabelled": 4, "val": 0, "test": 2}
    assert row.validation == {}
    assert row.best == Best(step=toy.steps, scores={name: row.scores[name] for name in ("dice", "jaccard")})
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator decides for itself")
def test_large_arrays_are_not_fetched_from_the_system_again_and_again():
    """Of 64 MiB, the system would clear 16,384 pages for each."""
    script = """
import resource, torch
from benchmark import files, machine
def cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(cleared(), machine.keep_memory(), cleared(), cleared())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, _, _, last = done.stdout.split()  # in between, the memory that is kept grows to what is needed
    assert int(last) < 16_384 < int(first)


def test_a_run_on_a_frozen_transformer_records_what_it_trains_and_its_memory_and_time(store, toy, tmp_path):
    path = tmp_path / "test_vit.safetensors"
    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), path)
    vit = dataclasses.replace(toy, encoder="tu-test_vit", decoder="dpt", weights=str(path), width=16)
    found = {}
    for method in ("supervised", "self_training"):
        for adapt in ("full", "lora:4"):
            run = dataclasses.replace(vit, method=method, adapt=adapt)
            found[method, adapt] = train.train(run, store, tmp_path / "results")
    for method in ("supervised", "self_training"):
        whole, adapted = found[method, "full"], found[method, "lora:4"]
        assert whole.key != adapted.key and adapted.run.adapt == "lora:4"
        assert adapted.budget.parameters < whole.budget.parameters / 2
        assert adapted.budget.flops < whole.budget.flops
        assert adapted.measured.seconds >= 0 and adapted.measured.peak_memory > 0
        again = checkpoint.trained(adapted, tmp_path / "results", "cpu")
        assert again.predict(torch.rand(1, 3, 33, 40)).shape == (1, 2, 33, 40)
