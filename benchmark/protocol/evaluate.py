"""Predicts images of any size by overlapping tiles in bounded memory, and scores them one by one."""

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmark.datasets.store import Store
from benchmark.names import choose
from benchmark.protocol import scoring
from benchmark.protocol.scores import COMPUTED, Score
from benchmark.protocol.scoring import Predicted
from benchmark.runs import CHOICES
from methods.base import Images, Logits

Predict = Callable[[Images], Logits]  # a method's `predict`, in the mode (eval) that its owner has set

Thing = TypeVar("Thing")

BATCH = {"cpu": 8, "cuda": 32}  # tiles, by kind of device
MANY = 64  # images for which starting processes pays
WAITING = 4  # images for each process that wait to be scored, at most


def bands(
    predict: Predict, image: UInt8[np.ndarray, "h w 3"], *, tile: int, overlap: float = 0.25, batch: int = 8,
    device: torch.device | str = "cpu", precision: str = "float32",
) -> Iterator[tuple[int, Float[np.ndarray, "c rows w"]]]:  # fmt: skip
    """Class probabilities from the top of an image to its bottom: (first row, probabilities of a few rows).

    `image` may be anything that is sliced like an array, such as a memory map. Memory holds the rows of one tile over
    the full width, and one batch of tiles. Neighbouring tiles share `overlap` of their side, and fade into each other.
    """
    for top, rows in _bands(predict, [image], tile, overlap, batch, torch.device(device), precision):
        yield top, rows[0].cpu().numpy()


def segment(
    predict: Predict, image: UInt8[np.ndarray, "h w 3"], *, tile: int, overlap: float = 0.25, batch: int = 8,
    device: torch.device | str = "cpu", precision: str = "float32", progress: Callable[[int, int], None] | None = None,
) -> UInt8[np.ndarray, "h w"]:  # fmt: skip
    """The most probable class of every pixel. `progress` hears how many rows are done, of how many."""
    classes = np.empty(image.shape[:2], np.uint8)
    for top, rows in _bands(predict, [image], tile, overlap, batch, torch.device(device), precision):
        bottom = top + rows.shape[2]
        classes[top:bottom] = rows[0].argmax(0).to(torch.uint8).cpu().numpy()
        if progress:
            progress(bottom, len(classes))
    return classes


def evaluate(
    predict: Predict, store: Store, places: Sequence[int], *, task: str = "", tile: int, overlap: float = 0.25,
    batch: int = 0, device: torch.device | str = "cpu", precision: str = "float32",
    progress: Callable[[int, int], None] | None = None, scores: Sequence[Score] = COMPUTED,
) -> list[dict[str, Any]]:  # fmt: skip
    """The scores of these images of a store, in this order; the only reader of their labels.

    Args:
        predict: a method's `predict`.
        store: the dataset.
        places: which images of the store.
        task: of the dataset; "" is its first.
        tile, overlap, device, precision: see `segment`.
        batch: tiles that are predicted together; 0 is as many as suit the device.
        progress: is called with how many images are done, of how many.
        scores: those of `benchmark.protocol.scores.COMPUTED` that are wanted.

    Returns:
        For every image `name`, `patient`, `stratum`; by the name of every score its number, or a list with a number
        for each foreground class; and `present` and `predicted`, lists that say of each foreground class whether the
        truth and the prediction have it. Scores of numbered objects are there only if the dataset has them. A number
        that does not exist is None, by the rules of `benchmark.protocol.metrics`.
    """
    names, found, device = [score.name for score in scores], {}, torch.device(device)
    batch = batch or BATCH[device.type]
    processes = scorers(device, len(places))
    waiting: deque[tuple[int, Future[dict[str, Any]]]] = deque()
    for group in _alike(store, places, tile, overlap, batch):
        images, labels = [store.image(i) for i in group], [store.label(i, task) for i in group]
        bands = _bands(predict, images, tile, overlap, batch, device, precision)
        for place, image in zip(group, _predicted(bands, labels, len(store.classes(task))), strict=True):
            if store.dataset.instances:
                image = dataclasses.replace(image, objects=store.mask(place))
            if processes:
                waiting.append((place, scoring.pool(processes).submit(scoring.scored, image, names)))
            else:
                found[place] = scoring.scored(image, names)
            if len(waiting) > WAITING * processes:
                _take_first(waiting, found)
            if progress:
                progress(len(found), len(places))
    while waiting:
        _take_first(waiting, found)
        if progress:
            progress(len(found), len(places))
    records = {place: store.records[place] for place in places}
    return [
        {"name": records[i].name, "patient": records[i].patient, "stratum": records[i].stratum, **found[i]}
        for i in places
    ]


def scorers(device: torch.device, images: int) -> int:
    """The number of processes that score images: this process's threads, while a GPU predicts many; else 0."""
    return torch.get_num_threads() if device.type == "cuda" and images >= MANY else 0


def _take_first(waiting: deque[tuple[int, Future[dict[str, Any]]]], found: dict[int, dict[str, Any]]) -> None:
    place, future = waiting.popleft()
    found[place] = future.result()


