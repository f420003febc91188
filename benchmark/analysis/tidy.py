"""Run records as one tidy pandas table: a line for each run, test image, class and score."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from benchmark.analysis.run_table import columns
from benchmark.protocol.scores import SCORES
from benchmark.run_records import RunRecord

OF_RUN = ("method", "variant", "dataset", "task", "split", "ratio", "draw", "seed", "steps", "scale")
NUMBERS, COUNTS = ("ratio", "scale", "value"), ("draw", "seed", "steps")  # all others are texts
COLUMNS = ("key", *OF_RUN, "title", "image", "patient", "class", "score", "value", "unit")


def tidy(records: Iterable[RunRecord]) -> pd.DataFrame:
    """The scores of finished runs at their last step.

    Args:
        records: as read by `benchmark.analysis.run_table.load`.

    Returns:
        One line for each run, test image, class and score, with the columns

        - `key`, `method`, `variant`, `dataset`, `task`, `split`, `ratio` (labelled fraction, 0 to 1), `draw`, `seed`,
          `steps`, `scale` (of height and width): fields of the run,
        - `title`: the method as printed in tables,
        - `image`, `patient` (or what else the split keeps apart): of the test image,
        - `class`: a foreground class; "" for scores of the whole image,
        - `score`, `value`, `unit`: the name of the score, its value as tables print it, and its unit. The value is nan
          if an image has no such score, for example Dice of a class that is neither there nor predicted.

        Scores that a record does not have are left out, and so are means over classes, which are scores of a run.
    """
    parts = [part for record in records if record.status == "done" for part in _scores_of(record)]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return table.astype({name: "float64" if name in NUMBERS else "category" for name in COLUMNS if name not in COUNTS})


def _scores_of(record: RunRecord) -> Iterable[pd.DataFrame]:
    """A table for each score and class of one record."""
    stored, run = columns(record), record.run
    for score in SCORES.values():
        if score.mean_of or not score.known(stored):
            continue
        values = score.scale * score.read(stored)
        classes = record.classes[1:] if score.per_class else [""]
        for name, of_class in zip(classes, np.asarray(values, dtype=float).T, strict=True):
            yield pd.DataFrame(
                {
                    "key": record.key,
                    **{field: getattr(run, field) for field in OF_RUN},
                    "title": record.title,
                    "image": stored["name"],
                    "patient": stored["patient"],
                    "class": name,
                    "score": score.name,
                    "value": of_class,
                    "unit": score.unit,
                }
            )
