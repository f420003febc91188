"""Checks generated tables: every number is computed again from the run records and compared."""

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

from benchmark.analysis import family, standing
from benchmark.analysis.comparison import Comparison, Options
from benchmark.analysis.run_table import comparisons
from benchmark.report import paper, speed
from benchmark.report.tables import all_tables, notes, pilot
from benchmark.report.tables.formats import FORMATS
from benchmark.report.tables.table import END, PROVENANCE, TIDY, Table
from benchmark.run_records import RunRecord

WORDS = re.compile(r"\w*\d\w*(?:\.\d+)*")  # with a digit in them: in captions, notes and layout
UNREAD = re.compile(
    r"~?\\(?:cite|label)\{[^{}]*\}|\\shortstack\[\w\]| \\\\(?= \S)"
)  # of LaTeX: citations, labels, broken heads
CELL = re.compile(r"[+−-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[+−-]?inf\b|[<>†–]|\*\*|\b(?i:true|false)\b")
TEX = {
    r"\\textbf\{([^{}]*)\}": r"**\1**", r"\$-\$": "−", r"\$<\$": "<", r"\$>\$": ">", r"\$\^\\dagger\$": "†",
    r"---?": "–", r"\$\\times\$": "×", r"\$\\uparrow\$": "↑", r"\$\\downarrow\$": "↓",
    r"\$\\Delta\$": "Δ", r"\\[a-zA-Z]+": "", r"\\([%&#_$])": r"\1", r"[{}$]": "",
}  # fmt: skip


class Finding(NamedTuple):
    """A value that does not match: its line in the file, its place, what it says and what it should say."""

    line: int
    where: str
    says: str
    should: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.where}: says {self.says}, should say {self.should}"


@dataclass
class Verdict:
    """How many tables and numbers were checked, and what does not match."""

    tables: int = 0
    numbers: int = 0
    findings: list[Finding] = field(default_factory=list)


class Published:
    """Run records, and the comparisons with p-values adjusted together; several files that are checked share one."""

    def __init__(self, records: Sequence[RunRecord]):
        self.records = records
        self._known: dict[Options, list[Comparison]] = {}

    @classmethod
    def of(cls, records: "Sequence[RunRecord] | Published") -> "Published":
        return records if isinstance(records, cls) else cls(records)

    def comparisons(self, options: Options) -> list[Comparison]:
        """The comparisons of the suite of these options, or of all records."""
        if options not in self._known:
            groups = comparisons(family.of_suite(self.records, options.suite))
            self._known[options] = list(family.together(groups, options).values())
        return self._known[options]


