"""Equal tuning: as many trials for every method, the same ones however often they are interrupted, no test image."""

import dataclasses
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TOY
from msgspec import structs
from rows import row as made_up
from rows import suite

import methods
from benchmark import run_records, runs
from benchmark.analysis import run_table
from benchmark.analysis.comparison import Comparison
from benchmark.cli import executors, main
from benchmark.datasets import store as stores
from benchmark.protocol import setup, train
from benchmark.protocol.batches import draw
from benchmark.report.tables import notes
from benchmark.runs import Run
from benchmark.sweep import tune
from benchmark.sweep.task import Task


def complete(store, method="cdma", **fields) -> Run:
    return setup.complete(Run(method=method, **{**TOY, **fields}), store)


def judge(trial: Run, tuning: Path, dice: float, status: str = "done") -> None:
    """A made-up row of a trial."""
    found = structs.replace(made_up(trial.method), key=trial.key, run=trial, status=status)
    found.validation, found.history = {"step": [trial.steps], "dice": [dice]}, {}
    found.budget.steps = trial.steps
    run_records.save(structs.replace(found, scores={}, best=None), tuning)


def likes(lr: float):
    """Scores trials by how near their learning rate is to one."""
    return lambda trial: 1 - abs(math.log10(trial.lr / lr)) / 4


def tuned_by(run: Run, count: int, tuning: Path, score, pick=lambda missing: missing) -> list[Run]:
    """Judges the trials that are proposed until there are no more, in the order that `pick` chooses."""
    while missing := [trial for trial in tune.trials(run, count, tuning) if not run_records.find(tuning, trial.key)]:
        for trial in pick(missing):
            judge(trial, tuning, score(trial))
    known = tune.trials(run, count, tuning)
    assert len(known) == count
    return known


# ----------------------------------------------------------------------------------------------------------------------
# What is tried


def test_rates_and_weights_are_tuned_tenfold_either_way_and_what_a_method_names():
    found = tune.ranges(Run(method="cdma", lr=1e-3))
    assert found["lr"] == pytest.approx((1e-4, 1e-2)) and found["weight_um"] == pytest.approx((0.01, 1.0))
    assert list(found) == ["lr", "weight_cdkd", "weight_um", "temperature"] and found["temperature"] == (1.0, 20.0)
    assert list(tune.ranges(Run(method="supervised"))) == ["lr"]
    assert tune.ranges(Run(method="cct"))["weight"] == (0.1, 30.0), "a method's own range comes before the rule"


@pytest.mark.parametrize("name", methods.names())
def test_every_trial_of_every_method_can_be_built(name, store, tmp_path):
    run = complete(store, name)
    first, *others = tune.trials(run, tune.ROUND, tmp_path)
    assert first == run, "the first trial has the published settings"
    for trial in others:
        values = {"lr": trial.lr, **dict(trial.settings)}
        assert values.keys() == tune.ranges(run).keys()
        for setting, (low, high) in tune.ranges(run).items():
            assert 0.99 * low <= values[setting] <= 1.01 * high
    setup.build(others[0], 2)


def test_trials_of_a_round_wait_for_all_before(store, tmp_path):
    run = complete(store)
    known = tune.trials(run, 8, tmp_path)
    assert len(known) == tune.ROUND and len({trial.key for trial in known}) == tune.ROUND
    for trial in known[1:]:
        judge(trial, tmp_path, 0.5)
    assert tune.trials(run, 8, tmp_path) == known
    judge(known[0], tmp_path, 0.5)
    more = tune.trials(run, 8, tmp_path)
    assert more[: tune.ROUND] == known and len(more) == 8


def test_trials_are_the_same_in_whatever_order_they_end_and_however_many_follow(store, tmp_path):
    run, score = complete(store), likes(3e-3)
    shuffled = random.Random(0)
    one = tuned_by(run, 13, tmp_path / "one", score)
    other = tuned_by(run, 13, tmp_path / "other", score, lambda missing: [shuffled.choice(missing)])
    assert one == other
    assert tune.trials(run, 20, tmp_path / "one")[:13] == one, "more trials begin with those that are done"


