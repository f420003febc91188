"""What is known of a method (its card), stored for the methods of this project so that it is read without torch.

`python -m benchmark.speed.method_info` writes `method_cards.json`, the stored cards. The card of a method without a
stored one, such as a new method, is computed (`method_info.computed`).
"""

import hashlib
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

import methods

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


def stored_card(name: str) -> Card | None:
    """The stored card of a method; None if there is none, the method's file has changed, or a package provides it."""
    card = _stored().get(name)
    current = card is not None and card.source == source_hash(name)
    return card if current and not entry_points(group="bench.methods", name=name) else None


@cache
def _stored() -> dict[str, Card]:
    """The stored cards, by name."""
    return {card.name: card for card in msgspec.json.decode(PATH.read_bytes(), type=list[Card])}


def source_hash(name: str) -> str:
    """Hash of the file of a method of this project; "" if it has none there."""
    path = Path(methods.__file__).parent / f"{name}.py"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""
