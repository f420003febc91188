"""A sweep: only what is missing, nothing twice, whatever fails or is killed; the same rows wherever it runs."""

import collections
import contextlib
import dataclasses
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import msgspec
import pytest
import torch
from click.testing import CliRunner
from conftest import TOY
from msgspec import structs
from rows import row as made_up

from benchmark import files, machine, run_records, runs
from benchmark.cli import executors, main
from benchmark.protocol import setup, suites, train
from benchmark.run_records import Measured, RunRecord
from benchmark.speed import sharing
from benchmark.sweep import execute, live, plan, task
from benchmark.sweep.executors.local import Local
from benchmark.sweep.task import Task

MEASURED = ("measured", "machine")  # what a row says of the machine and the clock


def wanted(methods=("mean_teacher",), seeds=(0,), bounds=(), **fields) -> list[runs.Run]:
    """A suite of toy runs: supervised and these methods at one ratio, and supervised at the bounds."""
    fields = {name: value for name, value in TOY.items() if name != "ratio"} | {"steps": 2} | fields
    return suites.planned(
        suites.Suite("toy", methods, (suites.Setting((0.5,)),), bounds, seeds=tuple(seeds), fields=fields)
    )


def decided(record: RunRecord) -> dict:
    """What a record holds that the machine has no part in."""
    fields = msgspec.json.decode(msgspec.json.encode(record))
    return {name: value for name, value in fields.items() if name not in MEASURED}


class Here:
    """Carries out runs one after the other in this process."""

    def __init__(self, job):
        self.job, self.waiting, self.carried = job, collections.deque(), []

    def start(self, more):
        self.waiting.extend(more)

    def ended(self, within_s):
        if not self.waiting:
            return []
        run = self.waiting.popleft()
        self.carried.append(run)
        ending = self.job(run)
        return [(run, ending if ending in ("elsewhere", "full") else "")]

    def stop(self):
        self.waiting.clear()


class Quiet:
    """Remembers what it was told."""

    def __init__(self):
        self.said = []

    def look(self):
        pass

    def ended(self, run, ending, sentence):
        self.said.append((run.key, ending, sentence))


def carried_out(these, store, data, results) -> tuple[list[str], list]:
    """Carries out what is missing in this process: the methods that ran, and what was said."""
    executor, quiet = Here(Task(results, data, "cpu")), Quiet()
    execute.execute(plan.plan(these, {"toy": store}, results), executor, results, quiet)
    return [run.method for run in executor.carried], quiet.said


# ----------------------------------------------------------------------------------------------------------------------
# The plan


def test_keys_of_a_plan_are_those_that_runs_will_have(store, tmp_path):
    planned = plan.plan(wanted(("mean_teacher", "cdma"), seeds=(0, 1)), {"toy": store}, tmp_path)
    assert [one.key for one in planned] == [setup.complete(one.run, store).key for one in planned]
    assert all(one.state == "missing" for one in planned)


