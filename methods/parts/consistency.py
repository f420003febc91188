"""Shared by consistency methods: input noise, passes with dropout, and perturbed features for some of the images."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from methods.base import Images, Logits
from methods.parts.nets import Features


def jitter(x: Images, std: float) -> Images:
    """x + clip(std · N(0, 1), ±2 std), for images in [0, 1], so that it does not depend on the encoder."""
    return x + (std * torch.randn_like(x)).clamp(-2 * std, 2 * std)


def probabilities(logits: Logits) -> Float[Tensor, "n c h w"]:
    """Softmax over classes, at least in single precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)


def images_from(features: Features, place: int) -> Features:
    """The features of the images from `place` on."""
    return [maps[place:] for maps in features]


def perturbed_from(features: Features, place: int, perturb: Callable[[Features], Features]) -> Features:
    """All features, with those of the images from `place` on perturbed, so that one pass is enough for all images.

    The random numbers do not depend on the images before `place`.
    """
    changed = perturb(images_from(features, place))
    return [torch.cat([maps[:place], new]) for maps, new in zip(features, changed, strict=True)]


@contextlib.contextmanager
def dropping(net: nn.Module) -> Iterator[None]:
    """Sets the dropout of a network in evaluation mode to training mode, so that its predictions are samples."""
    layers = [module for module in net.modules() if isinstance(module, _DropoutNd)]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()
