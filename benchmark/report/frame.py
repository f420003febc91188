"""Rows as tables of numbers: which runs are compared, a line for each run, a line for each score."""

import gc
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from jaxtyping import Float

import methods
from benchmark import runs
from benchmark.progress import Tell, silent

Row = dict[str, Any]

# What a fair table holds fixed, first what tells two comparisons apart most readably.
FIXED = (
    "dataset", "task", "split", "encoder", "decoder", "norm", "width", "dropout", "tile", "weights_hash", "content",
)  # fmt: skip
SILENT = {"precision": "float32"}  # values that go without saying where others are named
BARE = ("dataset", "task", "split", "encoder", "decoder")  # values that need no name before them
BUDGET = ("steps", "labelled", "unlabelled", "crop", "optimiser", "precision")  # equal for all, or a dagger says so
TRAINING = (*BUDGET, "lr", "weight_decay", "schedule")  # named in a label where they differ
TEXTS = ("key", "method", "variant", "settings", "label", "status")  # of a run's line
METRICS = ("dice", "jaccard", "hd95", "assd", "boundary_f1")  # one number for each image and foreground class
BEST = ("best_dice", "best_jaccard")  # the same, of the step that was best on validation
FINDING = ("false_alarm", "missed", "hd95_hits", "assd_hits")  # whether objects are found, and how well those that are
PER_IMAGE = ("background_dice", "ece", "object_f1", "object_dice", "object_hausdorff")


# ----------------------------------------------------------------------------------------------------------------------
# Reading


def load(results: Path, tell: Tell = silent) -> list[Row]:
    """All rows as `benchmark.runs.load` has them, but small: columns of numbers are arrays, and None in them is nan.

    Scores of foreground classes are float64 arrays (images, classes), `present` and `predicted` bool arrays of that
    shape, scores of images and the columns of `history` and `validation` float64 arrays. Names, patients and strata
    stay lists of text; rows with the same list share it. Ten thousand rows of 668 images take about 0.6 GB.
    """
    reader = _Reader()
    rows = []
    collecting = gc.isenabled()
    gc.disable()  # nothing here is cyclic, and looking for cycles takes longer than reading
    try:
        for done, path in enumerate(runs.paths(results), 1):
            rows.append(runs.read(path, reader.row))
            tell(done, "")
    finally:
        if collecting:
            gc.enable()
    return rows


class _Reader:
    """Reads rows one by one, and lets them share what they have in common."""

    def __init__(self) -> None:
        self.parts = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self.numbers = msgspec.json.Decoder(list[float | None])
        self.flags = msgspec.json.Decoder(list[bool])
        self.shared: dict[bytes, Any] = {}

    def row(self, text: bytes) -> Row:
        try:
            parts = self.parts.decode(text)
            row = {name: self._part(name, raw) for name, raw in parts.items() if name != "best"}
            if "best" in parts:
                best = self.parts.decode(parts["best"])
                step = msgspec.json.decode(best.pop("step"))
                last = step == row["run"]["steps"]  # then these are the scores that are there already
                row["best"] = {"step": step} | {
                    name: row["scores"][name] if last else self._column(name, raw) for name, raw in best.items()
                }
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error
        return row

    def _part(self, name: str, raw: msgspec.Raw) -> Any:
        if name in ("scores", "history", "validation"):
            return {column: self._column(column, values) for column, values in self.parts.decode(raw).items()}
        if name in ("certificate", "machine", "classes"):
            return self._share(raw)
        return msgspec.json.decode(raw)

    def _column(self, name: str, raw: msgspec.Raw) -> Any:
        if name in ("name", "patient", "stratum"):
            return self._share(raw)
        text = bytes(raw)
        flat = b"[" + text.translate(None, b"[]") + b"]"
        flags = name in ("present", "predicted")
        values = np.array(self.flags.decode(flat)) if flags else np.array(self.numbers.decode(flat), np.float64)
        classes = text[: text.find(b"]")].count(b",") + 1 if text.startswith(b"[[") else None
        return values.reshape(-1, classes) if classes else values

    def _share(self, raw: msgspec.Raw) -> Any:
        text = bytes(raw)
        if text not in self.shared:
            self.shared[text] = msgspec.json.decode(text)
        return self.shared[text]


# ----------------------------------------------------------------------------------------------------------------------
# What is compared


