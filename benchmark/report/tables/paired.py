"""Tables of what may be claimed: paired differences, labels saved, scores at equal cost."""

import itertools
from collections.abc import Sequence

import numpy as np

from benchmark.analysis import family, standing, stats
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.stats import Difference, Interval
from benchmark.protocol.scores import POINTS, SCORES, Score
from benchmark.report.tables import formatting, notes
from benchmark.report.tables.formatting import METHOD, percent
from benchmark.report.tables.table import DASH, Cell, Column, Line, Table


def paired(comparison: Comparison) -> Table | None:
    """Differences to supervised and to the best on the same images, with what may be claimed from them."""
    labels, score = comparison.published, comparison.options.score
    base, lines = comparison.supervised, []
    for (metric, c), ratio in itertools.product(family.columns(comparison), comparison.ratios(labels)):
        here = comparison.finished(labels, ratio)
        if len(here) < 2:
            continue
        to_base = _against(comparison, here, base, ratio, metric, c) if base in here else {}
        claims = family.against_supervised(comparison, c)
        best, to_best, worse = _best(comparison, here, ratio, metric, c)
        for label in here:
            keys, claim = comparison.keys(label, ratio), claims.get((ratio, label))
            others = [other for other in (base, best) if other in here and other != label]
            pairs = max((comparison.common(label, other, ratio) for other in others), default=0)
            runs = [keys + (comparison.keys(other, ratio) if other else ()) for other in (base, best)]
            record = [
                formatting.name(comparison, label, ratio),
                formatting.difference(to_base.get(label), score, runs[0]),
                formatting.probability(claim.p if claim else np.nan),
                Cell(claim.verdict(score.higher_is_better)) if claim else Cell(),
                formatting.probability(claim.p_equivalent if claim else np.nan),
                formatting.plain(score.scale * claim.detectable if claim else np.nan, score.digits, runs[0]),
                formatting.probability(
                    stats.false_claim(standing.upwards(claim.difference, score)) if claim else np.nan
                ),
                formatting.difference(to_best.get(label), score, runs[1]),
                formatting.probability(worse.get(label, np.nan)),
            ]
            lines.append(Line((*record, Cell(str(pairs), pairs)), formatting.block(comparison, c, ratio)))
    against = [
        Column("Δ", "interval", "against supervised", score.unit),
        Column("p (family)", group="against supervised", unit="probability"),
        Column("Verdict", "text", "against supervised"),
        Column("p of equivalence", group="against supervised", unit="probability"),
        Column("Detectable", group="against supervised", unit=score.unit),
        Column("P(false claim)", group="against supervised", unit="probability"),
        Column("Δ", "interval", "against the best", score.unit),
        Column("p (range)", group="against the best", unit="probability"),
    ]
    remarks = [
        f"Differences (Δ) of mean {score.title} on the same test images after the same draws and seeds [95 % interval "
        f"for new patients, draws and seeds]. {score.in_units} "
        "The best is that of the methods with most draws; p (range): "
        "adjusted for choosing the best by the same scores; below 0.05 a method is not bold in other tables. Pairs: "
        "runs of the same draw and seed. P(false claim): the probability, by these scores alone and without "
        "adjustment, that the method is not better than supervised.",
        *notes.claimed(comparison),
    ]
    title = f"Paired differences of {score.title}"
    return notes.table("paired", title, [METHOD, *against, Column("Pairs")], lines, comparison, labels, remarks)


def _against(
    comparison: Comparison, labels: list[str], other: str | None, ratio: float, metric: str, c: int | None
) -> dict[str, Difference]:
    others = [label for label in labels if label != other]
    return comparison.differences(others, other, ratio, metric, c) if other else {}


def _best(
    comparison: Comparison, here: list[str], ratio: float, metric: str, c: int | None
) -> tuple[str | None, dict[str, Difference], dict[str, float]]:
    """The best method, the differences to it, and the p of each being worse; nothing where methods are not ranked."""
    if not standing.ranks(comparison, ratio):
        return None, {}, {}
    ranked = comparison.even(here, ratio)
    best = comparison.best(ranked, ratio, comparison.intervals(here, ratio, metric, c), comparison.options.score)
    found = _against(comparison, here, best, ratio, metric, c)
    return best, found, _worse(found, ranked, best, comparison.options.score)


