"""The figures of a comparison, by name: each is a function of its run records, or None where there are too few."""

from collections.abc import Callable

from matplotlib.figure import Figure

from benchmark.report.figures.captions import Records
from benchmark.report.figures.cost import score_against_cost
from benchmark.report.figures.curves import losses, validation
from benchmark.report.figures.differences import forest, image_differences
from benchmark.report.figures.effects import ablation, sensitivity
from benchmark.report.figures.gap import gap
from benchmark.report.figures.ranks import ranks
from benchmark.report.figures.ratios import score_against_ratio

FIGURES: dict[str, Callable[[Records], Figure | None]] = {
    "gap": gap,
    "differences": forest,
    "score-ratio": score_against_ratio,
    "score-flops": score_against_cost,
    "ranks": ranks,
    "differences-images": image_differences,
    "ablation": ablation,
    "sensitivity": sensitivity,
    "losses": losses,
    "validation": validation,
}