def comparisons(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows grouped by what a fair table holds fixed, by name: the dataset, the task, and what tells two apart.

    A budget, or a precision, under which two methods have run is a comparison of its own. Runs of one method alone with
    another budget stay with the largest.
    """
    groups: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        groups[fixed(row)].append(row)
    groups = {(*group, spent): of for group, all_ in groups.items() for spent, of in _by_budget(all_).items()}
    names = _names(list(groups))
    return {names[group]: groups[group] for group in sorted(groups, key=names.__getitem__)}


def _by_budget(rows: Sequence[Row]) -> dict[tuple, list[Row]]:
    methods_: dict[tuple, set[str]] = defaultdict(set)
    runs_: Counter[tuple] = Counter()
    for row in rows:
        methods_[budget(row)].add(row["run"]["method"])
        runs_[budget(row)] += 1
    largest = max(runs_, key=lambda spent: (len(methods_[spent]) > 1, runs_[spent], str(spent)))
    groups: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        groups[budget(row) if len(methods_[budget(row)]) > 1 else largest].append(row)
    return groups


def budget(row: Row) -> tuple:
    """What a run was given to train with."""
    return tuple(row["run"][name] for name in BUDGET)


def fixed(row: Row) -> tuple:
    """What a comparison holds fixed, of this row; methods that were tuned compare with those of as many trials."""
    tuned = row["run"].get("tuned")
    return *(row["run"][name] for name in FIXED), *((runs.trials_of(tuned),) if tuned else ())


def fingerprint(row: Row) -> str:
    """A short hash of what a comparison holds fixed: the same wherever its rows lie, and whatever else lies there."""
    return hashlib.sha256(json.dumps(fixed(row)).encode()).hexdigest()[:10]


def _names(groups: list[tuple]) -> dict[tuple, str]:
    """Readable, different names: dataset and task, and then only fields in which groups of the same name differ."""
    words = {
        group: [value for value in group[:2] if value] + [f"tuned by {n} trials" for n in group[len(FIXED) : -1]]
        for group in groups
    }
    values = {group: dict(zip((*FIXED, *BUDGET), (*group[: len(FIXED)], *group[-1]), strict=True)) for group in groups}
    for field in (*FIXED[2:], *BUDGET):
        alike: dict[str, list[tuple]] = defaultdict(list)
        for group in groups:
            alike[" ".join(words[group])].append(group)
        for same in alike.values():
            if len({values[group][field] for group in same}) > 1:
                for group in same:
                    if values[group][field] != SILENT.get(field):
                        words[group].append(_said(field, values[group][field]))
    return {group: " ".join(words[group]) for group in groups}


def _said(field: str, value: Any) -> str:
    if field in ("content", "weights_hash"):
        return f"{field.removesuffix('_hash')} {value[:6] or 'none'}"
    return str(value) if field in BARE else f"{field} {value}"


# ----------------------------------------------------------------------------------------------------------------------
# A line for each run


def runs_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One line per run of a comparison, in the order in which tables print methods: supervised, then by year.

    Columns: `key`, `method`, `variant`, `settings` (text; "" of a tuned run), `label` (as tables print it: the title,
    and in brackets variant, settings and what of the training differs from most runs), `year`, `ratio`, `draw`, `seed`,
    `steps`, `status`, `images` (forwarded, with and without gradient), `flops`, `seconds`, `peak_memory` (bytes; nan if
    unknown), `parameters`, `uneven` (the budget differs from that of most runs of the comparison).
    """
    usual = _usual(rows)
    titles = _titles(rows)
    years = {name: methods.year(name) for name in {row["run"]["method"] for row in rows}}
    lines = []
    for row in rows:
        run, budget, measured = row["run"], row["budget"], row["measured"]
        tuned = run.get("tuned", "")
        other = [name for name in TRAINING if run[name] != usual[name] and not (tuned and name == "lr")]
        settings = "" if tuned else ", ".join(f"{name}={_text(value)}" for name, value in run["settings"])
        told = [run["variant"], settings, *(f"{name} {_text(run[name])}" for name in other)]
        brackets = ", ".join(filter(None, told))
        lines.append(
            {
                "key": row["key"],
                "method": run["method"],
                "variant": run["variant"],
                "settings": settings,
                "label": titles[run["method"]] + (f" ({brackets})" if brackets else ""),
                "year": years[run["method"]] or np.nan,
                "ratio": float(run["ratio"]),
                "draw": run["draw"],
                "seed": run["seed"],
                "steps": run["steps"],
                "status": row["status"],
                "images": sum(budget["images"].values()),
                "flops": float(budget["flops"]),
                "seconds": float(measured["seconds"]),
                "peak_memory": float(measured["peak_memory"] or np.nan),
                "parameters": budget["parameters"],
                "uneven": any(name in BUDGET for name in other),
            }
        )
    frame = pd.DataFrame(lines).astype({name: object for name in TEXTS if lines})  # faster, line by line, than strings
    if frame.empty:
        return frame
    first = frame.assign(
        unlike=frame.method != "supervised",
        changed=(frame.label != frame.method.map(titles)),
    )
    order = first.sort_values(["unlike", "year", "method", "changed", "label", "ratio", "draw", "seed", "key"]).index
    return frame.loc[order].reset_index(drop=True)


def _usual(rows: Sequence[Row]) -> dict[str, Any]:
    """How most of the runs were trained that more than one method has; of equally many, the longest training."""
    counts = Counter(tuple(row["run"][name] for name in TRAINING) for row in rows)
    by = defaultdict(set)
    for row in rows:
        by[tuple(row["run"][name] for name in TRAINING)].add(row["run"]["method"])
    most = max(counts, key=lambda one: (len(by[one]) > 1, counts[one], one[0], str(one)), default=())
    return dict(zip(TRAINING, most, strict=False))


def _titles(rows: Sequence[Row]) -> dict[str, str]:
    """How methods are printed; two methods of the same title have their names added."""
    titles = {row["run"]["method"]: row["title"] for row in rows}
    often = Counter(titles.values())
    return {name: title if often[title] == 1 else f"{title} [{name}]" for name, title in titles.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return f"{value:g}" if isinstance(value, int | float) else json.dumps(value)


# ----------------------------------------------------------------------------------------------------------------------
# A line for each score


def scores(row: Row, metric: str) -> Float[np.ndarray, "images classes"]:
    """The scores of a finished row; nan where an image has none. Scores of whole images have one column.

    A false alarm is 1 or 0 in images without an object, a missed object in those with one; hits are where neither is.
    """
    if metric in FINDING:
        present, predicted = (np.asarray(row["scores"][name], dtype=bool) for name in ("present", "predicted"))
        if metric == "false_alarm":
            return np.where(present, np.nan, predicted)
        if metric == "missed":
            return np.where(present, ~predicted, np.nan)
        return np.where(present & predicted, scores(row, metric.removesuffix("_hits")), np.nan)
    part, name = ("best", metric.removeprefix("best_")) if metric in BEST else ("scores", metric)
    values = np.asarray(row[part][name], dtype=np.float64)
    return values if values.ndim > 1 else values[:, None]
