"""Where methods may be ranked, which are tied with the best, and the sentence that says why nothing is ranked."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from benchmark.analysis import family, stats
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.stats import Difference, Interval
from benchmark.datasets.few_patients import FEWEST_PATIENTS
from benchmark.protocol.scores import SCORES, Score
from benchmark.words import in_units

CANNOT = "cannot tell what unlabelled images are worth"
NOTHING = "nothing is bold or ranked."
NO_BOUND = "supervised training with all labels (the upper bound) was not run with the same steps, draws and seeds"
NO_HEADROOM = "supervised training with all labels (the upper bound) is not significantly better there"


def ranks(comparison: Comparison, ratio: float) -> bool:
    """Whether methods at a ratio may be ranked and set in bold.

    That needs enough test patients and a headroom that is significantly above 0. At the ratio 1 there is no headroom.
    """
    return has_headroom(comparison, ratio) and not few_patients(comparison)


def ranks_any(comparison: Comparison) -> bool:
    """Whether methods may be ranked at any of the ratios at which there are some."""
    return any(ranks(comparison, ratio) for ratio in _compared(comparison))


def has_headroom(comparison: Comparison, ratio: float) -> bool:
    """Whether supervised training with all labels and the same steps is significantly better."""
    return ratio < 1 and not _why(comparison, ratio)


def few_patients(comparison: Comparison) -> bool:
    return len(comparison.patient_names) < FEWEST_PATIENTS


def sentences(comparison: Comparison, ratios: Sequence[float] | None = None) -> list[str]:
    """Why nothing is ranked, one sentence for each reason; none where methods are ranked at all ratios."""
    compared = _compared(comparison)
    if not compared:
        return []
    why: dict[str, list[float]] = defaultdict(list)
    for ratio in compared:
        if ratios is None or ratio in ratios:
            why[_why(comparison, ratio)].append(ratio)
    said = [
        f"At {_listed(of)} labels this comparison {CANNOT}, because {reason}; {NOTHING}"
        for reason, of in why.items()
        if reason
    ]
    if few_patients(comparison):
        count, fewest = len(comparison.patient_names), FEWEST_PATIENTS
        said.append(f"The test images are of {count} patient{'s' * (count != 1)}; with fewer than {fewest} {NOTHING}")
    return [in_units(sentence, comparison.unit) for sentence in said]


def ordered(compared: dict[str, Comparison]) -> dict[str, Comparison]:
    """The best-supported comparison first: those that can answer before others, then by the FLOPs of whole methods."""

    def support(name: str) -> tuple:
        runs = compared[name].done
        plain = runs[(runs.variant == "") & (runs.settings == "")] if len(runs) else runs
        return ranks_any(compared[name]), float(plain.flops.sum()) if len(plain) else 0.0, name

    return {name: compared[name] for name in sorted(compared, key=support, reverse=True)}


def _compared(comparison: Comparison) -> list[float]:
    """The ratios below 1 at which a method other than supervised has finished runs."""
    methods = [label for label in comparison.published if label != comparison.supervised]
    return [r for r in comparison.ratios(methods) if r < 1 and any(comparison.keys(label, r) for label in methods)]


def _why(comparison: Comparison, ratio: float) -> str:
    """What keeps methods at a ratio from being ranked; "" if nothing does."""
    claim = family.headrooms(comparison).get(ratio)
    if claim is None:
        return NO_BOUND
    return "" if claim.verdict(comparison.options.score.higher_is_better).startswith("better") else NO_HEADROOM


def _listed(ratios: Sequence[float]) -> str:
    *most, last = (f"{100 * ratio:g}" for ratio in ratios)
    return f"{', '.join(most)} and {last} %" if most else f"{last} %"


# ----------------------------------------------------------------------------------------------------------------------
# Ties with the best


def tied(
    comparison: Comparison, labels: Sequence[str], ratio: float, metric: str, c: int | None,
    intervals: dict[str, Interval],
) -> set[str]:  # fmt: skip
    """The labels that are not significantly worse than the best; none where nothing can be tested or ranked.

    With several classes, the columns of a score (the classes and their mean) are one family: p counts as many times.
    """
    if not ranks(comparison, ratio):
        return set()
    score = SCORES[metric]
    known = [label for label in labels if not np.isnan(intervals[label].mean)]
    if len(known) < 2:
        return set()
    first = comparison.best(known, ratio, intervals, score)
    found = comparison.differences(known, first, ratio, metric, c)
    p = columns(comparison, metric) * stats.worse_than_best([upwards(found[label], score) for label in known])
    tested = {label for label in known if label == first or not np.isnan(found[label].p)}
    return {label for label, p in zip(known, p, strict=True) if p >= 0.05} & tested if len(tested) > 1 else set()


def columns(comparison: Comparison, metric: str) -> int:
    """How many columns a score has: one for each class and one for their mean, where there are several classes."""
    of_classes = (SCORES[metric].per_class or SCORES[metric].mean_of) and len(comparison.classes) > 1
    return len(comparison.classes) + 1 if of_classes else 1


def upwards(difference: Difference, score: Score) -> Difference:
    """The difference with the sign that is positive where better."""
    if score.higher_is_better:
        return difference
    return Difference(-difference.mean, -difference.high, -difference.low, difference.p)
