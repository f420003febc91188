"""A comparison: which methods it has, and their intervals, paired differences and headroom, many at once."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmark.analysis import stats
from benchmark.analysis.run_table import columns, runs_frame, scores
from benchmark.analysis.stats import Difference, Interval, Spread
from benchmark.names import choose
from benchmark.protocol.scores import SCORES, Score, for_classes
from benchmark.run_records import RunRecord

NOTHING = Interval(np.nan, np.nan, np.nan)
UNTESTED = Difference(np.nan, np.nan, np.nan, np.nan)

Place = tuple[int, int]  # draw, seed


@dataclass(frozen=True)
class Options:
    """What a reader may choose.

    `metric`: the score of tables and figures that have one. `uneven`: runs of another budget are ranked with the
    others. `margin`: differences below it may be called equivalent, in the unit in which the score is printed. `suite`:
    the suite with the runs that are published together; "" is all.
    """

    metric: str = "dice"
    uneven: bool = False
    margin: float = 1.0
    suite: str = ""

    def __post_init__(self) -> None:
        choose(self.metric, list(SCORES), "metric")

    @property
    def score(self) -> Score:
        return SCORES[self.metric]


class _Group(NamedTuple):
    """Labels with runs after the same draws and seeds, and how their differences to another one vary."""

    labels: list[str]
    places: tuple[Place, ...]
    parts: Spread


class Comparison:
    """Scores by label, ratio, draw and seed, on the same test images for all runs.

    `records` are the run records by key; `runs` has the lines of `runs_frame`, `done` those of finished runs. A metric
    is the name of a score in `benchmark.protocol.scores`; `c` is a foreground class from 0, or None for scores with one
    number for each image, such as the mean over classes. Of several classes, `options.metric` is that mean.
    """

    def __init__(self, records: Sequence[RunRecord], options: Options = Options()):
        self.records = {record.key: record for record in records}
        self.options = replace(options, metric=self.single(options.metric))
        self.runs = runs_frame(records)
        self.done = self.runs[self.runs.status == "done"] if len(self.runs) else self.runs
        self.labels: list[str] = list(dict.fromkeys(self.runs.label)) if len(self.runs) else []
        self.known: dict[tuple, Any] = {}  # what was computed before, by what it is of
        self.name = ""  # among the comparisons published together
        self.published_with: list[Comparison] = [self]  # those with which the claims are one family, this one included
        self._runs = dict(list(self.runs.groupby(["label", "ratio"], sort=False))) if len(self.runs) else {}
        self._places: dict[tuple[str, float], dict[Place, str]] = defaultdict(dict)
        for line in self.done.itertuples():
            self._places[line.label, line.ratio].setdefault((line.draw, line.seed), line.key)
        if len(self.done):
            self._check_images()

    @classmethod
    def of(cls, records: "Sequence[RunRecord] | Comparison", options: Options = Options()) -> "Comparison":
        """The comparison itself, or that of the records of one comparison, published alone."""
        return records if isinstance(records, cls) else cls(records, options)

    def _check_images(self) -> None:
        first = self.records[self.done.key.iloc[0]]
        names = first.scores["name"]
        for key in self.done.key:
            if (other := self.records[key].scores["name"]) is not names and other != names:
                raise ValueError(
                    f"The runs {key} and {first.key} were scored on different test images, so they cannot be "
                    "compared; their dataset has changed in between, so run one of them again."
                )

    @property
    def classes(self) -> list[str]:
        """Foreground classes."""
        return next(iter(self.records.values())).classes[1:] if self.records else []

    def single(self, metric: str) -> str:
        """The score with one number for each image: of several classes, the mean over them."""
        return for_classes(metric, len(self.classes))

    @property
    def images(self) -> dict[str, list]:
        """Names, patients and strata of the test images."""
        return self.records[self.done.key.iloc[0]].scores if len(self.done) else {"name": [], "patient": []}

    @property
    def unit(self) -> str:
        """What the split keeps apart: "patient", or what the dataset has instead."""
        return next(iter(self.records.values())).unit

    @cached_property
    def patients(self) -> np.ndarray:
        """The number of each test image's patient; `patient_names` has their names."""
        return pd.factorize(np.array(self.images["patient"], dtype=object))[0]

    @cached_property
    def patient_names(self) -> list[str]:
        return list(dict.fromkeys(self.images["patient"]))

    @cached_property
    def strata(self) -> np.ndarray:
        """The stratum of each test image, "" where there is none."""
        return np.array(self.images.get("stratum") or [""] * len(self.images["name"]), dtype=object)

    @property
    def validated(self) -> bool:
        """Whether the split has validation images."""
        return any(record.certificate.images["val"] for record in self.records.values())

    @cached_property
    def published(self) -> list[str]:
        """Methods without variants and settings; of a method that has no such runs, what there is."""
        if not len(self.runs):
            return []
        plain = (self.runs.variant == "") & (self.runs.settings == "")
        shown = self.runs[plain | ~self.runs.method.isin(self.runs.method[plain])]
        return list(dict.fromkeys(shown.label))

    @cached_property
    def baselines(self) -> list[str]:
        """Supervised training with the budget of most runs."""
        if not len(self.runs):
            return []
        return list(dict.fromkeys(self.runs.label[(self.runs.method == "supervised") & ~self.runs.uneven]))

    @cached_property
    def supervised(self) -> str | None:
        """Supervised training as published with the budget of most runs; what methods are compared with."""
        return next((label for label in self.baselines if label in self.published), None)

    def shown(self, ratio: float | None = None, *, uneven: bool = True) -> list[str]:
        """Published labels with finished runs (at a ratio); without `uneven`, those with the budget of most runs."""
        ratios = self.ratios(self.published) if ratio is None else [ratio]
        return [
            label
            for label in self.published
            if any(self._places[label, r] for r in ratios) and (uneven or not self.uneven(label, ratio))
        ]

    def baseline(self, labels: Sequence[str]) -> str | None:
        """Supervised training with the budget of most runs, if it is among these labels."""
        return next((label for label in self.baselines if label in labels), None)

    def present(self, labels: Iterable[str], ratio: float) -> list[str]:
        """Those that have runs at a ratio, diverged ones too."""
        return [label for label in labels if (label, ratio) in self._runs]

    def finished(self, labels: Iterable[str], ratio: float) -> list[str]:
        """Those that have finished runs at a ratio."""
        return [label for label in labels if self._places[label, ratio]]

    def uneven(self, label: str, ratio: float | None) -> bool:
        """Whether a label's runs have another budget than most of the comparison."""
        return bool(self.at(label, ratio).uneven.any())

    def even(self, labels: Iterable[str], ratio: float) -> list[str]:
        """Those that may be compared: of the budget of most runs, or of any if the options say so."""
        return [label for label in labels if self.options.uneven or not self.uneven(label, ratio)]

    def main_ratio(self, labels: Sequence[str]) -> float | None:
        """Where most of these labels have finished runs; of equals, the smallest."""
        counts = {ratio: len(self.finished(labels, ratio)) for ratio in self.ratios(labels)}
        return max((ratio for ratio in counts if counts[ratio]), key=lambda r: (counts[r], -r), default=None)

    def draws(self, label: str, ratio: float) -> int:
        """From how many labelled subsets a label has finished runs at a ratio."""
        return _counts(self._places[label, ratio])[0]

    def most_draws(self, labels: Sequence[str], ratio: float) -> list[str]:
        """Those with most draws, as far as two have them: means over fewer are of other labelled images."""
        draws = {label: self.draws(label, ratio) for label in labels}
        most = sorted(draws.values())[-2:]
        return [label for label in labels if draws[label] >= most[0]]

    def best(
        self, labels: Sequence[str], ratio: float, intervals: dict[str, Interval], score: Score
    ) -> str | None:  # fmt: skip
        """The label with the best mean, of those with most draws."""
        known = [label for label in labels if not np.isnan(intervals[label].mean)]
        means = {label: intervals[label].mean for label in self.most_draws(known, ratio)}
        return (max if score.higher_is_better else min)(means, key=means.__getitem__, default=None)

    def ratios(self, labels: Sequence[str]) -> list[float]:
        """The ratios at which these labels have runs, finished or not."""
        return sorted({ratio for label, ratio in self._runs if label in labels})

    def at(self, label: str, ratio: float | None) -> pd.DataFrame:
        """The runs of a label at a ratio, or at all, diverged ones too."""
        if ratio is None:
            return pd.concat([runs for (other, _), runs in self._runs.items() if other == label])
        return self._runs.get((label, ratio), self.runs[:0])

    def places(self, label: str, ratio: float) -> tuple[Place, ...]:
        """The draws and seeds of the finished runs of a label at a ratio."""
        return tuple(self._places[label, ratio])

    def keys(self, label: str, ratio: float, among: Collection[Place] | None = None) -> tuple[str, ...]:
        """The finished runs of a label at a ratio, or those of these draws and seeds."""
        there = self._places[label, ratio]
        return tuple(key for place, key in there.items() if among is None or place in among)

    def shared(self, labels: Sequence[str], ratio: float) -> list[Place]:
        """The draws and seeds that all these labels have runs of; if there are none, all that any has."""
        there = [set(self._places[label, ratio]) for label in labels]
        return sorted(set.intersection(*there) or set.union(*there)) if there else []

    def has(self, metric: str) -> bool:
        """Whether any finished record has this metric."""
        return any(SCORES[metric].known(columns(self.records[key])) for key in self.done.key)

    def values(
        self, label: str, ratio: float, metric: str, c: int | None = None, places: Sequence[Place] | None = None
    ) -> Float[np.ndarray, "runs images"]:
        """Scores of each run of a label at a ratio, or of the runs with these draws and seeds.

        All are nan where one of the runs lacks the score (a record of an earlier version).
        """
        there = self._places[label, ratio]
        keys = [there[place] for place in (there if places is None else places)]
        if not all(SCORES[metric].known(columns(self.records[key])) for key in keys):
            return np.full((len(keys), len(self.patients)), np.nan)
        found = [_of_class(scores(self.records[key], metric), c) for key in keys]
        return np.array(found).reshape(len(found), len(self.patients))

    def samples(
        self, label: str, ratio: float, metric: str, c: int | None = None, places: Sequence[Place] | None = None,
        images: Any = slice(None),
    ) -> Float[np.ndarray, "runs images"]:  # fmt: skip
        """Numbers of each run, one for each image, so that their mean is the score of the run.

        These are the scores of the images, but for the mean over classes (see `Score.samples`).
        """
        if not SCORES[metric].mean_of:
            return self.values(label, ratio, metric, c, places)[:, images]
        keys = [self._places[label, ratio][place] for place in places or self._places[label, ratio]]
        found = [SCORES[metric].samples(columns(self.records[key]), images) for key in keys]
        return np.array(found).reshape(len(found), len(self.patients[images]))

    def patient_means(
        self, label: str, ratio: float, metric: str, places: Sequence[Place] | None = None
    ) -> Float[np.ndarray, "runs patients"]:
        """The mean over a patient's images in each run; nan where no image of the patient has a score."""
        values, several = self.values(label, ratio, metric, None, places), len(self.patient_names)
        means = np.full((len(values), several), np.nan)
        for run, of_run in enumerate(values):
            there = ~np.isnan(of_run)
            count = np.bincount(self.patients[there], minlength=several)
            np.divide(np.bincount(self.patients[there], of_run[there], several), count, means[run], where=count > 0)
        return means

    def interval(self, label: str, ratio: float) -> Interval:
        """The mean of `options.metric` of one label, with its interval; nan where it has no finished runs."""
        return self.intervals([label], ratio, self.options.metric)[label]

    def difference(self, label: str, other: str, ratio: float) -> Difference | None:
        """One label's `options.metric` less another's; None where they share no draw, seed and score."""
        found = self.differences([label], other, ratio, self.options.metric)[label]
        return None if np.isnan(found.mean) else found

    def intervals(
        self, labels: Sequence[str], ratio: float, metric: str, c: int | None = None, stratum: str = ""
    ) -> dict[str, Interval]:
        """The mean score of each label at a ratio, on all images or those of a stratum, with its interval."""
        of = (ratio, metric, self._class(c), stratum)
        images = self.strata == stratum if stratum else None
        for places, alike in self._alike([label for label in labels if (label, *of) not in self.known], ratio).items():
            found = [NOTHING] * len(alike)
            if places:
                table = self._table(alike, ratio, metric, c, places, images)
                score = SCORES[metric]
                interval = stats.hierarchical_interval(
                    table, *self._of(places, images), most=score.most, linearised=bool(score.mean_of)
                )
                found = [Interval(*numbers) for numbers in zip(*interval, strict=True)]
            self.known |= {(label, *of): one for label, one in zip(alike, found, strict=True)}
        return {label: self.known[label, *of] for label in labels}

    def differences(
        self, labels: Sequence[str], other: str, ratio: float, metric: str, c: int | None = None,
        other_ratio: float | None = None,
    ) -> dict[str, Difference]:  # fmt: skip
        """Each label's score less that of another, on the same images after the same draws and seeds.

        The other is taken at the same ratio or at `other_ratio`. Variances by runs are moderated over the published
        methods (see `benchmark.analysis.stats.pooled_runs`) or, where a method is compared with itself, over its
        variants, whichever of them are asked for. If no label shares several runs with the other, the differences to
        the method with most runs are used, unless the other has a ratio of its own: labelled subsets differ by more.
        """
        spreads = self.spreads(labels, other, ratio, metric, c, other_ratio)
        of = ("difference", ratio, metric, self._class(c), other, other_ratio)
        new = [label for label in spreads if (label, *of) not in self.known]
        if new:
            together = Spread(*map(np.concatenate, zip(*(spreads[label] for label in new), strict=True)))
            found = zip(*stats.tested(together), strict=True)
            self.known |= {(label, *of): Difference(*one) for label, one in zip(new, found, strict=True)}
        return {label: self.known[label, *of] if label in spreads else UNTESTED for label in labels}

    def spreads(
        self, labels: Sequence[str], other: str, ratio: float, metric: str, c: int | None = None,
        other_ratio: float | None = None,
    ) -> dict[str, Spread]:  # fmt: skip
        """The moderated variances behind `differences`, of one entry each; none of labels that share no run."""
        other_ratio = ratio if other_ratio is None else other_ratio
        of = ("spread", ratio, metric, self._class(c), other, other_ratio)
        for label in labels:
            if (label, *of) not in self.known:
                family = [one for one in self._family(label, other) if (one, ratio) in self._runs]
                found = self._moderated(
                    list(dict.fromkeys([*family, label])), family, (other, other_ratio), ratio, metric, c
                )
                self.known |= {(one, *of): found.get(one) for one in (family if label in family else [label])}
        return {label: found for label in labels if (found := self.known[label, *of]) is not None}

    def headroom(self, ratio: float, metric: str, c: int | None = None) -> Spread | None:
        """The upper bound (supervised with all labels, the same steps) less supervised at a ratio, as in `spreads`.

        Its variance by runs is moderated with those of the methods' differences to supervised. None without a run of
        both with the same draw and seed, and at the ratio 1.
        """
        base = self.supervised
        if base is None or ratio >= 1:
            return None
        if (of := ("headroom", ratio, metric, self._class(c))) not in self.known:
            bound = self._groups([base], (base, ratio), 1.0, metric, c)
            others = [label for label in self.published if label != base and self._places[label, ratio]]
            groups = bound + self._groups(others, (base, ratio), ratio, metric, c)
            self.known[of] = _pooled(groups)[base] if bound else None
        return self.known[of]

    def gap_closed(self, ratio: float, metric: str, c: int | None = None, higher: bool = True) -> dict[str, Interval]:
        """The share of the headroom that each published method closes; `NOTHING` where no headroom is certain.

        `higher` scores are better.
        """
        base = self.supervised
        if base is None or ratio >= 1:
            return {}
        if (of := ("gap", ratio, metric, self._class(c))) not in self.known:
            others = [label for label in self.published if label != base and self._places[label, ratio]]
            shared = self._places[base, ratio].keys() & self._places[base, 1.0].keys()
            found: dict[str, Interval] = dict.fromkeys(others, NOTHING)
            for places, alike in self._alike(others, ratio, shared).items():
                if places:
                    methods = self._table(alike, ratio, metric, c, places)
                    few, all_labels = (
                        np.broadcast_to(self._table([base], at, metric, c, places), methods.shape)
                        for at in (ratio, 1.0)
                    )
                    pairs = ((methods, few), (all_labels, few), (methods, all_labels))
                    ordered = pairs if higher else [(b, a) for a, b in pairs]
                    parts = [stats.spread(a, *self._of(places), less=b) for a, b in ordered]
                    draws, runs = _counts(places)
                    shares = stats.gap_closed(*parts, np.full(len(alike), draws if draws > 1 else runs))
                    found |= zip(alike, (Interval(*one) for one in zip(*shares, strict=True)), strict=True)
            self.known[of] = found
        return self.known[of]

    def _family(self, label: str, other: str) -> list[str]:
        """The labels with runs that show how much differences of this label to the other one vary."""
        mine, theirs = self.method_of[label], self.method_of[other]
        if mine == theirs:
            return [one for one in self.labels if self.method_of[one] == mine]
        return [one for one in self.published if one == other or self.method_of[one] != theirs]

    @cached_property
    def method_of(self) -> dict[str, str]:
        return dict(zip(self.runs.label, self.runs.method, strict=True))

    def _moderated(
        self, labels: list[str], family: list[str], other: tuple[str, float], ratio: float, metric: str, c: int | None
    ) -> dict[str, Spread]:
        """Differences of labels with variances by runs that are moderated over them, or over a family."""
        groups = self._groups(labels, other, ratio, metric, c)
        tested = [label for group in groups for label in group.labels]
        if family and tested and max(_over(groups)) < 2 and other[1] == ratio:
            most = max(family, key=lambda label: _counts(self._places[label, ratio]))
            groups += self._groups([label for label in family if label != most], (most, ratio), ratio, metric, c)
        found = _pooled(groups) if tested else {}
        return {label: found[label] for label in tested}

    def _class(self, c: int | None) -> int | None:
        """The mean over one class is that of the class."""
        return 0 if len(self.classes) == 1 else c

    def common(self, label: str, other: str, ratio: float) -> int:
        """How many draws and seeds two labels share at a ratio."""
        return len(self._places[label, ratio].keys() & self._places[other, ratio].keys())

    def _alike(
        self, labels: Iterable[str], ratio: float, among: Collection[Place] | None = None
    ) -> dict[tuple[Place, ...], list[str]]:
        """Labels by the draws and seeds of their runs, so that those with the same are worked on together."""
        groups: dict[tuple[Place, ...], list[str]] = defaultdict(list)
        for label in labels:
            there = self._places[label, ratio]
            groups[tuple(sorted(there if among is None else there.keys() & set(among)))].append(label)
        return groups

    def _groups(
        self, labels: Iterable[str], other: tuple[str, float], ratio: float, metric: str, c: int | None
    ) -> list[_Group]:
        """Differences at a ratio to another label, at a ratio of its own; none of labels that share no run with it."""
        groups = []
        for both, alike in self._alike(labels, ratio, self._places[other]).items():
            if both:
                a = self._table(alike, ratio, metric, c, both)
                b = np.broadcast_to(self._table([other[0]], other[1], metric, c, both), a.shape)
                groups.append(_Group(alike, both, stats.spread(a, *self._of(both), less=b)))
        return groups

    def _table(self, labels, ratio, metric, c, places, images=None) -> Float[np.ndarray, "n labels"]:
        """A line for each image of each run, a column for each label."""
        chosen = slice(None) if images is None else images
        columns = [self.samples(label, ratio, metric, c, places, chosen).ravel() for label in labels]
        return np.array(columns).T

    def _of(self, places: Sequence[Place], images=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patient, draw and seed of each line."""
        patients = self.patients if images is None else self.patients[images]
        draws, seeds = np.array(places, dtype=np.int64).T
        return np.tile(patients, len(places)), np.repeat(draws, len(patients)), np.repeat(seeds, len(patients))


def _pooled(groups: Sequence[_Group]) -> dict[str, Spread]:
    """The spreads of all groups, moderated together; of a label that is in two groups, the first."""
    parts = Spread(*map(np.concatenate, zip(*(group.parts for group in groups), strict=True)))
    pooled = stats.pooled_runs(parts, np.repeat(_over(groups), [len(group.labels) for group in groups]))
    labels = [label for group in groups for label in group.labels]
    found: dict[str, Spread] = {}
    for i, label in enumerate(labels):
        found.setdefault(label, Spread(*(part[i : i + 1] for part in pooled)))
    return found


def _over(groups: Sequence[_Group]) -> list[int]:
    """How many draws each group has; where all have one, how many seeds."""
    counts = [_counts(group.places) for group in groups]
    return [draws if any(others > 1 for others, _ in counts) else runs for draws, runs in counts]


def _counts(places: Collection[Place]) -> tuple[int, int]:
    """Draws, and runs."""
    return len({draw for draw, _ in places}), len(places)


def _of_class(values: Float[np.ndarray, "images classes"], c: int | None) -> Float[np.ndarray, "images"]:
    if c is None and values.shape[1] > 1:
        raise ValueError("A score of several classes needs a class; their mean is a score of its own, mean_NAME.")
    return values[:, c or 0]
