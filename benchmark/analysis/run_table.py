"""Run records as tables of numbers: which runs are compared, a line for each run, a line for each score."""

import gc
import hashlib
import json
import typing
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmark import runs
from benchmark.progress import Tell, silent
from benchmark.protocol.scores import SCORES
from benchmark.run_records import Best, RunRecord, paths, read

# Fields of a run that a fair table holds fixed, beside the kind of device; first those that name the difference
# between two comparisons most readably.
FIXED = (
    "dataset", "task", "split", "scale", "encoder", "decoder", "norm", "width", "dropout", "tile", "weights_hash",
    "content", "protocol",
)  # fmt: skip
SILENT = {"scale": 1.0, "precision": "float32", "kind": "cpu"}  # values that are not named beside others
BARE = ("dataset", "task", "split", "encoder", "decoder")  # values that need no name before them
BUDGET = ("steps", "labelled", "unlabelled", "crop", "optimiser", "precision")  # equal for all, or a dagger says so
TRAINING = (*BUDGET, "lr", "weight_decay", "schedule")  # named in a label where they differ
TEXTS = ("key", "method", "variant", "settings", "label", "status")  # of a run's line


# ----------------------------------------------------------------------------------------------------------------------
# Reading


def load(results: Path, tell: Tell = silent) -> list[RunRecord]:
    """All run records, in little memory: columns of numbers are arrays, in which None is nan.

    Scores of foreground classes are float64 arrays (images, classes), `present` and `predicted` bool arrays of that
    shape, scores of images and the columns of `history` and `validation` float64 arrays. Names, patients and strata
    stay lists of text; records with the same list share it. Ten thousand records of 668 images take about 0.6 GB.
    """
    reader = _Reader()
    records = []
    collecting = gc.isenabled()
    gc.disable()  # nothing here is cyclic, and looking for cycles takes longer than reading
    try:
        for done, path in enumerate(paths(results), 1):
            records.append(read(path, reader.record))
            tell(done, "")
    finally:
        if collecting:
            gc.enable()
    return records


class _Reader:
    """Reads records one by one, and lets them share what they have in common."""

    def __init__(self) -> None:
        self.parts = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self.numbers = msgspec.json.Decoder(list[float | None])
        self.flags = msgspec.json.Decoder(list[bool])
        self.names = msgspec.json.Decoder(list[str])
        self.fields = {
            name: msgspec.json.Decoder(kind) for name, kind in typing.get_type_hints(RunRecord).items()
        }  # fmt: skip
        self.shared: dict[bytes, Any] = {}

    def record(self, text: bytes) -> RunRecord:
        parts = {name: raw for name, raw in self.parts.decode(text).items() if name in self.fields}
        best = parts.pop("best", msgspec.Raw(b"null"))
        record = RunRecord(**{name: self._part(name, raw) for name, raw in parts.items()})
        if bytes(best) != b"null":
            found = self.parts.decode(best)
            step = msgspec.json.decode(found["step"], type=int)
            last = step == record.run.steps  # then these are the scores that are there already
            columns = {
                name: record.scores[name] if last else self._column(name, raw)
                for name, raw in self.parts.decode(found["scores"]).items()
            }
            record.best = Best(step=step, scores=columns)
        return record

    def _part(self, name: str, raw: msgspec.Raw) -> Any:
        if name in ("scores", "history", "validation"):
            return {column: self._column(column, values) for column, values in self.parts.decode(raw).items()}
        if name in ("certificate", "machine", "classes"):
            return self._share(raw, self.fields[name])
        return self.fields[name].decode(raw)

    def _column(self, name: str, raw: msgspec.Raw) -> Any:
        if name in ("name", "patient", "stratum"):
            return self._share(raw, self.names)
        text = bytes(raw)
        flat = b"[" + text.translate(None, b"[]") + b"]"
        flags = name in ("present", "predicted")
        values = np.array(self.flags.decode(flat)) if flags else np.array(self.numbers.decode(flat), np.float64)
        classes = text[: text.find(b"]")].count(b",") + 1 if text.startswith(b"[[") else None
        return values.reshape(-1, classes) if classes else values

    def _share(self, raw: msgspec.Raw, decoder: msgspec.json.Decoder) -> Any:
        text = bytes(raw)
        if text not in self.shared:
            self.shared[text] = decoder.decode(text)
        return self.shared[text]


# ----------------------------------------------------------------------------------------------------------------------
# What is compared


