"""Does a generated table still say what the rows say? Every number is computed again and compared."""

import csv
import difflib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.analysis import family
from benchmark.analysis.board import Board
from benchmark.analysis.run_table import comparisons
from benchmark.records import RunRecord
from benchmark.report import speed
from benchmark.report.tables import all_tables, notes, pilot
from benchmark.report.tables.formatting import Options
from benchmark.report.tables.table import END, FORMATS, PROVENANCE, Table

WORDS = re.compile(r"\w*\d\w*(?:\.\d+)*")  # with a digit in them: in captions, notes and layout
CELL = re.compile(r"[+−-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[+−-]?inf\b|[<>†–]|\*\*|\b(?:True|False)\b")
TEX = {
    r"\\textbf\{([^{}]*)\}": r"**\1**", r"\$-\$": "−", r"\$<\$": "<", r"\$>\$": ">", r"\$\^\\dagger\$": "†",
    r"---?": "–", r"\$\\times\$": "×", r"\$\\uparrow\$": "↑", r"\$\\downarrow\$": "↓",
    r"\$\\Delta\$": "Δ", r"\\[a-zA-Z]+": "", r"\\([%&#_$])": r"\1", r"[{}$]": "",
}  # fmt: skip


class Finding(NamedTuple):
    """A place that does not hold: its line in the file, what it is, what it says and what it should say."""

    line: int
    where: str
    says: str
    should: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.where}: says {self.says}, should say {self.should}"


@dataclass
class Verdict:
    """How many tables and numbers were checked, and what does not hold."""

    tables: int = 0
    numbers: int = 0
    findings: list[Finding] = field(default_factory=list)


class Published:
    """Rows, and the comparisons of which p-values are adjusted together; whoever checks several files shares one."""

    def __init__(self, rows: Sequence[RunRecord]):
        self.rows = rows
        self._known: dict[str, tuple[list[RunRecord], list[Board]]] = {}

    @classmethod
    def of(cls, rows: "Sequence[RunRecord] | Published") -> "Published":
        return rows if isinstance(rows, cls) else cls(rows)

    def of_suite(self, suite: str) -> tuple[list[RunRecord], list[Board]]:
        """The rows of a suite, or all, and their comparisons."""
        if suite not in self._known:
            rows = family.of_suite(self.rows, suite)
            self._known[suite] = rows, list(family.boards(comparisons(rows)).values())
        return self._known[suite]


def verify(path: Path, rows: Sequence[RunRecord] | Published, speeds: Sequence[dict[str, Any]] = ()) -> Verdict:
    """Draws the tables of a file (.csv, .md or .tex; in a paper, too) again from the rows and compares every number.

    A table is found by the line that says how it was drawn. Its lines and columns are found by their names, so that
    they may be reordered or left out, and words may be changed; numbers whose place cannot be found are findings.

    Raises:
        ValueError: if the file is no text, is of another kind, or has no table that `bench report` wrote.
    """
    ending = path.suffix.lstrip(".")
    if ending not in FORMATS:
        raise ValueError(f"{path} is none of .{', .'.join(FORMATS)}; give a table that `bench report` wrote.")
    verdict = Verdict()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8; give a table that `bench report` wrote.") from error
    try:
        for told, first, region in _regions(text, ending):
            verdict.tables += 1
            _check(told, first, region, ending, Published.of(rows), speeds, verdict)
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV table ({error}); give a table that `bench report` wrote.") from error
    if not verdict.tables:
        raise ValueError(
            f"{path} has no table of `bench report`; keep the line '{PROVENANCE} …' when you copy a table, since it "
            "says which rows it was drawn from."
        )
    return verdict


def _regions(text: str, ending: str) -> Iterator[tuple[str, int, str]]:
    """Each table of a file: how it says it was drawn, the number of its first line, and its text."""
    if ending == "csv":
        head, *body = csv.reader(io.StringIO(text, newline="")) if text else [[]]
        if PROVENANCE in head and body:
            place = head.index(PROVENANCE)
            yield next((line[place] for line in body if len(line) > place and line[place]), ""), 1, text
        return
    starts = list(re.finditer(rf"^(?:%|<!--) *{PROVENANCE} (.*?)(?: *-->)?$", text, re.MULTILINE))
    for k, start in enumerate(starts):
        until = starts[k + 1].start() if k + 1 < len(starts) else len(text)
        end = text.find(END, start.end(), until)
        yield start[1], text.count("\n", 0, start.end()) + 1, text[start.end() : until if end < 0 else end]


