"""What people write about the results: their sentences, with numbers from the run records.

`results/reading.md` is a Jinja template of Markdown. In it, `comparison("ebhi-seg epithelium")` is a `Reading`: its
methods give the numbers of that comparison's tables as text, so that no number in a sentence is typed; with `draw=0`
those of tables with this draw alone. `holds(fact, words)` gives the words, and is an error where the fact is false.

Sentences do not claim in their own words that something is better, worse or equal: `claim`, `above`, `below`, `tied`,
`headroom` and `gap_closed` of a `Reading` do, with the p-value that is adjusted over everything that is published.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

import jinja2
import numpy as np
import pandas as pd
from jinja2.sandbox import SandboxedEnvironment
from scipy.stats import rankdata, spearmanr

from benchmark.analysis import family, power, standing, stats
from benchmark.analysis.comparison import Comparison, Options
from benchmark.analysis.run_table import comparisons
from benchmark.names import choose
from benchmark.protocol.scores import SCORES
from benchmark.report.tables import formatting, headroom
from benchmark.run_records import RunRecord

FILE = "reading.md"  # beside the folder of run records
METRIC = "dice"


CLAIMING = re.compile(
    r"\b(significan\w*|better|worse|best|worst|outperform\w*|surpass\w*|beats?|superior|inferior|improv\w*|gain(?:s|ed)?|"
    r"help(?:s|ed)?|hurts?|harm(?:s|ed)?|wins?|equivalent|(?:above|below|ahead of|as good as) supervised|"
    r"no (?:difference|effect|gain))\b",
    re.IGNORECASE,
)
OPEN, CLOSE = "\ue000", "\ue001"  # private signs around what functions of `Reading` claim


class Claimed(str):
    """A text that claims something, with its p-value; it may use words that sentences may not."""


def read(template: str, records: Sequence[RunRecord], options: Options = Options()) -> str:  # noqa: B008
    """The sentences with their numbers.

    Raises:
        ValueError: for an unknown comparison, method or ratio (the nearest is named), a fact that is false, and a
            sentence that claims something in its own words.
    """
    found = family.together(comparisons(records), replace(options, metric=METRIC))

    def comparison(name: str, draw: int | None = None) -> "Reading":
        whole = found[choose(name, list(found), "comparison")]
        if draw is None:
            return Reading(whole)
        alone = Comparison([record for record in whole.records.values() if record.run.draw == draw], whole.options)
        alone.published_with = [alone if other is whole else other for other in whole.published_with]
        return Reading(alone)

    def holds(fact: bool, words: str) -> str:
        if not fact:
            raise ValueError(f"'{words}' in {FILE} no longer holds; write what the run records say now.")
        return words

    environment = SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        finalize=lambda value: f"{OPEN}{value}{CLOSE}" if isinstance(value, Claimed) else value,
    )  # fmt: skip
    try:
        text = environment.from_string(template).render(comparison=comparison, holds=holds).strip() + "\n"
    except jinja2.TemplateError as error:
        raise ValueError(f"The sentences of {FILE} cannot be read: {error}. Correct the template.") from error
    own = re.sub(rf"{OPEN}.*?{CLOSE}|`[^`]*`", " … ", text, flags=re.DOTALL)
    for sentence in re.split(r"(?<=[.!?:])\s+|\n\s*\n|\n(?=[|#-])", own):
        word = CLAIMING.search(sentence)
        if word:
            raise ValueError(
                f"'{' '.join(sentence.split())}' in {FILE} claims '{word[0]}' in its own words; let claim(), above(), "
                "below(), tied(), headroom() or gap_closed() say it, with its p-value."
            )
    return text.replace(OPEN, "").replace(CLOSE, "")


class Reading:
    """One comparison in words.

    Methods have their names in `bench methods`, variants as in "cdma no_um"; anything else its label in the tables.
    """

    def __init__(self, comparison: Comparison):
        self._comparison, self._metric = comparison, comparison.options.metric

    def score(self, method: str, ratio: float, metric: str = METRIC) -> str:
        """The mean and its interval: "90.4 [88.6, 91.9]"."""
        label = self._label(method, ratio)
        metric = self._comparison.single(metric)
        return formatting.interval(self._comparison.intervals([label], ratio, metric)[label], SCORES[metric], ()).text

    def mean(self, method: str, ratio: float) -> float:
        """The mean in points, to be compared with another in `holds`."""
        return 100 * self._comparison.intervals([label := self._label(method, ratio)], ratio, self._metric)[label].mean

    def difference(self, method: str, other: str, ratio: float, other_ratio: float | None = None) -> str:
        """The mean of a method less another's, the latter at its own ratio if given: "+0.5 [−0.1, 1.1]"."""
        label, less = self._label(method, ratio), self._label(other, ratio if other_ratio is None else other_ratio)
        found = self._comparison.differences([label], less, ratio, self._metric, other_ratio=other_ratio)[label]
        return formatting.difference(found, SCORES[self._metric], ()).text or "not paired"

    def runs(self, method: str, ratio: float) -> int:
        """How many finished runs are behind a score."""
        return len(self._comparison.keys(self._label(method, ratio), ratio))

    def cost(self, method: str, ratio: float) -> str:
        """FLOPs of training as a multiple of supervised's."""
        return formatting.costs(self._comparison, self._label(method, ratio), ratio)[0].text

    def part(self, part: str, ratio: float) -> str:
        """How large `labelled`, `unlabelled`, `val` or `test` is in the first draw: "668 images of 102 patients"."""
        runs = self._comparison.done[self._comparison.done.ratio == ratio].sort_values("draw")
        held = self._comparison.records[runs.key.iloc[0]].certificate
        return f"{held.images[part]:,} images of {held.patients[part]:,} patients"

    def methods(self, ratio: float) -> int:
        """How many methods have finished runs there."""
        return len(self._ranked(ratio))

    def draws(self, ratio: float) -> str:
        """From how many labelled draws methods have runs there: "3", or "1 to 3" if not all have as many."""
        places = [self._comparison.places(label, ratio) for label in self._ranked(ratio)]
        counts = [len({draw for draw, _ in of}) for of in places]
        return " to ".join(map(str, sorted({min(counts), max(counts)})))

    def extremes(self, ratio: float) -> str:
        """The worst and the best mean of methods with most draws: "87.8 (DTC) to 91.1 (URPC)"."""
        means = {
            label: one.mean
            for label, one in self._comparison.intervals(self._whole(ratio), ratio, self._metric).items()
        }
        ends = (min(means, key=means.__getitem__), max(means, key=means.__getitem__))
        return " to ".join(f"{formatting.say(100 * means[label], 1)} ({label})" for label in ends)

    def headroom(self, ratio: float) -> Claimed:
        """The upper bound less supervised: "+2.7 [1.9, 3.4], p (family) 0.002"; "not known" without a pair of runs."""
        found = family.headrooms(self._comparison).get(ratio)
        return Claimed(self._text(found) if found else "not known")

    def gap_closed(self, method: str, ratio: float) -> Claimed:
        """The share of the headroom that a method closes: "93 % [71, 118]"."""
        self._must_rank(ratio, patients=False)
        share = headroom.closed(self._comparison, ratio).get(self._label(method, ratio))
        text = formatting.interval(share, headroom.SHARE, ()).text if share else "–"
        return Claimed(text.replace(" [", " % [", 1))

    def claim(self, method: str, ratio: float) -> Claimed:
        """What may be said of a method and supervised: "CDMA scores higher than supervised (+0.7 [0.2, 1.2], …)"."""
        label = self._label(method, ratio)
        found = family.against_supervised(self._comparison).get((ratio, label))
        if found is None:
            raise ValueError(
                f"'{label}' at {formatting.percent(ratio)} is not compared with supervised; claim nothing of it."
            )
        verdict, margin = found.verdict(), f"{self._comparison.options.margin:g} points"
        if verdict == "cannot tell":
            detectable = formatting.say(100 * found.detectable, 1)
            return Claimed(
                f"these runs cannot tell whether {label} differs from supervised ({self._text(found)}; a difference of "
                f"{detectable} would have been found)"
            )
        if verdict == "equivalent":
            p = f"p (family) of more {formatting.probability(found.p_equivalent).text}"
            interval = formatting.difference(found.difference, self._comparison.options.score, ()).text
            return Claimed(f"{label} is within {margin} of supervised ({interval}, {p})")
        word, within = verdict.partition(",")[::2]
        more = f", by less than {margin}" if within else ""
        return Claimed(f"{label} is {word} than supervised{more} ({self._text(found)})")

    def tied(self, ratio: float) -> Claimed:
        """Those that are not significantly worse than the best: the bold ones, best first."""
        self._must_rank(ratio)
        ranked = self._ranked(ratio)
        intervals = self._comparison.intervals(ranked, ratio, self._metric)
        bold = standing.tied(self._comparison, ranked, ratio, self._metric, None, intervals)
        return Claimed(_listed(sorted(bold, key=lambda label: -intervals[label].mean)))

    def above(self, ratio: float) -> Claimed:
        """Those that are better than supervised with their adjusted p, the farthest first: "CDMA (p 0.002)"."""
        return self._significant(ratio, "better")

    def below(self, ratio: float) -> Claimed:
        """Those that are worse than supervised with their adjusted p, the farthest first."""
        return self._significant(ratio, "worse")

    def tests(self) -> int:
        """Over how many differences to supervised p-values are adjusted."""
        claims = family.against_supervised(self._comparison).values()
        return next(iter(claims)).tests if claims else 0

    def place(self, method: str, ratio: float) -> str:
        """Where a method's mean stands among those with most draws: "14 of 23"."""
        self._must_rank(ratio)
        ranked = self._whole(ratio)
        means = [interval.mean for interval in self._comparison.intervals(ranked, ratio, self._metric).values()]
        return f"{rankdata(-np.array(means), 'min')[ranked.index(self._label(method, ratio))]:.0f} of {len(ranked)}"

    def deviation(self, method: str, ratio: float) -> str:
        """The standard deviation of the mean scores of single runs, over draws and seeds."""
        values = self._comparison.samples(self._label(method, ratio), ratio, self._metric)
        return (
            formatting.say(100 * np.nanmean(values, axis=1).std(ddof=1), 1)
            if len(values) > 1
            else formatting.say(np.nan, 1)
        )

    def each(self, method: str, ratio: float) -> str:
        """The mean scores of single runs by draw and seed: "89.6, 90.6 and 91.0"."""
        label = self._label(method, ratio)
        places = sorted(self._comparison.places(label, ratio))
        means = np.nanmean(self._comparison.samples(label, ratio, self._metric, None, places), axis=1)
        return _listed([formatting.say(100 * mean, 1) for mean in means])

    def agreement(self, ratio: float) -> str:
        """How alike the orders of the methods are after two draws, Spearman's ρ, the mean of all pairs of draws.

        1: the order is the same after another draw; 0: it is random.
        """
        means = pd.concat([self._by_draw(label, ratio) for label in self._ranked(ratio)], axis=1, join="inner")
        pairs = itertools.combinations(means.to_numpy(), 2)
        return formatting.say(float(np.mean([spearmanr(*pair).statistic for pair in pairs] or [np.nan])), 2)

    def detectable(self, ratio: float) -> str:
        """The smallest true difference of two methods, in points, found with 80 % by so many runs; see `bench plan`."""
        pairs = power.pairs(self._comparison, ratio)[1]
        if not pairs or power.design(pairs[0]) == (1, 1):
            return formatting.say(np.nan, 1)
        found = power.detectable(power.components(pairs), *power.design(pairs[0]))
        return formatting.say(100 * found, 1)

    def common(self, other: "Reading") -> str:
        """The test images that another split of the dataset has, too: "36 images of 4 patients"."""
        mine = self._shared(other)[0]
        return f"{len(mine)} images of {len(set(self._comparison.patients[mine]))} patients"

    def beside(self, other: "Reading", method: str, ratio: float) -> str:
        """The mean on the test images of both splits, less the other's, after the same draws and seeds: "+2 [0, 4]".

        What a split that shares patients between training and test does to scores, as far as its images tell.
        """
        images, label = self._shared(other), self._label(method, ratio)
        places = sorted({*self._comparison.places(label, ratio)} & {*other._comparison.places(label, ratio)})
        a, b = (
            reading._comparison.samples(label, ratio, self._metric, None, places, these).ravel()
            for reading, these in zip((self, other), images, strict=True)
        )
        draws, seeds = np.repeat(np.array(places).reshape(-1, 2), len(images[0]), axis=0).T
        patients = np.tile(self._comparison.patients[images[0]], len(places))
        found = stats.paired_difference(a, b, patients, draws, seeds)
        return formatting.difference(found, SCORES[self._metric], ()).text or formatting.say(np.nan, 1)

    def _shared(self, other: "Reading") -> tuple[list[int], list[int]]:
        """Where the test images of both lie in either."""
        mine, theirs = ({name: i for i, name in enumerate(one._comparison.images["name"])} for one in (self, other))
        both = [name for name in mine if name in theirs]
        return [mine[name] for name in both], [theirs[name] for name in both]

    def missed(self, method: str, ratio: float) -> tuple[int, int]:
        """False alarms and missed objects, over all runs."""
        keys = self._comparison.keys(self._label(method, ratio), ratio)
        there, found = (
            np.concatenate([np.asarray(self._comparison.records[key].scores[name]) for key in keys]).astype(bool)
            for name in ("present", "predicted")
        )
        return int((found & ~there).sum()), int((there & ~found).sum())

    def _by_draw(self, label: str, ratio: float) -> pd.Series:
        places = self._comparison.places(label, ratio)
        means = np.nanmean(self._comparison.samples(label, ratio, self._metric, None, places), axis=1)
        return pd.Series(means, [draw for draw, _ in places]).groupby(level=0).mean()

    def _significant(self, ratio: float, verdict: str) -> Claimed:
        claims = family.against_supervised(self._comparison)
        these = {
            label: claim
            for (at, label), claim in claims.items()
            if at == ratio and claim.verdict().startswith(verdict)
        }  # fmt: skip
        order = sorted(these, key=lambda label: -abs(these[label].difference.mean))
        return Claimed(_listed([f"{label} (p {formatting.probability(these[label].p).text})" for label in order]))

    def _text(self, claim: family.Claim) -> str:
        """A difference with its interval and its adjusted p."""
        text = formatting.difference(claim.difference, self._comparison.options.score, ()).text
        return f"{text}, p (family) {formatting.probability(claim.p).text}"

    def _must_rank(self, ratio: float, patients: bool = True) -> None:
        """An error where methods may not be ranked; without `patients`, only where there is no headroom."""
        allowed = standing.ranks if patients else standing.has_headroom
        if not allowed(self._comparison, ratio):
            why = " ".join(standing.sentences(self._comparison, [ratio]))
            raise ValueError(f"A sentence in {FILE} ranks methods at {formatting.percent(ratio)}; leave it out. {why}")

    def _whole(self, ratio: float) -> list[str]:
        return self._comparison.most_draws(self._ranked(ratio), ratio)

    def _ranked(self, ratio: float) -> list[str]:
        labels = self._comparison.finished(self._comparison.published, ratio)
        return self._comparison.even(labels, ratio)

    def _label(self, method: str, ratio: float) -> str:
        runs = self._comparison.done[self._comparison.done.ratio == ratio]
        plain = runs[(runs.settings == "") & ~runs.uneven]
        names = dict(zip((plain.method + " " + plain.variant).str.strip(), plain.label, strict=True))
        names |= {label: label for label in runs.label}
        return names[choose(method, list(names), f"method with runs at {formatting.percent(ratio)}")]


def _listed(labels: Sequence[str]) -> str:
    """In words: "A, B and C"; "none" of nothing."""
    *most, last = labels or ["none"]
    return f"{', '.join(most)} and {last}" if most else last
