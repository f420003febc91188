"""Everything that is drawn from rows, in a folder: tables, figures, the page, and what README shows of them."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from benchmark.analysis import family, standing
from benchmark.analysis.board import Board
from benchmark.analysis.run_table import comparisons
from benchmark.files import write_text
from benchmark.progress import Tell, silent
from benchmark.records import RunRecord
from benchmark.report import speed
from benchmark.report.figures.all_figures import FIGURES, save
from benchmark.report.figures.comparison import Comparison
from benchmark.report.fork_pool import side_by_side
from benchmark.report.page.overlays import Panel
from benchmark.report.page.page import page
from benchmark.report.page.picture import Picture, picture
from benchmark.report.tables import all_tables, pilot
from benchmark.report.tables.formatting import Options
from benchmark.report.tables.table import Table, markdown, rendered, to_markdown
from benchmark.words import in_units

HEADLINE = "<!-- headline: drawn by bench report -->", "<!-- end of headline -->"
FINDING = "<!-- finding: drawn by bench report -->", "<!-- end of finding -->"  # its first paragraph, higher up
HEADLINE_TABLE = "ratios"
HEADLINE_FIGURES = ("gap", "differences", "score-ratio", "score-flops")  # the first that the rows are enough for
QUALITATIVE, TABLES = "qualitative", "tables"
TRAINING = ("losses", "validation")  # figures that show no test image

Watch = Callable[[str, int], AbstractContextManager[Tell]]


class Pictures(NamedTuple):
    """What needs images and trained networks: a figure of the same images before all methods, overlays for the page."""

    figure: Figure | None = None
    overlays: Sequence[Panel] = ()


def no_pictures(rows: Sequence[RunRecord]) -> Pictures:
    return Pictures()


@contextlib.contextmanager
def unwatched(what: str, total: int) -> Iterator[Tell]:
    yield silent


def draw(
    rows: Sequence[RunRecord], out: Path, options: Options = Options(),  # noqa: B008
    pictures: Callable[[Sequence[RunRecord]], Pictures] = no_pictures, watch: Watch = unwatched,
    speeds: Sequence[dict[str, Any]] = (), said: str = "",
) -> list[str]:  # fmt: skip
    """Writes tables/, figures/, index.html and README.md into `out` and returns the names of the comparisons.

    `speeds` are records of `benchmark.analysis.timing`; `said` is the text at the head of README.md. The same records
    give the same bytes.
    """
    groups = comparisons(rows)
    boards = family.boards(groups)
    pieces = _pieces(boards, out, options)
    drawn: dict[str, dict[str, Table]] = {}
    figures: dict[str, dict[str, Picture]] = {name: {} for name in groups}
    overlays: dict[str, Sequence[Panel]] = {}
    with (
        side_by_side(list(pieces.values())) as results,
        watch("Drawing", len(pieces) + len(groups) + 1) as tell,
    ):
        places, done = list(pieces), dict.fromkeys(pieces)
        for step, (place, result) in enumerate(results, 1):
            done[places[place]] = result
            tell(step, " of ".join(reversed(places[place])))
        for step, (name, group) in enumerate(groups.items(), len(pieces) + 1):
            drawn[name] = done[name, TABLES]
            figures[name] = {kind: found for kind in FIGURES if (found := done[name, kind])}
            shown = pictures(group)
            if shown.figure:
                path, _ = save(shown.figure, out / "figures" / slug(name) / QUALITATIVE)
                figures[name][QUALITATIVE] = picture(path.read_bytes(), shown.figure.get_label(), photographs=True)
            overlays[name] = shown.overlays
            tell(step, f"pictures of {name}")
        downloads = {name: {table: _links(name, table) for table in of} for name, of in drawn.items()}
        cautions = {name: standing.sentences(board, options) for name, board in boards.items()}
        timed = speed.draw(speeds, out)
        _write(
            out / "index.html",
            page(groups, figures, overlays, drawn=drawn, downloads=downloads, speeds=timed, cautions=cautions),
        )
        _write(out / "README.md", _index(boards, drawn, figures, said, options) + speed.index(timed))
        tell(len(pieces) + len(groups) + 1, "page")
    return list(groups)


def _pieces(boards: dict[str, Board], out: Path, options: Options) -> dict[tuple[str, str], Callable[[], Any]]:
    """What draws each comparison's tables and each of its figures, those that take longest first."""
    for board in boards.values():
        standing.sentences(board, options)  # before processes are forked, so that each finds the claims computed
        family.against_supervised(board, options)
    shared = {name: Comparison(board) for name, board in boards.items()}
    figures = {
        (name, kind): functools.partial(_figure, shared[name], kind, out / "figures" / slug(name))
        for kind in FIGURES
        for name in boards
    }
    return {
        (name, TABLES): functools.partial(_tables, board, options, out / "tables" / slug(name))
        for name, board in boards.items()
    } | figures


def _tables(board: Board, options: Options, folder: Path) -> dict[str, Table]:
    """Writes the tables of a comparison in every format."""
    drawn = all_tables.tables(board, options)
    for table in drawn.values():
        for ending, text in rendered(table).items():
            _write(folder / f"{table.name}.{ending}", text)
    return drawn