def _check(
    told: str, first: int, text: str, ending: str, published: Published, speeds: Sequence[dict[str, Any]],
    verdict: Verdict,
) -> None:  # fmt: skip
    """Adds what does not hold in one table."""
    try:
        drawn = json.loads(told)
        table = _again(drawn, published, speeds)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        verdict.findings.append(Finding(first, "how it was drawn", told, f"what `bench report` wrote ({error})"))
        return
    if table is None:
        why = f"the name of a table and of rows that are here; none of the {len(published.rows) + len(speeds)} rows fit"
        verdict.findings.append(Finding(first, "how it was drawn", told, why))
        return
    for name, value in table.drawn.items():
        if drawn.get(name) != value:
            verdict.findings.append(
                Finding(first, f"'{name}' of how it was drawn", _show(drawn.get(name)), _show(value))
            )
    _, start, expected = next(_regions(FORMATS[ending](table), ending))
    keys = 1 + bool(table.blocks)
    read = READERS[ending]
    _compare(read(text, first, keys), read(expected, start, keys), verdict)


def _again(drawn: dict[str, Any], published: Published, speeds: Sequence[dict[str, Any]]) -> Table | None:
    """The table as it would be drawn now."""
    if drawn["table"].startswith(speed.PREFIX):
        return speed.again(drawn, speeds)
    if drawn["table"] == pilot.NAME:
        return pilot.again(drawn, published.rows)
    options = Options(drawn["metric"], drawn["uneven"], drawn.get("margin", Options.margin), drawn["suite"])
    rows, others = published.of_suite(options.suite)
    chosen = notes.selected(rows, drawn)
    if not chosen:
        return None
    board, keys = Board(chosen), {row.key for row in chosen}
    board.published_with = [board if keys <= other.rows.keys() else other for other in others]
    return all_tables.draw(drawn["table"], board, options)


