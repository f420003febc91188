"""The labelled subset, the unlabelled images, and the batch of a step: pure functions of draw, seed and step."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark import machine
from benchmark.datasets.base import Record
from benchmark.datasets.splits import labelled_count
from benchmark.datasets.store import Store
from benchmark.run_records import Certificate
from benchmark.runs import Run
from methods.base import Batch, Images

ORDER, VIEW, NOISE, NORMAL = range(4)  # streams of random numbers that do not depend on each other
NOISE_SHARE, NOISE_STD = 0.25, 0.1  # Gaussian noise on a quarter of the images, of up to this deviation in [0, 1]
NORMALS = 2**22  # the least number of values from which noise is cut: 20 times those of 256 × 256 pixels


@dataclass(frozen=True)
class Draw:
    """The parts of a split for one labelled subset, as places in a store."""

    labelled: list[int]
    unlabelled: list[int]
    val: list[int]  # no larger than the labelled set, so that selection is not a second training set
    test: list[int]


def draw(store: Store, run: Run) -> Draw:
    """The labelled subset of a run: seeded, stratified, and nested, so that a smaller fraction is part of a larger one.

    With a published list of the labelled images at this ratio (tags `train_5`, `train_10` …), draw 0 is that list. A
    run with a list of its own (`bench choose`) has the images of that list.
    """
    parts, records = store.used(run.split), store.records
    candidates = [i for i in parts["train"] if records[i].annotated]
    published = [i for i in candidates if f"train_{100 * run.ratio:g}" in records[i].tags]
    count = labelled_count(run.ratio, len(candidates))
    if count == 0:
        raise ValueError(
            f"The ratio {run.ratio:g} leaves no labelled image among the {len(candidates)} annotated training images "
            f"of '{store.name}', as it means at most half of one; {1 / len(candidates):.4g} takes one, and 1 takes all."
        )
    if run.chosen:
        labelled = _chosen(store, run, candidates)
    elif published and run.draw == 0 and run.split == "lists":
        labelled = published
    else:
        labelled = in_stratified_order(candidates, records, run.draw)[:count]
    chosen = set(labelled)
    val = in_stratified_order(parts["val"], records, run.draw)
    return Draw(
        sorted(labelled),
        [i for i in parts["train"] if i not in chosen],
        sorted(val[: len(labelled)]),
        parts["test"],
    )


def _chosen(store: Store, run: Run, candidates: Sequence[int]) -> list[int]:
    """The places of the images that a run names; one that is no annotated training image is a ValueError."""
    place = {store.records[i].name: i for i in candidates}
    unknown = [name for name in run.chosen if name not in place]
    if unknown:
        raise ValueError(
            f"The list of labelled images names '{unknown[0]}', which is not an annotated training image of "
            f"'{store.name}' (split '{run.split}'); annotate it and add the dataset again, or choose again."
        )
    return [place[name] for name in run.chosen]


def in_stratified_order(places: Sequence[int], records: Sequence[Record], seed: int) -> list[int]:
    """A seeded order in which every beginning has the fraction of each stratum, to within one image."""
    random = np.random.default_rng(seed)
    strata: dict[str, list[int]] = {}
    for place in sorted(places):
        strata.setdefault(records[place].stratum, []).append(place)
    ranked = []
    for stratum in sorted(strata):
        members = random.permutation(strata[stratum])
        offset = random.random()
        ranked += [((rank + offset) / len(members), int(place)) for rank, place in enumerate(members)]
    return [place for _, place in sorted(ranked)]


def certificate(store: Store, run: Run, subset: Draw, findings: dict[str, Any]) -> Certificate:
    """The certificate of a split: its lists, their hashes, and what an audit found between the parts."""
    parts = {"labelled": subset.labelled, "unlabelled": subset.unlabelled, "val": subset.val, "test": subset.test}
    return Certificate(
        images={part: len(places) for part, places in parts.items()},
        patients={part: len({store.records[i].patient for i in places}) for part, places in parts.items()},
        lists={part: _hash("\n".join(store.records[i].name for i in places)) for part, places in parts.items()},
        labelled=subset.labelled,
        leak=store.dataset.leaks.get(run.split, ""),
        cautions=store.cautions(run.split, run.task),
        audit=findings,
    )


def check_crop(run: Run, store: Store, subset: Draw) -> None:
    """Refuses a crop that is larger than the smallest training image."""
    smallest = min((store.records[i] for i in subset.labelled + subset.unlabelled), key=_side)
    if run.crop > _side(smallest):
        raise ValueError(
            f"The crop of {run.crop} pixels is larger than the image {smallest.name} ({smallest.width} × "
            f"{smallest.height}) of '{store.name}'; give --crop {smallest.largest_crop}."
        )


def check_batch(images: int, crop: int) -> None:
    """Refuses a batch that does not fit into main memory; the system would end the process without a message."""
    needed, left = images * crop**2 * 3 * 4, machine.memory_left()
    if needed > left:
        raise ValueError(
            f"A batch of {images:,} crops of {crop} pixels takes {needed / 1e9:,.1f} GB without any network, "
            f"and {left / 1e9:.1f} GB are free; give fewer images (--labelled, --unlabelled) or a smaller --crop."
        )


class Batches:
    """The batches of a run, cut on the device from the resident store. Holds masks of labelled images and no others."""

    def __init__(self, run: Run, store: Store, subset: Draw, device: torch.device, uses_unlabelled: bool = True):
        self.run, self.device = run, device
        check_crop(run, store, subset)
        with warnings.catch_warnings(
            action="ignore", category=UserWarning
        ):  # the store is read-only, and is not written to
            pixels = torch.from_numpy(store.pixels).view(-1, 3)
        if device.type == "cuda" and pixels.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            pixels = pixels.to(device)
        self.pixels = pixels  # pixels of all images, one after the other
        self.check = store.check  # compares images with their hashes when they are first used
        self.labelled = _Pool(store, subset.labelled)
        self.unlabelled = _Pool(store, subset.unlabelled) if uses_unlabelled and run.unlabelled else None
        if self.unlabelled and not subset.unlabelled:
            self.unlabelled = None
        if device.type == "cpu":
            check_batch(run.labelled + (run.unlabelled if self.unlabelled else 0), run.crop)
        masks = [torch.from_numpy(store.label(i, run.task)).flatten() for i in subset.labelled]
        self.masks = torch.cat(masks).to(pixels.device)
        self.mask_starts = np.cumsum([0, *(len(mask) for mask in masks[:-1])])
        self.normals = normals(run.seed, run.draw, max(NORMALS, 6 * run.crop**2)).to(device)

    def at(self, step: int) -> Batch:
        """The batch of a step: a function of run and step alone, the same for every method of a comparison."""
        run = self.run
        chosen, window = self._windows(self.labelled, run.labelled, step, 0)
        x = self._views(self.labelled.starts[chosen], self.labelled.widths[chosen], window, step, 0)
        y = self._cut(self.masks, self.mask_starts[chosen], self.labelled.widths[chosen], window, torch.int64)
        if self.unlabelled is None:
            return Batch(x, y, x.new_zeros(0, 3, run.crop, run.crop))
        chosen, window = self._windows(self.unlabelled, run.unlabelled, step, 1)
        return Batch(x, y, self._views(self.unlabelled.starts[chosen], self.unlabelled.widths[chosen], window, step, 1))

    def _windows(self, pool: "_Pool", count: int, step: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Which images, and their windows: top, left, and one of the eight flips and quarter turns."""
        chosen = np.array([pool.turn(self.run, side, step * count + k) for k in range(count)])
        self.check(pool.places[k] for k in chosen)
        random = np.random.default_rng([self.run.seed, self.run.draw, VIEW, side, step])
        top = random.integers(0, pool.heights[chosen] - self.run.crop + 1)
        left = random.integers(0, pool.widths[chosen] - self.run.crop + 1)
        return chosen, np.stack([top, left, random.integers(0, 8, count)])

    def _cut(
        self, flat: Tensor, starts: np.ndarray, widths: np.ndarray, window: np.ndarray, dtype: torch.dtype = torch.uint8
    ) -> Tensor:
        """Crops, flipped and turned. `flat` is (pixels, …), the result (n, crop, crop, …) on the batch's device."""
        cut = sliced if flat.device.type == "cpu" else gathered
        return _sent(cut(flat, starts, widths, window, self.run.crop, dtype), self.device)

    def _views(self, starts: np.ndarray, widths: np.ndarray, window: np.ndarray, step: int, side: int) -> Images:
        """Weak views: crop, flip, quarter turn, and Gaussian noise on some."""
        images = _scaled(self._cut(self.pixels, starts, widths, window))
        random = np.random.default_rng([self.run.seed, self.run.draw, NOISE, side, step])
        std = np.where(random.random(len(starts)) < NOISE_SHARE, random.uniform(0, NOISE_STD, len(starts)), 0)
        size = images[0].numel()
        begin = random.integers(0, len(self.normals) - size, len(starts))
        for k in np.flatnonzero(std).tolist():
            noise = self.normals[begin[k] : begin[k] + size].view(images[k].shape)
            images[k].add_(noise, alpha=std[k]).clamp_(0, 1)
        return images.permute(0, 3, 1, 2)  # channels last in memory