def test_later_trials_are_where_earlier_ones_were_good(store, tmp_path):
    known = tuned_by(complete(store, "supervised"), 20, tmp_path, likes(5e-3))
    best = max(known, key=likes(5e-3))
    assert 0.8 < best.lr / 5e-3 < 1.25
    off = [abs(math.log(trial.lr / 5e-3)) for trial in known]
    assert sorted(off[15:])[2] < sorted(off[:5])[2], "the median of the last round and of the first"


def test_a_trial_that_diverged_is_the_worst(store, tmp_path):
    run = complete(store)
    known = tune.trials(run, 3, tmp_path)
    for trial, dice, status in zip(known, (0.2, 0.1, 0.3), ("done", "done", "diverged"), strict=True):
        judge(trial, tmp_path, dice, status)
    outcome = tune.save(run, known, tmp_path)
    assert [trial["dice"] for trial in outcome["trials"]] == [0.2, 0.1, 0.0] and outcome["chosen"] == 0


def test_of_equal_trials_the_published_settings_are_chosen(store, tmp_path):
    run = complete(store)
    known = tuned_by(run, 6, tmp_path / tune.FOLDER, lambda trial: 0.5)
    tune.save(run, known, tmp_path / tune.FOLDER)
    (found,) = tune.tuned([run], tmp_path)
    assert dataclasses.replace(found, tuned="") == run and found.tuned == f"{run.key}_6"


# ----------------------------------------------------------------------------------------------------------------------
# Test images stay closed


def test_a_trial_is_scored_on_no_more_validation_images_than_labelled_ones_and_has_no_scores(store, data, tmp_path):
    run = complete(store, "supervised", ratio=0.1)
    assert Task(tmp_path, data, "cpu", trial=True)(run) == "done"
    row = run_records.find(tmp_path, run.key)
    assert row.status == "done" and not row.scores and row.best is None
    assert 0 < row.certificate.images["val"] <= row.certificate.images["labelled"]
    assert tune.score(row) == row.validation["dice"][-1] > 0
    assert {path.name for path in tmp_path.iterdir() if any(path.iterdir())} == {"locks", "runs"}


def test_trials_are_the_same_whatever_the_test_images_are(store, data, tmp_path, monkeypatch):
    run = complete(store, "mean_teacher", steps=2)
    opened, image, mask = [], stores.Store.image, stores.Store.mask
    monkeypatch.setattr(stores.Store, "image", lambda self, i: opened.append(i) or image(self, i))
    monkeypatch.setattr(stores.Store, "mask", lambda self, i: opened.append(i) or mask(self, i))
    shutil.copytree(data, tmp_path / "other")
    other = stores.open_store("toy", tmp_path / "other")
    test = set(draw(store, run).test)
    for file, width in (("images.bin", 3), ("masks.bin", 1)):
        stored = np.memmap(tmp_path / "other" / "toy" / file, np.uint8, "r+")
        for record in (store.records[place] for place in test):
            stored[width * record.start : width * (record.start + record.height * record.width)] = 1
        stored.flush()
    trial = train.Options(trial=True)
    rows = [train.train(run, one, tmp_path / name, trial) for one, name in ((store, "a"), (other, "b"))]
    assert rows[0].history == rows[1].history and rows[0].validation == rows[1].validation
    assert opened and not test & set(opened)
    with pytest.raises(ValueError, match="no longer matches its hash"):  # an ordinary run does see them
        train.train(run, other, tmp_path / "d")
    assert test & set(opened)


def test_a_split_without_validation_images_cannot_be_tuned_on(store, monkeypatch):
    run = complete(store)
    tune.check(run, store)
    monkeypatch.setattr(tune, "draw", lambda store, run: dataclasses.replace(draw(store, run), val=[]))
    with pytest.raises(ValueError, match="no validation image"):
        tune.check(run, store)


# ----------------------------------------------------------------------------------------------------------------------
# What was found is used


def outcome(run: Run, count: int, results: Path, lr: float = 3e-3) -> dict:
    folder = results / tune.FOLDER
    return tune.save(run, tuned_by(run, count, folder, likes(lr)), folder)


