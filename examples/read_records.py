"""Read run records into a pandas table: the mean of two scores for each method and labelled fraction.

python examples/read_records.py results
"""

import sys

import pandas as pd

import benchmark


def table(results: str, scores: tuple[str, ...] = ("dice", "hd95")) -> pd.DataFrame:
    """A line for each method and labelled fraction, a column for each score: the mean over runs of their means."""
    lines = benchmark.records(results)
    lines = lines[lines.score.isin(scores)].astype({"key": str, "title": str, "score": str})
    runs = lines.groupby(["title", "ratio", "key", "score"], as_index=False).value.mean()
    return runs.pivot_table("value", ["title", "ratio"], "score")


if __name__ == "__main__":
    found = table(sys.argv[1] if len(sys.argv) > 1 else "results")
    if found.empty:
        sys.exit("There are no finished runs in this folder; train some with `bench sweep quick`.")
    print(found.round(1))
