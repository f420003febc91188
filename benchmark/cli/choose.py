"""`bench choose`: which images to annotate next."""

from pathlib import Path

import click

from benchmark import machine, progress, records
from benchmark.cli.errors import writable
from benchmark.cli.numbers import COUNT
from benchmark.cli.options import (
    DATASET,
    RESULTS,
    ROW,
    Named,
    data_option,
    device_option,
    open_store,
    record_of,
    results_option,
)
from benchmark.names import choose as choose_name


def _strategies() -> list[str]:
    from benchmark.protocol import choosing

    return choosing.names()


@click.command(
    epilog="""\b
Strategies:
  random_patients   random images, of as many patients as possible
  k_centre          images that differ most in features of the pretrained encoder
  uncertainty       highest entropy of a run (--run)
  disagreement      highest disagreement between the repeats of a run (--run)

\b
Examples:
  bench choose --dataset mine --count 7
  bench choose --dataset mine --count 7 --strategy uncertainty --run supervised_mine_r1_d0_s0
  bench choose --dataset mine --count 7 --among annotated --draws 3
  bench sweep quick --labelled-list chosen/mine_k_centre_7.json --draws 3"""
)
@click.option("--dataset", type=DATASET, required=True, help="See `bench data list`.")
@click.option("--count", type=COUNT, required=True, help="How many images.")
@click.option("--strategy", type=Named(lambda ctx: _strategies()), default="k_centre", show_default=True)
@click.option("--run", "key", type=ROW, default="", help="The key of a finished run, or its unique beginning.")
@click.option(
    "--among", type=click.Choice(["unannotated", "annotated"]),
    help="Training images without masks, to annotate them, or with masks, to compare strategies.  "
    "[default: unannotated, if there are any]",
)  # fmt: skip
@click.option("--split", default="", help="[default: the dataset's first]")
@click.option("--draws", type=COUNT, default=1, show_default=True, help="Lists, one for each draw of a sweep.")
@click.option("--out", type=RESULTS, default="chosen", show_default=True, help="Folder of the list and the pictures.")
@device_option
@results_option
@data_option
def choose(dataset, count, strategy, key, among, split, draws, out, device, results, data) -> None:
    """Chooses the images of a dataset that are most useful to annotate next.

    Writes a list that `bench sweep --labelled-list` takes once the images have masks, and a picture of the images. Only
    training images are chosen.
    """
    choose_name(strategy, _strategies(), "strategy")
    store = open_store(dataset, data)
    split = split or next(iter(store.dataset.splits))
    training = store.split(split)["train"]
    annotated = [place for place in training if store.records[place].annotated]
    bare = [place for place in training if not store.records[place].annotated]
    among = among or ("unannotated" if bare else "annotated")
    candidates = bare if among == "unannotated" else annotated
    if count > len(candidates):
        raise ValueError(
            f"'{dataset}' has {len(candidates)} {among} training images; give --count {len(candidates)} or less."
        )
    from benchmark.protocol import checkpoint, choosing, selection
    from benchmark.report.figures import pictures

    found = choosing.get(strategy)
    used = _networks(found.networks, strategy, key, results)
    writable(out, "--out", ())
    where = machine.device(device)
    predicts = [checkpoint.trained(record, results, device).predict for record in used]
    known = annotated if among == "unannotated" else []
    with progress.watching(f"Looking at {dataset}", len(known) + len(candidates)) as tell:
        pool = choosing.Pool(store, candidates, known, predicts, used[0].run.tile if used else 256, where, tell)
        lists = [found.choose(pool, count, draw) for draw in range(draws)]
    name = f"{dataset}_{strategy}_{count}"
    names = [[store.records[place].name for place in places] for places in lists]
    chosen = selection.Selection(strategy=strategy, dataset=dataset, split=split, draws=names)
    selection.write(chosen, out / f"{name}.json")
    title = f"{dataset}: {count} {among} images, {found.title}"
    pictures.chosen_sheet(store, lists[0], title, out / f"{name}.png")
    for number, image in enumerate(names[0], 1):
        click.echo(f"{number:4}  {image}")
    click.echo(f"List     {out / name}.json\nPicture  {out / name}.png")


def _networks(needed: int, strategy: str, key: str, results: Path) -> list[records.RunRecord]:
    """The runs that a strategy needs: none, the named one, or the named one with its repeats."""
    if not needed:
        return []
    if not key:
        raise ValueError(f"The strategy '{strategy}' needs a trained network; give --run KEY.")
    record = record_of(results, key)
    if needed == 1:
        return [record]
    found = records.repeats(results, record)
    if len(found) < needed:
        raise ValueError(
            f"{record.key} has {len(found)} repeats in {results}, and '{strategy}' needs {needed}; run more."
        )
    return found
