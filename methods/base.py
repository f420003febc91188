"""What a method is, and the batch it learns from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int64
from torch import Tensor, nn

Images = Float[Tensor, "n 3 h w"]  # RGB in [0, 1]; a network normalises for its own encoder
Logits = Float[Tensor, "n c h w"]
Masks = Int64[Tensor, "n h w"]  # a class of each pixel, or IGNORE
IGNORE = 255  # a pixel that was not annotated: it takes part in no loss that needs a label


@dataclass(frozen=True)
class Batch:
    """One step's data. There is no mask of `u` to misuse."""

    x: Float[Tensor, "l 3 h w"]  # labelled images
    y: Int64[Tensor, "l h w"]  # their masks; pixels with IGNORE are like those of unlabelled images
    u: Float[Tensor, "n 3 h w"]  # unlabelled images; n may be 0


class Method(nn.Module, ABC):
    """A semi-supervised segmentation method: its networks, views, terms and weights, and nothing of the harness.

    Settings are keyword arguments of `__init__` after the `Arch`, with their published defaults; `own_defaults` names
    those whose default is not published. A setting whose name
    begins with `weight` scales an unsupervised term; with all of them 0 unlabelled images change nothing.
    """

    title: ClassVar[str]  # as printed in tables
    year: ClassVar[int]
    venue: ClassVar[str] = ""  # where it was published, for example "MICCAI"
    paper: ClassVar[str]  # a link
    uses_unlabelled: ClassVar[bool] = True
    capturable: ClassVar[bool] = True  # in a CUDA graph: False where a step computes on the host
    variants: ClassVar[dict[str, dict[str, Any]]] = {}  # ablations: name -> keyword arguments of __init__
    own_defaults: ClassVar[tuple[str, ...]] = ()  # settings whose default is not a published value
    tuned: ClassVar[dict[str, tuple[float, float]]] = {}  # further numbers that tuning changes, and from where to where

    @abstractmethod
    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        """Named, weighted terms whose sum is minimised; one is "sup".

        `t` in [0, 1] is the progress of training: a tensor without dimensions on the batch's device, so that a whole
        step can be captured in a CUDA graph. Nothing here may wait for its value, nor for any other's.
        """

    @abstractmethod
    def predict(self, x: Images) -> Logits:
        """The logits of the method as it is used once trained, at the size of `x`, whatever that size is."""

    def after_step(self) -> None:
        """Called once after each optimiser step: a teacher moves here."""


REGISTRY: dict[str, type[Method]] = {}


def register(method: type[Method]) -> type[Method]:
    """Names the method after its file: one file, one method.

    Raises:
        TypeError: if the file has registered another method already.
    """
    name = method.__module__.removeprefix("methods.")  # in another package a name of its own, also if files are alike
    if name in REGISTRY and REGISTRY[name].__qualname__ != method.__qualname__:
        raise TypeError(f"two methods are registered: {REGISTRY[name].__qualname__} and {method.__qualname__}")
    REGISTRY[name] = method
    return method
