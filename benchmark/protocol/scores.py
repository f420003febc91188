"""The catalogue of scores: one declaration for each, read by evaluation, records, tables, figures, commands and docs.

A new score is one entry of `COMPUTED`. Nothing else names it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from benchmark.protocol import metrics
from benchmark.protocol.class_mean import class_mean
from benchmark.protocol.metrics import Objects

POINTS, PIXELS = "points of 100", "pixels"
MEAN = "mean over classes"  # the foreground classes; the background is not one of them

Columns = Mapping[str, Any]  # the scores of a record by column: one entry for each image
Values = Float[np.ndarray, "images columns"]  # nan where an image has no score


@dataclass(frozen=True)
class Masks:
    """Truth and prediction of one foreground class of an image, or of all its foreground, as scores see them.

    Args:
        truth: (h, w) boolean mask, False at ignored pixels.
        prediction: (h, w) boolean mask, False at ignored pixels.
        valid: (h, w) boolean mask, False at ignored pixels.
        objects: (h, w) numbers of the true objects of the class, 0 elsewhere; None if the dataset does not number them.
        bins: calibration bins of the foreground's probability over the valid pixels; None for one class of several.
    """

    truth: Bool[np.ndarray, "h w"]
    prediction: Bool[np.ndarray, "h w"]
    valid: Bool[np.ndarray, "h w"]
    objects: Objects | None = None
    bins: Float[np.ndarray, "3 bins"] | None = None

    @cached_property
    def surface(self) -> metrics.Surface:
        """Distances between the two outlines, computed once for all scores that need them."""
        return metrics.surface(self.truth, self.prediction, self.valid)

    @cached_property
    def of_objects(self) -> metrics.ObjectScores:
        """The scores of the true objects and the connected pieces of the prediction."""
        return metrics.object_scores(self.objects, metrics.components(self.prediction), self.valid)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score: how it is computed or read, and how it is printed (0.8094 as 80.9 with `scale` 100 and `digits` 1).

    Args:
        name: the column of a record, and the name in `--metric`.
        title: what tables, figures and docs call it.
        compute: the number of one image (and class), nan where it has none; None if the score is read from other
            columns of a record.
        scale: printed number / stored number.
        digits: decimals of the printed number.
        unit: of the printed number.
        higher_is_better: the direction in which a method improves.
        per_class: one column for each foreground class; otherwise one number for the whole image.
        needs_instances: only for datasets with numbered objects.
        formula: for docs/definitions.md.
        source: the publication of the definition.
        column: the column of a record that the score is read from; "" is `name`.
        derive: the values from the columns of a record; None if they are the column itself.
        mean_of: for a mean over classes, the name of the score of single classes; else "".
    """

    name: str
    title: str
    compute: Callable[[Masks], float] | None = None
    scale: float = 100
    digits: int = 1
    unit: str = POINTS
    higher_is_better: bool = True
    per_class: bool = True
    needs_instances: bool = False
    formula: str = ""
    source: str = ""
    column: str = ""
    derive: Callable[[Columns], Values] | None = None
    mean_of: str = ""

    @property
    def head(self) -> str:
        """The head of a column."""
        return f"{self.title} {self.arrow}"

    @property
    def arrow(self) -> str:
        """The direction in which a method improves."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def in_units(self) -> str:
        """A sentence for the notes of a table."""
        return f"{self.title} in {self.unit}."

    @property
    def axis(self) -> str:
        """The name of an axis."""
        return f"{self.title} ({'%' if self.unit == POINTS else self.unit})"

    @property
    def points(self) -> str:
        """The unit of a difference, for an axis: "Dice points", "Dice points, mean over classes"."""
        title, comma, of = self.title.partition(", ")
        return f"{title} {'points' if self.unit == POINTS else self.unit}{comma}{of}"

    @property
    def most(self) -> float:
        """The highest possible stored number."""
        return 1.0 if self.unit == POINTS else np.inf

    @property
    def stored_digits(self) -> int:
        """Decimals of the stored number: a ten-thousandth of a share, a hundredth of a pixel."""
        return 4 if self.unit == POINTS else 2

    def rounded(self, value: float) -> float | None:
        """The number as a record stores it; None for nan."""
        return None if np.isnan(value) else round(float(value), self.stored_digits)

    def known(self, columns: Columns) -> bool:
        """Whether a record has this score; records of an earlier version may lack it."""
        return (self.column or self.name) in columns

    def samples(self, columns: Columns, images: Any = slice(None)) -> Float[np.ndarray, "images"]:
        """One value for each image (or each of `images`), so that their mean is the score of the run.

        These are the values of images that `read` gives, but for a mean over classes: the score of a run is the mean
        of the means of the classes, and the values are linearised (see `benchmark.protocol.class_mean`).
        """
        if self.mean_of:
            return class_mean(SCORES[self.mean_of].read(columns)[images])
        return self.read(columns)[images, 0]

    def of_run(self, columns: Columns) -> float:
        """The score of a run; nan if no image has one."""
        samples = self.samples(columns)
        return float(np.nanmean(samples)) if not np.isnan(samples).all() else np.nan

    def read(self, columns: Columns) -> Values:
        """The values of a record: a column for each foreground class, or one. All nan if the record lacks the score."""
        if not self.known(columns):
            images, classes = np.asarray(columns["present"]).shape
            return np.full((images, classes if self.per_class else 1), np.nan)
        if self.derive:
            return self.derive(columns)
        values = np.asarray(columns[self.column or self.name], dtype=np.float64)
        return values if values.ndim > 1 else values[:, None]


# ----------------------------------------------------------------------------------------------------------------------
# What is computed for each image and stored

COMPUTED = (
    Score(
        name="dice",
        title="Dice",
        compute=lambda masks: metrics.dice(masks.truth, masks.prediction),
        formula="2 |A∩B| / (|A| + |B|)",
        source="Dice, Ecology 26, 1945",
    ),
    Score(
        name="jaccard",
        title="Jaccard",
        compute=lambda masks: metrics.jaccard(masks.truth, masks.prediction),
        formula="|A∩B| / |A∪B|",
        source="Jaccard, New Phytologist 11, 1912",
    ),
    Score(
        name="hd95",
        title="HD95",
        compute=lambda masks: metrics.hd95(masks.surface),
        scale=1,
        unit=PIXELS,
        higher_is_better=False,
        formula="the larger of P₉₅ of d(a, ∂B) over a ∈ ∂A and P₉₅ of d(b, ∂A) over b ∈ ∂B",
        source="Huttenlocher et al., TPAMI 1993; as MONAI (MedPy pools both directions first)",
    ),
    Score(
        name="assd",
        title="ASSD",
        compute=lambda masks: metrics.assd(masks.surface),
        scale=1,
        digits=2,
        unit=PIXELS,
        higher_is_better=False,
        formula="(Σ d(a, ∂B) + Σ d(b, ∂A)) / (|∂A| + |∂B|)",
        source="as MONAI: the pixels of both outlines together",
    ),
    Score(
        name="boundary_f1",
        title="Boundary F1",
        compute=lambda masks: metrics.boundary_f1(masks.surface),
        formula=f"harmonic mean of the shares of ∂A and ∂B within {metrics.BOUNDARY_TOLERANCE:g} pixels of the other",
        source="Csurka et al., BMVC 2013",
    ),
    Score(
        name="nsd",
        title="NSD",
        compute=lambda masks: metrics.surface_dice(masks.surface),
        formula=f"share of the pixels of ∂A and ∂B together within {metrics.BOUNDARY_TOLERANCE:g} pixels of the other",
        source="Nikolov et al., J. Med. Internet Res. 23, 2021 (surface Dice at a tolerance)",
    ),
    Score(
        name="object_f1",
        title="Object F1",
        compute=lambda masks: masks.of_objects.f1,
        needs_instances=True,
        formula="2 · hits / (true objects + predicted objects); a hit covers at least half of a true object",
        source="Sirinukunwattana et al., Medical Image Analysis 35, 2017",
    ),
    Score(
        name="object_dice",
        title="Object Dice",
        compute=lambda masks: masks.of_objects.dice,
        needs_instances=True,
        formula="Dice of every object and its partner, weighted by area, mean of both directions",
        source="Sirinukunwattana et al., Medical Image Analysis 35, 2017",
    ),
    Score(
        name="object_hausdorff",
        title="Object Hausdorff",
        compute=lambda masks: masks.of_objects.hausdorff,
        scale=1,
        unit=PIXELS,
        higher_is_better=False,
        needs_instances=True,
        formula="Hausdorff distance of every object and its partner, weighted by area, mean of both directions",
        source="Sirinukunwattana et al., Medical Image Analysis 35, 2017",
    ),
    Score(
        name="background_dice",
        title="Background Dice",
        compute=lambda masks: metrics.dice(masks.valid & ~masks.truth, masks.valid & ~masks.prediction),
        per_class=False,
        formula="Dice of the pixels without any foreground class",
        source="Dice, Ecology 26, 1945",
    ),
    Score(
        name="ece",
        title="Calibration error",
        compute=lambda masks: metrics.calibration_error(masks.bins),
        higher_is_better=False,
        per_class=False,
        formula=f"Σ over {metrics.CALIBRATION_BINS} bins of |mean probability of foreground − share of foreground| · "
        "share of pixels",
        source="Guo et al., ICML 2017",
    ),
)


# ----------------------------------------------------------------------------------------------------------------------
# What is read from stored columns


def _false_alarm(columns: Columns) -> Values:
    present, predicted = _flags(columns)
    return np.where(present, np.nan, predicted)


def _missed(columns: Columns) -> Values:
    present, predicted = _flags(columns)
    return np.where(present, ~predicted, np.nan)


def _hits(column: str, columns: Columns) -> Values:
    present, predicted = _flags(columns)
    return np.where(present & predicted, np.asarray(columns[column], dtype=np.float64), np.nan)


def _flags(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(columns["present"], dtype=bool), np.asarray(columns["predicted"], dtype=bool)


FINDING = (  # whether objects are found, and how well those that are
    Score(
        name="false_alarm",
        title="False alarms",
        higher_is_better=False,
        formula="share of the images without the class in which it is predicted",
        column="present",
        derive=_false_alarm,
    ),
    Score(
        name="missed",
        title="Missed",
        higher_is_better=False,
        formula="share of the images with the class in which it is not predicted",
        column="present",
        derive=_missed,
    ),
    Score(
        name="hd95_hits",
        title="HD95 of hits",
        scale=1,
        unit=PIXELS,
        higher_is_better=False,
        formula="HD95 of the images in which the class is present and predicted",
        column="hd95",
        derive=partial(_hits, "hd95"),
    ),
    Score(
        name="assd_hits",
        title="ASSD of hits",
        scale=1,
        digits=2,
        unit=PIXELS,
        higher_is_better=False,
        formula="ASSD of the images in which the class is present and predicted",
        column="assd",
        derive=partial(_hits, "assd"),
    ),
)
BEST = (  # of the step that was best on validation
    Score(
        name="best_dice",
        title="Dice, best on validation",
        formula="Dice of the test images at the step with the best validation Dice",
    ),
    Score(
        name="best_jaccard",
        title="Jaccard, best on validation",
        formula="Jaccard of the test images at the step with the best validation Dice",
    ),
)


def _mean_over_classes(score: Score) -> Score:
    return Score(
        name=f"mean_{score.name}",
        title=f"{score.title}, {MEAN}",
        scale=score.scale,
        digits=score.digits,
        unit=score.unit,
        higher_is_better=score.higher_is_better,
        per_class=False,
        needs_instances=score.needs_instances,
        column=score.column or score.name,
        derive=partial(_mean, score),
        mean_of=score.name,
    )


def _mean(score: Score, columns: Columns) -> Values:
    """In every image, the mean over the foreground classes that have a score there."""
    values = score.read(columns)
    there = ~np.isnan(values)
    counts = there.sum(1, keepdims=True)
    return np.where(there, values, 0).sum(1, keepdims=True) / np.where(counts > 0, counts, np.nan)


MEANS = tuple(_mean_over_classes(score) for score in (*COMPUTED, *FINDING, *BEST) if score.per_class)
SCORES = {score.name: score for score in (*COMPUTED, *FINDING, *BEST, *MEANS)}


def for_classes(name: str, foreground: int) -> str:
    """The score with one number for each image and run: with several foreground classes, that of the mean over classes.

    >>> for_classes("dice", 1), for_classes("dice", 3), for_classes("mean_dice", 1), for_classes("ece", 3)
    ('dice', 'mean_dice', 'dice', 'ece')
    """
    single = SCORES[name].mean_of or name
    return f"mean_{single}" if foreground > 1 and SCORES[single].per_class else single


def definitions() -> str:
    """The table of scores in docs/definitions.md."""
    lines = ["| score | name | formula | unit | better | source |", "|---|---|---|---|---|---|"]
    for score in (*COMPUTED, *FINDING, *BEST):
        cells = (score.title, f"`{score.name}`", score.formula, score.unit, score.arrow, score.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
