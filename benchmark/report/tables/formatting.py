"""What tables are made of: which methods they have, in which order, and how numbers become cells."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analysis import standing, stats
from benchmark.analysis.board import Board
from benchmark.analysis.stats import Difference, Interval
from benchmark.names import choose
from benchmark.protocol.scores import MEAN, SCORES, Score
from benchmark.report.tables.table import DASH, Cell, Column

METHOD = Column("Method", "text")
FARTHEST = 1e4  # pixels; a bound beyond is printed as ∞: there are too few patients for one


@dataclass(frozen=True)
class Options:
    """`metric` of tables that have one; with `uneven`, runs of another budget are ranked with the others.

    `margin`: differences below it are called none where that is tested, in the unit in which the metric is printed.
    `suite`: the suite whose runs are published together; "" is all.
    """

    metric: str = "dice"
    uneven: bool = False
    margin: float = 1.0
    suite: str = ""

    def __post_init__(self) -> None:
        choose(self.metric, list(SCORES), "metric")

    @property
    def score(self) -> Score:
        return SCORES[self.metric]


# ----------------------------------------------------------------------------------------------------------------------
# Which methods, and in which order


def at(board: Board, labels: Iterable[str], ratio: float) -> list[str]:
    """Those that have runs at a ratio, if only diverged ones."""
    return [label for label in labels if len(board.at(label, ratio))]


def done(board: Board, labels: Iterable[str], ratio: float) -> list[str]:
    """Those that have finished runs at a ratio."""
    return [label for label in labels if board.keys(label, ratio)]


def supervised(board: Board, labels: Sequence[str]) -> str | None:
    """Supervised training with the budget of most runs, if it is there."""
    return next((label for label in board.baselines if label in labels), None)


def even(board: Board, labels: Sequence[str], ratio: float, options: Options) -> list[str]:
    """Those that may be ranked: of equal budget, unless asked."""
    return [label for label in labels if options.uneven or not board.at(label, ratio).uneven.any()]


def main_ratio(board: Board, labels: Sequence[str]) -> float | None:
    """Where most methods have finished runs; of equals, the smallest."""
    counts = {ratio: len(done(board, labels, ratio)) for ratio in board.ratios(labels)}
    return max((ratio for ratio in counts if counts[ratio]), key=lambda r: (counts[r], -r), default=None)


def whole(board: Board, labels: Sequence[str], ratio: float) -> list[str]:
    """Those with most draws, as far as two have them: means over fewer are of other labelled images."""
    draws = {label: len({draw for draw, _ in board.places(label, ratio)}) for label in labels}
    most = sorted(draws.values())[-2:]
    return [label for label in labels if draws[label] >= most[0]]


def best(board: Board, labels: Sequence[str], ratio: float, intervals: dict[str, Interval], score: Score) -> str | None:
    """The label with the best mean, of those with most draws."""
    known = [label for label in labels if not np.isnan(intervals[label].mean)]
    means = {label: intervals[label].mean for label in whole(board, known, ratio)}
    return (max if score.higher_is_better else min)(means, key=means.__getitem__, default=None)


def better_first(found: Interval, score: Score) -> float:
    """What sorts the better first."""
    return -found.mean if score.higher_is_better else found.mean


def tied(
    board: Board, labels: Sequence[str], ratio: float, metric: str, c: int | None, intervals: dict[str, Interval],
    options: Options,
) -> set[str]:  # fmt: skip
    """The labels that are not significantly worse than the best; none where nothing can be tested or ranked.

    With several classes, the columns of a score (the classes and their mean) are one family: p counts as many times.
    """
    if not standing.ranks(board, ratio, options):
        return set()
    score = SCORES[metric]
    known = [label for label in labels if not np.isnan(intervals[label].mean)]
    if len(known) < 2:
        return set()
    first = best(board, known, ratio, intervals, score)
    found = board.differences(known, first, ratio, metric, c)
    p = family(board, metric) * stats.worse_than_best([upwards(found[label], score) for label in known])
    tested = {label for label in known if label == first or not np.isnan(found[label].p)}
    return {label for label, p in zip(known, p, strict=True) if p >= 0.05} & tested if len(tested) > 1 else set()


def family(board: Board, metric: str) -> int:
    """How many columns a score has: one for each class and one for their mean, where there are several classes."""
    of_classes = (SCORES[metric].per_class or SCORES[metric].mean_of) and len(board.classes) > 1
    return len(board.classes) + 1 if of_classes else 1


def upwards(difference: Difference, score: Score) -> Difference:
    """The difference with the sign that is positive where better."""
    if score.higher_is_better:
        return difference
    return Difference(-difference.mean, -difference.high, -difference.low, difference.p)


# ----------------------------------------------------------------------------------------------------------------------
# Cells


def name(board: Board, label: str, ratio: float | None) -> Cell:
    """What names a line; supervised with all labels is named so."""
    if (of := ("name", label, ratio)) not in board.known:
        runs = board.at(label, ratio)
        said = f"{label}, all labels" if ratio == 1 and (runs.method == "supervised").all() else label
        board.known[of] = Cell(said, dagger=bool(runs.uneven.any()), runs=tuple(runs.key))
    return board.known[of]


def scored(
    board: Board, labels: Sequence[str], ratio: float, metric: str, c: int | None, options: Options,
    stratum: str = "",
) -> dict[str, Cell]:  # fmt: skip
    """Each label's score with its interval; without stratum, bold where not significantly worse than the best."""
    intervals = board.intervals(labels, ratio, metric, c, stratum)
    ranked = [] if stratum else even(board, labels, ratio, options)
    bold = tied(board, ranked, ratio, metric, c, intervals, options)
    return {
        label: interval(found, SCORES[metric], board.keys(label, ratio), label in bold)
        for label, found in intervals.items()
    }


