"""Places that look alike pass on what they say: correlation of features (CorrMatch, Sun et al., CVPR 2024)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from methods.base import Logits, Masks
from methods.parts.losses import at_least_single
from methods.parts.pseudo import Kept

WIDTH = 256  # channels of q and k
Alike = Float[Tensor, "n places places"]


class Correlation(nn.Module):
    """A_ij = softmax over places j of q_i·k_j / √256; q and k are linear in one convolution of the features.

    A feature spans `stride` pixels. Features and logits are pooled to at most `grid` × `grid` places.
    """

    def __init__(self, channels: int, stride: int, grid: int):
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(channels, WIDTH, 3, padding=1), nn.GroupNorm(4, WIDTH), nn.ReLU())
        self.query, self.key = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)
        self.stride, self.grid = stride, grid

    def forward(self, feature: Float[Tensor, "n f h/s w/s"], logits: Logits) -> tuple[Alike, Logits]:
        """How alike places are (rows sum to 1), and each pixel's logits as the mean of those of the places like it."""
        cell, f = self.cell(logits), self.project(feature)
        z = F.avg_pool2d(logits.detach(), cell, ceil_mode=True)
        f = F.avg_pool2d(f, cell // self.stride, ceil_mode=True)[..., : z.shape[2], : z.shape[3]]
        q, k = self.query(f).flatten(2), self.key(f).flatten(2)
        alike = (q.mT @ k / WIDTH**0.5).softmax(2)
        spread = (alike @ z.flatten(2).mT).mT.unflatten(2, z.shape[2:])
        enlarged = F.interpolate(spread, scale_factor=cell, mode="bilinear")
        return alike, enlarged[..., : logits.shape[2], : logits.shape[3]]

    def cell(self, logits: Logits) -> int:
        """The side of a place, in pixels."""
        return self.stride * -(-max(logits.shape[2:]) // (self.stride * self.grid))


def propagated(
    y: Masks, sure: Kept, of_class: Logits, alike: Alike, cell: int, count: int, threshold: Float[Tensor, ""]
) -> tuple[Masks, Kept]:
    """Labels and which are sure, once each of `count` random rows of A that is a trusted region is all of one class.

    `of_class` is 1 where y is the class, and 0 elsewhere. Shares are compared with the threshold, so they are added up
    in single precision: in bf16 sums over many places are off by more than the threshold is from 1.
    """
    height, width = y.shape[1:]
    surely = F.avg_pool2d(of_class * sure.unsqueeze(1), cell, ceil_mode=True)  # shares of a place's pixels
    row = torch.randint(alike.shape[1], (len(y), count), device=y.device)
    with torch.autocast("cuda" if y.is_cuda else "cpu", enabled=False):
        rows = at_least_single(alike).gather(1, row[..., None].expand(-1, -1, alike.shape[2]))
        covers, winner = regions(rows, at_least_single(surely), threshold)
    covers, winner = (
        v.unflatten(1, surely.shape[2:]).repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, :height, :width]
        for v in (covers, winner)
    )
    return torch.where(covers, winner, y), sure | covers


def regions(
    rows: Float[Tensor, "n r places"], surely: Logits, threshold: Float[Tensor, ""]
) -> tuple[Bool[Tensor, "n places"], Masks]:
    """Which places a trusted region covers, and the class that most of those regions have."""
    low, high = rows.aminmax(dim=2, keepdim=True)
    inside = (rows - low > (high - low) / 2).to(surely.dtype)
    share = inside @ surely.flatten(2).mT / inside.sum(2, keepdim=True).clamp_min(1)  # (n, r, c)
    known, most = share.sum(2), share.amax(2)
    trusted = (known > threshold) & (most > threshold * known)
    votes = (share == share.amax(2, keepdim=True)) & trusted.unsqueeze(2)
    covered = votes.to(surely.dtype).mT @ inside  # (n, c, places)
    return covered.amax(1) > 0, covered.argmax(1)
