"""`bench score`: the weights of finished runs scored again, with new scores or on another dataset."""

from pathlib import Path

import click

from benchmark import progress, records
from benchmark.cli import show
from benchmark.cli.options import DATASET, ROW, data_option, device_option, open_store, record_of, results_option
from benchmark.records import RunRecord


@click.command(
    epilog="""\b
Examples:
  bench score                                     adds new scores to all records whose weights are here
  bench score cdma_phantom_r0.1_d0_s0             only to this one
  bench score cdma_glas supervised_glas --dataset mine      scores the images of `mine`, an external test set"""
)
@click.argument("runs", nargs=-1, type=ROW, metavar="[RUN]...")
@click.option("--dataset", type=DATASET, help="Another dataset, as an external test set.  [default: that of the run]")
@click.option("--task", default="", help="Task of the other dataset.  [default: its first]")
@device_option
@results_option
@data_option
def score(runs, dataset, task, device, results, data) -> None:
    """Scores the weights of finished runs again.

    RUN is the key of a run or its unique beginning; without RUN, all finished runs whose weights are here are scored.
    On their own dataset, scores that a record lacks are added to it, and the others stay as they are. With --dataset,
    all annotated images of another dataset with the same classes are scored into scores/RUN/DATASET.json.
    """
    found = [record_of(results, key) for key in runs] or _with_weights(results)
    if dataset is None and task:
        raise ValueError("--task is that of another dataset; give it together with --dataset.")
    if dataset is None:
        for record in found:
            _add(record, device, results, data)
    else:
        _elsewhere(found, open_store(dataset, data), task, device, results, data)


def _with_weights(results: Path) -> list[RunRecord]:
    from benchmark.protocol import checkpoint

    found = [record for record in records.load(results) if record.status == "done"]
    here = [record for record in found if checkpoint.weights_path(results, record.key).exists()]
    if not here:
        raise ValueError(f"There are no weights of finished runs in {results}; train some with `bench run` first.")
    return here


def _add(record: RunRecord, device: str, results: Path, data: Path) -> None:
    from benchmark.protocol import rescore

    store = open_store(record.run.dataset, data)
    with progress.watching(f"Scoring {record.run.method}", record.certificate.images["test"]) as tell:
        names, change = rescore.add_missing(
            record, store, results, device=device, tell=tell,
            wait=lambda other: click.echo(f"The run {record.key} is in use by {other}; waiting for it."),
        )  # fmt: skip
    click.echo(f"{record.key}: {'added ' + ', '.join(names) if names else 'has every score'}")
    if abs(change) >= 0.00005:
        click.echo(f"  Dice computed here is {change:+.4f} off that of the record, which stays: machines round apart.")


def _elsewhere(found: list[RunRecord], store, task: str, device: str, results: Path, data: Path) -> None:
    from rich.table import Table

    from benchmark.protocol import rescore
    from benchmark.report.tables import summary

    table = None
    for record in found:
        if record.run.dataset == store.name:
            raise ValueError(f"{record.key} is a run on '{store.name}' itself; leave out --dataset to score it there.")
        own = (data / record.run.dataset / "index.json").exists()
        with progress.watching(f"Scoring {record.run.method}", len(store.records)) as tell:
            scored, path = rescore.score_elsewhere(
                record, store, results, task=task, own=open_store(record.run.dataset, data) if own else None,
                device=device, tell=tell,
            )  # fmt: skip
        lines = summary.by_class(scored.scores, scored.classes)
        if table is None:
            table = Table(title=f"Scores on the annotated images of {store.name}", title_justify="left")
            for column in ("", *([""] if len(lines) > 1 else []), *summary.heads(lines)):
                table.add_column(column, justify="left" if not column else "right")
        name = f"{record.title}, {record.run.ratio:g}, draw {record.run.draw}, seed {record.run.seed}"
        for k, (what, line) in enumerate(lines.items()):
            named = ["" if k else name, *([what] if len(lines) > 1 else [])]
            table.add_row(*named, *summary.cells(line))
        click.echo(f"Scores   {path}")
        if scored.left_out:
            click.echo(f"  Left out, as '{record.run.dataset}' has them, too: {len(scored.left_out)} images.")
        if not own:
            click.echo(f"  '{record.run.dataset}' is not here, so nobody checked whether it shares images.")
    show.console().print(table)
