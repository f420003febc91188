"""The most that a device does: one large matrix product, and one large convolution, in a run's own precision."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmark.protocol.flops import autocast

SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices
IMAGES = {"cpu": (4, 64, 64), "cuda": (32, 256, 128)}  # of the convolution: images, channels, pixels a side


def tf32(device: torch.device) -> bool:
    """Whether convolutions of float32 round their factors to 10 bits, as a GPU does by default."""
    return device.type == "cuda" and torch.backends.cudnn.allow_tf32


def products(device: torch.device, precision: str) -> dict[str, tuple[Callable[[], None], int]]:
    """A call for each kind of product, and its operations. Matrices are multiplied as precisely as convolutions are."""
    side, (images, channels, pixels) = SIDE[device.type], IMAGES[device.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.rand(side, side, device=device, dtype=kind) for _ in range(2))
    x = torch.rand(images, channels, pixels, pixels, device=device, dtype=kind).contiguous(
        memory_format=torch.channels_last
    )
    weight = torch.rand(channels, channels, 3, 3, device=device, dtype=kind).contiguous(
        memory_format=torch.channels_last
    )

    @torch.no_grad()
    def matmul() -> None:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32(device)
        try:
            a @ b
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    @torch.no_grad()
    def convolution() -> None:
        with autocast(device, precision):
            F.conv2d(x, weight, padding=1)

    return {
        "matmul": (matmul, 2 * side**3),
        "convolution": (convolution, 2 * images * pixels**2 * 9 * channels**2),
    }
