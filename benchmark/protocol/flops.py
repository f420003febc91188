"""The cost of a training step of a method, counted: images through encoders, and floating-point operations."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from methods.base import Batch, Images, Method
from methods.parts.nets import Encoder


def count(method: Method, batch: Batch, precision: str = "float32") -> dict[str, Any]:
    """Images forwarded with and without gradient, FLOPs (forward and backward) and parameters of one step.

    Counted on a copy, so that the method does not change, and at the end of training (t = 1), when all terms are
    active. FLOPs are those of convolutions, matrix products and attention; `counted` is their fraction of all
    operations, see `Others`.
    """
    probe, end = copy.deepcopy(method).train(), batch.x.new_ones(())
    with _images(probe) as images, _operations() as operations, autocast(batch.x.device, precision):
        sum(probe.losses(batch, end).values()).backward()
    parameters = sum(p.numel() for p in method.parameters() if p.requires_grad)
    return {"images": images, **operations, "parameters": parameters}


@torch.no_grad()
def count_prediction(method: Method, x: Images, precision: str = "float32") -> dict[str, Any]:
    """FLOPs of predicting these images, and the counted fraction of all operations."""
    probe = copy.deepcopy(method).eval()
    with _operations() as operations, autocast(x.device, precision):
        probe.predict(x)
    return operations


@contextlib.contextmanager
def _operations() -> Iterator[dict[str, Any]]:
    """A dictionary that has `flops` and `counted` at the end of the context."""
    operations: dict[str, Any] = {}
    counter = FlopCounterMode(display=False, custom_mapping=_COUNTED)
    with Others(counter) as others, counter:  # `Others` sees the parts into which the counter decomposes operations
        yield operations
    operations["flops"] = counter.get_total_flops()
    operations["counted"] = operations["flops"] / max(1, operations["flops"] + others.elements)


class Others(TorchDispatchMode):
    """Counts operations without a formula: one for each element of the largest floating-point tensor involved.

    Copies count, so the counted fraction is rather too low; views and empty tensors do not count.
    """

    def __init__(self, counter: FlopCounterMode):
        super().__init__()
        self.counter, self.elements = counter, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket
        if name not in self.counter.flop_registry and not func.is_view and "empty" not in str(name):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.elements += max((t.numel() for t in tensors if t.is_floating_point()), default=0)
        return out


def _convolution_backward(
    grad: torch.Size, x: torch.Size, weight: torch.Size, bias, stride, padding, dilation, transposed: bool,
    output_padding, groups, mask: list[bool], **_,
) -> int:  # fmt: skip
    """As many as the forward pass for each requested gradient; the formula of torch ignores groups."""
    return conv_flop_count(x, weight, grad, transposed) * (mask[0] + mask[1])


_COUNTED = {torch.ops.aten.convolution_backward: _convolution_backward}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which networks compute at a precision: "float32" or "bf16"."""
    kind = "cpu" if device.type == "meta" else device.type  # also for tensors without values
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16")


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
