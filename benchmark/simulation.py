"""Checks by simulation that intervals cover as often as they say, and that tests find nothing where nothing is."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit
from scipy.stats import skew

from benchmark.progress import silent
from benchmark.runs import write_whole
from benchmark.stats import (
    Difference,
    Spread,
    hierarchical_interval,
    holm,
    paired_difference,
    pooled_runs,
    spread,
    tested,
    worse_than_best,
)

AT_ONCE = 2_000_000  # scores in memory
GAIN = 0.2  # of the second method over the first, on the scale of the effects
SIMULATIONS = 1500
METHODS = 10  # in a table where no difference exists
BESIDE = 3  # draws of the others, beside a single run
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    """How scores come about: standard deviations of normal effects whose sum, through 1/(1 + e^−x), is a Dice.

    What is named `own` differs between methods; the rest is shared by all that see the same patient, draw or seed.
    """

    centre: float
    patient: float
    image: float
    draw: float = 0.15
    seed: float = 0.1
    own_patient: float = 0.1
    own_image: float = 0.15
    own_draw: float = 0.08
    own_seed: float = 0.08
    own_patient_of_run: float = 0.1
    own_image_of_run: float = 0.2


WORLDS = {
    "easy": World(centre=2.6, patient=0.65, image=0.75),
    "lopsided": World(centre=3.0, patient=1.2, image=1.2),
    "hard": World(centre=-1.0, patient=1.5, image=1.0, own_patient=0.3, own_image=0.3),
}
PATIENTS = (10, 20, 50, 100, 200)


class Design(NamedTuple):
    """How many test patients, draws of the labelled subset, and seeds in each draw."""

    patients: int
    draws: int
    seeds: int


DESIGNS = ((1, 1), (1, 3), (2, 1), (3, 1), (3, 3), (5, 3))  # draws and seeds in each


class Scores(NamedTuple):
    """Scores of k methods in s simulations on n images of runs, and their labels; true means, and for a new run."""

    values: Float[np.ndarray, "n k s"]
    patients: Int[np.ndarray, "n"]
    draws: Int[np.ndarray, "n"]
    seeds: Int[np.ndarray, "n"]
    true: Float[np.ndarray, "k s"]
    true_for_new_runs: Float[np.ndarray, "k"]


def images_of_patients(patients: int) -> Int[np.ndarray, "p"]:
    """Numbers of images, unequal as in clinics: the quantiles of an exponential distribution, rounded up."""
    shares = (np.arange(patients) + 0.5) / patients
    return np.ceil(-3 * np.log(1 - shares)).astype(np.int64)


def simulate(
    world: World, design: Design, gains: Float[np.ndarray, "k"], simulations: int, random: np.random.Generator
) -> Scores:
    """Scores of methods that differ by `gains` on the scale of the effects.

    The true mean of a method is over all patients, and over all draws and seeds that the design varies: with one draw,
    for this draw; with one run, for this run.
    """
    sizes = images_of_patients(design.patients)
    patient = np.repeat(np.arange(design.patients), sizes)
    images, methods, runs = len(patient), len(gains), design.draws * design.seeds
    draw = np.repeat(np.arange(design.draws), design.seeds)

    def normal(deviation: float, *shape: int) -> Float[np.ndarray, "..."]:
        return deviation * random.standard_normal((*shape, simulations))

    # axes: run, image, method, simulation
    of_draw = normal(world.draw, design.draws, 1, 1) + normal(world.own_draw, design.draws, 1, methods)
    of_seed = normal(world.seed, runs, 1, 1) + normal(world.own_seed, runs, 1, methods)
    of_patient = normal(world.patient, 1, design.patients, 1) + normal(world.own_patient, 1, design.patients, methods)
    of_image = normal(world.image, 1, images, 1) + normal(world.own_image, 1, images, methods)
    latent = normal(world.own_image_of_run, runs, images, methods)
    latent += normal(world.own_patient_of_run, runs, design.patients, methods)[:, patient]
    latent += of_image + of_patient[:, patient]
    latent += of_draw[draw] + of_seed + np.reshape(gains, (-1, 1))

    known = np.reshape(gains, (-1, 1)) + np.zeros((methods, simulations))
    every = [getattr(world, name) for name in vars(world) if name != "centre"]
    varied = np.sum(np.square(every))
    new = _mean_of_logistic(world.centre + gains, varied)
    if design.draws == 1:
        known = known + of_draw[0, 0]
        varied -= world.draw**2 + world.own_draw**2
        if design.seeds == 1:
            known = known + of_seed[0, 0]
            varied -= world.seed**2 + world.own_seed**2
    return Scores(
        values=expit(world.centre + latent).reshape(runs * images, methods, simulations),
        patients=np.tile(patient, runs),
        draws=np.repeat(draw, images),
        seeds=np.repeat(np.tile(np.arange(design.seeds), design.draws), images),
        true=_mean_of_logistic(world.centre + known, varied),
        true_for_new_runs=new,
    )


def _mean_of_logistic(centre: Float[np.ndarray, "..."], variance: float) -> Float[np.ndarray, "..."]:
    """The mean of 1/(1 + e^−x) over normal x, by Gauss–Hermite quadrature."""
    return expit(np.asarray(centre)[..., None] + np.sqrt(variance) * NODES) @ WEIGHTS


# ----------------------------------------------------------------------------------------------------------------------
# Shares of simulated data sets


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
        labels = (scores.patients, scores.draws, scores.seeds)
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
        values, *labels = simulate(world, design, np.zeros(METHODS), part, random)[:4]
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
        equal = replace(world, own_draw=0.0, own_seed=0.0 if design.seeds == 1 else world.own_seed)
    found, in_runs = [], []
    for part in _parts(design, METHODS, simulations):
        values, *labels = simulate(equal, design, np.zeros(METHODS), part, random)[:4]
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
        values, *labels = simulate(world, design, np.zeros(2), part, random)[:4]
        in_runs.extend(paired_difference(values[:, 0], values[:, 1], *labels).p < 0.05)
    return Level(*map(float, np.mean(found, axis=0)), float(np.mean(in_runs)) if in_runs else np.nan)


def _differences(values: Float[np.ndarray, "n k s"], other: Float[np.ndarray, "n _ s"], labels: list) -> Difference:
    """Of every method from another one, pooled as in a table, with entries (k, s)."""
    parts = spread((values - other).reshape(len(values), -1), *labels)
    return tested(pooled_runs(Spread(*(part.reshape(values.shape[1:]) for part in parts))))


def _parts(design: Design, methods: int, simulations: int) -> Iterator[int]:
    """Numbers of simulations that fit into memory at once."""
    scores = images_of_patients(design.patients).sum() * design.draws * design.seeds * methods
    most = max(1, AT_ONCE // int(scores))
    for start in range(0, simulations, most):
        yield min(most, simulations - start)


# ----------------------------------------------------------------------------------------------------------------------
# The study of `bench simulate`


class Study(NamedTuple):
    """All cells: coverage by (world, patients, draws, seeds), level by (patients, draws, seeds), beside by patients.

    `unequal` is by how many times as much the runs of one method vary.
    """

    simulations: int
    coverage: dict[tuple[str, int, int, int], Coverage]
    level: dict[tuple[int, int, int], Level]
    beside: dict[int, float]
    unequal: dict[float, float]


FACTORS = (1, 2, 4, 8)
LEVEL_PATIENTS = (10, 50, 200)
LEVEL_DESIGNS = ((1, 1), (1, 3), (2, 1), (3, 1), (3, 3))


def cells() -> int:
    """How many cells the study has."""
    levels = len(LEVEL_PATIENTS) * len(LEVEL_DESIGNS)
    return len(WORLDS) * len(PATIENTS) * len(DESIGNS) + levels + len(PATIENTS) + len(FACTORS)


def study(simulations: int = SIMULATIONS, seed: int = 0, tell: Callable[[int, str], None] = silent) -> Study:
    """Coverage in every world, all else in the easy one; each cell has its own random numbers from `seed`."""
    found = Study(simulations, {}, {}, {}, {})
    numbers = iter(np.random.SeedSequence(seed).spawn(cells()))
    for name, patients, (draws, seeds) in itertools.product(WORLDS, PATIENTS, DESIGNS):
        design, random = Design(patients, draws, seeds), np.random.default_rng(next(numbers))
        found.coverage[name, *design] = coverage(WORLDS[name], design, simulations, random)
        tell(len(found.coverage), f"coverage, {name} scores, {patients} patients")
    for patients, (draws, seeds) in itertools.product(LEVEL_PATIENTS, LEVEL_DESIGNS):
        design, random = Design(patients, draws, seeds), np.random.default_rng(next(numbers))
        found.level[*design] = level(WORLDS["easy"], design, simulations, random)
        tell(len(found.coverage) + len(found.level), f"level, {patients} patients")
    for patients in PATIENTS:
        found.beside[patients] = beside(WORLDS["easy"], patients, simulations, np.random.default_rng(next(numbers)))
        tell(len(found.coverage) + len(found.level) + len(found.beside), f"one run beside several, {patients} patients")
    for factor in FACTORS:
        found.unequal[factor] = unequal(factor, simulations, np.random.default_rng(next(numbers)))
        tell(cells() - len(FACTORS) + len(found.unequal), f"runs that vary {factor} times as much")
    return found


# ----------------------------------------------------------------------------------------------------------------------
# Drawn


def tables(found: Study) -> dict[str, str]:
    """The study as Markdown tables by name; percents. Coverage outside 93 to 97 and levels above 6.5 are bold."""
    designs = [f"{draws} × {seeds}" for draws, seeds in DESIGNS]
    covered = []
    for world, patients in itertools.product(WORLDS, PATIENTS):
        cells = [found.coverage[world, patients, *design] for design in DESIGNS]
        covered.append([world, patients, *(f"{_covered(cell.score)} / {_covered(cell.difference)}" for cell in cells)])
    one_draw = [design for design in DESIGNS if design[0] == 1]
    new = [
        [
            patients,
            *(f"{100 * share:.0f}" for design in one_draw for share in found.coverage["easy", patients, *design][2:]),
            f"{100 * found.beside[patients]:.0f}",
        ]
        for patients in PATIENTS
    ]
    wrong = [
        [patients, f"{draws} × {seeds}", *(_wrong(share) for share in cell)]
        for (patients, draws, seeds), cell in found.level.items()
    ]
    return {
        "worlds": _table(
            [
                "scores",
                "mean",
                "deviation",
                "skewness",
                "correlation in a patient",
                "runs vary by",
                "differences vary by",
            ],
            [[name, *describe(world)] for name, world in WORLDS.items()],
        ),
        "coverage": _table(["scores", "patients", *designs], covered),
        "new runs": _table(
            [
                "patients",
                *(f"{d} × {s}, {what}" for d, s in one_draw for what in ("score", "difference")),
                f"1 × 1 beside {BESIDE} × 1, difference",
            ],
            new,
        ),
        "level": _table(
            ["patients", "draws × seeds", "one test", "Holm", "against the winner", "tie group", "one test, new runs"],
            wrong,
        ),
        "unequal": _table(
            ["runs of one method vary", *(f"{factor:g} ×" for factor in found.unequal)],
            [["Holm", *map(_wrong, found.unequal.values())]],
        ),
        "simulations": f"{found.simulations} simulated data sets a cell; the standard error of a 95 % cell is "
        f"{100 * np.sqrt(0.95 * 0.05 / found.simulations):.1f}.",
    }


def describe(world: World) -> list[str]:
    """Mean, deviation, skewness of images' scores, correlation in a patient; deviations of a run's mean in points."""
    random = np.random.default_rng(0)
    scores = simulate(world, Design(200, 1, 1), np.zeros(2), 300, random)
    values = scores.values[:, 0]
    starts = np.flatnonzero(np.diff(scores.patients, append=-1) == 0)  # an image whose patient has another one next
    together = np.corrcoef(values[starts].ravel(), values[starts + 1].ravel())[0, 1]
    run, difference = 100 * scores.true[0].std(), 100 * (scores.true[0] - scores.true[1]).std()
    numbers = (values.mean(), values.std(), skew(values, axis=None), together)
    return [*(f"{number:.2f}" for number in numbers), f"{run:.1f}", f"{difference:.1f}"]


def _covered(share: float) -> str:
    text = f"{100 * share:.1f}"
    return text if 93 <= float(text) <= 97 else f"**{text}**"


def _wrong(share: float) -> str:
    if np.isnan(share):
        return "–"
    return f"{100 * share:.1f}" if share <= 0.065 else f"**{100 * share:.1f}**"


def _table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    rule = ["--:" if any(map(str.isdigit, str(cell))) else ":--" for cell in lines[0]]  # names to the left
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (head, rule, *lines))


def draw(blocks: dict[str, str], page: Path) -> None:
    """Writes each block between `<!-- its name -->` and `<!-- end -->` on the page."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        start, mark = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(start)
        if not found or mark not in rest:
            raise ValueError(f"{page} has no place for '{name}'; add the lines {start.strip()} and {mark}.")
        text = before + found + block + "\n" + mark + rest.partition(mark)[2]
    write_whole(page, lambda temporary: temporary.write_text(text, encoding="utf-8"))
