"""Plans the runs of a suite: which are done or missing, with estimates of time and memory from run records."""

import contextlib
import dataclasses
import functools
import heapq
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import methods
from benchmark import machine, run_records
from benchmark.datasets.splits import labelled_count
from benchmark.datasets.store import Store, at_resolution
from benchmark.progress import silent
from benchmark.protocol import flops, setup, train
from benchmark.protocol.batches import check_crop, draw
from benchmark.protocol.suites import BASELINE
from benchmark.run_records import RunRecord
from benchmark.runs import Run
from benchmark.sweep.task import DONE, FAILED, keys_in
from methods.base import Batch

MISSING = "missing"
Stores = Mapping[str, Store]
NETWORK = (
    "encoder", "decoder", "norm", "width", "dropout", "weights_hash", "labelled", "unlabelled", "crop", "precision",
    "adapt",
)  # fmt: skip
READ = 40  # run records of a method that an estimate reads
LEARNING = 16  # bytes for each trained parameter: itself, its gradient and two moments
CONTEXT = 600 * 2**20  # bytes of GPU memory that a process uses without any tensor
SPARE = 0.85  # fraction of the free memory that is used


@dataclass(frozen=True)
class Planned:
    """A run of a suite: complete, so that its key is final."""

    run: Run
    key: str
    state: str  # "done", "missing" or "failed"
    seconds: float | None = None  # estimate for training and scoring; None if there is none
    memory: float | None = None  # estimate of the peak in bytes


def plan(wanted: Sequence[Run], stores: Stores, results: Path) -> list[Planned]:
    """Every run, complete, with its key and whether it is done.

    Weights are hashed, labelled subsets computed and settings checked once, not for each run.

    Args:
        wanted: the runs.
        stores: dataset -> its store.
        results: folder of the run records.

    Raises:
        ValueError: if a run cannot start, for example with a crop larger than an image.
    """
    filled: dict[tuple, dict[str, Any]] = {}
    tried: set[tuple] = set()
    done, failed = keys_in(results, "runs"), keys_in(results, "failed")
    by_key: dict[str, Planned] = {}
    for run in wanted:
        store = stores[run.dataset]
        fixed = (run.method, run.variant, run.dataset, run.task, run.split, run.scale, run.mpp, run.encoder,
                 run.decoder, run.norm, run.width, run.dropout, run.weights, run.adapt, run.views)  # fmt: skip
        if fixed not in filled:
            whole = setup.complete(run, store)
            filled[fixed] = {
                name: getattr(whole, name) for name in ("task", "split", "scale", "mpp", "content", "weights_hash")
            }
        run = dataclasses.replace(run, **filled[fixed])
        if (of := (run.dataset, run.split, run.scale, run.ratio, run.crop, run.chosen)) not in tried:
            check_crop(run, at_resolution(store, run), draw(store, run))
            tried.add(of)
        if (of := (run.method, str(run.settings))) not in tried:
            with contextlib.suppress(methods.Broken):  # its runs are recorded as failed, and the others continue
                methods.check(run.method, dict(run.settings))
            tried.add(of)
        key = run.key
        by_key[key] = Planned(run, key, DONE if key in done else FAILED if key in failed else MISSING)
    return list(by_key.values())


def estimated(
    planned: Sequence[Planned], estimates: "Estimates", threads: int, tell: Callable[[int, str], None] = silent
) -> list[Planned]:
    """The plan with estimates, in the order of execution.

    One setting and repeat after the other; in each, `supervised` first, then the others by estimated time.
    """
    known = []
    for done, planned_run in enumerate(planned, 1):
        if planned_run.state != DONE:
            seconds, memory = estimates.of(planned_run.run, threads)
            planned_run = dataclasses.replace(planned_run, seconds=seconds, memory=memory)
        known.append(planned_run)
        tell(done, planned_run.key)
    settings = dict.fromkeys(_setting(planned_run.run) for planned_run in planned)
    order = {setting: place for place, setting in enumerate(settings)}

    def cheap_first(planned_run: Planned) -> tuple[int, int, int, bool, float]:
        run, seconds = planned_run.run, math.inf if planned_run.seconds is None else planned_run.seconds
        return order[_setting(run)], run.seed, run.draw, run.method != BASELINE, seconds

    return sorted(known, key=cheap_first)


def _setting(run: Run) -> Run:
    """A run without the fields that differ inside a table."""
    return dataclasses.replace(
        run, method=BASELINE, variant="", settings=(), tuned="", views=Run.views, chosen=(), chosen_by="", lr=1,
        ratio=1, draw=0, seed=0
    )  # fmt: skip


