"""Which setting of a comparison can answer: supervised training with few and with all labels, headroom against cost."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmark.analysis.stats import Difference, holm, paired_difference
from benchmark.protocol.scores import SCORES, for_classes
from benchmark.run_records import RunRecord
from benchmark.runs import Run

LONGER = 1.5  # as many steps, to see whether the upper bound has levelled off
SHARE = 0.25  # of the headroom; the upper bound has levelled off if so much longer training changes it by less
LEVEL = 0.05  # of the test that the headroom is above 0, adjusted over all settings of the pilot
PARTS = FEW, ALL, LONG = "few", "all", "longer"


@dataclass(frozen=True)
class Setting:
    """What a comparison would be run with: labelled fraction, optimiser steps, scale of images, side of a crop."""

    ratio: float
    steps: int
    scale: float
    crop: int

    def __str__(self) -> str:
        scale = f", scale {self.scale:g}" if self.scale != 1 else ""
        return f"{100 * self.ratio:g} % labelled, {self.steps:,} steps of {self.crop}{scale}"

    def runs(self, base: Run, repeats: int) -> dict[str, list[Run]]:
        """The runs of each part: few labels, all labels, all labels and longer. Repeat k has draw and seed k.

        Args:
            base: supervised training, with everything that all settings share.
            repeats: how many of each.
        """
        fields = {"steps": self.steps, "scale": self.scale, "crop": self.crop}
        parts = {
            FEW: {"ratio": self.ratio},
            ALL: {"ratio": 1.0},
            LONG: {"ratio": 1.0, "steps": round(LONGER * self.steps)},
        }
        return {
            part: [dataclasses.replace(base, **{**fields, **own}, draw=k, seed=k) for k in range(repeats)]
            for part, own in parts.items()
        }


def grid(
    ratios: Iterable[float], steps: Iterable[int], scales: Iterable[float], crop: int, largest: Mapping[float, int]
) -> list[Setting]:
    """Every combination, the least work first.

    Args:
        ratios: labelled fractions below 1.
        steps: optimiser steps.
        scales: scales of the images.
        crop: side of a crop in pixels, of every scale at which images are large enough.
        largest: of each scale, the largest side of a crop, which is taken where `crop` is larger.

    Raises:
        ValueError: if a ratio is 1, which is the upper bound itself.
    """
    if 1 in (ratios := sorted(set(ratios))):
        raise ValueError("The upper bound has all labels already; give --ratios below 1, such as 0.01,0.05.")
    found = [
        Setting(ratio, count, scale, min(crop, largest[scale]))
        for scale in set(scales)
        for count in set(steps)
        for ratio in ratios
    ]
    return sorted(found, key=lambda one: (one.steps * one.crop**2, one.scale, one.ratio))


class Outcome(NamedTuple):
    """What the runs of a setting say; scores are mean Dice, in several classes the mean over those of an image."""

    setting: Setting
    few: float  # labels
    upper: float  # bound
    headroom: Difference
    p: float  # of no headroom, adjusted over all settings
    change: float  # of the upper bound after so much longer training
    seconds: float  # of training with few labels, one run
    flops: float  # of the same
    keys: dict[str, list[str]]  # of the runs, by part

    @property
    def gained(self) -> bool:
        """Whether all labels are significantly better than few."""
        return self.headroom.mean > 0 and self.p < LEVEL

    @property
    def levelled(self) -> bool:
        """Whether longer training changes the upper bound by less than a quarter of the headroom."""
        return abs(self.change) < SHARE * self.headroom.mean

    @property
    def answers(self) -> bool:
        """Whether a comparison with this setting can tell what unlabelled images are worth."""
        return self.gained and self.levelled


def outcomes(found: Mapping[Setting, Mapping[str, Sequence[RunRecord]]]) -> list[Outcome]:
    """What the records of each setting say, by part; a setting with a run that diverged is left out.

    Raises:
        ValueError: some of the runs were trained on a CPU and others on a GPU, which are never compared.
    """
    kinds = {record.machine.kind for parts in found.values() for records in parts.values() for record in records}
    if len(kinds) > 1:
        raise ValueError(
            f"The runs of the pilot were trained on {' and '.join(sorted(kinds))}, which are never compared; give "
            "another --results, and all runs are trained on one kind of device."
        )
    whole = {
        setting: parts
        for setting, parts in found.items()
        if all(record.status == "done" for records in parts.values() for record in records)
    }
    headrooms = {setting: _difference(parts[ALL], parts[FEW]) for setting, parts in whole.items()}
    adjusted = holm([headroom.p for headroom in headrooms.values()])
    return [
        Outcome(
            setting,
            _mean(parts[FEW]),
            _mean(parts[ALL]),
            headrooms[setting],
            float(p),
            _difference(parts[LONG], parts[ALL]).mean,
            float(np.mean([record.measured.seconds for record in parts[FEW]])),
            float(np.mean([record.budget.flops for record in parts[FEW]])),
            {part: [record.key for record in records] for part, records in parts.items()},
        )
        for (setting, parts), p in zip(whole.items(), adjusted, strict=True)
    ]


def proposed(found: Sequence[Outcome]) -> Outcome | None:
    """The cheapest setting that can answer; of equal cost, that with the largest headroom. None if none can."""
    able = [one for one in found if one.answers]
    return min(able, key=lambda one: (one.flops, -one.headroom.mean), default=None)


def _difference(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> Difference:
    """The mean Dice of the first runs less that of the others, paired by image and repeat."""
    patients = np.concatenate([record.scores["patient"] for record in a])
    repeats = np.repeat([record.run.draw for record in a], [len(record.scores["patient"]) for record in a])
    return paired_difference(_values(a), _values(b), patients, repeats, repeats)


def _mean(records: Sequence[RunRecord]) -> float:
    return float(np.mean([np.nanmean(_values([record])) for record in records]))


def _values(records: Sequence[RunRecord]) -> Float[np.ndarray, "images"]:
    """A number for each image of each run, so that their mean is the Dice of the run, or the mean over classes."""
    score = SCORES[for_classes("dice", len(records[0].classes) - 1)]
    return np.concatenate([score.samples(record.scores) for record in records])
