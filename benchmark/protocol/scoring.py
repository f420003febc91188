"""The scores of predicted images, computed by several processes while a GPU predicts the next ones; needs no torch."""

import functools
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from benchmark.datasets.base import IGNORE
from benchmark.protocol import metrics
from benchmark.protocol.metrics import Objects
from benchmark.protocol.scores import COMPUTED, SCORES, Masks, Score


@dataclass(frozen=True)
class Predicted:
    """A predicted image and its truth.

    Args:
        label: the true classes.
        prediction: the predicted classes.
        classes: number of classes, background included.
        objects: numbers of the true objects; None if the dataset does not number them.
        bands: from top to bottom, the probability of foreground in some rows of the image.
    """

    label: UInt8[np.ndarray, "h w"]
    prediction: UInt8[np.ndarray, "h w"]
    classes: int
    objects: Objects | None
    bands: list[Float[np.ndarray, "rows w"]]


def scored(image: Predicted, names: Sequence[str]) -> dict[str, Any]:
    """The scores of an image, rounded as records store them; `names` are those of the catalogue that are wanted."""
    bins, top = np.zeros((3, metrics.CALIBRATION_BINS)), 0
    for probability in image.bands:
        label = image.label[top : top + len(probability)]
        valid = label != IGNORE
        bins += metrics.calibration_bins(probability[valid], label[valid] > 0)
        top += len(probability)
    return scores_of(image, bins, [SCORES[name] for name in names])


def scores_of(
    image: Predicted, bins: Float[np.ndarray, "3 bins"], scores: Sequence[Score] = COMPUTED
) -> dict[str, Any]:
    """Scores of the catalogue for one image, rounded as records store them.

    Args:
        image: its label may have IGNORE where nobody has decided. Such pixels count like pixels beyond the image: they
            are neither truth nor prediction, and objects and outlines end there.
        bins: calibration bins of the foreground's probability over the valid pixels.
        scores: those that are wanted.
    """
    label, prediction, objects = image.label, image.prediction, image.objects
    valid = label != IGNORE
    of_class = [
        Masks(
            label == c, (prediction == c) & valid, valid, None if objects is None else np.where(label == c, objects, 0)
        )
        for c in range(1, image.classes)
    ]
    foreground = Masks((label > 0) & valid, (prediction > 0) & valid, valid, bins=bins)
    found: dict[str, Any] = {
        "present": [bool(masks.truth.any()) for masks in of_class],
        "predicted": [bool(masks.prediction.any()) for masks in of_class],
    }
    for score in scores:
        if objects is None and score.needs_instances:
            continue
        assert score.compute, f"'{score.name}' is read from other columns of a record"
        if score.per_class:
            found[score.name] = [score.rounded(score.compute(masks)) for masks in of_class]
        else:
            found[score.name] = score.rounded(score.compute(foreground))
    return found


@functools.cache
def pool(processes: int) -> ProcessPoolExecutor:
    """Processes that score images, kept until this one ends. They import NumPy and SciPy, but not torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(processes, context, _end_with_parent)


def _end_with_parent() -> None:
    """Ends this process when the one that uses it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
