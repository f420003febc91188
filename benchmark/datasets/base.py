"""The interface of a dataset: its images, masks and patients, and its splits."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.datasets.images import TURNED, read_image, read_mask
from benchmark.words import PATIENT

IGNORE = 255  # in a mask of class numbers: the pixel is not annotated; the same number as in `methods.base`


@dataclass(frozen=True)
class Item:
    """One image of a dataset, before it is read."""

    name: str  # unique in its dataset; used in run records and pictures
    patient: str  # parts of a split never share one
    slide: str = ""
    stratum: str = ""  # labelled subsets and splits keep the fractions of the strata
    tags: tuple[str, ...] = ()  # of a published split
    image: Path | None = None
    mask: Path | None = None  # None: not annotated


@dataclass(frozen=True)
class Record:
    """One image of a store, as its index describes it: an item that has been read and checked."""

    name: str
    patient: str
    slide: str
    stratum: str
    tags: tuple[str, ...]
    height: int
    width: int
    start: int  # of its first pixel, counted in pixels over the whole store
    annotated: bool
    image_hash: str  # of the decoded pixels
    mask_hash: str
    fingerprint: str  # perceptual; equal for flips and quarter turns of the same picture

    @property
    def largest_crop(self) -> int:
        """The side of the largest square in it, a multiple of 32 pixels (networks halve five times) if it has that."""
        side = min(self.height, self.width)
        return side // 32 * 32 or side


class Dataset(ABC):
    """Extend this in one file of `benchmark/datasets/`; the file's name, with `-` for `_`, is the dataset's."""

    title: ClassVar[str]
    licence: ClassVar[str]
    source: ClassVar[str]  # where to get it
    size: ClassVar[str]  # how much it is, in words
    cite: ClassVar[str] = ""
    classes: tuple[str, ...] = ("background", "gland")  # class 0 is background
    tasks: ClassVar[tuple[str, ...]] = ("",)  # the first is the default
    task_classes: ClassVar[dict[str, tuple[str, ...]]] = {}  # of tasks with other classes than `classes`
    splits: dict[str, str]  # name -> one line; the first is the default
    cautions: ClassVar[dict[str, str]] = {}  # of a task or a split: what readers of its scores must know
    leaks: ClassVar[dict[str, str]] = {}  # published splits that share patients or slides -> what is shared
    unit: str = PATIENT  # what `Item.patient` names, and the parts of a split never share: patient, organ, tile …
    instances: ClassVar[bool] = False  # the masks number objects, so that the object scores can be computed
    pixel_um: float | None = None  # the side of a pixel in micrometres
    noticed: Sequence[str] = ()  # sentences for the summary on all masks together, known after `settle`

    @abstractmethod
    def items(self, root: Path) -> list[Item]:
        """The images under `root`, in a fixed order."""

    @abstractmethod
    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        """The places in `records` of "train", "val" and "test"; "val" may be empty."""

    def read(self, item: Item) -> tuple:
        """The image, uint8 (H, W, 3); the mask (H, W) as it is to be stored, or None; a word on each conversion."""
        notes: list[str] = []
        image = read_image(item.image, notes)
        if item.mask is None:
            return image, None, *notes
        values = read_mask(item.mask, notes)
        if values.shape != image.shape[:2]:
            remedy = f"put the mask that belongs to {item.image.name} in its place"
            if TURNED in notes and values.shape == image.shape[1::-1]:
                remedy = "one was turned as its EXIF orientation says; save both as they are shown, without EXIF"
            raise ValueError(
                f"{item.mask} has {values.shape[1]} × {values.shape[0]} pixels and its image {image.shape[1]} × "
                f"{image.shape[0]}; {remedy}."
            )
        return image, self.encode(values, item.mask), *notes

    def encode(self, values: np.ndarray, path: Path) -> np.ndarray:
        """The stored mask for the numbers in a mask file: instance numbers, or classes; others are a ValueError.

        Where `IGNORE` is stored, the pixel is in no loss and in no score.
        """
        highest = int(values.max(initial=0))
        if not self.instances and highest >= len(self.classes):
            raise ValueError(
                f"{path} has the value {highest}, but the classes of this dataset are 0 to {len(self.classes) - 1} "
                f"({', '.join(self.classes)}); save the mask with these numbers."
            )
        return values

    def settle(self, root: Path | None, values: Mapping[int, str], notes: dict[str, list[str]]) -> tuple[str, ...]:
        """The names of the classes, once every mask is read.

        `values` has the first image of each stored mask value, `notes` the images of each conversion; they may be
        changed, and go into the summary.
        """
        return self.classes

    def correct(self, name: str, mask: np.ndarray) -> np.ndarray | None:
        """The mask of an image as it is to be stored now that all masks are read; None: as it is."""
        return None

    def leaking(self, records: Sequence[Record]) -> dict[str, str]:
        """The splits of these records with parts that share patients or slides, and what they share."""
        return self.leaks

    def remarks(self, records: Sequence[Record]) -> list[str]:
        """What to know of these records before relying on them, one sentence each."""
        return []

    def offered(self, records: Sequence[Record]) -> dict[str, str]:
        """The splits that these records allow, the default first."""
        return self.splits

    def label(self, task: str, record: Record, mask: np.ndarray) -> np.ndarray:
        """The classes (uint8) of a stored mask, for a task."""
        return (mask > 0).astype(np.uint8) if self.instances else mask
