"""A worker process: imports the program once, and forks a child for every run.

A run then starts in milliseconds, has its own peak memory, and does not end other runs if it is killed. Runs arrive as
lines on standard input; for each, an exit status is written to standard output.
"""

import contextlib
import json
import os
import select
import sys
import threading

from benchmark import machine
from benchmark.runs import Run
from benchmark.sweep.task import ENDINGS, Task

READY = "ready"


def main() -> None:
    """Executes the runs on standard input, one after the other."""
    task = Task.decoded(sys.argv[1])
    with os.fdopen(os.dup(1), "w", buffering=1) as answers, contextlib.suppress(BrokenPipeError):
        os.dup2(2, 1)  # what a method prints is not an answer
        print(READY, file=answers)
        machine.inherited = machine.library_memory()
        for line in sys.stdin:
            if not (child := os.fork()):
                _execute(task, Run.of(json.loads(line)), answers.fileno())
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)


def _execute(task: Task, run: Run, answers: int) -> None:
    """Executes a run in the child; the exit status is the position of the ending in `ENDINGS`."""
    status = len(ENDINGS)
    try:
        os.close(answers)  # so that the sweep notices if the worker itself is killed
        threading.Thread(target=_end_with_the_sweep, daemon=True).start()
        status = ENDINGS.index(task(run))
    finally:
        sys.stderr.flush()
        os._exit(status)


def _end_with_the_sweep() -> None:
    """Ends this process when its standard input is closed, because the sweep has ended."""
    poll = select.poll()
    poll.register(0, 0)  # only the event that it is closed
    poll.poll()
    os._exit(len(ENDINGS))


if __name__ == "__main__":
    main()
