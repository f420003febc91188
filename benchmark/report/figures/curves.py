"""Figures of curves: many methods in panels of their own, validation scores and loss terms over the steps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from benchmark.analysis.comparison import Comparison
from benchmark.protocol.scores import MEAN
from benchmark.report.figures.captions import Records
from benchmark.report.figures.style import (
    ACCENT,
    BLACK,
    BOUND,
    PALE,
    SERIES,
    SIZE,
    SMALL,
    TEXT,
    apart,
    finished,
    hover,
    in_style,
    page,
    percent,
    settle,
    wrapped,
)
from benchmark.run_records import RunRecord

REACH = 10_000  # the ratio of the largest and the smallest loss on the axis


class Curve(NamedTuple):
    """A line and the band around it; nan where there is none."""

    x: Float[np.ndarray, "n"]
    mean: Float[np.ndarray, "n"]
    low: Float[np.ndarray, "n"]
    high: Float[np.ndarray, "n"]

    def name_points(self, axes: Axes, label: str) -> None:
        """Adds the values of every point for the page."""
        for x, mean, low, high in zip(*self, strict=True):
            hover(axes, x, mean, f"{label}: {mean:.1f} [{low:.1f}, {high:.1f}]")


def multiples(
    curves: dict[str, Curve], reference: str | None, axis: tuple[str, str], dress: Callable[[Axes], None],
    bound: float | None = None, band: str = "95 % interval", up: tuple[float, float] | None = None,
) -> Figure:  # fmt: skip
    """A panel for each curve but the reference: the curve with its band, the reference, and all others in grey.

    `up`: the ends of the y axis, if not where everything ends.
    """
    own = [label for label in curves if label != reference] or list(curves)
    lines = -(-len(own) // 6)
    columns = -(-len(own) // lines)
    figure = page(TEXT, 1.12 * lines + 0.55)
    grid = figure.subplots(lines, columns, squeeze=False)
    for label, axes in zip(own, grid.flat, strict=False):
        dress(axes)
        others = [np.column_stack([curves[other].x, curves[other].mean]) for other in own if other != label]
        axes.add_collection(LineCollection(others, color=PALE, linewidth=0.5, zorder=1))
        if bound is not None:
            axes.axhline(bound, color=BOUND, linestyle=":", linewidth=1.1, zorder=2)
        if reference in curves:
            axes.plot(
                curves[reference].x, curves[reference].mean, color=BLACK, linestyle=(0, (3, 1)), linewidth=0.9, zorder=3
            )
        mine = curves[label]
        if np.isfinite(mine.mean).sum() > 1:
            axes.fill_between(mine.x, mine.low, mine.high, color=ACCENT, alpha=0.2, linewidth=0, zorder=2)
        else:
            axes.vlines(mine.x, mine.low, mine.high, color=ACCENT, alpha=0.4, linewidth=1.5, zorder=2)
        axes.plot(mine.x, mine.mean, color=ACCENT, marker="o", markersize=2.5, zorder=4, label=label)
        mine.name_points(axes, label)
        axes.set_title(wrapped(label, 20), size=SMALL)
    _share(grid, len(own), _limits(grid, len(own), "x"), up or _limits(grid, len(own), "y"))
    figure.supxlabel(axis[0], size=SIZE)
    figure.supylabel(axis[1], size=SIZE)
    line = Line2D([], [], color=ACCENT, marker="o", markersize=2.5)
    handles: list = [(Patch(color=ACCENT, alpha=0.2, linewidth=0), line) if band else line]
    names = [f"the method named, {band}" if band else "the method named"]
    if reference in curves:
        handles.append(Line2D([], [], color=BLACK, linestyle=(0, (3, 1)), linewidth=0.9))
        names.append(reference)
    if bound is not None:
        handles.append(Line2D([], [], color=BOUND, linestyle=":", linewidth=1.1))
        names.append("Supervised, all labels")
    handles.append(Line2D([], [], color=PALE, linewidth=0.8))
    names.append("other methods")
    figure.get_layout_engine().set(rect=(0, 0, 0.985, 1))  # the last tick label of an axis reaches beyond it
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), columnspacing=1.4, handlelength=1.8)
    _label_lowest(figure, grid, len(own))
    return figure


def _limits(grid: np.ndarray, panels: int, of: str) -> tuple[float, float]:
    """The limits of the x or y axis within which all panels lie."""
    found = np.array([getattr(axes, f"get_{of}lim")() for axes in grid.flat[:panels]])
    return found.min(), found.max()


def _share(grid: np.ndarray, panels: int, across: tuple[float, float], up: tuple[float, float]) -> None:
    """Gives all panels the same limits, and tick labels to the outer ones; the rest of the grid stays empty.

    Faster than axes shared by matplotlib.
    """
    low, high = sorted(up)
    grid.flat[0].set_ylim(up)
    lines = [line for line in grid.flat[0].get_yticks() if low <= line <= high]
    for axes in grid.flat[:panels]:
        axes.hlines(lines, *across, color=rcParams["grid.color"], linewidth=rcParams["grid.linewidth"], zorder=0)
        axes.set(xlim=across, ylim=up)
        axes.tick_params(axis="x", labelsize=SMALL)
    for axes in grid[:-1].flat:
        axes.xaxis.set_visible(False)
    for axes in grid[:, 1:].flat:
        axes.yaxis.set_visible(False)
    for axes in grid.flat[panels:]:
        axes.set_axis_off()


def _label_lowest(figure: Figure, grid: np.ndarray, panels: int) -> None:
    """Writes tick labels under the panels that have no panel below them; the layout stays."""
    settle(figure)
    figure.set_layout_engine("none")
    for axes in grid[:-1].flat[max(0, panels - grid.shape[1]) :]:
        axes.xaxis.set_visible(True)


@in_style
def validation(records: Records, ratio: float | None = None) -> Figure | None:
    """Dice on the validation images over the steps: mean over runs, and the range of the runs.

    Uneven budgets are left out: a much longer one would squeeze all others to the left. None without two points.
    """
    c = Comparison.of(records)
    ratio = c.main_ratio(c.shown(uneven=False)) if ratio is None else ratio
    curves = {}
    for label, of_label in _of_labels(c, ratio).items():
        lines = _by_step([record.validation for record in of_label])
        if len(lines):
            curves[label] = Curve(lines.index.to_numpy(), *(100 * lines.dice[["mean", "min", "max"]].to_numpy().T))
    if not any(len(curve.x) > 1 for curve in curves.values()):
        return None

    last = max(curve.x.max() for curve in curves.values())
    band = "range of runs" if any((curve.high > curve.low).any() for curve in curves.values()) else ""

    def dress(axes: Axes) -> None:
        axes.set_xlim(0, 1.04 * last)
        axes.xaxis.set_major_locator(FixedLocator([last // 2, last]))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))

    axis = "Validation Dice (%)" + (f",\n{MEAN}" if c.options.score.mean_of else "")
    figure = multiples(curves, c.supervised, (f"Step, at {percent(ratio)} % labels", axis), dress, band=band)
    return finished(
        figure,
        f"{c.options.score.title} on the validation images during training at a labelled fraction of {percent(ratio)} "
        "%: mean "
        "over runs and range.",
    )


@in_style
def losses(records: Records, ratio: float | None = None) -> Figure | None:
    """The terms of each method's loss over the steps, means over runs; values close to 0 are left out.

    Uneven budgets are left out. None where no history has two lines.
    """
    c = Comparison.of(records)
    ratio = c.main_ratio(c.shown(uneven=False)) if ratio is None else ratio
    histories = {
        label: _by_step([record.history for record in of_label]) for label, of_label in _of_labels(c, ratio).items()
    }
    histories = {label: lines for label, lines in histories.items() if len(lines) > 1}
    if not histories:
        return None
    lines_ = -(-len(histories) // 4)
    columns = -(-len(histories) // lines_)
    figure = page(TEXT if columns > 1 else TEXT / 2, max(1.05 * lines_ + 0.35, 1.8))
    grid = figure.subplots(lines_, columns, squeeze=False)
    ends: list[tuple[Axes, dict[str, tuple[float, str]]]] = []
    for (label, history), axes in zip(histories.items(), grid.flat, strict=False):
        terms = [name for name in history.columns.get_level_values(0).unique() if name != "sup"]
        looks = {"sup": (BLACK, "", "-"), **dict(zip(terms, SERIES, strict=False))}
        here = {}
        for term, (colour, _, dashes) in looks.items():
            values = history[term]["mean"].to_numpy()
            values = np.where(values > 0, values, np.nan)
            if np.isnan(values).all():
                continue
            axes.plot(history.index, values, color=colour, linestyle=dashes, linewidth=0.9, label=term)
            here[term] = (values[~np.isnan(values)][-1], colour)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(wrapped(label, 32), size=SMALL)
        axes.spines.bottom.set_bounds(0, history.index.max())
        ends.append((axes, here))
    last = max(history.index.max() for history in histories.values())
    low, high = _limits(grid, len(histories), "y")
    low = max(low, high / REACH)
    for axes, _ in ends:
        axes.set_xticks([0, last // 2, last])
        axes.yaxis.set_major_locator(LogLocator(10, numticks=9))
    _share(grid, len(histories), (0, 1.6 * last), (low, high))
    figure.supxlabel("Step", size=SIZE)
    figure.supylabel(f"Loss terms at {percent(ratio)} % labels", size=SIZE)
    _label_lowest(figure, grid, len(histories))
    for axes, here in ends:
        _name_terms(axes, here, 1.03 * last)
    return finished(
        figure,
        f"Terms of the loss at a labelled fraction of {percent(ratio)} %, weighted as they are minimised, means over "
        f"runs and over the steps between two points. Values of 0, and values more than {REACH:,} times smaller than "
        "the largest, are left out.",
    )


def _name_terms(axes: Axes, ends: dict[str, tuple[float, str]], x: float) -> None:
    low, high = np.log10(axes.get_ylim())
    height = SMALL / 72 / axes.get_position().height / axes.figure.get_figheight() * (high - low)
    places = apart([np.log10(end) for end, _ in ends.values()], height, low + height / 2, high - height / 2)
    for (term, (_, colour)), place in zip(ends.items(), places, strict=True):
        axes.text(x, 10**place, term, size=SMALL, color=colour, va="center")


def _of_labels(c: Comparison, ratio: float | None) -> dict[str, list[RunRecord]]:
    """The records of each label with the common budget, of the draws and seeds that all these labels have."""
    labels = [] if ratio is None else c.shown(ratio, uneven=False)
    shared = c.shared(labels, ratio)
    return {label: [c.records[key] for key in c.keys(label, ratio, shared)] for label in labels}


def _by_step(columns: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Mean, least and most over runs at each step."""
    tables = [pd.DataFrame({name: np.asarray(v, dtype=np.float64) for name, v in of.items()}) for of in columns if of]
    if not tables:
        return pd.DataFrame()
    return pd.concat(tables).groupby("step").agg(["mean", "min", "max"])
