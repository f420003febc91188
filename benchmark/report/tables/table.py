"""A table as a value, and how it is written as CSV and Markdown."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DASH = "–"  # nothing was measured
DAGGER = "†"
PROVENANCE = "bench table"  # begins the line that names the source of a table
END = "end of bench table"
LABELLED = "Labelled"  # what blocks are, if each has a labelled fraction
RAW_DIGITS = 6  # significant, of the numbers in CSV


@dataclass(frozen=True)
class Cell:
    """What one place of a table says, the numbers behind it, and the runs behind those."""

    text: str = DASH
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    bold: bool = False
    dagger: bool = False
    runs: tuple[str, ...] = ()  # keys
    cite: str = ""  # the key of the publication in the bibliography


@dataclass(frozen=True)
class Column:
    """A column; `kind` says what is in it: "text", "number", "interval", or "ranked", an interval that may be bold."""

    name: str
    kind: str = "number"
    group: str = ""  # a heading over neighbours
    unit: str = ""  # of its numbers, as CSV names it; "" if it is in the name

    @property
    def full(self) -> str:
        """The name where nothing stands above it."""
        return f"{self.group}: {self.name}" if self.group else self.name


@dataclass(frozen=True)
class Line:
    """A line of cells, one for each column; the first names the line. Lines of a block follow each other."""

    cells: tuple[Cell, ...]
    block: str = ""


@dataclass(frozen=True)
class Table:
    """A table. `source` names its run records and its options, so that it can be computed again."""

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    source: dict[str, Any]
    blocks: str = ""  # what the blocks are, such as "Labelled"
    place: str = ""  # the comparison or device that the table is of, unique among those written together
    cite: str = ""  # the key of the dataset's publication in the bibliography


def provenance(table: Table) -> str:
    """One line of ASCII with the source of a table; no name in it can end the comment that it stands in."""
    source = json.dumps(table.source).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"{PROVENANCE} {source}"


def digest(keys: Iterable[str]) -> str:
    """Of the run records of a table, by their keys in any order."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:12]


# ----------------------------------------------------------------------------------------------------------------------
# CSV: one value in a line

TIDY = ("quantity", "unit", "value", "low", "high", "tied_with_best", "text")


def to_csv(table: Table) -> str:
    """One value in a line, for `pandas.read_csv(path, comment="#")`; what is unknown is an empty field.

    The columns are the block (such as the labelled fraction), the first column of the table (such as the method), and
    `TIDY`: the name of the table's column, its unit, the number with the bounds of its 95 % interval, whether a method
    is tied with the best, and the text where the cell is none of these. The first line is a comment with the source.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = [table.blocks.lower()] if table.blocks else []
    writer.writerow([*keys, table.columns[0].name.lower(), *TIDY])
    for line in table.lines:
        block = [line.block] if table.blocks else []
        first = line.cells[0]
        for column, cell in zip(table.columns[1:], line.cells[1:], strict=True):
            writer.writerow(
                [*block, first.text + DAGGER * first.dagger, column.full, column.unit, *_tidy(column, cell)]
            )
    return f"# {provenance(table)}\n{out.getvalue()}"


def _tidy(column: Column, cell: Cell) -> list[str]:
    numbers = ["" if math.isnan(n) else f"{n:.{RAW_DIGITS}g}" for n in (cell.mean, cell.low, cell.high)]
    tied = str(cell.bold).lower() if column.kind == "ranked" and numbers[0] else ""
    text = cell.text if column.kind == "text" and cell.text != DASH else ""
    return [*numbers, tied, text]


# ----------------------------------------------------------------------------------------------------------------------
# Markdown


def to_markdown(table: Table, folded: bool = False) -> str:
    """A title, the table with its blocks in the first column, and the notes, which GitHub opens if `folded`."""
    head = ([table.blocks] if table.blocks else []) + [column.full for column in table.columns]
    left = [True] * bool(table.blocks) + [column.kind == "text" for column in table.columns]
    lines = [head, ["---" if text else "---:" for text in left]]
    for line in table.lines:
        block = [line.block] if table.blocks else []
        lines.append(block + [_emphasised(cell, "**{}**") for cell in line.cells])
    body = "\n".join("| " + " | ".join(markdown(field) for field in line) + " |" for line in lines)
    notes = "\n".join(f"- {markdown(note)}" for note in table.notes)
    if folded:
        notes = f"<details><summary>How to read it, and what it rests on</summary>\n\n{notes}\n\n</details>"
    return f"<!-- {provenance(table)} -->\n**{markdown(table.title)}**\n\n{body}\n\n{notes}\n<!-- {END} -->\n"


def markdown(text: str) -> str:
    """A text of one line in which no name can be HTML, a link, a picture or the next cell of a table.

    >>> markdown("<img src=x> [a](https://example.org) | b")
    '&lt;img src=x> [a]\\\\(https://example.org) \\\\| b'
    """
    return " ".join(text.splitlines()).replace("|", "\\|").replace("<", "&lt;").replace("](", "]\\(")


def _emphasised(cell: Cell, bold: str) -> str:
    """The cell's text with its first word set off if it is bold, and its dagger."""
    word, space, rest = cell.text.partition(" ")
    return (bold.format(word) + space + rest if cell.bold else cell.text) + DAGGER * cell.dagger
