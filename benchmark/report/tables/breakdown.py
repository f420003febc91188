"""Tables by stratum and by patient: where methods differ, and on whom they fail."""

import numpy as np
from jaxtyping import Float

from benchmark.analysis import standing
from benchmark.analysis.comparison import Comparison
from benchmark.protocol.scores import Score
from benchmark.report.tables import formatting, notes
from benchmark.report.tables.formatting import METHOD, percent
from benchmark.report.tables.table import DAGGER, DASH, Cell, Column, Line, Table

METHODS_ACROSS = 7  # in a table with a line for each patient: what a page holds


def strata(comparison: Comparison) -> Table | None:
    """Scores by stratum of the test images, such as the grade."""
    labels, score = comparison.published, comparison.options.score
    names = sorted({str(name) for name in comparison.strata if name})
    if len(names) < 2:
        return None
    lines = []
    for ratio in comparison.ratios(labels):
        here = comparison.present(labels, ratio)
        found = [formatting.scored(comparison, here, ratio, comparison.options.metric, None, name) for name in names]
        for label in here:
            lines.append(
                Line((formatting.name(comparison, label, ratio), *(of[label] for of in found)), percent(ratio))
            )
    columns = [METHOD] + [
        Column(
            f"{name} ({(comparison.strata == name).sum()})", "interval", f"{score.head} by stratum (images)", score.unit
        )
        for name in names
    ]
    remarks = [notes.legend(comparison.options.uneven, ranked=False), score.in_units]
    return notes.table("strata", f"{score.title} by stratum", columns, lines, comparison, labels, remarks)


def patients(comparison: Comparison) -> Table | None:
    """How methods do on their worst, usual and best patients, and on how many they beat supervised."""
    labels, score = comparison.published, comparison.options.score
    sign = 1 if score.higher_is_better else -1
    lines = []
    for ratio in comparison.ratios(labels):
        here = comparison.finished(labels, ratio)
        means = {label: by_patient(comparison, label, ratio) for label in here}
        baseline = comparison.baseline(here)
        for label in here:
            keys, of = comparison.keys(label, ratio), sign * means[label]
            if np.isnan(of).all():
                continue
            worst = Cell(comparison.patient_names[int(np.nanargmin(of))], runs=keys)
            quantiles = sign * score.scale * np.nanquantile(of, (0, 0.1, 0.5, 0.9, 1))
            cells = [worst, *(formatting.plain(value, score.digits, keys) for value in quantiles)]
            cells += [_wins(means[label], means.get(baseline), score, keys) if label != baseline else Cell()]
            lines.append(Line((formatting.name(comparison, label, ratio), *cells), percent(ratio)))
    heads = ("Worst", "Lower tenth", "Median", "Upper tenth", "Best")
    columns = [
        METHOD,
        Column("Worst is", "text"),
        *(Column(head, unit=score.unit) for head in heads),
        Column("Better than supervised", "text"),
    ]
    remarks = [f"Mean {score.title} of a patient's images, then over runs; quantiles over patients. {score.in_units}"]
    return notes.table("patients", f"{score.title} of patients", columns, lines, comparison, labels, remarks)


def per_patient(comparison: Comparison) -> Table | None:
    """A line for each test patient, the hardest first, at the labelled fraction with most methods."""
    labels, score = comparison.published, comparison.options.score
    sign = 1 if score.higher_is_better else -1
    ratio = comparison.main_ratio(labels)
    if ratio is None:
        return None
    here = comparison.finished(labels, ratio)
    intervals, baseline = comparison.intervals(here, ratio, comparison.options.metric), comparison.baseline(here)
    able = standing.ranks(comparison, ratio)
    ranked = sorted(here, key=lambda label: (label != baseline, -sign * intervals[label].mean if able else 0))
    shown = [label for label in here if label in ranked[:METHODS_ACROSS]]
    means = np.array([by_patient(comparison, label, ratio) for label in shown])
    sums, counts = np.nansum(means, axis=0), (~np.isnan(means)).sum(axis=0)
    hard = np.where(counts > 0, sign * sums / np.maximum(counts, 1), np.inf)
    images = np.bincount(comparison.patients)
    lines = []
    for p in np.argsort(hard, kind="stable"):
        cells = (
            formatting.plain(score.scale * mean, score.digits, comparison.keys(label, ratio))
            for mean, label in zip(means[:, p], shown, strict=True)
        )
        lines.append(Line((Cell(comparison.patient_names[p]), Cell(str(images[p]), images[p]), *cells)))
    daggers = [DAGGER * bool(comparison.at(label, ratio).uneven.any()) for label in shown]
    columns = [Column("Patient", "text"), Column("Images")]
    columns += [
        Column(label + dagger, group=score.head, unit=score.unit) for label, dagger in zip(shown, daggers, strict=True)
    ]
    remarks = [f"Mean {score.title} of a patient's images, then over runs. {score.in_units}"]
    if len(shown) < len(here):
        which = "with the best mean" if able else "that come first in other tables"
        remarks.append(f"Of {len(here)} methods the {len(shown)} {which}, supervised among them.")
    title = f"{score.title} of every test patient, {percent(ratio)} labelled"
    return notes.table("per_patient", title, columns, lines, comparison, labels, remarks)


def by_patient(comparison: Comparison, label: str, ratio: float) -> Float[np.ndarray, "patients"]:
    """The mean of each patient's images, then over runs; nan where a patient has no score."""
    means = comparison.patient_means(label, ratio, comparison.options.metric)
    scored = (~np.isnan(means)).sum(axis=0)
    return np.where(scored > 0, np.nansum(means, axis=0) / np.maximum(scored, 1), np.nan)


def _wins(mine: np.ndarray, theirs: np.ndarray | None, score: Score, runs: tuple[str, ...]) -> Cell:
    """On how many patients a method beats supervised. No score (nothing there, nothing found) beats any."""
    if theirs is None:
        return Cell(DASH)
    scored = ~np.isnan(mine) | ~np.isnan(theirs)
    sign = 1 if score.higher_is_better else -1
    mine, theirs = (np.where(np.isnan(of), np.inf, sign * of) for of in (mine, theirs))
    better = (mine > theirs) & scored
    return Cell(f"{better.sum()} of {scored.sum()}", float(better.sum()), runs=runs)
