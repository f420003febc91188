"""What figures ask of a comparison: which methods at which ratios, under the names and with the numbers of tables."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from benchmark.analysis import family, standing
from benchmark.analysis.board import Board, Place
from benchmark.analysis.stats import Difference, Interval
from benchmark.records import RunRecord
from benchmark.report.tables import formatting, table

DAGGER = f" {table.DAGGER}"  # after the label of runs whose budget is not that of most
METRIC = "dice"


class Comparison:
    """The finished runs of a comparison, by label and ratio; labels have a dagger where the budget is uneven.

    Scores are Dice; of several classes, their mean in each image (`score`). `runs` has the lines of `runs_frame`,
    `by_key` the rows, `columns` the places in `runs` of a label at a ratio.
    """

    def __init__(self, rows: Sequence[RunRecord] | Board):
        self.board = Board.of(rows)
        self.options = formatting.Options(self.board.single(METRIC))
        self.score = self.options.score
        self.by_key = self.board.rows
        self.runs = self.board.done.reset_index(drop=True)
        self.columns: dict[tuple[str, float], list[int]] = {}
        if len(self.runs):
            self.runs["label"] += np.where(self.runs.uneven, DAGGER, "")
            for column, place in enumerate(zip(self.runs.label, self.runs.ratio, strict=True)):
                self.columns.setdefault(place, []).append(column)

    @classmethod
    def of(cls, rows: "Sequence[RunRecord] | Comparison") -> "Comparison":
        """The comparison itself, or that of rows, so that several figures of the same rows share the work."""
        return rows if isinstance(rows, cls) else cls(rows)

    def basis(self, tested: bool = True) -> str:
        """What the numbers of a figure rest on: runs, and the images on which they were `tested`."""
        counts = [len(places) for places in self.columns.values()]
        least, most = min(counts), max(counts)
        runs = f"{least} to {most} runs" if least < most else f"{most} run" + "s" * (most > 1)
        images = f"{len(self.board.patients)} test images of {len(self.board.patient_names)} patients; "
        return f"{images * tested}{runs} of each method at each labelled share."

    def labels(self, ratio: float | None = None, *, uneven: bool = True) -> list[str]:
        """Methods in the order and words of tables, each as published: no variants, no settings, if it has such runs.

        With `ratio`, those that have runs there; without `uneven`, those of the common budget.
        """
        shown = dict.fromkeys(self.runs.label[self._published & (uneven | ~self.runs.uneven)]) if len(self.runs) else {}
        return [label for label in shown if ratio is None or (label, ratio) in self.columns]

    @cached_property
    def _published(self) -> np.ndarray:
        return self.board.done.label.isin(self.board.published).to_numpy()

    @cached_property
    def reference(self) -> str | None:
        """The label of supervised training under the common budget."""
        found = formatting.supervised(self.board, self.board.published) if len(self.runs) else None
        return found if found in self.labels() else None

    def ratios(self, labels: Sequence[str] | None = None) -> list[float]:
        """The ratios at which these labels, or any, have runs."""
        return sorted({ratio for label, ratio in self.columns if labels is None or label in labels})

    def main_ratio(self) -> float | None:
        """The ratio at which most methods have runs of the common budget; of equals, the smallest."""
        return formatting.main_ratio(self.board, self.labels(uneven=False))

    def at(self, label: str, ratio: float) -> list[int]:
        """The places of a label's runs at a ratio."""
        return self.columns.get((label, ratio), [])

    def drawn(self, label: str, ratio: float) -> list[Place]:
        """The draws and seeds of a label's runs at a ratio."""
        places = self.at(label, ratio)
        return list(zip(self.runs.draw[places], self.runs.seed[places], strict=True))

    def claim(self, label: str, ratio: float) -> family.Claim | None:
        """A label's difference to supervised with its adjusted p-values; None where nothing is claimed."""
        return family.against_supervised(self.board, self.options).get((ratio, label.removesuffix(DAGGER)))

    def ranked(self, ratio: float) -> bool:
        """Whether methods may be ranked at a ratio."""
        return standing.ranks(self.board, ratio, self.options)

    def has_headroom(self, ratio: float) -> bool:
        """Whether all labels are significantly better than few with the same steps."""
        return standing.has_headroom(self.board, ratio, self.options)

    def fraction(self, ratio: float) -> str:
        """The labelled fraction in words, for an axis; says where there is no headroom."""
        return f"{formatting.percent(ratio)} labels" + (
            ", no headroom" if ratio < 1 and not self.has_headroom(ratio) else ""
        )

    def cautions(self) -> list[str]:
        """What the comparison cannot tell, in sentences."""
        return standing.sentences(self.board, self.options)

    def values(self, label: str, ratio: float, drawn: Sequence[Place]) -> Float[np.ndarray, "runs images"]:
        """The scores of a label's runs with these draws and seeds."""
        return self.board.values(label.removesuffix(DAGGER), ratio, self.score.name, None, drawn)

    def interval(self, label: str, ratio: float) -> Interval:
        """The mean score of a label at a ratio; nan where it has no runs."""
        label = label.removesuffix(DAGGER)
        return self.board.intervals([label], ratio, self.score.name)[label]

    def difference(self, label: str, other: str, ratio: float) -> Difference | None:
        """The mean of a label's scores less the other's, paired; None where they share no draw, seed and score."""
        label, other = label.removesuffix(DAGGER), other.removesuffix(DAGGER)
        found = self.board.differences([label], other, ratio, self.score.name)[label]
        return None if np.isnan(found.mean) else found
