"""The tables of a comparison, by name: methods × ratios × metrics, and ablations."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmark.records import RunRecord
from benchmark.report import breakdown, cells, claims, notes
from benchmark.report.board import Board
from benchmark.report.cells import METHOD, SCORES, Options, percent
from benchmark.report.frame import BEST, FINDING
from benchmark.report.table import Cell, Column, Line, Table

MAIN = ("dice", "jaccard", "hd95", "assd")
FURTHER = ("boundary_f1",)
WHOLE = ("object_f1", "object_dice", "object_hausdorff", "ece")


def tables(rows: Sequence[RunRecord], options: Options = Options()) -> dict[str, Table]:  # noqa: B008
    """Every table that the rows of one comparison suffice for, by name."""
    board = Board(rows)
    drawn = {name: function(board, options) for name, function in _functions(board).items()}
    return {name: table for name, table in drawn.items() if table}


def draw(name: str, rows: Sequence[RunRecord], options: Options = Options()) -> Table | None:  # noqa: B008
    """One table; None where the rows do not suffice."""
    board = Board(rows)
    function = _functions(board).get(name)
    return function(board, options) if function else None


def _functions(board: Board) -> dict[str, Callable[[Board, Options], Table | None]]:
    if not len(board.runs):
        return {}
    ablated = dict.fromkeys(board.runs.method[(board.runs.variant != "") | (board.runs.settings != "")])
    return {
        "comparison": comparison, "ratios": ratios, "further": further, "objects": objects,
        "paired": claims.paired, "unlabelled": claims.unlabelled,
        "labels_saved": claims.labels_saved, "equal_cost": claims.equal_cost,
        "strata": breakdown.strata, "patients": breakdown.patients, "per_patient": breakdown.per_patient,
        **{f"ablation_{method}": partial(ablation, method=method) for method in ablated},
    }  # fmt: skip


def comparison(board: Board, options: Options) -> Table | None:
    """Methods by ratio: overlap and distance of every class with intervals, tie group, cost, and runs behind them."""
    labels = board.published
    costs = [Column("FLOPs ×"), Column("Seconds"), Column("M param."), Column("GB"), Column("Runs", "text")]
    said = [
        notes.legend(options.uneven),
        "Dice and Jaccard in points of 100, HD95 and ASSD in pixels.",
        *notes.empty(board, labels),
        *notes.cost(board, labels),
    ]
    columns, lines = [METHOD, *_heads(MAIN), *costs], _lines(board, labels, MAIN, options, with_costs=True)
    return notes.table("comparison", "Methods by labelled share", columns, lines, board, labels, options, said)


def further(board: Board, options: Options) -> Table | None:
    """Boundaries; who finds what, where some images have nothing to find; the step that was best on validation."""
    labels, validated = board.published, board.validated
    finding = any(not np.all(row.scores["present"]) for row in board.rows.values() if row.status == "done")
    said = [
        notes.legend(options.uneven),
        "HD95 and ASSD in pixels, all else in points of 100." if finding else "All in points of 100.",
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
    metrics = (*FURTHER, *(FINDING if finding else ()), *(BEST if validated else ()))
    columns, lines = [METHOD, *_heads(metrics)], _lines(board, labels, metrics, options)
    return notes.table("further", "Further scores", columns, lines, board, labels, options, said)


def objects(board: Board, options: Options) -> Table | None:
    """Scores of whole images: objects, as in the GlaS challenge, and calibration."""
    labels = board.published
    metrics = [metric for metric in WHOLE if board.has(metric)]
    if not metrics:
        return None
    said = [notes.legend(options.uneven), "Object Hausdorff in pixels, all else in points of 100."]
    columns, lines = [METHOD, *_heads(metrics)], _lines(board, labels, metrics, options, whole=True)
    title = "Objects and calibration" if len(metrics) > 1 else "Calibration"
    return notes.table("objects", title, columns, lines, board, labels, options, said)


def ratios(board: Board, options: Options) -> Table | None:
    """Methods × ratios, one metric."""
    labels, score = board.published, options.score
    shares = board.ratios(labels)
    scored = [
        cells.scored(board, cells.at(board, labels, ratio), ratio, options.metric, None, options) for ratio in shares
    ]
    lines = []
    for label in labels:
        row = (of.get(label, Cell()) for of in scored)
        lines.append(Line((cells.name(board, label, None), *row, cells.costs(board, label, None)[0])))
    columns = [METHOD, *(Column(percent(ratio), "ranked", score.head) for ratio in shares), Column("FLOPs ×")]
    said = [
        notes.legend(options.uneven),
        score.unit,
        "Supervised at 100 % shows what all labels are worth at this budget." if _bounded(board, labels) else "",
        *notes.empty(board, labels),
        notes.runs(board, labels),
    ]
    return notes.table("ratios", f"{score.name} by labelled share", columns, lines, board, labels, options, said)


def _bounded(board: Board, labels: Sequence[str]) -> bool:
    """Whether supervised training alone has all labels, so that the others have less."""
    return [label for label in labels if len(board.at(label, 1.0))] == [cells.supervised(board, labels)]


def ablation(board: Board, options: Options, method: str) -> Table | None:
    """Variants and settings of a method beside the whole method and supervised."""
    runs, score = board.runs[board.runs.method == method], options.score
    full = list(dict.fromkeys(runs.label[(runs.variant == "") & (runs.settings == "")]))
    changed = [label for label in dict.fromkeys(runs.label) if label not in full]
    baseline = cells.supervised(board, board.published)
    labels = list(dict.fromkeys(filter(None, [baseline, *full, *changed])))
    lines = []
    for ratio in board.ratios([*full, *changed]):
        here = cells.at(board, labels, ratio)
        intervals = board.intervals(here, ratio, options.metric)
        tested = []
        for other in (full[0] if full else None, baseline):
            others = [label for label in here if label != other]
            found = board.differences(others, other, ratio, options.metric) if other else {}
            tested.append((other, found, cells.holm(found, cells.even(board, here, ratio, options))))
        for label in here:
            keys = board.keys(label, ratio)
            row = [cells.name(board, label, ratio), cells.interval(intervals[label], score, keys)]
            for other, found, adjusted in tested:
                behind = (*keys, *(board.keys(other, ratio) if other else ()))
                row.append(cells.difference(found.get(label), score, behind))
                row.append(cells.probability(adjusted.get(label, float("nan"))))
            flops, *_, count = cells.costs(board, label, ratio)
            lines.append(Line((*row, flops, count), percent(ratio)))
    against = [
        Column(head, kind, f"against {group}")
        for group in ("the whole method", "supervised")
        for head, kind in (("Δ", "interval"), ("p (Holm)", "number"))
    ]
    columns = [METHOD, Column(score.head, "interval"), *against, Column("FLOPs ×"), Column("Runs", "text")]
    said = [
        notes.legend(options.uneven, ranked=False),
        f"{score.unit} Differences (Δ) of means on the same test images after the same draws and seeds; p adjusted by "
        "Holm over the lines of a block.",
    ]
    title = f"Ablation of {board.rows[runs.key.iloc[0]].title}"
    return notes.table(f"ablation_{method}", title, columns, lines, board, labels, options, said, board.published)


def _heads(metrics: Sequence[str]) -> list[Column]:
    return [Column(SCORES[metric].head, "ranked") for metric in metrics]


def _lines(
    board: Board, labels: Sequence[str], metrics: Sequence[str], options: Options, *, with_costs: bool = False,
    whole: bool = False,
) -> list[Line]:  # fmt: skip
    """A block for each class and ratio, a line for each method, a cell for each metric; `whole` images have none."""
    lines = []
    for c, ratio in itertools.product([None] if whole else range(len(board.classes)), board.ratios(labels)):
        block = percent(ratio) if len(board.classes) < 2 or whole else f"{board.classes[c]}, {percent(ratio)}"
        here = cells.at(board, labels, ratio)
        scored = [cells.scored(board, here, ratio, metric, c, options) for metric in metrics]
        for label in here:
            costs = cells.costs(board, label, ratio) if with_costs else []
            lines.append(Line((cells.name(board, label, ratio), *(of[label] for of in scored), *costs), block))
    return lines
