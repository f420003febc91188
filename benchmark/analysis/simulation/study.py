"""The study of `bench simulate`, and the tables that it writes into docs/statistics.md."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import skew

from benchmark.analysis.simulation.checks import (
    BESIDE,
    Coverage,
    Gaps,
    Level,
    beside,
    coverage,
    gaps,
    level,
    power,
    unequal,
)
from benchmark.analysis.simulation.worlds import WORLDS, Design, World, simulate
from benchmark.files import write_text
from benchmark.progress import silent

SIMULATIONS = 1000
PATIENTS = (10, 20, 50, 100)
REPEATS = (1, 3, 5)  # a repeat is a draw with a seed of its own
SEVERAL = (3, 5)
LEVEL_WORLDS = ("easy", "collapses")
GAP_WORLDS = ("easy", "uneven")
TESTS = 100  # differences to supervised that are published together
FACTORS = (1, 2, 4, 8)
POINTS = (0.5, 1.0, 2.0, 3.0, 5.0)  # differences that are to be found


class Study(NamedTuple):
    """All cells: by world, patients and repeats; `beside` by patients, `unequal` by factor.

    `unequal` is by how many times as much the runs of one method vary; `power` has a share for each of POINTS, with p
    adjusted over `tests` differences.
    """

    simulations: int
    tests: int
    coverage: dict[tuple[str, int, int], Coverage]
    level: dict[tuple[str, int, int], Level]
    gaps: dict[tuple[str, int, int], Gaps]
    power: dict[tuple[int, int], tuple[float, ...]]
    beside: dict[int, float]
    unequal: dict[float, float]


class Cell(NamedTuple):
    """A cell of a study: where it goes, what it is called, and how it is computed from a number of simulations."""

    part: str
    key: object
    name: str
    compute: Callable[[int, np.random.Generator], object]


def study(
    simulations: int = SIMULATIONS, seed: int = 0, tests: int = TESTS, tell: Callable[[int, str], None] = silent
) -> Study:
    """Every cell has its own random numbers from `seed`. Cells of gaps, which take longest, have a fifth as many."""
    found = Study(simulations, tests, {}, {}, {}, {}, {}, {})
    todo = cells(tests)
    for done, (cell, number) in enumerate(zip(todo, np.random.SeedSequence(seed).spawn(len(todo)), strict=True), 1):
        several = max(4, simulations // 5) if cell.part == "gaps" else simulations
        getattr(found, cell.part)[cell.key] = cell.compute(several, np.random.default_rng(number))
        tell(done, cell.name)
    return found


def cells(tests: int = TESTS) -> list[Cell]:
    """All cells of the study, in their order."""

    def of(part: str, compute: Callable, worlds: Sequence[str], repeats: Sequence[int]) -> list[Cell]:
        places = itertools.product(worlds, PATIENTS, repeats)
        return [
            Cell(part, (name, patients, r), f"{part}, {name} scores, {patients} patients", partial(
                compute, WORLDS[name], Design(patients, r, 1)
            ))
            for name, patients, r in places
        ]  # fmt: skip

    easy = WORLDS["easy"]
    planned = [
        Cell("power", (patients, r), f"power, {patients} patients",
             partial(power, easy, Design(patients, r, 1), POINTS, tests))
        for patients, r in itertools.product(PATIENTS, SEVERAL)
    ]  # fmt: skip
    return [
        *of("coverage", coverage, list(WORLDS), REPEATS),
        *of("level", level, LEVEL_WORLDS, REPEATS),
        *of("gaps", gaps, GAP_WORLDS, SEVERAL),
        *planned,
        *(Cell("beside", p, f"one run beside several, {p} patients", partial(beside, easy, p)) for p in PATIENTS),
        *(Cell("unequal", f, f"runs that vary {f} times as much", partial(unequal, f)) for f in FACTORS),
    ]


# ----------------------------------------------------------------------------------------------------------------------
# As tables


def tables(found: Study) -> dict[str, str]:
    """The study as Markdown tables by name; percents. Coverage outside 93 to 97 and levels above 6.5 are bold."""
    covered = [
        [world, patients, *(f"{_covered(cell.score)} / {_covered(cell.difference)}" for cell in of)]
        for world, patients in itertools.product(WORLDS, PATIENTS)
        if (of := [found.coverage[world, patients, r] for r in REPEATS])
    ]
    new = [
        [
            patients,
            *(f"{100 * share:.0f}" for share in (*found.coverage["easy", patients, 1][2:], found.beside[patients])),
        ]
        for patients in PATIENTS
    ]
    return {
        "worlds": _table(
            ["scores", "mean", "deviation", "skewness", "correlation in a patient", "runs vary by",
             "differences vary by"],
            [[name, *describe(world)] for name, world in WORLDS.items()],
        ),
        "coverage": _table(["scores", "patients", *map(_repeats, REPEATS)], covered),
        "new runs": _table(
            ["patients", "one run, score", "one run, difference", f"one run beside {BESIDE} of others, difference"], new
        ),
        "level": _table(
            ["scores", "patients", "repeats", "one test", "Holm", "against the winner", "tie group",
             "one test, new runs"],
            [[*place, *map(_wrong, cell)] for place, cell in found.level.items()],
        ),
        "gaps": _table(
            ["scores", "patients", "repeats", "headroom found", "headroom covered", "gap closed covered"],
            [[*place, f"{100 * one.open:.0f}", _covered(one.headroom), _covered(one.share)]
             for place, one in found.gaps.items()],
        ),
        "power": _table(
            ["patients", "repeats", *(f"{points:g}" for points in POINTS)],
            [[*place, *(f"{100 * share:.0f}" for share in shares)] for place, shares in found.power.items()],
        ),
        "tests": f"p is adjusted over {found.tests} differences to supervised.",
        "unequal": _table(
            ["runs of one method vary", *(f"{factor:g} ×" for factor in found.unequal)],
            [["Holm", *map(_wrong, found.unequal.values())]],
        ),
        "simulations": f"{found.simulations} simulated data sets a cell; the standard error of a 95 % cell is "
        f"{100 * np.sqrt(0.95 * 0.05 / found.simulations):.1f}.",
    }  # fmt: skip


def _repeats(repeats: int) -> str:
    return f"{repeats} repeat{'s' * (repeats != 1)}"


def describe(world: World) -> list[str]:
    """Mean, deviation, skewness of images' scores, correlation in a patient; deviations of a run's mean in points."""
    random = np.random.default_rng(0)
    scores = simulate(world, Design(200, 1, 1), np.zeros(2), 300, random)
    values = scores.values[:, 0]
    starts = np.flatnonzero(np.diff(scores.patients, append=-1) == 0)  # the next image is of another patient
    together = np.corrcoef(values[starts].ravel(), values[starts + 1].ravel())[0, 1]
    run, difference = 100 * scores.true[0].std(), 100 * (scores.true[0] - scores.true[1]).std()
    numbers = (values.mean(), values.std(), skew(values.ravel()), together)
    return [*(f"{number:.2f}" for number in numbers), f"{run:.1f}", f"{difference:.1f}"]


def _covered(share: float) -> str:
    if np.isnan(share):
        return "–"
    text = f"{100 * share:.1f}"
    return text if 93 <= float(text) <= 97 else f"**{text}**"


def _wrong(share: float) -> str:
    if np.isnan(share):
        return "–"
    return f"{100 * share:.1f}" if share <= 0.065 else f"**{100 * share:.1f}**"


def _table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    rule = ["--:" if any(map(str.isdigit, str(cell))) else ":--" for cell in lines[0]]  # names to the left
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (head, rule, *lines))


def write(blocks: dict[str, str], page: Path) -> None:
    """Writes each block between `<!-- its name -->` and `<!-- end -->` on the page."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        start, mark = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(start)
        if not found or mark not in rest:
            raise ValueError(f"{page} has no place for '{name}'; add the lines {start.strip()} and {mark}.")
        text = before + found + block + "\n" + mark + rest.partition(mark)[2]
    write_text(page, text)
