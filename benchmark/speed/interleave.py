"""Several calls take turns at the same clock, so that whatever else the machine does falls on all of them alike."""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

WARM_CALLS = 3  # before the clock runs, at least
WARM_S = {"cpu": 0.0, "cuda": 1.0}  # of further calls, at most, until they take as long as each other
STABLE = 0.1  # relative difference between calls that take as long as each other
STEPS = {"cpu": 1, "cuda": 10}  # calls a turn: a GPU is given work ahead, as in training
LEAST = 8  # calls of each, however long they take

Call = Callable[[], object]


def take_turns(
    calls: Mapping[str, Call], device: torch.device, *, repeats: int, seconds: float = float("inf"),
    during: Call | None = None,
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds of at least `repeats` calls of each; of fewer, but LEAST, once `seconds` have passed.

    The order is turned around with every round, so that nobody always follows the same neighbour. On a GPU the clock is
    the device's own, and the host waits for the device only between turns. `during` is called once a turn, while the
    device works.
    """
    for call in calls.values():
        _warm_up(call, device)
    times: dict[str, list[float]] = {name: [] for name in calls}
    begun = time.perf_counter()
    order = list(calls)
    while True:
        for name in order:
            times[name] += _turn(calls[name], device, during)
        order.reverse()
        done = min(map(len, times.values()))
        if done >= repeats or (done >= LEAST and time.perf_counter() - begun >= seconds):
            return times


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _warm_up(call: Call, device: torch.device) -> None:
    """Calls until the last ones take as long as each other, so that kernels are chosen and clocks have risen."""
    seconds: list[float] = []
    while True:
        begun = time.perf_counter()
        call()
        wait(device)
        seconds.append(time.perf_counter() - begun)
        last = seconds[-WARM_CALLS:]
        stable = max(last) <= (1 + STABLE) * min(last)
        if len(last) == WARM_CALLS and (stable or sum(seconds) >= WARM_S[device.type]):
            return


def _turn(call: Call, device: torch.device, during: Call | None) -> list[float]:
    """Seconds of each call of one turn."""
    wait(device)
    marks: list[Any] = [_mark(device)]
    for _ in range(STEPS[device.type]):
        call()
        marks.append(_mark(device))
    if during:
        during()
    wait(device)
    if device.type == "cuda":
        return [a.elapsed_time(b) / 1000 for a, b in itertools.pairwise(marks)]
    return [b - a for a, b in itertools.pairwise(marks)]


def _mark(device: torch.device) -> float | torch.cuda.Event:
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event