def _figure(comparison: Comparison, kind: str, folder: Path) -> Picture | None:
    """Writes a figure and returns it as the page shows it; None where the rows do not suffice."""
    figure = FIGURES[kind](comparison)
    if figure is None:
        return None
    caution = [] if kind in TRAINING else comparison.cautions()
    caption = " ".join([figure.get_label(), comparison.basis(kind not in TRAINING), *caution])
    caption = in_units(caption, comparison.board.unit)
    return picture(save(figure, folder / kind)[0].read_bytes(), caption)


def slug(name: str) -> str:
    """The name of a comparison as that of a folder."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")


def left_over(out: Path, names: Sequence[str]) -> list[Path]:
    """Folders of tables and figures that `draw` left for comparisons which the rows no longer have."""
    kept = {"speed", pilot.NAME, *map(slug, names)}
    there = [path for kind in (TABLES, "figures") for path in sorted((out / kind).glob("*/"))]
    return [path for path in there if path.name not in kept]


def _links(name: str, table: str) -> dict[str, str]:
    return {ending.upper(): f"tables/{slug(name)}/{table}.{ending}" for ending in ("csv", "md", "tex")}


def _write(path: Path, text: str) -> None:
    write_text(path, text)


# ----------------------------------------------------------------------------------------------------------------------
# Index


def _index(
    boards: dict[str, Board], drawn: dict[str, dict[str, Table]], figures: dict[str, dict[str, Picture]], said: str,
    options: Options,
) -> str:  # fmt: skip
    """A page of Markdown: what is said; of each comparison the main table, and where the others and the figures are."""
    text = [
        "# Results\n\nDrawn by `bench report` from the rows in `runs/`; `bench verify FILE` computes every number of a "
        "table again. `index.html` has all of it with the runs behind each cell.\n",
        *([said] if said else ()),
    ]
    for name, board in boards.items():
        text.append(f"## {markdown(name)}\n\n{len(board.rows)} runs.\n")
        folder = slug(name)
        text += [f"{sentence}\n" for sentence in standing.sentences(board, options)]
        if HEADLINE_TABLE in drawn[name]:
            text.append(to_markdown(drawn[name][HEADLINE_TABLE], folded=True))
        links = [
            f"- {markdown(table.title.partition(': ')[0])}: "
            + ", ".join(f"[{e}](tables/{folder}/{table.name}.{e})" for e in ("md", "csv", "tex"))
            for table in drawn[name].values()
        ]
        text.append("\n".join(links) + "\n")
        text += [
            f"![{kind}](figures/{folder}/{kind}.png)\n\n{markdown(of.caption)}\n" for kind, of in figures[name].items()
        ]
    return "\n".join(text)


# ----------------------------------------------------------------------------------------------------------------------
# README


def headline(
    rows: Sequence[RunRecord], folder: str = "results", said: str = "", options: Options = Options(),  # noqa: B008
) -> str:  # fmt: skip
    """What README shows, as Markdown: what is said before its first heading, and figure and table of one comparison.

    Where the comparison cannot tell what unlabelled images are worth, a sentence above the table says so. `folder` is
    where `draw` has written, as seen from README.
    """
    name, table = main_table(rows, options)
    if table is None:
        raise ValueError("There are no finished runs, so there is no headline; give `bench sweep quick` first.")
    shared = Comparison(family.boards(comparisons(rows))[name])
    caution = "".join(f"{sentence}\n\n" for sentence in standing.sentences(shared.board, options))
    shown = next((kind for kind in HEADLINE_FIGURES if FIGURES[kind](shared)), None)
    picture = f"![{markdown(table.title)}]({folder}/figures/{slug(name)}/{shown}.png)\n\n" if shown else ""
    first = said.partition("\n#")[0].strip()
    return (f"{first}\n\n" if first else "") + caution + picture + to_markdown(table, folded=True)


def main_table(rows: Sequence[RunRecord], options: Options = Options()) -> tuple[str, Table | None]:  # noqa: B008
    """The comparison on whose whole methods most FLOPs were spent, and its methods by labelled fraction.

    Comparisons that can tell what unlabelled images are worth come before those that cannot.
    """
    groups = comparisons(rows)
    boards = family.boards(groups)
    spent = {
        name: (
            standing.ranks_any(boards[name], options),
            sum(row.budget.flops for row in of if row.run.plain),
        )
        for name, of in groups.items()
        if any(row.status == "done" for row in of)
    }
    name = max(spent, key=lambda name: (*spent[name], name), default="")
    return name, all_tables.draw(HEADLINE_TABLE, boards[name], options) if name else None


def with_headline(readme: str, block: str) -> str:
    """README with this block between its two marks, its first paragraph between those of a finding if there are any."""
    if _between(readme, HEADLINE) is None:
        raise ValueError("README has no place for the headline; add the lines '{}' and '{}'.".format(*HEADLINE))
    if _between(readme, FINDING) is not None:
        finding, _, block = block.partition("\n\n")
        readme = _filled(readme, FINDING, f"{finding}\n")
    return _filled(readme, HEADLINE, block)


def headline_of(readme: str) -> str | None:
    """The block that `with_headline` put there; None without its marks."""
    found, finding = _between(readme, HEADLINE), _between(readme, FINDING)
    return found if found is None or finding is None else f"{finding}\n{found}"


def _between(text: str, marks: tuple[str, str]) -> str | None:
    begin, finish = map(re.escape, marks)
    found = re.search(rf"{begin}\n(.*?){finish}", text, re.DOTALL)
    return found[1] if found else None


def _filled(text: str, marks: tuple[str, str], block: str) -> str:
    begin, finish = marks
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{block}{finish}{rest.partition(finish)[2]}"
