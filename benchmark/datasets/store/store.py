"""A dataset as runs see it: images, masks and splits, each checked against its hash when it is first read."""

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark import datasets
from benchmark.datasets.base import IGNORE, Dataset, Record
from benchmark.datasets.splits import parts_of
from benchmark.datasets.store.index import array_hash, dataset_name, how_to_add_again, read_index
from benchmark.names import choose
from benchmark.words import PATIENT, examples, in_units

Progress = Callable[[int, int, str], None]  # done, total, name of the image


class Store:
    """A dataset as runs see it. Reading an image or a mask reads its own bytes and no others."""

    def __init__(self, folder: Path):
        """Opens the store in a folder.

        Raises:
            ValueError: it is damaged or incomplete, or the file of its kind of dataset is missing.
        """
        index = read_index(folder)
        if index.kind not in datasets.names():
            raise ValueError(
                f"The store {folder} is of the kind {index.kind!r}, for which there is no file in benchmark/datasets; "
                "put it back there, or add the images as another kind."
            )
        self.scale = index.scale
        self.folder, self.name, self.kind = folder, dataset_name(folder), index.kind
        self.pixel_um: float | None = index.pixel_um or datasets.get(self.kind).pixel_um  # at this resolution
        self.content: str = index.content
        self.notes: list[str] = index.notes
        self.records: list[Record] = index.records
        self.dataset: Dataset = datasets.get(self.kind)
        self.dataset.classes, self.dataset.unit = index.classes, index.unit
        self.dataset.instances = index.instances or self.dataset.instances
        self.dataset.leaks = self.dataset.leaking(self.records)
        self.dataset.splits = {
            split: in_units(about, self.unit) for split, about in self.dataset.offered(self.records).items()
        }
        self.ignores = index.ignore is not None  # whether masks have pixels that are excluded from loss and scores
        self._parts: dict[str, dict[str, list[int]]] = {}
        self._checked: set[tuple[str, int]] = set()  # the images and masks that were compared with their hashes
        for file, width in (("images.bin", 3), ("masks.bin", self.mask_type.itemsize)):
            path = folder / file
            if not path.is_file() or path.stat().st_size != width * self._length:
                raise ValueError(f"{path} is not complete; {how_to_add_again(folder, self.kind)}.")

    @cached_property
    def pixels(self) -> np.ndarray:
        """All images, uint8, flat and read-only; image i begins at 3 * records[i].start."""
        return np.memmap(self.folder / "images.bin", np.uint8, "r")

    def image(self, place: int) -> np.ndarray:
        """An image.

        Args:
            place: its position in `records`.

        Returns:
            uint8 (H, W, 3), a read-only view.

        Raises:
            ValueError: if the pixels do not match their hash.
        """
        image = self._image(place)
        self._check("image", place, image, self.records[place].image_hash)
        return image

    def mask(self, place: int) -> np.ndarray:
        """The stored mask of an image: class numbers, or numbers of objects.

        Args:
            place: position of the image in `records`.

        Returns:
            uint8 or uint16 (H, W), a read-only view.

        Raises:
            ValueError: if there is no mask, or it does not match its hash.
        """
        record = self.records[place]
        if not record.annotated:
            raise ValueError(f"'{record.name}' of '{self.name}' has no mask; only annotated images can be scored.")
        mask = self._mask(place)
        self._check("mask", place, mask, record.mask_hash)
        return mask

    def check(self, places: Iterable[int]) -> None:
        """Compares images with their hashes, each once in the life of this object. For code that reads `pixels`."""
        for place in places:
            if ("image", place) not in self._checked:
                self.image(place)

    def verify(self, progress: Progress = lambda done, total, what: None) -> None:
        """Compares every image and mask with its hash.

        Raises:
            ValueError: names those that do not match.
        """
        changed = []
        for place, record in enumerate(self.records):
            same = array_hash(self._image(place)) == record.image_hash
            if not same or (record.annotated and array_hash(self._mask(place)) != record.mask_hash):
                changed.append(record.name)
            progress(place + 1, len(self.records), record.name)
        if changed:
            raise ValueError(
                f"{len(changed)} of {len(self.records)} images of {self.folder} or their masks no longer match their "
                f"hashes ({examples(changed)}); {how_to_add_again(self.folder, self.kind)}."
            )

    @property
    def unit(self) -> str:
        """What the parts of a split never share: "patient", unless the dataset was added with another name for it."""
        return self.dataset.unit

    def cautions(self, split: str, task: str = "") -> list[str]:
        """What readers of scores must know of a split and a task, one sentence each, except for leaks."""
        sentences = [self.dataset.cautions.get(self._task(task), ""), self.dataset.cautions.get(split, "")]
        unknown = "whether the parts of the split share patients is not known."
        if self.unit != PATIENT:
            sentences.append(f"Images are grouped by {self.unit}, not by patient: {unknown}")
        elif all(record.patient == record.name for record in self.records):
            sentences.append(f"Each image counts as a separate patient, because no patients are given: {unknown}")
        return [sentence for sentence in sentences if sentence]

    def classes(self, task: str = "") -> tuple[str, ...]:
        """The names of the classes of a task, the background first; "" is the first task of the dataset."""
        return self.dataset.task_classes.get(self._task(task), self.dataset.classes)

    def label(self, place: int, task: str = "") -> np.ndarray:
        """The classes of an image, uint8 (H, W), for a task; "" is the first. `IGNORE` stays, whatever the task."""
        task, mask = self._task(task), self.mask(place)
        label = self.dataset.label(task, self.records[place], mask)
        return np.where(mask == IGNORE, np.uint8(IGNORE), label) if self.ignores else label

    def split(self, split: str = "") -> dict[str, list[int]]:
        """The positions of "train", "val" and "test" in `records`; "" is the dataset's first split.

        "val" may have no annotated image.
        """
        split = choose(split or next(iter(self.dataset.splits)), list(self.dataset.splits), f"split of '{self.name}'")
        if split not in self._parts:
            self._parts[split] = parts_of(self.dataset, split, self.records, self.name)
        return self._parts[split]

    def used(self, split: str = "") -> dict[str, list[int]]:
        """The positions that are used: all of "train"; of "val" and "test", the images with masks."""
        return {
            part: [place for place in places if part == "train" or self.records[place].annotated]
            for part, places in self.split(split).items()
        }

    @property
    def mask_type(self) -> np.dtype:
        """The type of the numbers in masks.bin."""
        return np.dtype(np.uint16 if self.dataset.instances else np.uint8)

    @property
    def _length(self) -> int:
        last = self.records[-1]
        return last.start + last.height * last.width

    @cached_property
    def _masks(self) -> np.ndarray:
        return np.memmap(self.folder / "masks.bin", self.mask_type, "r")

    def _image(self, place: int) -> np.ndarray:
        record = self.records[place]
        begin, length = 3 * record.start, 3 * record.height * record.width
        return self.pixels[begin : begin + length].reshape(record.height, record.width, 3)

    def _mask(self, place: int) -> np.ndarray:
        record = self.records[place]
        flat = self._masks[record.start : record.start + record.height * record.width]
        return flat.reshape(record.height, record.width)

    def _check(self, what: str, place: int, values: np.ndarray, expected: str) -> None:
        if (what, place) in self._checked:
            return
        if array_hash(values) != expected:
            raise ValueError(
                f"The {what} of '{self.records[place].name}' in {self.folder} no longer matches its hash, so the file "
                f"was changed or is damaged; {how_to_add_again(self.folder, self.kind)}."
            )
        self._checked.add((what, place))

    def _task(self, task: str) -> str:
        tasks = [name for name in self.dataset.tasks if name]
        return choose(task, tasks, f"task of '{self.name}'") if task else self.dataset.tasks[0]
