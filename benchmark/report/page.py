"""One self-contained HTML page of results, under 5 MB, that works offline and on a phone."""

import base64
import dataclasses
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from benchmark.report import frame
from benchmark.report.embedded import Detail, pack
from benchmark.report.overlays import Panel
from benchmark.stats import hierarchical_interval

LIMIT = 5_000_000  # bytes of the page
FIGURE_PIXELS = 1400  # the widest embedded figure; a phone and a page of paper show less
COLOURS = 64  # of an embedded figure: enough for smooth letters and bands

Row = dict[str, Any]

METRICS = {  # (name, unit, digits, better first when sorted)
    "dice": ("Dice", "", 3, "descending"),
    "jaccard": ("Jaccard", "", 3, "descending"),
    "hd95": ("HD95", "pixels", 1, "ascending"),
    "assd": ("ASSD", "pixels", 2, "ascending"),
    "boundary_f1": ("Boundary F1", "", 3, "descending"),
}


class Column(NamedTuple):
    """A column of a comparison's table."""

    head: str
    unit: str = ""
    first: str = "ascending"  # how it is sorted first: the better values on top
    ratio: str = ""
    metric: str = ""
    kind: str = "number"


class Cell(NamedTuple):
    """What stands at one place of a table."""

    text: str = "–"
    value: float | str = ""  # what it is sorted by; "" comes last
    note: str = ""
    href: str = ""  # the place in the address that opens its runs
    label: str = ""  # the method, as the opened panel names it
    tie: bool = False  # not significantly worse than the best


def page(
    comparisons: Mapping[str, Sequence[Row]],
    figures: Mapping[str, Mapping[str, bytes]],
    panels: Mapping[str, Sequence[Panel]] | None = None,
    *,
    downloads: Mapping[str, Mapping[str, str]] | None = None,
    limit: int = LIMIT,
) -> str:
    """The page, from rows by comparison, PNG figures by comparison and name, and overlays by comparison.

    `downloads` are links relative to the page by comparison and kind ("CSV"). Rows are linked as runs/KEY.json. What
    would make the page larger than `limit` bytes is left out in this order, the largest comparison first, and the page
    says so: the scores of every run (their means over the runs of a cell stay), overlays, training curves, figures.
    What does not fit even then is a ValueError.
    """
    slugs = _slugs(list(comparisons))
    sections = [
        Section(name, slug, rows, (panels or {}).get(name, ()), figures.get(name, {}), (downloads or {}).get(name, {}))
        for (name, rows), slug in zip(comparisons.items(), slugs, strict=True)
    ]
    text = _render(sections)
    for saving in SAVINGS:
        for section in sorted(sections, key=lambda section: section.size, reverse=True):
            if len(text.encode()) > limit and section.without(saving):
                text = _render(sections)
    if (size := len(text.encode())) > limit:
        raise ValueError(
            f"The page of {len(sections)} comparisons has {size / 1e6:.1f} MB, but may have {limit / 1e6:.1f}; "
            "draw a page of fewer comparisons."
        )
    return text


SAVINGS = {  # what may be left out, and what the page then says
    "every_run": "To keep the page small, it holds the mean over the runs of a cell of every image's Dice; "
    "the scores of every run are in its row.",
    "overlays": "To keep the page small, overlays were left out.",
    "curves": "To keep the page small, training curves were left out; they are in the rows.",
    "figures": "To keep the page small, figures were left out; they are files beside it.",
}


