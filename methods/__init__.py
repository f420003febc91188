"""Finds every method: one file of this folder each, or one entry point `bench.methods` of another package each."""

import ast
import difflib
import importlib.util
import inspect
import math
import pkgutil
import typing
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from methods.base import Method
    from methods.parts.nets import Arch

LABELS_ONLY = "labels_only"
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


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


def variants(name: str) -> dict[str, dict[str, Any]]:
    """The settings of each of a method's variants: its own, and `labels_only`.

    That is the method with all unsupervised weights 0: its networks and losses on labelled images alone. What it lacks
    beside the whole method is what unlabelled images add.
    """
    kind = get(name)
    weights = {setting: 0.0 for setting in inspect.signature(kind.__init__).parameters if setting.startswith("weight")}
    return {**({LABELS_ONLY: weights} if weights else {}), **kind.variants}


def year(name: str) -> int | None:
    """The year that a method's source states, read without importing it; None where the method is no longer here."""
    module = f"methods.{name}" if name in _here() else getattr(_elsewhere().get(name), "module", None)
    found = module and importlib.util.find_spec(module)
    if not found:
        return None
    for node in ast.walk(ast.parse(Path(found.origin).read_text(encoding="utf-8"))):
        for target, value in _assigned(node) if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and target.id == "year":
                return ast.literal_eval(value)
    return None


def _assigned(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    """What an assignment gives to what, name by name."""
    target, value = node.targets[0], node.value
    both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
    return list(zip(target.elts, value.elts, strict=True)) if both else [(target, value)]


def build(name: str, arch: "Arch", **settings: Any) -> "Method":
    """A method, ready to train. Settings are checked against its signature."""
    check(name, settings)
    return get(name)(arch, **settings)


def check(name: str, settings: dict[str, Any]) -> None:
    """Refuses settings that a method does not have, whose values are of another kind, or are no finite numbers.

    Raises:
        ValueError: also for a weight below 0, which would have the network learn the opposite of a term.
    """
    method = get(name)
    known = [p for p in inspect.signature(method.__init__).parameters if p not in ("self", "arch")]
    for setting in settings:
        if setting not in known:
            near = difflib.get_close_matches(setting, known, 1, 0.3)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known) or 'none'}."
            raise ValueError(f"Method '{name}' has no setting '{setting}'; {hint}")
        _check(setting, settings[setting], typing.get_type_hints(method.__init__).get(setting, Any))
        if setting.startswith("weight") and isinstance(settings[setting], int | float) and settings[setting] < 0:
            raise ValueError(f"Setting '{setting}' is {settings[setting]:g}; give a weight of at least 0, such as 0.1.")


def _check(setting: str, value: Any, hint: Any) -> None:
    """Refuses a value that a setting's type hint excludes; hints other than these are the method's own affair."""
    if typing.get_origin(hint) is Sequence:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"Setting '{setting}' is {value!r}; give a list.")
        for element in value:
            _check(setting, element, *typing.get_args(hint))
    elif typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise ValueError(
                f"Setting '{setting}' is {value!r}; give one of {', '.join(map(str, typing.get_args(hint)))}."
            )
    elif hint in (bool, int, float, str):
        allowed = (int, float) if hint is float else hint
        if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
            raise ValueError(f"Setting '{setting}' is {value!r}; give {NAMES[hint]}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"Setting '{setting}' is {value}; give a finite number.")


def _here() -> set[str]:
    return {m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg and m.name != "base"}


def _elsewhere() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="bench.methods")}