def _predicted(
    bands: Iterator[tuple[int, Float[Tensor, "n c rows w"]]], labels: Sequence[UInt8[np.ndarray, "h w"]], classes: int
) -> list[Predicted]:
    """The predictions of images of one size, in main memory."""
    predicted = [Predicted(label, np.empty(label.shape, np.uint8), classes, None, []) for label in labels]
    for top, rows in bands:
        chosen = rows.argmax(1).to(torch.uint8).cpu().numpy()
        foreground = (1 - rows[:, 0]).clamp(0, 1).cpu().numpy()
        for image, its_classes, probability in zip(predicted, chosen, foreground, strict=True):
            image.prediction[top : top + rows.shape[2]] = its_classes
            image.bands.append(probability)
    return predicted


def mean_of(predicts: Sequence[Predict]) -> Predict:
    """One network, or several as one: the logarithm of their mean probabilities."""
    if len(predicts) == 1:
        return predicts[0]

    def predict(images: Images) -> Logits:
        return torch.stack([one(images).float().log_softmax(1) for one in predicts]).logsumexp(0) - math.log(
            len(predicts)
        )

    return predict


# ----------------------------------------------------------------------------------------------------------------------
# Tiles


def _alike(store: Store, places: Sequence[int], tile: int, overlap: float, batch: int) -> Iterator[list[int]]:
    """Images of one size, as many as fill a batch with a row of their tiles."""

    def size(i: int) -> tuple[int, int]:
        return store.records[i].height, store.records[i].width

    for (_, width), alike in itertools.groupby(sorted(places, key=size), key=size):
        columns = len(_cover(width, tile, overlap)[0])
        yield from _batched(alike, max(1, batch // columns))


def _bands(
    predict: Predict, images: Sequence[UInt8[np.ndarray, "h w 3"]], tile: int, overlap: float, batch: int,
    device: torch.device, precision: str,
) -> Iterator[tuple[int, Float[Tensor, "n c rows w"]]]:  # fmt: skip
    """The finished rows of n images of one size, on the device."""
    choose(precision, CHOICES["precision"], "precision")
    height, width = images[0].shape[:2]
    tops, vertical = _cover(height, tile, overlap)
    lefts, horizontal = _cover(width, tile, overlap)
    vertical, horizontal = vertical.to(device), horizontal.to(device)
    rows, columns = vertical.shape[1], horizontal.shape[1]
    band: Tensor | None = None
    for r, top in enumerate(tops):
        for tiles in _batched(itertools.product(range(len(images)), range(len(lefts))), batch):
            cut = [images[i][top : top + rows, lefts[c] : lefts[c] + columns] for i, c in tiles]
            probabilities = _probabilities(predict, np.stack(cut), device, precision)
            if band is None:
                band = torch.zeros(len(images), probabilities.shape[1], rows, width, device=device)
            for (i, c), probability in zip(tiles, probabilities, strict=True):
                weight = vertical[r][:, None] * horizontal[c]
                band[i, :, :, lefts[c] : lefts[c] + columns] += probability * weight
        assert band is not None  # there is at least one tile
        done = (tops[r + 1] if r + 1 < len(tops) else height) - top
        yield top, band[:, :, :done]
        rest = torch.zeros_like(band)
        rest[:, :, : rows - done] = band[:, :, done:]
        band = rest


def _batched(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    things = iter(things)
    while batch := list(itertools.islice(things, size)):
        yield batch


def _cover(length: int, tile: int, overlap: float) -> tuple[list[int], Float[Tensor, "tiles tile"]]:
    """Where the tiles along one side start, evenly spread, and how much each counts for each of its pixels.

    A tile counts less towards its ends, along a squared sine, and next to nothing at its last pixel; over any pixel of
    the side the weights sum to 1. A side shorter than the tile has one tile, of its own length.
    """
    if tile < 1 or not 0 <= overlap < 1:
        raise ValueError(f"Tiles have at least 1 pixel a side and share [0, 1) of it, not {tile} and {overlap:g}.")
    tile = min(tile, length)
    step = max(1, int(tile * (1 - overlap)))
    count = -(-(length - tile) // step) + 1
    starts = [round(k * (length - tile) / max(1, count - 1)) for k in range(count)]
    fade = max(1, tile - max(np.diff(starts), default=0))  # pixels that neighbours share
    inwards = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 0.5
    window = np.sin(np.pi / 2 * np.minimum(inwards / fade, 1)) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + tile] += window
    weights = [window / total[start : start + tile] for start in starts]
    return starts, torch.from_numpy(np.stack(weights)).float()


class NotFinite(ValueError):
    """A network's predictions are not finite numbers."""

    def __init__(self) -> None:
        super().__init__("The network's predictions are not finite; train it again with a smaller --lr.")


@torch.inference_mode()
def _probabilities(
    predict: Predict, tiles: UInt8[np.ndarray, "n h w 3"], device: torch.device, precision: str
) -> Float[Tensor, "n c h w"]:
    # channels come last in memory, as in the store
    x = torch.from_numpy(tiles).to(device).permute(0, 3, 1, 2).float() / 255
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = predict(x)
    if logits.shape[0] != len(x) or logits.shape[2:] != x.shape[2:]:
        raise ValueError(
            f"`predict` answered {tuple(logits.shape)} for images {tuple(x.shape)}; logits must have their size."
        )
    probabilities = logits.float().softmax(1)
    if not probabilities.isfinite().all():
        raise NotFinite
    return probabilities
