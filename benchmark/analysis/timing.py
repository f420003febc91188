"""Speed records: what was timed on which device, written once and whole; and what a list of seconds says.

A record is a JSON file `results/speed/<device>_<method>_b<batch>_<hash>.json`. Its keys:

`key`; `run`, the fields of the run that was timed; `title` of the method; `measured_at`, UTC.
`machine`: device, its kind ("cpu" or "cuda"), threads, cores, versions, commit.
`modes`: of each mode its `images` a call, the `seconds` of every call, and where it says more, `pixels` a call. `train`
    is a training step on a batch that is already there, `train_data` the same with the batch cut from the store,
    `train_captured` the first replayed from a CUDA graph (the `train_data` of a GPU is, too), `train_compiled` the
    first with compiled losses; `predict` is the network on a batch that is already there,
    `segment` whole images of the store, tile by tile, to classes in main memory.
`beside`: the same of supervised training and prediction, which took turns with this method; {} in its own records.
`ceiling`: operations per second, at the median, of large products: `matmul`, `convolution`; bytes per second of a large
    `copy` (records before 2026-11-26 have none); and whether float32 was rounded for the products, `tf32`.
`cost`: of a `train` step and of a `predict` call the `flops` and the `counted` share; the `bytes` that a training step
    has to move at least, if known; `parameters` that learn.
`scoring`: the `pixels` that a run predicts and scores, in validation and twice at its end, and the `pixels_per_s`.
`startup`, seconds: `import_s` in a fresh process, `build_s` of method and optimiser, `first_step_s`, `first_predict_s`,
    and `compile_s`, the first calls of the compiled losses. `uncompiled` says why there are none, else "".
`memory`, bytes beyond the data: `train`, `predict` and, on a GPU, `captured` (to capture a step), at their peak.
`energy`, joules a step of `train`; None where the device does not tell.
`together`: of each number of runs at once `runs`, `threads` of each, and `steps_per_s` of all of them.
`conditions`: `load` of the machine before it started, `others_cores` that other processes kept busy meanwhile,
    `clock_mhz` and `celsius` (lowest and highest), `throttled` (reason: share of readings), `gpu_processes` before it
    started. What is not known is None.

A record of a ratio, `results/speed/<device>_ratio-<name>_<threads>.json`, is of two sides that took turns:

`key`; `ratio`, how many times as fast one side was, the median over the turns; `quartiles` of it; `turns`.
`what` was beside what; `least`, the ratio that is to be reached; `measured_at`, UTC; `machine` as above.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.files import write_text
from benchmark.runs import Run

FORMAT = 2  # of a record; raised when a key comes or changes its meaning
STEADY = 0.05  # the largest spread that is not marked unstable
QUIET = 0.05  # share of the cores that other processes may use before it is worth a remark

# what of a run decides how long a step takes
DECISIVE = (
    "method", "variant", "settings", "dataset", "task", "encoder", "decoder", "norm", "width", "dropout", "crop",
    "tile", "labelled", "unlabelled", "optimiser", "precision",
)  # fmt: skip


class Timing(NamedTuple):
    """What a list of seconds says."""

    median: float  # seconds
    p95: float  # seconds
    spread: float  # between the quartiles, as a share of the median
    count: int

    @property
    def unstable(self) -> bool:
        return self.spread > STEADY


def timing(seconds: list[float]) -> Timing:
    """Median, 95th percentile and spread of the seconds of several calls."""
    low, median, high, p95 = np.quantile(seconds, (0.25, 0.5, 0.75, 0.95))
    return Timing(float(median), float(p95), float((high - low) / median), len(seconds))


def key(run: Run, device: str, threads: int) -> str:
    """Device, method and batch, and a short hash of all that decides how long a step takes."""
    decisive = [getattr(run, name) for name in DECISIVE] + [device, threads]
    digest = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:10]
    name = f"{run.method}-{run.variant}" if run.variant else run.method
    return f"{slug(device)}_{name}_b{run.labelled}_{digest}"


def ratio_key(name: str, device: str, threads: int) -> str:
    """Of a ratio: device, a name, and threads of each side."""
    return f"{slug(device)}_ratio-{name}_{threads}"


def slug(device: str) -> str:
    """The device's name as part of a file's."""
    plain = re.sub(r"\(r\)|\(tm\)|\bcpu\b|@.*", " ", device.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "device"


def save(record: dict[str, Any], results: Path) -> Path:
    """Writes a record once and whole, in place of an older one of the same key."""
    path = results / "speed" / f"{record['key']}.json"
    text = json.dumps({"format": FORMAT, **record}, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    write_text(path, text + "\n")
    return path


def load(results: Path) -> list[dict[str, Any]]:
    """All records of speed, those of ratios among them, in the order of their keys."""
    return [_read(path) for path in sorted((results / "speed").glob("*.json"))]


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"The record {path} is not whole ({error}); delete it and measure again.") from error
    if record.get("format") != FORMAT:
        raise ValueError(
            f"The record {path} has format {record.get('format')}, this version reads {FORMAT}; measure it again."
        )
    return record


# ----------------------------------------------------------------------------------------------------------------------
# What the numbers of a record say


def images_per_s(record: dict[str, Any], mode: str) -> float:
    """Images a second at the median; of training, labelled ones.

    All methods take as many of them a step, whether they forward unlabelled ones beside them or, as supervised, none.
    """
    images = record["run"]["labelled"] if mode == "train" else record["modes"][mode]["images"]
    return images / timing(record["modes"][mode]["seconds"]).median


def relative(record: dict[str, Any], mode: str) -> float:
    """How much longer than supervised it takes, at the median: 1 in supervised's own records."""
    if not record["beside"]:
        return 1.0
    return timing(record["modes"][mode]["seconds"]).median / timing(record["beside"][mode]["seconds"]).median


