"""`bench data`: list, add, show and audit datasets."""

import contextlib
import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from benchmark import progress, runs
from benchmark.cli.numbers import FIELDS, PIXEL_UM
from benchmark.cli.options import DATASET, KIND, data_option, dataset_names, kind_of, open_store
from benchmark.names import choose


@click.group(name="data")
def data() -> None:
    """Datasets: which there are, bring them in, look at them, audit their splits."""


@data.command(name="list")
@data_option
def data_list(data) -> None:
    """Every dataset: where to get it, its licence, its size, whom to cite, and whether it is here."""
    from benchmark import datasets

    for name in dataset_names(data):
        kind = datasets.get(kind_of(name, data))
        click.echo(f"{click.style(name, bold=True)}  ({_state(name, data)})")
        scale = f"; {kind.pixel_um:g} µm a pixel" if kind.pixel_um else ""
        cite = [f"cite: {kind.cite}"] if kind.cite else []
        for line in (kind.title, kind.size + scale, f"licence: {kind.licence}", *cite, f"get it: {kind.source}"):
            click.echo(f"    {line}")
    click.echo("Your own images: bench data add folder PATH --name NAME")
    click.echo("Your own slides: bench data add slides PATH --mpp 0.5 --name NAME")


def _state(name: str, data: Path) -> str:
    """Whether a dataset is here, in a few words."""
    if not (data / name / "index.json").exists():
        return "drawn when first used" if name == "phantom" else "not here"
    try:
        open_store(name, data)
    except ValueError as error:
        return f"damaged: {error}"
    return "here"


@data.command(
    epilog="""\b
Examples:
  bench data add ebhi-seg ~/Downloads/EBHI-SEG
  bench data add folder ~/images --name mine     images/, masks/ for some of them, and if you like patients.csv
  bench data add slides ~/wsi --mpp 0.5          slides with annotations of QuPath, cut into tiles of tissue"""
)
@click.argument("kind", type=KIND)
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--name", default="", help="Its name here.  [default: the kind]")
@click.option(
    "--mpp",
    type=PIXEL_UM,
    help="Micrometres per pixel: of images, if you know it; of slides, the resolution at which they are cut.",
)
@click.option("--tile", type=FIELDS["tile"], help="Pixels a side of the tiles of slides.  [default: 512]")
@click.option("--slide-mpp", type=PIXEL_UM, help="Micrometres per pixel at full resolution of slides that lack it.")
@click.option(
    "--complete", is_flag=True, help="Slides with annotations are annotated completely; the rest is background."
)
@click.option("--instances", is_flag=True, help="Masks of a folder number objects, not classes.")
@click.option(
    "--unit",
    default="patient",
    show_default=True,
    help="What patients.csv has in its column patient, if not patients: organ, slide, tile …",
)
@data_option
def add(kind, path, name, mpp, tile, slide_mpp, complete, unit, instances, data) -> None:
    """Reads every file of a dataset once, checks it, and writes the store that runs use; renders a contact sheet."""
    from benchmark import datasets
    from benchmark.datasets import store as stores
    from benchmark.datasets.slides import Cut

    if not path and Path(kind).is_dir():
        meant = shlex.join(["bench", "data", "add", "folder", kind])
        raise ValueError(f"'{kind}' is a folder, not a kind of dataset; did you mean `{meant}`?")
    choose(kind, datasets.names(), "kind of dataset")
    of_slides = {"tile": tile, "slide_um": slide_mpp, "complete": complete}
    cut = Cut(**{option: value for option, value in of_slides.items() if value})
    with contextlib.ExitStack() as stack:
        tell = progress.silent

        def watch(done: int, total: int, what: str) -> None:
            nonlocal tell
            if tell is progress.silent:
                tell = stack.enter_context(progress.watching(f"Reading {name or kind}", total))
            tell(done, what)

        store = stores.add(
            kind, path, data, name, watch, pixel_um=mpp, unit=unit, instances=instances,
            cut=None if cut == Cut() else cut,
        )  # fmt: skip
    _show(store, "")
    elsewhere = click.get_current_context().get_parameter_source("data") is ParameterSource.COMMANDLINE
    click.echo(f"Next           {_next(store, data if elsewhere else None)}")


def _next(store, data: Path | None) -> str:
    """The command of a first comparison: with all labels where a tenth of the masks is none, and a crop that fits."""
    from benchmark.datasets.splits import labelled_count
    from benchmark.protocol.suites import SUITES

    quick, masks = SUITES["quick"], sum(store.records[i].annotated for i in store.split()["train"])
    crop = min(record.largest_crop for record in store.records)
    words = ["bench", "sweep", "quick", "--dataset", store.name]
    if labelled_count(min(quick.settings[0].ratios), masks) < 1:
        words += ["--ratios", "1"]
    if crop < runs.Run.crop:
        words += ["--crop", str(crop)]
    if data:
        words += ["--data", str(data)]
    return shlex.join(words)


@data.command()
@click.argument("dataset", type=DATASET)
@click.option("--split", default="", help="[default: the dataset's first]")
@data_option
def show(dataset, split, data) -> None:
    """A dataset's parts, classes and splits, and a contact sheet of it."""
    _show(open_store(dataset, data), split)


@data.command()
@click.argument("dataset", type=DATASET)
@click.option("--split", default="", help="[default: all of them]")
@data_option
def audit(dataset, split, data) -> None:
    """Compares every image and mask with its hash, and names patients, slides and images that parts of a split share.

    The images that parts share may be near-duplicates, also flipped or turned.
    """
    from benchmark.protocol import audit as auditing

    store = open_store(dataset, data)
    with progress.watching(f"Checking {store.name}", len(store.records)) as tell:
        store.verify(lambda done, total, what: tell(done, what))
    for name in [split] if split else list(store.dataset.splits):
        click.echo(f"{store.name}, split {name}: {store.dataset.splits.get(name, '')}")
        for sentence in auditing.sentences(auditing.audit(store, name)):
            click.echo(f"  {sentence}")


def _show(store, split: str) -> None:
    from benchmark.datasets import store as stores
    from benchmark.report.figures import pictures

    for line in stores.summary(store, split):
        click.echo(line)
    sheet = store.folder / "contact_sheet.png"
    pictures.contact_sheet(store, split, sheet)
    click.echo(f"Contact sheet  {sheet}")
