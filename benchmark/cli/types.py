"""Types of options: names that are checked and that the shell completes, lists of them, files and folders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from benchmark.names import choose

Known = Callable[[click.Context], Sequence[str]]


class Name(click.ParamType):
    """A name out of a list that the shell completes; another one is refused with the most similar one."""

    name = "name"

    def __init__(self, what: str, known: Known, checked: bool = True):
        """A name of one kind of thing.

        Args:
            what: the kind of thing, for errors: "method", "recipe".
            known: gives all names, from the context of the command (which has the options before it).
            checked: refuse other names here; else the command does, because the list depends on other options.
        """
        self.what, self.known, self.checked = what, known, checked

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself; ValueError if it is not known."""
        return choose(value, self.known(ctx), self.what) if self.checked else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin like the incomplete one; none if the list cannot be read."""
        try:
            names = self.known(ctx)
        except Exception:  # for example a damaged store: completion stays silent, and the command prints the error
            names = []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class OneOf(Name):
    """One of a few names, which the help shows."""

    def __init__(self, what: str, names: Sequence[str]):
        super().__init__(what, lambda ctx: names)
        self.names = names

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self.names)}]"


class List(click.ParamType):
    """A list of values with commas between them, `a,b`; the option may also be given several times.

    An option of this type needs `multiple=True` and `callback=joined`.
    """

    name = "list"

    def __init__(self, of: click.ParamType | None = None):
        """A list of values of one type; None is any text."""
        self.of = of or click.STRING

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple:
        """The values as a tuple, without empty ones."""
        if isinstance(value, tuple):
            return value
        return tuple(self.of.convert(word.strip(), param, ctx) for word in str(value).split(",") if word.strip())

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "LIST"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Completes the last value of the list."""
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + item.value) for item in self.of.shell_complete(ctx, param, last)]


def joined(ctx: click.Context, param: click.Parameter, given: tuple[tuple, ...]) -> tuple | None:
    """The values of an option of the type `List`, each once; None if it was not given.

    Raises:
        ValueError: if it was given without any value.
    """
    values = tuple(dict.fromkeys(value for part in given for value in part))
    if given and not values:
        raise ValueError(f"{param.opts[0]} names nothing; leave it out, or give a list such as 1,2 or a,b.")
    return values or None


class Folder(click.Path):
    """A folder to write to, there or not. An empty name is refused, as it would mean the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not str(value):
            self.fail("an empty name is no folder; give one, '.' for the current folder, or leave the option out.")
        return super().convert(value, param, ctx)


class RegularFile(click.Path):
    """A file that is there. A pipe or a device is refused, as reading it may never end."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if not path.is_file():
            raise ValueError(f"{path} is not a regular file; give one.")
        return path