def comparisons(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Records grouped by what a fair table holds fixed, by name: dataset, task, and the fields in which two differ.

    A budget, or a precision, under which two methods have run is a comparison of its own. Runs of one method alone with
    another budget stay with the largest.
    """
    groups: dict[tuple, list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[fixed(record)].append(record)
    groups = {(*group, spent): of for group, all_ in groups.items() for spent, of in _by_budget(all_).items()}
    names = _names(list(groups))
    return {names[group]: groups[group] for group in sorted(groups, key=names.__getitem__)}


def _by_budget(records: Sequence[RunRecord]) -> dict[tuple, list[RunRecord]]:
    methods_: dict[tuple, set[str]] = defaultdict(set)
    runs_: Counter[tuple] = Counter()
    for record in records:
        methods_[budget(record)].add(record.run.method)
        runs_[budget(record)] += 1
    largest = max(runs_, key=lambda spent: (len(methods_[spent]) > 1, runs_[spent], str(spent)))
    groups: dict[tuple, list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[budget(record) if len(methods_[budget(record)]) > 1 else largest].append(record)
    return groups


def budget(record: RunRecord) -> tuple:
    """What a run was given to train with."""
    return tuple(getattr(record.run, name) for name in BUDGET)


def fixed(record: RunRecord) -> tuple:
    """What a comparison holds fixed: fields of the run, the kind of device, and in words what only some runs have."""
    run = record.run
    special = [f"tuned by {runs.trials_of(run.tuned)} trials"] if run.tuned else []
    special += [f"adapt {run.adapt}"] if run.adapt != runs.Run.adapt else []
    return *(getattr(run, name) for name in FIXED), record.machine.kind, *special


def fingerprint(record: RunRecord) -> str:
    """A short hash of what a comparison holds fixed: the same in any folder."""
    return hashlib.sha256(json.dumps(fixed(record)).encode()).hexdigest()[:10]


def _names(groups: list[tuple]) -> dict[tuple, str]:
    """Readable, different names: dataset and task, and then only fields in which groups of the same name differ."""
    names = (*FIXED, "kind")
    words = {group: [value for value in (*group[:2], *group[len(names) : -1]) if value] for group in groups}
    values = {group: dict(zip((*names, *BUDGET), (*group[: len(names)], *group[-1]), strict=True)) for group in groups}
    for field in (*names[2:], *BUDGET):
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


def runs_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One line per run of a comparison, in the order in which tables print methods: supervised, then by year.

    Columns: `key`, `method`, `variant`, `settings` (text, with views that are not the method's own, and the strategy
    that chose the labelled images; without those of a tuned run), `label` (as tables print it: the title, and in
    brackets variant, settings and what of the training differs from most runs), `year`, `ratio`, `draw`, `seed`,
    `steps`, `status`, `images` (forwarded, with and without gradient), `flops`, `seconds`, `peak_memory` (bytes; nan if
    unknown), `parameters`, `uneven` (the budget differs from that of most runs of the comparison).
    """
    usual = _usual(records)
    titles = _titles(records)
    years = {record.run.method: record.year for record in records}
    lines = []
    for record in records:
        run, budget, measured = record.run, record.budget, record.measured
        tuned = run.tuned
        other = [name for name in TRAINING if getattr(run, name) != usual[name] and not (tuned and name == "lr")]
        changed = [] if tuned else [f"{name}={_text(value)}" for name, value in run.settings]
        changed += [f"{run.views} views"] if run.views != runs.Run.views else []
        settings = ", ".join(changed + ([f"chosen by {run.chosen_by}"] if run.chosen_by else []))
        parts = [run.variant, settings, *(f"{name} {_text(getattr(run, name))}" for name in other)]
        brackets = ", ".join(filter(None, parts))
        lines.append(
            {
                "key": record.key,
                "method": run.method,
                "variant": run.variant,
                "settings": settings,
                "label": titles[run.method] + (f" ({brackets})" if brackets else ""),
                "year": years[run.method] or np.nan,
                "ratio": float(run.ratio),
                "draw": run.draw,
                "seed": run.seed,
                "steps": run.steps,
                "status": record.status,
                "images": sum(budget.images.values()),
                "flops": float(budget.flops),
                "seconds": float(measured.seconds),
                "peak_memory": float(measured.peak_memory or np.nan),
                "parameters": budget.parameters,
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


def _usual(records: Sequence[RunRecord]) -> dict[str, Any]:
    """How most of the runs were trained that more than one method has; of equally many, the longest training."""
    counts = Counter(tuple(getattr(record.run, name) for name in TRAINING) for record in records)
    by = defaultdict(set)
    for record in records:
        by[tuple(getattr(record.run, name) for name in TRAINING)].add(record.run.method)
    most = max(counts, key=lambda one: (len(by[one]) > 1, counts[one], one[0], str(one)), default=())
    return dict(zip(TRAINING, most, strict=False))


def _titles(records: Sequence[RunRecord]) -> dict[str, str]:
    """How methods are printed; two methods of the same title have their names added."""
    titles = {record.run.method: record.title for record in records}
    often = Counter(titles.values())
    return {name: title if often[title] == 1 else f"{title} [{name}]" for name, title in titles.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return f"{value:g}" if isinstance(value, int | float) else json.dumps(value)


# ----------------------------------------------------------------------------------------------------------------------
# A line for each score


def scores(record: RunRecord, metric: str) -> Float[np.ndarray, "images classes"]:
    """The values of a score of the catalogue, of a finished record; nan where an image has none.

    Scores of each foreground class have a column for each, others one. All are nan if the record lacks the score.
    """
    return SCORES[metric].read(columns(record))


def columns(record: RunRecord) -> dict[str, Any]:
    """The columns that scores are read from: those of the last step, and as best_NAME of the best on validation."""
    best = record.best.scores if record.best else {}
    return {**record.scores, **{f"best_{name}": values for name, values in best.items()}}
