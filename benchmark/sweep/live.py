"""The live view of a sweep: running runs, the next ones, the table so far; plain lines if there is no terminal."""

import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmark import run_records
from benchmark.progress import Tell, silent
from benchmark.protocol.scores import MEAN, SCORES, Score, for_classes
from benchmark.runs import Run
from benchmark.sweep.plan import Planned
from benchmark.sweep.task import DONE, FAILED, keys_in, running

READ_S = 0.1  # seconds per update for reading run records
LINES, NEXT = 12, 3  # running and next runs that are shown
BAR = 12  # characters
REPORT_S = 60.0  # seconds between two reports of running runs, without a terminal


class Standings:
    """Mean Dice of each method at each labelled fraction, from the finished runs; reads each run record once."""

    title = "Mean Dice so far (runs)"

    def __init__(self, results: Path):
        self.results = results
        self.unread: deque[str] = deque()
        self.of = ""  # for several classes: that scores are means over them
        self.scores: dict[tuple[str, float], list[float]] = {}

    def add(self, keys: Sequence[str]) -> None:
        self.unread.extend(keys)

    def read(self, within_s: float = math.inf, tell: Tell = silent) -> None:
        """Reads the run records that were added; with a time limit, the rest at the next call."""
        start, total = time.monotonic(), len(self.unread)
        while self.unread and time.monotonic() - start < within_s:
            record = run_records.find(self.results, self.unread.popleft())
            tell(total - len(self.unread), "")
            if record and record.status == "done" and (dice := _mean_dice(record)) is not None:
                self.scores.setdefault((self.name(record.run), record.run.ratio), []).append(dice)
                self.of = f", {MEAN}" if len(record.classes) > 2 else self.of

    def name(self, run: Run) -> str:
        """The name under which the score of a run is listed."""
        return name_of(run)

    def summary(self, scores: Sequence[float]) -> float:
        """The number that is shown for the scores of a name."""
        return sum(scores) / len(scores)

    def table(self) -> Table:
        """Methods × labelled fractions; a dash if no run is done."""
        names = list(dict.fromkeys(name for name, _ in self.scores))
        ratios = sorted({ratio for _, ratio in self.scores})
        table = Table(title=f"{self.title}{self.of}", title_justify="left")
        table.add_column("method")
        for ratio in ratios:
            table.add_column(f"{ratio:g}", justify="right")
        for name in names:
            cells = (self.scores.get((name, ratio), []) for ratio in ratios)
            table.add_row(name, *(f"{self.summary(c):.3f} ({len(c)})" if c else "–" for c in cells))
        return table


class BestTrials(Standings):
    """The best of each method's trials on validation images."""

    title = "Best on validation so far (trials)"

    def name(self, run: Run) -> str:
        return run.method

    def summary(self, scores: Sequence[float]) -> float:
        return max(scores)


