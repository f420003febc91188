"""Executes the missing runs of a suite with any executor: local workers, Slurm or Ray."""

import contextlib
import errno
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmark import run_records
from benchmark.runs import Run
from benchmark.sweep.plan import Planned
from benchmark.sweep.task import DONE, ELSEWHERE, FAILED, FULL, failure, failure_path, record_failure, running_path

LOSSES = 3  # times that the process of a run may be lost before the run is recorded as failed
TICK_S = 0.5  # seconds between two checks
RETURN_S = 5.0  # seconds until a run that another process holds is tried again


class Executor(Protocol):
    """Executes runs, each as a `Task` in a process of its own."""

    def start(self, wanted: Sequence[Run]) -> None:
        """Accepts runs; they may begin at once or much later."""

    def ended(self, within_s: float) -> list[tuple[Run, str]]:
        """Runs that ended, each with "" (it has a record), "elsewhere", "full", or how its process was lost."""

    def stop(self) -> None:
        """Ends the runs in progress, and drops those that wait."""


class Show(Protocol):
    """Shows the progress to a person."""

    def ended(self, run: Run, ending: str, sentence: str) -> None:
        """A run is "done" or "failed"; the sentence says why it failed."""

    def look(self) -> None:
        """Called a few times a second."""


def execute(planned: Sequence[Planned], executor: Executor, results: Path, show: Show) -> Counter[str]:
    """Executes the runs that are not done, and counts how runs ended. A failed run does not stop the others.

    If the process of a run is lost, the run is started again and continues from its checkpoint; after the third loss it
    has failed.

    Args:
        planned: the runs.
        executor: where they are executed.
        results: folder of the run records.
        show: the view of the progress.

    Raises:
        OSError: if the disk of the results is full, because every further run would fail, too.
    """
    left = {planned_run.key: planned_run.run for planned_run in planned if planned_run.state != DONE}
    for key in left:
        running_path(results, key).unlink(missing_ok=True)  # of a process that was killed
    losses: Counter[str] = Counter()
    endings: Counter[str] = Counter()
    again: dict[str, float] = {}  # when to return to a run that another process holds
    try:
        executor.start(list(left.values()))
        while left:
            for run, how in executor.ended(TICK_S):
                if how == FULL:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                ending, sentence = _ending(results, run, how)
                if ending is None and how == ELSEWHERE:
                    again[run.key] = time.monotonic() + RETURN_S
                    continue
                if ending is None:
                    losses[run.key] += 1
                    if losses[run.key] < LOSSES:
                        executor.start([run])
                        continue
                    sentence = f"It was lost {LOSSES} times; the last time: {how.partition(chr(10))[0]}"
                    record_failure(results, run, sentence, how, "")
                    ending = FAILED
                del left[run.key]
                endings[ending] += 1
                show.ended(run, ending, sentence)
            for key in [key for key, when in again.items() if time.monotonic() > when]:
                del again[key]
                executor.start([left[key]])
            show.look()
    finally:
        executor.stop()
        for key in left:
            with contextlib.suppress(OSError):  # a disk that has become read-only
                running_path(results, key).unlink(missing_ok=True)
    return endings


def _ending(results: Path, run: Run, how: str) -> tuple[str | None, str]:
    """How a run ended, from its files; None if there is neither a run record nor a failure record."""
    if run_records.path_of(results, run.key).exists():
        failure_path(results, run.key).unlink(missing_ok=True)
        return DONE, ""
    failed = failure(results, run.key) if how == "" else None
    return (FAILED, failed["error"]) if failed else (None, "")
