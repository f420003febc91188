"""Scores weights again: adds missing scores to a run record, or scores another dataset (an external test set)."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from benchmark import machine, run_records
from benchmark.datasets import store as stores
from benchmark.datasets.store import Store
from benchmark.files import claimed, write_whole
from benchmark.progress import Tell, silent
from benchmark.protocol import checkpoint, setup
from benchmark.protocol.batches import draw
from benchmark.protocol.evaluate import evaluate
from benchmark.protocol.scores import COMPUTED, SCORES, for_classes
from benchmark.run_records import Columns, RunRecord

FORMAT = 1  # of a file of external scores; raised when a field changes its meaning


class ExternalScores(msgspec.Struct, kw_only=True):
    """The scores of a run on a dataset that it was not trained on: the file `scores/KEY/DATASET.json`."""

    key: str  # of the run
    weights_sha256: str
    dataset: str
    task: str
    content: str  # hash of the images and masks of the dataset
    unit: str  # of its column "patient"
    scale: float  # of its images
    pixel_um: float | None  # micrometres per pixel of the scored images; None: unknown
    classes: list[str]
    left_out: list[str]  # names of images that are also in the training dataset
    commit: str
    device: str
    scores: Columns  # as in a run record
    format: int = FORMAT


def missing(record: RunRecord, store: Store) -> list[str]:
    """The scores of the catalogue that are missing in the record of a finished run."""
    computed = [score for score in COMPUTED if store.dataset.instances or not score.needs_instances]
    return [score.name for score in computed if not score.known(record.scores)]


def add_missing(
    record: RunRecord, store: Store, results: Path, *, device: str = "auto", tell: Tell = silent,
    wait: Callable[[str], None] = lambda other: None,
) -> tuple[list[str], float]:  # fmt: skip
    """Scores the test images of a run again and adds the missing scores to its record; the others are kept.

    Args:
        record: of a finished run with weights.
        store: its dataset, as stored (at full resolution).
        results: the folder of records and weights.
        device: where to predict.
        tell: is called with the number of images that are done.
        wait: is called with the name of another process that holds the run, before waiting for it.

    Returns:
        The names of the added scores, and the Dice computed now minus that of the record: not 0 if this machine rounds
        differently from the one that scored the run.

    Raises:
        ValueError: the dataset is not the one that was scored, or the weights are missing or not those of the record.
    """
    run = record.run
    if store.content != run.content:
        raise ValueError(
            f"The dataset '{store.name}' is not the one that {record.key} was scored on: its images or masks have "
            "changed. Add the original one again, or give this one another name and score it with --dataset."
        )
    names = missing(record, store)
    if not names:
        return [], 0.0
    scaled = stores.at_resolution(store, run)
    places = draw(scaled, run).test
    columns = _scored(record, scaled, places, run.task, results, device, tell)
    dice = SCORES[for_classes("dice", len(record.classes) - 1)]
    change = dice.of_run(columns) - dice.of_run(record.scores)
    with claimed(results, record.key, wait):
        newest = run_records.find(results, record.key) or record
        commit = machine.describe(machine.device(device))["commit"]
        newest.scores = {**newest.scores, **{name: columns[name] for name in names}}
        newest.added = {**newest.added, **dict.fromkeys(names, commit)}
        run_records.save(newest, results)
    return names, change


def score_elsewhere(
    record: RunRecord, store: Store, results: Path, *, task: str = "", own: Store | None = None, device: str = "auto",
    tell: Tell = silent,
) -> tuple[ExternalScores, Path]:  # fmt: skip
    """Scores all annotated images of another dataset with the weights of a run, and writes them to a file.

    Images are resampled to the µm per pixel of the run if both are known, otherwise to its scale.

    Args:
        record: of a finished run with weights.
        store: the other dataset, as stored (at full resolution).
        results: the folder of records, weights and `scores/KEY/DATASET.json`.
        task: of the other dataset; "" is its first.
        own: the dataset of the run, if it is here; images with the same pixels are left out.
        device: where to predict.
        tell: is called with the number of images that are done.

    Raises:
        ValueError: the classes differ from those of the run, no image is left, or the weights are missing.
    """
    task, run = task or store.dataset.tasks[0], record.run
    if list(store.classes(task)) != record.classes:
        raise ValueError(
            f"The classes of '{store.name}' are {', '.join(store.classes(task))}, but {record.key} was trained on "
            f"{', '.join(record.classes)}; give a dataset or a --task with the same classes."
        )
    known = {image.image_hash for image in own.records} if own else set()
    annotated = [place for place, image in enumerate(store.records) if image.annotated]
    places = [place for place in annotated if store.records[place].image_hash not in known]
    if not places:
        raise ValueError(
            f"All annotated images of '{store.name}' are in '{run.dataset}', too, or there are none; give a dataset "
            "with other images."
        )
    same_um = record.pixel_um is not None and store.pixel_um is not None
    wanted = dataclasses.replace(run, scale=1.0, mpp=record.pixel_um) if same_um else run
    scaled = stores.at_resolution(store, wanted)
    columns = _scored(record, scaled, places, task, results, device, tell)
    described = machine.describe(machine.device(device))
    external = ExternalScores(
        key=record.key,
        weights_sha256=_sha256(checkpoint.weights_path(results, record.key)),
        dataset=store.name,
        task=task,
        content=store.content,
        unit=store.unit,
        scale=scaled.scale,
        pixel_um=scaled.pixel_um,
        classes=record.classes,
        left_out=[store.records[place].name for place in annotated if place not in set(places)],
        commit=described["commit"],
        device=described["device"],
        scores=columns,
    )
    name = f"{store.name}-{task}" if task else store.name
    path = results / "scores" / record.key / f"{name}.json"
    text = msgspec.json.encode(external)
    write_whole(path, lambda temporary: temporary.write_bytes(text + b"\n"))
    return external, path


def _scored(
    record: RunRecord, store: Store, places: list[int], task: str, results: Path, device: str, tell: Tell
) -> Columns:
    """The scores of these images by column, computed as after training."""
    if record.status != "done":
        raise ValueError(f"The run {record.key} diverged, so it has no weights to score.")
    method = checkpoint.trained(record, results, device)
    if record.weights_sha256 and _sha256(checkpoint.weights_path(results, record.key)) != record.weights_sha256:
        raise ValueError(
            f"The weights {checkpoint.weights_path(results, record.key)} are not those that the run record was scored "
            "with; use the file that belongs to the record, or delete record and weights and run it again."
        )
    where = torch.device(machine.device(device))
    with setup.exact(where, deterministic=False):
        images = evaluate(
            method.predict, store, places, task=task, tile=record.run.tile, device=where,
            precision=record.run.precision, progress=lambda done, total: tell(done, ""),
        )  # fmt: skip
    return {name: [image[name] for image in images] for name in images[0]}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
