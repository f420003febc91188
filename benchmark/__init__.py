"""A benchmark of semi-supervised segmentation methods on pathology images: same data, same trainer, same scores."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def records(results: str | Path = "results") -> "pd.DataFrame":
    """The scores of all finished runs as a tidy table.

    Args:
        results: the folder that holds `runs/`.

    Returns:
        One line for each run, test image, class and score; `benchmark.analysis.tidy.tidy` describes the columns.

    Raises:
        ValueError: a run record is damaged; names the file and the remedy.
    """
    from benchmark.analysis import run_table
    from benchmark.analysis.tidy import tidy

    return tidy(run_table.load(Path(results)))
