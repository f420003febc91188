"""What of a suite is done, what is missing, and what the rest will take, judged by the rows at hand."""

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
from benchmark import machine, records
from benchmark.datasets.splits import labelled_count
from benchmark.datasets.store import Store, at_resolution
from benchmark.progress import silent
from benchmark.protocol import flops, setup, train
from benchmark.protocol.batches import check_crop, draw
from benchmark.protocol.suites import BASELINE
from benchmark.records import RunRecord
from benchmark.runs import Run
from benchmark.sweep.task import DONE, FAILED, keys_in
from methods.base import Batch

MISSING = "missing"
Stores = Mapping[str, Store]
NETWORK = (
    "encoder", "decoder", "norm", "width", "dropout", "weights_hash", "labelled", "unlabelled", "crop", "precision",
    "adapt",
)  # fmt: skip
READ = 40  # rows of a method that an estimate looks at
LEARNING = 16  # bytes for each parameter that learns: itself, its gradient and two moments
CONTEXT = 600 * 2**20  # bytes of a GPU that a process takes before it has a tensor
SPARE = 0.85  # share of the free memory that is planned with


@dataclass(frozen=True)
class Planned:
    """A run of a suite: complete, so that its key is final."""

    run: Run
    key: str
    state: str  # "done", "missing" or "failed"
    seconds: float | None = None  # that it will take, training and scoring; None where no row tells
    memory: float | None = None  # bytes at its peak


def plan(wanted: Sequence[Run], stores: Stores, results: Path) -> list[Planned]:
    """Every run with its key, and whether it is done; `stores` has the store of each dataset by its name.

    Weights are hashed, labelled subsets drawn and settings checked once, not for each run.

    Raises:
        ValueError: if a run cannot start, for example with a crop larger than an image.
    """
    filled: dict[tuple, dict[str, Any]] = {}
    tried: set[tuple] = set()
    done, failed = keys_in(results, "runs"), keys_in(results, "failed")
    found: dict[str, Planned] = {}
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
            with contextlib.suppress(methods.Broken):  # its runs are recorded as failed, and the others go on
                methods.check(run.method, dict(run.settings))
            tried.add(of)
        key = run.key
        found[key] = Planned(run, key, DONE if key in done else FAILED if key in failed else MISSING)
    return list(found.values())


def estimated(
    planned: Sequence[Planned], estimates: "Estimates", threads: int, tell: Callable[[int, str], None] = silent
) -> list[Planned]:
    """The plan with seconds and memory, one setting and repeat after the other: `supervised` first, then by cost."""
    known = []
    for done, one in enumerate(planned, 1):
        if one.state != DONE:
            seconds, memory = estimates.of(one.run, threads)
            one = dataclasses.replace(one, seconds=seconds, memory=memory)
        known.append(one)
        tell(done, one.key)
    order = {setting: place for place, setting in enumerate(dict.fromkeys(_setting(one.run) for one in planned))}

    def cheap_first(one: Planned) -> tuple[int, int, int, bool, float]:
        seconds = math.inf if one.seconds is None else one.seconds
        return order[_setting(one.run)], one.run.seed, one.run.draw, one.run.method != BASELINE, seconds

    return sorted(known, key=cheap_first)


def _setting(run: Run) -> Run:
    """A run without what differs inside a table."""
    return dataclasses.replace(
        run, method=BASELINE, variant="", settings=(), tuned="", views=Run.views, chosen=(), chosen_by="", lr=1,
        ratio=1, draw=0, seed=0
    )  # fmt: skip


