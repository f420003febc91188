"""Statistics of scores, with patients, draws and seeds as what varies at random: pure functions of arrays."""

from benchmark.stats.classes import class_mean
from benchmark.stats.curves import labels_saved, scores_at_cost
from benchmark.stats.equivalence import POWER, detectable, equivalence
from benchmark.stats.gap import gap_closed
from benchmark.stats.intervals import (
    FEWEST_PATIENTS,
    Difference,
    Interval,
    false_claim,
    half_width,
    hierarchical_interval,
    mean_interval,
    paired_difference,
    reservation,
    tested,
)
from benchmark.stats.moderation import pooled_freedom, pooled_runs
from benchmark.stats.several import average_ranks, holm, worse_than_best
from benchmark.stats.variance import WORKING_CORRELATION, Spread, spread

__all__ = [
    "FEWEST_PATIENTS",
    "POWER",
    "WORKING_CORRELATION",
    "Difference",
    "Interval",
    "Spread",
    "average_ranks",
    "class_mean",
    "detectable",
    "equivalence",
    "false_claim",
    "gap_closed",
    "half_width",
    "hierarchical_interval",
    "holm",
    "labels_saved",
    "mean_interval",
    "paired_difference",
    "pooled_freedom",
    "pooled_runs",
    "reservation",
    "scores_at_cost",
    "spread",
    "tested",
    "worse_than_best",
]
