"""What is known of a method (its card), stored for the methods of this project so that it is read without torch.

`python -m benchmark.speed.method_info` writes the stored cards, `method_cards.json`. The card of a method with another
file, such as a new one, is computed.
"""

import hashlib
import math
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

import methods
from benchmark import progress

PATH = Path(__file__).with_name("method_cards.json")


class Card(msgspec.Struct, kw_only=True):
    """What is known of a method."""

    name: str
    source: str  # hash of its file
    title: str
    year: int
    venue: str
    text: str  # docstring of its file
    settings: dict[str, str]  # name -> default, as Python writes it
    variants: dict[str, dict[str, str]]
    needs: str  # what it is built of
    flops: int  # of a training step of the recipe quick on images of 64 × 64 pixels
    relative_flops: float  # flops / those of `supervised`
    with_gradient: int  # images that a training step forwards with gradient
    without_gradient: int
    parameters: int  # that are trained

    @property
    def idea(self) -> str:
        """The idea in one line: the first sentence of its file, after its name; "" if the file has none."""
        return self.text.partition("\n")[0].partition(": ")[2].rstrip(".")


def card(name: str) -> Card:
    """The card of a method: the stored one if the method's file is the same, else a computed one.

    Raises:
        ValueError: if there is no such method.
        methods.Broken: if it cannot be used.
    """
    found = stored().get(name)
    if found and found.source == source_hash(name) and not entry_points(group="bench.methods", name=name):
        return found
    from benchmark.speed import method_info

    return method_info.computed(name)


def every() -> tuple[list[Card], list[str]]:
    """The cards of all methods by year, and a sentence for each method that cannot be used."""
    cards, broken = [], []
    with progress.watching("Reading methods", len(methods.names())) as tell:
        for done, name in enumerate(methods.names(), 1):
            try:
                cards.append(card(name))
            except methods.Broken as error:
                broken.append(str(error))
            except Exception as error:  # the file of a method may raise anything
                broken.append(f"A step of '{name}' fails: {methods.described(error)}")
            tell(done, name)
    return sorted(cards, key=lambda card: (card.year or math.inf, card.name)), broken


@cache
def stored() -> dict[str, Card]:
    """The stored cards, by name."""
    return {card.name: card for card in msgspec.json.decode(PATH.read_bytes(), type=list[Card])}


def source_hash(name: str) -> str:
    """Hash of the file of a method of this project; "" if it has none there."""
    path = Path(methods.__file__).parent / f"{name}.py"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""
