"""Options that commands share, in groups; a command receives each group as one object."""

import dataclasses
import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cloup

import methods
from benchmark import run_records
from benchmark.cli.numbers import FIELDS, THREADS, short
from benchmark.cli.types import Folder, Name, OneOf
from benchmark.names import choose
from benchmark.protocol import suites
from benchmark.run_records import RunRecord
from benchmark.runs import CHOICES, Run

RESULTS = Folder()
IMAGES = click.Path(path_type=Path, exists=True)
METHOD = Name("method", lambda ctx: methods.names())
RECIPE = OneOf("recipe", list(suites.RECIPES))
SUITE = Name("suite", lambda ctx: list(suites.SUITES))
METRIC = Name("metric", lambda ctx: metric_names())
KIND = Name("kind of dataset", lambda ctx: kinds(), checked=False)
DATASET = Name("dataset", lambda ctx: dataset_names(_data_folder(ctx)), checked=False)
TASK = Name("task", lambda ctx: [task for task in _store(ctx).dataset.tasks if task], checked=False)
SPLIT = Name("split", lambda ctx: list(_store(ctx).dataset.splits), checked=False)
ENCODER = Name("encoder", lambda ctx: _encoders(), checked=False)
VARIANT = Name("variant", lambda ctx: _variants(ctx.params.get("method") or Run.method), checked=False)
RUN = Name("run", lambda ctx: [path.stem for path in run_records.paths(Path(ctx.params.get("results") or "results"))],
           checked=False)  # fmt: skip


@dataclass(frozen=True)
class Where:
    """Where a command reads and writes, and on which device it computes."""

    device: str
    results: Path
    data: Path


@dataclass(frozen=True)
class Setup:
    """The fields of runs that the command line gives, over those of a recipe."""

    recipe: str | None  # None: that of the suite
    settings: tuple[tuple[str, Any], ...]  # of the method
    fields: dict[str, Any]

    def run(self, **fields: Any) -> Run:
        """A run with the fields of the recipe, those of the command line, and the given ones."""
        return Run(**{**suites.RECIPES[self.recipe], **self.fields, "settings": self.settings, **fields})


results_option = cloup.option(
    "--results", type=RESULTS, default="results", show_default=True, envvar="BENCH_RESULTS",
    help="Folder of the run records.",
)  # fmt: skip
data_option = cloup.option(
    "--data", type=RESULTS, default="data", show_default=True, envvar="BENCH_DATA", help="Folder of the datasets."
)
device_option = cloup.option("--device", default="auto", show_default=True, help="cpu, cuda or cuda:1.")
settings_option = cloup.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the method; repeatable.",
    callback=lambda ctx, param, pairs: settings_of(pairs),
)  # fmt: skip
threads_option = cloup.option("--threads", type=THREADS, help="CPU threads.  [default: all cores]")


def group(title: str, name: str, kind: type, *options: Callable) -> Callable:
    """A group of options in the help; the command receives their values as one dataclass.

    Args:
        title: of the group.
        name: of the parameter of the command.
        kind: a dataclass with a field for each option.
        options: made with `cloup.option`.
    """

    def add(command: Callable) -> Callable:
        @functools.wraps(command)
        def collected(**values: Any) -> Any:
            own = {field.name: values.pop(field.name) for field in dataclasses.fields(kind) if field.name in values}
            return command(**values, **{name: kind(**own)})

        return cloup.option_group(title, *options)(collected)

    return add


where_options = group("Where it runs", "where", Where, device_option, results_option, data_option)


GROUPS = {  # of the help -> fields of a run -> their help
    "Data": {
        "dataset": "See `bench data list`.",
        "task": "What to segment, where a dataset has several tasks.",
        "split": "Which split of the dataset.",
        "scale": "Reduce images and masks to this fraction of their height and width.",
        "mpp": "Micrometres per pixel, instead of --scale, if the resolution of the dataset is known; 0: as stored.",
        "ratio": "Labelled fraction: of the annotated training images, the fraction with masks.",
        "draw": "Which labelled subset.",
    },
    "Network": {
        "encoder": "Any encoder of segmentation-models-pytorch or, with the prefix tu-, of timm.",
        "decoder": "dpt is for vision transformers.",
        "norm": "frozen: pretrained batch norm keeps its statistics, GroupNorm elsewhere; batch: live batch norm.",
        "width": "Channels of the widest block of the decoder.",
        "dropout": "Fraction of the channels of the deepest features that is dropped.",
        "weights": "imagenet, none, or a file.",
    },
    "Training": {
        "variant": "A named ablation of the method.",
        "steps": "Optimiser steps.",
        "labelled": "Labelled images per step.",
        "unlabelled": "Unlabelled images per step.",
        "crop": "Side of a training crop in pixels.",
        "tile": "Side of a window at prediction in pixels.",
        "optimiser": "Optimiser.",
        "lr": "Learning rate.",
        "weight_decay": "Weight decay.",
        "schedule": "Schedule of the learning rate.",
        "precision": "Precision of the forward pass.",
        "adapt": "Training of the encoder: full, or lora:RANK for LoRA beside frozen weights.",
        "views": "Strong views: the method's own, or rgb (colour jitter) or stain (for H&E) for all methods.",
        "seed": "Seed of initial weights, order, crops and views.",
    },
}
TYPES = {
    **FIELDS, "dataset": DATASET, "task": TASK, "split": SPLIT, "encoder": ENCODER, "variant": VARIANT,
    **{name: OneOf(name, choices) for name, choices in CHOICES.items()},
}  # fmt: skip


