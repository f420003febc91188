"""How fast methods train and predict: each side by side with supervised training, in processes of their own."""

import contextlib
import dataclasses
import datetime
import functools
import gc
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from benchmark import machine
from benchmark.analysis import timing
from benchmark.datasets import store as stores
from benchmark.protocol.setup import exact
from benchmark.protocol.step import Step, captured, optimiser
from benchmark.runs import Run
from benchmark.speed import monitor, roofline
from benchmark.speed.interleave import LEAST, STEPS, Call, take_turns, wait
from benchmark.speed.monitor import before
from benchmark.speed.timed_method import Subject
from methods.base import Batch, Method

__all__ = ["DoesNotFit", "Job", "alone", "before", "import_seconds", "measure_all", "step_seconds", "together"]

BASELINE = "supervised"
ENERGY_S = 1.0  # of steps without a pause: many times what an energy counter needs to move
CEILING_S = 2.0  # for the ceilings of a GPU, which are measured once
MEETING_S = 600.0  # that runs wait for each other before they start together


@dataclass(frozen=True)
class Job:
    """What is measured: a run, where its data lie, on which device, and how long it may take."""

    run: Run
    data: Path
    device: str = "auto"
    threads: int = 1
    repeats: int = 40  # calls of each mode
    seconds: float = 10.0  # after which fewer calls are enough, for training and again for prediction
    compiled: bool = False
    together: tuple[int, ...] = ()  # numbers of runs at once


class DoesNotFit(ValueError):
    """A method needs more memory at a batch size than there is."""


def measure_all(
    jobs: Sequence[Job], earlier: dict[str, Any], import_s: float
) -> Iterator[tuple[Job, dict[str, Any] | DoesNotFit]]:
    """The speed record of each job (its keys are documented in `benchmark.analysis.timing`), or why there is none.

    On a CPU, each job has a process of its own, because the memory of the process is measured. On a GPU, one process
    measures all jobs: it starts CUDA, selects kernels, and measures supervised training and the ceilings once.

    Args:
        jobs: on one device, with the same number of threads.
        earlier: the result of `before`, before anything was started.
        import_s: the result of `import_seconds`.
    """
    with _Bench(jobs[0]) as bench:
        for job in jobs:
            try:
                record = bench.run(job)
                record["together"] = [together(job, runs) for runs in job.together]
            except DoesNotFit as error:
                yield job, error
                continue
            record["conditions"] = {**earlier, **record["conditions"]}
            record["startup"] = {"import_s": round(import_s, 2), **record["startup"]}
            yield job, record


def import_seconds() -> float:
    """Seconds until a fresh process could begin to train."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import benchmark.protocol.train"], check=True)
    return time.perf_counter() - start


def step_seconds(
    methods: Mapping[str, Method], batch: Batch, *, repeats: int = 7, precision: str = "float32"
) -> dict[str, list[float]]:
    """Seconds of each of `repeats` whole steps of several methods, in turns; on a GPU they are captured if possible."""

    def step(method: Method) -> Call:
        take = captured(Step(method.train(), optimiser(method, Run()), precision), batch)
        return lambda: take(batch, 1.0, Run().lr)

    return take_turns({name: step(method) for name, method in methods.items()}, batch.x.device, repeats=repeats)


# ----------------------------------------------------------------------------------------------------------------------
# One run, in a process of its own


def alone(job: Job) -> dict[str, Any]:
    """The speed record of a job without what `measure_all` adds. On a CPU this process should be new."""
    run, device, store = job.run, machine.device(job.device), stores.open_store(job.run.dataset, job.data)
    gc.collect()  # a captured step of an earlier job holds memory
    noticed = monitor.Gauges(device)
    subject, beside = Subject(run, store, device), None
    if run.method != BASELINE:
        beside = _baseline(dataclasses.replace(run, method=BASELINE, variant="", settings=()), job.data, device)
    described = machine.describe(device) | {"cores": machine.cores()}
    cost = subject.cost()
    products = {**roofline.products(device, run.precision), "copy": roofline.copying(device)}
    shared = _ceiling(device, run.precision) if device.type == "cuda" else {}

    def turns(calls: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
        return take_turns(calls, device, repeats=job.repeats, seconds=job.seconds, during=noticed.read)

    modes = {"train": subject.train, "train_data": subject.train_data}
    if subject.step.execution == "captured":
        modes["train_captured"] = subject.train_as_run
    uncompiled = ""
    if job.compiled:
        try:
            modes["train_compiled"] = subject.compiled()
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError) as error:  # the compiler's; all else is measured nevertheless
            uncompiled = _said(error)
    modes |= {"beside": beside.train} if beside else {}
    training = turns(modes if shared else modes | {name: call for name, (call, _) in products.items()})
    energy = _energy(subject.train_as_run, device)
    modes = {"predict": subject.predict, "segment": subject.segment}
    modes |= {"beside": beside.predict} if beside else {}
    predicting = turns(modes)
    measured = {**training, **predicting}
    return {
        "key": timing.key(run, str(described["device"]), described["threads"] if device.type == "cpu" else 0),
        "run": dataclasses.asdict(run),
        "title": subject.method.title,
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": described,
        "modes": {mode: _timed(measured[mode], size) for mode, size in subject.sizes.items() if mode in measured},
        "beside": {
            mode: _timed(seconds["beside"], beside.sizes[mode])
            for mode, seconds in (("train", training), ("predict", predicting))
            if beside
        },
        "ceiling": (shared or _rates(products, training))
        | {"tf32": roofline.tf32(device) and run.precision == "float32"},
        "cost": cost,
        "scoring": subject.scoring(),
        "startup": subject.startup,
        "uncompiled": uncompiled,
        "memory": subject.memory,
        "energy": energy,
        "conditions": noticed.conditions(),
    }


@functools.cache
def _baseline(run: Run, data: Path, device: torch.device) -> Subject:
    """Supervised training, which is measured side by side with every method."""
    return Subject(run, stores.open_store(run.dataset, data), device)


@functools.cache
def _ceiling(device: torch.device, precision: str) -> dict[str, int]:
    """The ceilings of a GPU, measured once."""
    products = {**roofline.products(device, precision), "copy": roofline.copying(device)}
    calls = {name: call for name, (call, _) in products.items()}
    return _rates(products, take_turns(calls, device, repeats=STEPS[device.type] * LEAST, seconds=CEILING_S))


def _rates(products: Mapping[str, tuple[Call, int]], seconds: Mapping[str, list[float]]) -> dict[str, int]:
    """Operations or bytes per second, at the median."""
    return {name: round(amount / timing.timing(seconds[name]).median) for name, (_, amount) in products.items()}


def _timed(seconds: list[float], size: dict[str, int]) -> dict[str, Any]:
    return {**size, "seconds": [float(f"{second:.4g}") for second in seconds]}


def _said(error: Exception) -> str:
    """The first line of an error that says something, or its kind where none does."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.endswith(":")), type(error).__name__)


