"""`bench report` and `bench verify`: from rows to tables, figures and a page, and back."""

from collections.abc import Sequence
from pathlib import Path

import click

from benchmark import progress, records
from benchmark.cli import show
from benchmark.cli.errors import sentence, writable
from benchmark.cli.numbers import Number
from benchmark.cli.options import (
    METRIC,
    RESULTS,
    Named,
    RegularFile,
    data_option,
    device_option,
    open_store,
    results_option,
)
from benchmark.files import delete_unfinished, write_text
from benchmark.protocol import suites
from benchmark.records import RunRecord
from benchmark.words import some

TUNING = "tuning"  # folder of the trials of `bench tune` in the results
SUITE = Named(lambda ctx: list(suites.SUITES))


@click.command(
    epilog="""\b
Examples:
  bench report                               everything that the rows in results/ suffice for
  bench report main --out paper              only runs of a suite, drawn into another folder
  bench report --metric hd95                 tables of claims, patients and strata by another metric
  bench report --readme README.md            and what README shows of them"""
)
@click.argument("suite", type=SUITE, required=False)
@click.option("--out", type=RESULTS, help="Where to write.  [default: --results]")
@click.option("--metric", type=METRIC, default="dice", show_default=True, help="Of tables that have one metric.")
@click.option("--uneven", is_flag=True, help="Rank runs of unequal budgets with the others.")
@click.option(
    "--margin",
    type=Number(float, 0, above=True, example=1),
    default=1.0,
    show_default=True,
    help="Differences below it may be called equivalent: points of 100, or pixels for distances.",
)
@click.option("--readme", type=RegularFile(), help="A Markdown file in which the headline is written again.")
@click.option(
    "--panels/--no-panels", default=True, show_default=True, help="Predict test images where weights are here."
)
@device_option
@results_option
@data_option
def report(suite, out, metric, uneven, margin, readme, panels, device, results, data) -> None:
    """Draws tables, figures and a page from the rows of finished runs, of SUITE or all.

    Tables are CSV, Markdown and LaTeX, figures PNG and PDF; index.html is one file that works offline. Runs that
    differ in dataset, task, split or network are never in one table. Runs of two or more methods with another budget
    are a table of their own; those of one method alone carry a dagger and are not ranked, unless asked with --uneven.
    """
    writable(out or results, "--out" if out else "--results")
    out = out or results
    from benchmark.analysis import timing
    from benchmark.datasets.tables import decoded
    from benchmark.report import folder, prose
    from benchmark.report.tables import formatting

    options = formatting.Options(metric, uneven, margin, suite or "")
    speeds = timing.load(results)
    rows = _rows(results, suite, bool(speeds))
    pictures = _Pictures(results, data, device) if panels else folder.no_pictures
    sentences = results / prose.FILE
    said = prose.read(decoded(sentences), rows, options) if sentences.exists() and not suite else ""
    names = folder.draw(rows, out, options, pictures, progress.watching, speeds, said)
    if readme:
        delete_unfinished(readme.parent)
        text = readme.read_text(encoding="utf-8")
        block = folder.headline(rows, Path(out).as_posix(), said, options)
        written = folder.with_headline(text, block)
        write_text(readme, written)
    if table := folder.main_table(rows, options)[1]:
        _print(table)
    for name in names:
        click.echo(f"{name}: {out / 'tables' / folder.slug(name)}, {out / 'figures' / folder.slug(name)}")
    for path in folder.left_over(out, names) if not suite else ():
        click.echo(f"Left     {path}: no rows draw it any more; delete it")
    click.echo(f"Page     {out / 'index.html'}")
    click.echo(f"Index    {out / 'README.md'}")


def _print(table) -> None:
    """The means of a table; their intervals are in its files."""
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
    marks = "* not significantly worse than the best of its column. " * any(
        cell.bold for line in table.lines for cell in line.cells
    )
    click.echo(f"{marks}Intervals, and what else must be said, are in the files:")


def _rows(results: Path, suite: str | None, timed: bool) -> list[RunRecord]:
    """The rows of a suite, whatever their dataset and recipe, or all: none where rows of speed (`timed`) are enough."""
    from benchmark.analysis import family, run_table

    paths = records.paths(results)
    if not paths and timed and suite is None:
        return []
    if not paths:
        raise ValueError(f"There are no rows in {results / 'runs'}; give `bench sweep quick` first.")
    with progress.watching("Reading rows", len(paths)) as tell:
        rows = run_table.load(results, tell)
    if suite is None:
        return rows
    rows = family.of_suite(rows, suite)
    if not rows:
        raise ValueError(
            f"None of the rows in {results / 'runs'} is of the suite '{suite}'; give `bench sweep {suite}`."
        )
    return rows


