"""What the commands share: names that the shell completes, and options."""

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

import methods
from benchmark import records
from benchmark.cli.numbers import FIELDS, Number, short
from benchmark.names import choose
from benchmark.protocol import suites
from benchmark.records import RunRecord
from benchmark.runs import Run


class Folder(click.Path):
    """A folder to write to, there or not. An empty name is refused, as it would mean the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value, param, ctx):
        if not str(value):
            self.fail("an empty name is no folder; give one, '.' for the current folder, or leave the option out.")
        return super().convert(value, param, ctx)


RESULTS = Folder()
IMAGES = click.Path(path_type=Path, exists=True)


class RegularFile(click.Path):
    """A file that is there. A pipe or a device is refused, as reading it may never end."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if not path.is_file():
            raise ValueError(f"{path} is not a regular file; give one.")
        return path


class Named(click.ParamType):
    """A name, or a list of them, that the shell completes; whether it exists is checked where it is used."""

    name = "name"

    def __init__(self, known):
        self.known = known

    def shell_complete(self, ctx, param, incomplete):
        before, comma, last = incomplete.rpartition(",")
        names = [name for name in self.known(ctx) if name.startswith(last)]
        return [CompletionItem(before + comma + name) for name in names]


METHOD = Named(lambda ctx: methods.names())
DATASET = Named(lambda ctx: dataset_names(_folder(ctx)))
KIND = Named(lambda ctx: kinds())
ROW = Named(lambda ctx: [path.stem for path in Path(ctx.params.get("results") or "results").glob("runs/*.json")])
METRIC = Named(lambda ctx: metric_names())
RECIPE = Named(lambda ctx: list(suites.RECIPES))
RECIPE_HELP = (
    f"Preset for network and training ({', '.join(suites.RECIPES)}); the defaults shown here are those of quick."
)


results_option = click.option(
    "--results",
    type=RESULTS,
    default="results",
    show_default=True,
    envvar="BENCH_RESULTS",
    help="Where run records are kept.",
)
data_option = click.option(
    "--data", type=RESULTS, default="data", show_default=True, envvar="BENCH_DATA", help="Where datasets are stored."
)
device_option = click.option("--device", default="auto", show_default=True, help="cpu, cuda or cuda:1.")


settings_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the method; repeatable."
)


def listed(number: Number | None = None) -> Callable:
    """`--x a,b` and `--x a --x b` alike: a list of words, or of numbers of one kind."""

    def parse(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple | None:
        words = [word.strip() for text in given for word in text.split(",") if word.strip()]
        if given and not words:
            raise ValueError(f"{param.opts[0]} names nothing; leave it out, or give a list such as 1,2 or a,b.")
        values = [number.convert(word, param, ctx) for word in words] if number else words
        return tuple(dict.fromkeys(values)) or None

    return parse


def open_store(name: str, data: Path):
    from benchmark.datasets import store as stores

    try:
        choose(name, dataset_names(data), "dataset")
    except ValueError as error:
        raise ValueError(f"{error} Yours are looked for in {data.resolve()}; --data names another folder.") from error
    return stores.open_store(name, data)


def record_of(results: Path, key: str) -> RunRecord:
    """The record of a run by its key, or by the beginning of its key if no other run begins so."""
    found = sorted(path.stem for path in (results / "runs").glob("*.json"))
    matching = [key] if key in found else [name for name in found if name.startswith(key)]
    if len(matching) > 1:
        raise ValueError(f"'{key}' begins {len(matching)} runs; give more of it: {', '.join(matching[:3])} …")
    more = " Those of another folder: --results DIR, or set BENCH_RESULTS."
    return records.find(results, matching[0] if matching else choose(key, found, f"run in {results}", more))


def metric_names() -> list[str]:
    """The scores of the catalogue."""
    from benchmark.protocol import scores

    return list(scores.SCORES)


def open_stores(names: Iterable[str], data: Path) -> dict:
    """The stores of these datasets, by name."""
    return {name: open_store(name, data) for name in dict.fromkeys(names)}


def kinds() -> list[str]:
    from benchmark import datasets

    return datasets.names()


def dataset_names(data: Path) -> list[str]:
    """The kinds there are, and what was added under other names; a folder that no dataset can be named is none."""
    from benchmark.datasets.store import NAME, OF_USERS

    added = {path.parent.name for path in data.glob("[!.]*/index.json")} if data.is_dir() else set()
    return sorted(set(filter(NAME.fullmatch, added)) | set(kinds()) - set(OF_USERS))


def kind_of(name: str, data: Path) -> str:
    """The kind of a dataset; of one that cannot be opened, a folder."""
    if name in kinds():
        return name
    try:
        return open_store(name, data).kind
    except ValueError:
        return "folder"


def _folder(ctx: click.Context) -> Path:
    return Path(ctx.params.get("data") or os.environ.get("BENCH_DATA") or "data")


def use_threads(count: int | None) -> None:
    if count:
        import torch

        torch.set_num_threads(count)


def run_options(*without: str):
    """One option for each field of a run that a person decides, but for those named."""
    helps = {
        "variant": "A named ablation of the method.",
        "dataset": "See `bench data list`.",
        "task": "What to segment, where a dataset offers several.",
        "split": "Which split of the dataset.",
        "scale": "Reduces images and masks to this share of their height and width.",
        "mpp": "Micrometres per pixel, instead of --scale, where the dataset knows its own; 0: as stored.",
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
        "adapt": "Training of the encoder: full, or lora:RANK for LoRA beside frozen weights.",
        "views": "Strong views: the method's own, or rgb (colour jitter) or stain (for H&E) for all methods.",
    }

    def add(command):
        for name, text in reversed(helps.items()):
            if name not in without:
                command = _run_option(name, text)(command)
        return command

    return add


def _run_option(name: str, text: str):
    default = getattr(Run, name)
    kind = FIELDS.get(name, DATASET if name == "dataset" else str)
    shown = f"{text}  [default: {default}]" if default != "" else text
    return click.option(f"--{name.replace('_', '-')}", name, type=kind, default=None, help=shown)


def settings_of(pairs: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """KEY=VALUE pairs as sorted keyword arguments: numbers, true and false, lists in brackets, else text.

    Raises:
        ValueError: if a pair has no key or no "=", or a number in it is not finite.
    """
    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ValueError(
                f"--set {short(pair)} has no '=' between a key and a value; give --set KEY=VALUE, such as "
                "--set temperature=5."
            )
        settings[key.strip()] = _setting(key.strip(), text)
    return tuple(sorted(settings.items()))


def _setting(key: str, text: str) -> Any:
    """The value of a setting: JSON if it is that, else text. JSON here has no nan and no infinity."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)  # "NaN" and "1e999" are numbers to Python's reader
    except json.JSONDecodeError:
        value = text
    except (ValueError, RecursionError):
        value = math.nan
    unreadable = isinstance(value, str) and text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
    if unreadable or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(f"--set {key} is {short(text)}; give a finite number, such as --set {key}=0.5.")
    return value
