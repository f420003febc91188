"""The table of headroom: what all labels are worth, and how much of it each method closes without them."""

from benchmark.analysis import family, standing
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.stats import Interval
from benchmark.protocol.scores import Score
from benchmark.report.tables import formatting, notes
from benchmark.report.tables.formatting import METHOD, percent
from benchmark.report.tables.table import Cell, Column, Line, Table

SHARE = Score(name="gap_closed", title="Gap closed", digits=0)
BOUND = "Upper bound (all labels)"


def headroom(comparison: Comparison) -> Table | None:
    """A block for each ratio: the upper bound's difference to supervised, then each method's, and the gap it closes."""
    base, score = comparison.supervised, comparison.options.score
    labels = [label for label in comparison.published if label != base]
    ratios = [ratio for ratio in comparison.ratios(labels) if ratio < 1]
    if base is None or not ratios:
        return None
    lines = []
    for ratio in ratios:
        lines.append(Line(_bound(comparison, base, ratio), percent(ratio)))
        claims = family.against_supervised(comparison)
        shares = closed(comparison, ratio)
        for label in comparison.finished(labels, ratio):
            runs = comparison.keys(label, ratio) + comparison.keys(base, ratio)
            difference = comparison.differences([label], base, ratio, comparison.options.metric)[label]
            claim, share = claims.get((ratio, label)), shares.get(label)
            pairs = comparison.common(label, base, ratio)
            cells = (
                formatting.name(comparison, label, ratio),
                formatting.difference(difference, score, runs),
                formatting.probability(claim.p if claim else float("nan")),
                formatting.interval(share, SHARE, runs + comparison.keys(base, 1.0)) if share else Cell(),
                Cell(str(pairs), pairs),
            )
            lines.append(Line(cells, percent(ratio)))
    columns = [
        METHOD, Column("Δ to supervised", "interval", unit=score.unit), Column("p (family)", unit="probability"),
        Column("Gap closed (%)", "interval", unit="%"),
        Column("Pairs"),
    ]  # fmt: skip
    remarks = [
        f"Δ: difference of mean {score.title} to supervised on the same test images after the same draws and seeds "
        f"[95 % interval for new patients, draws and seeds]. {score.in_units} "
        "That of the upper bound (supervised with all "
        "labels, the same steps) is the headroom. Gap closed: the share of the headroom that a method gains [95 % "
        "interval by Fieller's theorem], from runs that method, supervised and upper bound share. p (family): adjusted "
        "by Holm over everything that is published together, for headroom and for methods separately. Pairs: runs of "
        "the same draw and seed.",
    ]
    title = f"Headroom of {score.title} and the share that is closed"
    return notes.table("headroom", title, columns, lines, comparison, comparison.published, remarks)


def _bound(comparison: Comparison, base: str, ratio: float) -> tuple[Cell, ...]:
    claim = family.headrooms(comparison).get(ratio)
    runs = comparison.keys(base, ratio) + comparison.keys(base, 1.0)
    pairs = len({*comparison.places(base, ratio)} & {*comparison.places(base, 1.0)})
    return (
        Cell(BOUND, runs=runs),
        formatting.difference(claim.difference if claim else None, comparison.options.score, runs),
        formatting.probability(claim.p if claim else float("nan")),
        Cell(),
        Cell(str(pairs), pairs),
    )


def closed(comparison: Comparison, ratio: float) -> dict[str, Interval]:
    """The share of the headroom that each method closes; none where the headroom is not significantly above 0."""
    if not standing.has_headroom(comparison, ratio):
        return {}
    return comparison.gap_closed(
        ratio, comparison.single(comparison.options.metric), None, comparison.options.score.higher_is_better
    )
