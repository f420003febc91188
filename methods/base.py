"""The interface of a method, and the batch that it learns from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int64
from torch import Tensor, nn

Images = Float[Tensor, "n 3 h w"]  # RGB in [0, 1]; each network normalises them for its own encoder
Logits = Float[Tensor, "n c h w"]
Masks = Int64[Tensor, "n h w"]  # the class of each pixel, or IGNORE
IGNORE = 255  # a pixel without annotation: no loss that needs a label uses it


@dataclass(frozen=True)
class Batch:
    """The data of one step. The masks of `u` are not part of it, so that no method can use them."""

    x: Float[Tensor, "l 3 h w"]  # labelled images
    y: Int64[Tensor, "l h w"]  # their masks; pixels with IGNORE have no annotation
    u: Float[Tensor, "n 3 h w"]  # unlabelled images; n may be 0


class Method(nn.Module, ABC):
    """A semi-supervised segmentation method: its networks, views, loss terms and weights. It does not know the harness.

    Settings are keyword arguments of `__init__` after the `Arch`. Their defaults are the published values, except for
    the settings that `own_defaults` lists. A setting with a name that begins with `weight` scales an unsupervised term;
    if all of these are 0, unlabelled images change nothing.
    """

    title: ClassVar[str]  # the name in tables
    year: ClassVar[int]
    venue: ClassVar[str] = ""  # where it was published, for example "MICCAI"
    paper: ClassVar[str]  # a link
    uses_unlabelled: ClassVar[bool] = True
    strong_views: ClassVar[bool] = False  # whether it has a strong view, which is `arch.view(its own)`
    capturable: ClassVar[bool] = True  # in a CUDA graph; False if a step computes on the host
    variants: ClassVar[dict[str, dict[str, Any]]] = {}  # ablations: name -> keyword arguments of __init__
    own_defaults: ClassVar[tuple[str, ...]] = ()  # settings with a default that is not the published value
    tuned: ClassVar[dict[str, tuple[float, float]]] = {}  # further settings that tuning changes: name -> (low, high)

    @abstractmethod
    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        """The named, weighted terms of the loss, one of them "sup". Training minimises their sum.

        Args:
            batch: labelled images with masks, and unlabelled images.
            t: progress of training in [0, 1], a 0-dimensional tensor on the device of the batch, so that a whole step
                can be captured in a CUDA graph. Nothing in a step may wait for the value of a tensor.

        Returns:
            Name of a term -> 0-dimensional tensor.
        """

    @abstractmethod
    def predict(self, x: Images) -> Logits:
        """The logits of the trained method, at the size of `x`; `x` may have any size."""

    def after_step(self) -> None:
        """Called once after each optimiser step; a teacher is updated here."""


REGISTRY: dict[str, type[Method]] = {}


def register(method: type[Method]) -> type[Method]:
    """Registers a method under the name of its file: one file, one method.

    Raises:
        TypeError: if the file has registered another method already.
    """
    name = method.__module__.removeprefix("methods.")  # in another package: the module's full name
    if name in REGISTRY and REGISTRY[name].__qualname__ != method.__qualname__:
        raise TypeError(f"two methods are registered: {REGISTRY[name].__qualname__} and {method.__qualname__}")
    REGISTRY[name] = method
    return method
