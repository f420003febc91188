"""Words that figures share: what the numbers rest on, the labelled fraction, the mark of another budget."""

from collections.abc import Sequence

from benchmark.analysis import standing
from benchmark.analysis.comparison import Comparison
from benchmark.report.tables import formatting
from benchmark.report.tables.table import DAGGER
from benchmark.run_records import RunRecord

Records = Sequence[RunRecord] | Comparison  # of one comparison; several figures of it share one Comparison


def basis(comparison: Comparison, tested: bool = True) -> str:
    """How many runs the numbers of a figure rest on, and on which images they were `tested`."""
    places = [(label, r) for label in comparison.labels for r in comparison.ratios([label])]
    counts = [len(comparison.keys(*place)) for place in places if comparison.keys(*place)]
    least, most = min(counts), max(counts)
    runs = f"{least} to {most} runs" if least < most else f"{most} run" + "s" * (most > 1)
    images = f"{len(comparison.patients)} test images of {len(comparison.patient_names)} patients; " if tested else ""
    return f"{images}{runs} of each method at each labelled fraction."


def fraction(comparison: Comparison, ratio: float) -> str:
    """The labelled fraction for an axis; says where there is no headroom."""
    without = ratio < 1 and not standing.has_headroom(comparison, ratio)
    return f"{formatting.percent(ratio)} labels" + (", no headroom" if without else "")


def printed(comparison: Comparison, label: str) -> str:
    """A label, with a dagger where the budget is not that of most runs."""
    return f"{label} {DAGGER}" if comparison.uneven(label, None) else label
