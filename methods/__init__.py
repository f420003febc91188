"""Finds every method: one file of this folder each, or one entry point `bench.methods` of another package each."""

import difflib
import importlib
import inspect
import pkgutil
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from methods.base import Method
    from methods.parts.nets import Arch


def names() -> list[str]:
    """Every method's name, sorted; imports none of them."""
    return sorted({*_here(), *_elsewhere()})


def get(name: str) -> "type[Method]":
    """The class of a method."""
    if name in _here():
        importlib.import_module(f"methods.{name}")
    elif name in (outside := _elsewhere()):
        return outside[name].load()
    else:
        near = difflib.get_close_matches(name, names(), 1, 0.3)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names())}."
        raise ValueError(f"There is no method '{name}'; {hint}")
    from methods.base import REGISTRY

    return REGISTRY[name]


def build(name: str, arch: "Arch", **settings: Any) -> "Method":
    """A method, ready to train. Settings are checked against its signature."""
    method = get(name)
    known = [p for p in inspect.signature(method.__init__).parameters if p not in ("self", "arch")]
    for setting in settings:
        if setting not in known:
            near = difflib.get_close_matches(setting, known, 1, 0.3)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known) or 'none'}."
            raise ValueError(f"Method '{name}' has no setting '{setting}'; {hint}")
    return method(arch, **settings)


def _here() -> set[str]:
    return {m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg and m.name != "base"}


def _elsewhere() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="bench.methods")}
