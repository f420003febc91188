"""`bench speed`: how fast methods train and predict on this machine."""

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cloup

import methods
from benchmark import progress
from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.numbers import FIELDS, Number
from benchmark.cli.options import (
    METHOD,
    Setup,
    Where,
    data_option,
    device_option,
    group,
    open_store,
    results_option,
    run_options,
    threads_option,
)
from benchmark.cli.types import List, joined
from benchmark.runs import Run

UNTIMED = (
    "variant", "split", "ratio", "draw", "seed", "labelled", "unlabelled", "weights", "lr", "weight_decay", "schedule",
    "adapt", "views",
)  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """What is timed, and how often."""

    names: tuple[str, ...] | None  # of methods; None is all
    batches: tuple[int, ...] | None  # labelled images per step; None is that of the recipe
    together: tuple[int, ...] | None  # numbers of runs at a time
    compiled: bool
    repeats: int
    seconds: float
    within: float | None  # seconds


@dataclass(frozen=True)
class Timed(Where):
    """Where it is timed."""

    threads: int | None


timing_options = group(
    "What is timed", "timing", Timing,
    cloup.option("--methods", "names", type=List(METHOD), multiple=True, callback=joined,
                 help="Methods.  [default: all]"),
    cloup.option("--batch", "batches", type=List(FIELDS["labelled"]), multiple=True, callback=joined,
                 help="Labelled images per step, and as many unlabelled.  [default: that of the recipe]"),
    cloup.option("--together", type=List(Number(int, 1, 256, example=2)), multiple=True, callback=joined,
                 help="Numbers of runs at a time."),
    cloup.option("--compiled", is_flag=True, help="Also time a step with compiled losses, and the compilation."),
    cloup.option("--repeats", type=Number(int, 8, example=40), default=40, show_default=True,
                 help="Calls of each mode."),
    cloup.option("--seconds", type=Number(float, 0, example=10), default=10, show_default=True,
                 help="Time limit of the calls, for training and again for prediction; at least 8 calls are timed."),
    cloup.option("--within", type=Number(float, 0, example=270), help="Seconds after which no method starts."),
)  # fmt: skip
where_options = group("Where it runs", "where", Timed, device_option, threads_option, results_option, data_option)


@cloup.command(
    epilog="""\b
Examples:
  bench speed --methods supervised,cdma                       two methods on the network of the recipe quick
  bench speed --batch 4,8 --precision bf16                    all methods at two batch sizes
  bench speed --methods cdma --compiled --seconds 30          the cost and effect of compilation
  bench speed --recipe full --batch 8,16 --together 1,2,4     a GPU: everything, and several runs at a time
  bench speed --recipe digestpath --methods supervised,cdma   the network of the paper"""
)
@timing_options
@run_options(*UNTIMED)
@where_options
def speed(timing: Timing, setup: Setup, where: Timed) -> None:
    """Measures how fast methods train and predict.

    Every method alternates with supervised training, on a CPU also with a large matrix product and a large convolution;
    on a GPU, eager and captured steps are timed. Weights are untrained, so no file of weights is needed. The speed
    records are in RESULTS/speed; `bench report` renders tables and figures from them, and docs/speed.md explains each
    number.
    """
    base = setup.run()
    wanted = [
        dataclasses.replace(base, method=name, labelled=batch, unlabelled=batch)
        for batch in timing.batches or [base.labelled]
        for name in timing.names or _by_year()
    ]
    writable(where.results)
    open_store(base.dataset, where.data)  # generated or found before anything is timed
    records = _measured(wanted, timing, where)
    if not records:
        raise ValueError("Nothing fits into memory; give a smaller --batch or --crop.")
    _print(records, where.results)


def _measured(wanted: list[Run], timing: Timing, where: Timed) -> list[dict[str, Any]]:
    """Times the runs and writes their speed records; those that do not fit into memory are left out."""
    from benchmark import machine
    from benchmark.analysis import timing as timings
    from benchmark.speed import measure as instrument

    device, start = machine.device(where.device), time.monotonic()
    settings = (
        str(device), where.threads or machine.cores(), timing.repeats, timing.seconds, timing.compiled,
        timing.together or (),
    )  # fmt: skip
    jobs = [instrument.Job(run, where.data, *settings) for run in wanted]
    measured = instrument.measure_all(jobs, instrument.before(device), instrument.import_seconds())
    records = []
    with progress.watching("Measuring speed", len(jobs)) as tell:
        for done, (job, record) in enumerate(measured, 1):
            if isinstance(record, instrument.DoesNotFit):
                click.echo(f"Left out: {record}", err=True)
            else:
                records.append(record)
                timings.save(record, where.results)
            tell(done, f"{job.run.method}, {job.run.labelled} + {job.run.unlabelled} images")
            if timing.within and time.monotonic() - start > timing.within and done < len(jobs):
                rest = ", ".join(f"{job.run.method} ({job.run.labelled})" for job in jobs[done:])
                click.echo(f"Left out, because {timing.within:g} seconds were over: {rest}", err=True)
                break
    return records


def _by_year() -> list[str]:
    """All methods, `supervised` first."""
    return sorted(methods.names(), key=lambda name: (name != "supervised", methods.year(name) or math.inf, name))


def _print(records: list[dict[str, Any]], results: Path) -> None:
    """Prints the main numbers of each speed record, and what may have disturbed the measurement."""
    from rich import box
    from rich.table import Table

    from benchmark.analysis import timing
    from benchmark.report import speed

    table = Table(
        title=f"Training and prediction on {records[0]['machine']['device']}", title_justify="left", box=box.SIMPLE,
        caption="×: relative to supervised; of max: relative to a large matrix product", caption_justify="left",
    )  # fmt: skip
    for head in ("", "batch", "ms", "labelled/s", "×", "of max", "GB", "predict/s"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for line in speed.speed_frame(records).itertuples():
        table.add_row(
            f"{line.label} †" if line.unstable else line.label, str(line.batch), _digits(1000 * line.train_s),
            _digits(line.train_images_per_s), f"{line.train_relative:.2f}", f"{line.train_utilisation:.0%}",
            _digits(line.train_memory / 1e9), _digits(line.predict_images_per_s),
        )  # fmt: skip
    show.console().print(table)
    for record in records:
        for remark in timing.remarks(record):
            sign = "† " if remark.startswith("unstable") else ""
            click.echo(f"{sign}{record['title']}, {record['run']['labelled']}: {remark}")
    click.echo(f"Records  {results / 'speed'}")


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
