"""Small pictures of test images with the outlines of truth and prediction, to be embedded in the page."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmark.analysis.run_table import scores
from benchmark.datasets.base import IGNORE
from benchmark.protocol.scores import for_classes
from benchmark.report.figures.pictures import overlay

PIXELS = 288  # the longer side of a panel: what a phone shows without enlarging
QUALITY = 70  # of WebP; outlines stay clean


class Panel(NamedTuple):
    """What one run made of one test image."""

    image: str  # its name in the record's scores
    key: str  # of the run
    picture: bytes  # WebP


def panel(
    name: str,
    key: str,
    image: UInt8[np.ndarray, "h w 3"],
    truth: UInt8[np.ndarray, "h w"],
    prediction: UInt8[np.ndarray, "h w"],
) -> Panel:
    """One foreground class: the truth in blue, and over it the prediction in orange, so that blue is what differs.

    Several classes: the truth on the left and the prediction on the right, a colour for each class. Pixels with the
    ignore label have a grey veil.
    """
    shrink = min(1.0, PIXELS / max(truth.shape))
    size = tuple(max(1, round(shrink * side)) for side in truth.shape[::-1])
    small = np.asarray(Image.fromarray(np.asarray(image)).resize(size, Image.Resampling.BOX))
    truth, prediction = (
        np.asarray(Image.fromarray(np.asarray(labels)).resize(size, Image.Resampling.NEAREST))
        for labels in (truth, prediction)
    )
    if max(truth.max(where=truth != IGNORE, initial=0), prediction.max()) <= 1:
        outlined = overlay(overlay(small, truth), 2 * prediction)
    else:
        gap = np.full((len(small), 4, 3), 255, np.uint8)
        outlined = np.concatenate([overlay(small, truth), gap, overlay(small, prediction)], axis=1)
    file = io.BytesIO()
    Image.fromarray(outlined).save(file, "WEBP", quality=QUALITY, method=6)
    return Panel(name, key, file.getvalue())


def typical_images(records: Sequence[dict[str, Any]], count: int = 3) -> list[str]:
    """Names of `count` test images from the worst to the best, evenly spread by their mean Dice over all runs.

    With several classes, the Dice of an image is the mean over the classes that have a score there.
    """
    dice: dict[str, list[float]] = {}
    for record in records:
        if record.scores:
            values = scores(record, for_classes("dice", len(record.classes) - 1))[:, 0]
            for name, value in zip(record.scores["name"], values, strict=True):
                dice.setdefault(name, []).extend([] if np.isnan(value) else [value])
    ranked = sorted((np.mean(values), name) for name, values in dice.items() if values)
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[place][1] for place in places]