def interval(found: Interval, score: Score, runs: tuple[str, ...], bold: bool = False) -> Cell:
    mean, low, high = (score.scale * number for number in found)
    if np.isnan(mean):
        return Cell(runs=runs)
    return Cell(f"{say(mean, score.digits)} {_bounds(low, high, score.digits)}", mean, low, high, bold, runs=runs)


def difference(found: Difference | None, score: Score, runs: tuple[str, ...]) -> Cell:
    if found is None or np.isnan(found.mean):
        return Cell()
    mean, low, high = (score.scale * number for number in found[:3])
    if score.scale > 1 and not np.isnan(low):  # shares differ by one at most
        low, high = max(low, -score.scale), min(high, score.scale)
    text = f"{say(mean, score.digits, signed=True)} {_bounds(low, high, score.digits)}"
    return Cell(text, mean, low, high, runs=runs)


def probability(p: float) -> Cell:
    if np.isnan(p):
        return Cell()
    return Cell("<0.001" if p < 0.001 else f"{p:.3f}", float(p))


def plain(value: float, digits: int, runs: tuple[str, ...]) -> Cell:
    return Cell(runs=runs) if np.isnan(value) else Cell(say(value, digits), float(value), runs=runs)


def costs(board: Board, label: str, ratio: float | None) -> list[Cell]:
    """FLOPs as a multiple of supervised's, seconds, million parameters, GB, and runs as draws × seeds."""
    runs = board.at(label, ratio)
    runs = runs[runs.status == "done"]
    if not len(runs):
        return [Cell()] * 5
    keys, one = tuple(runs.key), supervised(board, board.labels)
    base = board.runs.flops[board.runs.label == one].mean() if one else np.nan
    of_draw = runs.groupby("draw").size()
    count = f"{len(of_draw)} × {of_draw.max()}" if of_draw.nunique() == 1 else f"{len(runs)} in {len(of_draw)} draws"
    return [
        plain(runs.flops.mean() / base, 2, keys),
        plain(runs.seconds.mean(), 0, keys),
        plain(runs.parameters.mean() / 1e6, 1, keys),
        plain(runs.peak_memory.mean() / 1e9, 1, keys),
        Cell(count, len(runs), runs=keys),
    ]


def say(number: float, digits: int, signed: bool = False) -> str:
    """A number with a true minus sign and no negative zero."""
    if np.isnan(number):
        return DASH
    text = f"{round(number, digits) + 0.0:{'+' if signed else ''}.{digits}f}"
    return text.replace("-", "−")


def block(board: Board, c: int | None, ratio: float) -> str:
    """What a block of lines is of: a ratio, and where there are several, a class or their mean."""
    if len(board.classes) < 2:
        return percent(ratio)
    return f"{MEAN if c is None else board.classes[c]}, {percent(ratio)}"


def percent(ratio: float) -> str:
    return f"{100 * ratio:g} %"


def _bounds(low: float, high: float, digits: int) -> str:
    if np.isnan(low):
        return f"[{DASH}]"
    ends = ("−∞" if end < -FARTHEST else "∞" if end > FARTHEST else say(end, digits) for end in (low, high))
    return f"[{', '.join(ends)}]"