def run_options(*without: str, recipe: str | None = "quick", settings: bool = False) -> Callable:
    """The options that set the fields of a run, in groups; the command receives them as `setup`, a `Setup`.

    Args:
        without: fields that are no options of the command.
        recipe: the default of --recipe; None is the recipe of the suite.
        settings: whether the command has --set.
    """
    shown = "[default: that of the suite]" if recipe is None else f"[default: {recipe}]"
    first = cloup.option(
        "--recipe", type=RECIPE, default=recipe, envvar="BENCH_RECIPE",
        help=f"Preset for network and training (`bench recipes`). The defaults below are those of quick.  {shown}",
    )  # fmt: skip
    fields = [name for of_group in GROUPS.values() for name in of_group if name not in without]

    def add(command: Callable) -> Callable:
        @functools.wraps(command)
        def collected(recipe: str | None, settings: tuple = (), **values: Any) -> Any:
            given = {name: values.pop(name) for name in fields}
            given = {name: value for name, value in given.items() if value is not None}
            return command(**values, setup=Setup(recipe, settings, given))

        for title, of_group in reversed(GROUPS.items()):
            options = [_run_option(name, text) for name, text in of_group.items() if name not in without]
            if title == "Training":
                options = [first, *options, *([settings_option] if settings else [])]
            collected = cloup.option_group(title, *options)(collected)
        return collected

    return add


def _run_option(name: str, text: str) -> Callable:
    default = getattr(Run, name)
    shown = f"{text}  [default: {default}]" if default != "" else text
    return cloup.option(f"--{name.replace('_', '-')}", name, type=TYPES.get(name, str), default=None, help=shown)


def settings_of(pairs: Sequence[str]) -> tuple[tuple[str, Any], ...]:
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
        json.dumps(value, allow_nan=False)  # Python also reads "NaN" and "1e999" as numbers
    except json.JSONDecodeError:
        value = text
    except (ValueError, RecursionError):
        value = math.nan
    unreadable = isinstance(value, str) and text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
    if unreadable or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(f"--set {key} is {short(text)}; give a finite number, such as --set {key}=0.5.")
    return value


# ----------------------------------------------------------------------------------------------------------------------
# What the names on a command line stand for


def open_store(name: str, data: Path):
    """The store of a dataset; a ValueError with the folder that was searched if there is none."""
    from benchmark.datasets import store as stores

    try:
        choose(name, dataset_names(data), "dataset")
    except ValueError as error:
        raise ValueError(f"{error} The folder {data.resolve()} was searched; --data names another one.") from error
    return stores.open_store(name, data)


def open_stores(names: Iterable[str], data: Path) -> dict:
    """The stores of these datasets, by name."""
    return {name: open_store(name, data) for name in dict.fromkeys(names)}


def record_of(results: Path, key: str) -> RunRecord:
    """The record of a run, from its key or the beginning of its key.

    Raises:
        ValueError: if no key begins so, or several do.
    """
    keys = [path.stem for path in run_records.paths(results)]
    matching = [key] if key in keys else [name for name in keys if name.startswith(key)]
    if len(matching) > 1:
        raise ValueError(
            f"The keys of {len(matching)} runs begin with '{key}'; give more of it: {', '.join(matching[:3])} …"
        )
    more = " For another folder, give --results DIR or set BENCH_RESULTS."
    return run_records.find(results, matching[0] if matching else choose(key, keys, f"run in {results}", more))


def metric_names() -> list[str]:
    """The scores of the catalogue."""
    from benchmark.protocol import scores

    return list(scores.SCORES)


def kinds() -> list[str]:
    """The kinds of dataset."""
    from benchmark import datasets

    return datasets.names()


def dataset_names(data: Path) -> list[str]:
    """The kinds of dataset, and the datasets that were added under other names."""
    from benchmark.datasets.store import NAME, OF_USERS

    added = {path.parent.name for path in data.glob("[!.]*/index.json")} if data.is_dir() else set()
    return sorted(set(filter(NAME.fullmatch, added)) | set(kinds()) - set(OF_USERS))


def kind_of(name: str, data: Path) -> str:
    """The kind of a dataset; "folder" for one that cannot be opened."""
    if name in kinds():
        return name
    try:
        return open_store(name, data).kind
    except ValueError:
        return "folder"


def use_threads(count: int | None) -> None:
    """Sets the number of CPU threads of torch; None leaves it."""
    if count:
        import torch

        torch.set_num_threads(count)


def _data_folder(ctx: click.Context) -> Path:
    return Path(ctx.params.get("data") or os.environ.get("BENCH_DATA") or "data")


def _store(ctx: click.Context):
    """The store of the dataset on the command line."""
    return open_store(ctx.params.get("dataset") or Run.dataset, _data_folder(ctx))


def _encoders() -> Sequence[str]:
    from methods.parts.nets import encoder_names

    return encoder_names()


def _variants(method: str) -> list[str]:
    return list(methods.variants(method))
