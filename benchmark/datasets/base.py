"""What a dataset is: where images and masks lie, whose they are, and how they may be split."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Item:
    """One image of a dataset, before it is read."""

    name: str  # unique in its dataset, and what rows and pictures call it
    patient: str  # parts of a split never share one
    slide: str = ""
    stratum: str = ""  # labelled draws and splits keep the shares of the strata
    tags: tuple[str, ...] = ()  # what a published split says of this image
    image: Path | None = None
    mask: Path | None = None  # None: nobody has annotated it


@dataclass(frozen=True)
class Record:
    """One image of a store, as its index tells it: an item that has been read and checked."""

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


class Dataset(ABC):
    """Extend this in one file of `benchmark/datasets/`; the file's name, with `-` for `_`, is the dataset's."""

    title: ClassVar[str]
    licence: ClassVar[str]
    source: ClassVar[str]  # where to get it
    size: ClassVar[str]  # how much it is, in words
    cite: ClassVar[str] = ""
    classes: tuple[str, ...] = ("background", "gland")  # class 0 is background
    tasks: ClassVar[tuple[str, ...]] = ("",)  # the first is the default
    splits: ClassVar[dict[str, str]]  # name -> one line; the first is the default
    leaks: ClassVar[dict[str, str]] = {}  # published splits that share patients or slides -> what is shared
    instances: ClassVar[bool] = False  # the masks number objects, so that the object scores can be computed
    pixel_um: ClassVar[float | None] = None

    @abstractmethod
    def items(self, root: Path) -> list[Item]:
        """What lies under `root`, in a fixed order."""

    @abstractmethod
    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        """The places in `records` of "train", "val" and "test"."""

    def label(self, task: str, record: Record, mask: np.ndarray) -> np.ndarray:
        """The classes (uint8) of a stored mask, for a task."""
        return (mask > 0).astype(np.uint8) if self.instances else mask
