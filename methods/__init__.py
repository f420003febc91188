"""Finds every method: each is one file of this folder, or one entry point `bench.methods` of another package."""

import difflib
import functools
import importlib
import inspect
import math
import pkgutil
import re
import sys
import sysconfig
import traceback
import typing
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from methods.base import Method
    from methods.parts.nets import Arch

LABELS_ONLY = "labels_only"
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")  # of a method or variant; it is part of file names
ALLOWED = "use at most 40 letters, digits, '_' and '-'"


class Broken(ValueError):
    """A method that exists but cannot be used: its file or package has an error, or its name is taken."""


def names() -> list[str]:
    """The names of all methods, sorted; imports none of them. Names with other characters are left out, see `get`."""
    return sorted(name for name in {*_here(), *_elsewhere()} if NAME.fullmatch(name))


def get(name: str) -> "type[Method]":
    """The class of a method.

    Raises:
        ValueError: if there is no method of this name.
        Broken: if the method cannot be used, or several methods have this name.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name[:60]}' cannot name a method; {ALLOWED}.")
    points = _elsewhere().get(name, [])
    if name not in _here() and not points:
        near = difflib.get_close_matches(name, names(), 1, 0.3)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names())}."
        raise ValueError(f"There is no method '{name}'; {hint}")
    packages = [point.dist.name if point.dist else point.value for point in points]
    if name in _here() and points:
        raise Broken(
            f"The package '{packages[0]}' provides a method '{name}', which is the name of a method of this project; "
            "rename its entry point, or uninstall the package."
        )
    if len(points) > 1:
        raise Broken(
            f"{len(points)} entry points provide a method '{name}' ({', '.join(packages)}); rename one, or uninstall "
            "its package."
        )
    return _loaded(name, points[0] if points else None)


def unpublished(name: str, steps: int) -> list[str]:
    """The settings with a default that differs from the published value in a run of `steps` steps.

    These are the method's `own_defaults`, and the averages and warm-ups that `methods.parts.schedule` adapts to short
    runs.
    """
    from methods.parts.schedule import adapted_decay, adapted_share

    kind = get(name)
    parameters = inspect.signature(kind.__init__).parameters
    adapted = {"decay": adapted_decay, "ramp": adapted_share, "warmup": adapted_share}
    changed = [
        setting
        for setting, adapt in adapted.items()
        if setting in parameters and adapt(parameters[setting].default, steps) != parameters[setting].default
    ]
    return list(dict.fromkeys([*kind.own_defaults, *changed]))


def misnamed() -> list[str]:
    """A sentence for each method that is left out because its name contains characters that are not allowed."""
    bad = sorted(name for name in {*_here(), *_elsewhere()} if not NAME.fullmatch(name))
    return [f"'{name[:60]}' cannot name a method and is left out; {ALLOWED}." for name in bad]


def _loaded(name: str, point: EntryPoint | None) -> "type[Method]":
    """The class of a method, imported and checked."""
    where = point.value if point else f"methods/{name}.py"
    try:
        if point:
            kind = point.load()
        else:
            importlib.import_module(f"methods.{name}")
            from methods.base import REGISTRY

            kind = REGISTRY.get(name)
    except (Exception, SystemExit) as error:  # a file of another author may raise anything on import
        missing = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and missing not in ("", "methods"):
            why = f"it needs the package '{missing}', which is not installed; pip install {missing}"
        else:
            why = f"{described(error)}; correct {where}"
        raise Broken(f"The method '{name}' cannot be imported: {why}.") from error
    if wrong := _wrong(kind):
        raise Broken(f"The method '{name}' cannot be used: {where} {wrong}.")
    return kind


def _wrong(kind: Any) -> str:
    """Why a class is not a method, as the end of a sentence; "" if it is one."""
    from methods.base import Method

    if kind is None:
        return "registers no method; put @register above its class"
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        return "names something that is not a class derived from methods.base.Method"
    if inspect.isabstract(kind):
        return f"does not define {' and '.join(sorted(kind.__abstractmethods__))}"
    for name, what in (("title", str), ("year", int), ("variants", dict)):
        if not isinstance(getattr(kind, name, None), what):
            return f"does not give '{name}' as {'a dictionary' if what is dict else NAMES[what]}"
    for name, settings in kind.variants.items():
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            return f"has a variant called '{str(name)[:60]}'; {ALLOWED}"
        if not isinstance(settings, dict):
            return f"does not give the settings of its variant '{name}' as a dictionary"
    return ""


def described(error: BaseException) -> str:
    """An unexpected error in one line: its type, the first line of its text, and the line of code that raised it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    first = str(error).strip().partition("\n")[0]
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if not _shows_only(frame.filename)] or frames
    where = f" ({places[-1].filename}, line {places[-1].lineno})" if places else ""
    return f"{type(error).__name__}: {first}{where}" if first else f"{type(error).__name__}{where}"


def _shows_only(path: str) -> bool:
    """Whether a file belongs to Python or torch, which only report an error that a method has caused."""
    of_python = path.startswith(sysconfig.get_paths()["stdlib"]) and "site-packages" not in path
    return of_python or "/torch/" in path or path.startswith("<")


def variants(name: str) -> dict[str, dict[str, Any]]:
    """The settings of each variant of a method: the method's own variants, and `labels_only`.

    `labels_only` sets all unsupervised weights to 0: the networks and losses of the method on labelled images only. The
    difference between the method and `labels_only` is the effect of the unlabelled images.
    """
    kind = get(name)
    weights = {setting: 0.0 for setting in inspect.signature(kind.__init__).parameters if setting.startswith("weight")}
    return {**({LABELS_ONLY: weights} if weights else {}), **kind.variants}


def year(name: str) -> int | None:
    """The year of publication of a method; None if there is no such method, or it cannot be used."""
    try:
        return get(name).year
    except ValueError:  # also `Broken`
        return None


def build(name: str, arch: "Arch", /, **settings: Any) -> "Method":
    """A method, ready for training. Settings are checked against its signature."""
    check(name, settings)
    return get(name)(arch, **settings)


def check(name: str, settings: dict[str, Any]) -> None:
    """Refuses settings that a method does not have, and values of the wrong type or that are not finite.

    Raises:
        ValueError: also for a weight below 0, which would make the network maximise a term.
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
    """Refuses a value that the type hint of a setting excludes; other type hints are not checked."""
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


def _elsewhere() -> dict[str, list[EntryPoint]]:
    """The entry points of other packages by name; each name should have one."""
    return _scanned(entry_points, tuple(sys.path))


@functools.cache
def _scanned(find: Callable[..., Any], path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """The entry points installed on a path; cached, because reading them takes about ten milliseconds."""
    points: dict[str, list[EntryPoint]] = {}
    for point in find(group="bench.methods"):
        points.setdefault(point.name, []).append(point)
    return points
