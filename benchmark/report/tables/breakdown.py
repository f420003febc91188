"""Tables by stratum and by patient: where methods differ, and on whom they fail."""

import numpy as np
from jaxtyping import Float

from benchmark.analysis import standing
from benchmark.analysis.board import Board
from benchmark.protocol.scores import Score
from benchmark.report.tables import formatting, notes
from benchmark.report.tables.formatting import METHOD, Options, percent
from benchmark.report.tables.table import DAGGER, DASH, Cell, Column, Line, Table

METHODS_ACROSS = 7  # in a table with a line for each patient: what a page holds


def strata(board: Board, options: Options) -> Table | None:
    """Scores by stratum of the test images, such as the grade."""
    labels, score = board.published, options.score
    names = sorted({str(name) for name in board.strata if name})
    if len(names) < 2:
        return None
    lines = []
    for ratio in board.ratios(labels):
        here = formatting.at(board, labels, ratio)
        found = [formatting.scored(board, here, ratio, options.metric, None, options, name) for name in names]
        for label in here:
            lines.append(Line((formatting.name(board, label, ratio), *(of[label] for of in found)), percent(ratio)))
    columns = [METHOD] + [
        Column(f"{name} ({(board.strata == name).sum()})", "interval", f"{score.head} by stratum (images)")
        for name in names
    ]
    said = [notes.legend(options.uneven, ranked=False), score.in_units]
    return notes.table("strata", f"{score.title} by stratum", columns, lines, board, labels, options, said)


def patients(board: Board, options: Options) -> Table | None:
    """How methods do on their worst, usual and best patients, and on how many they beat supervised."""
    labels, score = board.published, options.score
    sign = 1 if score.higher_is_better else -1
    lines = []
    for ratio in board.ratios(labels):
        here = formatting.done(board, labels, ratio)
        means = {label: by_patient(board, label, ratio, options.metric) for label in here}
        baseline = formatting.supervised(board, here)
        for label in here:
            keys, of = board.keys(label, ratio), sign * means[label]
            if np.isnan(of).all():
                continue
            worst = Cell(board.patient_names[int(np.nanargmin(of))], runs=keys)
            quantiles = sign * score.scale * np.nanquantile(of, (0, 0.1, 0.5, 0.9, 1))
            row = [worst, *(formatting.plain(value, score.digits, keys) for value in quantiles)]
            row += [_wins(means[label], means.get(baseline), score, keys) if label != baseline else Cell()]
            lines.append(Line((formatting.name(board, label, ratio), *row), percent(ratio)))
    heads = ("Worst", "Lower tenth", "Median", "Upper tenth", "Best")
    columns = [METHOD, Column("Worst is", "text"), *map(Column, heads), Column("Better than supervised", "text")]
    said = [f"Mean {score.title} of a patient's images, then over runs; quantiles over patients. {score.in_units}"]
    return notes.table("patients", f"{score.title} of patients", columns, lines, board, labels, options, said)


def per_patient(board: Board, options: Options) -> Table | None:
    """A line for each test patient, the hardest first, at the share of labels with most methods."""
    labels, score = board.published, options.score
    ratio = formatting.main_ratio(board, labels)
    if ratio is None:
        return None
    here = formatting.done(board, labels, ratio)
    intervals, baseline = board.intervals(here, ratio, options.metric), formatting.supervised(board, here)
    able = standing.ranks(board, ratio, options)
    ranked = sorted(
        here, key=lambda label: (label != baseline, formatting.better_first(intervals[label], score) if able else 0)
    )
    shown = [label for label in here if label in ranked[:METHODS_ACROSS]]
    means = np.array([by_patient(board, label, ratio, options.metric) for label in shown])
    sums, counts = np.nansum(means, axis=0), (~np.isnan(means)).sum(axis=0)
    hard = np.where(counts > 0, (1 if score.higher_is_better else -1) * sums / np.maximum(counts, 1), np.inf)
    images = np.bincount(board.patients)
    lines = []
    for p in np.argsort(hard, kind="stable"):
        row = (
            formatting.plain(score.scale * mean, score.digits, board.keys(label, ratio))
            for mean, label in zip(means[:, p], shown, strict=True)
        )
        lines.append(Line((Cell(board.patient_names[p]), Cell(str(images[p]), images[p]), *row)))
    daggers = [DAGGER * bool(board.at(label, ratio).uneven.any()) for label in shown]
    columns = [Column("Patient", "text"), Column("Images")]
    columns += [Column(label + dagger, group=score.head) for label, dagger in zip(shown, daggers, strict=True)]
    said = [f"Mean {score.title} of a patient's images, then over runs. {score.in_units}"]
    if len(shown) < len(here):
        which = "with the best mean" if able else "that come first in other tables"
        said.append(f"Of {len(here)} methods the {len(shown)} {which}, supervised among them.")
    title = f"{score.title} of every test patient, {percent(ratio)} labelled"
    return notes.table("per_patient", title, columns, lines, board, labels, options, said)


def by_patient(board: Board, label: str, ratio: float, metric: str) -> Float[np.ndarray, "patients"]:
    """The mean of each patient's images, then over runs; nan where a patient has no score."""
    values, several = board.values(label, ratio, metric), len(board.patient_names)
    means = np.full((len(values), several), np.nan)
    for run, scores in enumerate(values):
        there = ~np.isnan(scores)
        count = np.bincount(board.patients[there], minlength=several)
        np.divide(np.bincount(board.patients[there], scores[there], several), count, out=means[run], where=count > 0)
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
