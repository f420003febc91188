"""`bench pilot`: finds a setting in which a comparison can answer, before any semi-supervised method is run."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from benchmark import run_records
from benchmark.cli.errors import writable
from benchmark.cli.executors import Execution, execution_options, follow, takes
from benchmark.cli.numbers import FIELDS, Number
from benchmark.cli.options import DATASET, Setup, group, open_store, run_options
from benchmark.cli.types import List, joined
from benchmark.files import write_text
from benchmark.protocol import suites
from benchmark.runs import Run
from benchmark.words import slug, some

if TYPE_CHECKING:
    from benchmark.analysis.pilot import Setting
    from benchmark.sweep.plan import Planned

    Parts = dict[str, list[Planned]]  # "few", "all" and "longer" -> their runs

REPEATS = Number(int, 1, 20, example=3)
MINUTES = Number(float, 0, above=True, example=120)


@dataclass(frozen=True)
class Grid:
    """The settings that a pilot tries."""

    ratios: tuple[float, ...]
    steps: tuple[int, ...]
    scales: tuple[float, ...]
    repeats: int
    budget: float | None  # minutes


def _list_option(name: str, field: str, default: str, text: str):
    return cloup.option(
        f"--{name}", multiple=True, type=List(FIELDS[field]), callback=joined, default=(default,), help=text,
        show_default=True,
    )  # fmt: skip


grid_options = group(
    "Settings to try", "grid", Grid,
    _list_option("ratios", "ratio", "0.01,0.05", "Labelled fractions."),
    _list_option("steps", "steps", "400,1200", "Optimiser steps."),
    _list_option("scales", "scale", "1,0.5", "Resolutions, as fractions of height and width."),
    cloup.option("--repeats", type=REPEATS, default=1, show_default=True, help="Draws and seeds of each: 0, 1, 2 …"),
    cloup.option("--budget-minutes", "budget", type=MINUTES, help="Leave out settings that would take longer."),
)  # fmt: skip


@cloup.command(
    epilog="""\b