def test_runs_of_other_draws_seeds_and_larger_ratios_take_the_best_settings(store, tmp_path):
    small, large = (complete(store, ratio=ratio) for ratio in (0.2, 0.5))
    of_small, of_large = outcome(small, 6, tmp_path, 1e-3), outcome(large, 6, tmp_path, 8e-3)
    assert of_small["trials"][of_small["chosen"]]["lr"] != of_large["trials"][of_large["chosen"]]["lr"]
    wanted = [dataclasses.replace(small, ratio=ratio, draw=1, seed=2) for ratio in (0.2, 0.4, 0.5, 1.0)]
    found = tune.tuned(wanted, tmp_path)
    assert [run.tuned for run in found] == [of["key"] for of in (of_small, of_small, of_large, of_large)]
    best = of_large["trials"][of_large["chosen"]]
    assert found[3].lr == best["lr"] and dict(found[3].settings) == dict(best["settings"])
    assert dataclasses.replace(found[3], lr=small.lr, settings=(), tuned="") == wanted[3]
    assert len({run.key for run in (*found, *wanted)}) == 8


@pytest.mark.parametrize("other", [{"ratio": 0.2}, {"steps": 7}, {"method": "mean_teacher"}, {"lr": 2e-3}])
def test_what_was_not_tuned_is_refused_with_the_remedy(store, tmp_path, other):
    run = complete(store)
    outcome(run, 3, tmp_path)
    with pytest.raises(ValueError, match="was not tuned on 'toy'.*bench tune --methods"):
        tune.tuned([dataclasses.replace(run, **other)], tmp_path)


def test_methods_with_unequal_numbers_of_trials_are_refused(store, tmp_path):
    pair = [complete(store, name) for name in ("cdma", "supervised")]
    for run, count in zip(pair, (4, 3), strict=True):
        outcome(run, count, tmp_path)
    with pytest.raises(ValueError, match="'supervised' at ratio .* with 3 trials and 'cdma' at .* with 4.*--trials 4"):
        tune.tuned(pair, tmp_path)
    larger = dataclasses.replace(pair[1], ratio=1.0)
    outcome(larger, 4, tmp_path)
    with pytest.raises(ValueError, match="'supervised' at ratio .* with 3 trials"):
        tune.tuned([*pair, larger], tmp_path)
    outcome(pair[1], 4, tmp_path)
    assert [runs.trials_of(run.tuned) for run in tune.tuned(pair, tmp_path)] == [4, 4]


def test_tuned_methods_are_compared_with_those_of_as_many_trials():
    plain = suite(("supervised", "cdma"), bounds=False)
    settings = {"supervised": {"lr": 2e-4}, "cdma": {"lr": 5e-3, "settings": (("weight_um", 0.3),)}}
    tuned = [
        made_up(name, ratio=ratio, draw=d, tuned=f"{name}_x_20", **settings[name])
        for name in settings for ratio in (0.1, 0.2) for d in range(2)
    ]  # fmt: skip
    found = run_table.comparisons([*plain, *tuned])
    assert {name: len(rows) for name, rows in found.items()} == {"phantom": 8, "phantom tuned by 20 trials": 8}
    for rows, said in zip(found.values(), ("none tuned", "tuned. Learning rate and settings were"), strict=True):
        comparison = Comparison(rows)
        assert comparison.published == ["Supervised", "CDMA"] and set(comparison.runs.settings) == {""}
        assert any(said in note for note in notes.trust(comparison, comparison.labels, False))
    assert run_table.fingerprint(plain[0]) == run_table.fingerprint(made_up()) != run_table.fingerprint(tuned[0])


# ----------------------------------------------------------------------------------------------------------------------
# The commands


class Here:
    """Carries out runs one after the other in this process."""

    def __init__(self, job):
        self.job, self.waiting = job, []

    def start(self, more):
        self.waiting += more

    def ended(self, within_s):
        run = self.waiting.pop(0)
        self.job(run)
        return [(run, "")]

    def stop(self):
        self.waiting.clear()


