"""The scores of one run with intervals over patients: a short table of its classes, and every score."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmark.analysis.stats import mean_interval
from benchmark.protocol import metrics
from benchmark.protocol.scores import COMPUTED, FINDING, MEAN, MEANS, SCORES, Columns, Score

SHORT = ("dice", "jaccard", "hd95")


class Line(NamedTuple):
    """A score of a run: the mean over images with its 95 % interval over patients, and how many images have a value."""

    name: str
    mean: float
    low: float = np.nan
    high: float = np.nan
    images: int = 0


def by_class(columns: Columns, classes: Sequence[str]) -> dict[str, list[Line]]:
    """The scores of `SHORT`, by what they are of: with several foreground classes their mean, then each class."""
    found = {name: [_line(SCORES[m], columns, c) for m in SHORT] for c, name in enumerate(classes[1:])}
    means = [_line(SCORES[f"mean_{m}"], columns) for m in SHORT]
    return {MEAN: means, **found} if len(found) > 1 else found


def heads(lines: dict[str, list[Line]]) -> list[str]:
    """The heads of the short table, without that of what is scored."""
    first, *others = (line.name for line in list(lines.values())[-1])
    return [first, "95 % interval", *others, "images"]


def cells(lines: Sequence[Line]) -> list[str]:
    """A line of the short table: the first score with its interval, the other scores, and how many images have it."""
    first, *others = lines
    return [f"{first.mean:.3f}", interval(first), *(f"{line.mean:.3f}" for line in others), str(first.images)]


def interval(line: Line) -> str:
    """The bounds of a score; a dash if there are none."""
    return "–" if np.isnan(line.low) else f"{line.low:.3f} to {line.high:.3f}"


def every(columns: Columns, classes: Sequence[str]) -> list[Line]:
    """Every score that the images of a run have, in its stored unit (shares from 0 to 1, pixels).

    Scores of what is found are there only where some image lacks a class or its prediction. The last line is what
    CDMA's released code would print as the Dice, and the difference to ours, without an interval.

    Args:
        columns: the scores of a record by column.
        classes: of the dataset, the background first.
    """
    lines = [line for score in _shown(columns, len(classes) - 1) for line in _lines(score, columns, classes)]
    if len(columns["name"]) > 1:
        lines.append(_as_released_cdma(columns))
    return lines


def _shown(columns: Columns, foreground: int) -> Iterator[Score]:
    finding = FINDING if not np.all(columns["present"]) or not np.all(columns["predicted"]) else ()
    means = {mean.name: mean for mean in MEANS}
    for score in (*COMPUTED, *finding):
        if score.known(columns):
            if score.per_class and foreground > 1:
                yield means[f"mean_{score.name}"]
            yield score


def _lines(score: Score, columns: Columns, classes: Sequence[str]) -> Iterator[Line]:
    names = [f", {name}" for name in classes[1:]] if score.per_class and len(classes) > 2 else [""]
    for c, of in enumerate(names):
        line = _line(score, columns, c)
        if line.images or score not in FINDING:
            yield line._replace(name=_in_unit(score) + of)


def _line(score: Score, columns: Columns, c: int = 0) -> Line:
    values = score.samples(columns) if score.mean_of else score.read(columns)[:, c]
    interval = mean_interval(values, columns["patient"], most=score.most, linearised=bool(score.mean_of))
    return Line(_in_unit(score), *interval, int((~np.isnan(values)).sum()))


def _in_unit(score: Score) -> str:
    return score.title if score.most == 1 else f"{score.title} ({score.unit})"


def _as_released_cdma(columns: Columns) -> Line:
    background, dice = (SCORES[name].read(columns) for name in ("background_dice", "dice"))
    released = metrics.dice_as_released_cdma(np.concatenate([background, dice], axis=1))
    more = released - _mean(dice)
    return Line(f"Dice as CDMA's released code counts ({more:+.3f})", released, images=len(dice) - 1)


def _mean(values: Float[np.ndarray, "..."]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else np.nan
