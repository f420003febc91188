"""`bench sweep` and `bench ablate`: the runs of a table, as many at once as fit."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import click

import methods
from benchmark import progress, records, runs
from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.executors import Who, follow, takes, who_options
from benchmark.cli.numbers import MOST_RUNS, RATIO, SEED, Number
from benchmark.cli.options import (
    METHOD,
    RECIPE,
    RECIPE_HELP,
    Named,
    RegularFile,
    listed,
    open_store,
    open_stores,
    run_options,
    settings_of,
    settings_option,
)
from benchmark.names import choose
from benchmark.protocol import selection, suites
from benchmark.words import some

SUITE = Named(lambda ctx: list(suites.SUITES))


def _counted(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[int, ...] | None:
    """`3` is the first three, 0, 1 and 2; `0,4` is these two; `4,` is this one."""
    found = listed(SEED)(ctx, param, given)
    if len(given) != 1 or "," in given[0]:
        return found
    (count,), option = found, param.opts[0]
    if not count:
        raise ValueError(f"{option} 0 is none at all; give {option} 1, or {option} 0, for the one with number 0.")
    if count > MOST_RUNS:
        raise ValueError(
            f"{option} {count} means {count:,} {param.name}, numbered from 0, and a plan may have at most "
            f"{MOST_RUNS:,} runs; for the one with number {count}, write it with a comma: {option} {count},"
        )
    return tuple(range(count))


LISTS = {
    "methods": ("Methods, instead of those of the suite.", listed()),
    "ratios": ("Labelled shares, such as 0.1,0.5.", listed(RATIO)),
    "draws": ("Labelled subsets, each with every seed: 3 is draws 0, 1 and 2; 0,4 is these two.", _counted),
    "seeds": ("Seeds: 3 is seeds 0, 1 and 2; 0,4 is these two.", _counted),
    "variants": ("Ablations of the methods, such as no_um,no_cdkd.", listed()),
}


def list_options(*names: str):
    """Options that take a list: what a suite has several of."""

    def add(command):
        for name in reversed(names):
            text, parse = LISTS[name]
            kind = METHOD if name == "methods" else None
            option = click.option(f"--{name}", type=kind, multiple=True, metavar="LIST", callback=parse, help=text)
            command = option(command)
        return command

    return add


def _sweep_options(command):
    """What a suite's runs are, beyond the fields of a run; and who carries them out."""
    further = [
        list_options("ratios", "draws", "seeds", "variants"),
        click.option("--repeats", type=Number(int, 1, MOST_RUNS, example=3), help="Repeat r has draw r and seed r."),
        run_options("variant", "ratio", "draw", "seed"),
        click.option("--recipe", type=RECIPE, envvar="BENCH_RECIPE", help=f"{RECIPE_HELP}  [default: the suite's]"),
        settings_option,
        click.option("--detach", is_flag=True, help="Slurm: return when the jobs are in the queue."),
        click.option("--skip-failed", is_flag=True, help="Leave runs that have failed; else they are tried again."),
        who_options,
    ]
    for option in reversed(further):
        command = option(command)
    return command


@click.command(
    epilog="""\b
Suites:
"""
    + "\n".join(f"  {name:9} {suite.about}" for name, suite in suites.SUITES.items())
    + """

\b
Examples:
  bench sweep quick
  bench sweep main --dataset ebhi-seg --task epithelium --ratios 0.1,0.5 --draws 3 --dry-run
  bench sweep main --methods cdma,mean_teacher,my_method --recipe full --device cuda
  bench sweep main --on slurm --partition gpu --gpus-per-task 1 --time 240"""
)
@click.argument("suite", type=SUITE, required=False)
@list_options("methods")
@_sweep_options
@click.option("--tuned", is_flag=True, help="With the settings that `bench tune` found best.")
@click.option(
    "--labelled-list",
    "lists",
    multiple=True,
    type=RegularFile(),
    help="Labelled images as `bench choose` wrote them, beside random draws of as many; repeatable.",
)
def sweep(suite, methods, **options) -> None:
    """Trains the runs of SUITE that are missing, several at once. Without SUITE, lists the suites.

    A suite is methods × datasets × labelled fractions × repeats. `supervised`, with which methods are compared, is
    always part of it, at every fraction and (except for ablations) with all labels. Ctrl-C stops at once; the same
    command resumes each run from its last checkpoint, about 20 s earlier.
    """
    if not suite:
        _list_suites()
        return
    chosen = suites.SUITES[choose(suite, list(suites.SUITES), "suite")]
    if methods:
        chosen = dataclasses.replace(chosen, methods=methods)
    _carry_out(suite, chosen, **options)


