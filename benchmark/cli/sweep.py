"""`bench sweep` and `bench ablate`: trains all runs of a table, several at a time."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

import methods
from benchmark import progress, run_records, runs
from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.executors import Execution, execution_options, follow, takes
from benchmark.cli.numbers import MOST_RUNS, RATIO, SEED, Number
from benchmark.cli.options import METHOD, SUITE, Setup, group, open_store, open_stores, run_options
from benchmark.cli.types import List, RegularFile, joined
from benchmark.protocol import selection, suites
from benchmark.words import some

if TYPE_CHECKING:
    from benchmark.datasets.store import Store
    from benchmark.sweep.plan import Planned


def counted(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[int, ...] | None:
    """Numbers of draws or seeds: `3` is the first three, 0, 1 and 2; `0,4` is these two; `4,` is this one.

    Raises:
        ValueError: for a count of 0, or of more runs than a plan may have.
    """
    numbers = joined(ctx, param, tuple(List(SEED).convert(text, param, ctx) for text in given))
    if len(given) != 1 or "," in given[0]:
        return numbers
    (count,), option = numbers, param.opts[0]
    if not count:
        raise ValueError(f"{option} 0 is none at all; give {option} 1, or {option} 0, for the one with number 0.")
    if count > MOST_RUNS:
        raise ValueError(
            f"{option} {count} means {count:,} {param.name}, numbered from 0, and a plan may have at most "
            f"{MOST_RUNS:,} runs; for the one with number {count}, write it with a comma: {option} {count},"
        )
    return tuple(range(count))


LISTS = {  # option -> its help, type and callback
    "methods": ("Methods, instead of those of the suite.", List(METHOD), joined),
    "ratios": ("Labelled fractions, such as 0.1,0.5.", List(RATIO), joined),
    "draws": ("Labelled subsets, each with every seed: 3 is draws 0, 1 and 2; 0,4 is these two.", str, counted),
    "seeds": ("Seeds: 3 is seeds 0, 1 and 2; 0,4 is these two.", str, counted),
    "variants": ("Ablations of the methods, such as no_um,no_cdkd.", List(), joined),
}


def list_option(name: str) -> Callable:
    """An option for what a suite has several of."""
    text, kind, callback = LISTS[name]
    return cloup.option(f"--{name}", type=kind, multiple=True, metavar="LIST", callback=callback, help=text)


@dataclass(frozen=True)
class Table:
    """What a table has several of, where the command line differs from the suite; None leaves that of the suite."""

    ratios: tuple[float, ...] | None
    draws: tuple[int, ...] | None
    seeds: tuple[int, ...] | None
    variants: tuple[str, ...] | None
    repeats: int | None

    def of(self, suite: suites.Suite, setup: Setup) -> suites.Suite:
        """The suite with these lists, on the dataset and with the fields of the command line."""
        lists = {
            "repeats": self.repeats, "draws": self.draws, "seeds": self.seeds, "ablated": self.variants,
            "recipe": setup.recipe,
        }  # fmt: skip
        suite = dataclasses.replace(suite, **{name: value for name, value in lists.items() if value})
        suite = suite.at(self.ratios) if self.ratios else suite
        return suite.on(setup.fields["dataset"]) if "dataset" in setup.fields else suite


@dataclass(frozen=True)
class Which:
    """Which of the planned runs are executed, and how."""

    skip_failed: bool
    detach: bool
    tuned: bool = False
    lists: tuple[Path, ...] = ()  # of labelled images
    off: str = ""  # the ablated method: with every part switched off it must equal `supervised`


def _sweep_options(*more: Callable) -> Callable:
    """The options of `bench sweep` and `bench ablate`, with more in the group "Which runs"."""
    tables = group(
        "Runs of the table", "table", Table,
        *(list_option(name) for name in ("ratios", "draws", "seeds", "variants")),
        cloup.option("--repeats", type=Number(int, 1, MOST_RUNS, example=3), help="Repeat r has draw r and seed r."),
    )  # fmt: skip
    which = group(
        "Which runs", "which", Which,
        *more,
        cloup.option("--skip-failed", is_flag=True, help="Leave out runs that failed before; else they run again."),
        cloup.option("--detach", is_flag=True, help="Slurm: return when the jobs are in the queue."),
    )  # fmt: skip
    fields = run_options("variant", "ratio", "draw", "seed", recipe=None, settings=True)
    return lambda command: tables(fields(which(execution_options(command))))


@cloup.command(
    epilog="""\b
