"""The numbers behind figures: the scores of a comparison as images × runs, and intervals and differences of methods."""

import functools
from collections import defaultdict
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
    patients: Int[np.ndarray, "n"]
    draws: Int[np.ndarray, "n"]
    seeds: Int[np.ndarray, "n"]


class Comparison:
    """Finished runs that share data, split and network, and their scores; several classes are averaged in an image.

    `rows` are all rows; `runs` has the lines of `runs_frame` of the finished ones, labels with a dagger where the
    budget is uneven; `columns` their places by label and ratio; `scores` a column for each of them and a line for each
    test image; `patients` the number of each image's patient. Intervals and differences are computed once.
    """

    def __init__(self, rows: Sequence[Row], metric: str = "dice"):
        self.rows = rows
        self.by_key = {row["key"]: row for row in rows}
        self.runs = runs_frame([row for row in rows if row["status"] == "done"])
        self.columns: dict[tuple[str, float], list[int]] = {}
        if self.runs.empty:
            self.scores, self.patients, self.images = np.zeros((0, 0)), np.zeros(0, dtype=np.int64), []
            return
        self.runs["label"] += np.where(self.runs.uneven, DAGGER, "")
        for column, place in enumerate(zip(self.runs.label, self.runs.ratio, strict=True)):
            self.columns.setdefault(place, []).append(column)
        first = self.by_key[self.runs.key[0]]["scores"]
        self.images: list[str] = list(first["name"])
        numbers = {patient: i for i, patient in enumerate(dict.fromkeys(first["patient"]))}
        self.patients = np.array([numbers[patient] for patient in first["patient"]])
        self.scores = np.empty((len(self.images), len(self.runs)))
        for column, key in enumerate(self.runs.key):
            row = self.by_key[key]
            if row["scores"]["name"] != first["name"]:
                raise ValueError(
                    f"The runs {key} and {self.runs.key[0]} have scores of other images; report them apart."
                )
            self.scores[:, column] = _mean(scores(row, metric))

    @classmethod
    def of(cls, rows: "Sequence[Row] | Comparison") -> "Comparison":
        """The comparison itself, or that of rows, so that several figures of the same rows share the work."""
        return rows if isinstance(rows, cls) else cls(rows)

    @functools.cached_property
    def _lines(self) -> list[tuple[str, str, bool]]:
        """Label, method and unevenness of what is shown: no variants and settings of methods that have other runs."""
        if self.runs.empty:
            return []
        plain = (self.runs.variant == "") & (self.runs.settings == "")
        shown = self.runs[plain | ~self.runs.method.isin(set(self.runs.method[plain]))]
        return list(dict.fromkeys(zip(shown.label, shown.method, shown.uneven, strict=True)))

    def labels(self, ratio: float | None = None, *, uneven: bool = True) -> list[str]:
        """Methods in the order and words of tables, each as published: no variants, no settings, if it has such runs.

        With `ratio`, those that have runs there; without `uneven`, those of the common budget.
        """
        shown = [label for label, _, odd in self._lines if uneven or not odd]
        return [label for label in shown if ratio is None or (label, ratio) in self.columns]

    @functools.cached_property
    def reference(self) -> str | None:
        """The label of supervised training under the common budget."""
        return next((label for label, method, odd in self._lines if method == "supervised" and not odd), None)

    def ratios(self, labels: Sequence[str] | None = None) -> list[float]:
        """The ratios at which these labels, or any, have runs."""
        return sorted({ratio for label, ratio in self.columns if labels is None or label in labels})

    def main_ratio(self, labels: Sequence[str] | None = None) -> float | None:
        """The ratio at which most labels have runs, by default those of the common budget; of equals, the smallest."""
        labels = self.labels(uneven=False) if labels is None else labels
        counts = {ratio: sum((label, ratio) in self.columns for label in labels) for ratio in self.ratios(labels)}
        return max(counts, key=lambda ratio: (counts[ratio], -ratio), default=None)

    def at(self, label: str, ratio: float) -> list[int]:
        """The columns of a label's runs at a ratio."""
        return self.columns.get((label, ratio), [])

    @functools.cached_property
    def _known(self) -> dict[tuple, Interval | Difference | None]:
        return {}

    def interval(self, label: str, ratio: float) -> Interval:
        """The mean score of a label at a ratio; nan where it has no runs."""
        if (label, ratio) not in self._known:
            columns = self.at(label, ratio)
            values = self.scores[:, columns].T.ravel()
            self._known[label, ratio] = (
                stats.hierarchical_interval(values, *self._drawn(columns)) if columns else Interval(*[np.nan] * 3)
            )
        return self._known[label, ratio]

    def paired(self, label: str, other: str, ratio: float) -> Paired | None:
        """The scores of two labels where they share draw and seed; None where they share none."""
        draws, seeds = self.runs.draw.to_numpy(), self.runs.seed.to_numpy()
        theirs = {(draws[column], seeds[column]): column for column in self.at(other, ratio)}
        pairs = [(a, b) for a in self.at(label, ratio) if (b := theirs.get((draws[a], seeds[a]))) is not None]
        if not pairs:
            return None
        a, b = (list(columns) for columns in zip(*pairs, strict=True))
        return Paired(self.scores[:, a].T.ravel(), self.scores[:, b].T.ravel(), *self._drawn(a))

    def difference(self, label: str, other: str, ratio: float) -> Difference | None:
        """The mean of a label's scores less the other's, paired; None where they share no draw, seed and score.

        All labels of the ratio tell each other how much runs vary (see `benchmark.stats.pooled_runs`).
        """
        if (label, other, ratio) not in self._known:
            self._known[label, other, ratio] = None
            alike: dict[tuple, dict[str, Paired]] = defaultdict(dict)
            for name in (name for name, at in self.columns if at == ratio):
                if pair := self.paired(name, other, ratio):
                    alike[pair.draws.tobytes(), pair.seeds.tobytes()][name] = pair
            for group in alike.values():
                pairs = list(group.values())
                a, b = (np.stack([getattr(pair, side) for pair in pairs], axis=1) for side in ("a", "b"))
                found = stats.paired_difference(a, b, *pairs[0][2:], pooled=True)
                for name, *numbers in zip(group, *found, strict=True):
                    difference = None if np.isnan(numbers[0]) else Difference(*map(float, numbers))
                    self._known[name, other, ratio] = difference
        return self._known[label, other, ratio]

    def _drawn(self, columns: Sequence[int]) -> tuple[Int[np.ndarray, "n"], ...]:
        """Patients, draws and seeds, an entry for each image of each run."""
        draws, seeds = (
            np.repeat(self.runs[name].to_numpy(np.int64)[columns], len(self.images)) for name in ("draw", "seed")
        )
        return np.tile(self.patients, len(columns)), draws, seeds


def _mean(values: Float[np.ndarray, "images classes"]) -> Float[np.ndarray, "images"]:
    """Over the classes that have a score; nan where none has."""
    if values.shape[1] == 1:
        return values[:, 0]
    there = ~np.isnan(values)
    return np.where(there, values, 0).sum(1) / np.where(there.any(1), there.sum(1), np.nan)
