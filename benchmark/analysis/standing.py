"""Where methods may be ranked, and the sentence that says why not."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.analysis import family
from benchmark.analysis.board import Board
from benchmark.datasets.few_patients import FEWEST_PATIENTS
from benchmark.words import in_units

if TYPE_CHECKING:
    from benchmark.report.tables.formatting import Options

CANNOT = "cannot tell what unlabelled images are worth"
NOTHING = "nothing is bold or ranked."
NO_BOUND = "supervised training with all labels (the upper bound) was not run with the same steps, draws and seeds"
NO_HEADROOM = "supervised training with all labels (the upper bound) is not significantly better there"


def ranks(board: Board, ratio: float, options: "Options") -> bool:
    """Whether methods at a ratio may be ranked and set in bold.

    That needs enough test patients and a headroom that is significantly above 0. At the ratio 1 there is no headroom.
    """
    return has_headroom(board, ratio, options) and not few_patients(board)


def ranks_any(board: Board, options: "Options") -> bool:
    """Whether methods may be ranked at any of the ratios at which there are some."""
    return any(ranks(board, ratio, options) for ratio in _compared(board))


def has_headroom(board: Board, ratio: float, options: "Options") -> bool:
    """Whether supervised training with all labels and the same steps is significantly better."""
    return ratio < 1 and not _why(board, ratio, options)


def few_patients(board: Board) -> bool:
    return len(board.patient_names) < FEWEST_PATIENTS


def sentences(board: Board, options: "Options", ratios: Sequence[float] | None = None) -> list[str]:
    """Why nothing is ranked, one sentence for each reason; none where methods are ranked at all ratios."""
    compared = _compared(board)
    if not compared:
        return []
    why: dict[str, list[float]] = defaultdict(list)
    for ratio in compared:
        if ratios is None or ratio in ratios:
            why[_why(board, ratio, options)].append(ratio)
    said = [
        f"At {_listed(of)} labels this comparison {CANNOT}, because {reason}; {NOTHING}"
        for reason, of in why.items()
        if reason
    ]
    if few_patients(board):
        count, fewest = len(board.patient_names), FEWEST_PATIENTS
        said.append(f"The test images are of {count} patient{'s' * (count != 1)}; with fewer than {fewest} {NOTHING}")
    return [in_units(sentence, board.unit) for sentence in said]


def _compared(board: Board) -> list[float]:
    """The ratios below 1 at which a method other than supervised has finished runs."""
    methods = [label for label in board.published if label != board.supervised]
    return [r for r in board.ratios(methods) if r < 1 and any(board.keys(label, r) for label in methods)]


def _why(board: Board, ratio: float, options: "Options") -> str:
    """What keeps methods at a ratio from being ranked; "" if nothing does."""
    claim = family.headrooms(board, options).get(ratio)
    if claim is None:
        return NO_BOUND
    return "" if claim.verdict(options.score.higher_is_better).startswith("better") else NO_HEADROOM


def _listed(ratios: Sequence[float]) -> str:
    *most, last = (f"{100 * ratio:g}" for ratio in ratios)
    return f"{', '.join(most)} and {last} %" if most else f"{last} %"