def _worse(found: dict[str, Difference], ranked: list[str], best: str | None, score: Score) -> dict[str, float]:
    """The p of each being worse than the best, of those that were tested."""
    these = [standing.upwards(found[label], score) if label in found else Difference(0, 0, 0, 1) for label in ranked]
    p = dict(zip(ranked, stats.worse_than_best(these), strict=True))
    return {label: p[label] for label in ranked if label != best and not np.isnan(found[label].p)} if best else {}


def labels_saved(comparison: Comparison) -> Table | None:
    """The labelled fraction at which supervised training reaches a method's score."""
    labels, score = comparison.published, comparison.options.score
    baseline = comparison.baseline(labels)
    reached = [ratio for ratio in comparison.ratios([baseline]) if comparison.keys(baseline, ratio)] if baseline else []
    others = [label for label in labels if label != baseline]
    shares = [ratio for ratio in comparison.ratios(others) if ratio < 1]
    if len(reached) < 2 or not shares:
        return None
    saved: dict[str, list[Cell]] = {label: [] for label in others}
    for ratio in shares:
        curve = [
            comparison.differences(others, baseline, ratio, comparison.options.metric, None, other) for other in reached
        ]
        for label in others:
            differences = [standing.upwards(found[label], score) for found in curve]
            known = not any(np.isnan(difference.mean) for difference in differences)
            interval = stats.labels_saved(reached, differences) if known else None
            saved[label].append(_share(interval, reached, comparison.keys(label, ratio)))
    lines = [Line((formatting.name(comparison, label, None), *saved[label])) for label in others]
    columns = [
        METHOD,
        *(Column(percent(ratio), "interval", "Labels that supervised needs (%)", "%") for ratio in shares),
    ]
    remarks = [
        f"Per cent of the labels with which supervised training reaches the method's {score.title} with the share in "
        "the head [95 % interval], on a line over the logarithm of the share between "
        f"{', '.join(map(percent, reached))}; < and >: beyond them."
    ]
    return notes.table("labels_saved", "Labels saved", columns, lines, comparison, labels, remarks)


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


def equal_cost(comparison: Comparison) -> Table | None:
    """Validation Dice where every method has spent the same: steps, FLOPs, seconds."""
    labels = comparison.published
    places = [(label, ratio) for ratio in comparison.ratios(labels) for label in comparison.finished(labels, ratio)]
    alike = {ratio: comparison.shared([label for label, at in places if at == ratio], ratio) for _, ratio in places}
    curves = {
        place: curve for place in places if (curve := _curve(comparison, comparison.keys(*place, alike[place[1]])))
    }
    if len({label for label, _ in curves}) < 2:
        return None
    title = f"Validation {SCORES[comparison.single('dice')].title}"
    columns, read = [METHOD], []
    for unit in ("steps", "TFLOPs", "s"):
        spent, found = stats.scores_at_cost([(of[unit], of["dice"]) for of in curves.values()])
        read.append(dict(zip(curves, found, strict=True)))
        remarks = f"{spent:.3g}" if spent < 1000 else f"{spent:.0f}"
        columns.append(Column(f"{remarks} {unit}", group=f"{title} ↑ after", unit=POINTS))
    lines = []
    for label, ratio in places:
        behind = comparison.keys(label, ratio, alike[ratio])
        record = (formatting.plain(100 * of.get((label, ratio), np.nan), 1, behind) for of in read)
        lines.append(Line((formatting.name(comparison, label, ratio), *record), percent(ratio)))
    remarks = [
        f"{title} in points of 100, as training went along, read where the cheapest method ended: at equal steps, "
        "equal FLOPs and equal seconds; means over the draws and seeds that all methods of a block have, as validation "
        "images change with the draw, on a line over the logarithm of the cost. A dash: not validated by then. "
        "Test images are scored at the last step only.",
        *notes.cost(comparison, labels),
    ]
    return notes.table("equal_cost", f"{title} at equal cost", columns, lines, comparison, labels, remarks)


def _curve(comparison: Comparison, keys: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The mean validation Dice of runs that trained alike, and what they had spent by then; None if never validated."""
    records = [comparison.records[key] for key in keys]
    records = [record for record in records if len(record.validation.get("step", ()))]
    if not records:
        return None
    steps = np.asarray(records[0].validation["step"], dtype=np.float64)
    share = steps / records[0].budget.steps
    seconds = np.mean([record.measured.seconds for record in records])
    return {
        "dice": np.mean([record.validation["dice"] for record in records], axis=0),
        "steps": steps,
        "TFLOPs": share * np.mean([record.budget.flops for record in records]) / 1e12,
        "s": share * max(seconds, 0.1),
    }
