"""The same images before all methods: truth and predictions side by side."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.datasets.store import Store
from benchmark.report.comparison import Comparison
from benchmark.report.drawing import SMALL, TEXT, finished, in_style, page, percent
from benchmark.report.frame import Row
from benchmark.report.pictures import COLOURS, PREDICTION, TRUTH, outline, show

Predict = Callable[[Row, Sequence[UInt8[np.ndarray, "h w 3"]]], Sequence[UInt8[np.ndarray, "h w"]]]

QUANTILES = {"hard": 0.1, "typical": 0.5, "easy": 0.9}  # of supervised's Dice over the test images
ACROSS = 7  # panels beside each other: an inch each
PIXELS = 400  # a side of a panel


class Panel(NamedTuple):
    """An image, its truth, and what methods made of it."""

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    truth: UInt8[np.ndarray, "h w"]
    predictions: Sequence[tuple[str, float, UInt8[np.ndarray, "h w"]]]  # label, Dice (nan if undefined), classes


def panels(rows: Sequence[Row] | Comparison, store: Store, predict: Predict, ratio: float | None = None) -> list[Panel]:
    """A hard, a typical and an easy test image with the predictions of every method's first run at one ratio.

    The images are those at the `QUANTILES` of supervised's Dice (of the first method's, without it), so that nobody
    picks them. `predict` gives the classes of images by the method of a row, whose weights its owner has. Without
    `ratio` it is that of most methods. Empty where no run is done.
    """
    c = Comparison.of(rows)
    ratio = c.main_ratio() if ratio is None else ratio
    labels = c.labels(ratio) if ratio is not None else []
    if not labels:
        return []
    first = {label: c.at(label, ratio)[0] for label in labels}
    dice = {label: c.values(label, ratio, c.drawn(label, ratio)[:1])[0] for label in labels}
    judge = dice[c.reference if c.reference in labels else labels[0]]
    ranked = [i for i in np.argsort(judge, kind="stable") if not np.isnan(judge[i])]
    if not ranked:
        return []
    picked = {name: ranked[round(quantile * (len(ranked) - 1))] for name, quantile in QUANTILES.items()}
    places = {record.name: place for place, record in enumerate(store.records)}
    at = [places[c.board.images["name"][i]] for i in picked.values()]
    images, task = [store.image(place) for place in at], c.by_key[c.runs.key[0]]["run"]["task"]
    predicted = {label: predict(c.by_key[c.runs.key[column]], images) for label, column in first.items()}
    return [
        Panel(
            f"{name} ({percent(QUANTILES[name])} %)",
            images[k],
            store.label(at[k], task),
            [(label, float(dice[label][i]), predicted[label][k]) for label in labels],
        )
        for k, (name, i) in enumerate(picked.items())
    ]


@in_style
def qualitative(shown: Sequence[Panel], classes: Sequence[str]) -> Figure | None:
    """For every panel the image, the truth and each prediction with its Dice; lines are broken after seven pictures.

    With one foreground class the prediction's outline lies over the truth's; with several, colours tell the classes.
    None without panels or predictions.
    """
    if not shown or not shown[0].predictions:
        return None
    binary = len(classes) <= 2
    across = min(ACROSS, 2 + max(len(panel.predictions) for panel in shown))
    lines = [-(-(2 + len(panel.predictions)) // across) for panel in shown]
    width = TEXT / ACROSS
    tall = [
        0.17 + width * panel.truth.shape[0] / panel.truth.shape[1]
        for panel, n in zip(shown, lines, strict=True)
        for _ in range(n)
    ]
    figure = page(width * across, sum(tall) + 0.3)
    figure.get_layout_engine().set(h_pad=0.01, w_pad=0.01, hspace=0, wspace=0)
    grid = figure.subplots(len(tall), across, squeeze=False, height_ratios=tall)
    for axes in grid.flat:
        axes.set_axis_off()
    for k, panel in enumerate(shown):
        cells = iter(grid[sum(lines[:k]) : sum(lines[: k + 1])].flat)
        _picture(next(cells), panel, panel.name)
        true = next(cells)
        _picture(true, panel, "truth")
        outline(true, panel.truth, (TRUTH,) if binary else COLOURS, PIXELS)
        for (label, dice, prediction), axes in zip(panel.predictions, cells, strict=False):
            _picture(axes, panel, label)
            if binary:
                outline(axes, panel.truth, (TRUTH,), PIXELS)
            outline(axes, prediction, (PREDICTION,) if binary else COLOURS, PIXELS)
            axes.text(
                0.97, 0.04, "–" if np.isnan(dice) else f"{100 * dice:.1f}", transform=axes.transAxes, ha="right",
                va="bottom", size=SMALL, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85},
            )  # fmt: skip
    colours = {"truth": TRUTH, "prediction": PREDICTION} if binary else dict(zip(classes[1:], COLOURS, strict=False))
    figure.legend(
        [Line2D([], [], color=colour) for colour in colours.values()], list(colours), loc="outside lower center",
        ncols=len(colours),
    )  # fmt: skip
    return finished(
        figure,
        "Test images with the outlines of truth and predictions; numbers are the Dice (%) of the run shown. The share "
        "in brackets is that of test images on which supervised training scores lower.",
    )


def _picture(axes: Axes, panel: Panel, title: str) -> None:
    show(axes, panel.image, PIXELS)
    axes.set_title(title, size=SMALL)
