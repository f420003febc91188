"""Writing the images and masks of a new store: files are read ahead by a few threads, and written in their order."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datasets.base import IGNORE, Dataset, Item, Record
from benchmark.datasets.fingerprint import fingerprint
from benchmark.datasets.images import values_in
from benchmark.datasets.store import remarks
from benchmark.datasets.store.index import array_hash, flush
from benchmark.datasets.store.store import Progress
from benchmark.words import examples

READERS = 2  # threads; each holds one image


@dataclass(frozen=True)
class Source:
    """A dataset that is to be read."""

    dataset: Dataset
    name: str
    root: Path | None
    items: Sequence[Item]


def write_images(source: Source, folder: Path, progress: Progress) -> dict[str, Any]:
    """Fills the folder of a store with `images.bin` and `masks.bin`.

    Returns:
        The fields of the index that depend on the images: classes, notes, ignore, records.

    Raises:
        ValueError: the first file that is wrong is named.
    """
    dataset, name = source.dataset, source.name
    records: list[Record] = []
    present: dict[str, list[int]] = {}  # image -> the class numbers in its mask
    values: dict[int, str] = {}  # class number -> the first image with it
    notes: dict[str, list[str]] = {}  # note on a conversion -> the images
    mask_type = np.dtype(np.uint16 if dataset.instances else np.uint8)
    start = 0
    with open(folder / "images.bin", "wb") as images, open(folder / "masks.bin", "wb") as masks:
        for item, read in _in_order(dataset, source.items):
            images.write(read.image.data)
            if read.mask is not None:
                masks.seek(mask_type.itemsize * start)
                masks.write(read.mask.data)
                present[item.name] = read.values
            for value in read.values:
                values.setdefault(value, item.name)
            for note in read.notes:
                notes.setdefault(note, []).append(item.name)
            records.append(_record(item, read, start))
            start += read.image.shape[0] * read.image.shape[1]
            progress(len(records), len(source.items), item.name)
        masks.truncate(mask_type.itemsize * start)
        flush(images, masks)
    dataset.classes = dataset.settle(source.root, values, notes)
    stored = np.memmap(folder / "masks.bin", mask_type, "r+")
    records = _corrected(records, dataset, stored, present)
    stored.flush()
    ignore = any(IGNORE in numbers for numbers in present.values()) and not dataset.instances
    return {
        "classes": dataset.classes,
        "notes": [
            *(f"{len(names)} × {note} ({examples(names)})." for note, names in notes.items()),
            *remarks.copies(records),
            *dataset.noticed,
            *(remarks.ignored(records, stored, present) if ignore else []),
            *remarks.absent(dataset, records, name, present),
            *remarks.in_two_parts(dataset, records, name),
        ],
        "ignore": IGNORE if ignore else None,
        "records": [asdict(record) for record in records],
    }


@dataclass(frozen=True)
class _Read:
    """An image that a thread has read."""

    image: np.ndarray
    mask: np.ndarray | None
    notes: tuple[str, ...]
    values: list[int]
    image_hash: str
    mask_hash: str
    fingerprint: str


def _in_order(dataset: Dataset, items: Sequence[Item]) -> Iterator[tuple[Item, _Read]]:
    """Reads ahead with a few threads, each one image at most, and yields the images in their order."""
    with ThreadPoolExecutor(READERS) as readers:
        waiting: deque[tuple[Item, Future[_Read]]] = deque()
        try:
            for item in items:
                waiting.append((item, readers.submit(_read, dataset, item)))
                if len(waiting) == READERS:
                    item, future = waiting.popleft()
                    yield item, future.result()
            while waiting:
                item, future = waiting.popleft()
                yield item, future.result()
        finally:
            readers.shutdown(cancel_futures=True)


def _read(dataset: Dataset, item: Item) -> _Read:
    image, mask, *notes = dataset.read(item)
    image = np.ascontiguousarray(image)
    if mask is not None:
        mask = np.ascontiguousarray(mask, np.uint16 if dataset.instances else np.uint8)
    values = [] if mask is None else [int(mask.any())] if dataset.instances else values_in(mask)
    mask_hash = "" if mask is None else array_hash(mask)
    return _Read(image, mask, tuple(notes), values, array_hash(image), mask_hash, fingerprint(image))


def _record(item: Item, read: _Read, start: int) -> Record:
    height, width = read.image.shape[:2]
    return Record(
        name=item.name, patient=item.patient, slide=item.slide, stratum=item.stratum, tags=tuple(item.tags),
        height=height, width=width, start=start, annotated=read.mask is not None,
        image_hash=read.image_hash, mask_hash=read.mask_hash, fingerprint=read.fingerprint,
    )  # fmt: skip


def _corrected(
    records: Sequence[Record], dataset: Dataset, masks: np.ndarray, present: dict[str, list[int]]
) -> list[Record]:
    """The records after the dataset, knowing all masks, has corrected them in place; updates `present`."""
    corrected = []
    for record in records:
        flat = masks[record.start : record.start + record.height * record.width]
        mask = flat.reshape(record.height, record.width)
        new = dataset.correct(record.name, mask) if record.annotated else None
        if new is not None:
            mask[:] = new
            present[record.name] = values_in(mask)
            record = replace(record, mask_hash=array_hash(mask))
        corrected.append(record)
    return corrected
