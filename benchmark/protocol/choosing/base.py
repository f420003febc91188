"""What a strategy is, and the images that it chooses from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from benchmark.datasets.store import Store
from benchmark.progress import Tell, silent
from benchmark.protocol.evaluate import Predict, bands


@dataclass(frozen=True)
class Pool:
    """The images to choose from, and what is known."""

    store: Store
    candidates: Sequence[int]  # places in the store of the images to choose from
    annotated: Sequence[int]  # places of training images that have a mask already
    networks: Sequence[Predict] = ()  # trained ones, if the strategy needs any
    tile: int = 256  # pixels a side of a window at prediction
    device: str = "cpu"
    tell: Tell = silent  # is called with how many candidates are done

    def probabilities(self, place: int) -> Iterator[Float[np.ndarray, "networks classes rows width"]]:
        """Class probabilities of an image by each network, a few rows at a time."""
        image = self.store.image(place)
        each = (bands(predict, image, tile=self.tile, device=self.device) for predict in self.networks)
        for parts in zip(*each, strict=True):
            yield np.stack([rows for _, rows in parts])


class Strategy(ABC):
    """Extend this in one file of this folder; the name of the file is the name of the strategy."""

    title: ClassVar[str]
    networks: ClassVar[int] = 0  # that it needs, at least

    @abstractmethod
    def choose(self, pool: Pool, count: int, draw: int) -> list[int]:
        """`count` of the candidates, the most useful first; `draw` decides where something is random."""


def highest(scores: Sequence[float], pool: Pool, count: int) -> list[int]:
    """The candidates with the highest scores; of equal ones, the first."""
    order = np.argsort(-np.asarray(scores), kind="stable")[:count]
    return [pool.candidates[k] for k in order]
