"""The figure of scores over the work of training, with the Pareto front."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from benchmark.analysis import standing
from benchmark.analysis.comparison import Comparison
from benchmark.report.figures.captions import Records, fraction, printed
from benchmark.report.figures.style import (
    ACCENT,
    BLACK,
    COLUMN,
    GREY,
    SMALL,
    TEXT,
    finished,
    hover,
    in_style,
    name_points,
    page,
    percent,
)

MANY = 8  # methods, above which the figure is as wide as the text, and only the front has intervals


@in_style
def score_against_cost(records: Records, ratio: float | None = None) -> Figure | None:
    """The mean score of each method over the FLOPs of its training, relative to supervised; a line is the Pareto front.

    FLOPs are counted, so that they are the same on every machine; times are in the speed tables. None for fewer than
    two methods.
    """
    c = Comparison.of(records)
    ratio = c.main_ratio(c.shown(uneven=False)) if ratio is None else ratio
    labels = c.shown(ratio)
    if len(labels) < 2:
        return None
    unit = c.supervised if c.supervised in labels else labels[0]
    flops = {label: np.median([c.records[key].budget.flops for key in c.keys(label, ratio)]) for label in labels}
    x = np.array([flops[label] / flops[unit] for label in labels])
    mean, low, high = (c.options.score.scale * np.array([c.interval(label, ratio) for label in labels])).T
    compared = c.most_draws(labels, ratio)
    few = np.array([label not in compared for label in labels])
    ranked = standing.ranks(c, ratio)
    front = pareto(x, np.where(few, np.nan, mean)) if ranked else []
    figure = page(TEXT, 3.6) if len(labels) > MANY else page(COLUMN, 2.6)
    axes = figure.subplots()
    axes.grid(axis="y")
    barred = front if front and len(labels) > MANY else range(len(labels))
    for i in barred:
        axes.vlines(x[i], low[i], high[i], color=ACCENT if i in front else GREY, alpha=0.3, linewidth=1.2, zorder=1)
    (line,) = axes.step(x[front], mean[front], where="post", color=ACCENT, linewidth=0.9, zorder=2)
    corners = _corners(line.get_path().interpolated(1).vertices) if front else np.empty((0, 2))
    on = np.isin(np.arange(len(x)), front)
    axes.scatter(x, mean, 14, np.where(on, ACCENT, GREY), zorder=3)
    for label, *numbers in zip(labels, x, mean, low, high, strict=True):
        hover(
            axes,
            numbers[0],
            numbers[1],
            "{}: {:.1f} [{:.1f}, {:.1f}], {:.2f} × FLOPs".format(label, *numbers[1:], numbers[0]),
        )
    axes.set_xscale("log")
    axes.set_xlim(x.min() / 1.25, x.max() * 1.25)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if x.min() / 1.01 <= tick <= x.max() * 1.25]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"Training FLOPs, relative to {unit}")
    axes.set_ylabel(f"{c.options.score.axis},\n{fraction(c, ratio)}")
    bars = [np.array([[x[i], low[i]], [x[i], high[i]]]) for i in barred if np.isfinite(low[i])]
    lines = [corners, *bars] if front else bars
    names = name_points(axes, np.stack([x, mean], 1), [printed(c, label) for label in labels], lines, size=SMALL)
    for name, best in zip(names, on, strict=True):
        name.set_color(ACCENT if best else BLACK)
    uneven = any(c.uneven(label, ratio) for label in labels)
    caption = f"{c.options.score.title} at a labelled fraction of {percent(ratio)} % over the FLOPs of training. "
    caption += "Bars are 95 % intervals."
    caption += " In blue with a line: the Pareto front; no method with fewer FLOPs scores higher." if ranked else ""
    caption += " †: trained with another budget." if uneven else ""
    caption += " Methods with fewer draws than others are not compared for the front." if ranked and few.any() else ""
    return finished(figure, caption)


def _corners(steps: np.ndarray) -> np.ndarray:
    """The corners of a line of steps through these points."""
    return np.stack([np.repeat(steps[:, 0], 2)[1:], np.repeat(steps[:, 1], 2)[:-1]], 1)


TICKS = [a * 10.0**b for b in range(-3, 4) for a in (1, 1.5, 2, 3, 4, 6, 8)]


def pareto(cost: np.ndarray, score: np.ndarray) -> list[int]:
    """The points for which no other point is at most as expensive and better, from cheap to expensive."""
    front: list[int] = []
    for i in sorted(range(len(cost)), key=lambda i: (cost[i], -score[i])):
        if not np.isnan(score[i]) and (not front or score[i] > score[front[-1]]):
            front.append(i)
    return front
