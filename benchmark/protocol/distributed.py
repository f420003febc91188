"""One run in several processes: each passes its shard of the images through the networks, and all know all results.

`torchrun` starts the processes. An encoder or decoder that is given a batch takes this process's shard of it, and its
output is gathered again, so that a method sees whole batches and its losses are those of one process, whatever they
compare across images. Random numbers are those of the whole batch, too. So a step is that of one process except for
the order of additions, and the number of processes decides no result. Only the networks are sharded: losses, views and
the cutting of batches are done by every process for itself.
"""

import atexit
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.base import Method
from methods.parts.nets import DeepLabDecoder, DptDecoder, Encoder, UnetDecoder

NETWORKS = Encoder, UnetDecoder, DeepLabDecoder, DptDecoder
PATIENCE = timedelta(days=7)  # another run may hold the claim to this one


class Team:
    """The processes of a run, as one of them sees them. If there is only one, everything here does nothing."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size
        self.whole = 0  # images in the batch that is on its way through a network, while this process has a shard of it
        self.sharing = size > 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """The value of the main process."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values)
        return values[0]

    def shard(self, things: Sequence[Any]) -> Sequence[Any]:
        """This process's part of a list."""
        return things[self.rank :: self.size]

    def gather(self, own: list[Any], count: int) -> list[Any]:
        """The whole list of `count` things again, from the shards of all processes."""
        shards: list[Any] = [own]
        if self.size > 1:
            shards = [None] * self.size
            distributed.all_gather_object(shards, own)
        return [shards[i % self.size][i // self.size] for i in range(count)]

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it, networks are not sharded: each process passes whole batches of its own."""
        before, self.sharing = self.sharing, False
        try:
            yield
        finally:
            self.sharing = before

    def attach(self, method: Method, optimiser: torch.optim.Optimizer) -> None:
        """Shards the networks of a method from now on; the optimiser steps by the gradients of all processes.

        Raises:
            ValueError: if a network has live batch norm, which mixes the images of a batch.
        """
        if self.size == 1:
            return
        networks = [module for module in method.modules() if isinstance(module, NETWORKS)]
        for network in networks:
            live = not getattr(network, "keeps_statistics", False)
            if live and any(isinstance(module, _BatchNorm) for module in network.modules()):
                raise ValueError("Live batch norm mixes the images of a batch; give --norm frozen, or one process.")
            network.register_forward_pre_hook(self._enter)
            network.register_forward_hook(self._leave)
            for parent in list(network.modules()):
                for name, child in parent.named_children():
                    if isinstance(child, nn.Dropout2d):
                        setattr(parent, name, _Dropout(child, self))
            for layer in network.modules():
                layer.__dict__["gather"] = self._gather_output  # see `outputs_of` in methods.parts.nets
        shared = {p for network in networks for p in network.parameters()}
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        optimiser.register_step_pre_hook(lambda *_: self._all_reduce(parameters, shared))

    def _enter(self, network: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        images = given[0] if isinstance(given[0], Tensor) else given[0][0]
        if not self.sharing or not len(images):
            return None
        self.whole = len(images)
        return _each(given, lambda x: _Scatter.apply(x, self))

    def _leave(self, network: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
        if not self.whole:
            return None
        whole, self.whole = self.whole, 0
        return _each(output, lambda x: _Gather.apply(x, self, whole))

    def _gather_output(self, output: Tensor) -> Tensor:
        """The output of a layer inside a network, for the whole batch."""
        return _Gather.apply(output, self, self.whole) if self.whole else output

    def rows(self, whole: int, device: torch.device) -> Tensor:
        """Which images of a batch are this process's; the last one repeatedly if shards are not equally large."""
        share = -(-whole // self.size)
        return torch.arange(self.rank * share, (self.rank + 1) * share, device=device).clamp_(max=whole - 1)

    def all_gather(self, own: Tensor, whole: int) -> Tensor:
        """The images of all processes, in the memory format of this process's."""
        last = own.ndim == 4 and own.is_contiguous(memory_format=torch.channels_last)
        flat = (own.permute(0, 2, 3, 1) if last else own).contiguous()
        gathered = flat.new_empty(self.size * len(flat), *flat.shape[1:])
        distributed.all_gather_into_tensor(gathered, flat)
        return (gathered.permute(0, 3, 1, 2) if last else gathered)[:whole]

    def _all_reduce(self, parameters: list[nn.Parameter], shared: set[nn.Parameter]) -> None:
        """Adds gradients up. Those of what every process computes whole are equal, so they are divided before."""
        gradients = [(p, p.grad) for p in parameters if p.grad is not None]
        flat = torch.cat([(g if p in shared else g / self.size).flatten() for p, g in gradients])
        distributed.all_reduce(flat)
        for (_, gradient), total in zip(gradients, flat.split([g.numel() for _, g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))


def by_torchrun() -> bool:
    """Whether torchrun started this process. Without it RANK, WORLD_SIZE and LOCAL_RANK, which other programs leave in
    the environment, mean nothing here."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_main() -> bool:
    """Whether this process is the one that prints: the first of those that torchrun started, or the only one."""
    return not by_torchrun() or os.environ.get("RANK", "0") == "0"


def join(device: torch.device) -> Team:
    """The processes that torchrun started for this run; this one alone if it did not."""
    size = int(os.environ.get("WORLD_SIZE", 1)) if by_torchrun() else 1
    if size > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return Team(distributed.get_rank(), size) if size > 1 else Team()


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process, if there are several processes.

    Raises:
        ValueError: if several processes are to share the one GPU that was named.
    """
    if device.type != "cuda" or not by_torchrun() or "LOCAL_RANK" not in os.environ:
        return device
    if device.index is not None and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(f"Several processes cannot share {device}; give --device cuda, and each takes its own.")
    if device.index is not None:
        return device
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


class _Scatter(torch.autograd.Function):
    """This process's images of a batch; the gradients of all images come back from all processes."""

    @staticmethod
    def forward(ctx, x: Tensor, team: Team) -> Tensor:
        ctx.team, ctx.whole = team, len(x)
        return x[team.rows(len(x), x.device)]  # an index keeps the memory format

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.team.all_gather(gradient, ctx.whole), None


class _Gather(torch.autograd.Function):
    """The images of all processes; this process's gradient is that of its own."""

    @staticmethod
    def forward(ctx, x: Tensor, team: Team, whole: int) -> Tensor:
        ctx.team = team
        return team.all_gather(x, whole)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        team, whole = ctx.team, len(gradient)
        rows = team.rows(whole, gradient.device)
        own = gradient[rows]
        again = torch.arange(len(rows), device=rows.device) + team.rank * len(rows) >= whole
        return own.masked_fill_(again.view(-1, *[1] * (own.ndim - 1)), 0), None, None


class _Dropout(nn.Dropout2d):
    """Draws the channels of the whole batch, and drops those of this process's images."""

    def __init__(self, like: nn.Dropout2d, team: Team):
        super().__init__(like.p)
        self.team = team
        self.train(like.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.team.whole or not self.training:
            return super().forward(x)
        kept = F.dropout2d(x.new_ones(self.team.whole, x.shape[1], 1, 1), self.p)
        return x * kept[self.team.rows(self.team.whole, x.device)]


def _each(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Tensors changed, in tuples and lists as deep as they are."""
    if isinstance(values, Tensor):
        return change(values)
    return type(values)(_each(value, change) for value in values)
