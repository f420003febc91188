"""What a cell of the page opens (runs, scores of every image, curves, overlays), packed small."""

import base64
import dataclasses
import json
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmark.analysis import family, run_table
from benchmark.analysis.comparison import Comparison
from benchmark.protocol import suites
from benchmark.protocol.scores import SCORES, Score, for_classes
from benchmark.report import bibliography
from benchmark.report.page.overlays import Panel
from benchmark.report.tables import formatting
from benchmark.run_records import RunRecord
from benchmark.runs import Run
from benchmark.words import plural, some

SCALE = 10_000  # scores are embedded as whole numbers of 1/SCALE, which is how records round them
CURVE_LINES = 25  # of a training curve; more is not seen in so small a picture


@dataclass(frozen=True)
class Detail:
    """How much of a comparison is embedded."""

    every_run: bool = True  # scores of every run; otherwise their means over the runs of a cell, image by image
    curves: bool = True
    overlays: bool = True


def pack(
    comparison: Comparison,
    methods: Mapping[str, str],
    cells: Mapping[str, str],
    panels: Sequence[Panel],
    detail: Detail,
) -> str:
    """JSON, deflated, in base 64: see `opened`. It holds nothing that could end a script element."""
    data = opened(comparison, methods, cells, panels, detail)
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack(packed: str) -> dict[str, Any]:
    """What `pack` packed; the page does the same."""
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def opened(
    comparison: Comparison,
    methods: Mapping[str, str],
    cells: Mapping[str, str],
    panels: Sequence[Panel],
    detail: Detail,
) -> dict[str, Any]:
    """The runs of one comparison as the page's script reads them.

    `cells` says for each run's key the cell that it is in, METHOD/RATIO, and `methods` how each METHOD is printed.
    Keys: `methods`; `classes`, how many foreground classes there are; `unit` and `units`, what the split keeps apart;
    `images`, and for each its `patient` (that unit) and, where records have one, `stratum`; `runs`, with `scores` in
    the order of `images` (the mean over the classes that have a score, in 1/SCALE; null where none has); instead of
    every run's scores `means` by cell; `overlays`; `about`, by cell its score and its difference to supervised in
    sentences; `papers`, by METHOD the link of its publication.
    """
    records = list(comparison.records.values())
    finished = [record for record in records if record.scores]
    scores = {record.key: image_scores(record) for record in finished}
    of_runs = {record.key: _run_score(record) for record in finished}
    unit = {"unit": records[0].unit, "units": plural(records[0].unit)}
    data: dict[str, Any] = {"methods": methods, "classes": len(records[0].classes) - 1, **unit, **_images(finished)}
    data["runs"] = [_run(record, cells[record.key], detail) for record in records]
    data["about"] = _about(comparison, cells)
    data["papers"] = {cells[record.key].rpartition("/")[0]: _paper(record.run.method) for record in records}
    for run in data["runs"]:
        if run["key"] in scores:
            of_run = scores[run["key"]]
            run["dice"] = of_runs[run["key"]]
            if detail.every_run:
                run["scores"] = _whole(of_run)
    if not detail.every_run:
        by_cell: dict[str, list[np.ndarray]] = {}
        for key, values in scores.items():
            by_cell.setdefault(cells[key], []).append(values)
        data["means"] = {cell: _whole(_mean(np.array(values))) for cell, values in by_cell.items()}
    if detail.overlays:
        data["overlays"] = [
            {"image": panel.image, "key": panel.key, "picture": base64.b64encode(panel.picture).decode()}
            for panel in panels
        ]
    return data


def _about(comparison: Comparison, cells: Mapping[str, str]) -> dict[str, list[str]]:
    """By cell, its score with the interval, and the difference to supervised with its p over the family."""
    score, found = comparison.options.score, {}
    claims = family.against_supervised(comparison)
    for label in comparison.labels:
        for ratio in comparison.ratios([label]):
            keys = comparison.keys(label, ratio)
            if not keys:
                continue
            mean = formatting.interval(comparison.interval(label, ratio), score, ()).text
            found[cells[keys[0]]] = sentences = [f"{score.title}: {mean}, in {score.unit} (95 % confidence interval)."]
            claim = claims.get((ratio, label))
            if claim:
                text, p = formatting.difference(claim.difference, score, ()).text, formatting.probability(claim.p).text
                sentences.append(
                    f"Difference to {comparison.supervised}: {text}; p {p}, adjusted over "
                    f"{some(claim.tests, 'difference')}: {claim.verdict(score.higher_is_better)}."
                )
    return found