class Progress:
    """The progress of a sweep, and when it will be done."""

    def __init__(self, planned: Sequence[Planned], results: Path, workers: int, standings: type[Standings] = Standings):
        self.results, self.workers, self.began = results, workers, None  # when the first run did
        self.left = {planned_run.key: planned_run for planned_run in planned if planned_run.state != DONE}
        self.total, self.before = len(planned), len(planned) - len(self.left)
        self.done = self.failed = 0
        self.standings = standings(results)
        self.standings.add([planned_run.key for planned_run in planned if planned_run.state == DONE])

    def ended(self, run: Run, ending: str) -> None:
        del self.left[run.key]
        if ending == FAILED:
            self.failed += 1
        else:
            self.done += 1
            self.standings.add([run.key])

    def running(self) -> dict[str, dict[str, Any]]:
        """The runs in progress on any machine, each with its progress as it was last written."""
        here = sorted(keys_in(self.results, "running") & self.left.keys())
        if here and self.began is None:
            self.began = time.monotonic()
        return {key: state for key in here if (state := running(self.results, key))}

    def seconds_left(self) -> float | None:
        """From estimates if there are any, else from the pace so far; None before any run has ended."""
        ended = self.done + self.failed
        weights = [planned_run.seconds for planned_run in self.left.values()]
        if None not in weights:
            return sum(weights) / max(1, min(self.workers, len(weights)))
        return (time.monotonic() - self.began) / ended * len(weights) if ended and self.began else None

    def sentence(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        left = self.seconds_left()
        begun = self.began or self.done or self.failed
        about = f", about {duration(left)}" if left else "" if begun else "; no run has begun yet"
        return f"{self.before + self.done} of {self.total} done{failed}, {len(self.left)} left{about}"


class Lines:
    """One line for each run that starts, finishes or fails, and regularly one for each run in progress."""

    def __init__(self, progress: Progress):
        self.progress, self.seen, self.reported = progress, set(), time.monotonic()

    def look(self) -> None:
        now = self.progress.running()
        for key in now:
            if key not in self.seen:
                self.seen.add(key)
                _say(f"started   {key}")
        if now and time.monotonic() - self.reported > REPORT_S:
            self.reported = time.monotonic()
            for key, state in list(now.items())[:LINES]:
                doing = state["what"].partition(" ")[0].lower()
                _say(f"running   {key}: {doing} {state['done']} of {state['total']}")
            _say(f"          {self.progress.sentence()}")

    def ended(self, run: Run, ending: str, sentence: str) -> None:
        self.progress.ended(run, ending)
        if ending == FAILED:
            _say(f"failed    {run.key}: {sentence}")
        else:
            record = run_records.find(self.progress.results, run.key)
            dice = _mean_dice(record) if record.status == "done" else None
            result = record.status if dice is None else f"{_dice_of(record).title} {dice:.3f}"
            _say(f"finished  {run.key}: {result} in {duration(record.measured.seconds)} of training")
        _say(f"          {self.progress.sentence()}")


class Board:
    """A table on a terminal that is updated in place."""

    def __init__(self, progress: Progress, live: Live):
        self.progress, self.live, self.console = progress, live, live.console

    def look(self) -> None:
        self.progress.standings.read(READ_S)
        self.live.update(self._view(), refresh=True)

    def ended(self, run: Run, ending: str, sentence: str) -> None:
        self.progress.ended(run, ending)
        if ending == FAILED:
            self.console.print(Text(f"failed  {run.key}: {sentence}", style="red"))

    def _view(self) -> Group:
        now = self.progress.running()
        hosts = len({state["host"] for state in now.values()}) > 1
        table = Table.grid(padding=(0, 1), expand=True)
        for share in (None, None, None, 1):
            table.add_column(no_wrap=True, ratio=share)
        for key, state in list(now.items())[:LINES]:
            bar = ProgressBar(state["total"], state["done"], width=BAR)
            words = [state["what"].partition(" ")[0], *state["text"].split()]  # not the method's name again
            text = " ".join([state["host"], *words] if hosts else words)
            table.add_row("▸", _label(self.progress.left[key].run), bar, text)
        if len(now) > LINES:
            table.add_row("", f"and {len(now) - LINES} more")
        following = list(islice((one.run for key, one in self.progress.left.items() if key not in now), NEXT))
        after = Text(
            "Next: " + "; ".join(map(_label, following)) if following else "", style="dim", overflow="ellipsis"
        )
        after.no_wrap = True
        parts = [Text(self.progress.sentence(), style="bold"), table, after]
        return Group(*parts, *([self.progress.standings.table()] if self.progress.standings.scores else []))


@contextlib.contextmanager
def showing(progress: Progress) -> Iterator[Lines | Board]:
    """A board on a terminal, else lines."""
    console = Console(stderr=True, markup=False, emoji=False)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield Board(progress, live)
    else:
        yield Lines(progress)


def name_of(run: Run) -> str:
    """The name of a method in tables of a sweep, with its variant and settings."""
    settings = ["tuned"] if run.tuned else [f"{name}={value}" for name, value in run.settings]
    settings += [f"{run.views} views"] if run.views != Run.views else []
    changed = [*([run.variant] if run.variant else []), *settings]
    return f"{run.method} ({', '.join(changed)})" if changed else run.method


def duration(seconds: float) -> str:
    """Seconds in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _label(run: Run) -> str:
    return f"{name_of(run)} at {run.ratio:g}, draw {run.draw}, seed {run.seed}"


def _mean_dice(record: run_records.RunRecord) -> float | None:
    """The Dice of a run; of several classes, their mean.

    Of a trial, which has no scores of test images, it is that of the validation images.
    """
    if not record.scores:
        return record.validation["dice"][-1]
    dice = _dice_of(record).of_run(record.scores)
    return None if np.isnan(dice) else dice


def _dice_of(record: run_records.RunRecord) -> Score:
    return SCORES[for_classes("dice", len(record.classes) - 1)]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
