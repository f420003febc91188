"""The figure of average ranks over patients and runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmark.analysis import stats
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.ranking import ranking
from benchmark.report.figures.captions import Records
from benchmark.report.figures.style import BLACK, GREY, TEXT, finished, in_style, page, percent
from benchmark.words import some


@in_style
def ranks(records: Records, ratio: float | None = None) -> Figure | None:
    """Average ranks with their intervals; bars join methods with means that do not differ significantly.

    The ranks are those of `benchmark.analysis.ranking`. The bars are by the tests of the tables, in which draws vary,
    too: tests of the ranks themselves (Friedman, Nemenyi) leave out that another labelled subset may give another
    order. None where methods are not ranked.
    """
    c = Comparison.of(records)
    ratio = c.main_ratio(c.shown(uneven=False)) if ratio is None else ratio
    found = ranking(c, ratio) if ratio is not None else None
    if found is None:
        return None
    k, order = len(found.labels), np.argsort(found.ranks.mean, kind="stable")
    places, names = found.ranks.mean[order], [found.labels[i] for i in order]
    bounds = [
        f"[{low:.1f}, {high:.1f}]" for low, high in zip(found.ranks.low[order], found.ranks.high[order], strict=True)
    ]
    bars = cliques(_apart(c, names, ratio))
    levels = _levels(places, bars)
    left = -(-k // 2)
    step, top = 1.15, 1.6 + 0.55 * (max(levels, default=-1) + 1)  # lines of text
    depth = top + step * left
    figure = page(TEXT, 0.155 * (depth + 1.5) + 0.1)
    axes = figure.subplots()
    reach = 0.55 * (k - 1)  # room for names on both sides
    axes.set_xlim(1 - reach, k + reach)
    axes.set_ylim(depth - step + 0.7, -1.7)
    axes.set_axis_off()
    axes.hlines(0, 1, k, color=BLACK, linewidth=0.8)
    ticks = np.arange(1, k + 1) if k <= 12 else np.unique([1, *range(5, k, 5), k])
    axes.vlines(np.arange(1, k + 1), -0.18, 0, color=BLACK, linewidth=0.6)
    axes.vlines(ticks, -0.35, 0, color=BLACK, linewidth=0.8)
    for tick in ticks:
        axes.text(tick, -0.5, f"{tick}", ha="center", va="bottom")
    axes.text(1 - 0.03 * k, -0.5, "better", ha="right", va="bottom", style="italic", color=GREY)
    axes.text(k + 0.03 * k, -0.5, "worse", ha="left", va="bottom", style="italic", color=GREY)
    for (first, last), level in zip(bars, levels, strict=True):
        y, ends = 0.75 + 0.55 * level, [places[first] - 0.06, places[last] + 0.06]
        axes.plot(ends, [y, y], color=BLACK, linewidth=2.2, solid_capstyle="butt")
    for i, (rank, name, bound) in enumerate(zip(places, names, bounds, strict=True)):
        on_left = i < left
        y = top + step * (i if on_left else k - 1 - i)
        edge = 1 - 0.02 * k if on_left else k + 0.02 * k
        axes.plot([rank, rank, edge], [0, y, y], color=GREY, linewidth=0.5, zorder=1)
        axes.plot(rank, 0, "o", color=BLACK, markersize=2.5, clip_on=False)
        text = f"{name}  {rank:.1f} {bound}" if on_left else f"{rank:.1f} {bound}  {name}"
        axes.text(edge, y, f" {text} ", ha="right" if on_left else "left", va="center")
    caption = (
        f"Average ranks by {c.options.score.title} at a labelled fraction of {percent(ratio)} %, within each of "
        f"{found.patients} patients and each draw and seed, from {some(found.runs, 'run')} of each method, with 95 % "
        "intervals by a bootstrap over patients and draws. Bars join methods without a significant difference between "
        "their mean scores (paired, 5 % after Holm's correction over all pairs)."
    )
    if found.draws < 2:
        caption += " With one draw, intervals and bars are for new patients only."
    if found.left_out:
        caption += f" Left out, because they have fewer draws: {', '.join(found.left_out)}."
    return finished(figure, caption)


def _apart(c: Comparison, labels: Sequence[str], ratio: float) -> np.ndarray:
    """Which two labels differ significantly after Holm's correction over all pairs."""
    k = len(labels)
    p = np.full((k, k), np.nan)
    for i, other in enumerate(labels):
        others = [label for label in labels if label != other]
        found = c.differences(others, other, ratio, c.options.metric)
        p[[labels.index(label) for label in others], i] = [found[label].p for label in others]
    pairs = np.triu_indices(k, 1)
    apart = np.zeros((k, k), dtype=bool)
    # a pair is pooled with two families; the larger p counts
    apart[pairs] = stats.holm(np.maximum(p, p.T)[pairs]) < 0.05
    return apart | apart.T


def cliques(apart: np.ndarray) -> list[tuple[int, int]]:
    """First and last of every longest stretch of methods, in the order of ranks, without two that are apart."""
    found: list[tuple[int, int]] = []
    for first in range(len(apart)):
        last = first
        while last + 1 < len(apart) and not apart[first : last + 1, last + 1].any():
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _levels(places: np.ndarray, bars: Sequence[tuple[int, int]]) -> list[int]:
    """The highest line on which each bar does not touch another."""
    ends: list[float] = []
    levels = []
    for first, last in bars:
        free = [level for level, end in enumerate(ends) if end + 0.25 < places[first]]
        level = free[0] if free else len(ends)
        ends[level : level + 1] = [places[last]]
        levels.append(level)
    return levels
