"""Perturbations of features, for the inputs of auxiliary decoders.

A perturbation takes the features of an encoder and returns new ones. The first feature, the image, stays unchanged,
because decoders only read its size. Each image has its own random numbers from torch's global generator and does not
depend on other images. Gradients reach the encoder through the remaining features. A strength of 0 changes nothing.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Masks
from methods.parts.nets import Features
from methods.parts.pseudo import without_dropout
from methods.parts.views import span


def dropout(features: Features, *, p: float = 0.5) -> Features:
    """Sets whole channels to zero with probability p, separately for each image, and divides the others by 1 − p.

    It is active in evaluation mode, too.
    """
    return _deep(features, lambda x: F.dropout2d(x, p)) if p else features


def noise(features: Features, *, amount: float = 0.3, p: float = 1.0) -> Features:
    """x + x · U(−amount, amount), drawn for every element of every image; images are chosen with probability p.

    CCT's release draws one noise tensor for all images of a batch.
    """
    if not amount or not p:
        return features
    chosen = _chosen(features, p)
    return _deep(features, lambda x: x * (1 + torch.empty_like(x).uniform_(-amount, amount) * chosen))


def drop_active(features: Features, *, low: float = 0.7, high: float = 0.9, p: float = 1.0) -> Features:
    """CCT's FeatureDrop: zero at the most active places, where the mean over channels is at least γ of its maximum.

    γ ~ U(low, high) is drawn for every image and map; images are chosen with probability p. The mean is that of
    magnitudes, which is the same for features after a ReLU, and is also valid for encoders with negative features.
    """
    if not p:
        return features
    spared = ~_chosen(features, p)

    def change(x: Tensor) -> Tensor:
        activity = x.detach().abs().mean(1, keepdim=True, dtype=torch.float32)
        share = torch.empty(len(x), 1, 1, 1, device=x.device).uniform_(low, high)
        return x * ((activity < share * activity.amax((2, 3), keepdim=True)) | spared)

    return _deep(features, change)


def complementary_dropout(features: Features, *, share: float = 0.5) -> Features:
    """UniMatch V2's dropout for two views of the same images, stacked: (2n, …) with view 1 of all images first.

    For a fraction `share` of the images, drawn in each call, the channels of view 1 are multiplied by m, which is 0 or
    2 with equal probability, and those of view 2 by 2 − m. So a channel that one view loses is doubled in the other.
    The other images stay unchanged.
    """
    stacked = len(features[0])
    if stacked % 2:
        raise ValueError(
            f"{stacked} feature maps are not two views of the same images; concatenate both views, view 1 first."
        )
    if not share:
        return features
    n, device = stacked // 2, features[0].device
    spared = torch.rand(n, device=device).argsort() >= round(share * n)

    def change(x: Tensor) -> Tensor:
        m = 2.0 * (torch.rand(n, x.shape[1], device=device) < 0.5)
        m = torch.where(spared[:, None], 1.0, m)
        return x * torch.cat([m, 2 - m]).to(x.dtype)[..., None, None]

    return _deep(features, change)


def hide_objects(features: Features, labels: Masks) -> Features:
    """CCT's object mask: zero where a class other than 0 is predicted, so that only the context remains."""
    return _zeroed(features, labels > 0)


def hide_context(features: Features, labels: Masks) -> Features:
    """CCT's context mask: zero where class 0, the background, is predicted, so that only the objects remain."""
    return _zeroed(features, labels == 0)


def cut_out(features: Features, labels: Masks, *, side: float = 0.4) -> Features:
    """CCT's guided cutout: zero in a box within the predicted objects, with `side` of their height and width.

    One box for each image, at a random place in the bounding box of all pixels with a class other than 0; no box if
    there are none. CCT's release uses the bounding box of each connected object, computed on the CPU.
    """
    if not side:
        return features
    inside = []
    for lines in ((labels > 0).any(2), (labels > 0).any(1)):
        size, seen = lines.shape[1], lines.long()
        first, behind = seen.argmax(1), size - seen.flip(1).argmax(1)
        extent = (behind - first) * lines.any(1)
        pixels = (side * extent).ceil()
        start = first + (torch.rand(len(lines), device=lines.device) * (extent - pixels + 1)).floor()
        inside.append(span(start, pixels, size))
    rows, columns = inside
    return _zeroed(features, rows[..., None] & columns[..., None, :])


def vat(features: Features, decoder: nn.Module, *, eps: float = 0.02, xi: float = 1e-3) -> Features:
    """Features moved by eps in the direction that changes the prediction most (VAT, Miyato et al., TPAMI 2019).

    One power iteration: d is a random unit vector, g the gradient of Σ KL(p(x) ‖ p(x + xi · |x| · d)) with respect to
    d, and the result x + eps · |x| · g / |g|; norms are over all maps of an image together. Lengths are relative to
    |x|, because |x| differs between encoders; CCT's eps of 2 and xi of 1e-6 are absolute and do not change large
    features.

    The decoder predicts in evaluation mode and at least in single precision. Its mode, its statistics and the gradients
    of its parameters stay unchanged.
    """
    if not eps:
        return features
    image, *maps = [x.detach().to(torch.promote_types(x.dtype, torch.float32)) for x in features]
    with without_dropout(decoder), torch.autocast(image.device.type, enabled=False), torch.enable_grad():
        with torch.no_grad():
            log_p = decoder([image, *maps]).log_softmax(1)
        size = _norm(maps)
        probes = [(d * xi * size).requires_grad_() for d in _unit([torch.randn_like(x) for x in maps])]
        moved = [image, *(x + d for x, d in zip(maps, probes, strict=True))]
        divergence = F.kl_div(decoder(moved).log_softmax(1), log_p, reduction="sum", log_target=True)
        directions = _unit(torch.autograd.grad(divergence, probes))
    return [features[0], *(x + (eps * size * d).to(x.dtype) for x, d in zip(features[1:], directions, strict=True))]


def _deep(features: Features, change: Callable[[Tensor], Tensor]) -> Features:
    return [features[0], *map(change, features[1:])]


def _chosen(features: Features, p: float) -> Bool[Tensor, "n 1 1 1"]:
    return torch.rand(len(features[0]), 1, 1, 1, device=features[0].device) < p


def _zeroed(features: Features, mask: Bool[Tensor, "n h w"]) -> Features:
    """Each map, with zeros where the mask is True at the centre of the pixels that a feature spans."""

    def change(x: Tensor) -> Tensor:
        rows, columns = (
            ((torch.arange(cells, device=x.device) + 0.5) * pixels / cells).long()
            for cells, pixels in zip(x.shape[2:], mask.shape[1:], strict=True)
        )
        return x * ~mask[:, rows[:, None], columns].unsqueeze(1)

    return _deep(features, change)


def _norm(maps: Sequence[Tensor]) -> Float[Tensor, "n 1 1 1"]:
    """The Euclidean norm of all maps of an image together."""
    return sum(x.square().sum((1, 2, 3), keepdim=True) for x in maps).sqrt()


def _unit(maps: Sequence[Tensor]) -> list[Tensor]:
    """The maps divided by their norm; zero stays zero."""
    size = _norm(maps).clamp_min(torch.finfo(maps[0].dtype).tiny)
    return [x / size for x in maps]
