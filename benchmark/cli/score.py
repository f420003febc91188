"""`bench score`: scores the weights of finished runs again, with new scores or on another dataset."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

from benchmark import progress, run_records
from benchmark.cli import show
from benchmark.cli.options import DATASET, RUN, TASK, Where, open_store, record_of, where_options
from benchmark.run_records import RunRecord
from benchmark.words import some

if TYPE_CHECKING:
    from benchmark.datasets.store import Store


@cloup.command(
    epilog="""\b
Examples:
  bench score                                     adds new scores to all run records with weights
  bench score cdma_phantom_r0.1_d0_s0             only to this one
  bench score cdma_glas supervised_glas --dataset mine      scores the images of `mine`, an external test set"""
)
@cloup.argument("runs", nargs=-1, type=RUN, metavar="[RUN]...")
@cloup.option("--dataset", type=DATASET, help="Another dataset, as an external test set.  [default: that of the run]")
@cloup.option("--task", type=TASK, default="", help="Task of the other dataset.  [default: its first]")
@where_options
def score(runs, dataset, task, where: Where) -> None:
    """Scores the weights of finished runs again.

    RUN is the key of a run or its unique beginning; without RUN, all finished runs with weights are scored. On their
    own dataset, missing scores are added to the run records, and the others stay as they are. With --dataset, all
    annotated images of another dataset with the same classes are scored; the scores are in scores/RUN/DATASET.json.
    """
    chosen = [record_of(where.results, key) for key in runs] or _with_weights(where.results)
    if dataset is None and task:
        raise ValueError("--task is that of another dataset; give it together with --dataset.")
    if dataset is None:
        for record in chosen:
            _add(record, where)
    else:
        _elsewhere(chosen, open_store(dataset, where.data), task, where)


def _with_weights(results: Path) -> list[RunRecord]:
    """The records of all finished runs with weights; a ValueError if there is none."""
    from benchmark.protocol import checkpoint

    finished = [record for record in run_records.load(results) if record.status == "done"]
    weighted = [record for record in finished if checkpoint.weights_path(results, record.key).exists()]
    if not weighted:
        raise ValueError(f"There are no weights of finished runs in {results}; train some with `bench run` first.")
    return weighted


def _add(record: RunRecord, where: Where) -> None:
    """Adds missing scores to a run record."""
    from benchmark.protocol import rescore

    store = open_store(record.run.dataset, where.data)
    with progress.watching(f"Scoring {record.run.method}", record.certificate.images["test"]) as tell:
        names, change = rescore.add_missing(
            record, store, where.results, device=where.device, tell=tell,
            wait=lambda other: click.echo(f"The run {record.key} is in use by {other}; waiting for it."),
        )  # fmt: skip
    click.echo(f"{record.key}: {'added ' + ', '.join(names) if names else 'has every score'}")
    if abs(change) >= 0.00005:
        click.echo(
            f"  The Dice computed here differs by {change:+.4f} from that of the run record, which is kept: machines "
            "round differently."
        )


def _elsewhere(chosen: list[RunRecord], store: "Store", task: str, where: Where) -> None:
    """Scores runs on another dataset, and prints and writes their scores."""
    from rich.table import Table

    from benchmark.protocol import rescore
    from benchmark.report.tables import summary

    table = None
    for record in chosen:
        if record.run.dataset == store.name:
            raise ValueError(f"{record.key} is a run on '{store.name}' itself; leave out --dataset to score it there.")
        own = (where.data / record.run.dataset / "index.json").exists()
        with progress.watching(f"Scoring {record.run.method}", len(store.records)) as tell:
            scored, path = rescore.score_elsewhere(
                record, store, where.results, task=task, device=where.device, tell=tell,
                own=open_store(record.run.dataset, where.data) if own else None,
            )  # fmt: skip
        lines = summary.by_class(scored.scores, scored.classes)
        if table is None:
            table = Table(title=f"Scores on the annotated images of {store.name}", title_justify="left")
            for column in ("", *([""] if len(lines) > 1 else []), *summary.heads(lines)):
                table.add_column(column, justify="left" if not column else "right")
        name = f"{record.title}, {record.run.ratio:g}, draw {record.run.draw}, seed {record.run.seed}"
        for k, (of_class, line) in enumerate(lines.items()):
            first = ["" if k else name, *([of_class] if len(lines) > 1 else [])]
            table.add_row(*first, *summary.cells(line))
        click.echo(f"Scores   {path}")
        if scored.left_out:
            count = some(len(scored.left_out), "image")
            click.echo(f"  Left out, because also in '{record.run.dataset}': {count}.")
        if not own:
            click.echo(f"  '{record.run.dataset}' is not in {where.data}, so shared images could not be left out.")
    show.console().print(table)