def utilisation(record: dict[str, Any], mode: str, ceiling: str = "matmul") -> float:
    """Counted operations per second, as a share of those of a large product, at their medians.

    In training, of the step that a run takes: captured, if it was.
    """
    return record["cost"][mode]["flops"] / _fastest(record, mode) / record["ceiling"][ceiling]


def bandwidth_share(record: dict[str, Any]) -> float:
    """Bytes per second that a training step has to move at least, as a share of a large copy; nan if not measured."""
    if "bytes" not in record["cost"]["train"] or "copy" not in record["ceiling"]:
        return float("nan")
    return record["cost"]["train"]["bytes"] / _fastest(record, "train") / record["ceiling"]["copy"]


def _fastest(record: dict[str, Any], mode: str) -> float:
    """Median seconds of a call, as a run makes it."""
    seconds = record["modes"].get(f"{mode}_captured", record["modes"][mode])["seconds"]
    return timing(seconds).median


def run_seconds(record: dict[str, Any]) -> dict[str, float]:
    """What a whole run would take, extrapolated from single steps and images: start-up, training and scoring."""
    return {
        "startup": record["startup"]["build_s"] + record["startup"]["first_step_s"],
        "training": record["run"]["steps"] * timing(record["modes"]["train_data"]["seconds"]).median,
        "scoring": record["scoring"]["pixels"] / record["scoring"]["pixels_per_s"],
    }


def gain_of_packing(record: dict[str, Any]) -> float:
    """How many times more steps a second several runs at once take together than one; 1 where it was not measured."""
    rates = {packed["runs"]: packed["steps_per_s"] for packed in record["together"]}
    return max(rates.values()) / rates[1] if 1 in rates else 1.0


def runs_per_hour(record: dict[str, Any], together: dict[str, Any]) -> float:
    """How many trainings end in an hour, start-up and scoring apart, with so many of them at once."""
    return 3600 * together["steps_per_s"] / record["run"]["steps"]


def remarks(record: dict[str, Any]) -> list[str]:
    """Sentences about what may have disturbed the measurement; none if nothing was noticed."""
    said, conditions, cores = [], record["conditions"], record["machine"]["cores"]
    shaky = [mode for mode, timed in record["modes"].items() if timing(timed["seconds"]).unstable]
    if shaky:
        said.append(f"unstable: the spread of {', '.join(shaky)} exceeds {STEADY:.0%}")
    if record["uncompiled"]:
        said.append(f"its losses could not be compiled ({record['uncompiled']})")
    others = conditions["others_cores"]
    if others is not None and others > QUIET * cores:
        said.append(f"other processes kept {others:.1f} of {cores} cores busy meanwhile")
    if record["machine"]["kind"] == "cuda" and conditions["clock_mhz"] is None:
        said.append("the GPU does not tell its clocks, so that throttling cannot be seen")
    if conditions["gpu_processes"]:
        said.append(f"{conditions['gpu_processes']} other processes were on the GPU")
    said += [
        f"the GPU slowed down ({reason}) in {share:.0%} of the readings"
        for reason, share in conditions["throttled"].items()
    ]
    if conditions["clock_mhz"] and conditions["clock_mhz"][0] < (1 - STEADY) * conditions["clock_mhz"][1]:
        low, high = conditions["clock_mhz"]
        said.append(f"the clock moved between {low:.0f} and {high:.0f} MHz")
    return said
