"""Everything that is drawn from rows, in a folder: tables, figures, the page, and what README shows of them."""

import contextlib
import itertools
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from benchmark.progress import Tell, silent
from benchmark.report import speed, tables
from benchmark.report.cells import Options
from benchmark.report.comparison import Comparison
from benchmark.report.figures import FIGURES, save
from benchmark.report.frame import Row, comparisons
from benchmark.report.overlays import Panel
from benchmark.report.page import page
from benchmark.report.table import Table, rendered, to_markdown
from benchmark.runs import write_whole

BEGIN, FINISH = "<!-- headline: drawn by bench report -->", "<!-- end of headline -->"
HEADLINE_TABLE = "ratios"
HEADLINE_FIGURES = ("score-ratio", "differences", "score-flops")  # the first that the rows suffice for
QUALITATIVE = "qualitative"


Watch = Callable[[str, int], AbstractContextManager[Tell]]


class Pictures(NamedTuple):
    """What needs images and trained networks: a figure of the same images before all methods, overlays for the page."""

    figure: Figure | None = None
    overlays: Sequence[Panel] = ()


def no_pictures(rows: Sequence[Row]) -> Pictures:
    return Pictures()


@contextlib.contextmanager
def unwatched(what: str, total: int) -> Iterator[Tell]:
    yield silent


def draw(
    rows: Sequence[Row], out: Path, options: Options = Options(),  # noqa: B008
    pictures: Callable[[Sequence[Row]], Pictures] = no_pictures, watch: Watch = unwatched, speeds: Sequence[Row] = (),
) -> list[str]:  # fmt: skip
    """Writes tables/, figures/, index.html and README.md into `out` and returns the names of the comparisons.

    `speeds` are rows of `benchmark.timing`. The same rows give the same bytes.
    """
    groups = comparisons(rows)
    drawn: dict[str, dict[str, Table]] = {}
    figures: dict[str, dict[str, bytes]] = {name: {} for name in groups}
    overlays: dict[str, Sequence[Panel]] = {}
    with _figures(groups, out) as png, watch("Drawing", len(groups) * (len(FIGURES) + 2) + 1) as tell:
        step = itertools.count(1)
        for name, group in groups.items():
            drawn[name] = tables.tables(group, options)
            for table in drawn[name].values():
                for ending, text in rendered(table).items():
                    _write(out / "tables" / slug(name) / f"{table.name}.{ending}", text)
            tell(next(step), f"tables of {name}")
        for name, group in groups.items():
            for kind in FIGURES:
                if found := png(name, kind):
                    figures[name][kind] = found
                tell(next(step), f"{kind} of {name}")
            shown = pictures(group)
            if shown.figure:
                path, _ = save(shown.figure, out / "figures" / slug(name) / QUALITATIVE)
                figures[name][QUALITATIVE] = path.read_bytes()
            overlays[name] = shown.overlays
            tell(next(step), f"pictures of {name}")
        downloads = {name: {table: _links(name, table) for table in of} for name, of in drawn.items()}
        _write(out / "index.html", page(groups, figures, overlays, drawn=drawn, downloads=downloads))
        _write(out / "README.md", _index(groups, drawn, figures) + speed.draw(speeds, out))
        tell(next(step), "page")
    return list(groups)


def slug(name: str) -> str:
    """The name of a comparison as that of a folder."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")


def _links(name: str, table: str) -> dict[str, str]:
    return {ending.upper(): f"tables/{slug(name)}/{table}.{ending}" for ending in ("csv", "md", "tex")}


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


# ----------------------------------------------------------------------------------------------------------------------
# Figures, drawn beside the tables by processes that share the rows


@contextlib.contextmanager
def _figures(groups: dict[str, list[Row]], out: Path) -> Iterator[Callable[[str, str], bytes | None]]:
    """Draws all figures and yields what gives the PNG of a comparison's figure, None where rows do not suffice.

    On Linux as many at once as there are cores, since a process that is forked has the rows already.
    """
    shared = {name: Comparison(group) for name, group in groups.items()}
    if sys.platform != "linux":
        yield lambda name, kind: _figure(shared[name], kind, out / "figures" / slug(name))
        return
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(os.cpu_count(), fork, initializer=_share, initargs=(shared,)) as pool:
        drawing = {
            (name, kind): pool.submit(_figure_of, name, kind, out / "figures" / slug(name))
            for name in groups
            for kind in FIGURES
        }
        yield lambda name, kind: drawing[name, kind].result()


_shared: dict[str, Comparison] = {}  # of a drawing process


def _share(comparisons: dict[str, Comparison]) -> None:
    _shared.update(comparisons)


def _figure_of(name: str, kind: str, folder: Path) -> bytes | None:
    return _figure(_shared[name], kind, folder)


def _figure(comparison: Comparison, kind: str, folder: Path) -> bytes | None:
    """Writes a figure and returns its PNG."""
    figure = FIGURES[kind](comparison)
    return save(figure, folder / kind)[0].read_bytes() if figure else None


# ----------------------------------------------------------------------------------------------------------------------
# Index


def _index(
    groups: dict[str, list[Row]], drawn: dict[str, dict[str, Table]], figures: dict[str, dict[str, bytes]]
) -> str:
    """A page of Markdown: of each comparison the main table, and where the others and the figures are."""
    said = [
        "# Results\n\nDrawn by `bench report` from the rows in `runs/`; `bench verify FILE` computes every number of a "
        "table again. `index.html` has all of it with the runs behind each cell.\n"
    ]
    for name, rows in groups.items():
        said.append(f"## {name}\n\n{len(rows)} runs.\n")
        folder = slug(name)
        if HEADLINE_TABLE in drawn[name]:
            said.append(to_markdown(drawn[name][HEADLINE_TABLE], folded=True))
        links = [
            f"- {table.title.partition(': ')[0]}: "
            + ", ".join(f"[{e}](tables/{folder}/{table.name}.{e})" for e in ("md", "csv", "tex"))
            for table in drawn[name].values()
        ]
        said.append("\n".join(links) + "\n")
        said += [f"![{kind}](figures/{folder}/{kind}.png)\n" for kind in figures[name]]
    return "\n".join(said)


# ----------------------------------------------------------------------------------------------------------------------
# README


def headline(rows: Sequence[Row], folder: str = "results") -> str:
    """What README shows: figure and table of the comparison with most runs, as Markdown.

    `folder` is where `draw` has written, as seen from README.
    """
    groups = comparisons(rows)
    done = {name: sum(row["status"] == "done" for row in of) for name, of in groups.items()}
    name = max(done, key=lambda name: (done[name], name), default="")
    table = tables.draw(HEADLINE_TABLE, groups[name]) if name else None
    if table is None:
        raise ValueError("There are no finished runs, so there is no headline; give `bench sweep quick` first.")
    shared = Comparison(groups[name])
    shown = next((kind for kind in HEADLINE_FIGURES if FIGURES[kind](shared)), None)
    picture = f"![{table.title}]({folder}/figures/{slug(name)}/{shown}.png)\n\n" if shown else ""
    return picture + to_markdown(table, folded=True)


def with_headline(readme: str, block: str) -> str:
    """README with this block between its two marks."""
    if BEGIN not in readme or FINISH not in readme:
        raise ValueError(f"README has no place for the headline; add the lines '{BEGIN}' and '{FINISH}'.")
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{block}{FINISH}{rest.partition(FINISH)[2]}"


def headline_of(readme: str) -> str | None:
    """The block between the marks; None without them."""
    found = re.search(rf"{re.escape(BEGIN)}\n(.*?){re.escape(FINISH)}", readme, re.DOTALL)
    return found[1] if found else None