class Section:
    """One comparison on the page: its table, notes, certificate and figures, and what its cells open."""

    def __init__(
        self, name: str, slug: str, rows: Sequence[Row], panels: Sequence[Panel], figures: Mapping[str, bytes],
        downloads: Mapping[str, str],
    ):  # fmt: skip
        self.name, self.slug, self.rows, self.panels, self.downloads = name, slug, rows, panels, downloads
        self.runs = frame.runs_frame(rows)
        self.methods = dict(zip(labels := list(dict.fromkeys(self.runs.label)), _slugs(labels), strict=True))
        self.ratios = sorted({float(ratio) for ratio in self.runs.ratio})
        self.cells = {
            key: f"{self.methods[label]}/{ratio:g}"
            for key, label, ratio in zip(self.runs.key, self.runs.label, self.runs.ratio, strict=True)
        }
        self.figures = [_figure(title, png) for title, png in figures.items()]
        self.detail, self.notes = Detail(), _notes(rows, self.runs)
        self.data = self._pack()
        self.columns, self.lines = self._table()
        self.choices = self._choices()
        self.parts, self.findings, self.leak = _certificate(rows)
        self.about = self._about()

    @property
    def size(self) -> int:
        """Bytes of what its cells open, and of its figures."""
        return len(self.data) + sum(len(figure["picture"]) for figure in self.figures)

    def without(self, saving: str) -> bool:
        """Leaves something out and says so; False if there was nothing of it."""
        if saving == "figures":
            there, self.figures = bool(self.figures), []
        else:
            there = saving != "overlays" or bool(self.panels)
            self.detail = dataclasses.replace(self.detail, **{saving: False})
            self.data = self._pack()
        if there:
            self.notes.append(SAVINGS[saving])
        return there

    def _pack(self) -> str:
        return pack(self.rows, self.cells, self.panels, self.detail)

    def _about(self) -> str:
        run, images = self.rows[0]["run"], self.rows[0]["certificate"]["images"]
        return (
            f"{len(self.methods)} methods, {len(self.rows)} runs, {images['test']} test images, split {run['split']}; "
            f"{run['encoder']} with {run['decoder']}, {run['weights']} weights"
        )

    def _choices(self) -> list[dict[str, Any]]:
        metrics = list(dict.fromkeys(column.metric for column in self.columns if column.metric))
        return [
            {"label": "Ratio", "by": "ratio", "options": [f"{ratio:g}" for ratio in self.ratios], "chosen": ""},
            {"label": "Metric", "by": "metric", "options": metrics, "chosen": metrics[0]},
        ]

    def _table(self) -> tuple[list[Column], list[list[Cell]]]:
        columns = [Column("Method", kind="text"), Column("Year")]
        for ratio in self.ratios:
            for name, unit, _, first in METRICS.values():
                columns.append(
                    Column(f"{name}, {unit}" if unit else name, f"ratio {ratio:g}", first, f"{ratio:g}", name)
                )
        for head, unit in (("Time", "s a run"), ("Work", "TFLOPs a run"), ("Memory", "GB"), ("Parameters", "million")):
            columns.append(Column(head, unit))
        by_key = {row["key"]: row for row in self.rows}
        lines = []
        for label, method in self.methods.items():
            of = self.runs[self.runs.label == label]
            line = [Cell(label, label), _number(of.year.iloc[0], "{:.0f}")]
            for ratio in self.ratios:
                runs = of[(of.ratio == ratio)]
                done = [by_key[key] for key in runs.key[runs.status == "done"]]
                for metric, (_, _, digits, _) in METRICS.items():
                    line.append(_cell(done, len(runs), metric, digits, f"#{self.slug}/{method}/{ratio:g}", label))
            line += [
                _number(of.seconds.mean(), "{:.0f}"),
                _number(of.flops.mean() / 1e12, "{:.1f}"),
                _number(of.peak_memory.mean() / 1e9, "{:.1f}"),
                _number(of.parameters.mean() / 1e6, "{:.1f}"),
            ]
            lines.append(line)
        return columns, lines


def _cell(done: list[Row], runs: int, metric: str, digits: int, href: str, label: str) -> Cell:
    if not runs:
        return Cell()
    if not done:
        return Cell("diverged", href=href, label=label)
    values, patients, draws, seeds = [], [], [], []
    for row in done:
        scores = frame.scores(row, metric)
        values.append(scores.ravel())
        patients += np.repeat(row["scores"]["patient"], scores.shape[1]).tolist()
        draws += [row["run"]["draw"]] * scores.size
        seeds += [row["run"]["seed"]] * scores.size
    mean, low, high = hierarchical_interval(
        np.concatenate(values), patients, draws, seeds, most=np.inf if metric in ("hd95", "assd") else 1.0
    )
    note = "" if np.isnan(low) else f"{low:.{digits}f}–{high:.{digits}f}"
    return Cell(f"{mean:.{digits}f}", mean, note, href, label)


