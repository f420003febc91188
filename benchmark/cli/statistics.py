"""`bench plan` and `bench simulate`."""

import click

from benchmark import progress
from benchmark.cli import show
from benchmark.cli.numbers import RATIO, SEED, Number
from benchmark.cli.options import METRIC, RegularFile, results_option
from benchmark.names import choose


@click.command(
    epilog="""\b
Examples:
  bench plan --detect 1.0                            one point of Dice, in every comparison with enough runs
  bench plan --detect 0.5 --dataset ebhi-seg --ratio 0.1
  bench plan --detect 1.0 --results elsewhere/results"""
)
@click.option(
    "--detect", type=Number(float, 0, 100, above=True, example=1), required=True,
    help="The difference to find, in points.",
)  # fmt: skip
@click.option("--dataset", help="Only comparisons on this dataset.  [default: all]")
@click.option("--ratio", type=RATIO, help="Label ratio.  [default: the one with most methods]")
@click.option("--metric", type=METRIC, default="dice", show_default=True, help="Any score in points of 100.")
@results_option
def plan(detect, dataset, ratio, metric, results) -> None:
    """Says how many draws and seeds a difference between two methods needs.

    The spread of patients, draws and seeds is that of the rows at hand; the test patients stay as they are. A
    difference is found when its paired test is significant at 5 %, two-sided; wanted is a chance of 80 %.
    """
    from benchmark.analysis import board, power, run_table
    from benchmark.protocol import scores

    choose(metric, [score.name for score in scores.SCORES.values() if score.unit == scores.POINTS], "metric")
    rows = [row for row in run_table.load(results) if dataset in (None, row.run.dataset)]
    if not rows:
        raise ValueError(f"There are no rows{f' of {dataset}' if dataset else ''} in {results}; run some first.")
    planned = False
    for name, group in run_table.comparisons(rows).items():
        at, pairs = power.pairs(board.Board(group), ratio, metric)
        if not pairs or power.design(pairs[0]) == (1, 1):
            click.echo(
                f"{name}: no two methods share two runs at one ratio; run two with --seeds 2 or, where less than all "
                "labels are used, --draws 2.\n"
            )
            continue
        spread = power.components(pairs)
        _print_plan(f"{name}, ratio {at:g}", pairs, spread, power.plan(spread, detect / 100), detect)
        planned = True
    if not planned:
        raise ValueError("Nothing can be planned from these rows; the lines above say what is missing.")


def _print_plan(name: str, pairs: list, spread, found, detect: float) -> None:
    from rich import box
    from rich.table import Table

    from benchmark.analysis import power

    draws, seeds = power.design(pairs[0])
    patients = len(set(pairs[0].patients))
    click.echo(f"{name}: {spread.methods} methods, {draws} × {seeds} draws × seeds, {patients} test patients")
    deviations = {part: 100 * getattr(spread, part) ** 0.5 for part in ("patients", "draws", "seeds")}
    said = [f"{part} {deviation:.2f}" for part, deviation in deviations.items() if deviation == deviation]
    click.echo(f"Standard deviation of a difference, in points: {', '.join(said)}")
    if draws == 1:
        click.echo("One draw tells nothing about other draws, so this is a plan for seeds on these labelled images.")
    elif seeds == 1:
        click.echo("With one seed in each draw, what seeds vary is part of what draws vary.")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (
        "draws",
        "seeds in each",
        "runs of a method",
        f"chance to find {detect:g}",
        "smallest found with 80 %",
    ):
        table.add_column(column, justify="right")
    for line in found.lines:
        table.add_row(
            str(line.draws), str(line.seeds), str(line.draws * line.seeds), f"{100 * line.power:.0f} %",
            f"{100 * line.detectable:.2f}",
        )  # fmt: skip
    show.console(width=100).print(table)
    if found.fewest:
        few = found.fewest
        runs = f"{few.seeds} seeds" if draws == 1 else f"{few.draws} draws of one seed"
        click.echo(f"Fewest runs: {runs} for each method ({100 * few.power:.0f} %).\n")
    elif detect / 100 > found.limit:
        click.echo(f"More than {power.MOST} runs of each method would be needed.\n")
    else:
        click.echo(
            f"No number of runs suffices: on these {patients} patients, differences below {100 * found.limit:.2f} "
            "points stay hidden however many runs there are. Only more test patients help.\n"
        )


@click.command(
    epilog="""\b
Examples:
  bench simulate                                     prints the tables
  bench simulate --out docs/statistics.md            and writes them into this page, between its marks"""
)
@click.option(
    "--simulations",
    type=Number(int, 20, 1_000_000, example=2000),
    help="Data sets for each cell.  [default: as in the docs]",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the random numbers.")
@click.option("--out", type=RegularFile(), help="A page to write into.")
def simulate(simulations, seed, out) -> None:
    """Checks by simulation how often intervals cover, and how often tests find what is there and what is not.

    The power of the suite `main` is that of as many differences to supervised as it has.
    """
    from benchmark.analysis.simulation import study
    from benchmark.protocol import suites

    tests = len({
        (run.method, run.dataset, run.task, run.ratio)
        for run in suites.planned(suites.SUITES["main"])
        if run.ratio < 1 and run.method != suites.BASELINE and not run.variant
    })  # fmt: skip
    with progress.watching("Simulating", len(study.cells())) as tell:
        found = study.study(simulations or study.SIMULATIONS, seed, tests, tell)
    blocks = study.tables(found)
    if out is None:
        click.echo("\n\n".join(blocks.values()))
        return
    study.write(blocks, out)
    click.echo(f"Written into {out}")
