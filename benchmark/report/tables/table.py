"""A table as a value, and how it is written as CSV, Markdown and LaTeX."""

import csv
import hashlib
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

DASH = "–"  # nothing was measured
DAGGER = "†"
PROVENANCE = "bench table"  # begins the line that says how a table was drawn, and names that column in CSV
END = "end of bench table"
LABELLED = "Labelled"  # what blocks are, if each has a labelled fraction
PAGE_LINES = 42  # of a LaTeX table; a longer one goes on in a second
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


@dataclass(frozen=True)
class Column:
    """A column; `kind` says what is in it: "text", "number", "interval", or "ranked", an interval that may be bold."""

    name: str
    kind: str = "number"
    group: str = ""  # a heading over neighbours

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
    """`drawn` says which rows it was drawn from and with which options, so that it can be drawn again."""

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    drawn: dict[str, Any]
    blocks: str = ""  # what the blocks are, such as "Labels"


def provenance(table: Table) -> str:
    """One line of ASCII that says how a table was drawn; no name in it can end the comment that it stands in."""
    told = json.dumps(table.drawn).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"{PROVENANCE} {told}"


def digest(keys: Iterable[str]) -> str:
    """Of the rows that a table was drawn from, by their keys in any order."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:12]


def rendered(table: Table) -> dict[str, str]:
    """The table in every format, by the ending of its file."""
    return {ending: write(table) for ending, write in FORMATS.items()}


# ----------------------------------------------------------------------------------------------------------------------
# CSV: numbers, not texts


def to_csv(table: Table) -> str:
    """Comma-separated numbers for `pandas.read_csv`; intervals as mean, low and high; nothing is an empty field.

    The last column has a value in the first line only: how the table was drawn.
    """
    head = [table.blocks] if table.blocks else []
    head += [name for column in table.columns for name in _csv_names(column)] + [PROVENANCE]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for i, line in enumerate(table.lines):
        fields = [line.block] if table.blocks else []
        for column, cell in zip(table.columns, line.cells, strict=True):
            fields += _csv_fields(column, cell)
        writer.writerow([*fields, "" if i else json.dumps(table.drawn)])
    return out.getvalue()


def _csv_names(column: Column) -> list[str]:
    name = column.full
    more = {"interval": (" low", " high"), "ranked": (" low", " high", " tied with best")}.get(column.kind, ())
    return [name, *(name + word for word in more)]


def _csv_fields(column: Column, cell: Cell) -> list[str]:
    if column.kind == "text":
        return ["" if cell.text == DASH else cell.text + DAGGER * cell.dagger]
    numbers = [cell.mean] if column.kind == "number" else [cell.mean, cell.low, cell.high]
    fields = ["" if math.isnan(number) else f"{number:.{RAW_DIGITS}g}" for number in numbers]
    return fields + [str(cell.bold)] * (column.kind == "ranked")


# ----------------------------------------------------------------------------------------------------------------------
# Markdown


def to_markdown(table: Table, folded: bool = False) -> str:
    """A title, the table with its blocks in the first column, and the notes, which GitHub opens if `folded`."""
    head = ([table.blocks] if table.blocks else []) + [column.full for column in table.columns]
    left = [True] * bool(table.blocks) + [column.kind == "text" for column in table.columns]
    rows = [head, ["---" if text else "---:" for text in left]]
    for line in table.lines:
        block = [line.block] if table.blocks else []
        rows.append(block + [_emphasised(cell, "**{}**") for cell in line.cells])
    body = "\n".join("| " + " | ".join(markdown(field) for field in row) + " |" for row in rows)
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


# ----------------------------------------------------------------------------------------------------------------------
# LaTeX


def to_latex(table: Table) -> str:
    """Floats for booktabs and graphicx, shrunk where they are wider than a line, split where longer than a page."""
    pages = list(_pages(table))
    floats = "\n".join(_float(table, lines, k, len(pages)) for k, lines in enumerate(pages))
    return f"% {provenance(table)}\n% needs \\usepackage{{booktabs}} and \\usepackage{{graphicx}}\n{floats}% {END}\n"


def _pages(table: Table) -> Iterator[list[Line]]:
    """The lines in pages; a block is split only if it is longer than one."""
    page: list[Line] = []
    for k, line in enumerate(table.lines):
        starts = k == 0 or line.block != table.lines[k - 1].block
        block = sum(other.block == line.block for other in table.lines[k:]) if starts else 0
        if page and (len(page) >= PAGE_LINES or (starts and len(page) + min(block, PAGE_LINES) > PAGE_LINES)):
            yield page
            page = []
        page.append(line)
    yield page


def _float(table: Table, lines: list[Line], page: int, pages: int) -> str:
    columns = table.columns
    shape = "".join("l" if column.kind == "text" else "r" for column in columns)
    caption = latex(table.title) + (" (continued)" if page else "")
    label = f"\\label{{tab:{table.name}}}" if page == 0 else ""
    out = [
        "\\begin{table}[tbp]", "\\centering", "\\setlength{\\belowcaptionskip}{4pt}",
        f"\\caption{{{caption}.}}{label}", "\\footnotesize",
        "\\setlength{\\tabcolsep}{4pt}", f"\\sbox0{{\\begin{{tabular}}{{{shape}}}", "\\toprule",
    ]  # fmt: skip
    if any(column.group for column in columns):
        out += _group_heads(columns)
    out += [" & ".join(latex(column.name) for column in columns) + " \\\\", "\\midrule"]
    block = None
    for line in lines:
        if line.block != block:
            if block is not None:
                out.append("\\addlinespace")
            block = line.block
            if block:
                out.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{\\textit{{{latex(block)}}}}} \\\\")
        out.append(" & ".join(_latex_cell(cell) for cell in line.cells) + " \\\\")
    out += ["\\bottomrule", "\\end{tabular}}%"]
    out += ["\\ifdim\\wd0>\\linewidth\\resizebox{\\linewidth}{!}{\\usebox0}\\else\\usebox0\\fi"]
    if page == pages - 1:
        notes = "\n".join(latex(note) for note in table.notes)
        out += ["\\par\\smallskip", f"\\parbox{{\\linewidth}}{{\\scriptsize {notes}}}"]
    return "\n".join([*out, "\\end{table}", ""])


def _group_heads(columns: tuple[Column, ...]) -> list[str]:
    """The line of headings that span columns, and the thin rules under them."""
    heads, rules, start = [], [], 0
    while start < len(columns):
        end = start
        while end < len(columns) and columns[end].group == columns[start].group:
            end += 1
        group = columns[start].group
        heads += [f"\\multicolumn{{{end - start}}}{{c}}{{{latex(group)}}}"] if group else [""] * (end - start)
        if group:
            rules.append(f"\\cmidrule(lr){{{start + 1}-{end}}}")
        start = end
    return [" & ".join(heads) + " \\\\", "".join(rules)]


def _latex_cell(cell: Cell) -> str:
    word, bracket, bounds = cell.text.partition(" [")
    text = latex(word)
    text = f"\\textbf{{{text}}}" if cell.bold else text
    return text + (f" {{\\scriptsize {latex('[' + bounds)}}}" if bracket else "") + "$^\\dagger$" * cell.dagger


SIGNS = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "–": "--", "−": "$-$", "±": "$\\pm$", "×": "$\\times$", "↑": "$\\uparrow$", "↓": "$\\downarrow$",
    "Δ": "$\\Delta$", "†": "$^\\dagger$", "≥": "$\\geq$", "≤": "$\\leq$", "µ": "$\\mu$", "∞": "$\\infty$",
    "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex(text: str) -> str:
    """The text with every sign written so that pdflatex prints it; scripts beyond its fonts by their code points."""
    return re.sub(r".", lambda found: _sign(found[0]), text, flags=re.DOTALL)


def _sign(sign: str) -> str:
    if sign in SIGNS or sign.isascii():
        return SIGNS.get(sign, sign)
    if ord(sign) < 0x180:  # letters of Latin alphabets, which LaTeX reads in UTF-8
        return sign
    plain = unicodedata.normalize("NFKD", sign)
    return plain if plain.isascii() else f"U+{ord(sign):04X}"


FORMATS = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