def test_a_thousand_runs_hash_their_weights_once_for_each_network(store, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(setup, "weights_hash", lambda arch: calls.append(arch) or "")
    planned = plan.plan(wanted(seeds=range(500)), {"toy": store}, tmp_path)
    assert len(planned) == 1000 and len(calls) == 2


def test_a_ratio_that_leaves_no_image_is_told_before_anything_runs(store, tmp_path):
    one = dataclasses.replace(wanted()[0], ratio=0.001)
    with pytest.raises(ValueError, match="leaves no labelled image"):
        plan.plan([one], {"toy": store}, tmp_path)


def test_a_crop_or_a_setting_that_no_run_could_begin_with_is_told_before_anything_runs(store, tmp_path):
    (_, one) = wanted(("cdma",))
    with pytest.raises(ValueError, match="crop of 64 pixels is larger.*give --crop 32"):
        plan.plan([one, dataclasses.replace(one, crop=64)], {"toy": store}, tmp_path)
    with pytest.raises(ValueError, match="'cdma' has no setting 'temprature'; did you mean 'temperature'"):
        plan.plan([one, dataclasses.replace(one, settings=(("temprature", 2.0),))], {"toy": store}, tmp_path)
    plan.plan([dataclasses.replace(one, settings=(("attentions", ["none"]),))], {"toy": store}, tmp_path)


def test_leaving_out_failed_runs_when_all_have_failed_is_told(store, data, tmp_path):
    words = ["sweep", "quick", "--methods", "supervised", *options(data, tmp_path), "--skip-failed"]
    for bound in (dataclasses.replace(wanted()[0], ratio=1.0), wanted()[0]):
        task.record_failure(tmp_path, setup.complete(bound, store), "It cannot.", "", "cpu")
    code, said = bench(*words)
    assert code != 0 and "All of these runs have failed before" in said


def left(*seconds) -> list[plan.Planned]:
    return [plan.Planned(runs.Run(), str(i), "missing", s, 2**30) for i, s in enumerate(seconds)]


def test_where_nothing_validates_scoring_takes_the_test_images_alone(few, tmp_path):
    of_test = sum(few.records[i].height * few.records[i].width for i in few.split()["test"])
    one = dataclasses.replace(wanted()[0], ratio=1.0, split="halves")
    estimates = plan.Estimates(plan.plan([one], {"toy": few}, tmp_path), {"toy": few}, tmp_path, "cpu", False)
    assert estimates._scored_pixels(one) == 2 * of_test


def test_two_workers_share_the_time():
    assert plan.makespan(left(3, 3, 2, 2), 2) == 5
    assert plan.makespan(left(3, 3, 2, 2), 1) == 10
    assert plan.makespan(left(3, 3, 2, 2), 9) == 3
    assert plan.makespan(left(3, None), 2) is None
    assert plan.makespan([], 2) == 0


def test_workers_are_as_many_as_cores_and_memory_hold(monkeypatch):
    monkeypatch.setattr(machine, "memory_left", lambda: 5 * 2**30)
    cpu = torch.device("cpu")
    assert plan.fitting(left(*[1] * 9), cpu, 1, cores=8) == 4  # 85 % of 5 GiB
    assert plan.fitting(left(*[1] * 9), cpu, 1, cores=2) == 2
    assert plan.fitting(left(1, 1, 1), cpu, 1, cores=8) == 3
    unknown = [dataclasses.replace(one, memory=None) for one in left(1, 1, 1)]
    assert plan.fitting(unknown, cpu, 1, cores=2) == 2
    monkeypatch.setattr(machine, "memory_left", lambda: 2**29)
    assert plan.fitting(left(1, 1), cpu, 1, cores=8) == 1, "a run that may not fit is tried, alone"


def test_workers_share_gpus_as_their_memory_allows(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 2**30, 80 * 2**30))  # others have the rest
    gpu = torch.device("cuda")
    assert plan.fitting(left(*[1] * 20), gpu, 1, cores=16) == 4  # of 1.6 GiB each in 6.8 GiB
    assert plan.fitting(left(*[1] * 20), gpu, 2, cores=16) == 8
    unknown = [dataclasses.replace(one, memory=None) for one in left(*[1] * 20)]
    assert plan.fitting(unknown, gpu, 2, cores=16) == 2, "one on each where no row tells"


def measured(run: runs.Run, store, results: Path, seconds: float, memory: int, device="CPU", threads=1) -> None:
    """A made-up row of a toy run."""
    run = setup.complete(run, store)
    found = structs.replace(made_up(run.method), key=run.key, run=run, validation={}, history={}, best=None)
    found.budget.steps = run.steps
    found.measured = Measured(seconds=seconds, peak_memory=memory)
    found.machine = structs.replace(found.machine, device=device, threads=threads)
    run_records.save(found, results)


def test_time_and_memory_come_from_rows_of_the_method_on_this_network(store, tmp_path):
    base, taught = wanted(seeds=(0,))
    measured(base, store, tmp_path, 10, 100)
    measured(taught, store, tmp_path, 30, 300)
    measured(dataclasses.replace(taught, crop=16), store, tmp_path, 999, 999)
    planned = plan.plan(wanted(seeds=(1,)), {"toy": store}, tmp_path)
    estimates = plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", False)
    (first, *sizes), (second, memory) = (estimates.of(one.run, 1) for one in planned)
    # a step of supervised is 5 s for 3 passes over 2 crops of 32 pixels; images are 48 pixels a side
    parts = store.split()
    scored = train.VALIDATIONS * min(len(parts["val"]), 0.5 * 12) + 2 * len(parts["test"])
    scoring = 5 / (3 * 2 * 32**2) * scored * 48**2
    assert len([i for i in parts["train"] if store.records[i].annotated]) == 12
    assert first == pytest.approx(10 + scoring) and sizes == [100]
    assert second == pytest.approx(30 + scoring) and memory == 300
    assert estimates.of(planned[0].run, 2)[0] == pytest.approx(first / 2), "twice the threads"
    assert estimates.of(dataclasses.replace(planned[0].run, steps=4), 1)[0] == pytest.approx(20 + scoring)


def test_rows_of_this_device_count_before_others_of_its_kind(store, tmp_path):
    base = wanted()[0]
    measured(base, store, tmp_path, 10, 100, device="slow CPU")
    planned = plan.plan(wanted(seeds=(7,))[:1], {"toy": store}, tmp_path)
    known = [
        plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", gpu).of(planned[0].run, 1)[0] for gpu in (False, True)
    ]
    assert known[0] > 10 and known[1] is None
    measured(dataclasses.replace(base, seed=1), store, tmp_path, 1, 100, device="CPU")
    assert plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", False).of(planned[0].run, 1)[0] < 10


