"""What README shows of the results: the findings, one figure, and the tables of methods and datasets."""

import re
from collections import defaultdict
from collections.abc import Sequence

import methods
from benchmark import datasets
from benchmark.analysis import family, standing
from benchmark.analysis.comparison import Options
from benchmark.analysis.run_table import comparisons
from benchmark.report.figures.all_figures import FIGURES
from benchmark.report.tables.table import markdown
from benchmark.run_records import RunRecord
from benchmark.words import slug

BLOCKS = ("findings", "methods", "datasets")  # each between its two marks
FIGURE_KINDS = ("gap", "differences", "score-ratio", "score-flops")  # the first that the records are enough for


def findings(records: Sequence[RunRecord], text: str, folder: str = "results") -> str:
    """The findings before their first heading, and one figure of the best-supported comparison.

    Args:
        records: all published run records.
        text: the findings as `prose.read` gives them.
        folder: of the results, as seen from README.
    """
    first = text.partition("\n#")[0].strip()
    compared = standing.ordered(family.together(comparisons(records), Options()))
    for name, comparison in compared.items():
        for kind in FIGURE_KINDS:
            if FIGURES[kind](comparison) is not None:
                picture = f"![{markdown(name)}: {kind}]({folder}/figures/{slug(name)}/{kind}.png)"
                return f"{first}\n\n{picture}\n"
    return f"{first}\n"


def method_table() -> str:
    """The methods by year, each with its venue."""
    by_year: dict[int, list[str]] = defaultdict(list)
    for name in methods.names():
        kind = methods.get(name)
        venue = f", {kind.venue}" if kind.venue and kind.venue != "ours" else ""
        by_year[kind.year].append(f"[{kind.title}]({kind.paper}) (`{name}`{venue})")
    lines = [f"| {year} | {'; '.join(by_year[year])} |" for year in sorted(by_year)]
    return "\n".join(["| Year | Methods |", "|---|---|", *lines, ""])


def dataset_table() -> str:
    """The datasets with their size and licence."""
    kinds = {name: datasets.get(name) for name in datasets.names()}
    lines = [
        f"| [{markdown(kind.title)}]({kind.source}) (`{name}`) | {kind.size} | {kind.licence} |"
        if kind.source.startswith("http")
        else f"| {markdown(kind.title)} (`{name}`) | {kind.size} | {kind.licence} |"
        for name, kind in kinds.items()
    ]
    return "\n".join(["| Dataset | Size | Licence |", "|---|---|---|", *lines, ""])


def with_blocks(readme: str, blocks: dict[str, str]) -> str:
    """README with each of these blocks between its marks, where it has them.

    Raises:
        ValueError: if README has none of the marks.
    """
    there = [name for name in blocks if block_of(readme, name) is not None]
    if not there:
        marks = " and ".join(f"'{mark}'" for mark in _marks("findings"))
        raise ValueError(f"README has no place for the results; add the lines {marks}.")
    for name in there:
        begin, end = _marks(name)
        before, _, rest = readme.partition(begin)
        readme = f"{before}{begin}\n{blocks[name]}{end}{rest.partition(end)[2]}"
    return readme


def block_of(readme: str, name: str) -> str | None:
    """What stands between the marks of a block; None without them."""
    begin, end = map(re.escape, _marks(name))
    found = re.search(rf"{begin}\n(.*?){end}", readme, re.DOTALL)
    return found[1] if found else None


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by bench report -->", f"<!-- end of {name} -->"