def verify(path: Path, records: Sequence[RunRecord] | Published, speeds: Sequence[dict[str, Any]] = ()) -> Verdict:
    """Computes the tables of a file (.csv, .md or .tex; in a paper, too) again and compares every number.

    A table is found by the line that names its source. Its lines and columns are found by their names, so that
    they may be reordered or left out, and words may be changed; numbers with an unknown place are findings.

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
        for source, first, region in _regions(text, ending):
            verdict.tables += 1
            _check(source, first, region, ending, Published.of(records), speeds, verdict)
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV table ({error}); give a table that `bench report` wrote.") from error
    if not verdict.tables:
        raise ValueError(
            f"{path} has no table of `bench report`; keep the line '{PROVENANCE} …' when you copy a table, since it "
            "names its run records."
        )
    return verdict


def _regions(text: str, ending: str) -> Iterator[tuple[str, int, str]]:
    """Each table of a file: its source, the number of its first line, and its text."""
    starts = list(re.finditer(rf"^(?:%|<!--|#) *{PROVENANCE} (.*?)(?: *-->)?$", text, re.MULTILINE))
    for k, start in enumerate(starts):
        until = starts[k + 1].start() if k + 1 < len(starts) else len(text)
        end = text.find(END, start.end(), until)
        yield start[1], text.count("\n", 0, start.end()) + 1, text[start.end() : until if end < 0 else end]


def _check(
    source: str, first: int, text: str, ending: str, published: Published, speeds: Sequence[dict[str, Any]],
    verdict: Verdict,
) -> None:  # fmt: skip
    """Adds what does not match in one table."""
    try:
        origin = json.loads(source)
        table = _again(origin, published, speeds)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        verdict.findings.append(Finding(first, "source", source, f"what `bench report` wrote ({error})"))
        return
    if table is None:
        count = len(published.records) + len(speeds)
        why = f"the source of a table with run records that are here; none of the {count} match"
        verdict.findings.append(Finding(first, "source", source, why))
        return
    for name, value in table.source.items():
        if origin.get(name) != value:
            verdict.findings.append(Finding(first, f"'{name}' of the source", _show(origin.get(name)), _show(value)))
    _, start, expected = next(_regions(FORMATS[ending](table), ending))
    keys = 1 + bool(table.blocks)
    read = READERS[ending]
    _compare(read(text, first, keys), read(expected, start, keys), verdict)


def _again(origin: dict[str, Any], published: Published, speeds: Sequence[dict[str, Any]]) -> Table | None:
    """The table from the run records as they are now."""
    if origin["table"].startswith(speed.PREFIX):
        return speed.again(origin, speeds)
    if origin["table"] == pilot.NAME:
        return pilot.again(origin, published.records)
    if origin["table"] in paper.TABLES:
        options = Options(origin["metric"], origin["uneven"], suite=origin["suite"])
        compared = standing.ordered({one.name: one for one in published.comparisons(options)})
        return paper.TABLES[origin["table"]](list(compared.values()))
    options = Options(origin["metric"], origin["uneven"], origin.get("margin", Options.margin), origin["suite"])
    others = published.comparisons(options)
    chosen = notes.selected([record for one in others for record in one.records.values()], origin)
    if not chosen:
        return None
    comparison, keys = Comparison(chosen, options), {record.key for record in chosen}
    comparison.published_with = [comparison if keys <= other.records.keys() else other for other in others]
    return all_tables.table_of(origin["table"], comparison)


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
    notes: list[Word] = field(default_factory=list)  # captions and notes
    layout: list[Word] = field(default_factory=list)


def _read_csv(text: str, first: int, keys: int) -> list[Sheet]:
    """A line is named by its block, its method and its quantity."""
    sheet = Sheet()
    reader = csv.reader(io.StringIO(text.lstrip("\n")))
    for cells in reader:
        number = first + reader.line_num
        if not sheet.heads:
            sheet.heads, sheet.layout = cells, _words(number, ",".join(cells))
            missing = set(TIDY) - set(cells)
            if missing:
                raise csv.Error(f"the columns {', '.join(sorted(missing))} are missing")
            named = [place for place, head in enumerate(cells) if head not in TIDY[1:]]
        elif cells:
            sheet.lines.append((number, tuple(cells[place] for place in named if place < len(cells)), cells))
    return [sheet]


def _read_markdown(text: str, first: int, keys: int) -> list[Sheet]:
    sheet = Sheet()
    for number, line in enumerate(text.split("\n"), first):
        if not line.lstrip().startswith("|"):
            sheet.notes += _words(number, line)
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        cells = [cell.replace("\\|", "|").replace("&lt;", "<").replace("]\\(", "](") for cell in cells]
        if not sheet.heads:
            sheet.heads = cells
            sheet.layout += _words(number, line)
        elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            sheet.lines.append((number, tuple(_name(cell) for cell in cells[:keys]), cells))
    return [sheet]


def _read_latex(text: str, first: int, keys: int) -> list[Sheet]:
    """A sheet for each part: floats with the same columns are one."""
    parts: list[Sheet] = []
    outside, where, block, heads = Sheet(), "outside", "", []
    sheet = outside
    for number, line in enumerate(text.split("\n"), first):
        line = UNREAD.sub("", line)
        if "\\toprule" in line:
            where, heads, layout = "heads", [], []
        elif "\\midrule" in line:
            names = _latex_heads(heads)
            where, block = "body", ""
            sheet = next((part for part in parts if part.heads == names), Sheet(heads=names))
            if sheet not in parts:
                parts.append(sheet)
            sheet.layout += layout
        elif "\\bottomrule" in line:
            where = "outside"
        content = line.rstrip().removesuffix("\\\\")
        whole = content != line.rstrip()
        if where == "body" and whole and not content.startswith("\\multicolumn"):
            cells = [_plain(cell) for cell in re.split(r"(?<!\\)&", content)]
            name = (_name(cells[0]),) if keys == 1 else (block, _name(cells[0]))
            sheet.lines.append((number, name, cells))
            continue
        if where == "heads" and whole:
            heads.append(content)
        if where == "body" and content.startswith("\\multicolumn"):
            block = _name(_plain(_spanned(content)[1]))
        if where == "outside" and not re.match(r"\s*\\(?!caption|parbox)", line):
            outside.notes += _words(number, line)
        elif where == "heads":
            layout += _words(number, line)
        else:
            (sheet if where == "body" else outside).layout.extend(_words(number, line))
    if not parts:
        return [outside]
    parts[0].notes, parts[0].layout = outside.notes, outside.layout + parts[0].layout
    return parts


READERS = {"csv": _read_csv, "md": _read_markdown, "tex": _read_latex}


def _latex_heads(lines: list[str]) -> list[str]:
    """The name of each column, after the heading that it is under."""
    names: list[list[str]] = []
    for line in lines:
        spread = []
        for cell in re.split(r"(?<!\\)&", line):
            width, text = _spanned(cell)
            spread += [_name(_plain(text))] * width
        names.append(spread)
    return [": ".join(filter(None, parts)) for parts in zip(*names, strict=False)]


def _spanned(cell: str) -> tuple[int, str]:
    """How many columns a cell spans, and its text."""
    found = re.match(r"\s*\\multicolumn\{(\d+)\}\{(?:@\{\})?\w\}\{(.*)\}\s*$", cell)
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


def _compare(sheets: Sequence[Sheet], expected: Sequence[Sheet], verdict: Verdict) -> None:
    """Adds every cell and every word with a digit that differs; of parts, each to the part with most of its columns."""
    for place, sheet in enumerate(sheets):
        alike = [len({*one.heads} & {*sheet.heads}) + (k == place) / 2 for k, one in enumerate(expected)]
        _compare_cells(sheet, expected[alike.index(max(alike))], verdict)
    _compare_words(sheets[0].notes, expected[0].notes, "caption or note", verdict)


def _compare_cells(sheet: Sheet, expected: Sheet, verdict: Verdict) -> None:
    columns = _matched(sheet.heads, expected.heads)
    for place, head in enumerate(sheet.heads):
        if columns[place] is None and any(
            CELL.search(cells[place]) for _, _, cells in sheet.lines if len(cells) > place
        ):
            line = sheet.lines[0][0]
            verdict.findings.append(Finding(line, f"column '{head}'", "numbers", "nothing: there is no such column"))
    lines = _matched([name for _, name, _ in sheet.lines], [name for _, name, _ in expected.lines])
    for (number, name, cells), other in zip(sheet.lines, lines, strict=True):
        place = "line '" + ", ".join(filter(None, reversed(name))) + "'"
        if other is None:
            verdict.findings.append(Finding(number, place, "numbers", "nothing: there is no such line"))
            continue
        if len(cells) != len(sheet.heads):
            verdict.findings.append(Finding(number, place, f"{len(cells)} cells", f"{len(sheet.heads)} cells"))
            continue
        for head, cell, column in zip(sheet.heads, cells, columns, strict=True):
            if column is not None:
                should = expected.lines[other][2][column]
                mine, theirs = CELL.findall(cell), CELL.findall(should)
                verdict.numbers += sum(any(sign.isdigit() for sign in token) for token in mine)
                if not _same(mine, theirs):
                    where = f"{place}, column '{head}'"
                    verdict.findings.append(Finding(number, where, cell or "nothing", should or "nothing"))
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
    if token.lower() == other.lower():
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