class _Pictures:
    """Predictions of test images, where the weights of runs and the dataset are here."""

    def __init__(self, results: Path, data: Path, device: str):
        self.results, self.data, self.device = results, data, device

    def __call__(self, rows: list[RunRecord]):
        from benchmark.report import folder

        there = [row for row in rows if (self.results / "weights" / f"{row.key}.safetensors").exists()]
        name = rows[0].run.dataset
        if not there or not (self.data / name / "index.json").exists():
            return folder.Pictures()
        from benchmark.datasets import store as stores
        from benchmark.report.figures import panels
        from benchmark.report.page import overlays

        store = open_store(name, self.data)
        if store.content != rows[0].run.content:
            return folder.Pictures()  # the dataset here is not the one that was scored
        store = stores.at_resolution(store, rows[0].run)
        figure = panels.qualitative(panels.panels(there, store, self.predict), rows[0].classes)
        place = {record.name: i for i, record in enumerate(store.records)}
        images = overlays.telling_images(there)
        shown = []
        for row in there:
            if row.run.draw or row.run.seed:
                continue  # one run of a cell is enough to look at
            pixels = [store.image(place[image]) for image in images]
            for image, original, found in zip(images, pixels, self.predict(row, pixels), strict=True):
                truth = store.label(place[image], row.run.task)
                shown.append(overlays.panel(image, row.key, original, truth, found))
        return folder.Pictures(figure, shown)

    def predict(self, row: RunRecord, images: list) -> list:
        from benchmark import machine
        from benchmark.protocol import checkpoint, evaluate

        method, run, device = (
            checkpoint.trained(row, self.results, self.device),
            row.run,
            machine.device(self.device),
        )
        return [
            evaluate.segment(method.predict, image, tile=run.tile, device=device, precision=run.precision)
            for image in images
        ]


@click.command(
    epilog="""\b
Examples:
  bench verify results/tables/glas/comparison.tex
  bench verify paper.tex README.md           tables inside other text are found by the line that came with them
  bench verify --records                     every run record in results/, and the weights that are there"""
)
@click.argument("files", nargs=-1, type=RegularFile())
@click.option("--records", "of_records", is_flag=True, help="Check every run record and every file of weights.")
@results_option
def verify(files, of_records, results) -> None:
    """Computes every number of generated tables again from the run records and names each that does not hold.

    FILES are .csv, .md or .tex. Lines and columns may be reordered or left out and words changed, as long as the line
    that begins with "bench table" stays with its table. Fails if a number does not hold.

    With --records, checks the run records themselves: the name of each is the hash of its fields, scores are complete
    and in their range, Jaccard belongs to Dice, and weights have the SHA-256 of their record.
    """
    if not files and not of_records:
        raise click.UsageError("Give the files of tables, or --records to check the run records.")
    if of_records:
        _verify_records(results)
    if files:
        _verify_tables(files, results)


def _verify_records(results: Path) -> None:
    """Names every run record, and every file of weights, that does not hold."""
    from benchmark import records
    from benchmark.protocol import checkpoint

    paths = records.paths(results) + records.paths(results / TUNING)
    if not paths:
        raise ValueError(f"There are no run records in {results / 'runs'}; give `bench sweep quick` first.")
    wrong = weights = 0
    with progress.watching("Checking run records", len(paths)) as tell:
        for done, path in enumerate(paths, 1):
            try:
                record = records.read(path)
                file = checkpoint.weights_path(results, record.key)
                if file.exists():
                    checkpoint.proven(record, file)
                    weights += 1
            except (ValueError, OSError) as error:
                wrong += 1
                click.echo(sentence(error))
            tell(done, path.stem)
    if wrong:
        raise click.ClickException(f"{wrong} of {len(paths)} run records do not hold.")
    also = f", and {some(weights, 'file')} of weights" if weights else ""
    click.echo(f"All {some(len(paths), 'run record')} hold{also}.")


def _verify_tables(files: Sequence[Path], results: Path) -> None:
    """Names every number of tables that does not hold."""
    from benchmark.analysis import timing
    from benchmark.report import verify as checks

    speeds = timing.load(results)
    rows = checks.Published(_rows(results, None, bool(speeds)))
    wrong = 0
    for path in files:
        verdict = checks.verify(path, rows, speeds)
        wrong += len(verdict.findings)
        for finding in verdict.findings:
            click.echo(f"{path}, {finding}")
        tables = f"{verdict.tables} table" + "s" * (verdict.tables != 1)
        if not verdict.findings:
            click.echo(f"{path}: all {verdict.numbers} numbers of {tables} hold.")
    if wrong:
        raise click.ClickException(f"{wrong} place{'s' * (wrong != 1)} do{'es' * (wrong == 1)} not hold.")
