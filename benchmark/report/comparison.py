"""The numbers behind figures: the scores of a comparison as images × runs, and intervals and differences of methods."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from benchmark import stats
from benchmark.report.frame import Row, runs_frame, scores
from benchmark.stats import Difference, Interval

DAGGER = " †"  # after the label of runs whose budget is not that of most


class Paired(NamedTuple):
    """Scores of two methods on the same images after the same draws and seeds, an entry for each image of a run."""

    a: Float[np.ndarray, "n"]
    b: Float[np.ndarray, "n"]
    patients: np.ndarray
    draws: np.ndarray
    seeds: np.ndarray

    def difference(self) -> Difference:
        """The mean of a − b with its interval."""
        return stats.paired_difference(*self)


class Comparison:
    """Finished runs that share data, split and network, and their scores; several classes are averaged in an image.

    `runs` has the lines of `runs_frame`, labels with a dagger where the budget is uneven; `scores` a column for each of
    them and a line for each test image; `patients` the patient of each image.
    """

    def __init__(self, rows: Sequence[Row], metric: str = "dice"):
        by_key = {row["key"]: row for row in rows if row["status"] == "done"}
        self.runs = runs_frame(list(by_key.values()))
        if self.runs.empty:
            self.scores, self.patients, self.images = np.zeros((0, 0)), np.zeros(0, dtype=object), []
            return
        self.runs["label"] += np.where(self.runs.uneven, DAGGER, "")
        first = by_key[self.runs.key[0]]["scores"]
        self.images: list[str] = list(first["name"])
        self.patients = np.array(first["patient"], dtype=object)
        self.scores = np.empty((len(self.images), len(self.runs)))
        for column, key in enumerate(self.runs.key):
            names = by_key[key]["scores"]["name"]
            if names != first["name"]:
                raise ValueError(
                    f"The runs {key} and {self.runs.key[0]} have scores of other images; report them apart."
                )
            self.scores[:, column] = _mean(scores(by_key[key], metric))

    def labels(self, ratio: float | None = None, *, uneven: bool = True) -> list[str]:
        """Methods in the order and words of tables, each as published: no variants, no settings, if it has such runs.

        With `ratio`, those that have runs there; without `uneven`, those of the common budget.
        """
        if self.runs.empty:
            return []
        plain = (self.runs.variant == "") & (self.runs.settings == "")
        shown = self.runs[plain | ~self.runs.method.isin(self.runs.method[plain])]
        if ratio is not None:
            shown = shown[shown.ratio == ratio]
        return list(dict.fromkeys(shown.label[~shown.uneven | uneven]))

    @property
    def reference(self) -> str | None:
        """The label of supervised training under the common budget."""
        even = [label for label in self.labels(uneven=False) if self.method(label) == "supervised"]
        return even[0] if even else None

    def method(self, label: str) -> str:
        return self.runs.method[self.runs.label == label].iloc[0]

    def ratios(self, labels: Sequence[str] | None = None) -> list[float]:
        """The ratios at which these labels have runs."""
        runs = self.runs if labels is None or self.runs.empty else self.runs[self.runs.label.isin(labels)]
        return sorted(set(runs.ratio)) if not runs.empty else []

    def main_ratio(self, labels: Sequence[str] | None = None) -> float | None:
        """The ratio at which most labels have runs, by default those of the common budget; of equals, the smallest."""
        labels = self.labels(uneven=False) if labels is None else labels
        counts = {ratio: sum(len(self.at(label, ratio)) > 0 for label in labels) for ratio in self.ratios(labels)}
        return max(counts, key=lambda ratio: (counts[ratio], -ratio), default=None)

    def at(self, label: str, ratio: float) -> Int[np.ndarray, "runs"]:
        """The columns of a label's runs at a ratio."""
        return np.flatnonzero((self.runs.label == label) & (self.runs.ratio == ratio))

    def interval(self, label: str, ratio: float) -> Interval:
        """The mean score of a label at a ratio; nan where it has no runs."""
        return self.interval_of(self.at(label, ratio))

    def interval_of(self, columns: Int[np.ndarray, "runs"]) -> Interval:
        """The mean score of some runs."""
        values, patients = self.scores[:, columns].T.ravel(), np.tile(self.patients, len(columns))
        if not len(values):
            return Interval(np.nan, np.nan, np.nan)
        return stats.hierarchical_interval(values, patients, *self._of_runs(columns))

    def paired(self, label: str, other: str, ratio: float) -> Paired | None:
        """The scores of two labels where they share draw and seed; None where they share none."""
        a, b = (
            self.runs.loc[self.at(name, ratio), ["draw", "seed"]].reset_index(names="column") for name in (label, other)
        )
        both = a.merge(b, on=["draw", "seed"])
        if both.empty:
            return None
        mine, theirs = (self.scores[:, both[name]].T.ravel() for name in ("column_x", "column_y"))
        return Paired(mine, theirs, np.tile(self.patients, len(both)), *self._of_runs(both.column_x.to_numpy()))

    def _of_runs(self, columns: Int[np.ndarray, "runs"]) -> tuple[np.ndarray, np.ndarray]:
        """Draws and seeds, an entry for each image of each run."""
        return tuple(np.repeat(self.runs[name].to_numpy()[columns], len(self.images)) for name in ("draw", "seed"))


def _mean(values: Float[np.ndarray, "images classes"]) -> Float[np.ndarray, "images"]:
    """Over the classes that have a score; nan where none has."""
    there = ~np.isnan(values)
    return np.where(there, values, 0).sum(1) / np.where(there.any(1), there.sum(1), np.nan)
