"""Tables of what may be claimed: paired differences, what unlabelled images add, labels saved, scores at equal cost."""

from collections.abc import Sequence

import numpy as np

from benchmark import stats
from benchmark.report import cells, notes
from benchmark.report.board import Board
from benchmark.report.cells import METHOD, Options, percent
from benchmark.report.table import DASH, Cell, Column, Line, Table
from benchmark.scores import Score
from benchmark.stats import Difference, Interval
from methods import LABELS_ONLY


def paired(board: Board, options: Options) -> Table | None:
    """Differences to supervised and to the best on the same images, with what a claim from them risks."""
    labels, score = board.published, options.score
    lines = []
    for ratio in board.ratios(labels):
        here = cells.done(board, labels, ratio)
        if len(here) < 2:
            continue
        ranked = cells.even(board, here, ratio, options)
        intervals = board.intervals(here, ratio, options.metric)
        base, best = cells.supervised(board, here), cells.best(board, ranked, ratio, intervals, score)
        others = (base, best)
        to_base, to_best = (_against(board, here, other, ratio, options) for other in others)
        holm = cells.holm(to_base, ranked)
        for label in here:
            runs = [board.keys(label, ratio) + (board.keys(other, ratio) if other else ()) for other in others]
            claimed = to_base.get(label)
            row = [
                cells.name(board, label, ratio),
                cells.difference(claimed, score, runs[0]),
                cells.probability(holm.get(label, np.nan)),
                cells.probability(stats.false_claim(cells.upwards(claimed, score)) if claimed else np.nan),
                cells.difference(to_best.get(label), score, runs[1]),
                cells.probability(_worse(to_best, ranked, best, score).get(label, np.nan)),
            ]
            pairs = max(
                (board.common(label, other, ratio) for other in others if other not in (None, label)), default=0
            )
            lines.append(Line((*row, Cell(str(pairs), pairs)), percent(ratio)))
    against = [
        Column("Δ", "interval", "against supervised"),
        Column("p (Holm)", group="against supervised"),
        Column("P(false claim)", group="against supervised"),
        Column("Δ", "interval", "against the best"),
        Column("p (range)", group="against the best"),
    ]
    said = [
        f"Differences (Δ) of mean {score.title} on the same test images after the same draws and seeds [95 % interval "
        f"for new patients, draws and seeds]. {score.in_units} "
        "p adjusted over the methods of a block: by Holm, and by the "
        "range of as many equal methods, as the best is chosen by the same scores; below 0.05 it is not bold in other "
        "tables. P(false claim): how probable it is that the claim is false that the method is better than supervised. "
        "The best is that of the methods with most draws. Pairs: runs of the same draw and seed."
    ]
    title = f"Paired differences of {score.title}"
    return notes.table("paired", title, [METHOD, *against, Column("Pairs")], lines, board, labels, options, said)


def _against(
    board: Board, labels: list[str], other: str | None, ratio: float, options: Options
) -> dict[str, Difference]:
    others = [label for label in labels if label != other]
    return board.differences(others, other, ratio, options.metric) if other else {}


def _worse(found: dict[str, Difference], ranked: list[str], best: str | None, score: Score) -> dict[str, float]:
    """The p of each being worse than the best, of those that were tested."""
    these = [cells.upwards(found[label], score) if label in found else Difference(0, 0, 0, 1) for label in ranked]
    p = dict(zip(ranked, stats.worse_than_best(these), strict=True))
    return {label: p[label] for label in ranked if label != best and not np.isnan(found[label].p)} if best else {}


def unlabelled(board: Board, options: Options) -> Table | None:
    """What a method's network and losses gain on labels alone, and what unlabelled images add, in the same runs."""
    runs, score = board.runs[(board.runs.settings == "") & ~board.runs.uneven], options.score
    labels = {variant: dict(zip(of.method, of.label, strict=True)) for variant, of in runs.groupby("variant")}
    whole, alone = labels.get("", {}), labels.get(LABELS_ONLY, {})
    pairs = [(whole[method], alone[method]) for method in whole if method in alone]
    base, lines = cells.supervised(board, board.published), []
    shown = list(dict.fromkeys([*([base] if base else []), *(label for pair in pairs for label in pair)]))
    for ratio in board.ratios([one for _, one in pairs]):
        here = [pair for pair in pairs if board.common(*pair, ratio)]
        added = {label: board.differences([label], one, ratio, options.metric)[label] for label, one in here}
        adjusted = cells.holm(added, list(added))
        for label, one in here:
            network = board.differences([one], base, ratio, options.metric)[one] if base else None
            whole_keys, keys, base_keys = (board.keys(of, ratio) if of else () for of in (label, one, base))
            row = (
                cells.name(board, label, ratio),
                cells.difference(network, score, keys + base_keys),
                cells.difference(added[label], score, whole_keys + keys),
                cells.probability(adjusted[label]),
                Cell(str(common := board.common(label, one, ratio)), common),
            )
            lines.append(Line(row, percent(ratio)))
    if not lines:
        return None
    heads = ("On labels alone", "Unlabelled images add")
    columns = [METHOD, *(Column(head, "interval") for head in heads), Column("p (Holm)"), Column("Pairs")]
    said = [
        f"Differences of mean {score.title} on the same test images after the same draws and seeds [95 % interval for "
        f"new patients, draws and seeds]. {score.in_units} A method's variant labels_only, all of whose unsupervised "
        "weights are 0, less supervised; the method less that variant. p adjusted by Holm over the methods of a block. "
        "Pairs: runs of both with the same draw and seed; one alone is for new patients only."
    ]
    title = "What unlabelled images add"
    return notes.table("unlabelled", title, columns, lines, board, shown, options, said, board.published)


