"""The command line: reads the line, calls one function, prints."""

import contextlib
import errno
import math
import os
import sys
from pathlib import Path
from typing import Any

import click

import methods
from benchmark import progress, runs, suites
from benchmark.runs import Run

RESULTS = click.Path(path_type=Path, file_okay=False)
IMAGE = click.Path(path_type=Path, dir_okay=False, exists=True)


class Named(click.ParamType):
    """A name with shell completion; whether it exists is checked where it is used, with the nearest name offered."""

    name = "name"

    def __init__(self, known):
        self.known = known

    def shell_complete(self, ctx, param, incomplete):
        return [click.shell_completion.CompletionItem(name) for name in self.known(ctx) if name.startswith(incomplete)]


METHOD = Named(lambda ctx: methods.names())
DATASET = Named(lambda ctx: _dataset_names(_folder(ctx)))
KIND = Named(lambda ctx: _kinds())
ROW = Named(lambda ctx: [path.stem for path in Path(ctx.params.get("results") or "results").glob("runs/*.json")])
RECIPE = Named(lambda ctx: list(suites.RECIPES))


class Sentences(click.Group):
    """Turns an expected error into one sentence and a non-zero exit; BENCH_DEBUG=1 shows where it came from."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            if os.environ.get("BENCH_DEBUG"):
                raise
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise click.ClickException(
                    "The disk is full; free some space or give another folder with --results, then give the command "
                    "again: what was finished is kept."
                ) from error
            if isinstance(error, OSError) and error.filename:
                raise click.ClickException(f"{error.strerror}: {error.filename}") from error
            raise click.ClickException(str(error)) from error
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            from benchmark import machine

            raise click.ClickException(machine.mismatch() or str(error)) from error


results_option = click.option(
    "--results", type=RESULTS, default="results", show_default=True, envvar="BENCH_RESULTS", help="Where rows are kept."
)
data_option = click.option(
    "--data", type=RESULTS, default="data", show_default=True, envvar="BENCH_DATA", help="Where datasets are stored."
)
device_option = click.option("--device", default="auto", show_default=True, help="cpu, cuda or cuda:1.")


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pathology-ssl-bench")
def main() -> None:
    """Compares semi-supervised segmentation methods on pathology images.

    \b
    Start here:
      bench run --method cdma --ratio 0.1                train, score and picture one method
      bench data list                                    which datasets there are, and which are here
      bench data add folder ~/slides --name mine         bring your own images
      bench run --method mean_teacher --dataset mine --ratio 0.5
      bench doctor                                       what of this machine will be used

    \b
    Completion of names in the shell:
      eval "$(_BENCH_COMPLETE=bash_source bench)"        or zsh_source, fish_source
    """


# ----------------------------------------------------------------------------------------------------------------------
# bench run


def _run_options(command):
    """One option for each field of a run that a person decides."""
    helps = {
        "variant": "A named ablation of the method.",
        "dataset": "See `bench data list`.",
        "task": "What to segment, where a dataset offers several.",
        "split": "Which split of the dataset.",
        "ratio": "Labelled share of the annotated training images.",
        "draw": "Which labelled subset is drawn.",
        "seed": "Seed of weights, order, crops and views.",
        "encoder": "Any encoder of segmentation-models-pytorch.",
        "decoder": "unet, deeplabv3plus, or dpt for vision transformers.",
        "norm": "frozen: pretrained batch norm keeps its statistics, GroupNorm elsewhere; batch: live batch norm.",
        "width": "Channels of the decoder's widest block.",
        "dropout": "Share of the deepest features' channels that is dropped.",
        "weights": "imagenet, none, or a file.",
        "steps": "Optimiser steps.",
        "labelled": "Labelled images a step.",
        "unlabelled": "Unlabelled images a step.",
        "crop": "Pixels a side of a training crop.",
        "tile": "Pixels a side of a window at prediction.",
        "optimiser": "adamw or sgd.",
        "lr": "Learning rate.",
        "weight_decay": "Weight decay.",
        "schedule": "poly, cosine or constant.",
        "precision": "float32 or bf16.",
    }
    for name, text in reversed(helps.items()):
        default = getattr(Run, name)
        kind = DATASET if name == "dataset" else type(default)
        shown = f"{text}  [default: {default}]" if default != "" else text
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, default=None, help=shown)(command)
    return command


@main.command(
    epilog="""\b