def makespan(planned: Sequence[Planned], workers: int) -> float | None:
    """Seconds until all missing runs are done, in this order; None if the time of one is unknown."""
    left = [planned_run.seconds for planned_run in planned if planned_run.state != DONE]
    if None in left:
        return None
    free = [0.0] * max(1, workers)
    for seconds in left:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def slower(planned: Sequence[Planned], times: float) -> list[Planned]:
    """The plan if each run takes so many times as long as alone, because several share a device."""
    return [one if one.seconds is None else dataclasses.replace(one, seconds=times * one.seconds) for one in planned]


def fitting(planned: Sequence[Planned], device: torch.device, devices: int, cores: int) -> int:
    """The number of workers: as many of the largest runs as fit into memory together, at most one per core and run.

    If the memory of a run is unknown: one for each GPU, or one for each core.
    """
    left = [planned_run for planned_run in planned if planned_run.state != DONE]
    sizes = sorted((run.memory for run in left if run.memory is not None), reverse=True)
    if device.type == "cuda":
        if len(sizes) < len(left):
            return min(devices, len(left))
        room, own = SPARE * torch.cuda.mem_get_info(device)[0], CONTEXT
    else:
        room, own, devices = SPARE * machine.memory_left(), 0, 1
    held, fit = 0.0, 0
    for size in sizes:
        held += size + own
        if held > room:
            break
        fit += 1
    if len(sizes) < len(left) and fit == len(sizes):
        fit = cores
    return max(1, min(fit * devices, cores, len(left)))


# ----------------------------------------------------------------------------------------------------------------------
# Estimates


