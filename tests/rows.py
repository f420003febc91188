"""Rows as `bench run` leaves them, made up in milliseconds: what is easy and hard, and who is better, is drawn."""

import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import methods
from benchmark.protocol.scores import COMPUTED, POINTS
from benchmark.run_records import Best, Budget, Certificate, Machine, Measured, RunRecord
from benchmark.runs import Run

FLOPS = 3e12  # of a supervised run
CONTENT = "c0ffee" * 5


def suite(
    names: Sequence[str] = ("supervised", "mean_teacher", "cdma"), ratios: Sequence[float] = (0.1, 0.2),
    draws: int = 2, seeds: int = 1, bounds: bool = True, **more: Any,
) -> list[RunRecord]:  # fmt: skip
    """A row for each method × ratio × draw × seed and, with `bounds`, supervised at ratio 1. `more`: see `row`."""
    wanted = list(itertools.product(names, ratios, range(draws), range(seeds)))
    if bounds:
        wanted += list(itertools.product(("supervised",), (1.0,), range(draws), range(seeds)))
    return [row(name, ratio=ratio, draw=draw, seed=seed, **more) for name, ratio, draw, seed in wanted]


def row(
    method: str = "supervised", *, images: int = 24, patients: int = 8, objects: bool = False, status: str = "done",
    classes: Sequence[str] = ("background", "gland"), better: float | None = None, empty: Sequence[int] = (),
    **fields: Any,
) -> RunRecord:  # fmt: skip
    """One row. `fields` are those of its run. `better` than supervised by so much, in log odds of the Dice; else drawn.

    Images `empty` have no object; the first of them has a false alarm, in the others none is predicted.
    """
    settings = tuple(dict(fields.pop("settings", ())).items())
    run = Run(method=method, settings=settings, **{"content": CONTENT, "weights_hash": "none", **fields})
    kind = methods.get(method)
    named = f"{method} {run.variant} {settings}" if run.variant or settings else method
    gain = (0.0 if method == "supervised" else _drawn(named).normal(0.25, 0.3)) if better is None else better
    work = 1.0 if method == "supervised" else float(_drawn(method, "work").choice([2, 2, 2.4, 2.5, 3.5, 4.5]))
    scored = _scored(run, gain, images, patients, len(classes), objects, empty) if status == "done" else {}
    steps = np.arange(1, 21) * run.steps // 20
    return RunRecord(
        key=run.key,
        status=status,
        run=run,
        title=kind.title,
        year=kind.year,
        venue=kind.venue,
        classes=list(classes),
        history=_history(run, kind.uses_unlabelled, steps),
        validation={"step": steps[3::4].tolist(), "dice": [round(d, 4) for d in _validation(run, gain)]},
        certificate=_certificate(run, images, patients),
        budget=Budget(
            steps=run.steps,
            images={
                "with_gradient": run.steps * (run.labelled + run.unlabelled * kind.uses_unlabelled),
                "without_gradient": run.steps * run.unlabelled * (work in (2.4, 2.5)),
            },
            flops=int(FLOPS * work * run.steps / Run.steps),
            parameters=int(4e6 * (1 + (work > 3))),
        ),
        measured=Measured(
            seconds=round(60 * work * float(_drawn(run.key).uniform(0.95, 1.05)) * run.steps / Run.steps, 1),
            peak_memory=int(1.4e9 * (1 + work / 10)),
        ),
        machine=Machine(
            kind="cpu", device="CPU", threads=1, commit="0123456789ab", versions={"python": "3.11.7", "torch": "2.11.0"}
        ),
        **scored,
    )


def _drawn(*names: object) -> np.random.Generator:
    """A generator that only these names decide."""
    return np.random.default_rng(zlib.crc32("|".join(map(str, names)).encode()))


def _level(run: Run, gain: float) -> float:
    """Log odds of a run's Dice: labels help, and help a semi-supervised method less; draws and seeds vary it."""
    scarce = 1 - run.ratio
    draw, seed = _drawn(run.dataset, run.draw).normal(0, 0.12), _drawn(run.method, run.draw, run.seed).normal(0, 0.06)
    return 1.6 + 0.45 * np.log10(run.ratio / 0.1) + scarce * gain + draw + seed


