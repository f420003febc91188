"""Executes runs on a Slurm cluster: array jobs with one task for each run."""

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit

from benchmark.runs import Run
from benchmark.sweep.task import ELSEWHERE, FULL, Task, failure_path, keys_in

ARRAY = 1000  # tasks of an array job: what Slurm allows unless configured otherwise
LOOK_S = 5.0  # seconds between two calls of squeue
TIMEOUTS = 1000  # times that a run may reach its time limit and continue in a new job
LAST_OUTPUT = 2000  # characters of the output of a lost job


class _Job(Task):
    """A task that is queued again when its time is up or it is preempted; the run continues from its checkpoint."""

    def checkpoint(self, run: Run) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(self, run)


class Slurm:
    """Submits runs, and follows them by their files and `squeue`; every node can read results and data."""

    def __init__(self, task: Task, folder: Path, at_once: int, parameters: dict[str, Any]):
        """`parameters` are those of submitit; logs and jobs are in `folder`."""
        self.job = _Job(**vars(task))
        try:
            self.executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=TIMEOUTS)
        except RuntimeError as error:
            raise ValueError("There is no Slurm here: srun is not found; give --on local or --on ray.") from error
        fixed = {"job_name": "bench", "cpus_per_task": task.threads, "array_parallelism": at_once}
        self.executor.update_parameters(**{**fixed, **parameters})
        self.jobs: dict[str, tuple[submitit.Job, Run]] = {}
        self.looked = 0.0

    def start(self, wanted: Sequence[Run]) -> None:
        for run in wanted:  # so that a failure record is of this job
            failure_path(self.job.results, run.key).unlink(missing_ok=True)
        for begin in range(0, len(wanted), ARRAY):
            part = list(wanted[begin : begin + ARRAY])
            try:
                jobs = self.executor.map_array(self.job, part)
            except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
                why = str(error).strip().splitlines()[-1]
                raise ValueError(f"Slurm refuses the jobs: {why}") from error
            self.jobs |= {job.job_id: (job, run) for job, run in zip(jobs, part, strict=True)}

    def ended(self, within_s: float) -> list[tuple[Run, str]]:
        """Runs with a run record, and runs with a job that left the queue, with a failure record or without."""
        time.sleep(within_s)
        if time.monotonic() - self.looked < LOOK_S:
            return []
        queued = _queued()  # first, so that records of jobs that end meanwhile are read
        finished = keys_in(self.job.results, "runs")
        failures = keys_in(self.job.results, "failed")
        self.looked = time.monotonic()
        endings = []
        for name, (job, run) in list(self.jobs.items()):
            gone = queued is not None and name not in queued
            if gone or run.key in finished:
                endings.append((run, "" if run.key in finished or run.key in failures else _how(job)))
                del self.jobs[name]
        return endings

    def stop(self) -> None:
        for first in {name.partition("_")[0] for name in self.jobs}:
            subprocess.run(["scancel", first], check=False, capture_output=True)
        self.jobs.clear()


def _queued() -> set[str] | None:
    """The names of the jobs of this user that wait, run or are ending; None if the scheduler does not answer."""
    ask = ["squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", "%i"]
    done = subprocess.run(ask, capture_output=True, text=True)
    return None if done.returncode else set(done.stdout.split())


def _how(job: submitit.Job) -> str:
    """How a job without run record and failure record ended: its result, or that it was lost."""
    if job.paths.result_pickle.exists():
        with contextlib.suppress(Exception):  # the job's own, or a result that was cut off
            ending = job.result()
            if ending in (ELSEWHERE, FULL):
                return ending
    words = (job.stderr() or "")[-LAST_OUTPUT:].strip()
    return f"Its job {job.job_id} ended without a run record." + (f"\n{words}" if words else "")
