"""The figures of differences to supervised: of means, and image by image."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.analysis import family, standing
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.stats import Difference
from benchmark.report.figures.captions import Records, fraction
from benchmark.report.figures.style import (
    ACCENT,
    BLACK,
    COLUMN,
    SIZE,
    SMALL,
    TEXT,
    beside_zero,
    colour_of,
    finished,
    in_style,
    interval_mark,
    page,
    percent,
)
from benchmark.report.tables.formatting import say

FAR = 2  # times as far as most differences, one may leave the axis


@in_style
def image_differences(records: Records, ratio: float | None = None) -> Figure | None:
    """How much better than supervised each method is on every image, and the mean with its interval.

    A point is an image, averaged over the draws and seeds that both have. None without a method beside supervised.
    """
    c = Comparison.of(records)
    ratio = c.main_ratio(c.shown(uneven=False)) if ratio is None else ratio
    differences = {label: c.options.score.scale * np.array(d[:3]) for label, d in _differences(c, ratio).items()}
    if not differences:
        return None
    clouds = {label: _by_image(c, label, ratio) for label in differences}
    order = list(differences)[::-1]
    if standing.ranks(c, ratio):
        order.sort(key=lambda label: differences[label][0])
    every = np.concatenate(list(clouds.values()))
    ends = [0.0, *np.quantile(every, [0.01, 0.99]), *np.concatenate(list(differences.values()))]
    margin = 0.03 * (np.nanmax(ends) - np.nanmin(ends))
    low, high = np.nanmin(ends) - margin, np.nanmax(ends) + margin
    beyond = int(((every < low) | (every > high)).sum())
    figure = page(COLUMN if len(order) <= 6 else TEXT * 0.75, 0.2 * len(order) + 0.75)
    axes = figure.subplots()
    scatter = np.random.default_rng(0)
    for y, label in enumerate(order):
        cloud = clouds[label][(clouds[label] >= low) & (clouds[label] <= high)]
        height = 0.32 * np.clip(scatter.normal(0, 0.4, len(cloud)), -1, 1)
        axes.scatter(
            cloud, y + height, 2.5, ACCENT, alpha=0.25 if len(cloud) > 60 else 0.5, linewidths=0, rasterized=True
        )
        interval_mark(axes, y, differences[label], BLACK, label=label, halo=True)
    axes.set_yticks(range(len(order)), order)
    beside_zero(axes)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    figure.supxlabel(f"Difference to {c.supervised} at {fraction(c, ratio)}\n({c.options.score.points})", size=SIZE)
    return finished(
        figure,
        f"Difference in {c.options.score.title} to {c.supervised} on the same test images at a labelled fraction of "
        f"{percent(ratio)} %. A blue point is an image that both have a score of; black, the difference of means and "
        "its 95 % interval." + (f" {beyond} of {len(every)} points lie beyond the frame." if beyond else ""),
    )


def _by_image(c: Comparison, label: str, ratio: float) -> np.ndarray:
    """The difference to supervised in the printed unit, of each image that has one."""
    shared = sorted({*c.places(label, ratio)} & {*c.places(c.supervised, ratio)})
    metric = c.options.metric
    values = (c.values(of, ratio, metric, None, shared) for of in (label, c.supervised))
    differences = c.options.score.scale * np.subtract(*values)
    there = ~np.isnan(differences)
    scored = there.any(0)
    return np.where(there, differences, 0).sum(0)[scored] / there.sum(0)[scored]


@in_style
def forest(records: Records) -> Figure | None:
    """The mean difference of each method to supervised with its interval, a column for each labelled fraction.

    Coloured where it is significant after Holm's correction over everything that is published together; hollow after
    one draw, where only patients vary in a test. Sorted by the mean where methods may be ranked. Uneven budgets are
    left out.
    """
    c = Comparison.of(records)
    score = c.options.score
    found = {ratio: of for ratio in c.ratios(c.published) if (of := _differences(c, ratio))}
    if not found:
        return None
    labels = [label for label in c.shown(uneven=False) if any(label in of for of in found.values())]
    means = {label: np.mean([of[label].mean for of in found.values() if label in of]) for label in labels}
    labels.reverse()
    if all(standing.ranks(c, ratio) for ratio in found if ratio < 1):
        labels.sort(key=means.__getitem__)
    figure = page(TEXT if len(found) > 1 else COLUMN, 0.155 * len(labels) + (0.85 if len(found) > 1 else 0.65))
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    reach, cut = _reach([score.scale * np.array(one[:3]) for of in found.values() for one in of.values()])
    alone = {ratio for ratio in found if all(c.draws(label, ratio) < 2 for label in found[ratio])}
    without = {ratio for ratio in found if ratio < 1 and not standing.has_headroom(c, ratio)}
    claims = family.against_supervised(c)
    for axes, (ratio, of) in zip(panels, found.items(), strict=True):
        for y, label in enumerate(labels):
            if label not in of:
                axes.annotate("–", (0, y), (6, 0), textcoords="offset points", va="center")
                continue
            claim, bounds = claims.get((ratio, label)), score.scale * np.array(of[label][:3])
            colour = colour_of(claim, bounds[0])
            if abs(bounds[0]) <= reach:
                interval_mark(axes, y, np.clip(bounds, -reach, reach), colour, hollow=ratio in alone, label=label)
            _mark_beyond(axes, y, bounds, reach, colour)
        axes.set_title(
            f"{percent(ratio)} % labels"
            + (", 1 draw" if ratio in alone else "")
            + ("\nno headroom" if ratio in without else "")
        )
        beside_zero(axes)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.set_xlim(-1.04 * reach, 1.04 * reach)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(-0.6, len(labels) - 0.4)
    figure.supxlabel(f"Difference to {c.supervised}\n({score.points})", size=SIZE)
    caption = (
        f"Difference in mean {score.title} to {c.supervised} on the same test images after the same draws and seeds, "
        "with its 95 % interval. In colour: significant at 5 % after Holm's correction over all that is published "
        "together (blue: higher, orange: lower)."
    )
    if without:
        caption += " No headroom: all labels are not significantly better than few there, or were not run."
    if alone:
        caption += " 1 draw, hollow: for these labelled images only."
    if cut:
        caption += " Arrows: what is beyond the scale, a mean with its number."
    return finished(figure, caption)


def _mark_beyond(axes: Axes, y: float, bounds: np.ndarray, reach: float, colour: str) -> None:
    """Arrows where an interval leaves the scale, and the number of a mean that does."""
    mean, low, high = bounds
    if abs(mean) > reach:
        axes.hlines(y, max(low, -reach), min(high, reach), color=colour, linewidth=1.2)
    for end, mark in ((low, "<"), (high, ">")):
        if abs(end) > reach:
            axes.plot(np.sign(end) * reach, y, mark, color=colour, markersize=3, clip_on=False)
    if abs(mean) > reach:
        offset, side = (6, "left") if mean < 0 else (-6, "right")
        axes.annotate(
            say(mean, 1), (np.sign(mean) * reach, y), (offset, 3),
            textcoords="offset points", ha=side, va="bottom", size=SMALL, color=colour,
        )  # fmt: skip


def _reach(found: Sequence[np.ndarray]) -> tuple[float, bool]:
    """How far from 0 the scale goes: to the farthest bound, or where few are much farther, to most of them.

    And whether any is beyond.
    """
    farthest = np.array([np.nanmax(np.abs(bounds)) for bounds in found])
    reach = min(farthest.max(), FAR * np.quantile(farthest, 0.75))
    return 1.02 * reach, bool(reach < farthest.max())


def _differences(c: Comparison, ratio: float | None) -> dict[str, Difference]:
    """By label, its difference to supervised; of labels with the budget of most runs."""
    if c.supervised is None or ratio is None:
        return {}
    others = [label for label in c.shown(ratio, uneven=False) if label != c.supervised]
    return {label: d for label in others if (d := c.difference(label, c.supervised, ratio)) is not None}
