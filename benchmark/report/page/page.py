"""One self-contained HTML page of results, under 5 MB, that works offline and on a phone."""

import base64
import dataclasses
import functools
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from benchmark.analysis import standing
from benchmark.analysis.comparison import Comparison
from benchmark.report.page.overlays import Panel
from benchmark.report.page.payload import Detail, pack
from benchmark.report.page.picture import Picture
from benchmark.report.speed import Place
from benchmark.report.tables.formats import FORMATS
from benchmark.report.tables.formatting import percent
from benchmark.report.tables.table import DAGGER, LABELLED, Cell, Column, Line, Table
from benchmark.words import in_units, slug

LIMIT = 5_000_000  # bytes of the page
MAIN = ("ratios", "headroom", "comparison")  # the tables that come first; the first of all is open when the page is

TITLES = {
    "score-ratio": "Dice over the labelled fraction",
    "score-flops": "Dice over the FLOPs of training",
    "ranks": "Average ranks over patients",
    "gap": "Share of the headroom that each method closes",
    "differences": "Mean difference to supervised",
    "differences-images": "Difference to supervised, image by image",
    "ablation": "Variants",
    "sensitivity": "Settings",
    "losses": "Loss during training",
    "validation": "Validation during training",
    "qualitative": "A hard, a typical and an easy test image",
}


def page(
    compared: Mapping[str, Comparison],
    tables: Mapping[str, Mapping[str, Table]],
    figures: Mapping[str, Mapping[str, Picture]],
    overlays: Mapping[str, Sequence[Panel]] | None = None,
    *,
    speeds: Sequence[Place] = (),
    findings: str = "",
    limit: int = LIMIT,
) -> str:
    """The page: a summary, the best-supported comparison, and all others, closed.

    What would make the page larger than `limit` is left out in this order, the largest comparison first, and the page
    says so: the scores of every run (their means over the runs of a cell stay), overlays, training curves, all but the
    main tables, figures.

    Args:
        compared: the comparisons by name.
        tables: of each comparison, by name.
        figures: of each comparison, by kind.
        overlays: small pictures of predictions, of each comparison.
        speeds: tables and figures of speed.
        findings: Markdown for the summary.
        limit: bytes.

    Raises:
        ValueError: if even the main tables do not fit.
    """
    best_first = standing.ordered(dict(compared))
    sections = [
        Section(compared[name], address, tables[name], (overlays or {}).get(name, ()), figures.get(name, {}))
        for name, address in zip(best_first, _slugs(list(best_first)), strict=True)
    ]
    summary = Markup(MarkdownIt("commonmark", {"html": False}).render(findings))
    text = _render(sections, speeds, summary)
    for saving in SAVINGS:
        for section in sorted(sections, key=lambda section: section.size, reverse=True):
            if len(text.encode()) > limit and section.leave_out(saving):
                text = _render(sections, speeds, summary)
    if (size := len(text.encode())) > limit:
        raise ValueError(
            f"The page of {len(sections)} comparisons has {size / 1e6:.1f} MB, but may have {limit / 1e6:.1f}; "
            "render fewer comparisons, for example those of one suite."
        )
    return text


SAVINGS = {  # what may be left out, and what the page then says
    "every_run": "To keep the page small, it holds the mean over the runs of a cell of every image's Dice; "
    "the scores of every run are in its record.",
    "overlays": "To keep the page small, overlays were left out.",
    "curves": "To keep the page small, training curves were left out; they are in the records.",
    "tables": "To keep the page small, further tables were left out; they are files beside it.",
    "figures": "To keep the page small, figures were left out; they are files beside it.",
}


# ----------------------------------------------------------------------------------------------------------------------
# A comparison


class Head(NamedTuple):
    """A column's head as the page shows it."""

    text: str
    over: str = ""
    kind: str = ""  # "text", "block", else a number
    first: str = "ascending"  # how a click sorts first: what is better on top
    score: str = ""  # the title of the score that the column has, for the choice of a score


