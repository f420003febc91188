"""The figure of scores over the labelled fraction."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from benchmark.analysis.comparison import Comparison
from benchmark.report.figures.captions import Records, printed
from benchmark.report.figures.curves import Curve, multiples
from benchmark.report.figures.style import (
    BLACK,
    BOUND,
    COLUMN,
    SERIES,
    SMALL,
    apart,
    finished,
    in_style,
    page,
    percent,
    settle,
)

FEW = 3  # methods besides supervised that one panel can show with their bands
WIDE = 3  # times the usual width, an interval may leave the axis


@in_style
def score_against_ratio(records: Records) -> Figure | None:
    """The mean score over the labelled fraction with its interval; a panel for each method where there are many.

    Fractions stand at equal distances, so that each has its number. Supervised training with all labels is a line
    across. None for fewer than two fractions below 1.
    """
    c = Comparison.of(records)
    labels, score = c.shown(), c.options.score
    semi = [label for label in labels if label != c.supervised]
    ratios = [ratio for ratio in c.ratios(labels) if ratio < 1 or ratio in c.ratios(semi)]
    if len(ratios) < 2:
        return None
    curves = {printed(c, label): _curve(c, label, ratios) for label in labels if set(c.ratios([label])) & {*ratios}}
    full = c.interval(c.supervised, 1.0).mean if c.supervised else np.nan
    bound = None if np.isnan(full) or not any(ratio < 1 for ratio in ratios) else score.scale * full

    def dress(axes: Axes) -> None:
        axes.xaxis.set_major_locator(FixedLocator(range(len(ratios))))
        axes.xaxis.set_major_formatter(lambda place, _: percent(ratios[int(place)]))
        axes.set_xlim(-0.3, len(ratios) - 0.7)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))

    up, whole = _within(list(curves.values()), bound)
    caption = (
        f"{score.title} over the labelled fraction (at equal distances): mean over images and runs, and its 95 % "
        "interval for new patients, draws and seeds."
        + (" The dotted line is supervised training with all labels." if bound else "")
        + ("" if whole else f" Intervals more than {WIDE} times as wide as usual go on beyond the axis.")
    )
    axis = ("Labelled fraction (%)", score.axis)
    if len(semi) > FEW:
        return finished(multiples(curves, c.supervised, axis, dress, bound, up=up), caption)
    figure = page(COLUMN, 2.4)
    axes = figure.subplots()
    dress(axes)
    axes.grid(axis="y")
    axes.set(xlabel=axis[0], ylabel=axis[1], ylim=up)
    looks = dict(zip([label for label in curves if label != c.supervised], SERIES, strict=False))
    looks[c.supervised] = (BLACK, "x", "-")
    for label, curve in curves.items():
        colour, marker, line = looks[label]
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(curve.x, curve.mean, color=colour, marker=marker, linestyle=line, label=label)
        curve.name_points(axes, label)
    ends = {label: (curve.mean[~np.isnan(curve.mean)][-1], looks[label][0]) for label, curve in curves.items()}
    if bound is not None:
        axes.axhline(bound, color=BOUND, linestyle=":", linewidth=1.2, label="Supervised, all labels")
        ends["Supervised, all labels"] = (bound, BOUND)
    _name_ends(axes, ends)
    return finished(figure, caption)


def _curve(c: Comparison, label: str, ratios: Sequence[float]) -> Curve:
    """Through the fractions at which the label has finished runs."""
    places = [place for place, ratio in enumerate(ratios) if c.keys(label, ratio)]
    bounds = c.options.score.scale * np.array([c.interval(label, ratios[place]) for place in places])
    return Curve(np.array(places), *bounds.T)


def _within(curves: Sequence[Curve], bound: float | None) -> tuple[tuple[float, float], bool]:
    """The ends of an axis for all means and for intervals of usual width, and whether that is all."""
    mean, low, high = (np.concatenate([getattr(curve, name) for curve in curves]) for name in ("mean", "low", "high"))
    width = np.nan_to_num(high - low)
    usual = width <= WIDE * np.median(width[width > 0]) if (width > 0).any() else width == 0
    shown = np.concatenate([mean, low[usual], high[usual], [] if bound is None else [bound]])
    least, most = np.nanmin(shown), np.nanmax(shown)
    margin = 0.04 * (most - least)
    return (least - margin, most + margin), bool(usual.all())


def _name_ends(axes: Axes, ends: dict[str, tuple[float, str]]) -> None:
    """Writes names to the right of the ends of lines, moved apart."""
    settle(axes.figure)
    low, high = axes.get_ylim()
    height = (SMALL + 2.5) / 72 / axes.get_position().height / axes.figure.get_figheight() * (high - low)
    for (label, (end, colour)), place in zip(
        ends.items(), apart([end for end, _ in ends.values()], height, low, high), strict=True
    ):
        axes.annotate(
            label, (1, end), (12, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="center",
            size=SMALL, color=colour, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": colour, "shrinkA": 0, "shrinkB": 1},
        ).set_position((12, (place - end) / height * (SMALL + 2.5)))  # fmt: skip
