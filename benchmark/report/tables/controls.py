"""The table of controls: what comes from the network, from the strong views, and from unlabelled images."""

from benchmark.analysis import family
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.family import STRONG, Claim
from benchmark.report.tables import formatting, notes
from benchmark.report.tables.formatting import METHOD, percent
from benchmark.report.tables.table import Cell, Column, Line, Table


def controls(comparison: Comparison) -> Table | None:
    """Each method beside its variant `labels_only` and beside supervised training with the strong views."""
    base, score, known = comparison.supervised, comparison.options.score, family.controls(comparison)
    claims, lines, shown = family.against_controls(comparison), [], {}
    for ratio in comparison.ratios(list(known)):
        for label, others in known.items():
            here = [other for other in others if comparison.common(label, other, ratio)]
            if not here:
                continue
            strong = [other for other in here if comparison.method_of[other] == STRONG]
            alone = [other for other in here if other not in strong]
            cells = [formatting.name(comparison, label, ratio)]
            for of in (alone, strong):
                cells += _beside(comparison, label, of[0] if of else None, base, ratio, claims)
            pairs = max(comparison.common(label, other, ratio) for other in here)
            lines.append(Line((*cells, Cell(str(pairs), pairs)), percent(ratio)))
            shown |= dict.fromkeys(filter(None, [base, label, *here]))
    columns = [METHOD]
    for group in ("labels only", "supervised, strong views"):
        columns += [
            Column("− supervised", "interval", group, score.unit), Column("method − it", "interval", group, score.unit),
            Column("p (family)", group=group, unit="probability"),
        ]  # fmt: skip
    columns.append(Column("Pairs"))
    remarks = [
        f"Differences of mean {score.title} on the same test images after the same draws and seeds [95 % interval for "
        f"new patients, draws and seeds]. {score.in_units} "
        "Labels only: the method with all unsupervised weights 0: what "
        "it gains over supervised comes from its network and its losses on labelled images. Supervised, strong views: "
        "supervised training with the strong augmentation of the methods. What the method gains over either control "
        "comes from unlabelled images. p (family): adjusted by Holm over all differences to controls that are "
        "published together. Pairs: runs with the same draw and seed.",
    ]
    title = "What comes from the network, from the views and from unlabelled images"
    return notes.table("controls", title, columns, lines, comparison, list(shown), remarks, comparison.published)


def _beside(
    comparison: Comparison, label: str, control: str | None, base: str | None, ratio: float,
    claims: dict[tuple[float, str, str], Claim],
) -> list[Cell]:  # fmt: skip
    """The control less supervised, the method less the control, and its p."""
    if control is None:
        return [Cell(), Cell(), Cell()]
    metric, score = comparison.options.metric, comparison.options.score
    keys, base_keys = comparison.keys(control, ratio), comparison.keys(base, ratio) if base else ()
    network = comparison.differences([control], base, ratio, metric)[control] if base else None
    added = comparison.differences([label], control, ratio, metric)[label]
    claim = claims.get((ratio, label, control))
    return [
        formatting.difference(network, score, keys + base_keys),
        formatting.difference(added, score, comparison.keys(label, ratio) + keys),
        formatting.probability(claim.p if claim else float("nan")),
    ]
