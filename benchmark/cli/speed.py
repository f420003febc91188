"""`bench speed`: how fast methods train and predict on this machine."""

import dataclasses
import math
import time
from pathlib import Path

import click

import methods
from benchmark import progress
from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.numbers import FIELDS, THREADS, Number
from benchmark.cli.options import (
    METHOD,
    RECIPE,
    RECIPE_HELP,
    data_option,
    device_option,
    listed,
    open_store,
    results_option,
    run_options,
)
from benchmark.names import choose
from benchmark.protocol import suites
from benchmark.runs import Run

BATCH = "Labelled images a step, and as many unlabelled.  [default: the recipe's]"
SECONDS = "For training, and again for prediction; then no more calls than 8 are made."
BATCHES, TOGETHER = FIELDS["labelled"], Number(int, 1, 256, example=2)
UNTIMED = (
    "variant", "split", "ratio", "draw", "seed", "labelled", "unlabelled", "weights", "lr", "weight_decay", "schedule",
    "adapt", "views",
)  # fmt: skip


@click.command(
    epilog="""\b
Examples:
  bench speed --methods supervised,cdma                       two methods on the quick recipe's network
  bench speed --batch 4,8 --precision bf16                    all methods at two batch sizes
  bench speed --methods cdma --compiled --seconds 30          what compilation costs and brings
  bench speed --recipe full --batch 8,16 --together 1,2,4     a GPU: everything, and several runs at once
  bench speed --recipe digestpath --methods supervised,cdma   the paper's network"""
)
@click.option(
    "--methods", "names", type=METHOD, multiple=True, metavar="LIST", callback=listed(), help="[default: all]"
)
@click.option("--batch", "batches", multiple=True, metavar="LIST", callback=listed(BATCHES), help=BATCH)
@click.option("--together", multiple=True, metavar="LIST", callback=listed(TOGETHER), help="Numbers of runs at once.")
@click.option("--compiled", is_flag=True, help="A step with compiled losses, too, and what compiling takes.")
@click.option("--repeats", type=Number(int, 8, example=40), default=40, show_default=True, help="Calls of each mode.")
@click.option("--seconds", type=Number(float, 0, example=10), default=10, show_default=True, help=SECONDS)
@click.option("--within", type=Number(float, 0, example=270), help="Start no further method after so many seconds.")
@click.option(
    "--recipe", type=RECIPE, default="quick", show_default=True, envvar="BENCH_RECIPE",
    help=RECIPE_HELP,
)  # fmt: skip
@run_options(*UNTIMED)
@click.option("--threads", type=THREADS, help="CPU threads.  [default: all cores]")
@device_option
@results_option
@data_option
def speed(
    names, batches, together, compiled, repeats, seconds, within, recipe, threads, device, results, data, **fields
) -> None:
    """Times training and prediction of methods, each side by side with supervised training, into results/speed.

    Every method alternates with supervised training, on a CPU also with large products; on a GPU, eager and captured
    steps are timed. The weights are untrained and need no file. docs/speed.md explains each number; `bench report`
    writes tables and figures from the speed records.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    base = Run(**{**suites.RECIPES[choose(recipe, list(suites.RECIPES), "recipe")], **given})
    names = [choose(name, methods.names(), "method") for name in names or _by_year()]
    wanted = [
        dataclasses.replace(base, method=name, labelled=batch, unlabelled=batch)
        for batch in batches or [base.labelled]
        for name in names
    ]
    writable(results)
    open_store(base.dataset, data)  # drawn or found before anything is timed
    from benchmark import machine
    from benchmark.analysis import timing
    from benchmark.speed import measure as instrument

    where = machine.device(device)
    before, import_s = instrument.before(where), instrument.import_seconds()
    settings = str(where), threads or machine.cores(), repeats, seconds, compiled, together or ()
    jobs, rows, start = [instrument.Job(run, data, *settings) for run in wanted], [], time.monotonic()
    with progress.watching("Measuring speed", len(wanted)) as tell:
        for done, (job, row) in enumerate(instrument.measure_all(jobs, before, import_s), 1):
            if isinstance(row, instrument.DoesNotFit):
                click.echo(f"Left out: {row}", err=True)
            else:
                rows.append(row)
                timing.save(row, results)
            tell(done, f"{job.run.method}, {job.run.labelled} + {job.run.unlabelled} images")
            if within and time.monotonic() - start > within and done < len(jobs):
                rest = ", ".join(f"{job.run.method} ({job.run.labelled})" for job in jobs[done:])
                click.echo(f"Left out, because {within:g} seconds were over: {rest}", err=True)
                break
    if not rows:
        raise ValueError("Nothing fits into memory; give a smaller --batch or --crop.")
    _print(rows, results)


def _by_year() -> list[str]:
    return sorted(methods.names(), key=lambda name: (name != "supervised", methods.year(name) or math.inf, name))


def _print(rows: list[dict], results: Path) -> None:
    """What matters most of each row, and what may have disturbed it."""
    from rich import box
    from rich.table import Table

    from benchmark.analysis import timing
    from benchmark.report import speed

    table = Table(
        title=f"Training and prediction on {rows[0]['machine']['device']}", title_justify="left",
        caption="×: beside supervised; of max: beside a large matrix product", caption_justify="left", box=box.SIMPLE,
    )  # fmt: skip
    for head in ("", "batch", "ms", "labelled/s", "×", "of max", "GB", "predict/s"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for line in speed.speed_frame(rows).itertuples():
        table.add_row(
            line.label + " †" * line.unstable, str(line.batch), _digits(1000 * line.train_s),
            _digits(line.train_images_per_s), f"{line.train_relative:.2f}", f"{line.train_utilisation:.0%}",
            _digits(line.train_memory / 1e9), _digits(line.predict_images_per_s),
        )  # fmt: skip
    show.console().print(table)
    for row in rows:
        for remark in timing.remarks(row):
            click.echo(f"{'† ' * remark.startswith('unstable')}{row['title']}, {row['run']['labelled']}: {remark}")
    click.echo(f"Rows     {results / 'speed'}")


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
