"""Speed records of ratios as a table: how many times as fast one side is as the other, measured in turns."""

from collections.abc import Sequence
from typing import Any

from benchmark.report.tables.table import Cell, Column, Line, Table, digest

NAME = "speed-ratios"
PLACE = "Ratios"
COLUMNS = (
    Column("What", "text"), Column("target"), Column("times as fast", "interval"), Column("turns"),
)  # fmt: skip


def table(records: Sequence[dict[str, Any]]) -> Table | None:
    """A line for each ratio, a block for each device and number of threads; None without such records."""
    records = [record for record in records if "ratio" in record]
    if not records:
        return None
    notes = (
        "Both sides of a ratio took turns in one process or its children; the median over the turns, and in brackets "
        "its quartiles.",
        "Target: the smallest ratio that is to be reached; † marks ratios below it.",
    )
    source = {"table": NAME, "records": len(records), "keys": digest(record["key"] for record in records)}
    lines = [_line(record) for record in sorted(records, key=lambda record: (_where(record), record["what"]))]
    return Table(NAME, "How many times as fast as what others do", COLUMNS, tuple(lines), notes, source, "Device")


def _line(record: dict[str, Any]) -> Line:
    ratio, least, (low, high), runs = record["ratio"], record["least"], record["quartiles"], (record["key"],)
    return Line(
        (
            Cell(record["what"], dagger=ratio < least, runs=runs),
            Cell(f"{least:.3g}", least, runs=runs),
            Cell(f"{ratio:.3g} [{low:.3g}, {high:.3g}]", ratio, low, high, runs=runs),
            Cell(f"{record['turns']}", record["turns"], runs=runs),
        ),
        _where(record),
    )


def _where(record: dict[str, Any]) -> str:
    threads = record["machine"]["threads"]
    return f"{record['machine']['device']}, {threads} thread{'s' * (threads > 1)}"
