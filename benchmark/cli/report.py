"""`bench report` and `bench verify`: renders run records as tables, figures and a page, and checks the results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cloup

from benchmark import progress, run_records
from benchmark.cli import show
from benchmark.cli.errors import sentence, writable
from benchmark.cli.numbers import Number
from benchmark.cli.options import METRIC, RESULTS, SUITE, Where, group, open_store, results_option, where_options
from benchmark.cli.types import RegularFile
from benchmark.files import delete_unfinished, write_text
from benchmark.run_records import RunRecord
from benchmark.words import slug, some

TUNING = "tuning"  # folder of the trials of `bench tune` in the results


@dataclass(frozen=True)
class Tables:
    """What tables show."""

    metric: str
    margin: float
    uneven: bool


@dataclass(frozen=True)
class Target:
    """What is written, and where."""

    out: Path | None
    readme: Path | None
    paper: bool
    panels: bool


table_options = group(
    "Tables", "tables", Tables,
    cloup.option("--metric", type=METRIC, default="dice", show_default=True, help="Score of tables with one score."),
    cloup.option("--margin", type=Number(float, 0, above=True, example=1), default=1.0, show_default=True,
                 help="Smaller differences may be called equivalent: points of 100, or pixels for distances."),
    cloup.option("--uneven", is_flag=True, help="Rank runs with unequal budgets together with the others."),
)  # fmt: skip
target_options = group(
    "What is written", "target", Target,
    cloup.option("--out", type=RESULTS, help="Folder to write to.  [default: --results]"),
    cloup.option("--readme", type=RegularFile(), help="A Markdown file: writes its findings, methods and datasets."),
    cloup.option("--paper", is_flag=True, help="Also paper/: methods section, dataset table, checklist, references."),
    cloup.option("--panels/--no-panels", default=True, show_default=True,
                 help="Predict test images of runs with weights, for pictures."),
)  # fmt: skip


@cloup.command(
    epilog="""\b
Examples:
  bench report                               all tables and figures that the run records allow
  bench report main --out paper              only runs of a suite, written to another folder
  bench report --metric hd95                 tables of claims, patients and strata with another score
  bench report --paper                       also the methods section, checklist and references of a paper
  bench report --readme README.md            also writes the blocks of README"""
)
@cloup.argument("suite", type=SUITE, required=False)
@target_options
@table_options
@where_options
def report(suite, target: Target, tables: Tables, where: Where) -> None:
    """Renders tables, figures and a page from the run records.

    With SUITE, only its runs. Tables are CSV, Markdown and LaTeX, figures PNG and PDF; index.html is one file that
    works offline. Runs that differ in dataset, task, split or network are never in one table. If two or more methods
    have runs with another budget, these get a table of their own; if only one has, they are marked with a dagger and
    ranked only with --uneven.
    """
    results, out = where.results, target.out or where.results
    writable(out, "--out" if target.out else "--results")
    from benchmark.analysis import timing
    from benchmark.analysis.comparison import Options
    from benchmark.datasets.tables import decoded
    from benchmark.report import folder, prose
    from benchmark.report import readme as blocks

    options = Options(tables.metric, tables.uneven, tables.margin, suite or "")
    speed_records = timing.load(results)
    loaded = _run_records(results, suite, bool(speed_records))
    pictures = _Pictures(where) if target.panels else folder.no_pictures
    template = results / prose.FILE
    findings = prose.read(decoded(template), loaded, options) if template.exists() and not suite else ""
    names = folder.render(loaded, out, options, pictures, progress.watching, speed_records, findings)
    if target.readme:
        delete_unfinished(target.readme.parent)
        texts = {
            "findings": blocks.findings(loaded, findings, Path(out).as_posix()),
            "methods": blocks.method_table(),
            "datasets": blocks.dataset_table(),
        }
        write_text(target.readme, blocks.with_blocks(target.readme.read_text(encoding="utf-8"), texts))
    if target.paper:
        for path in folder.write_paper(loaded, out, options):
            click.echo(f"Paper    {path}")
    if table := folder.main_table(loaded, options):
        _print(table)
    for name in names:
        click.echo(f"{name}: {out / 'tables' / slug(name)}, {out / 'figures' / slug(name)}")
    for path in folder.left_over(out, names) if not suite else ():
        click.echo(f"Old      {path}: no run record belongs to it any more; delete it")
    click.echo(f"Page     {out / 'index.html'}")
    click.echo(f"Index    {out / 'README.md'}")


def _print(table: Any) -> None:
    """Prints the means of a table; its files have the intervals."""
    from rich.table import Table
    from rich.text import Text

    from benchmark.analysis.standing import NOTHING
    from benchmark.report.tables.table import DAGGER

    printed = Table(title=table.title, title_justify="left")
    if table.blocks:
        printed.add_column(table.blocks)
    for column in table.columns:
        printed.add_column(column.name, justify="left" if column.kind == "text" else "right")
    for line in table.lines:
        means = (cell.text.partition(" [")[0] + "*" * cell.bold + f" {DAGGER}" * cell.dagger for cell in line.cells)
        printed.add_row(*map(Text, [line.block, *means] if table.blocks else means))
    show.console().print(printed)
    for note in table.notes:
        if note.endswith(NOTHING):
            click.echo(note)
    if any(cell.bold for line in table.lines for cell in line.cells):
        click.echo("* not significantly worse than the best of its column")
    click.echo("Intervals and notes are in the files:")


def _run_records(results: Path, suite: str | None, timed: bool) -> list[RunRecord]:
    """The run records of a suite, for every dataset and recipe, or all.

    Args:
        results: folder of the records.
        suite: its name; None is all runs.
        timed: there are speed records, so that no run record is needed.

    Raises:
        ValueError: if there is none.
    """
    from benchmark.analysis import family, run_table

    paths = run_records.paths(results)
    if not paths and timed and suite is None:
        return []
    if not paths:
        raise ValueError(f"There are no run records in {results / 'runs'}; give `bench sweep quick` first.")
    with progress.watching("Reading run records", len(paths)) as tell:
        loaded = run_table.load(results, tell)
    if suite is None:
        return loaded
    loaded = family.of_suite(loaded, suite)
    if not loaded:
        raise ValueError(
            f"No run record in {results / 'runs'} belongs to the suite '{suite}'; give `bench sweep {suite}`."
        )
    return loaded


class _Pictures:
    """Predictions of test images, for runs with weights and a dataset on this machine."""

    def __init__(self, where: Where):
        self.where = where

    def __call__(self, loaded: list[RunRecord]):
        from benchmark.report import folder

        weights = self.where.results / "weights"
        weighted = [record for record in loaded if (weights / f"{record.key}.safetensors").exists()]
        name = loaded[0].run.dataset
        if not weighted or not (self.where.data / name / "index.json").exists():
            return folder.Pictures()
        from benchmark.datasets import store as stores
        from benchmark.report.figures import panels
        from benchmark.report.page import overlays

        store = open_store(name, self.where.data)
        if store.content != loaded[0].run.content:
            return folder.Pictures()  # the dataset here is not the one that was scored
        store = stores.at_resolution(store, loaded[0].run)
        figure = panels.qualitative(panels.panels(weighted, store, self.predict), loaded[0].classes)
        place = {image.name: i for i, image in enumerate(store.records)}
        images = overlays.typical_images(weighted)
        shown = []
        for record in weighted:
            if record.run.draw or record.run.seed:
                continue  # one run of a cell is enough to look at
            pixels = [store.image(place[image]) for image in images]
            for image, original, predicted in zip(images, pixels, self.predict(record, pixels), strict=True):
                truth = store.label(place[image], record.run.task)
                shown.append(overlays.panel(image, record.key, original, truth, predicted))
        return folder.Pictures(figure, shown)

    def predict(self, record: RunRecord, images: list) -> list:
        """The predicted classes of images, with the weights of a run."""
        from benchmark import machine
        from benchmark.protocol import checkpoint, evaluate

        method = checkpoint.trained(record, self.where.results, self.where.device)
        run, device = record.run, machine.device(self.where.device)
        return [
            evaluate.segment(method.predict, image, tile=run.tile, device=device, precision=run.precision)
            for image in images
        ]


@cloup.command(
    epilog="""\b
