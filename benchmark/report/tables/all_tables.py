"""The tables of a comparison, by name: methods × ratios × metrics, and ablations."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmark.analysis import family, standing
from benchmark.analysis.comparison import Comparison, Options
from benchmark.protocol.scores import BEST, COMPUTED, FINDING, MEAN, SCORES
from benchmark.report.tables import breakdown, controls, formatting, headroom, notes, paired
from benchmark.report.tables.formatting import METHOD, percent
from benchmark.report.tables.table import Cell, Column, Line, Table
from benchmark.run_records import RunRecord

MAIN = ("dice", "jaccard", "hd95", "assd")
FLOPS = Column("FLOPs ×", unit="multiple of supervised")
FIRST = MAIN[0]  # with several classes, the main table shows every class of this score only
FURTHER = tuple(score.name for score in COMPUTED if score.per_class and not score.needs_instances)
OBJECTS = tuple(score.name for score in COMPUTED if score.needs_instances)
WHOLE = tuple(score.name for score in COMPUTED if not score.per_class)


def tables(records: Sequence[RunRecord] | Comparison, options: Options = Options()) -> dict[str, Table]:  # noqa: B008
    """Every table that the records of one comparison are enough for, by name; a `Comparison` has its own options."""
    comparison = Comparison.of(records, options)
    written = {name: function(comparison) for name, function in _functions(comparison).items()}
    return {name: table for name, table in written.items() if table}


def table_of(name: str, records: Sequence[RunRecord] | Comparison, options: Options = Options()) -> Table | None:  # noqa: B008
    """One table; None where the records are not enough."""
    comparison = Comparison.of(records, options)
    function = _functions(comparison).get(name)
    return function(comparison) if function else None


def _functions(comparison: Comparison) -> dict[str, Callable[[Comparison, Options], Table | None]]:
    if not len(comparison.runs):
        return {}
    ablated = dict.fromkeys(comparison.runs.method[(comparison.runs.variant != "") | (comparison.runs.settings != "")])
    return {
        "comparison": main_scores, "ratios": ratios, "further": further, "objects": objects,
        "headroom": headroom.headroom, "paired": paired.paired, "controls": controls.controls,
        "labels_saved": paired.labels_saved, "equal_cost": paired.equal_cost,
        "strata": breakdown.strata, "patients": breakdown.patients, "per_patient": breakdown.per_patient,
        **{f"ablation_{method}": partial(ablation, method=method) for method in ablated},
    }  # fmt: skip


def main_scores(comparison: Comparison) -> Table | None:
    """Methods by ratio: overlap and distance with intervals, tie group, cost, and runs behind them.

    Several classes: the mean over classes of every score, and the Dice of each class.
    """
    labels = comparison.published
    scores = [(comparison.single(metric), None) for metric in MAIN]
    if len(comparison.classes) > 1:
        scores[1:1] = [(FIRST, c) for c in range(len(comparison.classes))]
    costs = [
        FLOPS, Column("Seconds", unit="s"),
        Column("M param.", unit="million"), Column("GB", unit="GB"), Column("Runs", "text"),
    ]  # fmt: skip
    remarks = [
        notes.legend(comparison.options.uneven, standing.ranks_any(comparison)),
        _units(MAIN),
        *_classes(comparison),
        *notes.empty(comparison, labels),
        *notes.cost(comparison, labels),
    ]
    lines = [
        Line(
            (formatting.name(comparison, label, ratio), *cells, *formatting.costs(comparison, label, ratio)),
            percent(ratio),
        )
        for ratio in comparison.ratios(labels)
        for label, cells in _scored(comparison, labels, scores, ratio).items()
    ]
    columns = [METHOD, *(_head(comparison, *score) for score in scores), *costs]
    return notes.table("comparison", "Methods by labelled fraction", columns, lines, comparison, labels, remarks)


def further(comparison: Comparison) -> Table | None:
    """All other scores of classes: boundaries; what is found, where some images have nothing to find; best step."""
    labels, validated = comparison.published, comparison.validated
    finding = any(
        not np.all(record.scores["present"]) for record in comparison.records.values() if record.status == "done"
    )
    metrics = [metric for metric in FURTHER if len(comparison.classes) > 1 or metric not in MAIN]
    metrics += [score.name for score in (*(FINDING if finding else ()), *(BEST if validated else ()))]
    remarks = [
        notes.legend(comparison.options.uneven, standing.ranks_any(comparison)),
        _units(metrics),
        *_classes(comparison),
        "False alarms: per cent of the images without an object in which one is predicted; missed: of those with one, "
        "in which none is; hits: images of objects that are found."
        if finding
        else "",
        "Best on validation: the same runs at the step that was best on validation, beside the score at the last step, "
        "never instead of it."
        if validated
        else "",
        *notes.empty(comparison, labels),
    ]
    columns, lines = _by_class(comparison, labels, [metric for metric in metrics if comparison.has(metric)])
    return notes.table("further", "Further scores", columns, lines, comparison, labels, remarks)


def objects(comparison: Comparison) -> Table | None:
    """Scores of objects, as in the GlaS challenge, and of whole images, such as calibration."""
    labels = comparison.published
    found = [metric for metric in OBJECTS if comparison.has(metric)]
    whole = [metric for metric in WHOLE if comparison.has(metric)]
    if not found and not whole:
        return None
    remarks = [
        notes.legend(comparison.options.uneven, standing.ranks_any(comparison)),
        _units([*found, *whole]),
        *(_classes(comparison) if found else ()),
    ]
    columns, lines = _by_class(comparison, labels, [*found, *whole])
    title = "Objects and whole images" if found else "Whole images"
    return notes.table("objects", title, columns, lines, comparison, labels, remarks)


def ratios(comparison: Comparison) -> Table | None:
    """Methods × ratios, one score; with several classes, a block for the mean over them and for each."""
    labels, score = comparison.published, comparison.options.score
    fractions = comparison.ratios(labels)
    blocks = {"": (comparison.options.metric, None)}
    if score.mean_of:
        blocks = {MEAN: (score.name, None)} | {name: (score.mean_of, c) for c, name in enumerate(comparison.classes)}
    lines = []
    for block, of_block in blocks.items():
        scored = [
            formatting.scored(comparison, comparison.present(labels, ratio), ratio, *of_block) for ratio in fractions
        ]
        for label in labels:
            cells = (of.get(label, Cell()) for of in scored)
            costs = formatting.costs(comparison, label, None)
            lines.append(Line((formatting.name(comparison, label, None), *cells, costs[0]), block))
    shown = SCORES[score.mean_of or score.name]
    columns = [METHOD, *(Column(percent(ratio), "ranked", shown.head, shown.unit) for ratio in fractions), FLOPS]
    remarks = [
        notes.legend(comparison.options.uneven, standing.ranks_any(comparison)),
        shown.in_units,
        *(_classes(comparison) if len(blocks) > 1 else ()),
        "Supervised at 100 % shows what all labels are worth at this budget." if _bounded(comparison, labels) else "",
        *notes.empty(comparison, labels),
        notes.runs(comparison, labels),
    ]
    title = f"{shown.title} by labelled fraction"
    return notes.table("ratios", title, columns, lines, comparison, labels, remarks, blocks="Class")


def _bounded(comparison: Comparison, labels: Sequence[str]) -> bool:
    """Whether supervised training alone has all labels, so that the others have less."""
    return [label for label in labels if len(comparison.at(label, 1.0))] == [comparison.baseline(labels)]


def ablation(comparison: Comparison, method: str) -> Table | None:
    """Variants and settings of a method beside the whole method and supervised."""
    runs, score = comparison.runs[comparison.runs.method == method], comparison.options.score
    full = list(dict.fromkeys(runs.label[(runs.variant == "") & (runs.settings == "")]))
    changed = [label for label in dict.fromkeys(runs.label) if label not in full]
    baseline = comparison.baseline(comparison.published)
    labels = list(dict.fromkeys(filter(None, [baseline, *full, *changed])))
    lines = []
    for ratio in comparison.ratios([*full, *changed]):
        here = comparison.present(labels, ratio)
        intervals = comparison.intervals(here, ratio, comparison.options.metric)
        wholes = family.against_whole(comparison)
        bases = family.against_supervised(comparison)
        for label in here:
            keys = comparison.keys(label, ratio)
            cells = [formatting.name(comparison, label, ratio), formatting.interval(intervals[label], score, keys)]
            claims = (wholes.get((ratio, label, full[0])) if full else None, bases.get((ratio, label)))
            for other, claim in zip((full[0] if full else None, baseline), claims, strict=True):
                tested = other is not None and other != label
                found = (
                    comparison.differences([label], other, ratio, comparison.options.metric)[label] if tested else None
                )
                behind = (*keys, *(comparison.keys(other, ratio) if other else ()))
                cells.append(formatting.difference(found, score, behind))
                cells.append(formatting.probability(claim.p if claim else float("nan")))
            flops, *_, count = formatting.costs(comparison, label, ratio)
            lines.append(Line((*cells, flops, count), percent(ratio)))
    against = [
        Column(head, kind, f"against {group}", score.unit if kind == "interval" else "probability")
        for group in ("the whole method", "supervised")
        for head, kind in (("Δ", "interval"), ("p (family)", "number"))
    ]
    columns = [METHOD, Column(score.head, "interval", unit=score.unit), *against, FLOPS, Column("Runs", "text")]
    remarks = [
        notes.legend(comparison.options.uneven, ranked=False),
        f"{score.in_units} Differences (Δ) of means on the same test images after the same draws and seeds. "
        "p (family): "
        "adjusted by Holm over all variants, or over all methods, that are published together; of variants against "
        "supervised nothing is claimed.",
    ]
    title = f"Ablation of {comparison.records[runs.key.iloc[0]].title}"
    return notes.table(f"ablation_{method}", title, columns, lines, comparison, labels, remarks, comparison.published)


# ----------------------------------------------------------------------------------------------------------------------
# Columns and lines of scores


def _by_class(comparison: Comparison, labels: Sequence[str], metrics: Sequence[str]) -> tuple[list[Column], list[Line]]:
    """A column for each score, and a block for each ratio; with several classes, for the mean over them and for each.

    Scores of whole images stand beside the mean.
    """
    lines = []
    several = len(comparison.classes) > 1 and any(SCORES[metric].per_class for metric in metrics)
    for c, ratio in itertools.product(
        [None, *range(len(comparison.classes))] if several else [None], comparison.ratios(labels)
    ):
        block = f"{MEAN if c is None else comparison.classes[c]}, {percent(ratio)}" if several else percent(ratio)
        scores = [
            (comparison.single(metric), None) if c is None else (metric, c) if SCORES[metric].per_class else None
            for metric in metrics
        ]
        for label, cells in _scored(comparison, labels, scores, ratio).items():
            lines.append(Line((formatting.name(comparison, label, ratio), *cells), block))
    return [METHOD, *(Column(SCORES[metric].head, "ranked", unit=SCORES[metric].unit) for metric in metrics)], lines


def _scored(
    comparison: Comparison, labels: Sequence[str], scores: Sequence[tuple[str, int | None] | None], ratio: float
) -> dict[str, list[Cell]]:
    """By label with runs at the ratio: a cell for each score (of a class); empty where there is None."""
    here = comparison.present(labels, ratio)
    found = [formatting.scored(comparison, here, ratio, *score) if score else {} for score in scores]
    return {label: [of.get(label, Cell()) for of in found] for label in here}


def _head(comparison: Comparison, metric: str, c: int | None) -> Column:
    """The head of a score's column; under it, with several classes, which class."""
    if len(comparison.classes) < 2 or metric.removeprefix("mean_") not in FURTHER:
        return Column(SCORES[metric].head, "ranked", unit=SCORES[metric].unit)
    single = SCORES[metric.removeprefix("mean_")]
    return Column(MEAN if c is None else comparison.classes[c], "ranked", single.head, single.unit)


def _units(metrics: Sequence[str]) -> str:
    """In what the numbers of a table are: "Dice and Jaccard in points of 100, HD95 and ASSD in pixels."."""
    titles: dict[str, list[str]] = defaultdict(list)
    for metric in metrics:
        titles[SCORES[metric].unit].append(SCORES[metric].title)
    return ", ".join(f"{_listed(names)} in {unit}" for unit, names in titles.items()) + "."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _classes(comparison: Comparison) -> list[str]:
    """What the mean over classes is, and how significance counts the columns of a score."""
    if len(comparison.classes) < 2:
        return []
    return [
        f"{MEAN.capitalize()}: of the scores of the foreground classes, without background. The "
        f"{len(comparison.classes) + 1} columns of a score, the classes and their mean, are one family: p is "
        "multiplied by their number before a cell is not bold."
    ]
