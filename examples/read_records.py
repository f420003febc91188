"""Read run records into a pandas table: one line per run and score.

python examples/read_records.py results
"""

import sys
from pathlib import Path

import pandas as pd

from benchmark import records
from benchmark.protocol.scores import SCORES, for_classes


def table(results: Path, scores: tuple[str, ...] = ("dice", "hd95")) -> pd.DataFrame:
    """Columns method, ratio (labelled fraction), draw, seed, score, value (of the run, as printed in tables), unit."""
    lines = []
    for record in records.load(results):
        for name in scores if record.status == "done" else ():
            score = SCORES[for_classes(name, len(record.classes) - 1)]
            lines.append(
                {
                    "method": record.title,
                    "ratio": record.run.ratio,
                    "draw": record.run.draw,
                    "seed": record.run.seed,
                    "score": score.title,
                    "value": score.scale * score.of_run(record.scores),
                    "unit": score.unit,
                }
            )
    return pd.DataFrame(lines)


if __name__ == "__main__":
    found = table(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
    if found.empty:
        sys.exit("There are no finished runs in this folder; train some with `bench sweep quick`.")
    print(found.pivot_table("value", ["method", "ratio"], "score").round(1))