Examples:
  bench run --method cdma --ratio 0.1
  bench run --method mean_teacher --ratio 0.05 --dataset ebhi-seg --task malignant
  bench run --method cdma --variant no_um --set temperature=5 --seed 1
  bench run --method supervised --ratio 1 --dataset glas --recipe full --device cuda"""
)
@click.option("--method", type=METHOD, default="cdma", show_default=True, help="See `bench methods`.")
@_run_options
@click.option("--recipe", type=RECIPE, default="quick", show_default=True, help=f"One of {', '.join(suites.RECIPES)}.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the method; repeatable.")
@click.option("--deterministic", is_flag=True, help="Deterministic kernels on a GPU, too.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@click.option("--checkpoint-s", type=float, default=20, show_default=True, help="Seconds between checkpoints.")
@device_option
@results_option
@data_option
def run(recipe, settings, deterministic, threads, checkpoint_s, device, results, data, **fields) -> None:
    """Trains a method, scores it on every test image, and leaves a row, weights and a picture.

    A run that was interrupted goes on where it was when the same command is given again; a finished one is shown.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    runs.choose(recipe, list(suites.RECIPES), "recipe")
    runs.choose(given["method"], methods.names(), "method")
    wanted = Run(**{**suites.RECIPES[recipe], **given, "settings": _settings(settings)})
    _writable(results)
    store = _store(wanted.dataset, data)
    from benchmark import report, train

    _threads(threads)
    row = train.train(
        wanted, store, results,
        device=device, deterministic=deterministic, watch=progress.watching, checkpoint_s=checkpoint_s,
    )  # fmt: skip
    if row["status"] == "diverged":
        step = row["history"]["step"][-1]
        click.echo(f"Row      {runs.row_path(results, row['key'])}")
        raise click.ClickException(f"The loss is not finite at step {step}, so the run ended; try a smaller --lr.")
    picture = results / "pictures" / f"{row['key']}.png"
    if not picture.exists():
        panels, title = _panels(row, store, results, device), f"{row['title']}, {_setting(row)}"
        report.run_picture(panels, picture, title, row["classes"])
    _print_scores(row)
    click.echo(f"Row      {runs.row_path(results, row['key'])}")
    click.echo(f"Weights  {train.weights_path(results, row['key'])}")
    click.echo(f"Picture  {picture}")