Examples:
  bench verify results/tables/glas/comparison.tex
  bench verify paper.tex README.md           tables inside other text are found by their line "bench table"
  bench verify --records                     every run record in results/, and the weights"""
)
@cloup.argument("files", nargs=-1, type=RegularFile())
@cloup.option("--records", "of_records", is_flag=True, help="Check every run record and every file of weights.")
@results_option
def verify(files, of_records, results) -> None:
    """Recomputes the numbers of tables from the run records.

    FILES are .csv, .md or .tex. Lines and columns may be reordered or left out and words changed, as long as the line
    that begins with "bench table" stays with its table. Names each number that does not match, and fails if there is
    one.

    With --records, checks the run records themselves: the name of each is the hash of its fields, scores are complete
    and in their range, Jaccard matches Dice, and weights have the SHA-256 of their record.
    """
    if not files and not of_records:
        raise click.UsageError("Give the files of tables, or --records to check the run records.")
    if of_records:
        _verify_records(results)
    if files:
        _verify_tables(files, results)


def _verify_records(results: Path) -> None:
    """Prints an error for every run record and file of weights that is damaged or was changed."""
    from benchmark import run_records
    from benchmark.protocol import checkpoint

    paths = run_records.paths(results) + run_records.paths(results / TUNING)
    if not paths:
        raise ValueError(f"There are no run records in {results / 'runs'}; give `bench sweep quick` first.")
    wrong = weights = 0
    with progress.watching("Checking run records", len(paths)) as tell:
        for done, path in enumerate(paths, 1):
            try:
                record = run_records.read(path)
                file = checkpoint.weights_path(results, record.key)
                if file.exists():
                    checkpoint.proven(record, file)
                    weights += 1
            except (ValueError, OSError) as error:
                wrong += 1
                click.echo(sentence(error))
            tell(done, path.stem)
    if wrong:
        raise click.ClickException(f"{wrong} of {some(len(paths), 'run record')} failed the check.")
    also = f" and {some(weights, 'file')} of weights" if weights else ""
    click.echo(f"Checked {some(len(paths), 'run record')}{also}: no error.")


def _verify_tables(files: Sequence[Path], results: Path) -> None:
    """Prints every number of tables that does not match the run records."""
    from benchmark.analysis import timing
    from benchmark.report import verify as checks

    speed_records = timing.load(results)
    published = checks.Published(_run_records(results, None, bool(speed_records)))
    wrong = 0
    for path in files:
        verdict = checks.verify(path, published, speed_records)
        wrong += len(verdict.findings)
        for finding in verdict.findings:
            click.echo(f"{path}, {finding}")
        if not verdict.findings:
            tables = some(verdict.tables, "table")
            click.echo(f"{path}: all {verdict.numbers} numbers of {tables} match the run records.")
    if wrong:
        verb = "does" if wrong == 1 else "do"
        raise click.ClickException(f"{some(wrong, 'number')} {verb} not match the run records.")
