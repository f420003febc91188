"""The table of headroom: what all labels are worth, and how much of it each method closes without them."""

from benchmark.analysis import family, standing
from benchmark.analysis.board import Board
from benchmark.analysis.stats import Interval
from benchmark.protocol.scores import Score
from benchmark.report.tables import formatting, notes
from benchmark.report.tables.formatting import METHOD, Options, percent
from benchmark.report.tables.table import Cell, Column, Line, Table

SHARE = Score(name="gap_closed", title="Gap closed", digits=0)
BOUND = "Upper bound (all labels)"


def headroom(board: Board, options: Options) -> Table | None:
    """A block for each ratio: the upper bound's difference to supervised, then each method's, and the gap it closes."""
    base, score = board.supervised, options.score
    labels = [label for label in board.published if label != base]
    ratios = [ratio for ratio in board.ratios(labels) if ratio < 1]
    if base is None or not ratios:
        return None
    lines = []
    for ratio in ratios:
        lines.append(Line(_bound(board, base, ratio, options), percent(ratio)))
        claims = family.against_supervised(board, options)
        shares = closed(board, ratio, options)
        for label in formatting.done(board, labels, ratio):
            runs = board.keys(label, ratio) + board.keys(base, ratio)
            difference = board.differences([label], base, ratio, options.metric)[label]
            claim, share = claims.get((ratio, label)), shares.get(label)
            pairs = board.common(label, base, ratio)
            row = (
                formatting.name(board, label, ratio),
                formatting.difference(difference, score, runs),
                formatting.probability(claim.p if claim else float("nan")),
                formatting.interval(share, SHARE, runs + board.keys(base, 1.0)) if share else Cell(),
                Cell(str(pairs), pairs),
            )
            lines.append(Line(row, percent(ratio)))
    columns = [
        METHOD, Column("Δ to supervised", "interval"), Column("p (family)"), Column("Gap closed (%)", "interval"),
        Column("Pairs"),
    ]  # fmt: skip
    said = [
        f"Δ: difference of mean {score.title} to supervised on the same test images after the same draws and seeds "
        f"[95 % interval for new patients, draws and seeds]. {score.in_units} "
        "That of the upper bound (supervised with all "
        "labels, the same steps) is the headroom. Gap closed: the share of the headroom that a method gains [95 % "
        "interval by Fieller's theorem], from runs that method, supervised and upper bound share. p (family): adjusted "
        "by Holm over everything that is published together, for headroom and for methods separately. Pairs: runs of "
        "the same draw and seed.",
    ]
    title = f"Headroom of {score.title} and the share that is closed"
    return notes.table("headroom", title, columns, lines, board, board.published, options, said)


def _bound(board: Board, base: str, ratio: float, options: Options) -> tuple[Cell, ...]:
    claim = family.headrooms(board, options).get(ratio)
    runs = board.keys(base, ratio) + board.keys(base, 1.0)
    pairs = len({*board.places(base, ratio)} & {*board.places(base, 1.0)})
    return (
        Cell(BOUND, runs=runs),
        formatting.difference(claim.difference if claim else None, options.score, runs),
        formatting.probability(claim.p if claim else float("nan")),
        Cell(),
        Cell(str(pairs), pairs),
    )


def closed(board: Board, ratio: float, options: Options) -> dict[str, Interval]:
    """The share of the headroom that each method closes; none where the headroom is not significantly above 0."""
    if not standing.has_headroom(board, ratio, options):
        return {}
    return board.gap_closed(ratio, board.single(options.metric), None, options.score.higher_is_better)
