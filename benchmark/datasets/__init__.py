"""The datasets: every file here that defines one is found by its name."""

import pkgutil
from importlib import import_module

from benchmark.datasets.base import Dataset
from benchmark.names import choose

SHARED = {  # what datasets have in common
    "annotations", "base", "few_patients", "fingerprint", "images", "resample", "splits", "store", "tables", "wsi",
}  # fmt: skip


def names() -> list[str]:
    """The kinds of dataset there are."""
    files = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(name.replace("_", "-") for name in files - SHARED)


def get(name: str) -> Dataset:
    """The dataset of that kind; an unknown one is an error that offers the nearest."""
    choose(name, names(), "kind of dataset")
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    here = [kind for kind in vars(module).values() if getattr(kind, "__module__", "") == module.__name__]
    return next(kind() for kind in here if isinstance(kind, type) and issubclass(kind, Dataset))
