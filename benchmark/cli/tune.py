"""`bench tune`: the same number of trials for every method, scored on validation images only."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.executors import Execution, execution_options, follow, takes
from benchmark.cli.numbers import MOST_RUNS, Number
from benchmark.cli.options import SUITE, Setup, open_stores, run_options
from benchmark.cli.sweep import check_size, list_option
from benchmark.protocol import suites
from benchmark.runs import Run
from benchmark.words import some

if TYPE_CHECKING:
    from benchmark.datasets.store import Store
    from benchmark.sweep.plan import Planned


@cloup.command(
    epilog="""\b
Examples:
  bench tune quick --trials 10 && bench sweep quick --tuned
  bench tune main --dataset ebhi-seg --task epithelium --ratios 0.1 --dry-run
  bench tune main --methods cdma,mean_teacher --ratios 0.05 --on slurm --partition gpu --gpus-per-task 1"""
)
@cloup.argument("suite", type=SUITE, default="main")
@cloup.option_group(
    "What is tuned",
    list_option("methods"),
    list_option("ratios"),
    cloup.option("--trials", type=Number(int, 1, MOST_RUNS, example=20), default=20, show_default=True,
                 help="Of each method at each labelled fraction."),
)  # fmt: skip
@run_options("variant", "ratio", "draw", "seed", recipe=None)
@execution_options
def tune(suite, methods, ratios, trials, setup: Setup, execution: Execution) -> None:
    """Finds learning rate and settings of every method of SUITE.

    Every method has the same number of trials. A trial is a run with other settings, the published ones first, scored
    on the validation images, which are never more than the labelled ones; test images are not opened. Trials are in
    RESULTS/tuning and in no table. Ctrl-C stops at once; the same command continues. Afterwards `bench sweep SUITE
    --tuned` and `bench run --tuned`, with the same options, use the best settings at this fraction and larger ones.
    """
    runs = _one_of_each(suites.SUITES[suite], methods, ratios, setup, trials)
    results = execution.results
    writable(results)
    stores = open_stores((run.dataset for run in runs), execution.data)
    from benchmark.sweep import plan, task
    from benchmark.sweep import tune as tuning

    folder = results / tuning.FOLDER
    writable(folder)
    runs = [planned.run for planned in plan.plan(runs, stores, results)]
    for run in runs:
        tuning.check(run, stores[run.dataset])
    before = [outcome for run in runs if (outcome := tuning.outcome(run, trials, folder))]
    left = [run for run in runs if not tuning.outcome(run, trials, folder)]
    timed = folder if task.keys_in(folder, "runs") else results
    execution, estimated = execution.settled([plan.Planned(run, run.key, plan.MISSING) for run in runs], stores, timed)
    _print_plan(suite, estimated, trials, folder, execution)
    if execution.dry_run:
        return
    complete = _execute_trials(left, trials, stores, folder, execution)
    _print_outcomes(before + [tuning.save(run, tuning.trials(run, trials, folder), folder) for run in complete])
    if failed := len(left) - len(complete):
        raise click.ClickException(
            f"Trials of {some(failed, 'method')} failed; {folder / 'failed'} has the errors. The same command tries "
            "them again."
        )
    click.echo(f"Outcomes: {folder}\nTo use them: bench sweep {suite} --tuned, with the same options")


def _one_of_each(
    suite: suites.Suite, methods: tuple[str, ...] | None, ratios: tuple[float, ...] | None, setup: Setup, trials: int
) -> list[Run]:
    """A run of each method at each labelled fraction, with draw 0 and seed 0."""
    fields = {name: value for name, value in setup.fields.items() if name != "dataset"}
    suite = dataclasses.replace(suite, draws=(0,), seeds=(0,), ablated=None, fields=fields)
    lists = {"methods": methods, "recipe": setup.recipe}
    suite = dataclasses.replace(suite, **{name: value for name, value in lists.items() if value})
    suite = suite.at(ratios) if ratios else suite
    if "dataset" in setup.fields:
        suite = suite.on(setup.fields["dataset"])
    check_size(suite, trials)
    return suites.planned(suite)


def _execute_trials(
    left: list[Run], trials: int, stores: Mapping[str, "Store"], folder: Path, execution: Execution
) -> list[Run]:
    """Executes the trials of runs, a few of each at a time; returns the runs without a failed trial."""
    from benchmark.sweep import live, plan, task
    from benchmark.sweep import tune as tuning

    while left:
        known = [tuning.trials(run, trials, folder) for run in left]
        planned = plan.plan([trial for of_run in known for trial in of_run], stores, folder)
        if all(planned_run.state == task.DONE for planned_run in planned):
            break
        click.echo(f"Up to trial {max(map(len, known))} of {trials} of each method:", err=True)
        follow(planned, execution.executor(folder, trial=True), folder, execution.workers, live.BestTrials)
        failed = task.keys_in(folder, "failed")
        left = [run for run in left if not failed & {trial.key for trial in tuning.trials(run, trials, folder)}]
    return left


def _print_plan(name: str, planned: Sequence["Planned"], trials: int, folder: Path, execution: Execution) -> None:
    """Prints what is tuned of each method, how many trials are done, and the estimated time of the others."""
    from rich.table import Table

    from benchmark.sweep import live, task
    from benchmark.sweep import tune as tuning

    first = planned[0].run
    data = " ".join(filter(None, (first.dataset, first.task)))
    title = f"{name}: {some(trials, 'trial')} each on {data} (split {first.split})"
    table = Table(title=title, title_justify="left")
    for column in ("method", "ratio", "from … to", "done", "left", "time"):
        table.add_column(column, justify="left" if column in ("method", "from … to") else "right")
    finished, left = task.keys_in(folder, "runs"), []
    for method in planned:
        run = method.run
        known = tuning.outcome(run, trials, folder)
        done = trials if known else sum(trial.key in finished for trial in tuning.trials(run, trials, folder))
        left += [method] * (trials - done)
        spans = "  ".join(f"{what} {low:g}…{high:g}" for what, (low, high) in tuning.ranges(run).items())
        time = live.duration(method.seconds * (trials - done)) if method.seconds else "unknown"
        counts = (str(count) if count else "–" for count in (done, trials - done))
        table.add_row(run.method, f"{run.ratio:g}", spans, *counts, time if done < trials else "–")
    console = show.console()
    console.print(table)
    if left:
        line = f"{some(len(left), 'trial')} left, {takes(left, execution.workers)}, {execution.sentence}."
        console.print(line, highlight=False)


def _print_outcomes(outcomes: Sequence[dict[str, Any]]) -> None:
    """Prints the Dice on validation images with published and with the best settings."""
    from rich.table import Table

    table = Table(title="Dice on validation images: with published settings, and the best", title_justify="left")
    for column in ("method", "ratio", "images", "published", "tuned", "settings"):
        table.add_column(column, justify="left" if column in ("method", "settings") else "right")
    for outcome in outcomes:
        published, best = outcome["trials"][0], outcome["trials"][outcome["chosen"]]
        settings = "  ".join(f"{name} {value:g}" for name, value in [("lr", best["lr"]), *best["settings"]])
        table.add_row(
            outcome["run"]["method"], f"{outcome['run']['ratio']:g}", str(outcome["validation"]["images"]),
            f"{published['dice']:.3f}", f"{best['dice']:.3f}", settings if outcome["chosen"] else "as published",
        )  # fmt: skip
    show.console().print(table)
