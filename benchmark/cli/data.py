"""`bench data`: list, add, show and audit datasets."""

import contextlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup
from click.core import ParameterSource

from benchmark import progress, runs
from benchmark.cli.numbers import FIELDS, PIXEL_UM
from benchmark.cli.options import DATASET, KIND, SPLIT, data_option, dataset_names, group, kind_of, open_store
from benchmark.names import choose

if TYPE_CHECKING:
    from benchmark.datasets.store import Store


@cloup.group(name="data")
def data() -> None:
    """Lists, adds, shows and audits datasets."""


@data.command(name="list")
@data_option
def data_list(data) -> None:
    """Lists all datasets.

    For each: where to get it, its licence, its size, what to cite, and whether it has been added.
    """
    from benchmark import datasets

    for name in dataset_names(data):
        kind = datasets.get(kind_of(name, data))
        click.echo(f"{click.style(name, bold=True)}  ({_state(name, data)})")
        scale = f"; {kind.pixel_um:g} µm per pixel" if kind.pixel_um else ""
        cite = [f"cite: {kind.cite}"] if kind.cite else []
        for line in (kind.title, kind.size + scale, f"licence: {kind.licence}", *cite, f"get it: {kind.source}"):
            click.echo(f"    {line}")
    click.echo("Your own images: bench data add folder PATH --name NAME")
    click.echo("Your own slides: bench data add slides PATH --mpp 0.5 --name NAME")


def _state(name: str, data: Path) -> str:
    """Whether a dataset has been added, in a few words."""
    if not (data / name / "index.json").exists():
        return "generated when first used" if name == "phantom" else "not added"
    try:
        open_store(name, data)
    except ValueError as error:
        return f"damaged: {error}"
    return "added"


@dataclass(frozen=True)
class Images:
    """What is known of the images of a dataset."""

    mpp: float | None
    unit: str
    instances: bool


@dataclass(frozen=True)
class Slides:
    """How slides are cut into tiles; None is the default."""

    tile: int | None
    slide_mpp: float | None
    complete: bool


image_options = group(
    "Images", "images", Images,
    cloup.option("--mpp", type=PIXEL_UM,
                 help="Micrometres per pixel: of images, if known; of slides, the resolution at which they are cut."),
    cloup.option("--unit", default="patient", show_default=True,
                 help="What the column patient of patients.csv names, if not patients: organ, slide, tile …"),
    cloup.option("--instances", is_flag=True, help="Masks of a folder number objects, not classes."),
)  # fmt: skip
slide_options = group(
    "Slides", "slides", Slides,
    cloup.option("--tile", type=FIELDS["tile"], help="Side of the tiles in pixels.  [default: 512]"),
    cloup.option("--slide-mpp", type=PIXEL_UM, help="Micrometres per pixel at full resolution of slides that lack it."),
    cloup.option("--complete", is_flag=True,
                 help="Slides with annotations are annotated completely; the rest is background."),
)  # fmt: skip


def _not_empty(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    if name == "":
        raise ValueError("--name is empty; give a name, or leave the option out to use the kind as name.")
    return name


@data.command(
    epilog="""\b
Examples:
  bench data add ebhi-seg ~/Downloads/EBHI-SEG
  bench data add folder ~/images --name mine     images/, masks/ for some of them, optionally patients.csv
  bench data add slides ~/wsi --mpp 0.5          slides with annotations of QuPath, cut into tiles of tissue"""
)
@cloup.argument("kind", type=KIND)
@cloup.argument("path", type=click.Path(path_type=Path), required=False)
@cloup.option("--name", callback=_not_empty, help="Name of the dataset.  [default: the kind]")
@image_options
@slide_options
@data_option
def add(kind, path, name, images: Images, slides: Slides, data) -> None:
    """Reads, checks and stores a dataset, once for all runs.

    KIND is a name that `bench data list` prints, folder or slides; PATH is the folder with the files. Also renders a
    contact sheet.
    """
    from benchmark import datasets
    from benchmark.datasets import store as stores
    from benchmark.datasets.slides import Cut

    if not path and Path(kind).is_dir():
        meant = shlex.join(["bench", "data", "add", "folder", kind])
        raise ValueError(f"'{kind}' is a folder, not a kind of dataset; did you mean `{meant}`?")
    choose(kind, datasets.names(), "kind of dataset")
    given = {"tile": slides.tile, "slide_um": slides.slide_mpp, "complete": slides.complete}
    cut = Cut(**{option: value for option, value in given.items() if value})
    with contextlib.ExitStack() as stack:
        tell = progress.silent

        def watch(done: int, total: int, what: str) -> None:
            nonlocal tell
            if tell is progress.silent:
                tell = stack.enter_context(progress.watching(f"Reading {name or kind}", total))
            tell(done, what)

        store = stores.add(
            kind, path, data, name or kind, watch, pixel_um=images.mpp, unit=images.unit, instances=images.instances,
            cut=None if cut == Cut() else cut,
        )  # fmt: skip
    _show(store, "")
    elsewhere = click.get_current_context().get_parameter_source("data") is ParameterSource.COMMANDLINE
    click.echo(f"Next           {_next(store, data if elsewhere else None)}")


def _next(store: "Store", data: Path | None) -> str:
    """The command for a first comparison, with a labelled fraction and a crop that fit the dataset."""
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
@cloup.argument("dataset", type=DATASET)
@cloup.option("--split", type=SPLIT, default="", help="A split of the dataset.  [default: its first]")
@data_option
def show(dataset, split, data) -> None:
    """Shows classes and splits of a dataset, and renders a contact sheet."""
    _show(open_store(dataset, data), split)


@data.command()
@cloup.argument("dataset", type=DATASET)
@cloup.option("--split", type=SPLIT, default="", help="A split of the dataset.  [default: all]")
@data_option
def audit(dataset, split, data) -> None:
    """Checks the files of a dataset, and its splits for shared data.

    Compares every image and mask with its hash, and names the patients, slides and images that training, validation and
    test share. Shared images may be near-duplicates, also flipped or turned.
    """
    from benchmark.protocol.audit import audit as audited
    from benchmark.protocol.audit import sentences

    store = open_store(dataset, data)
    with progress.watching(f"Checking {store.name}", len(store.records)) as tell:
        store.verify(lambda done, total, what: tell(done, what))
    for name in [split] if split else list(store.dataset.splits):
        click.echo(f"{store.name}, split {name}: {store.dataset.splits.get(name, '')}")
        for sentence in sentences(audited(store, name)):
            click.echo(f"  {sentence}")


def _show(store: "Store", split: str) -> None:
    """Prints the summary of a dataset, and writes its contact sheet."""
    from benchmark.datasets import store as stores
    from benchmark.report.figures import pictures

    for line in stores.summary(store, split):
        click.echo(line)
    sheet = store.folder / "contact_sheet.png"
    pictures.contact_sheet(store, split, sheet)
    click.echo(f"Contact sheet  {sheet}")
