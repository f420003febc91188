"""`bench pilot`: which setting of a comparison can answer, before any method that uses unlabelled images is run."""

import functools
from collections.abc import Sequence
from pathlib import Path

import click

from benchmark import records
from benchmark.cli.errors import writable
from benchmark.cli.executors import Who, follow, who_options
from benchmark.cli.numbers import FIELDS, Number
from benchmark.cli.options import DATASET, RECIPE, RECIPE_HELP, listed, open_store, run_options
from benchmark.files import write_text
from benchmark.names import choose
from benchmark.protocol import suites
from benchmark.runs import Run
from benchmark.words import some

REPEATS = Number(int, 1, 20, example=3)
MINUTES = Number(float, 0, above=True, example=120)


@click.command(
    epilog="""\b
Examples:
  bench pilot ebhi-seg --task grade --plan
  bench pilot ebhi-seg --task epithelium --ratios 0.005,0.01 --steps 1200,2400 --scales 1,0.5 --crop 96
  bench pilot mine --ratios 0.1 --steps 400,800 --repeats 3 --budget-minutes 120"""
)
@click.argument("dataset", type=DATASET)
@click.option("--ratios", multiple=True, metavar="LIST", callback=listed(FIELDS["ratio"]), default=("0.01,0.05",),
              show_default=True, help="Labelled fractions.")  # fmt: skip
@click.option("--steps", multiple=True, metavar="LIST", callback=listed(FIELDS["steps"]), default=("400,1200",),
              show_default=True, help="Optimiser steps.")  # fmt: skip
@click.option("--scales", multiple=True, metavar="LIST", callback=listed(FIELDS["scale"]), default=("1,0.5",),
              show_default=True, help="Resolutions, as shares of the height and width.")  # fmt: skip
@click.option("--repeats", type=REPEATS, default=1, show_default=True, help="Draws and seeds of each: 0, 1, 2 …")
@click.option("--budget-minutes", "budget", type=MINUTES, help="Leave out settings that would take longer.")
@run_options("variant", "views", "dataset", "ratio", "draw", "seed", "steps", "scale", "mpp")
@click.option("--recipe", type=RECIPE, default="quick", show_default=True, envvar="BENCH_RECIPE", help=RECIPE_HELP)
@functools.partial(who_options, plan="--plan")
def pilot(
    dataset, ratios, steps, scales, repeats, budget, recipe, workers, threads, device, on, partition, minutes, gpus,
    flags, dry_run, results: Path, data: Path, **fields,
) -> None:  # fmt: skip
    """Trains supervised with few and with all labels at several settings, and proposes the cheapest that can answer.

    A comparison can tell what unlabelled images are worth only where all labels are better than few (the headroom), and
    where training is long enough for the upper bound to have levelled off: half as many steps again change it by less
    than a quarter of the headroom. The runs are ordinary ones: their records lie in RESULTS/runs, and a comparison with
    that setting uses them. Choose the setting before any other method is run on the dataset.
    """
    from benchmark.analysis import pilot as pilots

    who = Who.of(on, device, workers, threads, partition, minutes, gpus, flags)
    given = {name: value for name, value in fields.items() if value is not None}
    shared = {**suites.RECIPES[choose(recipe, list(suites.RECIPES), "recipe")], **given}
    base = Run(**{**shared, "method": suites.BASELINE, "dataset": dataset})
    results, data = results.resolve(), data.resolve()
    writable(results)
    store = open_store(dataset, data)
    from benchmark.datasets import store as stores
    from benchmark.sweep import plan, task

    largest = {scale: stores.largest_crop(store, base.split, scale) for scale in scales}
    settings = pilots.grid(ratios, steps, scales, base.crop, largest)
    parts = {setting: setting.runs(base, repeats) for setting in settings}
    opened = {dataset: store}
    planned = plan.plan([run for of in parts.values() for part in of.values() for run in part], opened, results)
    who, planned = who.settled(planned, opened, results)
    at = {_place(one.run): one for one in planned}
    of_setting = {
        setting: {part: [at[_place(run)] for run in of_part] for part, of_part in of.items()}
        for setting, of in parts.items()
    }
    within = _affordable(of_setting, budget, who.workers)
    _print_plan(of_setting, within, who)
    if not dry_run:
        left = _unique(of_setting[setting] for setting in within)
        if any(one.state != task.DONE for one in left):
            endings = follow(left, who.executor(results, data), results, who.workers)
            if failed := endings["failed"]:
                raise click.ClickException(
                    f"{some(failed, 'run')} failed; {results / 'failed'} says why. The same command tries again."
                )
    _print_outcome(of_setting, [setting for setting in settings if setting not in within], results, base, given)


