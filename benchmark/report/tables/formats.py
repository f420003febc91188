"""The formats of tables, by the ending of their files."""

from collections.abc import Callable

from benchmark.report.tables.latex import to_latex
from benchmark.report.tables.table import Table, to_csv, to_markdown

FORMATS: dict[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def rendered(table: Table) -> dict[str, str]:
    """The table in every format, by the ending of its file."""
    return {ending: write(table) for ending, write in FORMATS.items()}