def normals(seed: int, draw: int, count: int) -> Tensor:
    """Standard normal values, generated once for all steps of a run and the same on every device."""
    return torch.from_numpy(np.random.default_rng([seed, draw, NORMAL]).standard_normal(count, np.float32))


def sliced(
    flat: Tensor, starts: np.ndarray, widths: np.ndarray, window: np.ndarray, crop: int, dtype: torch.dtype
) -> Tensor:
    """Crops in main memory, image by image: a copy of slices is faster there than an index for every pixel.

    `window` has the rows top, left, and view: 1 swaps rows and columns, then 2 flips the image's rows, 4 its columns.
    """
    pixels = flat.numpy().reshape(len(flat), -1)
    crops = torch.empty(len(starts), crop, crop, *flat.shape[1:], dtype=dtype)
    # to be turned, rows lie 21 pixels apart: with a power of two from row to row, columns fit into few lines of a cache
    upright = np.empty((crop, crop + 21, pixels.shape[1]), pixels.dtype)[:, :crop]
    places = np.stack([starts, widths, *window]).T.tolist()
    images = crops.numpy().reshape(len(starts), crop, crop, -1)
    for image, (start, width, top, left, view) in zip(images, places, strict=True):
        rows = pixels[start + top * width : start + (top + crop) * width].reshape(crop, width, -1)
        square, flipped = rows[:, left : left + crop], slice(None, None, -1 if view & 2 else 1)
        if not view & 5:
            image[...] = square[flipped]
            continue
        upright[...] = square
        turned = upright[flipped, :: -1 if view & 4 else 1]
        for channel in range(pixels.shape[1]):  # each by itself is copied faster than all three
            one = turned[..., channel]
            image[..., channel] = one.T if view & 1 else one
    return crops


