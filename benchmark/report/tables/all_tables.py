"""The tables of a comparison, by name: methods × ratios × metrics, and ablations."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from benchmark.analysis import family, standing
from benchmark.analysis.board import Board
from benchmark.protocol.scores import BEST, COMPUTED, FINDING, MEAN, SCORES
from benchmark.records import RunRecord
from benchmark.report.tables import breakdown, controls, formatting, headroom, notes, paired
from benchmark.report.tables.formatting import METHOD, Options, percent
from benchmark.report.tables.table import Cell, Column, Line, Table

MAIN = ("dice", "jaccard", "hd95", "assd")
FIRST = MAIN[0]  # with several classes, the one score of which the main table has every class
FURTHER = tuple(score.name for score in COMPUTED if score.per_class and not score.needs_instances)
OBJECTS = tuple(score.name for score in COMPUTED if score.needs_instances)
WHOLE = tuple(score.name for score in COMPUTED if not score.per_class)


def tables(rows: Sequence[RunRecord] | Board, options: Options = Options()) -> dict[str, Table]:  # noqa: B008
    """Every table that the rows of one comparison are enough for, by name."""
    board = Board.of(rows)
    options = replace(options, metric=board.single(options.metric))
    drawn = {name: function(board, options) for name, function in _functions(board).items()}
    return {name: table for name, table in drawn.items() if table}


def draw(name: str, rows: Sequence[RunRecord] | Board, options: Options = Options()) -> Table | None:  # noqa: B008
    """One table; None where the rows are not enough."""
    board = Board.of(rows)
    function = _functions(board).get(name)
    return function(board, replace(options, metric=board.single(options.metric))) if function else None


def _functions(board: Board) -> dict[str, Callable[[Board, Options], Table | None]]:
    if not len(board.runs):
        return {}
    ablated = dict.fromkeys(board.runs.method[(board.runs.variant != "") | (board.runs.settings != "")])
    return {
        "comparison": comparison, "ratios": ratios, "further": further, "objects": objects,
        "headroom": headroom.headroom, "paired": paired.paired, "controls": controls.controls,
        "labels_saved": paired.labels_saved, "equal_cost": paired.equal_cost,
        "strata": breakdown.strata, "patients": breakdown.patients, "per_patient": breakdown.per_patient,
        **{f"ablation_{method}": partial(ablation, method=method) for method in ablated},
    }  # fmt: skip


def comparison(board: Board, options: Options) -> Table | None:
    """Methods by ratio: overlap and distance with intervals, tie group, cost, and runs behind them.

    Several classes: the mean over classes of every score, and the Dice of each class.
    """
    labels = board.published
    scores = [(board.single(metric), None) for metric in MAIN]
    if len(board.classes) > 1:
        scores[1:1] = [(FIRST, c) for c in range(len(board.classes))]
    costs = [Column("FLOPs ×"), Column("Seconds"), Column("M param."), Column("GB"), Column("Runs", "text")]
    said = [
        notes.legend(options.uneven, standing.ranks_any(board, options)),
        _units(MAIN),
        *_classes(board),
        *notes.empty(board, labels),
        *notes.cost(board, labels),
    ]
    lines = [
        Line((formatting.name(board, label, ratio), *row, *formatting.costs(board, label, ratio)), percent(ratio))
        for ratio in board.ratios(labels)
        for label, row in _scored(board, labels, scores, ratio, options).items()
    ]
    columns = [METHOD, *(_head(board, *score) for score in scores), *costs]
    return notes.table("comparison", "Methods by labelled share", columns, lines, board, labels, options, said)


def further(board: Board, options: Options) -> Table | None:
    """All other scores of classes: boundaries; what is found, where some images have nothing to find; best step."""
    labels, validated = board.published, board.validated
    finding = any(not np.all(row.scores["present"]) for row in board.rows.values() if row.status == "done")
    metrics = [metric for metric in FURTHER if len(board.classes) > 1 or metric not in MAIN]
    metrics += [score.name for score in (*(FINDING if finding else ()), *(BEST if validated else ()))]
    said = [
        notes.legend(options.uneven, standing.ranks_any(board, options)),
        _units(metrics),
        *_classes(board),
        "False alarms: per cent of the images without an object in which one is predicted; missed: of those with one, "
        "in which none is; hits: images of objects that are found."
        if finding
        else "",
        "Best on validation: the same runs at the step that was best on validation, beside the score at the last step, "
        "never instead of it."
        if validated
        else "",
        *notes.empty(board, labels),
    ]
    columns, lines = _by_class(board, labels, [metric for metric in metrics if board.has(metric)], options)
    return notes.table("further", "Further scores", columns, lines, board, labels, options, said)


def objects(board: Board, options: Options) -> Table | None:
    """Scores of objects, as in the GlaS challenge, and of whole images, such as calibration."""
    labels = board.published
    found = [metric for metric in OBJECTS if board.has(metric)]
    whole = [metric for metric in WHOLE if board.has(metric)]
    if not found and not whole:
        return None
    said = [
        notes.legend(options.uneven, standing.ranks_any(board, options)),
        _units([*found, *whole]),
        *(_classes(board) if found else ()),
    ]
    columns, lines = _by_class(board, labels, [*found, *whole], options)
    title = "Objects and whole images" if found else "Whole images"
    return notes.table("objects", title, columns, lines, board, labels, options, said)


def ratios(board: Board, options: Options) -> Table | None:
    """Methods × ratios, one score; with several classes, a block for the mean over them and for each."""
    labels, score = board.published, options.score
    fractions = board.ratios(labels)
    blocks = {"": (options.metric, None)}
    if score.mean_of:
        blocks = {MEAN: (score.name, None)} | {name: (score.mean_of, c) for c, name in enumerate(board.classes)}
    lines = []
    for block, of_block in blocks.items():
        scored = [
            formatting.scored(board, formatting.at(board, labels, ratio), ratio, *of_block, options)
            for ratio in fractions
        ]
        for label in labels:
            row = (of.get(label, Cell()) for of in scored)
            costs = formatting.costs(board, label, None)
            lines.append(Line((formatting.name(board, label, None), *row, costs[0]), block))
    shown = SCORES[score.mean_of or score.name]
    columns = [METHOD, *(Column(percent(ratio), "ranked", shown.head) for ratio in fractions), Column("FLOPs ×")]
    said = [
        notes.legend(options.uneven, standing.ranks_any(board, options)),
        shown.in_units,
        *(_classes(board) if len(blocks) > 1 else ()),
        "Supervised at 100 % shows what all labels are worth at this budget." if _bounded(board, labels) else "",
        *notes.empty(board, labels),
        notes.runs(board, labels),
    ]
    title = f"{shown.title} by labelled share"
    return notes.table("ratios", title, columns, lines, board, labels, options, said, blocks="Class")


def _bounded(board: Board, labels: Sequence[str]) -> bool:
    """Whether supervised training alone has all labels, so that the others have less."""
    return [label for label in labels if len(board.at(label, 1.0))] == [formatting.supervised(board, labels)]


def ablation(board: Board, options: Options, method: str) -> Table | None:
    """Variants and settings of a method beside the whole method and supervised."""
    runs, score = board.runs[board.runs.method == method], options.score
    full = list(dict.fromkeys(runs.label[(runs.variant == "") & (runs.settings == "")]))
    changed = [label for label in dict.fromkeys(runs.label) if label not in full]
    baseline = formatting.supervised(board, board.published)
    labels = list(dict.fromkeys(filter(None, [baseline, *full, *changed])))
    lines = []
    for ratio in board.ratios([*full, *changed]):
        here = formatting.at(board, labels, ratio)
        intervals = board.intervals(here, ratio, options.metric)
        wholes = family.against_whole(board, options)
        bases = family.against_supervised(board, options)
        for label in here:
            keys = board.keys(label, ratio)
            row = [formatting.name(board, label, ratio), formatting.interval(intervals[label], score, keys)]
            claims = (wholes.get((ratio, label, full[0])) if full else None, bases.get((ratio, label)))
            for other, claim in zip((full[0] if full else None, baseline), claims, strict=True):
                tested = other is not None and other != label
                found = board.differences([label], other, ratio, options.metric)[label] if tested else None
                behind = (*keys, *(board.keys(other, ratio) if other else ()))
                row.append(formatting.difference(found, score, behind))
                row.append(formatting.probability(claim.p if claim else float("nan")))
            flops, *_, count = formatting.costs(board, label, ratio)
            lines.append(Line((*row, flops, count), percent(ratio)))
    against = [
        Column(head, kind, f"against {group}")
        for group in ("the whole method", "supervised")
        for head, kind in (("Δ", "interval"), ("p (family)", "number"))
    ]
    columns = [METHOD, Column(score.head, "interval"), *against, Column("FLOPs ×"), Column("Runs", "text")]
    said = [
        notes.legend(options.uneven, ranked=False),
        f"{score.in_units} Differences (Δ) of means on the same test images after the same draws and seeds. "
        "p (family): "
        "adjusted by Holm over all variants, or over all methods, that are published together; of variants against "
        "supervised nothing is claimed.",
    ]
    title = f"Ablation of {board.rows[runs.key.iloc[0]].title}"
    return notes.table(f"ablation_{method}", title, columns, lines, board, labels, options, said, board.published)


# ----------------------------------------------------------------------------------------------------------------------
# Columns and lines of scores


def _by_class(
    board: Board, labels: Sequence[str], metrics: Sequence[str], options: Options
) -> tuple[list[Column], list[Line]]:
    """A column for each score, and a block for each ratio; with several classes, for the mean over them and for each.

    Scores of whole images stand beside the mean.
    """
    lines = []
    several = len(board.classes) > 1 and any(SCORES[metric].per_class for metric in metrics)
    for c, ratio in itertools.product([None, *range(len(board.classes))] if several else [None], board.ratios(labels)):
        block = f"{MEAN if c is None else board.classes[c]}, {percent(ratio)}" if several else percent(ratio)
        scores = [
            (board.single(metric), None) if c is None else (metric, c) if SCORES[metric].per_class else None
            for metric in metrics
        ]
        for label, row in _scored(board, labels, scores, ratio, options).items():
            lines.append(Line((formatting.name(board, label, ratio), *row), block))
    return [METHOD, *(Column(SCORES[metric].head, "ranked") for metric in metrics)], lines


def _scored(
    board: Board, labels: Sequence[str], scores: Sequence[tuple[str, int | None] | None], ratio: float, options: Options
) -> dict[str, list[Cell]]:
    """By label with runs at the ratio: a cell for each score (of a class); empty where there is None."""
    here = formatting.at(board, labels, ratio)
    found = [formatting.scored(board, here, ratio, *score, options) if score else {} for score in scores]
    return {label: [of.get(label, Cell()) for of in found] for label in here}


def _head(board: Board, metric: str, c: int | None) -> Column:
    """The head of a score's column; under it, with several classes, which class."""
    if len(board.classes) < 2 or metric.removeprefix("mean_") not in FURTHER:
        return Column(SCORES[metric].head, "ranked")
    single = SCORES[metric.removeprefix("mean_")]
    return Column(MEAN if c is None else board.classes[c], "ranked", single.head)


def _units(metrics: Sequence[str]) -> str:
    """In what the numbers of a table are: "Dice and Jaccard in points of 100, HD95 and ASSD in pixels."."""
    titles: dict[str, list[str]] = defaultdict(list)
    for metric in metrics:
        titles[SCORES[metric].unit].append(SCORES[metric].title)
    return ", ".join(f"{_listed(names)} in {unit}" for unit, names in titles.items()) + "."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _classes(board: Board) -> list[str]:
    """What the mean over classes is, and how significance counts the columns of a score."""
    if len(board.classes) < 2:
        return []
    return [
        f"{MEAN.capitalize()}: of the scores of the foreground classes, without background. The "
        f"{len(board.classes) + 1} columns of a score, the classes and their mean, are one family: p is "
        "multiplied by their number before a cell is not bold."
    ]
