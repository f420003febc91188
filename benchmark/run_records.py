"""The run record: the JSON file of a finished run, as a class with typed fields, and where it is stored."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmark import proofs
from benchmark.files import write_whole
from benchmark.runs import Run

FORMAT = 2  # raised when a field changes its meaning; new fields have a default and do not raise it

Columns = dict[str, Any]  # name -> one value per image, step, … (an array after `analysis.run_table.load`)


class Certificate(msgspec.Struct, kw_only=True):
    """What a reader needs to trust a split: sizes and lists of its parts, and what an audit found between them."""

    images: dict[str, int]  # of "labelled", "unlabelled", "val" and "test"
    patients: dict[str, int]  # the same parts, counted in units of the split
    lists: dict[str, str]  # hashes of the names of the images
    labelled: list[int]  # places of the labelled images in the store
    leak: str = ""  # what a published split is known to share between parts
    cautions: list[str] = []  # sentences about the split and the task that stand under every table
    audit: dict[str, dict[str, int]] = {}  # pair of parts -> what they share


class Budget(msgspec.Struct, kw_only=True):
    """What a run spent, independent of the machine."""

    steps: int
    images: dict[str, int]  # forwarded images "with_gradient" and "without_gradient"
    flops: int
    parameters: int


class Measured(msgspec.Struct, kw_only=True):
    """What a run took on its machine."""

    seconds: float  # of training
    peak_memory: int | None  # bytes


class Machine(msgspec.Struct, kw_only=True):
    """Where a run was trained, and with which versions."""

    kind: str  # "cpu" or "cuda"
    device: str  # name of the processor or GPU
    threads: int = 1
    processes: int = 1
    commit: str = ""  # of this project; "+" after it: with local changes; "" outside a checkout
    versions: dict[str, str] = {}  # of Python and packages


class Best(msgspec.Struct, kw_only=True):
    """The step that was best on validation images, and the test scores of its weights."""

    step: int
    scores: Columns


class RunRecord(msgspec.Struct, kw_only=True):
    """A finished run. `scores` has a column for each score, one value per test image, at the last step.

    A run that diverged, or a trial of `bench tune`, has neither `scores` nor `best`.
    """

    key: str
    run: Run
    status: Literal["done", "diverged"]
    title: str  # of the method, as printed in tables
    year: int | None = None  # of the method's publication
    venue: str = ""
    classes: list[str]
    unit: str = "patient"  # what the split keeps apart: patient, slide, organ, tile
    pixel_um: float | None = None  # micrometres per pixel at which the run was trained and scored; None: unknown
    execution: Literal["eager", "captured"] = "eager"  # captured: steps were replayed as a CUDA graph
    weights_sha256: str = ""  # of the file of the trained weights
    history: Columns  # mean of each loss term between the steps named
    validation: Columns
    certificate: Certificate
    budget: Budget
    measured: Measured
    machine: Machine
    scores: Columns = {}
    best: Best | None = None
    added: dict[str, str] = {}  # scores that `bench score` added later -> the commit that computed them
    format: int = FORMAT


def path_of(results: Path, key: str) -> Path:
    """Where the record of a run is."""
    return results / "runs" / f"{key}.json"


def paths(results: Path) -> list[Path]:
    """The files of all records, in the order of their keys."""
    return sorted((results / "runs").glob("*.json"))


def save(record: RunRecord, results: Path) -> Path:
    """Writes a record whole, or not at all."""
    path = path_of(results, record.key)
    text = msgspec.json.encode(record)
    write_whole(path, lambda temporary: temporary.write_bytes(text + b"\n"))
    return path


def find(results: Path, key: str) -> RunRecord | None:
    """The record of a run, or None."""
    path = path_of(results, key)
    return read(path) if path.exists() else None


def load(results: Path, **where: Any) -> list[RunRecord]:
    """Records of runs with these fields, in the order of their keys; for thousands see `analysis.run_table.load`."""
    records = [read(path) for path in paths(results)]
    return [record for record in records if all(getattr(record.run, name) == value for name, value in where.items())]


def repeats(results: Path, record: RunRecord) -> list[RunRecord]:
    """The finished runs that differ from this one in draw and seed alone, and itself."""
    same = dataclasses.replace(record.run, draw=0, seed=0)
    others = load(results, method=record.run.method, dataset=record.run.dataset, ratio=record.run.ratio)
    return [one for one in others if one.status == "done" and dataclasses.replace(one.run, draw=0, seed=0) == same]


def lines(columns: Columns) -> list[dict[str, Any]]:
    """Columns (scores, history, validation) as a list with one entry per image or step."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def decode(text: bytes) -> RunRecord:
    """A record from the bytes of its file; ValueError if they are not one."""
    return msgspec.json.decode(text, type=RunRecord)


class _Format(msgspec.Struct):
    format: int | None = None


def read(path: Path, parse: Callable[[bytes], RunRecord] = decode) -> RunRecord:
    """The record in a file, checked: see `benchmark.proofs`.

    Raises:
        ValueError: the file is damaged, was edited or copied, or has another format; names it and the remedy.
    """
    remedy = "delete it and run it again."
    text = path.read_bytes()
    try:
        found = msgspec.json.decode(text, type=_Format).format
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The run record {path} is damaged ({error}); {remedy}") from error
    if found != FORMAT:
        raise ValueError(
            f"The run record {path} has format {found}, and this version reads format {FORMAT}; run it again."
        )
    try:
        record = parse(text)
        fault = next(proofs.faults(record, path.stem), "")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"The run record {path} is damaged ({error}); {remedy}") from error
    if fault:
        raise ValueError(f"The run record {path} {fault}; {remedy}")
    return record
