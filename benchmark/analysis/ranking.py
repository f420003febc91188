"""Average ranks of methods: how far they depend on patients and labelled subsets, and over several settings."""

from collections.abc import Collection, Sequence
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


def ranking(comparison: Comparison, ratio: float, among: Collection[str] | None = None) -> Ranking | None:
    """Average ranks within each patient and each draw and seed, by the mean score of a patient's images.

    So only runs with the same labelled images are ranked together. Methods with fewer draws than most, and those with
    another budget, are left out. None where methods may not be ranked, for fewer than three methods, and where no draw
    and seed is shared by all. With `among`, only these labels are ranked.
    """
    every = [label for label in comparison.shown(ratio, uneven=False) if among is None or label in among]
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


class Aggregate(NamedTuple):
    """A method over several settings (a comparison at a labelled fraction), each with the same weight."""

    label: str
    rank: float
    rank_low: float  # 95 % interval for new settings; with one setting, for new patients and draws
    rank_high: float
    first: float  # share of the bootstrap samples in which the method has the best average rank
    gap: float  # mean share of the headroom that the method closes; nan for supervised
    settings: int


def aggregate(compared: Sequence[Comparison]) -> list[Aggregate]:
    """Ranks and shares of the headroom over all settings in which methods are ranked, of methods that all of them have.

    Source: aggregates over tasks with a bootstrap, as Agarwal et al., NeurIPS 2021 (rliable); ranks as Wiesenfarth et
    al., Scientific Reports 2021.
    """
    settings = [(one, ratio) for one in compared for ratio in one.ratios(one.published) if ranking(one, ratio)]
    if not settings:
        return []
    first_one, first_ratio = settings[0]
    common = [
        label
        for label in ranking(first_one, first_ratio).labels
        if all(label in ranking(one, ratio).labels for one, ratio in settings)
    ]
    rankings = [ranking(one, ratio, common) for one, ratio in settings]
    if len(common) < FEWEST or not all(rankings):
        return []
    if len(rankings) == 1:
        ranks = rankings[0].ranks
    else:
        means = np.array([found.ranks.mean for found in rankings])
        ranks = stats.rank_stability(means[:, None, :], range(len(means)))
    higher = compared[0].options.score.higher_is_better
    gaps = [one.gap_closed(ratio, one.options.metric, None, higher) for one, ratio in settings]
    shares = [np.mean([of[label].mean for of in gaps]) if label in gaps[0] else np.nan for label in common]
    lines = zip(common, *ranks[:3], ranks.first, shares, strict=True)
    return sorted((Aggregate(*map(_plain, line), len(settings)) for line in lines), key=lambda one: one.rank)


def _plain(value: str | float) -> str | float:
    return value if isinstance(value, str) else float(value)