Examples:
  bench sweep quick
  bench sweep main --dataset ebhi-seg --task epithelium --ratios 0.1,0.5 --draws 3 --dry-run
  bench sweep main --methods cdma,mean_teacher,my_method --recipe full --device cuda
  bench sweep main --on slurm --partition gpu --gpus-per-task 1 --time 240"""
)
@cloup.argument("suite", type=SUITE, required=False)
@cloup.option_group("Methods", list_option("methods"))
@_sweep_options(
    cloup.option("--tuned", is_flag=True, help="With the settings that `bench tune` found best."),
    cloup.option("--labelled-list", "lists", multiple=True, type=RegularFile(),
                 help="Labelled images that `bench choose` chose, beside random draws of the same number; repeatable."),
)  # fmt: skip
def sweep(suite, methods, table: Table, setup: Setup, which: Which, execution: Execution) -> None:
    """Trains the missing runs of SUITE, several at a time.

    Without SUITE, lists the suites. A suite is methods × datasets × labelled fractions × repeats. `supervised`, with
    which methods are compared, is always part of it, at every fraction and (except for ablations) with all labels.
    Ctrl-C stops at once; the same command resumes each run from its last checkpoint, about 20 s earlier.
    """
    if not suite:
        _list_suites()
        return
    chosen = suites.SUITES[suite]
    if methods:
        chosen = dataclasses.replace(chosen, methods=methods)
    _execute(suite, table.of(chosen, setup), setup, which, execution)


@cloup.command(
    epilog="""\b
