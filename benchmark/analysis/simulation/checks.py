"""How often intervals cover and tests find something, in many data sets of a simulated benchmark."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import root_scalar

from benchmark.analysis.simulation.worlds import Design, World, images_of_patients, mean_score, simulate
from benchmark.analysis.stats import (
    Difference,
    Spread,
    gap_closed,
    hierarchical_interval,
    holm,
    paired_difference,
    pooled_runs,
    spread,
    tested,
    worse_than_best,
)
from benchmark.analysis.stats.variance import Labels

AT_ONCE = 2_000_000  # scores in memory
GAIN = 0.2  # of the second method over the first, on the scale of the effects
METHODS = 10  # in a table
BESIDE = 3  # draws of the others, beside a single run
HEADROOM = 3.0  # points


class Coverage(NamedTuple):
    """How often an interval of 95 % holds the true value, and that of new draws and seeds; shares of simulations."""

    score: float
    difference: float
    score_for_new_runs: float
    difference_for_new_runs: float


def coverage(world: World, design: Design, simulations: int, random: np.random.Generator) -> Coverage:
    """Of the mean score of a method, and of the difference to a better one."""
    held = []
    for part in _parts(design, 2, simulations):
        scores = simulate(world, design, np.array([0.0, GAIN]), part, random)
        labels = scores.labels
        score = hierarchical_interval(scores.values[:, 0], *labels)
        difference = paired_difference(scores.values[:, 1], scores.values[:, 0], *labels)
        new = np.broadcast_to(scores.true_for_new_runs[:, None], scores.true.shape)
        held.append(
            [
                (found.low <= value) & (value <= found.high)
                for true in (scores.true, new)
                for found, value in ((score, true[0]), (difference, true[1] - true[0]))
            ]
        )
    return Coverage(*map(float, np.concatenate(held, axis=1).mean(1)))


def beside(world: World, patients: int, simulations: int, random: np.random.Generator) -> float:
    """Of the difference between two equal methods in one run for new draws and seeds, where others have several draws.

    The share of `Coverage`. METHODS methods have BESIDE draws, but for one of the two, which has the first draw alone.
    """
    held, design = [], Design(patients, BESIDE, 1)
    over = np.array([BESIDE] * (METHODS - 2) + [1])
    for part in _parts(design, METHODS, simulations):
        scores = simulate(world, design, np.zeros(METHODS), part, random)
        values, labels = scores.values, scores.labels
        differences, first = values[:, 1:] - values[:, :1], labels[1] == 0
        several = spread(differences[:, :-1].reshape(len(values), -1), *labels)
        alone = spread(differences[first, -1], *(label[first] for label in labels))
        parts = (np.concatenate([a.reshape(-1, part), b[None]]) for a, b in zip(several, alone, strict=True))
        found = tested(pooled_runs(Spread(*parts), np.repeat(over[:, None], part, axis=1)))
        held.extend((found.low[-1] <= 0) & (found.high[-1] >= 0))
    return float(np.mean(held))


def unequal(factor: float, simulations: int, random: np.random.Generator) -> float:
    """How often, at 5 % with Holm's adjustment, any of METHODS equal methods differs from the first, pooled.

    Runs of the last vary by so many times as much as those of the others. Scores are normal, of one image of each of
    100 patients after 3 draws, and vary in themselves as much as runs of most vary together.
    """
    patients, found = 100, []
    design = Design(patients, 3, 1)
    labels = (np.tile(np.arange(patients), 3), np.repeat(np.arange(3), patients), np.zeros(3 * patients, np.int64))
    spreads = np.where(np.arange(METHODS) < METHODS - 1, 1, factor)[:, None]
    for part in _parts(design, METHODS, simulations):
        of_patient = np.sqrt(patients / 3) * random.standard_normal((1, patients, METHODS, part))
        of_draw = spreads * random.standard_normal((3, 1, METHODS, part))
        values = (of_patient + of_draw).reshape(-1, METHODS, part)
        p = _differences(values, values[:, :1], labels).p[1:]
        found.extend((holm(p[:, i]) < 0.05).any() for i in range(part))
    return float(np.mean(found))


class Level(NamedTuple):
    """How often something is found at 5 % though the methods are equal; shares of simulations.

    `test`: two methods differ. `holm`: any differs from the first, with Holm's adjustment. `winner`: any is worse than
    the one with the best mean, one-sided with Holm's adjustment. `tie_group`: any is outside. `test_for_new_runs`: two
    methods differ in the runs at hand, though not on average over draws and seeds (nan where the design varies both).
    """

    test: float
    holm: float
    winner: float
    tie_group: float
    test_for_new_runs: float


def level(world: World, design: Design, simulations: int, random: np.random.Generator) -> Level:
    """Of the tests among METHODS methods that are equal: where a design has one draw, in that draw, too."""
    equal = world
    if design.draws == 1:
        equal = replace(world, own_draw=0.0)
        if design.seeds == 1:
            equal = replace(equal, own_seed=0.0, collapse=0.0)
    found, in_runs = [], []
    for part in _parts(design, METHODS, simulations):
        scores = simulate(equal, design, np.zeros(METHODS), part, random)
        values, labels = scores.values, scores.labels
        pair = paired_difference(values[:, 1], values[:, 0], *labels)
        to_first = _differences(values, values[:, :1], labels)
        best = values.mean(0).argmax(0)
        to_best = _differences(values, np.take_along_axis(values, best[None, None], axis=1), labels)
        for i in range(part):
            others = np.arange(METHODS) != best[i]
            p = to_best.p[others, i] / 2  # none has a higher mean than the best
            table = [Difference(*numbers) for numbers in zip(*(number[:, i] for number in to_best), strict=True)]
            found.append(
                [
                    pair.p[i] < 0.05,
                    (holm(to_first.p[1:, i]) < 0.05).any(),
                    (holm(p) < 0.05).any(),
                    (worse_than_best(table) < 0.05).any(),
                ]
            )
    for part in _parts(design, 2, simulations) if equal != world else ():
        scores = simulate(world, design, np.zeros(2), part, random)
        values, labels = scores.values, scores.labels
        in_runs.extend(paired_difference(values[:, 0], values[:, 1], *labels).p < 0.05)
    test, any_of_all, winner, tie_group = map(float, np.mean(found, axis=0))
    return Level(test, any_of_all, winner, tie_group, float(np.mean(in_runs)) if in_runs else np.nan)


class Gaps(NamedTuple):
    """Headroom and gap closed; shares of simulations.

    `open`: the headroom is found to be above 0. `headroom`: its interval covers. `share`: that of the share of the gap
    that a method closes covers, where the headroom is above 0.
    """

    open: float
    headroom: float
    share: float


def gaps(world: World, design: Design, simulations: int, random: np.random.Generator) -> Gaps:
    """A headroom of HEADROOM points, and METHODS − 2 methods that close from none to all of it and a fifth more."""
    bound = gain_of(world, HEADROOM)
    gains = np.array([0.0, bound, *np.linspace(0, 1.2 * bound, METHODS - 2)])
    opened, covered, shares = [], [], []
    for part in _parts(design, METHODS, simulations):
        found = simulate(world, design, gains, part, random, apart=[1])
        labels, mean = found.labels, found.true_for_new_runs
        over = np.full(METHODS - 1, design.draws)
        for values in np.moveaxis(found.values, 2, 0):
            base = np.broadcast_to(values[:, [0]], values[:, 1:].shape)
            to_base = spread(values[:, 1:], *labels, less=base)
            pooled = tested(pooled_runs(to_base, over) if design.draws > 1 else to_base)
            opened.append(pooled.mean[0] > 0 and pooled.p[0] < 0.05)
            covered.append(pooled.low[0] <= mean[1] - mean[0] <= pooled.high[0])
            if opened[-1]:
                gained = Spread(*(one[1:] for one in to_base))
                headroom = Spread(*(np.repeat(one[:1], METHODS - 2) for one in to_base))
                short = spread(values[:, 2:], *labels, less=np.broadcast_to(values[:, [1]], values[:, 2:].shape))
                share = gap_closed(gained, headroom, short, over[1:] if design.draws > 1 else None)
                true = (mean[2:] - mean[0]) / (mean[1] - mean[0])
                known = ~np.isnan(share.mean)
                shares += ((share.low <= true) & (true <= share.high))[known].tolist()
    return Gaps(float(np.mean(opened)), float(np.mean(covered)), float(np.mean(shares)) if shares else np.nan)


def power(
    world: World, design: Design, points: Sequence[float], tests: int, simulations: int, random: np.random.Generator
) -> tuple[float, ...]:
    """How often a method that is better by so many points is found to be, with p adjusted over so many tests.

    The first method is compared with METHODS − 1 others: one is better by each of `points`, and the rest are
    equal; p counts `tests` times (Bonferroni), so that Holm's adjustment finds as many or more.
    """
    gains = [0.0, *(gain_of(world, one) for one in points)]
    gains += [0.0] * (METHODS - len(gains))
    found = []
    for part in _parts(design, METHODS, simulations):
        scores = simulate(world, design, np.array(gains), part, random)
        values, labels = scores.values, scores.labels
        differences = _differences(values[:, 1:], values[:, :1], labels)
        k = len(points)
        found.append((differences.p[:k] * tests < 0.05) & (differences.mean[:k] > 0))
    return tuple(map(float, np.concatenate(found, axis=1).mean(1)))


def gain_of(world: World, points: float) -> float:
    """The gain, on the scale of the effects, that raises the mean score over new runs by so many points of 100."""
    base = mean_score(world, np.array(world.centre), world.variance)

    def short(gain: float) -> float:
        return float(mean_score(world, np.array(world.centre + gain), world.variance) - base - points / 100)

    return float(root_scalar(short, bracket=(0, 10), method="brentq").root)


def _differences(
    values: Float[np.ndarray, "n k s"], other: Float[np.ndarray, "n _ s"], labels: tuple[Labels, Labels, Labels]
) -> Difference:
    """Of every method from another one, pooled as in a table, with entries (k, s)."""
    parts = spread((values - other).reshape(len(values), -1), *labels)
    return tested(pooled_runs(Spread(*(part.reshape(values.shape[1:]) for part in parts))))


def _parts(design: Design, methods: int, simulations: int) -> Iterator[int]:
    """Numbers of simulations that fit into memory at once."""
    scores = images_of_patients(design.patients).sum() * design.draws * design.seeds * methods
    most = max(1, AT_ONCE // int(scores))
    for start in range(0, simulations, most):
        yield min(most, simulations - start)