class Shown(NamedTuple):
    """A cell as the page shows it."""

    text: str
    note: str = ""  # the interval
    value: str = ""  # what it is sorted by; "" comes last
    href: str = ""  # the place in the address that opens its runs
    bold: bool = False


class Section:
    """One comparison on the page: its tables, notes and figures, and what its cells open."""

    def __init__(
        self, comparison: Comparison, address: str, tables: Mapping[str, Table], panels: Sequence[Panel],
        figures: Mapping[str, Picture],
    ):  # fmt: skip
        self.name, self.slug, self.panels, self.comparison = comparison.name, address, panels, comparison
        self.records = records = list(comparison.records.values())
        self.cautions = standing.sentences(comparison)
        slugs = dict(zip(labels := comparison.labels, _slugs(labels), strict=True))
        self.methods = {method: label for label, method in slugs.items()}
        self.cells = {line.key: f"{slugs[line.label]}/{line.ratio:g}" for line in comparison.runs.itertuples()}
        self.figures = {in_units(TITLES.get(name, name), comparison.unit): figure for name, figure in figures.items()}
        scores = sum(len(record.scores["name"]) for record in records if record.scores)
        self.detail = Detail(every_run=scores < LIMIT)  # of a byte each, at least, so that more are not even tried
        self.data = self._pack()
        self.leaks = list(dict.fromkeys(record.certificate.leak for record in records if record.certificate.leak))
        ordered = [tables[name] for name in MAIN if name in tables]
        self.main = len(ordered)
        ordered += [table for name, table in tables.items() if name not in MAIN]
        blocks = Counter(_fraction(table, line) for table in ordered for line in table.lines if _fraction(table, line))
        self.blocks = list(blocks)
        common = [set(table.notes) for table in ordered]
        self.notes = [note for note in (ordered[0].notes if ordered else ()) if all(note in notes for notes in common)]
        self.notes = [note for note in self.notes if note not in self.cautions]
        self.notes += [] if self.detail.every_run else [SAVINGS["every_run"]]
        self.tables = [
            _shown(
                table, f"{address}-{table.name}", _links(comparison.name, table), self.notes, self._opens,
                opened=table is ordered[0],
            )
            for table in ordered
        ]  # fmt: skip

    @property
    def answers(self) -> str:
        """At which labelled fractions methods are ranked, for the summary."""
        ratios = [ratio for ratio in self.comparison.ratios(self.comparison.published) if ratio < 1]
        able = [percent(ratio) for ratio in ratios if standing.ranks(self.comparison, ratio)]
        return f"ranked at {', '.join(able)}" if able else "not ranked"

    @property
    def size(self) -> int:
        """Bytes of what its cells open, and of its figures."""
        return len(self.data) + sum(len(figure.webp) for figure in self.figures.values())

    def leave_out(self, saving: str) -> bool:
        """Leaves something out and says so; False if there was nothing of it."""
        if saving == "figures":
            there, self.figures = bool(self.figures), {}
        elif saving == "tables":
            there, self.tables = len(self.tables) > self.main, self.tables[: self.main]
        else:
            there = getattr(self.detail, saving) and (saving != "overlays" or bool(self.panels))
            if not there:
                return False
            self.detail = dataclasses.replace(self.detail, **{saving: False})
            self.data = self._pack()
        if there:
            self.notes.append(SAVINGS[saving])
        return there

    def _pack(self) -> str:
        return pack(self.comparison, self.methods, self.cells, self.panels, self.detail)

    def _opens(self, keys: Sequence[str]) -> str:
        """The address of the runs: those of a method at a ratio, or of two methods; "" where they are of more."""
        cells = list(dict.fromkeys(self.cells[key] for key in keys))
        ratios = {cell.rpartition("/")[2] for cell in cells}
        if not cells or len(cells) > 2 or len(ratios) > 1:
            return ""
        return "/".join((f"#{self.slug}", cells[0], *(f"vs/{cell.rpartition('/')[0]}" for cell in cells[1:])))