def test_without_a_row_of_the_method_operations_are_counted_beside_supervised(store, tmp_path):
    base = wanted()[0]
    planned = plan.plan(wanted(), {"toy": store}, tmp_path)
    assert plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", False).of(planned[1].run, 1) == (None, None)
    measured(base, store, tmp_path, 10, 2**30)
    estimates = plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", False)
    (supervised, _), (taught, memory) = (estimates.of(one.run, 1) for one in planned)
    assert 2.2 < (taught - supervised + 10) / 10 < 2.5  # 3 + 3 + 1 over 3 passes
    assert memory == pytest.approx(2 * 2**30, rel=0.01)


def test_without_a_row_at_all_a_step_of_supervised_is_timed_once(store, tmp_path):
    timed = []

    def measure(run: runs.Run) -> float:
        timed.append(run.method)
        return 5 / torch.get_num_threads()

    base, taught = wanted(seeds=(0,))
    alike = [dataclasses.replace(base, seed=1), dataclasses.replace(base, steps=2 * base.steps)]
    planned = plan.plan([base, taught, *alike], {"toy": store}, tmp_path)
    estimates = plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", False, measure)
    timed_once = [estimates.of(one.run, 1) for one in planned]
    measured(base, store, tmp_path, 10, 100)  # 5 s a step, too
    told = plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", False, measure)
    for (seconds, memory), one in zip(timed_once, planned, strict=True):
        assert seconds == pytest.approx(told.of(one.run, 1)[0]) and memory is None
    assert estimates.of(planned[0].run, 2)[0] == pytest.approx(timed_once[0][0] / 2), "twice the threads"
    assert timed == ["supervised"]


