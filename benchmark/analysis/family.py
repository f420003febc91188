"""Claims that are published together, and their p-values adjusted over all of them.

Four questions are asked of all comparisons of one report, and each question is one family (Holm): does supervised
training with all labels score better (headroom); does a method score better or worse than supervised; than its
controls; and does a variant of a method score better or worse than the method. An answer in one comparison is adjusted
for the answers in all others.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmark.analysis import stats
from benchmark.analysis.comparison import Comparison, Options
from benchmark.analysis.stats import Difference, Spread
from benchmark.names import choose
from benchmark.protocol import suites
from benchmark.protocol.scores import SCORES
from benchmark.run_records import RunRecord
from methods import LABELS_ONLY

STRONG = "supervised_strong"  # supervised training with the strong views of the methods
LEVEL = 0.05

Question = Callable[[Comparison], dict[tuple, Spread]]


class Claim(NamedTuple):
    """A difference with its p-values, adjusted over the family."""

    difference: Difference  # with its own p, which is not adjusted
    p: float  # of no difference, two-sided
    p_equivalent: float  # of a difference beyond the margin
    detectable: float  # the smallest true difference that such runs find with 80 %, adjusted
    tests: int  # of the family

    def verdict(self, higher: bool = True) -> str:
        """In words; `higher` scores are better."""
        equivalent = self.p_equivalent < LEVEL
        if self.p < LEVEL:
            word = "better" if (self.difference.mean > 0) == higher else "worse"
            return f"{word}, within the margin" if equivalent else word
        return "equivalent" if equivalent else "cannot tell"


def together(groups: dict[str, list[RunRecord]], options: Options = Options()) -> dict[str, Comparison]:  # noqa: B008
    """The comparisons of one report, by name, as one family."""
    found = {name: Comparison(records, options) for name, records in groups.items()}
    for name, comparison in found.items():
        comparison.name, comparison.published_with = name, list(found.values())
    return found


def of_suite(records: Sequence[RunRecord], suite: str) -> list[RunRecord]:
    """The records of a suite's runs, whatever their dataset and recipe; all where the suite is ""."""
    if not suite:
        return list(records)
    fields = ("method", "variant", "ratio", "draw", "seed")
    planned = suites.planned(suites.SUITES[choose(suite, list(suites.SUITES), "suite")])
    wanted = {tuple(getattr(run, field) for field in fields) for run in planned}
    return [record for record in records if tuple(getattr(record.run, field) for field in fields) in wanted]


def headrooms(comparison: Comparison) -> dict[float, Claim]:
    """By ratio, the upper bound less supervised; none where there is no pair of runs."""
    return {ratio: claim for (ratio,), claim in _claims(comparison, _headrooms).items()}


def against_supervised(comparison: Comparison, c: int | None = None) -> dict[tuple[float, str], Claim]:
    """By ratio and label, each published method less supervised; of a class `c`, or of the mean over classes.

    All classes and their mean are in the family.
    """
    found = _claims(comparison, _against_supervised)
    return {(ratio, label): claim for (of, ratio, label), claim in found.items() if of == c}


def against_controls(comparison: Comparison) -> dict[tuple[float, str, str], Claim]:
    """By ratio, label and label of a control, each method less its control (see `controls`)."""
    return _claims(comparison, _against_controls)


def against_whole(comparison: Comparison) -> dict[tuple[float, str, str], Claim]:
    """By ratio, label and label of the whole method, each variant and each other setting less the method."""
    return _claims(comparison, _against_whole)