def _scored(
    run: Run, gain: float, images: int, patients: int, classes: int, objects: bool, empty: Sequence[int]
) -> dict[str, Any]:
    patient = np.arange(images) % patients
    hard = _drawn(run.dataset, "patients").normal(0, 0.4, patients)[patient]
    hard = hard[:, None] + _drawn(run.dataset, "images").normal(0, 0.6, (images, classes - 1))
    noise = _drawn(run.key).normal(0, 0.25, (images, classes - 1))
    dice = 1 / (1 + np.exp(-(_level(run, gain) + hard + noise)))
    best = 1 / (1 + np.exp(-(_level(run, gain) + 0.03 + hard + noise)))

    def column(values: np.ndarray, digits: int, alarm: float) -> list[list[float | None]]:
        listed = [[round(float(v), digits) for v in of_image] for of_image in values]
        return [
            listed[i] if i not in empty else [alarm if i == empty[0] else None] * (classes - 1) for i in range(images)
        ]

    scores = {
        "name": [f"image{i:03}" for i in range(images)],
        "patient": [f"p{p}" for p in patient],
        "stratum": [("benign", "malignant")[p % 2] for p in patient],
        "dice": column(dice, 4, 0.0),
        "jaccard": column(dice / (2 - dice), 4, 0.0),
        "hd95": column(60 * (1 - dice), 2, 181.02),
        "assd": column(15 * (1 - dice), 2, 181.02),
        "boundary_f1": column(dice**2, 4, 0.0),
        "present": [[i not in empty] * (classes - 1) for i in range(images)],
        "predicted": [[i not in empty[1:]] * (classes - 1) for i in range(images)],
        "background_dice": [round(float(d), 4) for d in dice.mean(1) ** 0.5],
        "ece": [round(float(e), 4) for e in 0.3 * (1 - dice.mean(1))],
    }
    for score in COMPUTED:  # what is not made above
        if score.name not in scores and score.per_class and (objects or not score.needs_instances):
            share = score.unit == POINTS
            values = dice ** (1 + len(score.name) / 20) if share else 120 * (1 - dice)
            scores[score.name] = column(values, score.stored_digits, 0.0 if share else 181.02)
    chosen = {"dice": column(best, 4, 0.0), "jaccard": column(best / (2 - best), 4, 0.0)}
    return {"scores": scores, "best": Best(step=run.steps * 4 // 5, scores=chosen)}


def _history(run: Run, semi: bool, steps: np.ndarray) -> dict[str, list]:
    wave = _drawn(run.key, "history").normal(1, 0.08, (2, len(steps)))
    sup = (0.15 + 0.5 * np.exp(-4 * steps / run.steps)) * wave[0]
    history = {"step": steps.tolist(), "sup": [float(f"{v:.5g}") for v in sup]}
    if semi:
        term = 0.02 * np.minimum(steps / run.steps * 2, 1) * wave[1]
        history["consistency"] = [float(f"{v:.5g}") if k else 0.0 for k, v in enumerate(term)]
    return history


def _validation(run: Run, gain: float) -> list[float]:
    last = 1 / (1 + np.exp(-_level(run, gain)))
    return [float(last * (1 - np.exp(-0.9 * k)) + _drawn(run.key, k).normal(0, 0.01)) for k in range(1, 6)]


def _certificate(run: Run, images: int, patients: int) -> Certificate:
    of_part = {"labelled": max(1, round(100 * run.ratio)), "unlabelled": round(100 * (1 - run.ratio)), "val": 10}
    counts = {**of_part, "test": images}
    clean = dict.fromkeys(("patients", "patient_images", "slides", "slide_images", "duplicates", "near"), 0)
    return Certificate(
        images=counts,
        patients={part: min(n, max(1, n // 3)) for part, n in of_part.items()} | {"test": patients},
        lists={part: f"{zlib.crc32(f'{run.dataset} {part} {run.draw}'.encode()):016x}" for part in counts},
        labelled=list(range(counts["labelled"])),
        audit={pair: dict(clean) for pair in ("train-val", "train-test", "val-test")},
    )
