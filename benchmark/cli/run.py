"""`bench run`: trains and scores one method."""

import math
from dataclasses import dataclass
from pathlib import Path

import click
import cloup

from benchmark import progress, run_records
from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.numbers import Number
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
    use_threads,
)
from benchmark.run_records import RunRecord
from benchmark.runs import Run
from benchmark.words import in_units, plural


@dataclass(frozen=True)
class RunsHere(Where):
    """Where a run is trained, and how it uses the machine."""

    threads: int | None
    deterministic: bool
    eager: bool
    checkpoint_s: float


here_options = group(
    "Where it runs", "where", RunsHere,
    device_option,
    threads_option,
    cloup.option("--deterministic", is_flag=True, help="Deterministic kernels, also on a GPU."),
    cloup.option("--eager", is_flag=True, help="On a GPU, do not capture training steps as a CUDA graph."),
    cloup.option("--checkpoint-s", type=Number(float, 0, example=20), default=20, show_default=True,
                 help="Seconds between checkpoints."),
    results_option,
    data_option,
)  # fmt: skip


@cloup.command(
    epilog="""\b
Examples:
  bench run --method cdma --ratio 0.1
  bench run --method mean_teacher --ratio 0.05 --dataset ebhi-seg --task malignant
  bench run --method cdma --variant no_um --set temperature=5 --seed 1
  bench run --method supervised --ratio 1 --dataset glas --recipe full --device cuda
  bench run --method fixmatch --views stain
  bench run --method self_training --recipe vit --weights vit.safetensors --adapt lora:8"""
)
@cloup.option_group(
    "Method",
    cloup.option("--method", type=METHOD, default="cdma", show_default=True, help="See `bench methods`."),
    cloup.option("--tuned", is_flag=True, help="With the settings that `bench tune` found best."),
)
@cloup.option("--all-scores", is_flag=True, help="Print every score, not only the short table.")
@run_options(settings=True)
@here_options
def run(method, tuned, all_scores, setup: Setup, where: RunsHere) -> None:
    """Trains a method and scores it on every test image.

    Writes a run record, weights and a picture. The same command resumes an interrupted run, and shows a finished one.
    If only the run record exists (for example, published results without weights), the run is trained again.
    """
    wanted, results = setup.run(method=method), where.results
    writable(results)
    store = open_store(wanted.dataset, where.data)
    from benchmark.protocol import checkpoint, distributed, train
    from benchmark.protocol.setup import complete

    if tuned:
        wanted = _tuned(complete(wanted, store), results)
    use_threads(where.threads)
    options = train.Options(
        where.device, where.deterministic, where.eager, where.checkpoint_s, progress.watching, weights=True
    )
    record = train.train(wanted, store, results, options)
    if not distributed.is_main():
        return
    if record.status == "diverged":
        step = record.history["step"][-1]
        click.echo(f"Record   {run_records.path_of(results, record.key)}")
        raise click.ClickException(f"The loss is not finite at step {step}, so the run ended; try a smaller --lr.")
    picture = _picture(record, store, where)
    _print_scores(record, all_scores)
    _print_differences(record, run_records.find(results, record.key))
    click.echo(f"Record   {run_records.path_of(results, record.key)}")
    click.echo(f"Weights  {checkpoint.weights_path(results, record.key)}")
    click.echo(f"Picture  {picture or 'none, as no test image has a score'}")


def _tuned(run: Run, results: Path) -> Run:
    """The run with tuned settings, which are printed."""
    from benchmark.sweep import tune

    (run,) = tune.tuned([run], results)
    values = "".join(f", {name} {value:g}" for name, value in run.settings)
    click.echo(f"Tuned: lr {run.lr:g}{values}")
    return run


def _picture(record: RunRecord, store, where: Where) -> Path | None:
    """The picture of best, median and worst test image; None if no test image has a score."""
    from benchmark.report.figures import pictures

    picture = where.results / "pictures" / f"{record.key}.png"
    if not picture.exists() and (panels := _panels(record, store, where)):
        title = f"{record.title}, {_setting(record)}"
        if len(record.classes) > 2:
            title += "\nImages ranked by the mean Dice over the classes that are there or predicted"
        pictures.run_picture(panels, picture, title, record.classes)
    return picture if picture.exists() else None


