"""What one training step of a method costs, counted: images through encoders, and floating-point operations."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from methods.base import Batch, Method
from methods.parts.nets import Encoder


def count(method: Method, batch: Batch, precision: str = "float32") -> dict[str, Any]:
    """Images forwarded with and without gradient, FLOPs (forward and backward) and parameters of one step.

    Counted on a copy, so the method is left as it was, and at the end of training's ramp (t = 1), so that a method
    that starts cheaper is charged its full price. FLOPs are those of convolutions and matrix products.
    """
    probe = copy.deepcopy(method).train()
    with (
        _images(probe) as images,
        FlopCounterMode(display=False, custom_mapping=_COUNTED) as counter,
        autocast(batch.x.device, precision),
    ):
        sum(probe.losses(batch, 1.0).values()).backward()
    parameters = sum(p.numel() for p in method.parameters() if p.requires_grad)
    return {"images": images, "flops": counter.get_total_flops(), "parameters": parameters}


def _convolution_backward(
    grad: torch.Size, x: torch.Size, weight: torch.Size, bias, stride, padding, dilation, transposed: bool,
    output_padding, groups, mask: list[bool], **_,
) -> int:  # fmt: skip
    """As much again as the forward pass for each gradient that is asked for; torch forgets the groups here."""
    return conv_flop_count(x, weight, grad, transposed) * (mask[0] + mask[1])


_COUNTED = {torch.ops.aten.convolution_backward: _convolution_backward}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which networks compute at a precision: "float32" or "bf16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextlib.contextmanager
def _images(method: Method) -> Iterator[dict[str, int]]:
    counted = {"with_gradient": 0, "without_gradient": 0}

    def add(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counted["with_gradient" if torch.is_grad_enabled() else "without_gradient"] += len(inputs[0])

    hooks = [m.register_forward_pre_hook(add) for m in method.modules() if isinstance(m, Encoder)]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()