def _number(value: float, form: str) -> Cell:
    return Cell() if np.isnan(value) else Cell(form.format(value), value)


def _notes(rows: Sequence[Row], runs: pd.DataFrame) -> list[str]:
    return ["Brackets: 95 % intervals for new patients, draws and seeds."]


# ----------------------------------------------------------------------------------------------------------------------
# Certificate


def _certificate(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[str], str]:
    """The lists of the split, each once; what the audit found, in words; the leak of a published split."""
    parts: dict[tuple, dict[str, Any]] = {}
    findings: dict[str, None] = {}
    order = {"test": 0, "val": 1, "labelled": 2, "unlabelled": 3}
    for row in rows:
        certificate, run = row["certificate"], row["run"]
        for part, listed in certificate["lists"].items():
            drawn = part in ("labelled", "unlabelled")
            place = (order.get(part, 4), run["ratio"] if drawn else 0, run["draw"] if drawn else 0, listed)
            name = {"val": "validation"}.get(part, part) + (
                f", ratio {run['ratio']:g}, draw {run['draw']}" if drawn else ""
            )
            sizes = {what: certificate[what][part] for what in ("images", "patients")}
            parts[place] = {"name": name, "hash": listed, **sizes}
        for pair, counts in certificate["audit"].items():
            one, other = pair.split("-")
            found = [f"{counts[what]} {words}" for what, words in FOUND.items() if counts.get(what)]
            findings[f"Between {one} and {other}: {', '.join(found) or 'nothing shared'}."] = None
    leaks = dict.fromkeys(row["certificate"]["leak"] for row in rows)
    return [parts[place] for place in sorted(parts)], list(findings), " ".join(filter(None, leaks))


FOUND = {
    "patients": "shared patients",
    "patient_images": "images of shared patients",
    "slides": "shared slides",
    "slide_images": "images of shared slides",
    "duplicates": "duplicate images",
    "near": "near-duplicates",
}


# ----------------------------------------------------------------------------------------------------------------------
# Figures, names, text


def _figure(title: str, png: bytes) -> dict[str, Any]:
    """A figure for the page, as WebP: of few colours without loss, or with, whichever is smaller."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((FIGURE_PIXELS, 4 * FIGURE_PIXELS), Image.Resampling.LANCZOS)
    few = image.quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB")
    packed = [io.BytesIO(), io.BytesIO()]
    few.save(packed[0], "WEBP", lossless=True, method=4)
    image.save(packed[1], "WEBP", quality=80, method=4)
    picture = base64.b64encode(min((file.getvalue() for file in packed), key=len)).decode()
    name = re.sub(r"[-_]+", " ", title)
    return {"name": name[:1].upper() + name[1:], "picture": picture, "width": image.width, "height": image.height}


def _slugs(names: Sequence[str]) -> list[str]:
    """Names as they may stand in an address, all different."""
    found: list[str] = []
    for name in names:
        slug = bare = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "x"
        while slug in found:
            slug = f"{bare}-{sum(other.startswith(bare) for other in found) + 1}"
        found.append(slug)
    return found


def _render(sections: Sequence[Section]) -> str:
    files = {
        name: (resources.files(__package__) / f"page.{name}").read_text("utf-8") for name in ("html.jinja", "css", "js")
    }
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(files["html.jinja"]).render(
        sections=sections,
        total=sum(len(section.rows) for section in sections),
        style=Markup(files["css"]),
        script=Markup(files["js"]),
        style_hash=_hash(files["css"]),
        script_hash=_hash(files["js"]),
    )


def _hash(text: str) -> str:
    """By which a browser knows the page's own style and script, and refuses all others."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