def _energy(step: Call, device: torch.device) -> float | None:
    """Joules of a step among many without a pause; None if the device has no counter."""
    if device.type != "cuda":
        return None
    gpu = monitor.Gpu(device)
    start = gpu.joules()
    steps, _ = _steps_within(step, device, ENERGY_S)
    end = gpu.joules()
    return None if start is None or end is None else float(f"{(end - start) / steps:.4g}")


# ----------------------------------------------------------------------------------------------------------------------
# Several runs at once


def together(job: Job, runs: int) -> dict[str, Any]:
    """Steps a second of so many runs that train on one device at once, data included; on a CPU they share its cores."""
    shared = dataclasses.replace(job, threads=max(1, job.threads // runs))
    rates = _in_processes(shared, runs, _one_of_many)
    return {"runs": runs, "threads": shared.threads, "steps_per_s": float(f"{sum(rates):.4g}")}


def _one_of_many(job: Job) -> float:
    """Steps a second of one run, from the moment when all are ready."""
    device, store = machine.device(job.device), stores.open_store(job.run.dataset, job.data)
    subject = Subject(job.run, store, device)
    _MEETING.wait(MEETING_S)
    steps, seconds = _steps_within(subject.train_data, device, job.seconds)
    return steps / seconds


def _steps_within(step: Call, device: torch.device, seconds: float) -> tuple[int, float]:
    """How many steps were taken in at least so many seconds, and in how many exactly."""
    start = time.perf_counter()
    steps, passed = 0, 0.0
    while passed < seconds or not steps:
        for _ in range(STEPS[device.type]):
            step()
        wait(device)
        steps, passed = steps + STEPS[device.type], time.perf_counter() - start
    return steps, passed


# ----------------------------------------------------------------------------------------------------------------------
# Processes


_MEETING: Barrier  # of the processes that start together; each has it from `_prepare`


def _in_processes(job: Job, count: int, work: Callable[[Job], Any]) -> list[Any]:
    """The results of `work` in each of `count` new processes, which can wait for each other."""
    with _pool(count, job.threads) as pool:
        try:
            return [future.result() for future in [pool.submit(_worked, work, job) for _ in range(count)]]
        except BrokenProcessPool as error:  # killed from outside
            raise DoesNotFit(f"A process was killed: {_does_not_fit(job)}") from error


def _pool(count: int, threads: int) -> ProcessPoolExecutor:
    """New processes that share nothing but what is imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(count, context, _prepare, (context.Barrier(count), threads))


class _Bench(contextlib.AbstractContextManager):
    """Where jobs are measured, one after the other: in new processes on a CPU, in one on a GPU."""

    def __init__(self, first: Job):
        self.shared = machine.device(first.device).type == "cuda"
        self.pool: ProcessPoolExecutor | None = None

    def run(self, job: Job) -> dict[str, Any]:
        if not self.shared:
            (record,) = _in_processes(job, 1, alone)
            return record
        self.pool = self.pool or _pool(1, job.threads)
        try:
            return self.pool.submit(_worked, alone, job).result()
        except BrokenProcessPool as error:  # killed from outside; the next job gets a new process
            self.pool = None
            raise DoesNotFit(f"A process was killed: {_does_not_fit(job)}") from error

    def __exit__(self, *_: object) -> None:
        if self.pool:
            self.pool.shutdown()


def _prepare(meeting: Barrier, threads: int) -> None:
    global _MEETING
    _MEETING = meeting
    torch.set_num_threads(threads)


def _worked(work: Callable[[Job], Any], job: Job) -> Any:
    """The work, and a word to those who wait if it fails."""
    try:
        with exact(machine.device(job.device), deterministic=False):
            return work(job)
    except torch.OutOfMemoryError as error:
        _MEETING.abort()
        raise _does_not_fit(job) from error
    except BaseException:
        _MEETING.abort()
        raise


def _does_not_fit(job: Job) -> DoesNotFit:
    run = job.run
    return DoesNotFit(
        f"{run.method} with {run.labelled} + {run.unlabelled} images of {run.crop} pixels does not fit into memory; "
        "give a smaller --batch or --crop."
    )