def _settings(pairs: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """KEY=VALUE pairs as sorted keyword arguments: numbers, true and false, lists in brackets, else text."""
    import json

    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"'--set {pair}' has no '='; give --set KEY=VALUE.")
        try:
            settings[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            settings[key.strip()] = text
    return tuple(sorted(settings.items()))


def _panels(row: dict, store, results: Path, device: str) -> list[tuple]:
    """Best, median and worst test image with truth and prediction."""
    from benchmark import evaluate, train

    images = runs.lines(row["scores"])
    ranked = sorted(((i["dice"][0], i["name"]) for i in images if i["dice"][0] is not None), reverse=True)
    chosen = [ranked[0], ranked[len(ranked) // 2], ranked[-1]] if ranked else []
    place = {record.name: i for i, record in enumerate(store.records)}
    method, asked = train.trained(row, results, device), Run.of(row)
    panels = []
    for label, (score, name) in zip(("best", "median", "worst"), chosen, strict=True):
        image = store.image(place[name])
        where = train.machine.device(device)
        found = evaluate.segment(method.predict, image, tile=asked.tile, device=where, precision=asked.precision)
        panels.append((f"{label}: {name}", score, image, store.label(place[name], asked.task), found))
    return panels


def _print_scores(row: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchmark import report

    table = Table(title=f"{row['title']} on the test images of {_setting(row)}", title_justify="left")
    for column in ("", "mean", "95 % interval", "images"):
        table.add_column(column, justify="left" if not column else "right")
    for metric, mean, low, high, n in report.summary(runs.lines(row["scores"]), row["classes"]):
        interval = "–" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
        table.add_row(metric, f"{mean:.3f}", interval, str(n))
    console = Console()
    console.print(table)
    seconds, images = row["measured"]["seconds"], row["certificate"]["images"]
    console.print(
        f"Trained on {images['labelled']} labelled and {images['unlabelled']} unlabelled images for "
        f"{row['budget']['steps']} steps in {seconds:.0f} s; intervals over patients.",
        highlight=False,
    )
    if row["certificate"]["leak"]:
        console.print(f"This split leaks: {row['certificate']['leak']}", highlight=False)


def _setting(row: dict) -> str:
    run = row["run"]
    return " ".join(filter(None, (run["dataset"], run["task"]))) + f" (split {run['split']}), ratio {run['ratio']:g}"


# ----------------------------------------------------------------------------------------------------------------------
# bench predict


@main.command(
    epilog="""\b
Example:
  bench predict --run cdma_phantom_r0.1_d0_s0_1a2b3c4d5e slide.png other.jpg --out predictions"""
)
@click.argument("images", nargs=-1, required=True, type=IMAGE)
@click.option("--run", "key", type=ROW, required=True, help="The key of a finished run, or its unique beginning.")
@click.option("--out", type=RESULTS, default="predictions", show_default=True)
@device_option
@results_option
def predict(images, key, out, device, results) -> None:
    """Segments new images of any size with a trained method.

    Writes NAME_mask.png, whose pixel values are class numbers, and NAME_overlay.png, the image with outlines.
    """
    row = _row(results, key)
    from benchmark import evaluate, machine, report, train
    from benchmark.datasets import images as files

    method, asked, where = train.trained(row, results, device), Run.of(row), machine.device(device)
    stems = [path.stem for path in images]
    if len(set(stems)) < len(stems):
        raise ValueError("Two of the images have the same name, so their masks would, too; predict them separately.")
    for path in images:
        image = files.read_image(path)
        with progress.watching(f"Predicting {path.name}", len(image)) as tell:
            classes = evaluate.segment(
                method.predict, image, tile=asked.tile, device=where, precision=asked.precision,
                progress=lambda done, total: tell(done, "rows"),
            )  # fmt: skip
        report.save_png(classes, out / f"{path.stem}_mask.png")
        report.save_png(report.overlay(image, classes), out / f"{path.stem}_overlay.png")
    click.echo(f"{len(images)} masks and overlays are in {out}; class numbers are pixel values.")


def _row(results: Path, key: str) -> dict:
    found = sorted(path.stem for path in (results / "runs").glob("*.json"))
    matching = [key] if key in found else [name for name in found if name.startswith(key)]
    if len(matching) > 1:
        raise ValueError(f"'{key}' begins {len(matching)} runs; give more of it: {', '.join(matching[:3])} …")
    return runs.find(results, matching[0] if matching else runs.choose(key, found, f"run in {results}"))


# ----------------------------------------------------------------------------------------------------------------------
# bench data


@main.group(name="data")
def data_group() -> None:
    """Datasets: which there are, bring them in, look at them, audit their splits."""


@data_group.command(name="list")
@data_option
def data_list(data) -> None:
    """Every dataset: where to get it, its licence, its size, and whether it is here."""
    from benchmark import datasets

    for name in _dataset_names(data):
        kind = datasets.get(_kind_of(name, data))
        here = (
            "here"
            if (data / name / "index.json").exists()
            else "drawn when first used"
            if name == "phantom"
            else "not here"
        )
        click.echo(f"{click.style(name, bold=True)}  ({here})")
        for line in (kind.title, kind.size, f"licence: {kind.licence}", f"get it: {kind.source}"):
            click.echo(f"    {line}")
    click.echo("Your own images: bench data add folder PATH --name NAME")


@data_group.command(
    epilog="""\b
Examples:
  bench data add ebhi-seg ~/Downloads/EBHI-SEG
  bench data add folder ~/slides --name mine     images/, masks/, and if you like unlabelled/ and patients.csv"""
)
@click.argument("kind", type=KIND)
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--name", default="", help="Its name here.  [default: the kind]")
@data_option
def add(kind, path, name, data) -> None:
    """Reads every file of a dataset once, checks it, and writes the store that runs use; draws a contact sheet."""
    from benchmark import datasets
    from benchmark.datasets import store as stores

    runs.choose(kind, datasets.names(), "kind of dataset")
    with contextlib.ExitStack() as stack:
        tell = progress.silent

        def watch(done: int, total: int, what: str) -> None:
            nonlocal tell
            if tell is progress.silent:
                tell = stack.enter_context(progress.watching(f"Reading {name or kind}", total))
            tell(done, what)

        store = stores.add(kind, path, data, name, watch)
    _show(store, "")


@data_group.command()
@click.argument("dataset", type=DATASET)
@click.option("--split", default="", help="[default: the dataset's first]")
@data_option
def show(dataset, split, data) -> None:
    """A dataset's parts, classes and splits, and a contact sheet of it."""
    _show(_store(dataset, data), split)


@data_group.command()
@click.argument("dataset", type=DATASET)
@click.option("--split", default="", help="[default: all of them]")
@data_option
def audit(dataset, split, data) -> None:
    """Names patients, slides and near-duplicate images that the parts of a split share."""
    from benchmark import audit as auditing

    store = _store(dataset, data)
    for name in [split] if split else list(store.dataset.splits):
        click.echo(f"{store.name}, split {name}: {store.dataset.splits.get(name, '')}")
        for sentence in auditing.sentences(auditing.audit(store, name)):
            click.echo(f"  {sentence}")


def _show(store, split: str) -> None:
    from benchmark import report

    for line in store.summary(split):
        click.echo(line)
    sheet = store.folder / "contact_sheet.png"
    report.contact_sheet(store, split, sheet)
    click.echo(f"Contact sheet  {sheet}")


def _store(name: str, data: Path):
    from benchmark.datasets import store as stores

    runs.choose(name, _dataset_names(data), "dataset")
    return stores.open_store(name, data)


def _kinds() -> list[str]:
    from benchmark import datasets

    return datasets.names()


def _dataset_names(data: Path) -> list[str]:
    """The kinds there are, and what was added under other names."""
    added = {path.parent.name for path in data.glob("*/index.json")} if data.is_dir() else set()
    return sorted(added | set(_kinds()) - {"folder"})


def _kind_of(name: str, data: Path) -> str:
    return name if name in _kinds() else "folder"


def _folder(ctx: click.Context) -> Path:
    return Path(ctx.params.get("data") or os.environ.get("BENCH_DATA") or "data")


# ----------------------------------------------------------------------------------------------------------------------
# bench methods, bench new, bench check, bench doctor


@main.command(
    name="methods",
    epilog="""\b
Examples:
  bench methods              all of them, by year
  bench methods mean_teacher formulas, settings, differences from the paper, variants, cost""",
)
@click.argument("name", type=METHOD, required=False)
def list_methods(name) -> None:
    """Lists the methods with idea, needs and cost; with a NAME, shows that method's card."""
    from benchmark import cards

    if name:
        kind = methods.get(name)
        _print_card(name, kind, cards)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(caption="cost: counted operations of a training step, beside supervised", caption_justify="left")
    for column in ("name", "title", "year", "venue", "idea", "needs", "cost"):
        table.add_column(column, overflow="fold", justify="right" if column == "cost" else "left")
    with progress.watching("Counting costs", len(methods.names())) as tell:
        for done, line in enumerate(cards.listing(), 1):
            table.add_row(
                *(str(line[c]) for c in ("name", "title", "year", "venue", "idea", "needs")), f"{line['cost']:.2f} ×"
            )
            tell(done, line["name"])
    Console().print(table)


def _print_card(name: str, kind, cards) -> None:
    """A method's section, its settings and variants, and what a step of it costs here beside supervised."""
    import inspect

    click.echo(inspect.getmodule(kind).__doc__.strip())
    click.echo("\nSettings  " + ", ".join(f"{key} = {value!r}" for key, value in cards.settings(kind).items()))
    for variant, changed in kind.variants.items():
        click.echo(f"Variant   {variant}: " + ", ".join(f"{key} = {value!r}" for key, value in changed.items()))
    if apart := cards.parity(name):
        said = [f"{c} classes {terms:.0e} and {gradients:.0e}" for c, (terms, gradients) in apart.items()]
        click.echo(f"\nParity    terms and gradients differ from tests/parity/{name}.py by at most: {'; '.join(said)}")
    found = cards.measured(name)
    images = found["images"]
    click.echo(
        f"\nA step of the quick recipe forwards {images['with_gradient']} images with gradient and "
        f"{images['without_gradient']} without; {found['parameters'] / 1e6:.1f} million parameters learn.\nBeside "
        f"supervised it counts {found['flops_ratio']:.2f} × the operations and takes {found['seconds_ratio']:.2f} × "
        f"the time ({1000 * found['seconds']:.0f} ms here)."
    )


@main.group()
def new() -> None:
    """Starts something of your own."""


@new.command(
    name="method",
    epilog="""\b
Example:
  bench new method my_method && bench check my_method && bench run --method my_method""",
)
@click.argument("name")
def new_method(name) -> None:
    """Writes methods/NAME.py: a method that keeps the contract and runs, for you to change."""
    from benchmark import cards

    path = cards.new_method(name, Path(methods.__file__).parent)
    click.echo(f"{path} is a copy of the shortest method; change it, then: bench check {name}")


@main.command()
@click.argument("name", type=METHOD)
def check(name) -> None:
    """Runs the contract of a method, one sentence a check. Works for methods of other packages, too."""
    method = methods.get(name)
    from methods.parts import contract

    failed = 0
    for sentence, examine in contract.checks.items():
        try:
            examine(method)
        except Exception as error:  # whatever a method does wrong, the other checks still run
            failed += 1
            click.echo(f"✗ {sentence}: {error or type(error).__name__}")
        else:
            click.echo(f"✓ {sentence}")
    if failed:
        raise click.ClickException(f"{name} breaks {failed} of {len(contract.checks)} checks.")
    click.echo(f"{name} keeps the contract.")


@main.command()
@results_option
@data_option
def doctor(results, data) -> None:
    """Says what of this machine will be used, and what is wrong with it."""
    from benchmark import machine

    findings = machine.check(results, data)
    for what, finding, well in findings:
        click.echo(f"{'✓' if well else '✗'} {what:12} {finding}")
    if not all(well for _, _, well in findings):
        raise click.ClickException("Mend what is marked with ✗ first.")


def _writable(results: Path) -> None:
    """Fails now rather than after training, if rows could not be written."""
    results.mkdir(parents=True, exist_ok=True)
    if not os.access(results, os.W_OK):
        raise ValueError(f"The folder {results} is not writable; give another with --results.")


def _threads(count: int | None) -> None:
    if count:
        import torch

        torch.set_num_threads(count)


if __name__ == "__main__":
    sys.exit(main())