Examples:
  bench ablate cdma
  bench ablate mean_teacher --dataset glas --ratios 0.2 --seeds 3
  bench ablate cdma --variants no_um,no_cdkd,all_off --dry-run"""
)
@cloup.argument("method", type=METHOD)
@_sweep_options()
def ablate(method, table: Table, setup: Setup, which: Which, execution: Execution) -> None:
    """Trains the variants of METHOD beside the full method.

    `supervised` is trained, too, and finished runs are not repeated. First it is checked that the method with every
    part switched off equals `supervised`, if both train the same network.
    """
    if not methods.variants(method):
        raise ValueError(f"'{method}' has neither unsupervised terms nor variants, so there is nothing to ablate.")
    chosen = dataclasses.replace(suites.SUITES["ablation"], methods=(method,))
    _execute("ablation", table.of(chosen, setup), setup, dataclasses.replace(which, off=method), execution)


def _execute(name: str, suite: suites.Suite, setup: Setup, which: Which, execution: Execution) -> None:
    """Plans the runs of a suite, executes what is missing, and prints the plan and the table."""
    if which.detach and execution.on != "slurm":
        raise ValueError(f"--detach has no effect with --on {execution.on}; leave it out, or give --on slurm.")
    results = execution.results
    selections = [selection.read(path) for path in which.lists]
    if selections:
        dataset = setup.fields.get("dataset") or selections[0].dataset
        suite = suite.on(dataset).at([_fraction(selections, dataset, execution.data)])
    report = _report_command(name, suite, results)
    check_size(suite)
    fields = {field: value for field, value in setup.fields.items() if field != "dataset"}
    wanted = suites.planned(dataclasses.replace(suite, fields={**fields, "settings": setup.settings}))
    random = [run for run in wanted if run.ratio < 1]
    for chosen in selections:
        wanted += [dataclasses.replace(run, chosen=chosen.names(run.draw), chosen_by=chosen.strategy) for run in random]
    writable(results)
    stores = open_stores((run.dataset for run in wanted), execution.data)
    planned = _planned(wanted, stores, results, which)
    execution, planned = execution.settled(planned, stores, results)
    _print_plan(name, planned, execution)
    from benchmark.sweep import task

    missing = [planned_run.run for planned_run in planned if planned_run.state != task.DONE]
    if execution.dry_run or not missing:
        _print_table(results, planned, report)
        return
    if which.off:
        first = next(planned_run.run for planned_run in planned if planned_run.run.method == which.off)
        _check_off(first, len(stores[first.dataset].classes(first.task)))
    executor = execution.executor(results)
    if which.detach:
        executor.start(missing)
        click.echo(f"Queued {some(len(missing), 'job')}; run records will be in {results / 'runs'}.")
        return
    endings = follow(planned, executor, results, execution.workers)
    _print_table(results, planned, report)
    if failed := endings["failed"]:
        raise click.ClickException(
            f"{failed} of {len(planned)} runs failed; {results / 'failed'} has the errors. The same command tries "
            "them again."
        )


def _planned(wanted: Sequence[runs.Run], stores: Mapping[str, "Store"], results: Path, which: Which) -> list["Planned"]:
    """The runs with their state, with tuned settings and without failed runs if asked for."""
    from benchmark.sweep import plan, task

    planned = plan.plan(wanted, stores, results)
    if which.tuned:
        from benchmark.sweep import tune

        planned = plan.plan(tune.tuned([planned_run.run for planned_run in planned], results), stores, results)
    if which.skip_failed:
        planned = [planned_run for planned_run in planned if planned_run.state != task.FAILED]
        if not planned:
            raise ValueError("All of these runs have failed before; leave out --skip-failed to try them again.")
    return planned


def _fraction(selections: Sequence[selection.Selection], dataset: str, data: Path) -> float:
    """The labelled fraction of lists of images, which must be of one dataset and of one length."""
    store = open_store(dataset, data)
    counts = {len(chosen.draws[0]) for chosen in selections}
    if {chosen.dataset for chosen in selections} != {dataset} or len(counts) > 1:
        raise ValueError(
            f"The lists are not all of '{dataset}' and of the same number of images; choose the same number for each."
        )
    annotated = sum(store.records[place].annotated for place in store.split(selections[0].split)["train"])
    if max(counts) >= annotated:
        raise ValueError(
            f"The lists have {max(counts)} images, but '{dataset}' has {annotated} annotated training images; choose "
            "fewer, among annotated images."
        )
    return max(counts) / annotated


def check_size(suite: suites.Suite, trials: int = 1) -> None:
    """Refuses a plan of more than MOST_RUNS runs, before it is made.

    Raises:
        ValueError: if it has more; says how many, and how to write one draw or seed.
    """
    methods_ = len(suite.methods or methods.names()) * (1 + len(suite.ablated or ()))
    counts = {"method": methods_, "ratio": sum(len(setting.ratios) for setting in suite.settings)}
    if suite.draws is None and suite.seeds is None:
        counts["repeat"] = suite.repeats
    else:
        counts |= {"draw": len(suite.draws or (0,)), "seed": len(suite.seeds or (0,))}
    if trials > 1:
        counts["trial"] = trials
    total = math.prod(counts.values())
    if total <= MOST_RUNS:
        return
    product = " × ".join(f"{count:,} {what}{'s' if count != 1 else ''}" for what, count in counts.items())
    largest = max(counts, key=counts.__getitem__)
    remedy = f"give fewer {largest}s"
    if largest in ("draw", "seed"):
        remedy += f"; for the one with number {counts[largest]}, write it with a comma: --{largest}s {counts[largest]},"
    raise ValueError(f"The plan has {total:,} runs ({product}), and at most {MOST_RUNS:,} are allowed; {remedy}")


def _list_suites() -> None:
    """Prints every suite with its size."""
    from rich.table import Table as Printed

    table = Printed(title="Suites", title_justify="left")
    for column in ("suite", "what it compares", "datasets", "repeats", "runs"):
        table.add_column(column, justify="right" if column in ("repeats", "runs") else "left")
    for name, suite in suites.SUITES.items():
        datasets = dict.fromkeys(setting.fields.get("dataset", runs.Run.dataset) for setting in suite.settings)
        table.add_row(name, suite.about, ", ".join(datasets), str(len(suite.places)), str(len(suites.planned(suite))))
    console = show.console()
    console.print(table)
    console.print("For example: bench sweep quick. With --dry-run it only prints the plan.")


def _print_plan(name: str, planned: Sequence["Planned"], execution: Execution) -> None:
    """Prints done, missing and failed runs of each method, with estimates for the missing ones."""
    from rich.table import Table as Printed

    from benchmark.sweep import live, plan, task

    data = dict.fromkeys(_where(planned_run.run) for planned_run in planned)
    table = Printed(title=f"{name}: {some(len(planned), 'run')} on {', '.join(data)}", title_justify="left")
    columns = ("method", "ratios", "done", "missing", "failed", "time", "memory")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    by_name: dict[str, list] = {}
    for planned_run in planned:
        by_name.setdefault(live.name_of(planned_run.run), []).append(planned_run)
    for method, of_method in by_name.items():
        states = [planned_run.state for planned_run in of_method]
        counts = [states.count(state) for state in (task.DONE, plan.MISSING, task.FAILED)]
        missing = [planned_run for planned_run in of_method if planned_run.state != task.DONE]
        table.add_row(
            method,
            " ".join(f"{ratio:g}" for ratio in sorted({planned_run.run.ratio for planned_run in of_method})),
            *(str(count) if count else "–" for count in counts),
            _total([planned_run.seconds for planned_run in missing], sum, live.duration),
            _total([planned_run.memory for planned_run in missing], max, lambda size: f"{size / 2**30:.1f} GiB"),
        )
    console = show.console()
    console.print(table)
    missing = sum(planned_run.state != task.DONE for planned_run in planned)
    if not missing:
        console.print("All runs are done.")
        return
    line = f"{some(missing, 'run')} left, {takes(planned, execution.workers)}, {execution.sentence}."
    console.print(line, highlight=False)


def _where(run: runs.Run) -> str:
    reduced = f", scale {run.scale:g}" if run.scale != 1 else ""
    return " ".join(filter(None, (run.dataset, run.task))) + f" (split {run.split}{reduced})"


def _total(values: list[float | None], of: Callable, words: Callable[[float], str]) -> str:
    if not values:
        return "–"
    return "unknown" if None in values else words(of(values))


def _print_table(results: Path, planned: Sequence["Planned"], report: str) -> None:
    """Prints the mean Dice of the finished runs, and the command for the full tables."""
    from benchmark.sweep import live

    standings = live.Standings(results)
    finished = [planned_run.key for planned_run in planned if run_records.path_of(results, planned_run.key).exists()]
    standings.add(finished)
    with progress.watching("Reading run records", len(standings.unread)) as tell:
        standings.read(tell=tell)
    if standings.scores:
        show.console().print(standings.table())
        click.echo(f"Intervals, tables and figures: {report}")


def _report_command(name: str, suite: suites.Suite, results: Path) -> str:
    """The command that makes tables of these runs."""
    words = ["bench report", *([name] if suite == suites.SUITES[name] else [])]
    return " ".join([*words, *([f"--results {results}"] if results != Path("results").resolve() else [])])


def _check_off(run: runs.Run, classes: int) -> None:
    """Compares the variants of a method without unsupervised terms with `supervised`; a ValueError if they differ."""
    from benchmark.sweep import ablation

    for comparison in ablation.everything_off(run, classes):
        if comparison.same_network and not comparison.equal:
            raise ValueError(f"{comparison.sentence} Correct the method before its ablation.")
        click.echo(f"{'✓' if comparison.same_network else '–'} {comparison.sentence}")
