"""The table of controls: what comes from the network, from the strong views, and from unlabelled images."""

from benchmark.analysis import family
from benchmark.analysis.board import Board
from benchmark.analysis.family import STRONG, Claim
from benchmark.report.tables import formatting, notes
from benchmark.report.tables.formatting import METHOD, Options, percent
from benchmark.report.tables.table import Cell, Column, Line, Table


def controls(board: Board, options: Options) -> Table | None:
    """Each method beside its variant `labels_only` and beside supervised training with the strong views."""
    base, score, known = board.supervised, options.score, family.controls(board)
    claims, lines, shown = family.against_controls(board, options), [], {}
    for ratio in board.ratios(list(known)):
        for label, others in known.items():
            here = [other for other in others if board.common(label, other, ratio)]
            if not here:
                continue
            strong = [other for other in here if board.method_of[other] == STRONG]
            alone = [other for other in here if other not in strong]
            row = [formatting.name(board, label, ratio)]
            for of in (alone, strong):
                row += _beside(board, label, of[0] if of else None, base, ratio, options, claims)
            pairs = max(board.common(label, other, ratio) for other in here)
            lines.append(Line((*row, Cell(str(pairs), pairs)), percent(ratio)))
            shown |= dict.fromkeys(filter(None, [base, label, *here]))
    columns = [METHOD]
    for group in ("labels only", "supervised, strong views"):
        columns += [
            Column("− supervised", "interval", group), Column("method − it", "interval", group),
            Column("p (family)", group=group),
        ]  # fmt: skip
    columns.append(Column("Pairs"))
    said = [
        f"Differences of mean {score.title} on the same test images after the same draws and seeds [95 % interval for "
        f"new patients, draws and seeds]. {score.in_units} "
        "Labels only: the method with all unsupervised weights 0: what "
        "it gains over supervised comes from its network and its losses on labelled images. Supervised, strong views: "
        "supervised training with the strong augmentation of the methods. What the method gains over either control "
        "comes from unlabelled images. p (family): adjusted by Holm over all differences to controls that are "
        "published together. Pairs: runs with the same draw and seed.",
    ]
    title = "What comes from the network, from the views and from unlabelled images"
    return notes.table("controls", title, columns, lines, board, list(shown), options, said, board.published)


def _beside(
    board: Board, label: str, control: str | None, base: str | None, ratio: float, options: Options,
    claims: dict[tuple[float, str, str], Claim],
) -> list[Cell]:  # fmt: skip
    """The control less supervised, the method less the control, and its p."""
    if control is None:
        return [Cell(), Cell(), Cell()]
    metric, score = options.metric, options.score
    keys, base_keys = board.keys(control, ratio), board.keys(base, ratio) if base else ()
    network = board.differences([control], base, ratio, metric)[control] if base else None
    added = board.differences([label], control, ratio, metric)[label]
    claim = claims.get((ratio, label, control))
    return [
        formatting.difference(network, score, keys + base_keys),
        formatting.difference(added, score, board.keys(label, ratio) + keys),
        formatting.probability(claim.p if claim else float("nan")),
    ]
