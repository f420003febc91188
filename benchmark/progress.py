"""The progress of a long task: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

Tell = Callable[[int, str], None]  # (number of items that are done, text)
PLAIN_S = 10.0  # seconds between two plain lines
SHORT_S = 2.0  # seconds; shorter tasks print no line


def silent(done: int, text: str = "") -> None:
    """Shows no progress."""


@contextlib.contextmanager
def watching(what: str, total: int) -> Iterator[Tell]:
    """Shows the progress of a task.

    Args:
        what: the task, as text.
        total: number of items.

    Yields:
        A function to call with the number of items that are done and a text.
    """
    if sys.stderr.isatty():
        with _bar(what, total) as tell:
            yield tell
    else:
        yield _lines(what, total)


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    texts = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[text]}"))  # of users, too
    columns = (next(texts), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), next(texts))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, text="")
        yield lambda done, text="": bar.update(task, completed=done, text=text)


def _lines(what: str, total: int) -> Tell:
    start = last = time.monotonic()

    def tell(done: int, text: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > PLAIN_S or (done == total and now - start > SHORT_S):
            left = (now - start) / max(done, 1) * (total - done)
            print(f"{what}: {done}/{total}, {left:.0f} s left  {text}", file=sys.stderr, flush=True)
            last = now

    return tell
