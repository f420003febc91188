"""The same images before all methods: truth and predictions side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis.comparison import Comparison
from benchmark.datasets.store import Store
from benchmark.report.figures.captions import Records, printed
from benchmark.report.figures.pictures import COLOURS, PREDICTION, TRUTH, ignored_colour, outline, show
from benchmark.report.figures.style import SMALL, TEXT, finished, in_style, page, percent, wrapped
from benchmark.run_records import RunRecord

Predict = Callable[[RunRecord, Sequence[UInt8[np.ndarray, "h w 3"]]], Sequence[UInt8[np.ndarray, "h w"]]]

QUANTILES = {"hard": 0.1, "typical": 0.5, "easy": 0.9}  # of supervised's Dice over the test images
FEW, MANY = 7, 10  # pictures beside each other: an inch each, or less so that three images fit a page
PIXELS = 400  # a side of a picture


class Panel(NamedTuple):
    """An image, its truth, and what methods made of it."""

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    truth: UInt8[np.ndarray, "h w"]
    predictions: Sequence[tuple[str, float, UInt8[np.ndarray, "h w"]]]  # label, Dice (nan if undefined), classes


def panels(records: Records, store: Store, predict: Predict, ratio: float | None = None) -> list[Panel]:
    """A hard, a typical and an easy test image with the predictions of every method's first run at one ratio.

    The images are those at the `QUANTILES` of supervised's Dice (of the first method's, without it), so that nobody
    picks them. `predict` gives the classes of images by the trained method of a record. Without
    `ratio` it is that of most methods. Empty where no run is done.
    """
    c = Comparison.of(records)
    ratio = c.main_ratio(c.shown(uneven=False)) if ratio is None else ratio
    labels = c.shown(ratio) if ratio is not None else []
    if not labels:
        return []
    first = {label: c.records[c.keys(label, ratio)[0]] for label in labels}
    metric = c.options.metric
    dice = {label: c.values(label, ratio, metric, None, c.places(label, ratio)[:1])[0] for label in labels}
    reference = dice[c.supervised if c.supervised in labels else labels[0]]
    ranked = [i for i in np.argsort(reference, kind="stable") if not np.isnan(reference[i])]
    if not ranked:
        return []
    picked: dict[str, int] = {}
    for name, quantile in QUANTILES.items():
        if (i := ranked[round(quantile * (len(ranked) - 1))]) not in picked.values():
            picked[name] = i
    places = {record.name: place for place, record in enumerate(store.records)}
    at = [places[c.images["name"][i]] for i in picked.values()]
    images, task = [store.image(place) for place in at], next(iter(c.records.values())).run.task
    predicted = {label: predict(record, images) for label, record in first.items()}
    return [
        Panel(
            f"{name} ({percent(QUANTILES[name])}\u00a0%)",
            images[k],
            store.label(at[k], task),
            [(printed(c, label), float(dice[label][i]), predicted[label][k]) for label in labels],
        )
        for k, (name, i) in enumerate(picked.items())
    ]


@in_style
def qualitative(shown: Sequence[Panel], classes: Sequence[str]) -> Figure | None:
    """For every panel the image, the truth and each prediction with its Dice, in lines of `FEW` or `MANY` pictures.

    With one foreground class the prediction's outline lies over the truth's; with several, colours tell the classes.
    None without panels or predictions.
    """
    cells = [_cells(panel, len(classes) <= 2) for panel in shown if panel.predictions]
    if not cells:
        return None
    most = max(map(len, cells))
    across = min(most, FEW if most <= 2 * FEW else MANY)
    width = TEXT / max(across, FEW)
    lines = [of[k : k + across] for of in cells for k in range(0, len(of), across)]
    for line in lines:
        for cell in line:
            cell.title = wrapped(cell.title, round(width / LETTER))
    heights = [width * line[0].image.shape[0] / line[0].image.shape[1] for line in lines]
    titles = [0.08 + 0.12 * max(cell.title.count("\n") + 1 for cell in line) for line in lines]
    tall = [height + title for height, title in zip(heights, titles, strict=True)]
    figure = page(width * across, sum(tall) + 0.25)
    figure.get_layout_engine().set(h_pad=0.01, w_pad=0.01, hspace=0, wspace=0)
    grid = figure.subplots(len(lines), across, squeeze=False, height_ratios=tall)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, places in zip(lines, grid, strict=True):
        for cell, axes in zip(line, places, strict=False):
            show(axes, cell.image, PIXELS)
            axes.set_title(cell.title, size=SMALL, linespacing=1.0)
            for labels, colours in cell.outlines:
                outline(axes, labels, colours, PIXELS, 0.6)
    binary = len(classes) <= 2
    colours = {"truth": TRUTH, "prediction": PREDICTION} if binary else dict(zip(classes[1:], COLOURS, strict=False))
    colours |= ignored_colour(panel.truth for panel in shown)
    figure.legend(
        [Line2D([], [], color=colour) for colour in colours.values()], list(colours), loc="outside lower center",
        ncols=len(colours),
    )  # fmt: skip
    return finished(
        figure,
        "Test images with the outlines of truth and predictions; numbers are the Dice (%) of the run shown. The number "
        "in brackets is the percentage of test images on which supervised training scores lower.",
    )


LETTER = 0.056  # inches: the width of a letter in titles


@dataclass
class Cell:
    """A picture: its title, and the outlines on it with the colours of their classes."""

    title: str
    image: UInt8[np.ndarray, "h w 3"]
    outlines: Sequence[tuple[UInt8[np.ndarray, "h w"], Sequence[str]]] = ()


def _cells(panel: Panel, binary: bool) -> list[Cell]:
    true = [(panel.truth, (TRUTH,) if binary else COLOURS)]
    cells = [Cell(panel.name, panel.image), Cell("truth", panel.image, true)]
    for label, dice, prediction in panel.predictions:
        found = [*true, (prediction, (PREDICTION,))] if binary else [(prediction, COLOURS)]
        cells.append(Cell(f"{label} {'–' if np.isnan(dice) else format(100 * dice, '.1f')}", panel.image, found))
    return cells
