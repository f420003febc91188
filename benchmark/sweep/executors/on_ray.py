"""Executes runs on a Ray cluster, one task for each run."""

import time
from collections.abc import Sequence

import ray

from benchmark.runs import Run
from benchmark.sweep.task import ELSEWHERE, FULL, Task


class OnRay:
    """Hands runs to the cluster that RAY_ADDRESS names, or to one here; every node can read results and data."""

    def __init__(self, task: Task, gpus: float):
        """`gpus` may be a fraction: several runs then share one."""
        ray.init(log_to_driver=False, logging_level="error", ignore_reinit_error=True)
        # a process of its own for each run, so that the peak of its memory is the run's
        options = {"num_cpus": task.threads, "num_gpus": gpus, "max_retries": 0, "max_calls": 1}
        self.task = ray.remote(**options)(_execute)
        self.shared = ray.put(task)
        self.pending: dict[ray.ObjectRef, Run] = {}

    def start(self, wanted: Sequence[Run]) -> None:
        self.pending |= {self.task.remote(self.shared, run): run for run in wanted}

    def ended(self, within_s: float) -> list[tuple[Run, str]]:
        """Runs that ended, and runs with a process or node that was lost."""
        pending = list(self.pending)
        if not pending:  # other processes hold the runs that are left
            time.sleep(within_s)
            return []
        finished, _ = ray.wait(pending, num_returns=1, timeout=within_s)
        finished, _ = ray.wait(pending, num_returns=len(pending), timeout=0) if finished else (finished, [])
        endings = []
        for reference in finished:
            run = self.pending.pop(reference)
            try:
                ending = ray.get(reference)
                endings.append((run, ending if ending in (ELSEWHERE, FULL) else ""))
            except ray.exceptions.RayError as error:
                endings.append((run, f"{type(error).__name__}: {error}".strip()))
        return endings

    def stop(self) -> None:
        for reference in self.pending:
            ray.cancel(reference, force=True)
        self.pending.clear()
        ray.shutdown()


def _execute(task: Task, run: Run) -> str:
    return task(run)
