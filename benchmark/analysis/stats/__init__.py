"""Statistics of scores, with patients, draws and seeds as what varies at random: pure functions of arrays."""

from benchmark.analysis.stats.curves import labels_saved, scores_at_cost
from benchmark.analysis.stats.equivalence import POWER, detectable, equivalence
from benchmark.analysis.stats.gap import gap_closed
from benchmark.analysis.stats.intervals import (
    Difference,
    Interval,
    false_claim,
    half_width,
    hierarchical_interval,
    mean_interval,
    paired_difference,
    tested,
)
from benchmark.analysis.stats.moderation import pooled_freedom, pooled_runs
from benchmark.analysis.stats.several import (
    RankStability,
    average_ranks,
    block_ranks,
    holm,
    rank_stability,
    worse_than_best,
)
from benchmark.analysis.stats.variance import WORKING_CORRELATION, Spread, spread

__all__ = [
    "POWER",
    "WORKING_CORRELATION",
    "Difference",
    "Interval",
    "RankStability",
    "Spread",
    "average_ranks",
    "block_ranks",
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
    "rank_stability",
    "scores_at_cost",
    "spread",
    "tested",
    "worse_than_best",
]
