"""Rows of ratios as a table: how many times as fast something is here as what it took turns with."""

from collections.abc import Sequence
from typing import Any

from benchmark.report.tables.table import Cell, Column, Line, Table, digest

NAME = "speed-ratios"
PLACE = "Ratios"
COLUMNS = (
    Column("What", "text"), Column("wanted"), Column("times as fast", "interval"), Column("turns"),
)  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> Table | None:
    """A line for each ratio, a block for each device and number of threads; None without rows of ratios."""
    rows = [row for row in rows if "ratio" in row]
    if not rows:
        return None
    notes = (
        "Both sides of a ratio took turns in one process or its children; the median over the turns, and in brackets "
        "its quartiles.",
        "Wanted is the least that is to be reached; † marks what falls short of it.",
    )
    drawn = {"table": NAME, "rows": len(rows), "keys": digest(row["key"] for row in rows)}
    lines = [_line(row) for row in sorted(rows, key=lambda row: (_where(row), row["what"]))]
    return Table(NAME, "How many times as fast as what others do", COLUMNS, tuple(lines), notes, drawn, "Device")


def _line(row: dict[str, Any]) -> Line:
    ratio, least, (low, high), runs = row["ratio"], row["least"], row["quartiles"], (row["key"],)
    return Line(
        (
            Cell(row["what"], dagger=ratio < least, runs=runs),
            Cell(f"{least:.3g}", least, runs=runs),
            Cell(f"{ratio:.3g} [{low:.3g}, {high:.3g}]", ratio, low, high, runs=runs),
            Cell(f"{row['turns']}", row["turns"], runs=runs),
        ),
        _where(row),
    )


def _where(row: dict[str, Any]) -> str:
    threads = row["machine"]["threads"]
    return f"{row['machine']['device']}, {threads} thread{'s' * (threads > 1)}"
