"""A stand-in for a CUDA graph on any device: records the operations of some work and replays them on the same memory.

As with a CUDA graph, a replay knows nothing of Python: a number that was computed on the host stays as it was recorded,
what a replay reads is the memory that was read while recording, and its results overwrite those of the last replay.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Result = Any  # tensors, in any structure


class Tape(TorchDispatchMode):
    """Records every operation that is computed within its context.

    >>> x, tape = torch.ones(2), Tape()
    >>> with tape:
    ...     y = x + 1
    >>> _ = x.fill_(3)
    >>> tape.replay()
    >>> y
    tensor([4., 4.])
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Callable, tuple, dict[str, Any], Result]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if _depends_on_values(func, args):
            raise RuntimeError(f"'{func}' waits for the values of tensors")
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """Computes everything again, into the memory of the recorded results."""
        for func, args, kwargs, result in self.operations:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():  # neither a view nor in place
                    old.copy_(new)


def recorded(work: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """Records work as `benchmark.protocol.step.cuda_graph` captures it: returns its replay and its result.

    The work is done once before, because a first step may fill caches.

    Raises:
        RuntimeError: if the work needs the values of tensors on the host.
    """
    work()
    tape = Tape()
    with tape:
        result = work()
    return tape.replay, result


def _depends_on_values(func: Any, args: tuple) -> bool:
    """Whether an operation returns a number to the host, or tensors of a size that depends on values."""
    if func is torch.ops.aten.index.Tensor:
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