class Estimates:
    """Estimates for a run: seconds of training and scoring, and peak memory in bytes.

    From run records of the same network and batch, with the same settings or else of the same method. If there are
    none, on a GPU from a few timed steps of the run; on a CPU from counted operations relative to run records of
    `supervised`, or to a few timed steps of it. Run records of this device are preferred to those of others of its
    kind. Scoring is estimated as forward passes of `supervised` over all validation and test images.
    """

    def __init__(
        self, planned: Sequence[Planned], stores: Stores, results: Path, device: str, gpu: bool,
        measure: Callable[[Run], float | None] | None = None,
    ):  # fmt: skip
        """Estimates from the run records in a folder.

        Args:
            planned: the runs; their methods decide which records are read.
            stores: dataset -> its store.
            results: folder of the run records.
            device: its name in run records.
            gpu: whether it is a GPU.
            measure: the seconds of a step of a run on the device, timed; None: not timed.
        """
        self.stores, self.results, self.device, self.gpu, self.measure = stores, results, device, gpu, measure
        names = sorted({planned_run.run.method for planned_run in planned} | {BASELINE}, key=len, reverse=True)
        self.keys: dict[str, list[str]] = {name: [] for name in names}
        for key in sorted(keys_in(results, "runs")):
            if of := next((name for name in names if key.startswith((f"{name}_", f"{name}-"))), None):
                self.keys[of].append(key)
        self._read, self._pace, self._count, self._measured, self._sizes = map(
            functools.cache, (self._read, self._pace, self._count, self._measured, self._sizes)
        )

    def of(self, run: Run, threads: int) -> tuple[float | None, float | None]:
        """Seconds and bytes; None if there is no estimate."""
        network = tuple(getattr(run, name) for name in NETWORK)
        own = self._pace(run.method, network, _labels(run), threads)
        base = self._pace(BASELINE, network, ("", "()", run.dataset), threads)
        if own is None and self.gpu and (seconds := self._measured(_common(run))):
            own = seconds, None  # on a GPU, the number of operations says little about the time
        if own is None and base is None and (seconds := self._measured(_as_baseline(run))):
            base = seconds / (1 if self.gpu else threads), None
        if own is None and base is not None:
            own = self._relative(base, run)
        if own is None:
            return None, None
        pace, memory = own
        forward = (base or own)[0] / (3 * run.labelled * run.crop**2)  # seconds per pixel: a step is three such passes
        return pace * run.steps + forward * self._scored_pixels(run), memory

    def _relative(self, base: tuple[float, float | None], run: Run) -> tuple[float, float | None] | None:
        one, other = self._count(_common(run)), self._count(_as_baseline(run))
        if one is None or other is None:
            return None
        seconds, memory = base[0] * one["flops"] / other["flops"], None
        if base[1] is not None:
            share = one["images"]["with_gradient"] / other["images"]["with_gradient"]
            fixed, its = (LEARNING * counted["parameters"] for counted in (one, other))
            memory = max(fixed, fixed + share * (base[1] - its))
        return seconds, memory

    def _pace(self, method: str, network: tuple, labels: tuple, threads: int) -> tuple[float, float] | None:
        """Seconds per step and bytes, from the run records most similar to a run."""
        measured = [cost for cost in self._read(method, labels[-1]) if cost["network"] == network]
        if not measured:
            return None
        unlike = [
            (cost["device"] != self.device, cost["labels"][:-1] != labels[:-1], cost["threads"] != threads,
             cost["labels"] != labels)
            for cost in measured
        ]  # fmt: skip
        alike = [cost for cost, its in zip(measured, unlike, strict=True) if its == min(unlike)]
        seconds = [cost["pace"] * (1 if self.gpu else cost["threads"] / threads) for cost in alike]
        return statistics.median(seconds), max(cost["memory"] for cost in alike)

    def _read(self, method: str, dataset: str) -> list[dict[str, Any]]:
        """The costs in a few run records of a method, those of the dataset first, on the same kind of device."""
        keys = sorted(self.keys[method], key=lambda key: f"_{dataset}" not in key)
        read = (run_records.find(self.results, key) for key in keys[:READ])
        return [_cost(record) for record in read if record and record.status == "done" and self.gpu == _on_gpu(record)]

    def _measured(self, run: str) -> float | None:
        """Seconds of a step, on a CPU with one thread; None if they cannot be timed."""
        seconds = self.measure(_parsed(run)) if self.measure else None
        return seconds and seconds * (1 if self.gpu else torch.get_num_threads())

    def _count(self, run: str) -> dict[str, Any] | None:
        """The cost of a step of a run, counted without computing it; None for a method that breaks its contract."""
        run = _parsed(run)
        images = torch.empty(run.labelled + run.unlabelled, 3, run.crop, run.crop, device="meta")
        masks = torch.zeros(run.labelled, run.crop, run.crop, dtype=torch.long, device="meta")
        try:
            method = setup.build(run, len(self.stores[run.dataset].classes(run.task)), pretrained=False).to("meta")
            return flops.count(method, Batch(images[: run.labelled], masks, images[run.labelled :]))
        except Exception:  # whatever the file of a method does; its runs fail with a sentence
            return None

    def _scored_pixels(self, run: Run) -> float:
        """Validation images a few times, all test images at the last step and at the best."""
        train_images, val_images, val_pixels, test_pixels = self._sizes(run.dataset, run.split)
        val = min(val_images, labelled_count(run.ratio, train_images))
        return run.scale**2 * (train.VALIDATIONS * val * val_pixels + 2 * test_pixels)

    def _sizes(self, dataset: str, split: str) -> tuple[int, int, float, int]:
        """Annotated training and validation images, stored pixels of a validation image and of all test images."""
        store = self.stores[dataset]
        parts = store.split(split)
        areas = {
            part: [
                record.height * record.width for record in map(store.records.__getitem__, places) if record.annotated
            ]
            for part, places in parts.items()
        }
        val = statistics.fmean(areas["val"]) if areas["val"] else 0.0
        return len(areas["train"]), len(areas["val"]), val, sum(areas["test"])


def _common(run: Run, **changed: Any) -> str:
    """A run with the fields that decide the time of a step, as a text, which can be cached."""
    alike = dataclasses.replace(run, ratio=1.0, draw=0, seed=0, steps=Run.steps, scale=Run.scale, **changed)
    return json.dumps(dataclasses.asdict(alike))


def _as_baseline(run: Run) -> str:
    return _common(run, method=BASELINE, variant="", settings=())


def _parsed(run: str) -> Run:
    return Run.of(json.loads(run))


def _cost(record: RunRecord) -> dict[str, Any]:
    """The cost of a run, and what it depends on."""
    run = record.run
    return {
        "network": tuple(getattr(run, name) for name in NETWORK),
        "labels": _labels(run),
        "pace": record.measured.seconds / run.steps,
        "memory": record.measured.peak_memory,
        "device": record.machine.device,
        "threads": record.machine.threads,
    }


def _labels(run: Run) -> tuple[str, str, str]:
    return run.variant, str(run.settings), run.dataset


def _on_gpu(record: RunRecord) -> bool:
    return record.machine.kind == "cuda"
