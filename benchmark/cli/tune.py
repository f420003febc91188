"""`bench tune`: as many trials for every method, judged on validation images alone."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.executors import Who, follow, takes, who_options
from benchmark.cli.numbers import MOST_RUNS, Number
from benchmark.cli.options import RECIPE, RECIPE_HELP, open_stores, run_options
from benchmark.cli.sweep import SUITE, check_size, list_options
from benchmark.names import choose
from benchmark.protocol import suites
from benchmark.words import some


@click.command(
    epilog="""\b
Examples:
  bench tune quick --trials 10 && bench sweep quick --tuned
  bench tune main --dataset ebhi-seg --task epithelium --ratios 0.1 --dry-run
  bench tune main --methods cdma,mean_teacher --ratios 0.05 --on slurm --partition gpu --gpus-per-task 1"""
)
@click.argument("suite", type=SUITE, default="main")
@list_options("methods", "ratios")
@click.option(
    "--trials",
    type=Number(int, 1, MOST_RUNS, example=20),
    default=20,
    show_default=True,
    help="Of each method at each ratio.",
)
@run_options("variant", "ratio", "draw", "seed")
@click.option("--recipe", type=RECIPE, envvar="BENCH_RECIPE", help=f"{RECIPE_HELP}  [default: the suite's]")
@who_options
def tune(
    suite, methods, ratios, trials, recipe, workers, threads, device, on, partition, minutes, gpus, flags, dry_run,
    results: Path, data: Path, **fields,
) -> None:  # fmt: skip
    """Looks for the learning rate and settings of every method of SUITE, with as many trials for each.

    A trial is a run with other settings, the published ones first, judged on the validation images, which are never
    more than the labelled ones; test images stay closed. Trials lie in RESULTS/tuning and in no table. Ctrl-C stops at
    once; the same command goes on. Afterwards `bench sweep SUITE --tuned` and `bench run --tuned` take what was best,
    with the same options, at this ratio or a larger one.
    """
    who = Who.of(on, device, workers, threads, partition, minutes, gpus, flags)
    chosen = suites.SUITES[choose(suite, list(suites.SUITES), "suite")]
    lists = {name: value for name, value in {"methods": methods, "recipe": recipe}.items() if value}
    given = {field: value for field, value in fields.items() if value is not None}
    one_each = dataclasses.replace(chosen, draws=(0,), seeds=(0,), ablated=None, fields=given)
    one_each = dataclasses.replace(one_each, **lists)
    one_each = one_each.at(ratios) if ratios else one_each
    if dataset := given.pop("dataset", None):
        one_each = one_each.on(dataset)
    check_size(one_each, trials)
    wanted = suites.planned(one_each)
    results, data = results.resolve(), data.resolve()
    writable(results)
    stores = open_stores((run.dataset for run in wanted), data)
    from benchmark.sweep import live, plan, task
    from benchmark.sweep import tune as tuning

    folder = results / tuning.FOLDER
    writable(folder)
    methods_at = [one.run for one in plan.plan(wanted, stores, results)]
    for run in methods_at:
        tuning.check(run, stores[run.dataset])
    before = [found for run in methods_at if (found := tuning.outcome(run, trials, folder))]
    left = [run for run in methods_at if not tuning.outcome(run, trials, folder)]
    told_by = folder if task.keys_in(folder, "runs") else results
    who, estimated = who.settled([plan.Planned(run, run.key, plan.MISSING) for run in methods_at], stores, told_by)
    _print_plan(suite, estimated, trials, folder, who)
    while left and not dry_run:
        known = [tuning.trials(run, trials, folder) for run in left]
        planned = plan.plan([trial for of_run in known for trial in of_run], stores, folder)
        if all(one.state == task.DONE for one in planned):
            break
        click.echo(f"Up to trial {max(map(len, known))} of {trials} of each method:", err=True)
        follow(planned, who.executor(folder, data, trial=True), folder, who.workers, live.BestTrials)
        failed = task.keys_in(folder, "failed")
        left = [run for run in left if not failed & {trial.key for trial in tuning.trials(run, trials, folder)}]
    if dry_run:
        return
    _print_outcomes(before + [tuning.save(run, tuning.trials(run, trials, folder), folder) for run in left])
    if failing := len(methods_at) - len(before) - len(left):
        raise click.ClickException(
            f"Trials of {some(failing, 'method')} failed; {folder / 'failed'} says why. The same "
            "command tries them again."
        )
    click.echo(f"Outcomes: {folder}\nTo use them: bench sweep {suite} --tuned, with the same options")


def _print_plan(name: str, planned: Sequence, trials: int, folder: Path, who: Who) -> None:
    """What is tuned of each method, how many trials are done, and how long the rest will take."""
    from rich.table import Table

    from benchmark.sweep import live, task
    from benchmark.sweep import tune as tuning

    first = planned[0].run
    data = " ".join(filter(None, (first.dataset, first.task)))
    title = f"{name}: {some(trials, 'trial')} each on {data} (split {first.split})"
    table = Table(title=title, title_justify="left")
    for column in ("method", "ratio", "from … to", "done", "left", "time"):
        table.add_column(column, justify="left" if column in ("method", "from … to") else "right")
    rows, ahead = task.keys_in(folder, "runs"), []
    for one in planned:
        known = tuning.outcome(one.run, trials, folder)
        done = trials if known else sum(trial.key in rows for trial in tuning.trials(one.run, trials, folder))
        ahead += [one] * (trials - done)
        spans = "  ".join(f"{what} {low:g}…{high:g}" for what, (low, high) in tuning.ranges(one.run).items())
        time = live.duration(one.seconds * (trials - done)) if one.seconds else "unknown"
        counts = (str(count) if count else "–" for count in (done, trials - done))
        table.add_row(one.run.method, f"{one.run.ratio:g}", spans, *counts, time if done < trials else "–")
    console = show.console()
    console.print(table)
    if ahead:
        said = f"{some(len(ahead), 'trial')} left, {takes(ahead, who.workers)}, {who.sentence}."
        console.print(said, highlight=False)


def _print_outcomes(outcomes: Sequence[dict]) -> None:
    """What tuning gained on validation images, and with which settings."""
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