def makespan(planned: Sequence[Planned], workers: int) -> float | None:
    """Seconds until all that is not done is, in this order; None if that of any is unknown."""
    left = [one.seconds for one in planned if one.state != DONE]
    if None in left:
        return None
    free = [0.0] * max(1, workers)
    for seconds in left:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def fitting(planned: Sequence[Planned], device: torch.device, devices: int, cores: int) -> int:
    """How many workers: as many of the largest runs as the memory holds at once, and no more than cores or runs.

    Where no row tells how large a run is: one for each GPU, or one for each core.
    """
    left = [one for one in planned if one.state != DONE]
    sizes = sorted((one.memory for one in left if one.memory is not None), reverse=True)
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
    """What a run will take: seconds of training and scoring, and bytes of memory at its peak.

    From rows of the same network and batch: of the same settings, else of the same method; else from counted
    operations beside the rows of `supervised`, or beside a few steps of it where it has none. Rows of this device count
    before others of its kind. Scoring is reckoned as forward passes of `supervised` over all validation and test
    images.
    """

    def __init__(
        self, planned: Sequence[Planned], stores: Stores, results: Path, device: str, gpu: bool,
        measure: Callable[[Run], float | None] | None = None,
    ):  # fmt: skip
        """`device` is the name that rows give it; `measure` says how many seconds a step of a run takes there."""
        self.stores, self.results, self.device, self.gpu, self.measure = stores, results, device, gpu, measure
        names = sorted({one.run.method for one in planned} | {BASELINE}, key=len, reverse=True)
        self.keys: dict[str, list[str]] = {name: [] for name in names}
        for key in sorted(keys_in(results, "runs")):
            if of := next((name for name in names if key.startswith((f"{name}_", f"{name}-"))), None):
                self.keys[of].append(key)
        self._read, self._pace, self._count, self._measured, self._sizes = map(
            functools.cache, (self._read, self._pace, self._count, self._measured, self._sizes)
        )

    def of(self, run: Run, threads: int) -> tuple[float | None, float | None]:
        """Seconds and bytes; None where nothing tells."""
        network = tuple(getattr(run, name) for name in NETWORK)
        found = self._pace(run.method, network, _labels(run), threads)
        base = self._pace(BASELINE, network, ("", "()", run.dataset), threads)
        if found is None and base is None and (seconds := self._measured(_as_baseline(run))):
            base = seconds / (1 if self.gpu else threads), None
        if found is None and base is not None:
            found = self._beside(base, run)
        if found is None:
            return None, None
        pace, memory = found
        forward = (base or found)[0] / (3 * run.labelled * run.crop**2)  # seconds a pixel: a step is three such passes
        return pace * run.steps + forward * self._scored_pixels(run), memory

    def _beside(self, base: tuple[float, float | None], run: Run) -> tuple[float, float | None] | None:
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
        """Seconds a step and bytes, of the rows that are most like a run."""
        rows = [row for row in self._read(method, labels[-1]) if row["network"] == network]
        if not rows:
            return None
        unlike = [
            (row["device"] != self.device, row["labels"][:-1] != labels[:-1], row["threads"] != threads,
             row["labels"] != labels)
            for row in rows
        ]  # fmt: skip
        alike = [row for row, its in zip(rows, unlike, strict=True) if its == min(unlike)]
        seconds = [row["pace"] * (1 if self.gpu else row["threads"] / threads) for row in alike]
        return statistics.median(seconds), max(row["memory"] for row in alike)

    def _read(self, method: str, dataset: str) -> list[dict[str, Any]]:
        """What a few rows of a method tell, those of the dataset first, on a device of the kind that will be used."""
        keys = sorted(self.keys[method], key=lambda key: f"_{dataset}" not in key)
        rows = (records.find(self.results, key) for key in keys[:READ])
        return [_told(row) for row in rows if row and row.status == "done" and self.gpu == _on_gpu(row)]

    def _measured(self, run: str) -> float | None:
        """Seconds of a step, on a CPU with one thread; None where nobody takes the time."""
        seconds = self.measure(_parsed(run)) if self.measure else None
        return seconds and seconds * (1 if self.gpu else torch.get_num_threads())

    def _count(self, run: str) -> dict[str, Any] | None:
        """What a step of a run costs, counted without computing it; None for a method that breaks its contract."""
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
    """A run like all that take as long a step, as a text, which a cache can hold."""
    alike = dataclasses.replace(run, ratio=1.0, draw=0, seed=0, steps=Run.steps, scale=Run.scale, **changed)
    return json.dumps(dataclasses.asdict(alike))


def _as_baseline(run: Run) -> str:
    return _common(run, method=BASELINE, variant="", settings=())


def _parsed(run: str) -> Run:
    return Run.of(json.loads(run))


def _told(row: RunRecord) -> dict[str, Any]:
    run = row.run
    return {
        "network": tuple(getattr(run, name) for name in NETWORK),
        "labels": _labels(run),
        "pace": row.measured.seconds / run.steps,
        "memory": row.measured.peak_memory,
        "device": row.machine.device,
        "threads": row.machine.threads,
    }


def _labels(run: Run) -> tuple[str, str, str]:
    return run.variant, str(run.settings), run.dataset


def _on_gpu(row: RunRecord) -> bool:
    return row.machine.kind == "cuda"