@click.command(
    epilog="""\b
Examples:
  bench ablate cdma
  bench ablate mean_teacher --dataset glas --ratios 0.2 --seeds 3
  bench ablate cdma --variants no_um,no_cdkd,all_off --dry-run"""
)
@click.argument("method", type=METHOD)
@_sweep_options
def ablate(method, **options) -> None:
    """Runs the variants of METHOD beside the full method and `supervised`; runs that are done already are shared.

    First it checks that the method with everything switched off is `supervised`, wherever both train the same network.
    """
    if not methods.variants(method):
        raise ValueError(f"'{method}' has neither unsupervised terms nor variants, so there is nothing to ablate.")
    chosen = dataclasses.replace(suites.SUITES["ablation"], methods=(method,))
    _carry_out("ablation", chosen, off=method, **options)


def _carry_out(
    name: str, suite: suites.Suite, *, ratios, repeats, draws, seeds, variants, recipe, settings, workers, threads,
    device, on, partition, minutes, gpus, flags, detach, skip_failed, dry_run, results: Path, data: Path, off: str = "",
    tuned: bool = False, lists: tuple[Path, ...] = (), **fields,
) -> None:  # fmt: skip
    who = Who.of(on, device, workers, threads, partition, minutes, gpus, flags)
    if detach and on != "slurm":
        raise ValueError(f"--detach means nothing with --on {on}; leave it out, or give --on slurm.")
    several = {"repeats": repeats, "draws": draws, "seeds": seeds, "ablated": variants, "recipe": recipe}
    suite = dataclasses.replace(suite, **{field: value for field, value in several.items() if value})
    suite = suite.at(ratios) if ratios else suite
    selections = [selection.read(path) for path in lists]
    dataset = fields.pop("dataset") or (selections[0].dataset if selections else None)
    suite = suite.on(dataset) if dataset else suite
    if selections:
        suite = suite.at([_fraction(selections, dataset, data)])
    report = _report_command(name, suite, results)
    given = {field: value for field, value in fields.items() if value is not None}
    check_size(suite)
    wanted = suites.planned(dataclasses.replace(suite, fields={**given, "settings": settings_of(settings)}))
    for found in selections:
        listed = [run for run in wanted if run.ratio < 1 and not run.chosen]
        wanted += [dataclasses.replace(run, chosen=found.names(run.draw), chosen_by=found.strategy) for run in listed]
    results, data = results.resolve(), data.resolve()
    writable(results)
    stores = open_stores((run.dataset for run in wanted), data)
    from benchmark.sweep import plan, task

    planned = plan.plan(wanted, stores, results)
    if tuned:
        from benchmark.sweep import tune

        planned = plan.plan(tune.tuned([one.run for one in planned], results), stores, results)
    if skip_failed:
        planned = [one for one in planned if one.state != task.FAILED]
        if not planned:
            raise ValueError("All of these runs have failed before; leave out --skip-failed to try them again.")
    who, planned = who.settled(planned, stores, results)
    _print_plan(name, planned, who)
    left = [one.run for one in planned if one.state != task.DONE]
    if dry_run or not left:
        _print_table(results, planned, report)
        return
    if off:
        whole = next(one.run for one in planned if one.run.method == off)
        _check_off(whole, len(stores[whole.dataset].classes(whole.task)))
    executor = who.executor(results, data)
    if detach:
        executor.start(left)
        click.echo(f"Queued {some(len(left), 'job')}; rows will lie in {results / 'runs'}.")
        return
    endings = follow(planned, executor, results, who.workers)
    _print_table(results, planned, report)
    if failed := endings["failed"]:
        raise click.ClickException(
            f"{failed} of {len(planned)} runs failed; {results / 'failed'} says why. The same command tries them again."
        )


