"""Attention that rescales features: by channel, by place, or both (CBAM, Woo et al., ECCV 2018).

Each module is built for a number of channels and keeps the shape (n, channels, h, w).
"""

import torch
from torch import Tensor, nn


class Channel(nn.Module):
    """f · σ(MLP(mean over places) + MLP(maximum over places)), one MLP for both, without biases.

    Its hidden layer has channels / ratio units, but at least 8, because one or two units often stay at zero after the
    ReLU.
    """

    def __init__(self, channels: int, ratio: int = 16):
        super().__init__()
        hidden = max(channels // ratio, 8)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )

    def forward(self, f: Tensor) -> Tensor:
        mean, maximum = f.mean((2, 3), keepdim=True), f.amax((2, 3), keepdim=True)
        return f * (self.mlp(mean) + self.mlp(maximum)).sigmoid()


class Spatial(nn.Module):
    """f · σ(conv([mean over channels; maximum over channels])), without a bias, for any number of channels."""

    def __init__(self, channels: int, kernel: int = 7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, f: Tensor) -> Tensor:
        return f * self.conv(torch.cat([f.mean(1, keepdim=True), f.amax(1, keepdim=True)], 1)).sigmoid()


class ChannelSpatial(nn.Sequential):
    """Attention by channel, then by place."""

    def __init__(self, channels: int, ratio: int = 16, kernel: int = 7):
        super().__init__(Channel(channels, ratio), Spatial(channels, kernel))