Examples:
  bench pilot ebhi-seg --task grade --plan
  bench pilot ebhi-seg --task epithelium --ratios 0.005,0.01 --steps 1200,2400 --scales 1,0.5 --crop 96
  bench pilot mine --ratios 0.1 --steps 400,800 --repeats 3 --budget-minutes 120"""
)
@cloup.argument("dataset", type=DATASET)
@grid_options
@run_options("variant", "views", "dataset", "ratio", "draw", "seed", "steps", "scale", "mpp")
@functools.partial(execution_options, plan="--plan")
def pilot(dataset, grid: Grid, setup: Setup, execution: Execution) -> None:
    """Finds the cheapest setting in which a comparison can answer.

    Trains `supervised` with few and with all labels at several settings. A comparison can show the effect of unlabelled
    images only where all labels are better than few (the headroom), and where the upper bound no longer rises: half as
    many steps again change it by less than a quarter of the headroom. The run records are in RESULTS/runs, and a
    comparison with that setting uses them. Choose the setting before any other method is run on the dataset.
    """
    from benchmark.analysis import pilot as pilots

    base = setup.run(method=suites.BASELINE, dataset=dataset)
    results = execution.results
    writable(results)
    store = open_store(dataset, execution.data)
    from benchmark.datasets import store as stores
    from benchmark.sweep import plan, task

    largest = {scale: stores.largest_crop(store, base.split, scale) for scale in grid.scales}
    settings = pilots.grid(grid.ratios, grid.steps, grid.scales, base.crop, largest)
    runs = {setting: setting.runs(base, grid.repeats) for setting in settings}
    opened = {dataset: store}
    planned = plan.plan([run for parts in runs.values() for part in parts.values() for run in part], opened, results)
    execution, planned = execution.settled(planned, opened, results)
    at = {_place(planned_run.run): planned_run for planned_run in planned}
    of_setting = {
        setting: {part: [at[_place(run)] for run in of_part] for part, of_part in parts.items()}
        for setting, parts in runs.items()
    }
    within = _affordable(of_setting, grid.budget, execution.workers)
    _print_plan(of_setting, within, execution)
    if not execution.dry_run:
        chosen = _unique(of_setting[setting] for setting in within)
        if any(planned_run.state != task.DONE for planned_run in chosen):
            endings = follow(chosen, execution.executor(results), results, execution.workers)
            if failed := endings["failed"]:
                raise click.ClickException(
                    f"{some(failed, 'run')} failed; {results / 'failed'} has the errors. The same command tries again."
                )
    outcomes, table = _outcomes(of_setting, within, results)
    if table is not None:
        _print_outcomes(table, outcomes, base, setup.fields, results)


def _place(run: Run) -> tuple:
    """The fields in which the runs of a pilot differ."""
    return run.ratio, run.steps, run.scale, run.crop, run.draw


def _unique(of_settings: Iterable["Parts"]) -> list["Planned"]:
    """The runs of settings, in their order, each once."""
    runs = [planned_run for parts in of_settings for part in parts.values() for planned_run in part]
    return list({planned_run.key: planned_run for planned_run in runs}.values())


def _affordable(of_setting: dict["Setting", "Parts"], budget: float | None, workers: int) -> list["Setting"]:
    """The settings that fit into the budget (minutes), the cheapest first; all of them without a budget."""
    from benchmark.sweep import task

    if budget is None:
        return list(of_setting)
    known: set[str] = set()
    within, spent = [], 0.0
    for setting, parts in of_setting.items():
        new = [run for run in _unique([parts]) if run.key not in known and run.state != task.DONE]
        if any(run.seconds is None for run in new):
            raise ValueError("The time of these runs is unknown, so --budget-minutes cannot be applied; leave it out.")
        seconds = sum(run.seconds for run in new) / workers
        if spent + seconds <= 60 * budget:
            within, spent = [*within, setting], spent + seconds
            known |= {run.key for run in new}
    return within


def _print_plan(of_setting: dict["Setting", "Parts"], within: list["Setting"], execution: Execution) -> None:
    """Prints every setting with its runs, how many are done, and the estimated time of the others."""
    from rich.console import Console
    from rich.table import Table

    from benchmark.sweep import live, task

    table = Table(title="Settings of the pilot; runs with few labels, all labels, all labels and longer")
    for column in ("setting", "runs", "done", "time", "in the budget"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for setting, parts in of_setting.items():
        runs = _unique([parts])
        left = [run.seconds for run in runs if run.state != task.DONE]
        time = "–" if not left else "unknown" if None in left else live.duration(sum(left))
        done = str(len(runs) - len(left))
        table.add_row(str(setting), str(len(runs)), done, time, "yes" if setting in within else "no")
    console = Console()
    console.print(table)
    left = [run for run in _unique(of_setting[setting] for setting in within) if run.state != task.DONE]
    if left:
        time = takes(left, execution.workers)
        line = f"{some(len(left), 'run')} left (settings share runs), {time}, {execution.sentence}."
        console.print(line, highlight=False)


def _outcomes(of_setting: dict["Setting", "Parts"], within: list["Setting"], results: Path) -> tuple[dict, Any]:
    """The run records of the settings with all runs done, and their table; None if there are none."""
    from benchmark.report.tables import pilot as report

    finished = {}
    for setting, parts in of_setting.items():
        read = {part: [run_records.find(results, run.key) for run in of_part] for part, of_part in parts.items()}
        if all(record for of_part in read.values() for record in of_part):
            finished[setting] = read
    beyond = [setting for setting in of_setting if setting not in within and setting not in finished]
    return finished, report.table(finished, beyond)


def _print_outcomes(table: Any, finished: dict, base: Run, given: dict[str, Any], results: Path) -> None:
    """Prints and writes the table of headroom against cost, and prints the command for the proposed setting."""
    from benchmark.analysis import pilot as pilots
    from benchmark.report.tables import pilot as report
    from benchmark.report.tables.formats import rendered

    _print_table(table)
    name = slug(" ".join(filter(None, (base.dataset, given.get("task", "")))))
    for ending, text in rendered(table).items():
        path = results / "tables" / report.NAME / f"{name}.{ending}"
        write_text(path, text)
        click.echo(f"Table    {path}")
    best = pilots.proposed(pilots.outcomes(finished))
    if best:
        click.echo(f"Next     {_command(best.setting, base, given)}")


SHOWN = {
    "Setting": "setting",
    "Headroom": "headroom",
    "Seconds": "s a run",
    "TFLOPs": "TFLOPs",
    "Can answer": "can answer",
}


def _print_table(table: Any) -> None:
    """Prints the columns that matter for the choice, and all notes; the files have the other columns."""
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


def _command(setting: "Setting", base: Run, given: dict[str, Any]) -> str:
    """The command that runs the comparison at this setting."""
    fields = {**given, "steps": setting.steps, "crop": setting.crop, "scale": setting.scale}
    words = [f"--{name.replace('_', '-')} {value}" for name, value in fields.items()]
    return " ".join(["bench sweep main --dataset", base.dataset, f"--ratios {setting.ratio:g}", *words])
