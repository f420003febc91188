"""Tables of what may be claimed: paired differences, labels saved, scores at equal cost."""

import itertools
from collections.abc import Sequence

import numpy as np

from benchmark.analysis import family, standing, stats
from benchmark.analysis.board import Board
from benchmark.analysis.stats import Difference, Interval
from benchmark.protocol.scores import SCORES, Score
from benchmark.report.tables import formatting, notes
from benchmark.report.tables.formatting import METHOD, Options, percent
from benchmark.report.tables.table import DASH, Cell, Column, Line, Table


def paired(board: Board, options: Options) -> Table | None:
    """Differences to supervised and to the best on the same images, with what may be claimed from them."""
    labels, score = board.published, options.score
    base, lines = board.supervised, []
    for (metric, c), ratio in itertools.product(family.columns(board, options.metric), board.ratios(labels)):
        here = formatting.done(board, labels, ratio)
        if len(here) < 2:
            continue
        to_base = _against(board, here, base, ratio, metric, c) if base in here else {}
        claims = family.against_supervised(board, options, c)
        best, to_best, worse = _best(board, here, ratio, options, metric, c)
        for label in here:
            keys, claim = board.keys(label, ratio), claims.get((ratio, label))
            others = [other for other in (base, best) if other in here and other != label]
            pairs = max((board.common(label, other, ratio) for other in others), default=0)
            runs = [keys + (board.keys(other, ratio) if other else ()) for other in (base, best)]
            row = [
                formatting.name(board, label, ratio),
                formatting.difference(to_base.get(label), score, runs[0]),
                formatting.probability(claim.p if claim else np.nan),
                Cell(claim.verdict(score.higher_is_better)) if claim else Cell(),
                formatting.probability(claim.p_equivalent if claim else np.nan),
                formatting.plain(score.scale * claim.detectable if claim else np.nan, score.digits, runs[0]),
                formatting.probability(
                    stats.false_claim(formatting.upwards(claim.difference, score)) if claim else np.nan
                ),
                formatting.difference(to_best.get(label), score, runs[1]),
                formatting.probability(worse.get(label, np.nan)),
            ]
            lines.append(Line((*row, Cell(str(pairs), pairs)), formatting.block(board, c, ratio)))
    against = [
        Column("Δ", "interval", "against supervised"),
        Column("p (family)", group="against supervised"),
        Column("Verdict", "text", "against supervised"),
        Column("p of equivalence", group="against supervised"),
        Column("Detectable", group="against supervised"),
        Column("P(false claim)", group="against supervised"),
        Column("Δ", "interval", "against the best"),
        Column("p (range)", group="against the best"),
    ]
    said = [
        f"Differences (Δ) of mean {score.title} on the same test images after the same draws and seeds [95 % interval "
        f"for new patients, draws and seeds]. {score.in_units} "
        "The best is that of the methods with most draws; p (range): "
        "adjusted for choosing the best by the same scores; below 0.05 a method is not bold in other tables. Pairs: "
        "runs of the same draw and seed. P(false claim): how probable it is, by these scores alone and without "
        "adjustment, that the method is not better than supervised.",
        *notes.claimed(board, options),
    ]
    title = f"Paired differences of {score.title}"
    return notes.table("paired", title, [METHOD, *against, Column("Pairs")], lines, board, labels, options, said)


def _against(
    board: Board, labels: list[str], other: str | None, ratio: float, metric: str, c: int | None
) -> dict[str, Difference]:
    others = [label for label in labels if label != other]
    return board.differences(others, other, ratio, metric, c) if other else {}


def _best(
    board: Board, here: list[str], ratio: float, options: Options, metric: str, c: int | None
) -> tuple[str | None, dict[str, Difference], dict[str, float]]:
    """The best method, the differences to it, and the p of each being worse; nothing where methods are not ranked."""
    if not standing.ranks(board, ratio, options):
        return None, {}, {}
    ranked = formatting.even(board, here, ratio, options)
    best = formatting.best(board, ranked, ratio, board.intervals(here, ratio, metric, c), options.score)
    found = _against(board, here, best, ratio, metric, c)
    return best, found, _worse(found, ranked, best, options.score)


def _worse(found: dict[str, Difference], ranked: list[str], best: str | None, score: Score) -> dict[str, float]:
    """The p of each being worse than the best, of those that were tested."""
    these = [formatting.upwards(found[label], score) if label in found else Difference(0, 0, 0, 1) for label in ranked]
    p = dict(zip(ranked, stats.worse_than_best(these), strict=True))
    return {label: p[label] for label in ranked if label != best and not np.isnan(found[label].p)} if best else {}


def labels_saved(board: Board, options: Options) -> Table | None:
    """The labelled share at which supervised training reaches a method's score."""
    labels, score = board.published, options.score
    baseline = formatting.supervised(board, labels)
    reached = [ratio for ratio in board.ratios([baseline]) if board.keys(baseline, ratio)] if baseline else []
    others = [label for label in labels if label != baseline]
    shares = [ratio for ratio in board.ratios(others) if ratio < 1]
    if len(reached) < 2 or not shares:
        return None
    saved: dict[str, list[Cell]] = {label: [] for label in others}
    for ratio in shares:
        curve = [board.differences(others, baseline, ratio, options.metric, None, other) for other in reached]
        for label in others:
            differences = [formatting.upwards(found[label], score) for found in curve]
            known = not any(np.isnan(difference.mean) for difference in differences)
            interval = stats.labels_saved(reached, differences) if known else None
            saved[label].append(_share(interval, reached, board.keys(label, ratio)))
    lines = [Line((formatting.name(board, label, None), *saved[label])) for label in others]
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
    places = [(label, ratio) for ratio in board.ratios(labels) for label in formatting.done(board, labels, ratio)]
    alike = {ratio: board.shared([label for label, at in places if at == ratio], ratio) for _, ratio in places}
    curves = {place: curve for place in places if (curve := _curve(board, board.keys(*place, alike[place[1]])))}
    if len({label for label, _ in curves}) < 2:
        return None
    title = f"Validation {SCORES[board.single('dice')].title}"
    columns, read = [METHOD], []
    for unit in ("steps", "TFLOPs", "s"):
        spent, found = stats.scores_at_cost([(of[unit], of["dice"]) for of in curves.values()])
        read.append(dict(zip(curves, found, strict=True)))
        said = f"{spent:.3g}" if spent < 1000 else f"{spent:.0f}"
        columns.append(Column(f"{said} {unit}", group=f"{title} ↑ after"))
    lines = []
    for label, ratio in places:
        behind = board.keys(label, ratio, alike[ratio])
        row = (formatting.plain(100 * of.get((label, ratio), np.nan), 1, behind) for of in read)
        lines.append(Line((formatting.name(board, label, ratio), *row), percent(ratio)))
    told = [
        f"{title} in points of 100, as training went along, read where the cheapest method ended: at equal steps, "
        "equal FLOPs and equal seconds; means over the draws and seeds that all methods of a block have, as validation "
        "images change with the draw, on a line over the logarithm of the cost. A dash: not validated by then. "
        "Test images are scored at the last step only.",
        *notes.cost(board, labels),
    ]
    return notes.table("equal_cost", f"{title} at equal cost", columns, lines, board, labels, options, told)


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