def labels_saved(board: Board, options: Options) -> Table | None:
    """The labelled share at which supervised training reaches a method's score."""
    labels, score = board.published, options.score
    baseline = cells.supervised(board, labels)
    reached = [ratio for ratio in board.ratios([baseline]) if board.keys(baseline, ratio)] if baseline else []
    others = [label for label in labels if label != baseline]
    shares = [ratio for ratio in board.ratios(others) if ratio < 1]
    if len(reached) < 2 or not shares:
        return None
    saved: dict[str, list[Cell]] = {label: [] for label in others}
    for ratio in shares:
        curve = [board.differences(others, baseline, ratio, options.metric, None, other) for other in reached]
        for label in others:
            differences = [cells.upwards(found[label], score) for found in curve]
            known = not any(np.isnan(difference.mean) for difference in differences)
            interval = stats.labels_saved(reached, differences) if known else None
            saved[label].append(_share(interval, reached, board.keys(label, ratio)))
    lines = [Line((cells.name(board, label, None), *saved[label])) for label in others]
    columns = [METHOD, *(Column(percent(ratio), "interval", "Labels that supervised needs (%)") for ratio in shares)]
    said = [
        f"Per cent of the labels with which supervised training reaches the method's {score.title} with the share in "
        "the head [95 % interval], on a line over the logarithm of the share between "
        f"{', '.join(map(percent, reached))}; < and >: beyond them."
    ]
    return notes.table("labels_saved", "Labels saved", columns, lines, board, labels, options, said)


def _share(interval: Interval | None, ratios: list[float], runs: tuple[str, ...]) -> Cell:
    if interval is None:
        return Cell(runs=runs)

    def say(share: float) -> str:
        if np.isnan(share):
            return DASH
        if share == 0:
            return f"<{100 * min(ratios):g}"
        return f">{100 * max(ratios):g}" if np.isinf(share) else f"{100 * share:.0f}"

    text = f"{say(interval.mean)} [{say(interval.low)}, {say(interval.high)}]"
    return Cell(text, *(100 * number for number in interval), runs=runs)


def equal_cost(board: Board, options: Options) -> Table | None:
    """Validation Dice where every method has spent the same: steps, FLOPs, seconds."""
    labels = board.published
    places = [(label, ratio) for ratio in board.ratios(labels) for label in cells.done(board, labels, ratio)]
    alike = {ratio: board.shared([label for label, at in places if at == ratio], ratio) for _, ratio in places}
    curves = {place: curve for place in places if (curve := _curve(board, board.keys(*place, alike[place[1]])))}
    if len({label for label, _ in curves}) < 2:
        return None
    columns, read = [METHOD], []
    for unit in ("steps", "TFLOPs", "s"):
        spent, found = stats.scores_at_cost([(of[unit], of["dice"]) for of in curves.values()])
        read.append(dict(zip(curves, found, strict=True)))
        said = f"{spent:.3g}" if spent < 1000 else f"{spent:.0f}"
        columns.append(Column(f"{said} {unit}", group="Validation Dice ↑ after"))
    lines = []
    for label, ratio in places:
        behind = board.keys(label, ratio, alike[ratio])
        row = (cells.plain(100 * of.get((label, ratio), np.nan), 1, behind) for of in read)
        lines.append(Line((cells.name(board, label, ratio), *row), percent(ratio)))
    told = [
        "Dice of the validation images in points of 100, as training went along, read where the cheapest method ended: "
        "at equal steps, equal FLOPs and equal seconds; means over the draws and seeds that all methods of a block "
        "have, as validation images change with the draw, on a line over the logarithm of the cost. A dash: not "
        "validated by then. Test images are scored at the last step only.",
        *notes.cost(board, labels),
    ]
    return notes.table("equal_cost", "Validation Dice at equal cost", columns, lines, board, labels, options, told)


def _curve(board: Board, keys: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The mean validation Dice of runs that trained alike, and what they had spent by then; None if never validated."""
    rows = [board.rows[key] for key in keys]
    rows = [row for row in rows if len(row.validation.get("step", ()))]
    if not rows:
        return None
    steps = np.asarray(rows[0].validation["step"], dtype=np.float64)
    share = steps / rows[0].budget.steps
    seconds = np.mean([row.measured.seconds for row in rows])
    return {
        "dice": np.mean([row.validation["dice"] for row in rows], axis=0),
        "steps": steps,
        "TFLOPs": share * np.mean([row.budget.flops for row in rows]) / 1e12,
        "s": share * max(seconds, 0.1),
    }