def controls(comparison: Comparison) -> dict[str, tuple[str, ...]]:
    """By published method, what trains without unlabelled images and is else like it.

    These are its variant with all unsupervised weights 0, and supervised training with the strong views.
    """
    runs = comparison.runs[(comparison.runs.settings == "") & ~comparison.runs.uneven]
    alone = dict(zip(*(runs[runs.variant == LABELS_ONLY][name] for name in ("method", "label")), strict=True))
    strong = tuple(dict.fromkeys(runs[(runs.method == STRONG) & (runs.variant == "")].label))
    plain = runs[(runs.variant == "") & ~runs.method.isin(("supervised", STRONG))]
    whole = dict(zip(plain.label, plain.method, strict=True))
    found = {label: ((alone[method],) if method in alone else ()) + strong for label, method in whole.items()}
    return {label: of for label, of in found.items() if of}


# ----------------------------------------------------------------------------------------------------------------------
# Questions: the differences that they ask of one comparison


def _headrooms(comparison: Comparison) -> dict[tuple, Spread]:
    base, metric = comparison.supervised, comparison.options.metric
    found = {ratio: comparison.headroom(ratio, metric) for ratio in comparison.ratios([base] if base else [])}
    return {(ratio,): parts for ratio, parts in found.items() if parts is not None}


def columns(comparison: Comparison) -> list[tuple[str, int | None]]:
    """The score with one number for each run, and where that is a mean over classes, the score of each class."""
    single = comparison.options.metric
    of_class = SCORES[single].mean_of
    return [(single, None), *((of_class, c) for c in range(len(comparison.classes)) if of_class)]


def _against_supervised(comparison: Comparison) -> dict[tuple, Spread]:
    base, found = comparison.supervised, {}
    if base is None:
        return {}
    for ratio in comparison.ratios(comparison.published):
        labels = comparison.even(comparison.finished(comparison.published, ratio), ratio)
        labels = [label for label in labels if label != base]
        for metric, c in columns(comparison):
            spreads = comparison.spreads(labels, base, ratio, metric, c)
            found |= {(c, ratio, label): parts for label, parts in spreads.items()}
    return found


def _against_controls(comparison: Comparison) -> dict[tuple, Spread]:
    found = {}
    for label, others in controls(comparison).items():
        for ratio in comparison.ratios([label]):
            for other in others:
                parts = comparison.spreads([label], other, ratio, comparison.options.metric).get(label)
                if parts is not None:
                    found[ratio, label, other] = parts
    return found


def _against_whole(comparison: Comparison) -> dict[tuple, Spread]:
    found = {}
    for _, runs in comparison.runs.groupby("method", sort=False):
        plain = (runs.variant == "") & (runs.settings == "")
        changed = list(dict.fromkeys(runs.label[~plain]))
        for whole in dict.fromkeys(runs.label[plain]):
            for ratio in comparison.ratios(changed):
                spreads = comparison.spreads(changed, whole, ratio, comparison.options.metric)
                found |= {(ratio, label, whole): parts for label, parts in spreads.items()}
    return found


# ----------------------------------------------------------------------------------------------------------------------
# Families


def _claims(comparison: Comparison, question: Question) -> dict[tuple, Claim]:
    """The answers to a question in one comparison, adjusted over all that are published with it."""
    of = ("claims", question.__name__)
    if of not in comparison.known:
        asked = [(one, question(one)) for one in comparison.published_with if one.has(one.options.metric)]
        answers = iter(_adjusted([parts for _, found in asked for parts in found.values()], comparison.options))
        for one, found in asked:
            one.known[of] = dict(zip(found, answers, strict=False))
    return comparison.known.get(of, {})


def _adjusted(differences: Sequence[Spread], options: Options) -> list[Claim]:
    if not differences:
        return []
    parts = Spread(*map(np.concatenate, zip(*differences, strict=True)))
    found = stats.tested(parts)
    equivalent = stats.holm(stats.equivalence(parts, options.margin / options.score.scale))
    tests = int((~np.isnan(found.p)).sum())
    detectable = stats.detectable(parts, max(tests, 1))
    numbers = zip(zip(*found, strict=True), stats.holm(found.p), equivalent, detectable, strict=True)
    return [Claim(Difference(*map(float, one)), *map(float, of), tests) for one, *of in numbers]
