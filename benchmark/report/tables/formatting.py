"""How numbers of a comparison become the cells of a table."""

from collections.abc import Sequence

import numpy as np

from benchmark.analysis import standing
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.stats import Difference, Interval
from benchmark.protocol.scores import MEAN, SCORES, Score
from benchmark.report.bibliography import method_key
from benchmark.report.tables.table import DASH, Cell, Column

METHOD = Column("Method", "text")
FARTHEST = 1e4  # pixels; a bound beyond is printed as ∞: there are too few patients for one


def name(comparison: Comparison, label: str, ratio: float | None) -> Cell:
    """What names a line; supervised with all labels is named so."""
    if (of := ("name", label, ratio)) not in comparison.known:
        runs = comparison.at(label, ratio)
        text = f"{label}, all labels" if ratio == 1 and (runs.method == "supervised").all() else label
        key = method_key(runs.method.iloc[0]) if len(runs) else ""
        comparison.known[of] = Cell(text, dagger=bool(runs.uneven.any()), runs=tuple(runs.key), cite=key)
    return comparison.known[of]


def scored(
    comparison: Comparison, labels: Sequence[str], ratio: float, metric: str, c: int | None,
    stratum: str = "",
) -> dict[str, Cell]:  # fmt: skip
    """Each label's score with its interval; without stratum, bold where not significantly worse than the best."""
    intervals = comparison.intervals(labels, ratio, metric, c, stratum)
    ranked = [] if stratum else comparison.even(labels, ratio)
    bold = standing.tied(comparison, ranked, ratio, metric, c, intervals)
    return {
        label: interval(found, SCORES[metric], comparison.keys(label, ratio), label in bold)
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


def costs(comparison: Comparison, label: str, ratio: float | None) -> list[Cell]:
    """FLOPs as a multiple of supervised's, seconds, million parameters, GB, and runs as draws × seeds."""
    runs = comparison.at(label, ratio)
    runs = runs[runs.status == "done"]
    if not len(runs):
        return [Cell()] * 5
    keys, one = tuple(runs.key), comparison.baseline(comparison.labels)
    base = comparison.runs.flops[comparison.runs.label == one].mean() if one else np.nan
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


def block(comparison: Comparison, c: int | None, ratio: float) -> str:
    """What a block of lines is of: a ratio, and where there are several, a class or their mean."""
    if len(comparison.classes) < 2:
        return percent(ratio)
    return f"{MEAN if c is None else comparison.classes[c]}, {percent(ratio)}"


def percent(ratio: float) -> str:
    return f"{100 * ratio:g} %"


def _bounds(low: float, high: float, digits: int) -> str:
    if np.isnan(low):
        return f"[{DASH}]"
    ends = ("−∞" if end < -FARTHEST else "∞" if end > FARTHEST else say(end, digits) for end in (low, high))
    return f"[{', '.join(ends)}]"
