"""A sweep whose disk is full ends with one sentence; what processes left behind goes, what they write stays."""

import errno
import os

import pytest
from click.testing import CliRunner
from sweep.test_sweep import Here, Quiet, options, wanted

from benchmark import files, run_records
from benchmark.cli import executors, main
from benchmark.protocol import train
from benchmark.sweep import execute, plan, task
from benchmark.sweep.executors.local import Local, _Worker
from benchmark.sweep.task import Task


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("module", "writes"), [(files, "_locked_beside"), (run_records, "save")])
def test_a_full_disk_ends_a_sweep_after_its_first_run_with_one_sentence(
    store, data, tmp_path, monkeypatch, module, writes
):
    executor, quiet = Here(Task(tmp_path, data, "cpu")), Quiet()
    planned = plan.plan(wanted(("mean_teacher", "cdma"), seeds=(0, 1)), {"toy": store}, tmp_path)
    monkeypatch.setattr(module, writes, full)
    with pytest.raises(OSError, match="No space left"):
        execute.execute(planned, executor, tmp_path, quiet)
    assert len(executor.carried) == 1 and not quiet.said
    assert not list(tmp_path.glob("failed/*")) and not list(tmp_path.glob("running/*"))


def test_a_failure_that_cannot_be_recorded_ends_a_sweep_too(store, data, tmp_path, monkeypatch):
    def fails(*_):
        monkeypatch.setattr(files, "_locked_beside", full)
        raise ValueError("The method is wrong.")

    monkeypatch.setattr(train, "train_missing", fails)
    (one, *_) = plan.plan(wanted(), {"toy": store}, tmp_path)
    assert Task(tmp_path, data, "cpu")(one.run) == task.FULL


def test_the_command_says_it_in_one_sentence(data, tmp_path, monkeypatch):
    monkeypatch.setattr(executors.Execution, "executor", lambda self, results: Here(Task(results, self.data, "cpu")))
    monkeypatch.setattr(run_records, "save", full)
    words = ["sweep", "quick", "--methods", "mean_teacher", *options(data, tmp_path)]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 1 and done.stderr.splitlines()[-1] == (
        "Error: The disk is full; free some space or give another folder with --results, then give the command again: "
        "what was finished is kept."
    )


def test_a_worker_tells_a_full_disk_by_its_exit_status(data, tmp_path):
    local = Local(Task(tmp_path, data, "cpu"), [])
    worker = _Worker(None, None, local, run=wanted()[0])
    assert local._heard(worker, str(task.ENDINGS.index(task.FULL))) == [(wanted()[0], "full")]
