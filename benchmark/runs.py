"""A run: every setting that decides its result, and the key that names its record."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from benchmark.names import choose

# Version of the protocol: raised when the same fields give another result by design. Records of different versions are
# never in one table. 2: everything random depends on seed, draw and step (before, on seed and step alone).
PROTOCOL = 2


def _later(default: Any) -> Any:
    """A field that older keys do not have."""
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True)
class Run:
    """The settings of a run, options of `bench run`; what does not decide the result is in the run record only."""

    method: str = "cdma"
    variant: str = ""  # a named set of the method's settings
    settings: tuple[tuple[str, Any], ...] = ()  # the method's keyword arguments, over those of the variant
    dataset: str = "phantom"
    task: str = ""  # "" is the dataset's first
    split: str = ""  # "" is the dataset's first
    scale: float = 1.0  # images and masks are reduced to this fraction of their height and width
    mpp: float = 0.0  # µm per pixel, instead of a scale; 0 is as stored; before the run starts it becomes a scale
    ratio: float = 0.1  # labelled fraction: of the annotated training images, the fraction with masks
    draw: int = 0  # which labelled subset
    seed: int = 0  # of weights, order, crops and views
    encoder: str = "tu-tf_efficientnet_lite0"
    decoder: str = "unet"
    norm: str = "frozen"
    width: int = 128  # channels of the decoder's widest block
    dropout: float = 0.2  # of whole channels of the deepest features
    weights: str = "imagenet"  # "imagenet", "none" or a file
    steps: int = 400  # optimiser steps, equal for all methods and ratios
    labelled: int = 4  # images a step
    unlabelled: int = 4  # images a step
    crop: int = 128  # pixels a side
    tile: int = 256  # pixels a side of a window at prediction
    optimiser: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    schedule: str = "poly"
    precision: str = "float32"
    weights_hash: str = ""  # of the pretrained weights; set before the run starts
    content: str = ""  # hash of images and masks of the dataset; set before the run starts
    protocol: int = PROTOCOL
    # Fields from here on were added after protocol 2 began: they enter the key only where they differ from the default.
    tuned: str = _later("")  # the outcome of `bench tune` that learning rate and settings come from; "" has defaults
    adapt: str = _later("full")  # how the encoder is trained: "full", or "lora:RANK" beside a frozen one
    chosen: tuple[str, ...] = _later(())  # names of the labelled images, instead of a random draw
    chosen_by: str = _later("")  # the strategy of `bench choose` that they come from
    views: str = _later("own")  # strong views: each method's own, or "rgb" or "stain" for all

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ValueError(f"The ratio is {self.ratio:g}, but a labelled fraction is above 0 and at most 1.")
        if not 0 < self.scale <= 1:
            raise ValueError(f"The scale is {self.scale:g}, but images are only reduced: give more than 0, at most 1.")
        if self.mpp < 0 or not math.isfinite(self.mpp):
            raise ValueError(f"{self.mpp:g} µm per pixel cannot be; --mpp must be above 0.")
        if self.mpp and self.scale != 1:
            raise ValueError("The scale and µm per pixel both set the resolution; give --scale or --mpp, not both.")
        for name in ("steps", "labelled", "tile", "crop", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"'{name}' is {getattr(self, name)}, but must be at least 1.")
        if self.unlabelled < 0 or self.draw < 0 or self.seed < 0:
            raise ValueError("'unlabelled', 'draw' and 'seed' are counted from 0 and cannot be negative.")
        if self.lr <= 0 or not math.isfinite(self.lr) or self.weight_decay < 0:
            raise ValueError(
                f"The learning rate {self.lr:g} must be above 0, the weight decay {self.weight_decay:g} not below."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"The dropout is {self.dropout:g}, but must be at least 0 and below 1.")
        for name, known in CHOICES.items():
            choose(getattr(self, name), known, name)

    @property
    def plain(self) -> bool:
        """Whether the method has its default settings, its own views and a random draw, and is no variant."""
        return not self.variant and not self.settings and self.views == Run.views and not self.chosen

    @property
    def key(self) -> str:
        """A readable stem and a short hash of every field: the name of the run record."""
        values = asdict(self)
        hashed = {f.name: values[f.name] for f in fields(self) if not f.metadata or values[f.name] != f.default}
        fields_ = json.dumps(hashed, sort_keys=True)
        method = f"{self.method}-{self.variant}" if self.variant else self.method
        data = f"{self.dataset}-{self.task}" if self.task else self.dataset
        stem = f"{method}_{data}_r{self.ratio:g}_d{self.draw}_s{self.seed}"
        return f"{stem}_{hashlib.sha256(fields_.encode()).hexdigest()[:10]}"

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "Run":
        """The run from the dictionary of its fields, as JSON gives it back."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        settings = tuple((name, value) for name, value in values["settings"])
        return cls(**{**values, "settings": settings, "chosen": tuple(values.get("chosen", ()))})


CHOICES = {
    "decoder": ("unet", "deeplabv3plus", "dpt"),
    "norm": ("frozen", "batch"),
    "optimiser": ("adamw", "sgd"),
    "schedule": ("poly", "cosine", "constant"),
    "precision": ("float32", "bf16"),
    "views": ("own", "rgb", "stain"),
}


def trials_of(tuned: str) -> int:
    """The number of trials of an outcome of `bench tune`, from its name."""
    return int(tuned.rpartition("_")[2])
