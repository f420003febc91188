"""`bench run`: one run from data to picture."""

import math
from pathlib import Path

import click

import methods
from benchmark import progress, records
from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.numbers import THREADS, Number
from benchmark.cli.options import (
    METHOD,
    RECIPE,
    RECIPE_HELP,
    data_option,
    device_option,
    open_store,
    results_option,
    run_options,
    settings_of,
    settings_option,
    use_threads,
)
from benchmark.names import choose
from benchmark.protocol import suites
from benchmark.records import RunRecord
from benchmark.runs import Run
from benchmark.words import in_units, plural


@click.command(
    epilog="""\b
Examples:
  bench run --method cdma --ratio 0.1
  bench run --method mean_teacher --ratio 0.05 --dataset ebhi-seg --task malignant
  bench run --method cdma --variant no_um --set temperature=5 --seed 1
  bench run --method supervised --ratio 1 --dataset glas --recipe full --device cuda"""
)
@click.option("--method", type=METHOD, default="cdma", show_default=True, help="See `bench methods`.")
@run_options()
@click.option(
    "--recipe", type=RECIPE, default="quick", show_default=True, envvar="BENCH_RECIPE",
    help=RECIPE_HELP,
)  # fmt: skip
@settings_option
@click.option("--tuned", is_flag=True, help="With the settings that `bench tune` found best.")
@click.option("--deterministic", is_flag=True, help="Deterministic kernels on a GPU, too.")
@click.option("--eager", is_flag=True, help="On a GPU, do not capture training steps.")
@click.option("--all-scores", is_flag=True, help="Print every score, not only the short table.")
@click.option("--threads", type=THREADS, help="CPU threads.  [default: all cores]")
@click.option(
    "--checkpoint-s", type=Number(float, 0, example=20), default=20, show_default=True,
    help="Seconds between checkpoints.",
)  # fmt: skip
@device_option
@results_option
@data_option
def run(
    recipe, settings, tuned, deterministic, eager, threads, all_scores, checkpoint_s, device, results, data, **fields
) -> None:
    """Trains a method, scores it on every test image, and writes a run record, weights and a picture.

    The same command resumes an interrupted run, and shows a finished one. If only the run record exists (for example,
    published results without weights), the run is trained again.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    choose(recipe, list(suites.RECIPES), "recipe")
    choose(given["method"], methods.names(), "method")
    wanted = Run(**{**suites.RECIPES[recipe], **given, "settings": settings_of(settings)})
    writable(results)
    store = open_store(wanted.dataset, data)
    from benchmark.protocol import checkpoint, distributed, setup, train
    from benchmark.report.figures import pictures

    if tuned:
        from benchmark.sweep import tune

        (wanted,) = tune.tuned([setup.complete(wanted, store)], results)
        values = "".join(f", {name} {value:g}" for name, value in wanted.settings)
        click.echo(f"Tuned: lr {wanted.lr:g}{values}")
    use_threads(threads)
    options = train.Options(device, deterministic, eager, checkpoint_s, progress.watching, weights=True)
    row = train.train(wanted, store, results, options)
    if not distributed.is_main():
        return
    if row.status == "diverged":
        step = row.history["step"][-1]
        click.echo(f"Record   {records.path_of(results, row.key)}")
        raise click.ClickException(f"The loss is not finite at step {step}, so the run ended; try a smaller --lr.")
    picture = results / "pictures" / f"{row.key}.png"
    if not picture.exists() and (panels := _panels(row, store, results, device)):
        title = f"{row.title}, {_setting(row)}"
        if len(row.classes) > 2:
            title += "\nImages ranked by the mean Dice over the classes that are there or predicted"
        pictures.run_picture(panels, picture, title, row.classes)
    _print_scores(row, all_scores)
    _print_differences(row, records.find(results, row.key))
    click.echo(f"Row      {records.path_of(results, row.key)}")
    click.echo(f"Weights  {checkpoint.weights_path(results, row.key)}")
    click.echo(f"Picture  {picture if picture.exists() else 'none, as no test image has a score'}")


def _panels(row: RunRecord, store, results: Path, device: str) -> list[tuple]:
    """Best, median and worst test image with truth and prediction; none if none has a score.

    With several classes, the score of an image is the mean Dice over the classes that are there or predicted.
    """
    from benchmark import machine
    from benchmark.datasets import store as stores
    from benchmark.protocol import checkpoint, evaluate, scores

    score = scores.SCORES[scores.for_classes("dice", len(row.classes) - 1)]
    dice = score.read(row.scores)[:, 0]
    names = zip(dice, row.scores["name"], strict=True)
    ranked = sorted(((value, name) for value, name in names if not math.isnan(value)), reverse=True)
    if not ranked:
        return []
    chosen = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
    method, asked = checkpoint.trained(row, results, device), row.run
    store = stores.at_resolution(store, asked)
    place = {record.name: i for i, record in enumerate(store.records)}
    panels = []
    for label, (score, name) in zip(("best", "median", "worst"), chosen, strict=True):
        image = store.image(place[name])
        where = machine.device(device)
        found = evaluate.segment(method.predict, image, tile=asked.tile, device=where, precision=asked.precision)
        panels.append((f"{label}: {name}", score, image, store.label(place[name], asked.task), found))
    return panels


def _print_scores(row: RunRecord, all_scores: bool) -> None:
    from rich.table import Table

    from benchmark.datasets import few_patients
    from benchmark.report.tables import summary

    title = f"{row.title} on the test images of {_setting(row)}"
    short = Table(title=title, title_justify="left")
    lines = summary.by_class(row.scores, row.classes)
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
        for line in summary.every(row.scores, row.classes):
            long.add_row(line.name, f"{line.mean:.3f}", summary.interval(line), str(line.images))
        console.print(long)
    seconds, images = row.measured.seconds, row.certificate.images
    console.print(
        f"Trained on {images['labelled']} labelled and {images['unlabelled']} unlabelled images for "
        f"{row.budget.steps} steps in {seconds:.0f} s; intervals over {plural(row.unit)}.",
        highlight=False,
    )
    if said := few_patients.warning(row.certificate.patients["test"]):
        console.print(in_units(said, row.unit), highlight=False)
    for caution in row.certificate.cautions:
        console.print(caution, highlight=False)
    if row.certificate.leak:
        console.print(f"This split leaks: {row.certificate.leak}", highlight=False)


def _print_differences(row: RunRecord, kept: RunRecord) -> None:
    """What a row that was here before, such as a published one, says otherwise."""
    if kept.scores["dice"] == row.scores["dice"]:
        return
    from benchmark.protocol import scores

    score = scores.SCORES[scores.for_classes("dice", len(row.classes) - 1)]
    here, there = (score.of_run(of.scores) for of in (row, kept))
    made = kept.machine
    commit = made.commit or "unknown"
    where = f"{made.device}, --threads {made.threads}, torch {made.versions.get('torch')}, commit {commit}"
    click.echo(
        f"This run has {score.title} {here:.4f}; its row, which was there before ({where}), has {there:.4f} and stays "
        "as it is. Other machines, thread counts, versions and commits round and draw otherwise."
    )


def _setting(row: RunRecord) -> str:
    run = row.run
    scale = f", scale {run.scale:g}" if run.scale != 1 else ""
    return " ".join(filter(None, (run.dataset, run.task))) + f" (split {run.split}), ratio {run.ratio:g}{scale}"
