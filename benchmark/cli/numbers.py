"""Numbers on the command line: finite and in a range, or one sentence that says which number to give."""

import math
import re
from typing import Any

import click

LARGEST_SEED = 2**32 - 1  # the largest that every random number generator takes
MOST_RUNS = 10_000  # of one plan; a larger one is a mistyped option far more often than a wish


class Number(click.ParamType):
    """A whole number or a real one between two limits; nan, inf and everything else is refused with an example."""

    name = "number"

    def __init__(
        self, kind: type, low: float = -math.inf, high: float = math.inf, *, example: float, above: bool = False,
        below: bool = False,
    ):  # fmt: skip
        """A number from `low` to `high`; with `above` and `below` it may not equal the limit itself.

        Args:
            kind: int or float.
            low: the smallest value.
            high: the largest value.
            example: a value that is right, for the error.
            above: `low` itself is refused.
            below: `high` itself is refused.
        """
        self.kind, self.low, self.high, self.above, self.below = kind, low, high, above, below
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        """The number that a text stands for.

        Raises:
            ValueError: if it stands for none, or for one outside of the limits; names the option and an example.
        """
        number = self._read(str(value))
        low = number is not None and (number > self.low or (number == self.low and not self.above))
        if not low or not (number < self.high or (number == self.high and not self.below)):
            option = param.opts[0] if param else "A number"
            raise ValueError(f"{option} is {short(value)}; give {self.words}, such as {self.example:g}.")
        return number

    @property
    def words(self) -> str:
        """The range in words, for an error."""
        limits = []
        if self.low > -math.inf:
            limits.append(f"above {self.low:g}" if self.above else f"of at least {self.low:g}")
        if self.high < math.inf:
            limits.append(f"below {self.high:,.10g}" if self.below else f"at most {self.high:,.10g}")
        return " ".join(["a whole number" if self.kind is int else "a number", " and ".join(limits)]).strip()

    def _read(self, text: str) -> int | float | None:
        """The number, or None where the text is not a finite one in ASCII digits."""
        if self.kind is int:
            return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,30}\s*", text) else None
        try:
            number = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            return None
        return number if math.isfinite(number) else None


def short(value: object) -> str:
    """A text in quotes for an error, cut where it is long."""
    text = str(value)
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


SEED = Number(int, 0, LARGEST_SEED, example=1)
RATIO = Number(float, 0, 1, above=True, example=0.1)
COUNT = Number(int, 1, example=3)
THREADS = Number(int, 1, 1024, example=2)
PIXEL_UM = Number(float, 0, above=True, example=0.25)
FIELDS = {  # of a run
    "scale": Number(float, 0, 1, above=True, example=0.5),
    "mpp": Number(float, 0, example=1),
    "ratio": RATIO,
    "draw": SEED,
    "seed": SEED,
    "width": Number(int, 1, 8192, example=128),
    "dropout": Number(float, 0, 1, below=True, example=0.2),
    "steps": Number(int, 1, example=400),
    "labelled": Number(int, 1, 4096, example=4),
    "unlabelled": Number(int, 0, 4096, example=4),
    "crop": Number(int, 1, 8192, example=128),
    "tile": Number(int, 1, 8192, example=256),
    "lr": Number(float, 0, above=True, example=1e-3),
    "weight_decay": Number(float, 0, example=1e-2),
}
