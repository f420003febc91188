"""Checks of a run record: its name is the hash of its fields, and its numbers are consistent."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmark.run_records import Columns, RunRecord

NAME = re.compile(r"[A-Za-z0-9_-]*")  # of methods, variants, datasets and tasks: parts of the names of files
FRACTIONS = (  # columns with values from 0 to 1
    "dice", "jaccard", "boundary_f1", "background_dice", "ece", "object_f1", "object_dice",
)  # fmt: skip
DISTANCES = ("hd95", "assd", "object_hausdorff")  # columns with values of at least 0
PER_CLASS = ("dice", "jaccard", "hd95", "assd", "boundary_f1", "present", "predicted")
TEXTS = ("name", "patient", "stratum")  # columns of text
PARTS = ("labelled", "unlabelled", "val", "test")
ROUNDED = 2e-4  # Dice and Jaccard have four digits: half a digit of either, and Jaccard changes up to twice as fast


def faults(record: "RunRecord", name: str) -> Iterator[str]:
    """The errors in a record, each as the end of a sentence that begins with its path.

    Args:
        record: as read; columns of scores are lists or arrays.
        name: of its file, without the ending.
    """
    run = record.run
    if record.key != run.key:
        yield f"has the key {record.key[:120]}, but its fields have the key {run.key}: a field was edited"
    elif record.key != name:
        yield f"has the key {record.key}, which is not the name of the file: it is a copy"
    for field in ("method", "variant", "dataset", "task", "split"):
        if not NAME.fullmatch(getattr(run, field)) or len(getattr(run, field)) > 100:
            yield f"has a {field} called {getattr(run, field)[:60]!r}; names have letters, digits, '_' and '-'"
    if record.weights_sha256 and not re.fullmatch(r"[0-9a-f]{64}", record.weights_sha256):
        yield "has a weights_sha256 that is no SHA-256"
    yield from _of_budget(record)
    yield from _of_parts(record)
    yield from _of_course(record)
    if record.scores:
        images = record.certificate.images.get("test", 0)
        yield from _of_scores(record.scores, "", images, len(record.classes), record.scores.get("name", ()))
    if record.best is not None:
        yield from _of_best(record)
    if record.status == "diverged" and record.scores:
        yield "diverged, but has scores"


def _of_budget(record: "RunRecord") -> Iterator[str]:
    budget, measured = record.budget, record.measured
    if budget.steps > record.run.steps or (record.status == "done" and budget.steps != record.run.steps):
        yield f"was trained for {budget.steps} steps, but its run has {record.run.steps}"
    for what, value in (
        ("budget.flops", budget.flops), ("budget.parameters", budget.parameters), ("budget.steps", budget.steps),
        ("measured.seconds", measured.seconds), ("measured.peak_memory", measured.peak_memory or 0),
        *((f"budget.images.{name}", count) for name, count in budget.images.items()),
    ):  # fmt: skip
        if not (math.isfinite(value) and value >= 0):
            yield f"has {what} {value}, which must not be below 0"


def _of_parts(record: "RunRecord") -> Iterator[str]:
    held = record.certificate
    for part in PARTS:
        if held.images.get(part, -1) < 0 or held.patients.get(part, -1) < 0:
            yield f"does not say how many images and patients are in '{part}'"
        elif held.patients[part] > held.images[part]:
            yield f"has {held.patients[part]} patients in '{part}', but {held.images[part]} images"
    if len(held.labelled) != held.images.get("labelled", -1):
        yield f"lists {len(held.labelled)} labelled images, but counts {held.images.get('labelled')}"


def _of_course(record: "RunRecord") -> Iterator[str]:
    """Of history and validation."""
    for what, columns in (("history", record.history), ("validation", record.validation)):
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            yield f"has columns of {min(lengths)} and {max(lengths)} values in its {what}"
            continue
        steps = _numbers(columns.get("step", ()))
        if steps is None or (len(steps) and (np.any(np.diff(steps) <= 0) or steps[-1] > record.run.steps)):
            yield f"has steps in its {what} that do not rise to at most {record.run.steps}"
        if any(_numbers(values) is None for values in columns.values()):
            yield f"has something that is no number in its {what}"
    yield from _in_range(record.validation, "validation ", ())


def _of_scores(columns: "Columns", prefix: str, images: int, classes: int, names: Sequence[str]) -> Iterator[str]:
    """Of columns with a value for each test image."""
    for name, values in columns.items():
        if len(values) != images:
            yield f"has {len(values)} values of {prefix}{name} for {images} test images"
            return
    for name in TEXTS:
        if not all(isinstance(value, str) for value in columns.get(name, ())):
            yield f"has something that is no text among its {name}s"
            return
    if not prefix and len(set(names)) != images:
        yield f"has {len(set(names))} different names for {images} test images"
    for name in PER_CLASS:
        values = columns.get(name, ())
        if len(values) and any(np.size(of_image) != max(1, classes - 1) for of_image in values):
            yield f"does not have one {prefix}{name} for each of {max(1, classes - 1)} classes"
            return
    yield from _in_range(columns, prefix, names)
    if "dice" in columns and "jaccard" in columns:
        dice, jaccard = _numbers(columns["dice"]), _numbers(columns["jaccard"])
        if dice is None or jaccard is None:
            return
        apart = np.abs(jaccard - dice / (2 - dice)) > ROUNDED
        if (wrong := apart | (np.isnan(dice) != np.isnan(jaccard))).any():
            at = tuple(np.argwhere(wrong)[0])
            yield (
                f"has {prefix}Dice {dice[at]:g} and Jaccard {jaccard[at]:g} for {_image(names, at[0])}, which do not "
                "belong together (J = D / (2 - D))"
            )


def _in_range(columns: "Columns", prefix: str, names: Sequence[str]) -> Iterator[str]:
    for name, values in columns.items():
        if name not in (*FRACTIONS, *DISTANCES):
            continue
        numbers = _numbers(values)
        if numbers is None:
            yield f"has something that is no number among its {prefix}{name}"
            continue
        wrong = (numbers < 0) | ((numbers > 1) if name in FRACTIONS else np.isinf(numbers))
        if wrong.any():
            at = tuple(np.argwhere(wrong)[0])
            limits = "from 0 to 1" if name in FRACTIONS else "at least 0"
            yield f"has {prefix}{name} {numbers[at]:g} for {_image(names, at[0])}, which must be {limits}"


def _of_best(record: "RunRecord") -> Iterator[str]:
    best, last = record.best, record.run.steps
    if best.step != last and best.step not in list(record.validation.get("step", ())):
        yield f"has its best step at {best.step}, where nothing was validated"
    images = record.certificate.images.get("test", 0)
    yield from _of_scores(best.scores, "best ", images, len(record.classes), record.scores.get("name", ()))
    if best.step == last:
        for name, values in best.scores.items():
            of_best, of_last = _numbers(values), _numbers(record.scores.get(name, ()))
            if of_best is None or of_last is None or not np.array_equal(of_best, of_last, equal_nan=True):
                yield f"has other {name} at its best step than at its last, which is the same one"


def _numbers(values: Any) -> np.ndarray | None:
    """A column as an array, None in it as nan; None if it holds something else than numbers."""
    if isinstance(values, np.ndarray):
        return values if values.dtype.kind in "fiub" else None
    inner = [value for of_image in values for value in (of_image if isinstance(of_image, list) else (of_image,))]
    if not all(value is None or isinstance(value, int | float) for value in inner):
        return None
    try:
        return np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):  # of unequal length, or too large
        return None


def _image(names: Sequence[str], at: int) -> str:
    return f"image '{str(names[at])[:60]}'" if at < len(names) else f"entry {at + 1}"
