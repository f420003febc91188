"""What a cell of the page opens (runs, scores of every image, curves, overlays), packed small."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.report import frame
from benchmark.report.overlays import Panel

SCALE = 10_000  # scores are embedded as whole numbers of 1/SCALE, which is how rows round them
CURVE_LINES = 25  # of a training curve; more is not seen in so small a picture


@dataclass(frozen=True)
class Detail:
    """How much of a comparison is embedded."""

    every_run: bool = True  # scores of every run; otherwise their means over the runs of a cell, image by image
    curves: bool = True
    overlays: bool = True


def pack(rows: Sequence[dict], cells: Mapping[str, str], panels: Sequence[Panel], detail: Detail) -> str:
    """JSON, deflated, in base 64: see `opened`. It holds nothing that could end a script element."""
    text = json.dumps(opened(rows, cells, panels, detail), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack(packed: str) -> dict[str, Any]:
    """What `pack` packed; the page does the same."""
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def opened(rows: Sequence[dict], cells: Mapping[str, str], panels: Sequence[Panel], detail: Detail) -> dict[str, Any]:
    """The runs of one comparison as the page's script reads them. `cells` says in which cell each run's key is.

    Keys: `images` and for each its `patient` and, where rows have one, `stratum`; `runs`, whose `scores` follow the
    order of `images` (mean over the classes that have a value, in 1/SCALE; null where none has); without every run's
    scores `means` by cell instead; `overlays`.
    """
    finished = [row for row in rows if "scores" in row]
    names, about = _images(finished)
    scores = {row["key"]: image_scores(row, names) for row in finished}
    data: dict[str, Any] = {"images": names, **about, "runs": [_run(row, cells[row["key"]], detail) for row in rows]}
    for run in data["runs"]:
        if run["key"] in scores:
            run["dice"] = _rounded(np.nanmean(scores[run["key"]])) if _any(scores[run["key"]]) else None
            if detail.every_run:
                run["scores"] = _whole(scores[run["key"]])
    if not detail.every_run:
        by_cell: dict[str, list[np.ndarray]] = {}
        for key, values in scores.items():
            by_cell.setdefault(cells[key], []).append(values)
        data["means"] = {cell: _whole(_mean(np.array(values))) for cell, values in by_cell.items()}
    if detail.overlays:
        kept = [panel for panel in panels if panel.key in cells]
        data["overlays"] = [
            {"image": panel.image, "key": panel.key, "picture": base64.b64encode(panel.picture).decode()}
            for panel in kept
        ]
    return data


def image_scores(row: dict[str, Any], names: Sequence[str]) -> np.ndarray:
    """Dice of each named image: the mean over the foreground classes that have a value; nan where none has."""
    place = {name: i for i, name in enumerate(names)}
    dice = np.full((len(names), max(1, len(row["classes"]) - 1)), np.nan)
    dice[[place[name] for name in row["scores"]["name"]]] = frame.scores(row, "dice")
    return _mean(dice.T)


def _images(rows: Sequence[dict]) -> tuple[list[str], dict[str, list]]:
    """Names of all test images, patient and stratum of each, as places in lists of what is different."""
    found: dict[str, tuple[str, str]] = {}
    for row in rows:
        columns = row["scores"]
        if row is rows[0] or columns["name"] != rows[0]["scores"]["name"]:
            strata = columns.get("stratum") or [""] * len(columns["name"])
            for name, *about in zip(columns["name"], columns["patient"], strata, strict=True):
                found.setdefault(name, tuple(about))
    patients, patient = _places([patient for patient, _ in found.values()])
    strata, stratum = _places([stratum for _, stratum in found.values()])
    about = {"patients": patients, "patient": patient}
    return list(found), about | ({"strata": strata, "stratum": stratum} if any(strata) else {})


def _places(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """What is different among words, and the place therein of each."""
    numbers = {word: i for i, word in enumerate(dict.fromkeys(words))}
    return list(numbers), [numbers[word] for word in words]


def _run(row: dict[str, Any], cell: str, detail: Detail) -> dict[str, Any]:
    run = {
        "cell": cell,
        "key": row["key"],
        "status": row["status"],
        "draw": row["run"]["draw"],
        "seed": row["run"]["seed"],
        "steps": row["budget"]["steps"],
        "seconds": row["measured"]["seconds"],
        "best": row.get("best", {}).get("step"),
    }
    if detail.curves:
        run["training"] = _thinned(row["history"])
        run["validation"] = (
            {
                "step": np.asarray(row["validation"]["step"], dtype=np.int64).tolist(),
                "dice": [_significant(dice, 4) for dice in np.asarray(row["validation"]["dice"], dtype=np.float64)],
            }
            if row["validation"]
            else {}
        )
    return run


def _thinned(columns: dict[str, list]) -> dict[str, list]:
    """A training curve in at most CURVE_LINES lines: each the mean of the lines since the one before."""
    steps = np.asarray(columns.get("step", ()), dtype=np.int64).tolist()
    if not steps:
        return {}
    ends = np.unique(np.linspace(0, len(steps), min(CURVE_LINES, len(steps)) + 1).round().astype(int))
    terms = {
        name: [_significant(_mean(part)) for part in np.split(np.array(values, dtype=np.float64), ends[1:-1])]
        for name, values in columns.items()
        if name != "step"
    }
    return {"step": [steps[end - 1] for end in ends[1:]], **terms}


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis, without nan; nan where nothing else is."""
    there = ~np.isnan(values)
    count = there.sum(0)
    return np.where(count, np.where(there, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _any(values: np.ndarray) -> bool:
    return not np.isnan(values).all()


def _whole(values: np.ndarray) -> list[int | None]:
    return [None if value != value else int(value) for value in np.round(values * SCALE).tolist()]


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _significant(value: np.ndarray, digits: int = 3) -> float | None:
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None
