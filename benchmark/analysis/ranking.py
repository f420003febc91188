"""Average ranks of the methods of a comparison, and how far they depend on patients and labelled subsets."""

from typing import NamedTuple

import numpy as np

from benchmark.analysis import standing, stats
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.stats import RankStability

FEWEST = 3  # methods, below which an average rank says no more than a difference


class Ranking(NamedTuple):
    """The average ranks of methods at one labelled fraction."""

    labels: list[str]  # in the order of tables
    ranks: RankStability  # an entry for each label
    patients: int
    runs: int  # of each method
    draws: int
    left_out: list[str]  # methods with fewer draws


def ranking(comparison: Comparison, ratio: float) -> Ranking | None:
    """Average ranks within each patient and each draw and seed, by the mean score of a patient's images.

    So only runs with the same labelled images are ranked together. Methods with fewer draws than most, and those with
    another budget, are left out. None where methods may not be ranked, for fewer than three methods, and where no draw
    and seed is shared by all.
    """
    every = comparison.shown(ratio, uneven=False)
    labels = comparison.most_draws(every, ratio)
    places = comparison.shared(labels, ratio)
    common = all(set(places) <= set(comparison.places(label, ratio)) for label in labels)
    if len(labels) < FEWEST or not common or not standing.ranks(comparison, ratio):
        return None
    score, patients = comparison.options.score, len(comparison.patient_names)
    means = [comparison.patient_means(label, ratio, score.name, places).ravel() for label in labels]
    scores = np.array(means).T * (1 if score.higher_is_better else -1)
    ranks = stats.block_ranks(scores).reshape(len(places), patients, len(labels))
    draws = [draw for draw, _ in places]
    scored = int((~np.isnan(ranks[..., 0])).any(0).sum())
    left_out = [label for label in every if label not in labels]
    return Ranking(labels, stats.rank_stability(ranks, draws), scored, len(places), len(set(draws)), left_out)
