"""Which runs make up a table: named recipes and suites, as data. Options of the command line override them."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import methods
from benchmark.names import choose
from benchmark.runs import Run

BASELINE = "supervised"

RECIPES: dict[str, dict[str, Any]] = {  # fields of a run; the others have the defaults of `Run`
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
    "quick": {},
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
        # The learning rate of the new layers in the released code. There the rate of the backbone is a tenth of it, and
        # both fall in steps; here the rate is the same everywhere and falls with the schedule.
        "lr": 1e-2,
        "weight_decay": 5e-4,
        "precision": "bf16",
    },
}
ABOUT_RECIPES = {
    "rehearsal": "seconds on a CPU: a toy network that learns nothing, to try a command",
    "quick": "minutes on two CPU cores: a small encoder with ImageNet weights that are installed with the project",
    "full": "one GPU: ResNet-34 and crops of 256 pixels (for smaller images give --crop 224)",
    "vit": "one GPU: the vision transformer of a foundation model with a DPT decoder; give its file with --weights",
    "digestpath": "one GPU: the protocol of CDMA's paper, DeepLabv3+ on ResNet-50 trained with SGD",
}


@dataclass(frozen=True)
class Setting:
    """Where the methods of a suite are compared: a dataset, its labelled fractions, and what else its runs have."""

    ratios: tuple[float, ...]
    fields: dict[str, Any] = field(default_factory=dict)  # of every run, over those of the recipe


@dataclass(frozen=True)
class Suite:
    """The runs of a table: methods × settings × labelled fractions × repeats. `supervised` is always among the methods.

    A repeat r has draw r and seed r. With `draws` or `seeds`, repeats are every draw with every seed instead.
    """

    about: str
    methods: tuple[str, ...]  # also of other packages; () is all of them
    settings: tuple[Setting, ...]
    bounds: tuple[float, ...] = (1.0,)  # ratios at which only `supervised` runs, besides the others
    repeats: int = 1
    draws: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    recipe: str = "quick"
    ablated: tuple[str, ...] | None = None  # variants that also run, of each method that has them; () is all of them
    fields: dict[str, Any] = field(default_factory=dict)  # of every run, over those of recipe and setting

    @property
    def places(self) -> list[tuple[int, int]]:
        """Draw and seed of every repeat, in the order of the runs."""
        if self.draws is None and self.seeds is None:
            return [(repeat, repeat) for repeat in range(self.repeats)]
        draws, seeds = (0,) if self.draws is None else self.draws, (0,) if self.seeds is None else self.seeds
        return [(draw, seed) for seed in seeds for draw in draws]

    def at(self, ratios: Sequence[float]) -> "Suite":
        """The suite at other labelled fractions."""
        return dataclasses.replace(
            self, settings=tuple(dataclasses.replace(one, ratios=tuple(ratios)) for one in self.settings)
        )

    def on(self, dataset: str) -> "Suite":
        """The suite on one dataset: its own settings there; elsewhere the labelled fractions of its first setting."""
        here = tuple(one for one in self.settings if one.fields.get("dataset", Run.dataset) == dataset)
        return dataclasses.replace(self, settings=here or (Setting(self.settings[0].ratios, {"dataset": dataset}),))


def _one(*ratios: float, **fields: Any) -> tuple[Setting, ...]:
    return (Setting(ratios, fields),)


PAPER = (
    "entropy_min", "mean_teacher", "ua_mt", "r_drop", "cps", "hce", "cross_teaching", "mc_net_plus", "cdma",
)  # fmt: skip
LATER = ("cct", "fixmatch", "urpc", "unimatch", "corrmatch")

# Settings in which labels bind, chosen from pilot runs (supervised training alone) before any semi-supervised method
# was run there; docs/pilot.md names what had been seen before.
BINDING = (Setting((0.005,), {"dataset": "ebhi-seg", "task": "epithelium", "scale": 0.5, "crop": 96, "steps": 1200}),)

SUITES: dict[str, Suite] = {
    "main": Suite(
        "the methods of CDMA's paper, later ones and a control, where labels bind",
        ("supervised_strong", *PAPER, *LATER),
        BINDING,
        repeats=3,
    ),
    "controls": Suite(
        "the methods of main on labels alone, and FixMatch with the threshold of CorrMatch",
        (*PAPER, *LATER),
        BINDING,
        repeats=3,
        ablated=("labels_only", "threshold_85"),
    ),
    "quick": Suite("a first table, in minutes", ("entropy_min", "mean_teacher", "fixmatch", "cdma"), _one(0.1)),
    "all": Suite("every method at four labelled fractions", (), _one(0.05, 0.1, 0.2, 0.5), repeats=3),
    "ratios": Suite(
        "a few methods at many labelled fractions",
        ("mean_teacher", "cdma"),
        _one(0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
        repeats=3,
    ),
    "ablation": Suite("what each part of a method does", ("cdma",), _one(0.1), bounds=(), repeats=3, ablated=()),
}


def planned(suite: Suite) -> list[Run]:
    """The runs of a suite, each once: one setting and repeat after the other, and of each the upper bound first.

    So the first table is complete early, and each further repeat makes its intervals narrower.
    """
    names = [choose(name, methods.names(), "method") for name in suite.methods] or methods.names()
    recipe = RECIPES[choose(suite.recipe, list(RECIPES), "recipe")]
    for what, found in (("ratios", suite.settings[0].ratios), ("repeats", suite.places)):
        if not found:
            raise ValueError(f"The suite has no {what}, so there is nothing to run; give at least one with --{what}.")
    ablated = _ablated(suite, names)
    chosen = tuple(sorted(dict(suite.fields.get("settings", ())).items()))
    fields = {name: value for name, value in suite.fields.items() if name != "settings"}
    found: list[Run] = []
    for setting, (draw, seed) in itertools.product(suite.settings, suite.places):
        one = Run(**{**recipe, **setting.fields, **fields}, draw=draw, seed=seed)
        for ratio in sorted({*setting.ratios, *suite.bounds}):
            found.append(dataclasses.replace(one, method=BASELINE, ratio=ratio))
        for ratio, name in itertools.product(sorted(setting.ratios), names):
            full = dataclasses.replace(one, method=name, ratio=ratio, settings=() if name == BASELINE else chosen)
            found += [full, *(dataclasses.replace(full, variant=variant) for variant in ablated[name])]
    return list({run.key: run for run in map(_without_idle_views, found)}.values())


def _without_idle_views(run: Run) -> Run:
    """The run; if its method has no strong views, then without a choice of views, which would change nothing."""
    if run.views == Run.views:
        return run
    try:
        has_views = methods.get(run.method).strong_views
    except methods.Broken:  # the run is recorded as failed
        has_views = False
    return run if has_views else dataclasses.replace(run, views=Run.views)


def _ablated(suite: Suite, names: Sequence[str]) -> dict[str, list[str]]:
    """The variants of each method that run beside it: all, or those of the chosen ones that the method has.

    Raises:
        ValueError: if no method of the suite has a chosen variant.
    """
    if suite.ablated is None:
        return {name: [] for name in names}
    known = {name: list(methods.variants(name)) if name != BASELINE else [] for name in names}
    every = list(dict.fromkeys(variant for of in known.values() for variant in of))
    what = "variant of " + ", ".join(f"'{name}'" for name in names if name != BASELINE)
    chosen = [choose(variant, every, what) for variant in suite.ablated] or every
    return {name: [variant for variant in chosen if variant in of] for name, of in known.items()}
