"""Executes one run, with any executor: it writes a run record, or a failure record with the error."""

import contextlib
import dataclasses
import datetime
import errno
import json
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import methods
from benchmark.datasets import store as stores
from benchmark.files import write_text
from benchmark.progress import Tell
from benchmark.protocol import setup, train
from benchmark.runs import Run

ENDINGS = DONE, FAILED, ELSEWHERE, FULL = "done", "failed", "elsewhere", "full"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # errors that every other run would have, too
TELL_S = 1.0  # seconds between two writes of the progress of a run


class _Elsewhere(Exception):
    """Another process holds the run."""


@dataclass(frozen=True)
class Task:
    """Everything that a run needs besides its fields; it is sent to other processes and machines."""

    results: Path
    data: Path
    device: str = "auto"
    threads: int = 1
    trial: bool = False  # scored on validation images only

    def __call__(self, run: Run) -> str:
        """Trains and scores a complete run.

        Returns:
            "done" with a run record, "failed" with a failure record, "elsewhere" if another process holds the run, or
            "full" if the disk of the results is full.
        """
        torch.set_num_threads(self.threads)
        try:
            store = stores.open_store(run.dataset, self.data)
            _same(setup.complete(run, store), run)
            failure_path(self.results, run.key).unlink(missing_ok=True)
            with _reported(self.results, run) as watch:
                options = train.Options(device=self.device, watch=watch, trial=self.trial, busy=_refuse)
                train.train(run, store, self.results, options)
        except _Elsewhere:
            return ELSEWHERE
        except Exception as error:  # whatever a method does wrong, the other runs continue
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                return FULL
            return self._failed(run, error)
        return DONE

    def _failed(self, run: Run, error: Exception) -> str:
        try:
            record_failure(self.results, run, _sentence(error), traceback.format_exc(), self.device)
        except OSError as another:
            if another.errno in NO_ROOM:
                return FULL
            raise
        return FAILED

    def encoded(self) -> str:
        return json.dumps({**dataclasses.asdict(self), "results": str(self.results), "data": str(self.data)})

    @classmethod
    def decoded(cls, text: str) -> "Task":
        fields = json.loads(text)
        return cls(**{**fields, "results": Path(fields["results"]), "data": Path(fields["data"])})


# ----------------------------------------------------------------------------------------------------------------------
# Failures


def record_failure(results: Path, run: Run, sentence: str, details: str, device: str) -> None:
    """Writes the error of a run, for people and for the next sweep, which tries the run again."""
    failure = {
        "key": run.key,
        "run": dataclasses.asdict(run),
        "error": sentence,
        "traceback": details,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"host": os.uname().nodename, "device": device, "torch": version("torch")},
    }
    text = json.dumps(failure, indent=1, ensure_ascii=False)
    write_text(failure_path(results, run.key), text + "\n")


def failure_path(results: Path, key: str) -> Path:
    return results / "failed" / f"{key}.json"


def failure(results: Path, key: str) -> dict[str, Any] | None:
    """The failure record of a run: `error`, a sentence; `traceback`, `time`, `machine`. None if it has not failed."""
    path = failure_path(results, key)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def keys_in(results: Path, folder: str) -> set[str]:
    """The keys of the runs with a file in `runs`, `failed` or `running`; lists the folder once."""
    with contextlib.suppress(FileNotFoundError):
        return {name.removesuffix(".json") for name in os.listdir(results / folder) if not name.startswith(".")}
    return set()


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) and str(error) else methods.described(error)


# ----------------------------------------------------------------------------------------------------------------------
# The progress of a run


def running_path(results: Path, key: str) -> Path:
    return results / "running" / f"{key}.json"


def running(results: Path, key: str) -> dict[str, Any] | None:
    """The progress of a run: `what`, `done`, `total`, `text`, `host`; None if it is not running."""
    try:
        return json.loads(running_path(results, key).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _reported(results: Path, run: Run) -> Iterator[train.Watch]:
    """Writes the progress of a run to a small file, with every executor.

    The file is deleted before the run record appears, so that it does not remain if the run is killed at that moment.
    """
    path, host, depth = running_path(results, run.key), os.uname().nodename, 0

    def say(what: str, done: int, total: int, text: str) -> None:
        progress = json.dumps({"what": what, "done": done, "total": total, "text": text.strip(), "host": host})
        write_text(path, progress)

    @contextlib.contextmanager
    def watch(what: str, total: int) -> Iterator[Tell]:
        nonlocal depth
        depth, last = depth + 1, time.monotonic()
        say(what, 0, total, "")

        def tell(done: int, text: str = "") -> None:
            nonlocal last
            if time.monotonic() - last > TELL_S:
                last = time.monotonic()
                say(what, done, total, text)

        try:
            yield tell
        finally:
            depth -= 1
            if not depth:
                path.unlink(missing_ok=True)

    yield watch


def _refuse(other: str) -> None:
    raise _Elsewhere(other)


def _same(here: Run, planned: Run) -> None:
    """Refuses a run if data or weights differ from those that it was planned with."""
    for name, what in (("content", "dataset"), ("weights_hash", "pretrained weights")):
        if getattr(here, name) != getattr(planned, name):
            raise ValueError(
                f"The {what} of '{planned.dataset}' here differ from those that the run was planned with "
                f"({getattr(here, name)}, not {getattr(planned, name)}); bring the same ones to every machine."
            )
