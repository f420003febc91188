"""The figure of the share of the headroom that each method closes."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.analysis import family
from benchmark.analysis.comparison import Comparison
from benchmark.report.figures.captions import Records
from benchmark.report.figures.style import (
    ACCENT,
    BOUND,
    COLUMN,
    PALE,
    SIZE,
    TEXT,
    beside_zero,
    finished,
    in_style,
    interval_mark,
    page,
    percent,
)
from benchmark.report.tables import headroom
from benchmark.report.tables.formatting import say

FARTHEST = 2.0  # times the headroom on either side, beyond which the axis does not go


@in_style
def gap(records: Records) -> Figure | None:
    """A bar for each method's share of the headroom with its 95 % interval; a panel for each ratio with headroom.

    None where no headroom is significantly above 0.
    """
    c = Comparison.of(records)
    shares = {ratio: of for ratio in c.ratios(c.published) if (of := headroom.closed(c, ratio))}
    labels = [label for label in c.shown(uneven=False) if any(label in of for of in shares.values())]
    if not labels:
        return None
    bounds = {ratio: family.headrooms(c)[ratio].difference for ratio in shares}
    table = pd.DataFrame(
        [
            (ratio, label, *(100 * np.array(of[label])))
            for ratio, of in shares.items()
            for label in labels
            if label in of
        ],
        columns=["ratio", "method", "share", "low", "high"],
    )
    ends = np.clip(np.nan_to_num(table[["share", "low", "high"]].to_numpy()), -100 * FARTHEST, 100 * FARTHEST)
    order = table.groupby("method").share.mean().sort_values(ascending=False).index
    figure = page(TEXT if len(shares) > 1 else COLUMN * 1.2, 0.17 * len(labels) + 0.75)
    panels = figure.subplots(1, len(shares), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (ratio, of) in zip(panels, table.groupby("ratio"), strict=True):
        sns.barplot(of, x="share", y="method", order=order, color=PALE, errorbar=None, width=0.7, ax=axes)
        for y, label in enumerate(order):
            for line in of[of.method == label].itertuples():
                hollow = c.draws(label, ratio) < 2
                interval_mark(axes, y, (line.share, line.low, line.high), ACCENT, hollow=hollow, label=label)
        axes.axvline(100, color=BOUND, linestyle=":", linewidth=1.2)
        mean, low, high = (say(100 * number, 1) for number in bounds[ratio][:3])
        axes.set_title(f"{percent(ratio)} % labels: headroom {mean} [{low}, {high}]")
        axes.set(xlabel="", ylabel="")
        beside_zero(axes)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        left, right = min(ends.min(), 0) - 5, max(ends.max(), 100) + 5
        axes.set_xlim(left, right)
        for y, label in enumerate(order):
            for line in of[of.method == label].itertuples():
                for end, edge, mark in ((line.low, left, "<"), (line.high, right, ">")):
                    if abs(end) > 100 * FARTHEST:
                        axes.plot(edge, y, mark, color=ACCENT, markersize=3, clip_on=False)
    figure.supxlabel("Share of the headroom that is closed (%)", size=SIZE)
    beyond = (table[["low", "high"]].abs() > 100 * FARTHEST).any(axis=None)
    alone = any(c.draws(label, ratio) < 2 for ratio, of in shares.items() for label in of)
    return finished(
        figure,
        f"Share of the headroom (supervised with all labels less supervised, {c.options.score.title}) that each method "
        "closes with the same labels and steps as supervised, with its 95 % interval (Fieller). 0: no more than "
        "supervised; the dotted line, 100: as much as all labels."
        + (" Hollow: one draw." if alone else "")
        + (" Arrows: the interval goes on." if beyond else ""),
    )