def _panels(record: RunRecord, store, where: Where) -> list[tuple]:
    """Best, median and worst test image with truth and prediction; none if none has a score.

    With several classes, the score of an image is the mean Dice over the classes that are there or predicted.
    """
    from benchmark import machine
    from benchmark.datasets import store as stores
    from benchmark.protocol import checkpoint, evaluate, scores

    score = scores.SCORES[scores.for_classes("dice", len(record.classes) - 1)]
    dice = score.read(record.scores)[:, 0]
    names = zip(dice, record.scores["name"], strict=True)
    ranked = sorted(((value, name) for value, name in names if not math.isnan(value)), reverse=True)
    if not ranked:
        return []
    chosen = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
    method, asked = checkpoint.trained(record, where.results, where.device), record.run
    store = stores.at_resolution(store, asked)
    place = {image.name: i for i, image in enumerate(store.records)}
    device, panels = machine.device(where.device), []
    for label, (score, name) in zip(("best", "median", "worst"), chosen, strict=True):
        image = store.image(place[name])
        predicted = evaluate.segment(method.predict, image, tile=asked.tile, device=device, precision=asked.precision)
        panels.append((f"{label}: {name}", score, image, store.label(place[name], asked.task), predicted))
    return panels


def _print_scores(record: RunRecord, all_scores: bool) -> None:
    from rich.table import Table

    from benchmark.datasets import few_patients
    from benchmark.report.tables import summary

    title = f"{record.title} on the test images of {_setting(record)}"
    short = Table(title=title, title_justify="left")
    lines = summary.by_class(record.scores, record.classes)
    for column in ("", *summary.heads(lines)):
        short.add_column(column, justify="left" if not column else "right", no_wrap="(" not in column)
    for name, of in lines.items():
        short.add_row(name, *summary.cells(of))
    console = show.console()
    console.print(short)
    if all_scores:
        long = Table(title="All scores", title_justify="left")
        for column in ("", "mean", "95 % interval", "images"):
            long.add_column(column, justify="left" if not column else "right")
        for line in summary.every(record.scores, record.classes):
            long.add_row(line.name, f"{line.mean:.3f}", summary.interval(line), str(line.images))
        console.print(long)
    seconds, images = record.measured.seconds, record.certificate.images
    console.print(
        f"Trained on {images['labelled']} labelled and {images['unlabelled']} unlabelled images for "
        f"{record.budget.steps} steps in {seconds:.0f} s; intervals over {plural(record.unit)}.",
        highlight=False,
    )
    if warning := few_patients.warning(record.certificate.patients["test"]):
        console.print(in_units(warning, record.unit), highlight=False)
    for caution in record.certificate.cautions:
        console.print(caution, highlight=False)
    if record.certificate.leak:
        console.print(f"This split leaks: {record.certificate.leak}", highlight=False)


def _print_differences(record: RunRecord, kept: RunRecord) -> None:
    """Prints how the scores differ from those of a run record that was there before, such as a published one."""
    if kept.scores["dice"] == record.scores["dice"]:
        return
    from benchmark.protocol import scores

    score = scores.SCORES[scores.for_classes("dice", len(record.classes) - 1)]
    here, there = (score.of_run(of.scores) for of in (record, kept))
    machine = kept.machine
    torch, commit = machine.versions.get("torch"), machine.commit or "unknown"
    where = f"{machine.device}, --threads {machine.threads}, torch {torch}, commit {commit}"
    click.echo(
        f"This run has {score.title} {here:.4f}; its run record, which was there before ({where}), has {there:.4f} and "
        "is kept. Other machines, thread counts, versions and commits round differently."
    )


def _setting(record: RunRecord) -> str:
    run = record.run
    scale = f", scale {run.scale:g}" if run.scale != 1 else ""
    return " ".join(filter(None, (run.dataset, run.task))) + f" (split {run.split}), ratio {run.ratio:g}{scale}"
