"""One run carried out, wherever that is: it leaves a row, or a failure that says why."""

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
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # what every other run would meet, too
TELL_S = 1.0  # seconds between two words of how far a run has come


class _Elsewhere(Exception):
    """Another process holds the run."""


@dataclass(frozen=True)
class Task:
    """All that a run needs besides itself. It travels to other processes and machines."""

    results: Path
    data: Path
    device: str = "auto"
    threads: int = 1
    trial: bool = False  # judged on validation images alone

    def __call__(self, run: Run) -> str:
        """Trains and scores a complete run, and says how that ended.

        Returns:
            "done" with a run record, "failed" with a failure record, "elsewhere" if another process holds the run, or
            "full" if the disk of the results takes nothing more.
        """
        torch.set_num_threads(self.threads)
        try:
            store = stores.open_store(run.dataset, self.data)
            _same(setup.complete(run, store), run)
            failure_path(self.results, run.key).unlink(missing_ok=True)
            with _telling(self.results, run) as watch:
                options = train.Options(device=self.device, watch=watch, trial=self.trial, busy=_refuse)
                train.train(run, store, self.results, options)
        except _Elsewhere:
            return ELSEWHERE
        except Exception as error:  # whatever a method does wrong, the other runs go on
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
    """Writes why a run has left no row, for people and for the next sweep, which tries it again."""
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
    """Why a run has left no row: `error`, a sentence; `traceback`, `time`, `machine`. None if it has not failed."""
    path = failure_path(results, key)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def keys_in(results: Path, folder: str) -> set[str]:
    """The runs that have a file in `runs`, `failed` or `running`: one look, however many there are."""
    with contextlib.suppress(FileNotFoundError):
        return {name.removesuffix(".json") for name in os.listdir(results / folder) if not name.startswith(".")}
    return set()


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) and str(error) else methods.described(error)


# ----------------------------------------------------------------------------------------------------------------------
# How far a run has come


def running_path(results: Path, key: str) -> Path:
    return results / "running" / f"{key}.json"


def running(results: Path, key: str) -> dict[str, Any] | None:
    """What a run is doing: `what`, `done`, `total`, `text`, `host`; None if it is not."""
    try:
        return json.loads(running_path(results, key).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _telling(results: Path, run: Run) -> Iterator[train.Watch]:
    """A small file that says how far the run is, the same whoever carries it out.

    It is gone before the row appears, so that it does not outlive its run if that is killed at this moment.
    """
    path, host, depth = running_path(results, run.key), os.uname().nodename, 0

    def say(what: str, done: int, total: int, text: str) -> None:
        said = json.dumps({"what": what, "done": done, "total": total, "text": text.strip(), "host": host})
        write_text(path, said)

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
    """Refuses a run whose data or weights are others than those it was planned with."""
    for name, what in (("content", "dataset"), ("weights_hash", "pretrained weights")):
        if getattr(here, name) != getattr(planned, name):
            raise ValueError(
                f"The {what} of '{planned.dataset}' here are not those that the run was planned with "
                f"({getattr(here, name)}, not {getattr(planned, name)}); bring the same ones to every machine."
            )