def bench(*words) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def options(data: Path, results: Path, **fields) -> list[str]:
    fields = {**TOY, "steps": 2, **fields}
    given = [str(word) for name, value in fields.items() if name != "ratio" for word in (f"--{name}", value)]
    return [*given, "--data", str(data), "--results", str(results), "--device", "cpu"]


@pytest.fixture
def here(monkeypatch):
    """Runs are executed in this process."""
    monkeypatch.setattr(
        executors.Execution,
        "executor",
        lambda self, results, trial=False: Here(Task(results, self.data, "cpu", 1, trial)),
    )


def test_tuning_a_suite_and_then_sweeping_it(here, data, tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "ROUND", 1)
    what = ["quick", "--methods", "entropy_min", "--ratios", "1", *options(data, tmp_path, steps=1)]
    code, said = bench("tune", *what, "--trials", 2, "--dry-run")
    assert code == 0 and "weight 0.01…1" in said and "4 trials left" in said and not list(tmp_path.glob("**/*.json"))
    code, said = bench("tune", *what, "--trials", 2)
    assert code == 0, said
    assert "bench sweep quick --tuned" in said
    assert len(list((tmp_path / "tuning" / "runs").iterdir())) == 4 and not (tmp_path / "runs").exists()
    assert len(list((tmp_path / "tuning").glob("*.json"))) == 2
    shutil.rmtree(tmp_path / "tuning" / "runs")
    code, again = bench("tune", *what, "--trials", 2)
    assert code == 0 and "trials left" not in again, "published outcomes come without the rows of their trials"
    assert again.endswith(said[said.index("Dice on validation images") :])
    assert not (tmp_path / "tuning" / "runs").exists()
    code, said = bench("sweep", *what, "--tuned")
    assert code == 0, said
    rows = run_records.load(tmp_path)
    assert len(rows) == 2 and all(row.run.tuned and row.scores for row in rows)
    assert "entropy_min (tuned)" in said
    code, said = bench("run", "--method", "entropy_min", "--ratio", "1", "--tuned", *options(data, tmp_path, steps=1))
    assert code == 0 and "Tuned: lr" in said
    assert len(run_records.load(tmp_path)) == 2, "it is the run of the sweep"


def test_a_trial_that_fails_does_not_stop_the_others(here, data, tmp_path, monkeypatch):
    train_missing = train.train_missing

    def fails(setup):
        if setup.run.method == "entropy_min" and setup.run.settings:
            raise ValueError("Not this one.")
        return train_missing(setup)

    monkeypatch.setattr(train, "train_missing", fails)
    what = ["quick", "--methods", "entropy_min", "--ratios", "1", "--trials", 2, *options(data, tmp_path)]
    code, said = bench("tune", *what)
    assert code == 1 and "Trials of 1 method failed" in said
    assert [path.name.split("_")[0] for path in (tmp_path / "tuning").glob("*.json")] == ["supervised"]
    monkeypatch.setattr(train, "train_missing", train_missing)
    assert bench("tune", *what)[0] == 0
    assert not list((tmp_path / "tuning" / "failed").iterdir())


@pytest.mark.slow
def test_a_tuning_that_is_killed_goes_on_to_the_same_outcome(store, data, tmp_path):
    def command(results: Path) -> list[str]:
        what = ["quick", "--methods", "supervised", "--ratios", "1", "--trials", "8", "--workers", "2"]
        return [sys.executable, "-m", "benchmark.cli", "tune", *what, *options(data, results)]

    for rows in (1, 3, 6):
        process = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(tmp_path.glob("killed/tuning/runs/[!.]*"))) < rows:
            assert process.poll() is None, "it has not ended of itself"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command(tmp_path / "killed"), check=True, capture_output=True)
    subprocess.run(command(tmp_path / "once"), check=True, capture_output=True)
    outcomes = [tmp_path.glob(f"{name}/tuning/*.json") for name in ("killed", "once")]
    one, other = ([json.loads(path.read_text()) for path in paths] for paths in outcomes)
    assert len(one) == 1 and one == other
    rows = {path.stem for path in (tmp_path / "killed" / "tuning" / "runs").iterdir()}
    assert rows == {trial["key"] for trial in one[0]["trials"]} and len(one[0]["trials"]) == 8
