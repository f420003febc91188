"""Strategies that choose which images to annotate next: one file each, found by its name.

Other packages add strategies with an entry point of the group `bench.strategies` that names a class like those here.
"""

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from benchmark.names import choose
from benchmark.protocol.choosing.base import Pool, Strategy

GROUP = "bench.strategies"
SHARED = {"base"}

__all__ = ["Pool", "Strategy", "get", "names"]


def names() -> list[str]:
    """The names of all strategies, sorted; imports none of them."""
    here = {module.name for module in pkgutil.iter_modules(__path__)} - SHARED
    return sorted(here | {point.name for point in entry_points(group=GROUP)})


def get(name: str) -> Strategy:
    """The strategy of a name; an unknown one is a ValueError that offers the nearest."""
    choose(name, names(), "strategy")
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in points:
        return points[name].load()()
    module = import_module(f"{__name__}.{name}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Strategy)]
    return next(kind() for kind in kinds if kind.__module__ == module.__name__)
