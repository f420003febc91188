"""A worker: it reads the program once, and forks a child for every run that it is handed.

So a run starts in milliseconds, has a memory of its own (what a row says of its peak is not that of an earlier run),
and takes nobody along when it is killed. Runs arrive as lines on standard input; an exit status goes back for each.
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
    task = Task.decoded(sys.argv[1])
    with os.fdopen(os.dup(1), "w", buffering=1) as answers, contextlib.suppress(BrokenPipeError):
        os.dup2(2, 1)  # what a method prints is not an answer
        print(READY, file=answers)
        machine.inherited = machine.library_memory()
        for line in sys.stdin:
            if not (child := os.fork()):
                _carry_out(task, Run.of(json.loads(line)), answers.fileno())
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)


def _carry_out(task: Task, run: Run, answers: int) -> None:
    """The child's whole life; its exit status is the place of its ending in `ENDINGS`."""
    status = len(ENDINGS)
    try:
        os.close(answers)  # so that the sweep hears it if the worker itself is killed
        threading.Thread(target=_end_with_the_sweep, daemon=True).start()
        status = ENDINGS.index(task(run))
    finally:
        sys.stderr.flush()
        os._exit(status)


def _end_with_the_sweep() -> None:
    """Ends this process when nobody holds the other end of its standard input any more: the sweep is gone."""
    poll = select.poll()
    poll.register(0, 0)  # of no event but the end
    poll.poll()
    os._exit(len(ENDINGS))


if __name__ == "__main__":
    main()