def test_a_setting_and_repeat_is_finished_before_the_next(store, tmp_path):
    longer = [dataclasses.replace(run, steps=9) for run in wanted(("mean_teacher",), seeds=(0, 1))]
    planned = plan.plan([*longer, *wanted(("mean_teacher",), seeds=(0, 1))], {"toy": store}, tmp_path)
    ordered = plan.estimated(planned, plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", False), 1)
    assert list(dict.fromkeys((one.run.steps, one.run.seed) for one in ordered)) == [(9, 0), (9, 1), (2, 0), (2, 1)]


def test_cheap_methods_come_first_and_after_supervised(store, tmp_path):
    for run, seconds in zip(wanted(("cdma", "mean_teacher")), (50, 30, 20), strict=True):
        measured(run, store, tmp_path, seconds, 100)
    planned = plan.plan(wanted(("cdma", "mean_teacher"), seeds=(1, 2)), {"toy": store}, tmp_path)
    ordered = plan.estimated(planned, plan.Estimates(planned, {"toy": store}, tmp_path, "CPU", False), 1)
    assert [one.run.method for one in ordered] == ["supervised", "mean_teacher", "cdma"] * 2


# ----------------------------------------------------------------------------------------------------------------------
# Carrying out


def test_a_method_added_to_a_finished_suite_starts_only_its_own_runs(store, data, tmp_path):
    assert carried_out(wanted(), store, data, tmp_path)[0] == ["supervised", "mean_teacher"]
    assert carried_out(wanted(), store, data, tmp_path)[0] == []
    assert carried_out(wanted(("mean_teacher", "cdma")), store, data, tmp_path)[0] == ["cdma"]
    assert len(run_records.load(tmp_path)) == 3


def test_a_failed_run_is_recorded_and_does_not_stop_the_others(store, data, tmp_path, monkeypatch):
    these, train_missing = wanted(("mean_teacher", "cdma")), train.train_missing

    def fails(setup):
        if setup.run.method == "mean_teacher":
            raise ValueError("Give it another try.")
        return train_missing(setup)

    monkeypatch.setattr(train, "train_missing", fails)
    bad = setup.complete(these[1], store).key
    ran, said = carried_out(these, store, data, tmp_path)
    assert len(ran) == 3 and len(run_records.load(tmp_path)) == 2
    assert [key for key, ending, _ in said if ending == "failed"] == [bad]
    failure = task.failure(tmp_path, bad)
    assert failure["error"] == "Give it another try." and "Traceback" in failure["traceback"]
    assert failure["time"] and failure["machine"]["host"] and failure["run"]["method"] == "mean_teacher"
    assert [one.state for one in plan.plan(these, {"toy": store}, tmp_path)] == ["done", "failed", "done"]
    assert not list((tmp_path / "running").iterdir())


def test_a_failed_run_is_tried_again_and_its_failure_forgotten(store, data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_missing", lambda *_: 1 / 0)
        ((_, ending, sentence),) = carried_out(wanted()[:1], store, data, tmp_path)[1]
        assert ending == "failed" and sentence.startswith("ZeroDivisionError: division by zero (")
    assert carried_out(wanted()[:1], store, data, tmp_path)[1][0][1:] == ("done", "")
    assert not list((tmp_path / "failed").iterdir())


def test_a_run_that_another_process_holds_is_left_to_it_and_returned_to(store, data, tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "RETURN_S", 0.01)
    (one,) = plan.plan(wanted()[:1], {"toy": store}, tmp_path)
    job, endings = Task(tmp_path, data, "cpu"), []

    class Watching(Here):
        def ended(self, within_s):
            found = super().ended(within_s)
            endings.extend(how for _, how in found)
            held.close()
            return found

    held = contextlib.ExitStack()
    held.enter_context(files.claimed(tmp_path, one.key, lambda other: None))
    assert execute.execute([one], Watching(job), tmp_path, Quiet()) == {"done": 1}
    assert endings == ["elsewhere", ""]


def test_a_run_that_is_taken_at_the_last_moment_is_not_waited_for(store, data, tmp_path, monkeypatch):
    (one,) = plan.plan(wanted()[:1], {"toy": store}, tmp_path)
    with contextlib.ExitStack() as held:
        taken = lambda *runs_: held.enter_context(files.claimed(tmp_path, one.key, print))  # noqa: E731
        monkeypatch.setattr(task, "_same", taken)
        assert Task(tmp_path, data, "cpu")(one.run) == "elsewhere"


def test_a_run_that_takes_its_process_along_three_times_has_failed(store, data, tmp_path):
    class Deadly(Here):
        def ended(self, within_s):
            run = self.waiting.popleft()
            self.carried.append(run)
            if run.method == "supervised":
                return [(run, "Its process was ended by signal SIGKILL.\nlast words")]
            return [(run, "" if self.job(run) == "done" else "?")]

    executor, quiet = Deadly(Task(tmp_path, data, "cpu")), Quiet()
    planned = plan.plan(wanted(), {"toy": store}, tmp_path)
    assert execute.execute(planned, executor, tmp_path, quiet) == {"failed": 1, "done": 1}
    assert [run.method for run in executor.carried].count("supervised") == 3
    failure = task.failure(tmp_path, planned[0].key)
    assert failure["error"] == "It was lost 3 times; the last time: Its process was ended by signal SIGKILL."
    assert "last words" in failure["traceback"]


def test_a_run_whose_data_are_others_than_planned_is_refused(store, data, tmp_path):
    (one,) = plan.plan(wanted()[:1], {"toy": store}, tmp_path)
    other = dataclasses.replace(one.run, content="0" * 32)
    assert Task(tmp_path, data, "cpu")(other) == "failed"
    assert "bring the same ones to every machine" in task.failure(tmp_path, other.key)["error"]


def test_a_run_tells_how_far_it_is(store, data, tmp_path, monkeypatch):
    (one,) = plan.plan([dataclasses.replace(wanted()[0], steps=3)], {"toy": store}, tmp_path)
    seen, evaluate = [], train.evaluate
    monkeypatch.setattr(
        train, "evaluate", lambda *a, **k: seen.append(task.running(tmp_path, one.key)) or evaluate(*a, **k)
    )
    Task(tmp_path, data, "cpu")(one.run)
    assert [said["what"].split()[0] for said in seen] == [*["Validating"] * 3, "Scoring"]
    assert all(said["host"] == os.uname().nodename for said in seen)


def test_what_a_run_tells_is_gone_before_its_row_is_there(store, data, tmp_path, monkeypatch):
    (one,) = plan.plan(wanted()[:1], {"toy": store}, tmp_path)
    monkeypatch.setattr(run_records, "save", lambda row, results: seen.append(task.running(results, row.key)))
    seen = []
    Task(tmp_path, data, "cpu")(one.run)
    assert seen == [None]


# ----------------------------------------------------------------------------------------------------------------------
# Workers


def children(process: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        own = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
        return own + [other for child in own for other in children(child)]
    return []


def alive(process: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(true, seconds: float = 300):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)
    return found


def test_a_killed_run_is_told_and_goes_on_when_it_is_started_again(store, data, tmp_path):
    (one,) = plan.plan(wanted(steps=100)[:1], {"toy": store}, tmp_path)
    local = Local(Task(tmp_path, data, "cpu"), ["cpu"])
    try:
        local.start([one.run])
        worker = local.workers[0].process.pid
        wait_until(lambda: not local.ended(0.01) and task.running(tmp_path, one.key))
        os.kill(children(worker)[0], signal.SIGKILL)
        ((run, how),) = wait_until(lambda: local.ended(0.1))
        assert run == one.run and "SIGKILL" in how
        local.start([run])
        assert wait_until(lambda: local.ended(0.1)) == [(one.run, "")]
        assert [other.process.pid for other in local.workers] == [worker], "the worker itself goes on"
    finally:
        local.stop()
    assert not alive(worker)
    undisturbed = train.train(one.run, store, tmp_path / "undisturbed", train.Options(device="cpu"))
    assert decided(run_records.find(tmp_path, one.key)) == decided(undisturbed)


def test_the_peak_of_a_forked_run_counts_the_libraries_that_its_worker_has_loaded(monkeypatch):
    cpu = torch.device("cpu")
    before, libraries = machine.peak_memory(cpu), machine.library_memory()
    if sys.platform == "linux":
        assert 2**24 < libraries < before
    monkeypatch.setattr(machine, "inherited", 2**30)
    assert machine.peak_memory(cpu) - before == pytest.approx(2**30, rel=0.01)


@pytest.mark.slow
def test_a_worker_and_its_run_end_when_the_sweep_is_gone(store, data, tmp_path):
    (one,) = plan.plan([dataclasses.replace(wanted()[0], steps=100_000)], {"toy": store}, tmp_path)
    local = Local(Task(tmp_path, data, "cpu"), ["cpu"])
    try:
        local.start([one.run])
        worker = local.workers[0].process
        wait_until(lambda: local.ended(0.1) or task.running(tmp_path, one.key))
        (child,) = children(worker.pid)
        worker.stdin.close()  # as when the sweep is killed
        wait_until(lambda: not alive(child) and not alive(worker.pid), 30)
    finally:
        local.stop()
    assert not run_records.load(tmp_path)


def test_workers_that_cannot_start_are_told_with_their_last_words(store, data, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    local = Local(Task(tmp_path, data, "cpu"), ["cpu"])
    local.start(wanted()[:1])
    with pytest.raises(ValueError, match=r"No worker starts.*exit status 1"):
        wait_until(lambda: local.ended(0.1))
    local.stop()


# ----------------------------------------------------------------------------------------------------------------------
# The commands


def bench(*words) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def options(data: Path, results: Path, **fields) -> list[str]:
    fields = {**TOY, "steps": 2, **fields}
    given = [str(word) for name, value in fields.items() if name != "ratio" for word in (f"--{name}", value)]
    return [*given, "--ratios", "0.5", "--data", str(data), "--results", str(results), "--device", "cpu"]


def test_a_dry_run_prints_the_plan_and_runs_nothing(store, data, tmp_path):
    measured(wanted()[0], store, tmp_path, 40, 2**30, device="here")
    code, said = bench("sweep", "quick", "--methods", "mean_teacher", *options(data, tmp_path), "--dry-run")
    assert code == 0, said
    assert "quick: 3 runs on toy" in said and "2 runs left, about" in said
    plan_lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    assert ["supervised", "0.5 1", "1", "1", "–"] in [line[:5] for line in plan_lines]
    assert ["mean_teacher", "0.5", "–", "1", "–"] in [line[:5] for line in plan_lines]
    assert "unknown" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["runs"] and len(run_records.load(tmp_path)) == 1


def test_a_finished_suite_starts_no_worker(store, data, tmp_path, monkeypatch):
    carried_out(wanted(bounds=(1.0,)), store, data, tmp_path)
    monkeypatch.setattr(Local, "start", None)
    code, said = bench("sweep", "quick", "--methods", "mean_teacher", *options(data, tmp_path))
    assert code == 0 and "All runs are done" in said
    assert f"bench report --results {tmp_path}" in said.replace("\n", "")


@pytest.mark.parametrize(
    ("given", "seeds"),
    [(["3"], (0, 1, 2)), (["0,4"], (0, 4)), (["4,"], (4,)), (["4", "1"], (4, 1)), (["1"], (0,))],
)
def test_seeds_are_a_number_or_a_list(data, tmp_path, monkeypatch, given, seeds):
    asked = []
    monkeypatch.setattr(suites, "planned", lambda suite: asked.append(suite) or [])
    words = [word for text in given for word in ("--seeds", text)]
    with contextlib.suppress(IndexError):
        bench("sweep", "quick", *words, "--methods", "cdma,cps", "--methods", "urpc")
    assert asked[0].seeds == seeds and asked[0].methods == ("cdma", "cps", "urpc")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep", "quikc"], "did you mean 'quick'"),
        (["sweep", "main", "--partition", "gpu"], "--partition has no effect with --on local"),
        (["sweep", "main", "--on", "slurm", "--slurm", "account"], "--slurm KEY=VALUE"),
        (["sweep", "main", "--seeds", "x"], "--seeds is 'x'; give a whole number"),
        (["ablate", "supervised"], "nor variants, so there is nothing to ablate"),
        (["sweep", "main", "--dataset", "tyo"], "There is no dataset 'tyo'"),
    ],
)
def test_a_wrong_word_is_one_sentence(data, tmp_path, words, said):
    code, output = bench(*words, "--data", data, "--results", tmp_path)
    assert code != 0 and said in " ".join(output.split())
    assert "Traceback" not in output


def test_an_ablation_whose_method_cannot_be_switched_off_does_not_start(data, tmp_path, monkeypatch):
    from benchmark.sweep import ablation

    wrong = ablation.Off("all_off", True, 0.5, 0.1)
    monkeypatch.setattr(ablation, "everything_off", lambda run, classes: [wrong])
    code, said = bench("ablate", "cdma", *options(data, tmp_path), "--workers", 1)
    assert code != 0 and "all_off does not equal supervised" in said
    assert not (tmp_path / "runs").exists()


def test_the_table_so_far_has_a_dash_where_nothing_is_done(store, data, tmp_path):
    carried_out(wanted(), store, data, tmp_path)
    standings = live.Standings(tmp_path)
    standings.add([path.stem for path in (tmp_path / "runs").iterdir()])
    standings.read()
    rows = run_records.load(tmp_path, method="supervised")
    dice = [value for image in rows[0].scores["dice"] for value in image if value is not None]
    assert standings.scores["supervised", 0.5] == [pytest.approx(sum(dice) / len(dice))]
    standings.scores["supervised", 1.0] = [0.5]
    cells = [list(column.cells) for column in standings.table().columns]
    assert dict(zip(cells[0], cells[2], strict=True)) == {"mean_teacher": "–", "supervised": "0.500 (1)"}
    assert standings.table().title == "Mean Dice so far (runs)"


def test_the_table_so_far_says_that_a_dice_is_the_mean_over_classes(tmp_path):
    record = made_up("supervised", classes=("background", "benign", "malignant"))
    run_records.save(record, tmp_path)
    standings = live.Standings(tmp_path)
    standings.add([record.key])
    standings.read()
    assert standings.table().title == "Mean Dice so far (runs), mean over classes"


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_view_has_a_line_for_each_run(store, tmp_path, width):
    planned = plan.plan(wanted(("mean_teacher", "unimatch_v2"), seeds=(10,)), {"toy": store}, tmp_path)
    for one in planned[:2]:
        said = {"what": "Training mean_teacher", "done": 30, "total": 60, "host": "here"}
        said["text"] = "1234 images/s  sup 0.123 consistency 0.456 and so on"
        files.write_whole(
            task.running_path(tmp_path, one.key), lambda path, said=said: path.write_text(json.dumps(said))
        )
    board = live.Board(live.Progress(planned, tmp_path, 2), live.Live(console=live.Console(width=width)))
    with board.console.capture() as shown:
        board.console.print(board._view())
    first, *running, following = shown.get().splitlines()
    assert first.strip() == "0 of 3 done, 3 left" and following.startswith("Next: unimatch_v2 at 0.5, draw 0, seed 10")
    assert len(running) == 2 and all(len(line) <= width and "━" in line and "1234 images/s" in line for line in running)
    assert "mean_teacher at 0.5, draw 0, seed 10" in running[0]


def test_where_there_is_no_terminal_lines_say_now_and_then_how_far_runs_are(store, tmp_path, monkeypatch, capsys):
    planned = plan.plan(wanted(), {"toy": store}, tmp_path)
    said = {"what": "Training mean_teacher", "done": 30, "total": 60, "text": "1234 images/s", "host": "here"}
    key = planned[1].key
    files.write_whole(task.running_path(tmp_path, key), lambda path: path.write_text(json.dumps(said)))
    lines = live.Lines(live.Progress(planned, tmp_path, 2))
    lines.look()
    lines.look()
    assert capsys.readouterr().err == f"started   {key}\n"
    monkeypatch.setattr(live, "REPORT_S", 0)
    lines.look()
    assert capsys.readouterr().err == f"running   {key}: training 30 of 60\n          0 of 2 done, 2 left\n"


# ----------------------------------------------------------------------------------------------------------------------
# Longer


def bench_sweep(data: Path, results: Path, *words: str, **fields) -> list[str]:
    given = options(data, results, **fields)
    return [sys.executable, "-m", "benchmark.cli", "sweep", "quick", *words, *given]


@pytest.mark.slow
def test_ctrl_c_stops_everything_and_the_same_command_goes_on(store, data, tmp_path):
    command = bench_sweep(data, tmp_path, "--methods", "mean_teacher", "--workers", "2", steps=300)
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: list((tmp_path / "running").glob("*.json")), 200)
    below = children(first.pid)
    time.sleep(1)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 130 and "Stopped: " in said and "The same command continues" in said
    assert "Traceback" not in said
    assert not [process for process in below if alive(process)]
    assert not list((tmp_path / "running").iterdir())
    assert len(run_records.load(tmp_path)) < 3
    subprocess.run(command, check=True, capture_output=True)
    assert len(run_records.load(tmp_path)) == 3


@pytest.mark.slow
def test_fifty_sigkills_of_workers_and_sweeps_leave_every_row_once_and_whole(store, data, tmp_path):
    seeds = "--draws", "10", "--seeds", "10"  # by two ratios of supervised: 200 runs
    command = bench_sweep(data, tmp_path, "--methods", "supervised", *seeds, "--workers", "4", "--threads", "1")
    chance, kills, written = random.Random(0), collections.Counter(), {}

    def rows() -> list[Path]:
        found = list((tmp_path / "runs").glob("*.json"))
        for path in found:
            stat = path.stat()
            assert written.setdefault(path.name, (stat.st_ino, stat.st_mtime_ns)) == (stat.st_ino, stat.st_mtime_ns)
        return found

    def start() -> subprocess.Popen:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    process = start()
    while kills.total() < 50:
        time.sleep(chance.uniform(0.1, 1.5))
        assert process.poll() is None, f"all was done after {kills}"
        rows()
        workers = [child for child in children(process.pid) if children(child)]
        if not workers:  # still starting
            continue
        worker = chance.choice(workers)
        kind = chance.choices(["run", "worker", "sweep"], [9, 3, 2])[0]
        victim = {"run": (children(worker) or [worker])[0], "worker": worker, "sweep": process.pid}[kind]
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            kills[kind] += 1
        if kind == "sweep":
            below = workers + [child for one in workers for child in children(one)]
            process.wait()
            wait_until(lambda: not [child for child in below if alive(child)], 20)  # noqa: B023
            process = start()
    assert process.wait() in (0, 1)  # 1: a run was lost three times; it is tried again
    subprocess.run(command, check=True, capture_output=True)
    print(kills)
    assert len(rows()) == 200
    loaded = run_records.load(tmp_path)
    assert len({row.key for row in loaded}) == 200 and all(row.status == "done" for row in loaded)
    for folder in ("runs", "checkpoints", "running", "failed"):
        here = tmp_path / folder
        left_over = [
            path for path in (here.iterdir() if here.exists() else ()) if folder != "runs" or path.name[0] == "."
        ]
        assert not left_over
    for row in chance.sample(loaded, 5):
        alone = train.train(row.run, store, tmp_path / "alone", train.Options(device="cpu"))
        assert decided(alone) == decided(row)


@pytest.fixture
def rows_here(store, data, tmp_path):
    carried_out(wanted(seeds=(0, 1)), store, data, tmp_path / "here")
    return {row.key: decided(row) for row in run_records.load(tmp_path / "here")}


@pytest.mark.slow
def test_local_workers_leave_the_same_rows(rows_here, store, data, tmp_path):
    planned = plan.plan(wanted(seeds=(0, 1)), {"toy": store}, tmp_path)
    execute.execute(planned, Local(Task(tmp_path, data, "cpu"), ["cpu"] * 2), tmp_path, Quiet())
    assert {row.key: decided(row) for row in run_records.load(tmp_path)} == rows_here


@pytest.fixture
def slurm():
    if not shutil.which("sbatch"):
        pytest.skip("Slurm is not installed: there is no sbatch")
    if subprocess.run(["sinfo"], capture_output=True, timeout=30).returncode:
        pytest.skip("no Slurm cluster answers")
    from benchmark.sweep.executors import slurm

    return slurm


@pytest.mark.slow
def test_slurm_leaves_the_same_rows_and_goes_on_after_a_timeout(rows_here, slurm, store, data, tmp_path):
    planned = plan.plan(wanted(seeds=(0, 1)), {"toy": store}, tmp_path)
    executor = slurm.Slurm(Task(tmp_path, data, "cpu"), tmp_path / "slurm", 2, {"time": 10})
    execute.execute(planned, executor, tmp_path, Quiet())
    assert {row.key: decided(row) for row in run_records.load(tmp_path)} == rows_here


@pytest.mark.slow
def test_slurm_queues_a_run_again_whose_time_is_up(slurm, store, data, tmp_path):
    (one,) = plan.plan([dataclasses.replace(wanted()[0], steps=400)], {"toy": store}, tmp_path)
    executor = slurm.Slurm(Task(tmp_path, data, "cpu"), tmp_path / "slurm", 1, {"time": 10})
    executor.start([one.run])
    wait_until(lambda: (task.running(tmp_path, one.key) or {"done": 0})["done"], 120)
    (job,) = [job for job, _ in executor.jobs.values()]
    job._interrupt(timeout=True)
    wait_until(lambda: "Requeued" in (job.stderr() or "") + (job.stdout() or ""), 60)
    endings = []
    wait_until(lambda: endings.extend(executor.ended(0.5)) or endings, 900)  # Slurm itself waits for two minutes
    assert endings == [(one.run, "")] and len(run_records.load(tmp_path)) == 1
    executor.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("result", "how"), [("elsewhere", "elsewhere"), ("done", "Its job 7_0 ended without a run record.")]
)
def test_a_slurm_job_whose_run_another_process_holds_is_not_lost(tmp_path, result, how):
    class Job:
        job_id, paths = "7_0", types.SimpleNamespace(result_pickle=tmp_path / "result")

        def result(self):
            return result

        def stderr(self):
            return ""

    from benchmark.sweep.executors import slurm

    assert slurm._how(Job()) == "Its job 7_0 ended without a run record."
    (tmp_path / "result").touch()
    assert slurm._how(Job()) == how


