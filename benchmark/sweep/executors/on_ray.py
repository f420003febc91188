"""Runs on a Ray cluster: one task for each run."""

import time
from collections.abc import Sequence

import ray

from benchmark.runs import Run
from benchmark.sweep.task import ELSEWHERE, FULL, Task


class OnRay:
    """Hands runs to the cluster that RAY_ADDRESS names, or to one here; every node sees results and data."""

    def __init__(self, task: Task, gpus: float):
        """`gpus` may be a fraction: several runs then share one."""
        ray.init(log_to_driver=False, logging_level="error", ignore_reinit_error=True)
        # a process of its own for each run, so that the peak of its memory is the run's
        options = {"num_cpus": task.threads, "num_gpus": gpus, "max_retries": 0, "max_calls": 1}
        self.task = ray.remote(**options)(_carry_out)
        self.carried = ray.put(task)
        self.pending: dict[ray.ObjectRef, Run] = {}

    def start(self, wanted: Sequence[Run]) -> None:
        self.pending |= {self.task.remote(self.carried, run): run for run in wanted}

    def ended(self, within_s: float) -> list[tuple[Run, str]]:
        """Runs that ended, and those whose process or node was lost."""
        pending = list(self.pending)
        if not pending:  # all that is left is held elsewhere
            time.sleep(within_s)
            return []
        finished, _ = ray.wait(pending, num_returns=1, timeout=within_s)
        finished, _ = ray.wait(pending, num_returns=len(pending), timeout=0) if finished else (finished, [])
        found = []
        for one in finished:
            run = self.pending.pop(one)
            try:
                ending = ray.get(one)
                found.append((run, ending if ending in (ELSEWHERE, FULL) else ""))
            except ray.exceptions.RayError as error:
                found.append((run, f"{type(error).__name__}: {error}".strip()))
        return found

    def stop(self) -> None:
        for one in self.pending:
            ray.cancel(one, force=True)
        self.pending.clear()
        ray.shutdown()


def _carry_out(task: Task, run: Run) -> str:
    return task(run)