def gathered(
    flat: Tensor, starts: np.ndarray, widths: np.ndarray, window: np.ndarray, crop: int, dtype: torch.dtype
) -> Tensor:
    """The same crops in one gather, on a GPU, where many small copies would be slow."""
    place = _sent(torch.from_numpy(np.stack([starts, widths, *window])), flat.device)[:, :, None, None]
    start, width, top, left, view = place
    side = torch.arange(crop, device=flat.device)
    row, column = torch.where(view & 1 > 0, side, side[:, None]), torch.where(view & 1 > 0, side[:, None], side)
    row = torch.where(view & 2 > 0, crop - 1 - row, row)
    column = torch.where(view & 4 > 0, crop - 1 - column, column)
    return flat[start + (top + row) * width + left + column].to(dtype)


def _scaled(bytes_: Tensor) -> Tensor:
    """From 0 … 255 to [0, 1]; on a CPU with NumPy, which reads the memory only once."""
    if bytes_.device.type == "cpu":
        return torch.from_numpy(np.divide(bytes_.numpy(), np.float32(255)))
    return bytes_.float().div_(255)


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """On the device; through pinned memory to a GPU, so that the copy overlaps with its computation."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


class _Pool:
    """Images in a random order, a new one for every pass over all of them."""

    def __init__(self, store: Store, places: list[int]):
        self.places, records = places, [store.records[i] for i in places]
        self.starts = np.array([record.start for record in records], np.int64)
        self.heights = np.array([record.height for record in records], np.int64)
        self.widths = np.array([record.width for record in records], np.int64)
        self._orders: dict[int, np.ndarray] = {}  # of the last two rounds

    def turn(self, run: Run, side: int, position: int) -> int:
        """The image at a position of the endless sequence."""
        round_, place = divmod(position, len(self.starts))
        if round_ not in self._orders:
            order = np.random.default_rng([run.seed, run.draw, ORDER, side, round_]).permutation(len(self.starts))
            self._orders = {round_: order, **dict(list(self._orders.items())[:1])}
        return int(self._orders[round_][place])


def _side(record: Record) -> int:
    return min(record.height, record.width)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