def _fraction(selections: Sequence[selection.Selection], dataset: str, data: Path) -> float:
    """The labelled fraction of lists of images, which must be of one dataset and of one length."""
    store = open_store(dataset, data)
    counts = {len(found.draws[0]) for found in selections}
    if {found.dataset for found in selections} != {dataset} or len(counts) > 1:
        raise ValueError(f"The lists are not all of '{dataset}' and of the same number of images; choose them alike.")
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
    names = len(suite.methods or methods.names()) * (1 + len(suite.ablated or ()))
    counts = {"method": names, "ratio": sum(len(setting.ratios) for setting in suite.settings)}
    if suite.draws is None and suite.seeds is None:
        counts["repeat"] = suite.repeats
    else:
        counts |= {"draw": len(suite.draws or (0,)), "seed": len(suite.seeds or (0,))}
    if trials > 1:
        counts["trial"] = trials
    runs_ = math.prod(counts.values())
    if runs_ <= MOST_RUNS:
        return
    product = " × ".join(f"{count:,} {what}{'s' * (count != 1)}" for what, count in counts.items())
    large = max(counts, key=counts.__getitem__)
    remedy = f"give fewer {large}s"
    if large in ("draw", "seed"):
        remedy += f"; for the one with number {counts[large]}, write it with a comma: --{large}s {counts[large]},"
    raise ValueError(f"The plan has {runs_:,} runs ({product}), and at most {MOST_RUNS:,} are allowed; {remedy}")


def _list_suites() -> None:
    """Every suite with its size, so that a person can choose."""
    from rich.table import Table

    table = Table(title="Suites", title_justify="left")
    for column in ("suite", "what it compares", "datasets", "repeats", "runs"):
        table.add_column(column, justify="right" if column in ("repeats", "runs") else "left")
    for name, suite in suites.SUITES.items():
        datasets = dict.fromkeys(setting.fields.get("dataset", runs.Run.dataset) for setting in suite.settings)
        table.add_row(name, suite.about, ", ".join(datasets), str(len(suite.places)), str(len(suites.planned(suite))))
    console = show.console()
    console.print(table)
    console.print("Give one, for example: bench sweep quick; with --dry-run it only prints the plan.")


def _print_plan(name: str, planned: list, who: Who) -> None:
    """Done, missing and failed, method by method, with estimates of what is left."""
    from rich.table import Table

    from benchmark.sweep import live, plan, task

    data = dict.fromkeys(_where(one.run) for one in planned)
    table = Table(title=f"{name}: {some(len(planned), 'run')} on {', '.join(data)}", title_justify="left")
    columns = ("method", "ratios", "done", "missing", "failed", "time", "memory")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    by_name: dict[str, list] = {}
    for one in planned:
        by_name.setdefault(live.name_of(one.run), []).append(one)
    for method, group in by_name.items():
        counts = [sum(one.state == state for one in group) for state in (task.DONE, plan.MISSING, task.FAILED)]
        left = [one for one in group if one.state != task.DONE]
        table.add_row(
            method,
            " ".join(f"{ratio:g}" for ratio in sorted({one.run.ratio for one in group})),
            *(str(count) if count else "–" for count in counts),
            _total([one.seconds for one in left], sum, live.duration),
            _total([one.memory for one in left], max, lambda size: f"{size / 2**30:.1f} GiB"),
        )
    console = show.console()
    console.print(table)
    left = [one for one in planned if one.state != task.DONE]
    if not left:
        console.print("Everything is done.")
        return
    console.print(f"{some(len(left), 'run')} left, {takes(planned, who.workers)}, {who.sentence}.", highlight=False)


def _where(run: runs.Run) -> str:
    reduced = f", scale {run.scale:g}" if run.scale != 1 else ""
    return " ".join(filter(None, (run.dataset, run.task))) + f" (split {run.split}{reduced})"


def _total(values: list[float | None], of: Callable, words: Callable[[float], str]) -> str:
    if not values:
        return "–"
    return "unknown" if None in values else words(of(values))


def _print_table(results: Path, planned: list, report: str) -> None:

    from benchmark.sweep import live

    standings = live.Standings(results)
    standings.add([one.key for one in planned if records.path_of(results, one.key).exists()])
    with progress.watching("Reading rows", len(standings.unread)) as tell:
        standings.read(tell=tell)
    if standings.scores:
        show.console().print(standings.table())
        click.echo(f"Intervals, tables and figures: {report}")


def _report_command(name: str, suite: suites.Suite, results: Path) -> str:
    """What to type for tables of these runs."""
    words = ["bench report", *([name] if suite == suites.SUITES[name] else [])]
    return " ".join([*words, *([f"--results {results}"] if str(results) != "results" else [])])


def _check_off(run: runs.Run, classes: int) -> None:
    """Stops an ablation whose method, switched off, is not what it is compared with."""
    from benchmark.sweep import ablation

    for found in ablation.everything_off(run, classes):
        if found.same_network and not found.equal:
            raise ValueError(f"{found.sentence} Mend the method before it is ablated.")
        click.echo(f"{'✓' if found.same_network else '–'} {found.sentence}")
