"""Distances of pixels to the borders of classes, exact and on the device."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from methods.base import Masks


def signed_distances(y: Masks, classes: int) -> Float[Tensor, "n c-1 h w"]:
    """The signed distance to the border of each class except 0: positive outside, negative inside.

    Distances outside and inside are divided by the largest one there.
    """
    inside = y.unsqueeze(1) == torch.arange(1, classes, device=y.device).view(1, -1, 1, 1)
    far = distance_to(torch.stack([inside, ~inside]))
    outer, inner = far / far.amax((-2, -1), keepdim=True).clamp_min(1)
    return outer - inner


def distance_to(mask: Bool[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    """Euclidean distance in pixels to the nearest True pixel; if there is none, a number above all distances."""
    height, width = mask.shape[-2:]
    row, column = (torch.arange(size, device=mask.device, dtype=torch.float32) for size in (height, width))
    none, row = float(height + width), row[:, None]
    above = torch.where(mask, row, -none).cummax(-2).values
    below = torch.where(mask, row, 2 * none).flip(-2).cummin(-2).values.flip(-2)
    vertical = torch.minimum(row - above, below - row).clamp_max(none).square()
    nearest, from_here = torch.full_like(vertical, none**2), torch.empty_like(vertical)
    for place in range(width):
        torch.add(vertical[..., place : place + 1], (column - place).square(), out=from_here)
        torch.minimum(nearest, from_here, out=nearest)
    return nearest.sqrt_()
