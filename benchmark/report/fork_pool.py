"""A pool of forked processes: pieces of work run in parallel and share the memory of their parent."""

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

Piece = Callable[[], Any]


@contextlib.contextmanager
def side_by_side(pieces: Sequence[Piece]) -> Iterator[Iterator[tuple[int, Any]]]:
    """Yields the place of each piece and what it returned (pickled on its way), as they are done.

    As many at once as this process has cores on Linux; elsewhere, where a fork is not safe, one after another. An
    error in a piece is raised here, and whatever ends the block, Ctrl-C too, ends the processes. Pieces use neither
    threads nor torch, which a fork would leave waiting for threads that are not there.
    """
    several = min(len(os.sched_getaffinity(0)), len(pieces)) if sys.platform == "linux" else 1
    if several < 2:
        yield ((place, piece()) for place, piece in enumerate(pieces))
        return
    fork = multiprocessing.get_context("fork")
    taken, crew = fork.Value("i", 0), {}
    gc.freeze()  # what is shared is not looked through for garbage, which would copy it page by page
    try:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until a process can end in silence
        try:
            for _ in range(several):
                here, there = fork.Pipe(duplex=False)
                crew[here] = fork.Process(target=_work, args=(pieces, taken, there, mask), daemon=True)
                crew[here].start()
                there.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield _results(crew)
    finally:
        gc.unfreeze()
        for process in crew.values():
            process.kill()
        for process in crew.values():
            process.join()


def _results(crew: dict[Connection, multiprocessing.Process]) -> Iterator[tuple[int, Any]]:
    while crew:
        for here in wait(list(crew)):
            try:
                place, result, error = here.recv()
            except EOFError:
                process = crew.pop(here)
                process.join()
                if process.exitcode:
                    raise ValueError(
                        f"A process that rendered tables and figures was ended (exit code {process.exitcode}), most "
                        "likely because memory ran out; free some, or render one suite at a time: `bench report SUITE`."
                    ) from None
                continue
            if error is not None:
                raise error
            yield place, result


def _work(pieces: Sequence[Piece], taken: Any, there: Connection, mask: set) -> None:
    """Takes the next piece until there is none."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends in silence; what there is to say the parent says
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while True:
        with taken.get_lock():
            place = taken.value
            taken.value += 1
        if place >= len(pieces):
            return
        try:
            there.send((place, pieces[place](), None))
        except Exception as error:
            error.add_note(traceback.format_exc())  # which a pickled error loses
            there.send((place, None, error))
