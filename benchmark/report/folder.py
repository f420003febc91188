"""Renders run records into a folder: tables, figures, bibliography, the page, and the index README.md."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from benchmark.analysis import family, standing
from benchmark.analysis.comparison import Comparison, Options
from benchmark.analysis.run_table import comparisons
from benchmark.files import write_text
from benchmark.progress import Tell, silent
from benchmark.report import bibliography, paper, speed
from benchmark.report.figures import captions
from benchmark.report.figures.all_figures import FIGURES
from benchmark.report.figures.style import hovers, save
from benchmark.report.fork_pool import side_by_side
from benchmark.report.page.overlays import Panel
from benchmark.report.page.page import page
from benchmark.report.page.picture import Picture, picture
from benchmark.report.tables import all_tables, pilot
from benchmark.report.tables.formats import FORMATS, rendered
from benchmark.report.tables.table import Table, markdown, to_markdown
from benchmark.run_records import RunRecord
from benchmark.words import in_units, slug

METRIC = "dice"  # of figures
MAIN_TABLE = "ratios"  # of the index and of the terminal
QUALITATIVE, TABLES = "qualitative", "tables"
TRAINING = ("losses", "validation")  # figures that show no test image

Watch = Callable[[str, int], AbstractContextManager[Tell]]


class Pictures(NamedTuple):
    """What needs images and trained networks: a figure of the same images for all methods; overlays for the page."""

    figure: Figure | None = None
    overlays: Sequence[Panel] = ()


def no_pictures(records: Sequence[RunRecord]) -> Pictures:
    return Pictures()


@contextlib.contextmanager
def unwatched(what: str, total: int) -> Iterator[Tell]:
    yield silent


def render(
    records: Sequence[RunRecord], out: Path, options: Options = Options(),  # noqa: B008
    pictures: Callable[[Sequence[RunRecord]], Pictures] = no_pictures, watch: Watch = unwatched,
    speeds: Sequence[dict[str, Any]] = (), findings: str = "",
) -> list[str]:  # fmt: skip
    """Writes tables/, figures/, references.bib, index.html and README.md into `out`. Equal records give equal bytes.

    Args:
        records: the run records.
        out: the folder.
        options: of all comparisons.
        pictures: what needs the images and the trained networks of a comparison's records.
        watch: shows the progress.
        speeds: speed records, see `benchmark.analysis.timing`.
        findings: the text at the head of README.md and of the page, in Markdown.

    Returns:
        The names of the comparisons.
    """
    compared = family.together(comparisons(records), options)
    pieces = _pieces(compared, out, options)
    tables: dict[str, dict[str, Table]] = {}
    figures: dict[str, dict[str, Picture]] = {name: {} for name in compared}
    overlays: dict[str, Sequence[Panel]] = {}
    with (
        side_by_side(list(pieces.values())) as results,
        watch("Rendering", len(pieces) + len(compared) + 1) as tell,
    ):
        names, done = list(pieces), dict.fromkeys(pieces)
        for step, (place, result) in enumerate(results, 1):
            done[names[place]] = result
            tell(step, " of ".join(reversed(names[place])))
        for step, (name, comparison) in enumerate(compared.items(), len(pieces) + 1):
            tables[name] = done[name, TABLES]
            figures[name] = {kind: found for kind in FIGURES if (found := done[name, kind])}
            shown = pictures(list(comparison.records.values()))
            if shown.figure:
                path, _ = save(shown.figure, out / "figures" / slug(name) / QUALITATIVE)
                figures[name][QUALITATIVE] = picture(path.read_bytes(), shown.figure.get_label(), photographs=True)
            overlays[name] = shown.overlays
            tell(step, f"pictures of {name}")
        places = speed.render(speeds, out)
        write_text(out / "index.html", page(compared, tables, figures, overlays, speeds=places, findings=findings))
        write_text(out / "README.md", _index(compared, tables, figures, findings) + speed.index(places))
        write_text(out / TABLES / bibliography.FILE, _references(records))
        tell(len(pieces) + len(compared) + 1, "page")
    return list(compared)


def _pieces(compared: dict[str, Comparison], out: Path, options: Options) -> dict[tuple[str, str], Callable[[], Any]]:
    """The functions that write each comparison's tables and each of its figures, the slowest first."""
    shown = compared
    if options.metric != METRIC:
        groups = {name: list(comparison.records.values()) for name, comparison in compared.items()}
        shown = family.together(groups, replace(options, metric=METRIC))
    for comparison in {*compared.values(), *shown.values()}:
        standing.sentences(comparison)  # before processes are forked, so that each has the claims
        family.against_supervised(comparison)
    figures = {
        (name, kind): functools.partial(_figure, comparison, kind, out / "figures" / slug(name))
        for kind in FIGURES
        for name, comparison in shown.items()
    }
    return {
        (name, TABLES): functools.partial(_tables, comparison, out / TABLES / slug(name))
        for name, comparison in compared.items()
    } | figures


