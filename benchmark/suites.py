"""Which runs make up a table: named recipes and suites, as data. Options of the command line override them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import methods
from benchmark import runs
from benchmark.runs import Run

BASELINE = "supervised"

# sets of a run's fields
RECIPES: dict[str, dict] = {
    # seconds: a toy network that learns nothing, to try a command with
    "rehearsal": {
        "encoder": "tu-test_efficientnet",
        "weights": "none",
        "width": 32,
        "crop": 32,
        "tile": 64,
        "steps": 6,
        "labelled": 2,
        "unlabelled": 2,
    },
    # two CPU cores, minutes: a small encoder whose ImageNet weights a package brings
    "quick": {},
    # one GPU: 256-pixel crops (give --crop 224 for sets of smaller images)
    "full": {
        "encoder": "resnet34",
        "width": 256,
        "crop": 256,
        "steps": 4000,
        "labelled": 8,
        "unlabelled": 8,
        "lr": 3e-4,
        "precision": "bf16",
    },
    # a foundation model's plain vision transformer under DPT; give its file with --weights
    "vit": {
        "encoder": "tu-vit_small_patch14_dinov2",
        "decoder": "dpt",
        "width": 128,
        "crop": 224,
        "tile": 224,
        "steps": 4000,
        "lr": 1e-4,
        "precision": "bf16",
    },
    # CDMA's protocol: DeepLabv3+ on ResNet-50, its dropout, SGD, 8 + 8 images, windows of 256. The learning rate is
    # that of its new layers; the released code gives the backbone a tenth of it, and both fall in steps, here evenly
    "digestpath": {
        "encoder": "resnet50",
        "decoder": "deeplabv3plus",
        "width": 256,
        "dropout": 0.5,
        "crop": 256,
        "steps": 15000,
        "labelled": 8,
        "unlabelled": 8,
        "optimiser": "sgd",
        "lr": 1e-2,
        "weight_decay": 5e-4,
        "precision": "bf16",
    },
}


@dataclass(frozen=True)
class Suite:
    """What a table compares. Every combination of its tuples is a run; `supervised` is always among its methods."""

    about: str
    methods: tuple[str, ...]  # of every package; () is all of them
    ratios: tuple[float, ...]
    bounds: tuple[float, ...] = (1.0,)  # ratios at which only `supervised` runs, besides the others
    draws: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)
    recipe: str = "quick"
    ablated: tuple[str, ...] | None = None  # variants of each method that run, too; () is all of them
    fields: dict[str, Any] = field(default_factory=dict)  # of every run, over those of the recipe


SUITES: dict[str, Suite] = {
    "main": Suite("every method at four label ratios", (), (0.05, 0.1, 0.2, 0.5), draws=(0, 1, 2), seeds=(0, 1, 2)),
    "ratios": Suite(
        "a few methods at many label ratios",
        ("mean_teacher", "cdma"),
        (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
        draws=(0, 1, 2),
    ),
    "ablation": Suite("what each part of a method does", ("cdma",), (0.1,), bounds=(), draws=(0, 1, 2), ablated=()),
    "quick": Suite("a first table, in minutes", ("entropy_min", "mean_teacher", "fixmatch", "cdma"), (0.1,)),
}


def planned(suite: Suite) -> list[Run]:
    """The runs of a suite, each once. One draw and seed after the other; of each, the bounds come first.

    So the first table is complete, and each further draw and seed makes its intervals narrower.
    """
    names = [runs.choose(name, methods.names(), "method") for name in suite.methods] or methods.names()
    recipe = RECIPES[runs.choose(suite.recipe, list(RECIPES), "recipe")]
    for name in ("ratios", "draws", "seeds"):
        if not getattr(suite, name):
            raise ValueError(f"The suite has no {name}, so there is nothing to run; give at least one with --{name}.")
    settings = dict(suite.fields.get("settings", ()))
    common = {**recipe, **{name: value for name, value in suite.fields.items() if name != "settings"}}
    found: list[Run] = []
    for draw, seed in ((draw, seed) for seed in suite.seeds for draw in suite.draws):
        one = Run(**common, draw=draw, seed=seed)
        for ratio in sorted({*suite.ratios, *suite.bounds}):
            found.append(dataclasses.replace(one, method=BASELINE, ratio=ratio))
        for ratio in sorted(suite.ratios):
            for name in names:
                chosen = () if name == BASELINE else tuple(sorted(settings.items()))
                full = dataclasses.replace(one, method=name, ratio=ratio, settings=chosen)
                ablated = suite.ablated is not None and name != BASELINE
                found += [full, *(ablations(full, suite.ablated) if ablated else ())]
    return list({run.key: run for run in found}.values())


def ablations(full: Run, variants: Sequence[str] = ()) -> list[Run]:
    """The variants of a run's method, or those chosen."""
    known = list(methods.variants(full.method))
    chosen = [runs.choose(variant, known, f"variant of '{full.method}'") for variant in variants] or known
    return [dataclasses.replace(full, variant=variant) for variant in chosen]
