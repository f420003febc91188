"""Executes runs on this machine, with a few worker processes."""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from benchmark.runs import Run
from benchmark.sweep.executors.worker import READY
from benchmark.sweep.task import ELSEWHERE, ENDINGS, FULL, Task

STARTS = 3  # workers one after the other that end before they are ready: then something is wrong with all of them
STOP_S = 5.0  # seconds that a worker may take to end
LAST_OUTPUT = 2000  # characters of the output of a lost run


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen
    printed: IO[bytes]
    task: Task
    run: Run | None = None
    ready: bool = False


class Local:
    """Hands runs to workers, one after the other. A worker that is killed is replaced; its run is reported as lost."""

    def __init__(self, task: Task, devices: Sequence[str]):
        """One worker for each of `devices`, which may name a device several times."""
        self.tasks = [dataclasses.replace(task, device=device) for device in devices]
        self.waiting: deque[Run] = deque()
        self.workers: list[_Worker] = []
        self.answers: queue.Queue[tuple[_Worker, str | None]] = queue.Queue()
        self.stillborn = 0

    def start(self, wanted: Sequence[Run]) -> None:
        self.waiting.extend(wanted)
        idle = sum(worker.run is None for worker in self.workers)
        for task in self.tasks[len(self.workers) :][: max(0, len(self.waiting) - idle)]:
            self._start_worker(task)
        for worker in self.workers:
            self._hand_out(worker)

    def ended(self, within_s: float) -> list[tuple[Run, str]]:
        """Runs that ended, each with "" (it has a record), "elsewhere", "full", or how its process was lost."""
        endings = []
        with contextlib.suppress(queue.Empty):
            endings += self._heard(*self.answers.get(timeout=within_s))
            while True:
                endings += self._heard(*self.answers.get_nowait())
        return endings

    def stop(self) -> None:
        """Ends every worker and its run at once; a run later continues from its last checkpoint."""
        for worker in self.workers:
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.close()
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(STOP_S)
            _kill(worker)
        self.workers.clear()

    def _start_worker(self, task: Task) -> None:
        threads = {f"{library}_NUM_THREADS": str(task.threads) for library in ("OMP", "MKL", "OPENBLAS")}
        printed = tempfile.TemporaryFile("a+b")  # noqa: SIM115 – lives as long as the worker
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "benchmark.sweep.executors.worker", task.encoded()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed, text=True, env=os.environ | threads,
            start_new_session=True,  # only the sweep receives Ctrl-C, and stops its workers
        )  # fmt: skip
        worker = _Worker(process, printed, task)
        self.workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()

    def _listen(self, worker: _Worker) -> None:
        for line in worker.process.stdout:
            self.answers.put((worker, line.strip()))
        self.answers.put((worker, None))

    def _heard(self, worker: _Worker, answer: str | None) -> list[tuple[Run, str]]:
        if answer == READY:
            worker.ready, self.stillborn = True, 0
            self._hand_out(worker)
            return []
        if answer is None:
            return self._replace(worker)
        run, worker.run = worker.run, None
        how, status = "", int(answer)
        if not 0 <= status < len(ENDINGS):
            how = _lost(worker, status)
        elif ENDINGS[status] in (ELSEWHERE, FULL):
            how = ENDINGS[status]
        self._hand_out(worker)
        return [(run, how)]

    def _replace(self, worker: _Worker) -> list[tuple[Run, str]]:
        """Starts another worker for one that has ended; a ValueError if none of them starts."""
        _kill(worker)
        self.workers.remove(worker)
        how = _lost(worker, worker.process.returncode)
        self.stillborn += not worker.ready
        if self.stillborn >= STARTS:
            raise ValueError(f"No worker starts, so nothing can run. The last one: {how}")
        self._start_worker(worker.task)
        return [(worker.run, how)] if worker.run else []

    def _hand_out(self, worker: _Worker) -> None:
        if worker.ready and worker.run is None and self.waiting:
            worker.run = self.waiting.popleft()
            worker.printed.truncate(0)
            with contextlib.suppress(BrokenPipeError):  # a worker that was just killed: its end is heard next
                worker.process.stdin.write(json.dumps(dataclasses.asdict(worker.run)) + "\n")
                worker.process.stdin.flush()


def _kill(worker: _Worker) -> None:
    """Ends a worker and its child, and waits for the worker."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


def _lost(worker: _Worker, status: int) -> str:
    """How a process ended, with the end of its output."""
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    worker.printed.seek(0)
    words = worker.printed.read().decode(errors="replace")[-LAST_OUTPUT:].strip()
    return f"Its process was ended by {how}." + (f"\n{words}" if words else "")
