"""The most that a device does: a large matrix product and convolution in the precision of a run, and a large copy."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.protocol.flops import autocast
from methods.base import Batch, Method

SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices
IMAGES = {"cpu": (4, 64, 64), "cuda": (32, 256, 128)}  # of the convolution: images, channels, pixels a side


COPIED = {"cpu": 2**26, "cuda": 2**30}  # bytes of the copy
WORDS = (
    10  # of 4 bytes for each parameter and step: read twice, gradient written and read, AdamW reads and writes three
)


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


def copying(device: torch.device) -> tuple[Callable[[], object], int]:
    """A call that copies a large tensor, and the bytes that it moves: each is read and written."""
    source = torch.zeros(COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return lambda: target.copy_(source), 2 * source.nbytes


def moved_bytes(method: Method, batch: Batch, precision: str) -> int:
    """Bytes that a training step has to move through memory at least.

    Activations that the backward pass needs are written once and read once; see `WORDS` for parameters, gradients and
    the state of the optimiser. What stays in a cache, and what the forward pass alone needs, is not counted.
    """
    probe = copy.deepcopy(method).train()
    learning = [p for p in probe.parameters() if p.requires_grad]
    known = {value.untyped_storage()._cdata for value in (*probe.parameters(), *probe.buffers())}
    saved: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in known:
            saved[storage._cdata] = max(saved.get(storage._cdata, 0), value.numel() * value.element_size())
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value), autocast(batch.x.device, precision):
        total = sum(probe.losses(batch, batch.x.new_ones(())).values())
    activations = sum(saved.values())
    del total
    return 2 * activations + 4 * WORDS * sum(p.numel() for p in learning)
