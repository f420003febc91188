"""What a person sees of a sweep: what runs, what is next, the table so far; plain lines when not on a terminal."""

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

from benchmark import records
from benchmark.progress import Tell, silent
from benchmark.protocol.scores import MEAN, SCORES, Score, for_classes
from benchmark.runs import Run
from benchmark.sweep.plan import Planned
from benchmark.sweep.task import DONE, FAILED, keys_in, running

READ_S = 0.1  # seconds that a look may spend reading rows for the table so far
LINES, NEXT = 12, 3  # runs that are shown at once, and that are named as next
BAR = 12  # characters
TELL_S = 60.0  # between two reports of what runs, where there is no terminal


class Standings:
    """Mean Dice of each method at each ratio, from the rows there are; reads each row once."""

    title = "Mean Dice so far (runs)"

    def __init__(self, results: Path):
        self.results = results
        self.unread: deque[str] = deque()
        self.of = ""  # of several classes, that scores are the mean over them
        self.scores: dict[tuple[str, float], list[float]] = {}

    def add(self, keys: Sequence[str]) -> None:
        self.unread.extend(keys)

    def read(self, within_s: float = math.inf, tell: Tell = silent) -> None:
        """Reads rows that came since; with a limit, the rest another time."""
        start, total = time.monotonic(), len(self.unread)
        while self.unread and time.monotonic() - start < within_s:
            row = records.find(self.results, self.unread.popleft())
            tell(total - len(self.unread), "")
            if row and row.status == "done" and (dice := _mean_dice(row)) is not None:
                self.scores.setdefault((self.name(row.run), row.run.ratio), []).append(dice)
                self.of = f", {MEAN}" if len(row.classes) > 2 else self.of

    def name(self, run: Run) -> str:
        """Under which name its score is listed."""
        return name_of(run)

    def told(self, scores: Sequence[float]) -> float:
        """What is told of the scores of a name."""
        return sum(scores) / len(scores)

    def table(self) -> Table:
        """Methods by ratio; a dash where no run is done."""
        names = list(dict.fromkeys(name for name, _ in self.scores))
        ratios = sorted({ratio for _, ratio in self.scores})
        table = Table(title=f"{self.title}{self.of}", title_justify="left")
        table.add_column("method")
        for ratio in ratios:
            table.add_column(f"{ratio:g}", justify="right")
        for name in names:
            cells = (self.scores.get((name, ratio), []) for ratio in ratios)
            table.add_row(name, *(f"{self.told(c):.3f} ({len(c)})" if c else "–" for c in cells))
        return table


class BestTrials(Standings):
    """The best of each method's trials on validation images."""

    title = "Best on validation so far (trials)"

    def name(self, run: Run) -> str:
        return run.method

    def told(self, scores: Sequence[float]) -> float:
        return max(scores)


