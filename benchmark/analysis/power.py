"""How many draws and seeds a difference between two methods needs to be found, from the spread of runs at hand."""

import itertools
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import root_scalar
from scipy.special import ndtr
from scipy.stats import chi2

from benchmark.analysis.comparison import Comparison, Place
from benchmark.analysis.stats import Spread, half_width, pooled_freedom, spread

DRAWS, SEEDS = (2, 3, 4, 5, 7, 10, 15, 20), (1, 3, 5)  # of a plan's table
MOST = 1000  # draws that are still called possible
POWER, LEVEL = 0.8, 0.05
QUANTILES = (np.arange(60) + 0.5) / 60


class Components(NamedTuple):
    """Variances of the mean difference of two methods, in squared units of the score.

    With D draws of S seeds each it is patients + draws / D + seeds / (D S). `patients` does not fall with more runs, as
    the test images are given. `draws` is nan where the runs at hand have one draw; `seeds` is nan where they have one
    seed in each draw, and `draws` then holds both.
    """

    patients: float
    draws: float
    seeds: float
    patients_freedom: float
    methods: int = 2  # of the table, which pools what runs vary where there are four or more


# ----------------------------------------------------------------------------------------------------------------------
# The spread of the runs at hand


class Paired(NamedTuple):
    """Scores of two methods on the same images after the same draws and seeds, an entry for each image of a run."""

    a: Float[np.ndarray, "n"]
    b: Float[np.ndarray, "n"]
    patients: Int[np.ndarray, "n"]
    draws: Int[np.ndarray, "n"]
    seeds: Int[np.ndarray, "n"]


def pairs(
    comparison: Comparison, ratio: float | None = None, metric: str = "dice"
) -> tuple[float | None, list[Paired]]:
    """Every two methods with the common budget on the runs that they share, and the ratio.

    Without a ratio it is the one at which most methods have runs. All pairs have as many draws and seeds: those of most
    pairs that share several runs, if there are any.
    """
    runs, metric = comparison.done, comparison.single(metric)
    if len(runs):
        runs = runs[(runs.variant == "") & (runs.settings == "") & ~runs.uneven]
    if ratio is None and len(runs):
        methods = runs.groupby("ratio").label.nunique()
        ratio = float(methods.index[methods.to_numpy().argmax()])
    places: dict[str, set[Place]] = defaultdict(set)
    for run in runs[runs.ratio == ratio].itertuples() if len(runs) else ():
        places[run.label].add((run.draw, run.seed))
    shared = [(a, b, _balanced(places[a] & places[b])) for a, b in itertools.combinations(places, 2)]
    designs = Counter(_design(runs) for *_, runs in shared if len(runs) > 1) or Counter([(1, 1)])
    return ratio, [
        _paired(comparison, a, b, ratio, metric, runs)
        for a, b, runs in shared
        if runs and _design(runs) == designs.most_common(1)[0][0]
    ]


def _design(places: Sequence[Place]) -> tuple[int, int]:
    draws = len({draw for draw, _ in places})
    return draws, len(places) // draws


def _balanced(places: set[Place]) -> list[Place]:
    """As many runs of each draw as all draws have: those with the smallest seeds."""
    of_draws: dict[int, list[int]] = defaultdict(list)
    for draw, seed in sorted(places):
        of_draws[draw].append(seed)
    most = min(map(len, of_draws.values()), default=0)
    return [(draw, seed) for draw, seeds in of_draws.items() for seed in seeds[:most]]


def _paired(comparison: Comparison, a: str, b: str, ratio: float, metric: str, places: Sequence[Place]) -> Paired:
    draws, seeds = (np.repeat(part, len(comparison.patients)) for part in np.array(places, dtype=np.int64).T)
    scores = (comparison.samples(label, ratio, metric, None, places).ravel() for label in (a, b))
    return Paired(*scores, np.tile(comparison.patients, len(places)), draws, seeds)


def design(pair: Paired) -> tuple[int, int]:
    """Numbers of draws and of seeds in each; seeds of two draws have nothing in common."""
    draws = len(np.unique(pair.draws))
    return draws, len(np.unique(np.stack([pair.draws, pair.seeds]), axis=1).T) // draws


def components(pairs: Sequence[Paired]) -> Components:
    """From the scores of every two of some methods, all of one design; variances are averaged over the pairs."""
    draws, seeds = design(pairs[0])
    if draws * seeds < 2:
        raise ValueError(
            "The methods share one run, which does not show how much runs differ; run at least two draws or seeds."
        )
    alike: dict[tuple[bytes, bytes], list[Paired]] = defaultdict(list)
    for pair in pairs:
        alike[pair.draws.tobytes(), pair.seeds.tobytes()].append(pair)
    found = np.concatenate([_of_pairs(group, draws, seeds) for group in alike.values()], axis=1)
    patients, across, inside, freedom = map(float, found.mean(1))
    if max(patients, np.nanmax([across, inside])) <= 0:
        raise ValueError("The methods have equal scores on every image, so there is no difference to plan for.")
    between = across if seeds == 1 else max(across - inside / seeds, 0.0)  # nan where there is one draw
    methods = round((1 + np.sqrt(1 + 8 * len(pairs))) / 2)  # that have so many pairs
    return Components(max(patients, 0.0), between if draws > 1 else np.nan, inside, freedom, methods)