def _paper(method: str) -> str:
    publication = bibliography.of_methods().get(method)
    return publication.link if publication else ""


def command(run: Run) -> str:
    """The `bench run` command that trains the same run."""
    default, words = Run(**suites.RECIPES["quick"]), ["bench", "run"]
    for field in dataclasses.fields(run):
        value = getattr(run, field.name)
        if field.name == "settings":
            words += [word for name, of in value for word in ("--set", f"{name}={json.dumps(of)}")]
        elif field.name not in ("content", "weights_hash", "protocol", "tuned", "mpp") and (
            field.name == "method" or value != getattr(default, field.name)
        ):
            words += [f"--{field.name.replace('_', '-')}", f"{value}"]
    return shlex.join(words)


def _run_score(record: RunRecord) -> float | None:
    """The Dice of a run; of several classes, their mean."""
    dice = _dice(record).of_run(run_table.columns(record))
    return None if np.isnan(dice) else round(dice, 6)


def _dice(record: RunRecord) -> Score:
    return SCORES[for_classes("dice", len(record.classes) - 1)]


def image_scores(record: RunRecord) -> Float[np.ndarray, "images"]:
    """Dice of each test image: the mean over the foreground classes that have a score; nan where none has."""
    return run_table.scores(record, _dice(record).name)[:, 0]


def _images(finished: Sequence[RunRecord]) -> dict[str, list]:
    """Names of the test images, which are the same in all records; patient and stratum as places in lists of them."""
    columns = finished[0].scores if finished else {"name": [], "patient": []}
    patients, patient = _places(columns["patient"])
    strata, stratum = _places(columns.get("stratum") or [""] * len(columns["name"]))
    about = {"images": list(columns["name"]), "patients": patients, "patient": patient}
    return about | ({"strata": strata, "stratum": stratum} if any(strata) else {})


def _places(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """The different words, and for each word its place among them."""
    numbers = {word: i for i, word in enumerate(dict.fromkeys(words))}
    return list(numbers), [numbers[word] for word in words]


def _run(record: RunRecord, cell: str, detail: Detail) -> dict[str, Any]:
    run = {
        "cell": cell,
        "key": record.key,
        "status": record.status,
        "draw": record.run.draw,
        "seed": record.run.seed,
        "steps": record.budget.steps,
        "seconds": record.measured.seconds,
        "best": record.best.step if record.best else None,
        "command": command(record.run),
    }
    if detail.curves:
        run["training"] = _thinned(record.history)
        run["validation"] = (
            {
                "step": np.asarray(record.validation["step"], dtype=np.int64).tolist(),
                "dice": [_significant(dice, 4) for dice in np.asarray(record.validation["dice"], dtype=np.float64)],
            }
            if record.validation
            else {}
        )
    return run


def _thinned(columns: dict[str, list]) -> dict[str, list]:
    """A training curve in at most CURVE_LINES lines: each the mean of the lines since the one before."""
    steps = np.asarray(columns.get("step", ()), dtype=np.int64).tolist()
    if not steps:
        return {}
    ends = np.unique(np.linspace(0, len(steps), min(CURVE_LINES, len(steps)) + 1).round().astype(int))
    terms = {}
    for name, column in columns.items():
        if name != "step":
            values = np.array(column, dtype=np.float64)
            there = ~np.isnan(values)
            count = np.add.reduceat(there, ends[:-1], dtype=np.int64)
            sums = np.add.reduceat(np.where(there, values, 0), ends[:-1])
            means = np.where(count, sums / np.maximum(count, 1), np.nan)
            terms[name] = [_significant(mean) for mean in means.tolist()]
    return {"step": [steps[end - 1] for end in ends[1:]], **terms}


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis, without nan; nan where nothing else is."""
    there = ~np.isnan(values)
    count = there.sum(0)
    return np.where(count, np.where(there, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _whole(values: np.ndarray) -> list[int | None]:
    return [None if value != value else int(value) for value in np.round(values * SCALE).tolist()]


def _significant(value: float, digits: int = 3) -> float | None:
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None
