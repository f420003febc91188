"""`bench choose`: which images to annotate next."""

from dataclasses import dataclass
from pathlib import Path

import click
import cloup

from benchmark import machine, progress, run_records
from benchmark.cli.errors import writable
from benchmark.cli.numbers import COUNT
from benchmark.cli.options import DATASET, RESULTS, RUN, SPLIT, Where, group, open_store, record_of, where_options
from benchmark.cli.types import Name, OneOf

STRATEGY = Name("strategy", lambda ctx: _strategies())


def _strategies() -> list[str]:
    from benchmark.protocol import choosing

    return choosing.names()


@dataclass(frozen=True)
class Choice:
    """Which images are chosen, and how."""

    dataset: str
    count: int
    strategy: str
    key: str
    among: str | None
    split: str
    draws: int


choice_options = group(
    "What is chosen", "choice", Choice,
    cloup.option("--dataset", type=DATASET, required=True, help="See `bench data list`."),
    cloup.option("--count", type=COUNT, required=True, help="Number of images."),
    cloup.option("--strategy", type=STRATEGY, default="k_centre", show_default=True, help="See below."),
    cloup.option("--run", "key", type=RUN, default="", help="The key of a finished run, or its unique beginning."),
    cloup.option("--among", type=OneOf("kind of images", ("unannotated", "annotated")),
                 help="Training images without masks, to annotate them, or with masks, to compare strategies.  "
                 "[default: unannotated, if there are any]"),
    cloup.option("--split", type=SPLIT, default="", help="A split of the dataset.  [default: its first]"),
    cloup.option("--draws", type=COUNT, default=1, show_default=True, help="Number of lists, one per draw."),
)  # fmt: skip


@cloup.command(
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
@choice_options
@cloup.option("--out", type=RESULTS, default="chosen", show_default=True, help="Folder of the list and the picture.")
@where_options
def choose(choice: Choice, out, where: Where) -> None:
    """Chooses the images that are most useful to annotate.

    Writes a list that `bench sweep --labelled-list` takes once the images have masks, and a picture of the images. Only
    training images are chosen.
    """
    dataset, count, strategy = choice.dataset, choice.count, choice.strategy
    store = open_store(dataset, where.data)
    split = choice.split or next(iter(store.dataset.splits))
    training = store.split(split)["train"]
    annotated = [place for place in training if store.records[place].annotated]
    bare = [place for place in training if not store.records[place].annotated]
    among = choice.among or ("unannotated" if bare else "annotated")
    candidates = bare if among == "unannotated" else annotated
    if count > len(candidates):
        raise ValueError(
            f"'{dataset}' has {len(candidates)} {among} training images; give --count {len(candidates)} or less."
        )
    from benchmark.protocol import checkpoint, choosing, selection
    from benchmark.report.figures import pictures

    chooser = choosing.get(strategy)
    used = _networks(chooser.networks, strategy, choice.key, where.results)
    writable(out, "--out", ())
    device = machine.device(where.device)
    predicts = [checkpoint.trained(record, where.results, where.device).predict for record in used]
    known = annotated if among == "unannotated" else []
    with progress.watching(f"Looking at {dataset}", len(known) + len(candidates)) as tell:
        pool = choosing.Pool(store, candidates, known, predicts, used[0].run.tile if used else 256, device, tell)
        lists = [chooser.choose(pool, count, draw) for draw in range(choice.draws)]
    name = f"{dataset}_{strategy}_{count}"
    names = [[store.records[place].name for place in places] for places in lists]
    chosen = selection.Selection(strategy=strategy, dataset=dataset, split=split, draws=names)
    selection.write(chosen, out / f"{name}.json")
    title = f"{dataset}: {count} {among} images, {chooser.title}"
    pictures.chosen_sheet(store, lists[0], title, out / f"{name}.png")
    for number, image in enumerate(names[0], 1):
        click.echo(f"{number:4}  {image}")
    click.echo(f"List     {out / name}.json\nPicture  {out / name}.png")


def _networks(needed: int, strategy: str, key: str, results: Path) -> list[run_records.RunRecord]:
    """The runs that a strategy needs: none, the named one, or the named one with its repeats."""
    if not needed:
        return []
    if not key:
        raise ValueError(f"The strategy '{strategy}' needs a trained network; give --run KEY.")
    record = record_of(results, key)
    if needed == 1:
        return [record]
    repeats = run_records.repeats(results, record)
    if len(repeats) < needed:
        raise ValueError(
            f"{record.key} has {len(repeats)} repeats in {results}, and '{strategy}' needs {needed}; run more."
        )
    return repeats