def _of_pairs(pairs: Sequence[Paired], draws: int, seeds: int) -> Float[np.ndarray, "4 k"]:
    """Variances by patients alone, of a draw's mean, and of a run within its draw, and the patients' freedom."""
    first = pairs[0]
    a, b = (np.stack([getattr(pair, side) for pair in pairs], axis=1) for side in "ab")
    whole = spread(a, first.patients, first.draws, first.seeds, less=b)
    inside = np.full(len(pairs), np.nan)
    if seeds > 1:
        of_draws = [first.draws == draw for draw in np.unique(first.draws)]
        parts = [spread(a[d], first.patients[d], first.draws[d], first.seeds[d], less=b[d]) for d in of_draws]
        inside = seeds * np.mean([part.runs for part in parts], axis=0)
    across = draws * whole.runs if draws > 1 else np.full(len(pairs), np.nan)
    return np.stack([whole.patients - whole.both, across, inside, whole.patients_freedom])


# ----------------------------------------------------------------------------------------------------------------------
# What more runs find


class Line(NamedTuple):
    """A number of draws and of seeds in each; the chance to find the difference, and what is found with 80 %."""

    draws: int
    seeds: int
    power: float
    detectable: float


class Plan(NamedTuple):
    """Lines for more and more runs, the one with the fewest that is enough (None: none is), and the end of it.

    `limit` is the difference that is found with 80 % by ever more runs on the same test patients.
    """

    lines: list[Line]
    fewest: Line | None
    limit: float


def plan(of: Components, difference: float) -> Plan:
    """Which numbers of runs find a true difference (in units of the score) at 80 % power and 5 %, two-sided.

    For a number of runs, one seed in each draw finds most, as new draws bring new seeds, too. Where the runs at hand
    have one draw, the plan is for seeds in that draw.
    """
    one_draw, one_seed = np.isnan(of.draws), np.isnan(of.seeds)

    def line(draws: int, seeds: int) -> Line:
        return Line(draws, seeds, power(of, draws, seeds, difference), detectable(of, draws, seeds))

    def enough(runs: int) -> bool:
        return power(of, *((1, runs) if one_draw else (runs, 1)), difference) >= POWER

    table = [(1, s) for s in DRAWS] if one_draw else itertools.product(DRAWS, SEEDS[:1] if one_seed else SEEDS)
    fewest = 2 + bisect_left(range(2, MOST), True, key=enough) if enough(MOST) else None
    return Plan(
        lines=[line(*runs) for runs in table],
        fewest=None if fewest is None else line(1, fewest) if one_draw else line(fewest, 1),
        limit=_detectable(*_widths(of, np.inf, 1)),
    )


def power(of: Components, draws: float, seeds: int, difference: float) -> float:
    """The chance that a difference after so many runs, pooled, is significant where this is the true difference."""
    return _power(*_widths(of, draws, seeds), difference)


def detectable(of: Components, draws: float, seeds: int) -> float:
    """The smallest true difference that is found with 80 %."""
    return _detectable(*_widths(of, draws, seeds))


def _widths(of: Components, draws: float, seeds: int) -> tuple[float, Float[np.ndarray, "q"]]:
    """The standard error of the mean difference, and quantiles of the interval's half-width around it.

    The two estimated variances vary as χ² over their degrees of freedom, independently of each other and of the mean.
    """
    between, within = np.nan_to_num(of.draws), np.nan_to_num(of.seeds)
    variances = of.patients, between / draws + within / (draws * seeds)
    runs_freedom = (draws if draws > 1 else seeds) - 1
    freedoms = of.patients_freedom, pooled_freedom(runs_freedom, of.methods - 1) if of.methods > 3 else runs_freedom
    estimated = [
        variance * (chi2.ppf(QUANTILES, freedom) / freedom if np.isfinite(freedom) else np.ones(QUANTILES.size))
        for variance, freedom in zip(variances, freedoms, strict=True)
    ]
    patients, runs = (part.ravel() for part in np.meshgrid(*estimated))
    one = np.ones(patients.size)
    parts = Spread(0 * one, patients, runs, 0 * one, freedoms[0] * one, freedoms[1] * one, one.astype(bool))
    return float(np.sqrt(sum(variances))), half_width(parts, 1 - LEVEL)


def _power(error: float, widths: Float[np.ndarray, "q"], difference: float) -> float:
    if error == 0:  # patients do not vary, and there are ever more runs
        return float(difference > 0)
    return float((ndtr((difference - widths) / error) + ndtr((-difference - widths) / error)).mean())


def _detectable(error: float, widths: Float[np.ndarray, "q"]) -> float:
    if error == 0:
        return 0.0
    bracket = (0, widths.max() + 10 * error)
    return float(root_scalar(lambda d: _power(error, widths, d) - POWER, bracket=bracket, method="brentq").root)