def _place(run: Run) -> tuple:
    """The fields in which the runs of a pilot differ."""
    return run.ratio, run.steps, run.scale, run.crop, run.draw


def _unique(parts: Sequence[dict[str, list]]) -> list:
    """The runs of settings, in their order, each once."""
    return list({one.key: one for of in parts for part in of.values() for one in part}.values())


def _affordable(of_setting: dict, budget: float | None, workers: int) -> list:
    """The settings that fit into the budget (minutes), the cheapest first; all of them without a budget."""
    from benchmark.sweep import task

    if budget is None:
        return list(of_setting)
    known: set[str] = set()
    within, spent = [], 0.0
    for setting, parts in of_setting.items():
        new = [one for one in _unique([parts]) if one.key not in known and one.state != task.DONE]
        if any(one.seconds is None for one in new):
            raise ValueError("The time of these runs is unknown, so --budget-minutes cannot be applied; leave it out.")
        seconds = sum(one.seconds for one in new) / workers
        if spent + seconds <= 60 * budget:
            within, spent = [*within, setting], spent + seconds
            known |= {one.key for one in new}
    return within


def _print_plan(of_setting: dict, within: list, who: Who) -> None:
    """Every setting with its runs, how many are done, and how long the others take."""
    from rich.console import Console
    from rich.table import Table

    from benchmark.cli.executors import takes
    from benchmark.sweep import live, task

    table = Table(title="Settings of the pilot; runs with few labels, all labels, all labels and longer")
    for column in ("setting", "runs", "done", "time", "in the budget"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for setting, parts in of_setting.items():
        group = _unique([parts])
        left = [one.seconds for one in group if one.state != task.DONE]
        time = "–" if not left else "unknown" if None in left else live.duration(sum(left))
        done = str(len(group) - len(left))
        table.add_row(str(setting), str(len(group)), done, time, "yes" if setting in within else "no")
    console = Console()
    console.print(table)
    left = [one for one in _unique(of_setting[setting] for setting in within) if one.state != task.DONE]
    if left:
        said = f"{some(len(left), 'run')} left (settings share runs), {takes(left, who.workers)}, {who.sentence}."
        console.print(said, highlight=False)


def _print_outcome(of_setting: dict, beyond: list, results: Path, base: Run, given: dict) -> None:
    """Headroom against cost of every setting whose runs are done, the proposal, and where the table is."""
    from benchmark.analysis import pilot as pilots
    from benchmark.report import folder
    from benchmark.report.tables import pilot as report
    from benchmark.report.tables.table import rendered

    found = {}
    for setting, parts in of_setting.items():
        read = {part: [records.find(results, one.key) for one in of_part] for part, of_part in parts.items()}
        if all(record for of_part in read.values() for record in of_part):
            found[setting] = read
    table = report.table(found, [setting for setting in beyond if setting not in found])
    if table is None:
        return
    _print_table(table)
    name = folder.slug(" ".join(filter(None, (base.dataset, given.get("task", "")))))
    for ending, text in rendered(table).items():
        path = results / "tables" / report.NAME / f"{name}.{ending}"
        write_text(path, text)
        click.echo(f"Table    {path}")
    best = pilots.proposed(pilots.outcomes(found))
    if best:
        click.echo(f"Next     {_command(best.setting, base, given)}")


SHOWN = {
    "Setting": "setting",
    "Headroom": "headroom",
    "Seconds": "s a run",
    "TFLOPs": "TFLOPs",
    "Can answer": "can answer",
}


def _print_table(table) -> None:
    """The columns on which the choice rests, and all notes; the files have the others."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    printed = Table(title=table.title, title_justify="left")
    places = [place for place, column in enumerate(table.columns) if column.name in SHOWN]
    for place in places:
        column = table.columns[place]
        justify = "left" if column.kind == "text" else "right"
        printed.add_column(SHOWN[column.name], justify=justify, no_wrap=bool(place))
    for line in table.lines:
        printed.add_row(*(Text(line.cells[place].text) for place in places))
    console = Console()
    console.print(printed)
    for note in table.notes:
        console.print(note, highlight=False)


def _command(setting, base: Run, given: dict) -> str:
    """The comparison at this setting."""
    fields = {**given, "steps": setting.steps, "crop": setting.crop, "scale": setting.scale}
    words = [f"--{name.replace('_', '-')} {value}" for name, value in fields.items()]
    return " ".join(["bench sweep main --dataset", base.dataset, f"--ratios {setting.ratio:g}", *words])
