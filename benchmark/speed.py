"""How long a training step takes, measured side by side so that the ratios mean something."""

import time
from collections.abc import Mapping

import torch

from benchmark.cost import autocast
from methods.base import Batch, Method

WARMUP = 2  # steps before the clock runs


def step_seconds(
    methods: Mapping[str, Method], batch: Batch, *, repeats: int = 7, precision: str = "float32"
) -> dict[str, list[float]]:
    """Seconds of each of `repeats` whole steps (losses, backward, AdamW, after_step) of several methods.

    The methods take turns, so that whatever else the machine does falls on all of them alike.
    """
    device = batch.x.device
    optimisers = {name: torch.optim.AdamW(_learning(method), fused=True) for name, method in methods.items()}
    times: dict[str, list[float]] = {name: [] for name in methods}
    for repeat in range(WARMUP + repeats):
        for name, method in methods.items():
            _wait(device)
            start = time.perf_counter()
            with autocast(device, precision):
                terms = method.train().losses(batch, 1.0)
            sum(terms.values()).backward()
            optimisers[name].step()
            optimisers[name].zero_grad()
            method.after_step()
            _wait(device)
            if repeat >= WARMUP:
                times[name].append(time.perf_counter() - start)
    return times


def _learning(method: Method) -> list[torch.nn.Parameter]:
    return [parameter for parameter in method.parameters() if parameter.requires_grad]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