def _fraction(table: Table, line: Line) -> str:
    """The labelled fraction that the block of a line names, by itself or after a class; "" where blocks are classes."""
    return line.block.rpartition(", ")[2] if table.blocks == LABELLED else ""


def _links(name: str, table: Table) -> dict[str, str]:
    """The files of a table beside the page, by their kind."""
    return {ending.upper(): f"tables/{slug(name)}/{table.name}.{ending}" for ending in FORMATS}


def _shown(
    table: Table, id_: str, downloads: Mapping[str, str], elsewhere: Sequence[str] = (),
    opens: Callable[[Sequence[str]], str] = lambda keys: "", *, opened: bool,
) -> dict[str, Any]:  # fmt: skip
    """A table as the template reads it, without notes that stand elsewhere, and its HTML. Blocks become a column."""
    heads = [_head(column) for column in table.columns]
    lines = [(_fraction(table, line), [_place(cell, opens) for cell in line.cells]) for line in table.lines]
    if table.blocks:
        chosen = all(line.block == fraction for line, (fraction, _) in zip(table.lines, lines, strict=True))
        heads.insert(1, Head(table.blocks, kind="block" if chosen else "text"))
        for line, (_, places) in zip(table.lines, lines, strict=True):
            places.insert(1, Shown(line.block, value=line.block))
    shown = {
        "name": table.name,
        "title": table.title.rpartition(": ")[0] or table.title,  # without the subject, which is the section's
        "heads": heads,
        "lines": lines,
        "notes": [note for note in table.notes if note not in elsewhere],
        "downloads": downloads,
    }
    return shown | {"html": _templates().get_template("table.html.jinja").module.shown(shown, id_, opened)}


def _place(cell: Cell, opens: Callable[[Sequence[str]], str]) -> Shown:
    text, bracket, interval = cell.text.partition(" [")
    value = cell.text if math.isnan(cell.mean) else f"{cell.mean:.6g}"
    return Shown(
        text + DAGGER * cell.dagger,
        f"[{interval}" if bracket and not math.isnan(cell.mean) else "",
        "" if text == Cell.text else value,
        opens(cell.runs),
        cell.bold,
    )


def _head(column: Column) -> Head:
    scored = column.kind in ("ranked", "interval") and "↓" not in column.full
    kind = "text" if column.kind == "text" else ""
    score = column.full.split(" ↑")[0].split(" ↓")[0] if "↑" in column.full or "↓" in column.full else ""
    return Head(column.name, column.group, kind, "descending" if scored else "ascending", score)


# ----------------------------------------------------------------------------------------------------------------------
# Tables, names, text


def _slugs(names: Sequence[str]) -> list[str]:
    """Names as they may stand in an address, all different."""
    found: list[str] = []
    for name in names:
        address = bare = slug(name) or "x"
        while address in found:
            address = f"{bare}-{sum(other.startswith(bare) for other in found) + 1}"
        found.append(address)
    return found


def _render(sections: Sequence[Section], speeds: Sequence[Place], summary: str) -> str:
    style, script = _read("page.css"), _read("page.js")
    return (
        _templates()
        .get_template("page.html.jinja")
        .render(
            sections=sections,
            summary=summary,
            speeds=[
                (place, _shown(place.tables[place.shown], f"speed-{i}", place.links(place.shown), opened=i == 1))
                for i, place in enumerate(speeds, 1)
            ],
            total=sum(len(section.records) for section in sections),
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


@functools.cache
def _templates() -> jinja2.Environment:
    indentation = re.compile(r"\n\s+")  # of the templates
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: indentation.sub("\n", _read(name))),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip


def _read(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")


def _hash(text: str) -> str:
    """By which a browser knows the page's own style and script, and refuses all others."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