class Progress:
    """How far a sweep is, and when it will be done."""

    def __init__(self, planned: Sequence[Planned], results: Path, workers: int, standings: type[Standings] = Standings):
        self.results, self.workers, self.began = results, workers, None  # when the first run did
        self.left = {one.key: one for one in planned if one.state != DONE}
        self.total, self.before = len(planned), len(planned) - len(self.left)
        self.done = self.failed = 0
        self.standings = standings(results)
        self.standings.add([one.key for one in planned if one.state == DONE])

    def ended(self, run: Run, ending: str) -> None:
        del self.left[run.key]
        if ending == FAILED:
            self.failed += 1
        else:
            self.done += 1
            self.standings.add([run.key])

    def running(self) -> dict[str, dict[str, Any]]:
        """What runs, wherever: its own word of how far it is."""
        here = sorted(keys_in(self.results, "running") & self.left.keys())
        if here and self.began is None:
            self.began = time.monotonic()
        return {key: said for key in here if (said := running(self.results, key))}

    def seconds_left(self) -> float | None:
        """By the pace of what has ended, weighted by estimates where there are some; None before anything has."""
        ended = self.done + self.failed
        weights = [one.seconds for one in self.left.values()]
        if None not in weights:
            return sum(weights) / max(1, min(self.workers, len(weights)))
        return (time.monotonic() - self.began) / ended * len(weights) if ended and self.began else None

    def sentence(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        left = self.seconds_left()
        begun = self.began or self.done or self.failed
        about = f", about {duration(left)}" if left else "" if begun else "; none has begun yet"
        return f"{self.before + self.done} of {self.total} done{failed}, {len(self.left)} left{about}"


class Lines:
    """One line for each run that starts, finishes or fails, and now and then one for each that is on its way."""

    def __init__(self, progress: Progress):
        self.progress, self.seen, self.told = progress, set(), time.monotonic()

    def look(self) -> None:
        now = self.progress.running()
        for key in now:
            if key not in self.seen:
                self.seen.add(key)
                _say(f"started   {key}")
        if now and time.monotonic() - self.told > TELL_S:
            self.told = time.monotonic()
            for key, said in list(now.items())[:LINES]:
                doing = said["what"].partition(" ")[0].lower()
                _say(f"running   {key}: {doing} {said['done']} of {said['total']}")
            _say(f"          {self.progress.sentence()}")

    def ended(self, run: Run, ending: str, sentence: str) -> None:
        self.progress.ended(run, ending)
        if ending == FAILED:
            _say(f"failed    {run.key}: {sentence}")
        else:
            row = records.find(self.progress.results, run.key)
            dice = _mean_dice(row) if row.status == "done" else None
            result = row.status if dice is None else f"{_dice_of(row).title} {dice:.3f}"
            _say(f"finished  {run.key}: {result} in {duration(row.measured.seconds)} of training")
        _say(f"          {self.progress.sentence()}")


class Board:
    """A table that redraws itself on a terminal."""

    def __init__(self, progress: Progress, live: Live):
        self.progress, self.live, self.console = progress, live, live.console

    def look(self) -> None:
        self.progress.standings.read(READ_S)
        self.live.update(self._drawn(), refresh=True)

    def ended(self, run: Run, ending: str, sentence: str) -> None:
        self.progress.ended(run, ending)
        if ending == FAILED:
            self.console.print(Text(f"failed  {run.key}: {sentence}", style="red"))

    def _drawn(self) -> Group:
        now = self.progress.running()
        hosts = len({said["host"] for said in now.values()}) > 1
        table = Table.grid(padding=(0, 1), expand=True)
        for share in (None, None, None, 1):
            table.add_column(no_wrap=True, ratio=share)
        for key, said in list(now.items())[:LINES]:
            bar = ProgressBar(said["total"], said["done"], width=BAR)
            words = [said["what"].partition(" ")[0], *said["text"].split()]  # not the method's name again
            text = " ".join([said["host"], *words] if hosts else words)
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
    """A board on a terminal, lines elsewhere; in the end the table stays."""
    console = Console(stderr=True, markup=False, emoji=False)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield Board(progress, live)
    else:
        yield Lines(progress)


def name_of(run: Run) -> str:
    """A method as tables of a sweep call it: with its variant and settings."""
    settings = ["tuned"] if run.tuned else [f"{name}={value}" for name, value in run.settings]
    settings += [f"{run.views} views"] if run.views != Run.views else []
    changed = [*([run.variant] if run.variant else []), *settings]
    return f"{run.method} ({', '.join(changed)})" if changed else run.method


def duration(seconds: float) -> str:
    """In the unit that a person would choose."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _label(run: Run) -> str:
    return f"{name_of(run)} at {run.ratio:g}, draw {run.draw}, seed {run.seed}"


def _mean_dice(row: records.RunRecord) -> float | None:
    """The Dice of a run; of several classes, their mean.

    Of a trial, which has no scores of test images, it is that of the validation images.
    """
    if not row.scores:
        return row.validation["dice"][-1]
    dice = _dice_of(row).of_run(row.scores)
    return None if np.isnan(dice) else dice


def _dice_of(row: records.RunRecord) -> Score:
    return SCORES[for_classes("dice", len(row.classes) - 1)]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
