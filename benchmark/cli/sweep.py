"""`bench sweep` and `bench ablate`: the runs of a table, as many at once as fit."""

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import methods
from benchmark import progress, runs, suites
from benchmark.cli.options import (
    METHOD,
    RECIPE,
    Named,
    data_option,
    device_option,
    listed,
    open_store,
    results_option,
    run_options,
    settings_of,
    settings_option,
    writable,
)

SUITE = Named(lambda ctx: list(suites.SUITES))
DAY_MIN = 24 * 60
INTERRUPTED = 130  # the exit status of a program that was stopped by Ctrl-C


def _counted(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[int, ...] | None:
    """`3` is the first three, 0, 1 and 2; `0,4` is these two; `4,` is this one."""
    found = listed(int)(ctx, param, given)
    return tuple(range(found[0])) if len(given) == 1 and "," not in given[0] else found


def _sweep_options(command):
    """What a suite's runs are, beyond the fields of a run; and who carries them out."""
    several = {
        "ratios": ("Labelled shares, such as 0.1,0.5.", listed(float)),
        "draws": ("Labelled subsets: 3 is draws 0, 1 and 2; 0,4 is these two.", _counted),
        "seeds": ("Seeds: 3 is seeds 0, 1 and 2; 0,4 is these two.", _counted),
        "variants": ("Ablations of the methods, such as no_um,no_cdkd.", listed(str)),
    }
    who = [
        click.option("--workers", type=click.IntRange(1), help="Runs at once.  [default: as many as fit]"),
        click.option("--threads", type=click.IntRange(1), help="CPU threads of each.  [default: cores / workers]"),
        device_option,
        click.option("--on", type=click.Choice(["local", "slurm", "ray"]), default="local", show_default=True,
                     help="Who carries the runs out."),
        click.option("--partition", help="Slurm: its partition."),
        click.option("--time", "minutes", type=click.IntRange(1), default=DAY_MIN, show_default=True,
                     help="Slurm: minutes of a job; a run that needs more goes on in the next."),
        click.option("--gpus-per-task", "gpus", type=float, default=0, show_default=True,
                     help="Slurm and Ray: GPUs of a run; on Ray also a fraction, such as 0.25."),
        click.option("--slurm", "flags", multiple=True, metavar="KEY=VALUE", help="Any option of sbatch; repeatable."),
        click.option("--detach", is_flag=True, help="Slurm: return when the jobs are in the queue."),
        click.option("--skip-failed", is_flag=True, help="Leave runs that have failed; else they are tried again."),
        click.option("--dry-run", is_flag=True, help="Print the plan and run nothing."),
        results_option,
        data_option,
    ]  # fmt: skip
    for option in reversed(who):
        command = option(command)
    command = settings_option(run_options("variant", "ratio", "draw", "seed")(command))
    command = click.option("--recipe", type=RECIPE, help="Over that of the suite.")(command)
    for name, (text, parse) in reversed(several.items()):
        command = click.option(f"--{name}", multiple=True, metavar="LIST", callback=parse, help=text)(command)
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
@click.argument("suite", type=SUITE, default="main")
@click.option(
    "--methods", "names", multiple=True, metavar="LIST", callback=listed(str), help="Over those of the suite."
)
@_sweep_options
def sweep(suite, names, **options) -> None:
    """Runs what is missing of SUITE (main, if none is named), several runs at once.

    `supervised` is always part of it, at every ratio and at the suite's bounds: methods are compared with it. Ctrl-C
    stops at once; the same command goes on where each run had its last checkpoint, at most 20 s earlier.
    """
    chosen = suites.SUITES[runs.choose(suite, list(suites.SUITES), "suite")]
    if names:
        chosen = dataclasses.replace(chosen, methods=names)
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
    kind = methods.get(method)
    if not kind.variants and not options["variants"]:
        raise ValueError(f"'{method}' names no variants, so there is nothing to ablate; add `variants` to its class.")
    chosen = dataclasses.replace(suites.SUITES["ablation"], methods=(method,))
    _carry_out("ablation", chosen, off=method, **options)


def _carry_out(
    name: str, suite: suites.Suite, *, ratios, draws, seeds, variants, recipe, settings, workers, threads, device, on,
    partition, minutes, gpus, flags, detach, skip_failed, dry_run, results: Path, data: Path, off: str = "", **fields,
) -> None:  # fmt: skip
    _refuse_strangers(on, {"--partition": partition, "--slurm": flags, "--detach": detach, "--gpus-per-task": gpus})
    cluster = _slurm_parameters(partition, minutes, gpus, flags) if on == "slurm" else {}
    lists = {"ratios": ratios, "draws": draws, "seeds": seeds, "ablated": variants, "recipe": recipe}
    suite = dataclasses.replace(suite, **{field: value for field, value in lists.items() if value})
    report = _report_command(name, suite, results)
    given = {field: value for field, value in fields.items() if value is not None}
    wanted = suites.planned(dataclasses.replace(suite, fields={**given, "settings": settings_of(settings)}))
    results, data = results.resolve(), data.resolve()
    writable(results)
    store = open_store(wanted[0].dataset, data)
    from benchmark import machine
    from benchmark.sweep import plan, task

    where = machine.device(device if on == "local" else "cpu")
    planned = plan.plan(wanted, store, results)
    if skip_failed:
        planned = [one for one in planned if one.state != task.FAILED]
    known_as, gpu = ("", True) if gpus else (machine.describe(where)["device"], where.type == "cuda")
    estimates = plan.Estimates(planned, store, results, known_as, gpu)
    with progress.watching("Planning", len(planned)) as tell:
        planned = plan.estimated(planned, estimates, threads or 1, tell)
    devices = machine.devices(device) if on == "local" else [device]
    if on == "local":
        workers = workers or plan.fitting(planned, where, len(devices), plan.cores())
        threads = threads or max(1, plan.cores() // workers)
        planned = plan.estimated(planned, estimates, threads)
    at_once, job = workers or len(planned), task.Task(results, data, device, threads or 1)
    _print_plan(name, planned, at_once, job.threads, on)
    left = [one.run for one in planned if one.state != task.DONE]
    if dry_run or not left:
        _print_table(results, planned, report)
        return
    if off:
        _check_off(next(one.run for one in planned if one.run.method == off), len(store.classes))
    if on == "local":
        from benchmark.sweep.local import Local

        executor = Local(job, [devices[i % len(devices)] for i in range(at_once)])
    elif on == "slurm":
        from benchmark.sweep.slurm import Slurm

        executor = Slurm(job, results / "slurm", at_once, cluster)
    else:
        executor = _on_ray(job, gpus)
    if detach:
        executor.start(left)
        click.echo(f"Queued {_some(len(left), 'job')}; rows will lie in {results / 'runs'}.")
    else:
        _follow(planned, executor, results, at_once, report)


def _refuse_strangers(on: str, given: dict[str, Any]) -> None:
    """An option that another way of running would need is a mistake, not something to pass over."""
    known = {"local": (), "ray": ("--gpus-per-task",), "slurm": tuple(given)}[on]
    if strange := [option for option, value in given.items() if value and option not in known]:
        raise ValueError(f"{strange[0]} means nothing with --on {on}; leave it out, or give another --on.")


def _follow(planned: list, executor, results: Path, at_once: int, report: str) -> None:
    """Carries out what is left in a person's sight; SIGTERM ends it as Ctrl-C does."""
    from benchmark import sweep as sweeping
    from benchmark.sweep import live

    shown, before = live.Progress(planned, results, at_once), signal.signal(signal.SIGTERM, _interrupt)
    try:
        with live.showing(shown) as show:
            endings = sweeping.carry_out(planned, executor, results, show)
    except KeyboardInterrupt:
        click.echo(f"Stopped: {shown.sentence()}. The same command goes on from the last checkpoints.", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    _print_table(results, planned, report)
    if failed := endings["failed"]:
        raise click.ClickException(
            f"{failed} of {len(planned)} runs failed; {results / 'failed'} says why. The same command tries them again."
        )


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _print_plan(name: str, planned: list, at_once: int, threads: int, on: str) -> None:
    """Done, missing and failed, method by method, with estimates of what is left."""
    from rich.console import Console
    from rich.table import Table

    from benchmark.sweep import live, plan, task

    first = planned[0].run
    data = " ".join(filter(None, (first.dataset, first.task)))
    table = Table(title=f"{name}: {_some(len(planned), 'run')} on {data} (split {first.split})", title_justify="left")
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
    console = Console()
    console.print(table)
    left = [one for one in planned if one.state != task.DONE]
    if not left:
        console.print("Everything is done.")
        return
    seconds = plan.makespan(planned, at_once)
    takes = "for a time that no row tells yet" if seconds is None else f"for about {live.duration(seconds)}"
    who = _some(at_once, "worker") if on == "local" else f"{on.title()}, up to {at_once} at once"
    console.print(
        f"{_some(len(left), 'run')} left, {takes}, on {who}, each with {_some(threads, 'thread')}.", highlight=False
    )


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _total(values: list[float | None], of: Callable, words: Callable[[float], str]) -> str:
    if not values:
        return "–"
    return "unknown" if None in values else words(of(values))


def _print_table(results: Path, planned: list, report: str) -> None:
    from rich.console import Console

    from benchmark.sweep import live

    standings = live.Standings(results)
    standings.add([one.key for one in planned if runs.row_path(results, one.key).exists()])
    with progress.watching("Reading rows", len(standings.unread)) as tell:
        standings.read(tell=tell)
    if standings.scores:
        Console().print(standings.table())
        click.echo(f"Tables and figures: {report}")


def _report_command(name: str, suite: suites.Suite, results: Path) -> str:
    """What to type for tables of these runs."""
    words = ["bench report", *([name] if suite == suites.SUITES[name] else [])]
    return " ".join([*words, *([f"--results {results}"] if str(results) != "results" else [])])


def _check_off(run: runs.Run, classes: int) -> None:
    """Stops an ablation whose method, switched off, is not what it is compared with."""
    from benchmark import ablation

    for found in ablation.everything_off(run, classes):
        if found.same_network and not found.equal:
            raise ValueError(f"{found.sentence} Mend the method before it is ablated.")
        click.echo(f"{'✓' if found.same_network else '–'} {found.sentence}")


def _slurm_parameters(partition: str | None, minutes: int, gpus: float, flags: tuple[str, ...]) -> dict[str, Any]:
    """In submitit's words."""
    extra = dict(pair.split("=", 1) for pair in flags if "=" in pair)
    if len(extra) < len(flags):
        raise ValueError("An option of --slurm has no '='; give --slurm KEY=VALUE, such as --slurm account=lab.")
    if gpus != int(gpus):
        raise ValueError(f"Slurm gives whole GPUs, not {gpus:g}; only --on ray shares one.")
    found: dict[str, Any] = {"time": minutes, "additional_parameters": extra}
    return found | ({"partition": partition} if partition else {}) | ({"gpus_per_task": int(gpus)} if gpus else {})


def _on_ray(job, gpus: float):
    try:
        from benchmark.sweep.on_ray import OnRay
    except ImportError as error:
        raise ValueError("Ray is not installed; install it: pip install 'pathology-ssl-bench[ray]'.") from error
    return OnRay(job, gpus)
