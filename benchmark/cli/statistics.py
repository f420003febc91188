"""`bench plan` and `bench simulate`: how many runs a difference needs, and how well the statistics work."""

import click
import cloup

from benchmark import progress
from benchmark.cli import show
from benchmark.cli.numbers import RATIO, SEED, Number
from benchmark.cli.options import DATASET, METRIC, results_option
from benchmark.cli.types import RegularFile
from benchmark.names import choose


@cloup.command(
    epilog="""\b
Examples:
  bench plan --detect 1.0                            one point of Dice, in every comparison with enough runs
  bench plan --detect 0.5 --dataset ebhi-seg --ratio 0.1
  bench plan --detect 1.0 --results elsewhere/results"""
)
@cloup.option(
    "--detect", type=Number(float, 0, 100, above=True, example=1), required=True,
    help="The difference to find, in points of 100.",
)  # fmt: skip
@cloup.option("--dataset", type=DATASET, help="Only comparisons on this dataset.  [default: all]")
@cloup.option("--ratio", type=RATIO, help="Labelled fraction.  [default: that with most methods]")
@cloup.option("--metric", type=METRIC, default="dice", show_default=True, help="Any score in points of 100.")
@results_option
def plan(detect, dataset, ratio, metric, results) -> None:
    """Computes how many draws and seeds a difference needs.

    The spread over patients, draws and seeds is estimated from the run records; the test patients are fixed. A
    difference is found if its paired test is significant at 5 %, two-sided; the target is a power of 80 %.
    """
    from benchmark.analysis import comparison, power, run_table
    from benchmark.protocol import scores

    choose(metric, [score.name for score in scores.SCORES.values() if score.unit == scores.POINTS], "metric")
    records = [record for record in run_table.load(results) if dataset in (None, record.run.dataset)]
    if not records:
        raise ValueError(
            f"There are no run records{f' of {dataset}' if dataset else ''} in {results}; train some runs first."
        )
    planned = False
    for name, group in run_table.comparisons(records).items():
        at, pairs = power.pairs(comparison.Comparison(group), ratio, metric)
        if not pairs or power.design(pairs[0]) == (1, 1):
            click.echo(
                f"{name}: no two methods have two runs in common at one labelled fraction; run two methods with "
                "--seeds 2 or, below all labels, --draws 2.\n"
            )
            continue
        spread = power.components(pairs)
        _print_plan(f"{name}, ratio {at:g}", pairs, spread, power.plan(spread, detect / 100), detect)
        planned = True
    if not planned:
        raise ValueError("Nothing can be planned from these run records; the lines above say what is missing.")


def _print_plan(name: str, pairs: list, spread: "Components", plan: "Plan", detect: float) -> None:
    from rich import box
    from rich.table import Table

    from benchmark.analysis import power

    draws, seeds = power.design(pairs[0])
    patients = len(set(pairs[0].patients))
    click.echo(f"{name}: {spread.methods} methods, {draws} × {seeds} draws × seeds, {patients} test patients")
    deviations = {part: 100 * getattr(spread, part) ** 0.5 for part in ("patients", "draws", "seeds")}
    parts = [f"{part} {deviation:.2f}" for part, deviation in deviations.items() if deviation == deviation]
    click.echo(f"Standard deviation of a difference, in points: {', '.join(parts)}")
    if draws == 1:
        click.echo("One draw shows nothing about other draws, so this is a plan for seeds on these labelled images.")
    elif seeds == 1:
        click.echo("With one seed in each draw, the spread of draws includes that of seeds.")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (
        "draws",
        "seeds in each",
        "runs of a method",
        f"power to find {detect:g}",
        "smallest difference with 80 %",
    ):
        table.add_column(column, justify="right")
    for line in plan.lines:
        table.add_row(
            str(line.draws), str(line.seeds), str(line.draws * line.seeds), f"{100 * line.power:.0f} %",
            f"{100 * line.detectable:.2f}",
        )  # fmt: skip
    show.console(width=100).print(table)
    if plan.fewest:
        few = plan.fewest
        runs = f"{few.seeds} seeds" if draws == 1 else f"{few.draws} draws of one seed"
        click.echo(f"Fewest runs: {runs} for each method ({100 * few.power:.0f} %).\n")
    elif detect / 100 > plan.limit:
        click.echo(f"More than {power.MOST} runs of each method would be needed.\n")
    else:
        click.echo(
            f"No number of runs is enough: on these {patients} patients, differences below {100 * plan.limit:.2f} "
            "points cannot be found with any number of runs. Only more test patients help.\n"
        )


@cloup.command(
    epilog="""\b
Examples:
  bench simulate                                     prints the tables
  bench simulate --out docs/statistics.md            writes them to this page, between its marks"""
)
@cloup.option(
    "--simulations",
    type=Number(int, 20, 1_000_000, example=2000),
    help="Simulated data sets per cell.  [default: as in the docs]",
)
@cloup.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the random numbers.")
@cloup.option("--out", type=RegularFile(), help="A Markdown page in which the tables are replaced.")
def simulate(simulations, seed, out) -> None:
    """Checks intervals and tests by simulation.

    Prints how often intervals contain the true value, and how often tests find a difference that exists or does not.
    The power of the suite `main` is for as many differences from supervised as it has.
    """
    from benchmark.analysis.simulation import study
    from benchmark.protocol import suites

    tests = len({
        (run.method, run.dataset, run.task, run.ratio)
        for run in suites.planned(suites.SUITES["main"])
        if run.ratio < 1 and run.method != suites.BASELINE and not run.variant
    })  # fmt: skip
    with progress.watching("Simulating", len(study.cells())) as tell:
        results = study.study(simulations or study.SIMULATIONS, seed, tests, tell)
    blocks = study.tables(results)
    if out is None:
        click.echo("\n\n".join(blocks.values()))
        return
    study.write(blocks, out)
    click.echo(f"Tables written to {out}")