def test_ray_waits_while_all_that_is_left_is_held_elsewhere():
    on_ray = pytest.importorskip("benchmark.sweep.executors.on_ray", exc_type=ImportError)
    executor = on_ray.OnRay.__new__(on_ray.OnRay)
    executor.pending = {}
    begun = time.monotonic()
    assert executor.ended(0.05) == []
    assert time.monotonic() - begun >= 0.05


def test_slurm_tells_what_it_does_not_take(slurm, data, tmp_path):
    executor = slurm.Slurm(Task(tmp_path, data, "cpu"), tmp_path / "slurm", 1, {"time": 10, "partition": "nowhere"})
    with pytest.raises(ValueError, match="Slurm refuses the jobs.*partition"):
        executor.start(wanted())


@pytest.fixture
def ray_cluster(monkeypatch):
    """A cluster of two nodes, as RAY_ADDRESS."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # on a busy machine Ray's workers would wait for all others
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_a_ray_cluster_of_several_nodes_leaves_the_same_rows(rows_here, ray_cluster, store, data, tmp_path):
    from benchmark.sweep.executors.on_ray import OnRay

    planned = plan.plan(wanted(seeds=(0, 1)), {"toy": store}, tmp_path)
    execute.execute(planned, OnRay(Task(tmp_path, data, "cpu"), 0), tmp_path, Quiet())
    assert {row.key: decided(row) for row in run_records.load(tmp_path)} == rows_here


# ----------------------------------------------------------------------------------------------------------------------
# The page


def of_the_page(option: str) -> list[str]:
    """The commands of docs/cluster.md with this option."""
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page, re.M | re.S)
    found = [line for language, block in blocks if not language for line in block.splitlines() if option in line]
    assert found
    return found


def given(line: str, data: Path, results: Path) -> None:
    """Gives a command of the page, but for where things lie, how large they are, and what this machine has."""
    words = shlex.split(line.partition("bench ")[2])
    small = ["--methods", "mean_teacher", "--draws", "1", "--seeds", "1", *options(data, results), "--threads", "1"]
    own = ["--partition", ""] if "--partition" in words else []
    own += ["--gpus-per-task", "0"] if "--gpus-per-task" in words else []
    command = [sys.executable, "-m", "benchmark.cli", *words, *small, *own]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_commands_for_slurm_run(slurm, store, data, tmp_path):
    alone, detached = of_the_page("--on slurm")
    given(alone, data, tmp_path / "alone")
    assert len(run_records.load(tmp_path / "alone")) == 3
    given(detached, data, tmp_path / "detached")
    wait_until(lambda: len(list((tmp_path / "detached" / "runs").glob("[!.]*"))) == 3)
    given(of_the_page("--dry-run")[0], data, tmp_path / "detached")


@pytest.mark.slow
def test_the_command_for_ray_runs(ray_cluster, store, data, tmp_path):
    (line,) = of_the_page("--on ray")
    given(line, data, tmp_path)
    assert len(run_records.load(tmp_path)) == 3


def test_a_sweep_without_a_suite_lists_the_suites_and_plans_nothing(tmp_path):
    done = CliRunner().invoke(main, ["sweep", "--results", str(tmp_path / "r"), "--data", str(tmp_path / "d")])
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in suites.SUITES) and not list(tmp_path.iterdir())


def test_on_a_gpu_each_method_is_timed_and_its_runs_share_the_gpu_as_measured(store, tmp_path, monkeypatch):
    gpu, probed = torch.device("cuda"), []
    for name, value in {"device": gpu, "devices": ["cuda:0"], "cores": 16, "describe": {"device": "GPU"}}.items():
        monkeypatch.setattr(machine, name, lambda *_, value=value: value)
    step_s = {"supervised": 400.0, "cdma": 900.0}
    monkeypatch.setattr(executors, "_stopwatch", lambda *_: lambda run: step_s[run.method])
    monkeypatch.setattr(sharing, "sharing", lambda job, most: probed.append(job) or sharing.Sharing(4, 1.5, 8.0, 3.0))
    planned = plan.plan(wanted(("cdma",), seeds=(0, 1, 2)), {"toy": store}, tmp_path)
    execution = executors.Execution("local", "cuda", None, None, tmp_path, tmp_path, False, None, 60, 0, ())
    settled, estimated = execution.settled(planned, {"toy": store}, tmp_path)
    assert settled.workers == 4 and settled.threads == 4
    assert [job.run.method for job in probed] == ["cdma"], "the slowest"
    seconds = {one.run.method: one.seconds for one in estimated}
    assert seconds["cdma"] > 1.5 * 900 * 2 and seconds["supervised"] > 1.5 * 400 * 2, "two steps each"