def _tables(comparison: Comparison, folder: Path) -> dict[str, Table]:
    """Writes the tables of a comparison in every format."""
    tables = all_tables.tables(comparison)
    for table in tables.values():
        for ending, text in rendered(table).items():
            write_text(folder / f"{table.name}.{ending}", text)
    return tables


def _figure(comparison: Comparison, kind: str, folder: Path) -> Picture | None:
    """Writes a figure and returns it as the page shows it; None where there are too few records."""
    figure = FIGURES[kind](comparison)
    if figure is None:
        return None
    caution = [] if kind in TRAINING else standing.sentences(comparison)
    caption = " ".join([figure.get_label(), captions.basis(comparison, kind not in TRAINING), *caution])
    caption = in_units(caption, comparison.unit)
    return picture(save(figure, folder / kind)[0].read_bytes(), caption, spots=hovers(figure))


def _references(records: Sequence[RunRecord]) -> str:
    return bibliography.bibtex({r.run.method for r in records}, {r.run.dataset for r in records})


def left_over(out: Path, names: Sequence[str]) -> list[Path]:
    """Folders of tables and figures that `render` wrote for comparisons that have no records any more."""
    kept = {"speed", pilot.NAME, *map(slug, names)}
    there = [path for kind in (TABLES, "figures") for path in sorted((out / kind).glob("*/"))]
    return [path for path in there if path.name not in kept]


def write_paper(records: Sequence[RunRecord], out: Path, options: Options = Options()) -> list[Path]:  # noqa: B008
    """Writes what a paper needs into `out`/paper, see `benchmark.report.paper`."""
    return paper.write(family.together(comparisons(records), options), out)


def main_table(records: Sequence[RunRecord], options: Options = Options()) -> Table | None:  # noqa: B008
    """The methods by labelled fraction of the comparison that comes first."""
    compared = standing.ordered(family.together(comparisons(records), options))
    return next((all_tables.table_of(MAIN_TABLE, one) for one in compared.values() if len(one.done)), None)


# ----------------------------------------------------------------------------------------------------------------------
# Index


def _index(
    compared: dict[str, Comparison], tables: dict[str, dict[str, Table]], figures: dict[str, dict[str, Picture]],
    findings: str,
) -> str:  # fmt: skip
    """A page of Markdown: the findings; of each comparison the main table, and links to other tables and figures."""
    text = [
        "# Results\n\nWritten by `bench report` from the run records in [runs](runs). `bench verify FILE` computes "
        "every "
        "number of a table again. [index.html](index.html) has the runs behind each number. Scores are in points of "
        f"100 unless a unit is named. [{bibliography.FILE}](tables/{bibliography.FILE}) has the references.\n",
        *([findings] if findings else ()),
    ]
    for name, comparison in standing.ordered(compared).items():
        folder = slug(name)
        text.append(f"## {markdown(name)}\n\n{len(comparison.records)} run records.\n")
        text += [f"{sentence}\n" for sentence in standing.sentences(comparison)]
        if MAIN_TABLE in tables[name]:
            text.append(to_markdown(tables[name][MAIN_TABLE], folded=True))
        links = [
            f"- {markdown(table.title.partition(': ')[0])}: "
            + ", ".join(f"[{ending}](tables/{folder}/{table.name}.{ending})" for ending in FORMATS)
            for table in tables[name].values()
        ]
        text.append("\n".join(links) + "\n")
        text += [
            f"![{kind}](figures/{folder}/{kind}.png)\n\n{markdown(of.caption)}\n" for kind, of in figures[name].items()
        ]
    return "\n".join(text)
