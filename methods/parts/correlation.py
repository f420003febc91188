"""Propagation of labels between places with similar features (CorrMatch, Sun et al., CVPR 2024)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from methods.base import Logits, Masks
from methods.parts.losses import at_least_single, one_hot
from methods.parts.pseudo import Kept

WIDTH = 256  # channels of q and k
Correlations = Float[Tensor, "n places places"]


class Correlation(nn.Module):
    """A_ij = softmax over places j of q_i·k_j / √256; q and k are linear in one convolution of the features.

    A feature spans `stride` pixels. Features and logits are pooled to at most `grid` × `grid` places.
    """

    def __init__(self, channels: int, stride: int, grid: int):
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(channels, WIDTH, 3, padding=1), nn.GroupNorm(4, WIDTH), nn.ReLU())
        self.query, self.key = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)
        self.stride, self.grid = stride, grid

    def forward(self, feature: Float[Tensor, "n f h/s w/s"], logits: Logits) -> tuple[Correlations, Logits]:
        """The correlation of places (rows sum to 1), and the mean of all places' logits with a place's row as weights.

        The mean logits have the size of the image.
        """
        cell, f = self.cell(logits), self.project(feature)
        z = F.avg_pool2d(logits.detach(), cell, ceil_mode=True)
        f = F.avg_pool2d(f, cell // self.stride, ceil_mode=True)[..., : z.shape[2], : z.shape[3]]
        q, k = self.query(f).flatten(2), self.key(f).flatten(2)
        correlation = (q.mT @ k / WIDTH**0.5).softmax(2)
        spread = (correlation @ z.flatten(2).mT).mT.unflatten(2, z.shape[2:])
        enlarged = F.interpolate(spread, scale_factor=cell, mode="bilinear")
        return correlation, enlarged[..., : logits.shape[2], : logits.shape[3]]

    def cell(self, logits: Logits) -> int:
        """The side length of a place, in pixels."""
        return self.stride * -(-max(logits.shape[2:]) // (self.stride * self.grid))


def propagated(
    y: Masks,
    kept: Kept,
    free: Kept,
    classes: int,
    correlation: Correlations,
    cell: int,
    share: float,
    threshold: Float[Tensor, ""],
) -> tuple[Masks, Kept]:
    """Labels and kept pixels after all pixels of each trusted region have got one class.

    Args:
        y: (n, h, w) labels.
        kept: (n, h, w), True where the label is confident.
        free: (n, h, w), True where regions count and change pixels; False in a pasted box, which stays as it is.
        classes: number of classes.
        correlation: (n, places, places), the rows of A.
        cell: side length of a place in pixels.
        share: number of rows of A that are drawn, as a fraction of the places; with replacement, the same rows for all
            images.
        threshold: at least this fraction of a region must be confident, and of its confident pixels more than this
            fraction must have one class.

    Pixels are counted as whole numbers in single precision, so that equality is exact under autocast, too.
    """
    height, width = y.shape[1:]
    count = max(1, round(share * correlation.shape[1]))
    rows = correlation[:, torch.randint(correlation.shape[1], (count,), device=y.device)]
    with torch.autocast("cuda" if y.is_cuda else "cpu", enabled=False):
        sizes = _counts(free.unsqueeze(1), cell)
        votes = _counts(one_hot(y, classes) & (kept & free).unsqueeze(1), cell)
        covers, winner = regions(at_least_single(rows), votes, sizes, threshold)
    covers, winner = (
        v.unflatten(1, sizes.shape[2:]).repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, :height, :width]
        for v in (covers, winner)
    )
    covers = covers & free
    return torch.where(covers, winner, y), kept | covers


def regions(
    rows: Float[Tensor, "n r places"], votes: Logits, sizes: Float[Tensor, "n 1 h w"], threshold: Float[Tensor, ""]
) -> tuple[Bool[Tensor, "n places"], Masks]:
    """Which places a trusted region covers, and the class that most of those regions have.

    The region of a row is where the row, scaled to [0, 1], is above ½. The region has Σ `sizes` pixels; of these,
    Σ `votes` (n, c, h, w) are confident pixels of each class. It is trusted if at least a fraction `threshold` of its
    pixels is confident, and more than a fraction `threshold` of the confident pixels has one class.
    """
    low, high = rows.aminmax(dim=2, keepdim=True)
    inside = (rows - low > (high - low) / 2).to(votes.dtype)
    of_class, size = inside @ votes.flatten(2).mT, inside @ sizes.flatten(2).mT  # (n, r, c), (n, r, 1)
    known, most = of_class.sum(2, keepdim=True), of_class.amax(2, keepdim=True)
    trusted = (known > 0) & (known >= threshold * size) & (most > threshold * known)
    chosen = (of_class == most) & trusted
    covered = chosen.to(votes.dtype).mT @ inside  # (n, c, places)
    return covered.amax(1) > 0, covered.argmax(1)


def _counts(pixels: Bool[Tensor, "n c h w"], cell: int) -> Float[Tensor, "n c rows columns"]:
    """The number of True pixels in each place."""
    return F.avg_pool2d(pixels.float(), cell, ceil_mode=True, divisor_override=1)