def _show(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# ----------------------------------------------------------------------------------------------------------------------
# Reading a table back


class Word(NamedTuple):
    """A text and the line that it is in."""

    line: int
    text: str


@dataclass
class Sheet:
    """A table as read from a file: heads, lines of cells by name, words with digits outside of cells."""

    heads: list[str] = field(default_factory=list)
    lines: list[tuple[int, tuple[str, ...], list[str]]] = field(default_factory=list)  # line, name, cells
    told: list[Word] = field(default_factory=list)  # captions and notes
    layout: list[Word] = field(default_factory=list)


def _read_csv(text: str, first: int, keys: int) -> Sheet:
    sheet = Sheet()
    reader = csv.reader(io.StringIO(text))
    for cells in reader:
        if not sheet.heads:
            place = cells.index(PROVENANCE)
            sheet.heads = cells[:place] + cells[place + 1 :]
            sheet.layout = _words(reader.line_num, ",".join(sheet.heads))
        else:
            cells = cells[:place] + cells[place + 1 :]
            sheet.lines.append((reader.line_num, tuple(cells[:keys]), cells))
    return sheet


def _read_markdown(text: str, first: int, keys: int) -> Sheet:
    sheet = Sheet()
    for number, line in enumerate(text.split("\n"), first):
        if not line.lstrip().startswith("|"):
            sheet.told += _words(number, line)
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        cells = [cell.replace("\\|", "|").replace("&lt;", "<").replace("]\\(", "](") for cell in cells]
        if not sheet.heads:
            sheet.heads = cells
            sheet.layout += _words(number, line)
        elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            sheet.lines.append((number, tuple(_name(cell) for cell in cells[:keys]), cells))
    return sheet


def _read_latex(text: str, first: int, keys: int) -> Sheet:
    sheet, where, block, heads = Sheet(), "outside", "", []
    for number, line in enumerate(text.split("\n"), first):
        if "\\toprule" in line:
            where, heads = "heads", []
        elif "\\midrule" in line:
            where, sheet.heads = "body", sheet.heads or _latex_heads(heads)
        elif "\\bottomrule" in line:
            where = "outside"
        row = line.rstrip().removesuffix("\\\\")
        if where == "body" and row != line.rstrip() and not row.startswith("\\multicolumn"):
            cells = [_plain(cell) for cell in re.split(r"(?<!\\)&", row)]
            name = (_name(cells[0]),) if keys == 1 else (block, _name(cells[0]))
            sheet.lines.append((number, name, cells))
            continue
        if where == "heads" and row != line.rstrip():
            heads.append(row)
        if where == "body" and row.startswith("\\multicolumn"):
            block = _name(_plain(_spanned(row)[1]))
        told = where == "outside" and not re.match(r"\s*\\(?!caption|parbox)", line)
        (sheet.told if told else sheet.layout).extend(_words(number, line))
    return sheet


READERS = {"csv": _read_csv, "md": _read_markdown, "tex": _read_latex}


def _latex_heads(rows: list[str]) -> list[str]:
    """The name of each column, after the heading that it is under."""
    names: list[list[str]] = []
    for row in rows:
        spread = []
        for cell in re.split(r"(?<!\\)&", row):
            width, text = _spanned(cell)
            spread += [_name(_plain(text))] * width
        names.append(spread)
    return [": ".join(filter(None, parts)) for parts in zip(*names, strict=False)]


def _spanned(cell: str) -> tuple[int, str]:
    """How many columns a cell spans, and its text."""
    found = re.match(r"\s*\\multicolumn\{(\d+)\}\{\w\}\{(.*)\}\s*$", cell)
    return (int(found[1]), found[2]) if found else (1, cell)


def _plain(text: str) -> str:
    """LaTeX as the text that it prints, bold in asterisks."""
    for pattern, said in TEX.items():
        text = re.sub(pattern, said, text)
    return " ".join(text.split())


def _name(text: str) -> str:
    return text.replace("*", "").replace("†", "").strip()


def _words(number: int, line: str) -> list[Word]:
    return [Word(number, word) for word in WORDS.findall(line)]


# ----------------------------------------------------------------------------------------------------------------------
# Comparing


def _compare(sheet: Sheet, expected: Sheet, verdict: Verdict) -> None:
    """Adds every cell and every word with a digit that differs."""
    columns = _matched(sheet.heads, expected.heads)
    for place, head in enumerate(sheet.heads):
        if columns[place] is None and any(
            CELL.search(cells[place]) for _, _, cells in sheet.lines if len(cells) > place
        ):
            line = sheet.lines[0][0]
            verdict.findings.append(Finding(line, f"column '{head}'", "numbers", "nothing: there is no such column"))
    lines = _matched([name for _, name, _ in sheet.lines], [name for _, name, _ in expected.lines])
    for (number, name, cells), other in zip(sheet.lines, lines, strict=True):
        said = "line '" + ", ".join(filter(None, reversed(name))) + "'"
        if other is None:
            verdict.findings.append(Finding(number, said, "numbers", "nothing: there is no such line"))
            continue
        if len(cells) != len(sheet.heads):
            verdict.findings.append(Finding(number, said, f"{len(cells)} cells", f"{len(sheet.heads)} cells"))
            continue
        for head, cell, column in zip(sheet.heads, cells, columns, strict=True):
            if column is not None:
                should = expected.lines[other][2][column]
                mine, theirs = CELL.findall(cell), CELL.findall(should)
                verdict.numbers += sum(any(sign.isdigit() for sign in token) for token in mine)
                if not _same(mine, theirs):
                    where = f"{said}, column '{head}'"
                    verdict.findings.append(Finding(number, where, cell or "nothing", should or "nothing"))
    _compare_words(sheet.told, expected.told, "caption or note", verdict)
    if len(sheet.heads) == len(expected.heads) and sorted(columns, key=str) == sorted(range(len(columns)), key=str):
        in_order = columns == list(range(len(columns)))
        _compare_words(
            sheet.layout if in_order else sorted(sheet.layout, key=lambda word: word.text),
            expected.layout if in_order else sorted(expected.layout, key=lambda word: word.text),
            "heading or layout", verdict,
        )  # fmt: skip


def _matched(names: Sequence[Any], expected: Sequence[Any]) -> list[int | None]:
    """For each name the place of the same one; those that are left are matched in order if they are equally many."""
    places = defaultdict(list)
    for place, name in enumerate(expected):
        places[name].append(place)
    found = [places[name].pop(0) if places[name] else None for name in names]
    left = sorted(place for several in places.values() for place in several)
    unmatched = [k for k, place in enumerate(found) if place is None]
    if len(left) == len(unmatched):
        for k, place in zip(unmatched, left, strict=True):
            found[k] = place
    return found


def _same(tokens: list[str], others: list[str]) -> bool:
    return len(tokens) == len(others) and all(map(_equal, tokens, others))


def _equal(token: str, other: str) -> bool:
    """The same text, or the same number written by another program (80 and 80.0)."""
    if token == other:
        return True
    try:
        return float(token.replace("−", "-")) == float(other.replace("−", "-"))
    except ValueError:
        return False


def _compare_words(words: list[Word], expected: list[Word], where: str, verdict: Verdict) -> None:
    """Adds words with digits that should be others, or should not be there; those that were left out are no finding."""
    mine, theirs = [word.text for word in words], [word.text for word in expected]
    verdict.numbers += len(mine)
    for kind, a, b, c, d in difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if kind in ("replace", "delete"):
            should = ", ".join(theirs[c:d]) or "nothing"
            verdict.findings.append(Finding(words[a].line, where, ", ".join(mine[a:b]), should))
