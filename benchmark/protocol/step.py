"""One training step as a unit, from the batch to the updated weights; on a GPU it is captured once and replayed."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from benchmark.protocol.flops import autocast
from benchmark.runs import Run
from methods.base import Batch, Method

WARM_UPS = 2  # steps before the one that is checked, so that lazy work of a first step is not captured

Work = Callable[[], Tensor]
# Records some work and returns what replays it, and the tensor that each replay overwrites.
Capture = Callable[[Work, torch.device], tuple[Callable[[], None], Tensor]]


def optimiser(method: Method, run: Run) -> torch.optim.Optimizer:
    """The optimiser of a run, with one fused kernel for all parameters."""
    parameters = [p for p in method.parameters() if p.requires_grad]
    if run.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, run.lr, momentum=0.9, nesterov=True, weight_decay=run.weight_decay, fused=True
        )
    capturable = parameters[0].device.type == "cuda"
    return torch.optim.AdamW(parameters, run.lr, weight_decay=run.weight_decay, fused=True, capturable=capturable)


def learning_rate(run: Run, step: int) -> float:
    """The learning rate at a step, by the schedule of the run."""
    left = 1 - step / run.steps
    return run.lr * {"constant": 1.0, "poly": left**0.9, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}[run.schedule]


def take_step(
    method: Method, optimiser: torch.optim.Optimizer, batch: Batch, t: Tensor, precision: str
) -> dict[str, Tensor]:
    """One step, from the batch to the updated weights; returns the terms of the loss."""
    with autocast(batch.x.device, precision):
        terms = method.losses(batch, t)
    functools.reduce(torch.add, terms.values()).backward()
    optimiser.step()
    optimiser.zero_grad()
    method.after_step()
    return terms


class Step:
    """Takes the steps of a run, one operation after the other.

    What differs from step to step (batch, progress, learning rate) are tensors on the device, so that the same step can
    be captured.
    """

    execution: Literal["eager", "captured"] = "eager"

    def __init__(self, method: Method, optimiser: torch.optim.Optimizer, precision: str):
        self.method, self.optimiser, self.precision = method, optimiser, precision
        self.names: list[str] = []  # of the terms, known after the first step
        device = next(method.parameters()).device
        kind = torch.float32 if device.type == "cuda" else torch.float64  # as the fused kernels of each device read it
        self.lr = torch.zeros((), dtype=kind, device=device)
        for group in optimiser.param_groups:
            group["lr"] = self.lr

    def __call__(self, batch: Batch, t: float, lr: float) -> Tensor:
        """Takes a step.

        Args:
            batch: on the device of the method.
            t: progress of training in [0, 1].
            lr: learning rate.

        Returns:
            The values of the terms, in the order of `names`.
        """
        self.lr.fill_(lr)
        return self._take(batch, torch.full((), t, device=batch.x.device))

    def _take(self, batch: Batch, t: Tensor) -> Tensor:
        terms = take_step(self.method, self.optimiser, batch, t, self.precision)
        self.names = [*terms]
        return torch.stack([term.detach().float() for term in terms.values()])


class CapturedStep(Step):
    """Takes the steps of a run by replaying one that was captured.

    To capture a step, it is taken a few times. Weights, buffers and the state of the optimiser are restored afterwards,
    in place, because the captured step reads and writes this memory.
    """

    execution = "captured"

    def __init__(self, eager: Step, batch: Batch, capture: Capture):
        super().__init__(eager.method, eager.optimiser, eager.precision)
        self.batch = Batch(batch.x.clone(), batch.y.clone(), batch.u.clone())
        self.t = torch.zeros((), device=batch.x.device)
        self.method.train()
        with unchanged(self.method, self.optimiser):
            self.replay, self.values = capture(lambda: self._take(self.batch, self.t), batch.x.device)

    def __call__(self, batch: Batch, t: float, lr: float) -> Tensor:
        self.batch.x.copy_(batch.x)
        self.batch.y.copy_(batch.y)
        self.batch.u.copy_(batch.u)
        self.t.fill_(t)
        self.lr.fill_(lr)
        self.replay()
        return self.values.clone()  # the next replay overwrites them


def captured(step: Step, batch: Batch, obstacle: str = "") -> Step:
    """The step as a captured one, if this kind of device can capture it.

    Args:
        step: an eager step.
        batch: any batch of the run; all of them have its shapes.
        obstacle: why the step cannot be captured, if that is known.

    Returns:
        The captured step; or the eager one, after a line that says why.
    """
    capture = CAPTURES.get(batch.x.device.type)
    if capture is None:
        return step
    if not step.method.capturable:
        obstacle = f"{step.method.title} computes on the host"
    if not obstacle:
        try:
            return CapturedStep(step, batch, capture)
        except RuntimeError as error:  # of CUDA, about what cannot be captured
            obstacle = str(error).strip().partition("\n")[0] or type(error).__name__
    print(f"Steps are not captured, so training is slower: {obstacle.rstrip('.')}.", flush=True)
    return step


def cuda_graph(work: Work, device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """Captures work in a CUDA graph.

    The work is done a few times first, so that kernels are loaded and the optimiser has its state. The last time, it
    must not wait for the device; this is an error here, before a capture that would fail leaves something behind.

    Raises:
        RuntimeError: if the work cannot be captured.
    """
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                work()
            with _waiting_is_an_error():
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                values = work()
        except BaseException:
            graph.reset()  # otherwise the random number generator waits for the end of the capture
            raise
    return graph.replay, values


CAPTURES: dict[str, Capture] = {"cuda": cuda_graph}  # by kind of device


@contextlib.contextmanager
def unchanged(method: Method, optimiser: torch.optim.Optimizer) -> Iterator[None]:
    """Restores weights, buffers, optimiser and random numbers at the end: steps inside leave no trace.

    State that the optimiser makes inside is set to zero, which is where it starts.
    """
    tensors = [*method.parameters(), *method.buffers()]
    before = [value.detach().clone() for value in tensors]
    moments = {place: value.clone() for place, value in _moments(optimiser).items()}
    device = tensors[0].device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        optimiser.zero_grad()
        with torch.no_grad():
            for value, old in zip(tensors, before, strict=True):
                value.copy_(old)
            for place, value in _moments(optimiser).items():
                value.copy_(moments[place]) if place in moments else value.zero_()


def _moments(optimiser: torch.optim.Optimizer) -> dict[tuple[Tensor, str], Tensor]:
    """The tensors of an optimiser's state, by parameter and name."""
    return {
        (p, name): value
        for p, state in optimiser.state.items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


@contextlib.contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
