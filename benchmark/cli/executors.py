"""Where the runs of a sweep or a tuning are executed: options, the executor they choose, and a view of its progress."""

import dataclasses
import functools
import signal
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from benchmark import progress
from benchmark.cli.numbers import THREADS, Number
from benchmark.cli.options import data_option, device_option, results_option
from benchmark.cli.types import OneOf
from benchmark.words import some

if TYPE_CHECKING:
    from benchmark.datasets.store import Store
    from benchmark.speed.sharing import Sharing
    from benchmark.sweep.execute import Executor
    from benchmark.sweep.plan import Planned

DAY_MIN = 24 * 60
TIMED = 3  # steps that are timed if no run record shows how long a step takes
PROBED_FROM_S = 600.0  # estimated seconds of a plan from which measuring how many runs share a GPU pays
PROBE_S = 3.0  # for which steps are counted there
MOST = 8  # runs on a GPU
INTERRUPTED = 130  # the exit status of a program that was stopped by Ctrl-C


@dataclass(frozen=True)
class Execution:
    """How runs are executed, and where records and datasets are."""

    on: str  # "local", "slurm" or "ray"
    device: str
    workers: int | None  # runs at a time; None until `settled`
    threads: int | None  # of each; None until `settled`
    results: Path
    data: Path
    dry_run: bool
    partition: str | None
    minutes: int
    gpus: float
    flags: tuple[str, ...]  # of sbatch, KEY=VALUE

    def __post_init__(self) -> None:
        """Refuses an option that has no effect with this executor."""
        given = {"--partition": self.partition, "--slurm": self.flags, "--gpus-per-task": self.gpus}
        used = {"local": (), "ray": ("--gpus-per-task",), "slurm": tuple(given)}[self.on]
        unused = [option for option, value in given.items() if value and option not in used]
        if unused:
            raise ValueError(f"{unused[0]} has no effect with --on {self.on}; leave it out, or give another --on.")
        if self.on == "slurm":
            self.slurm_parameters()
        object.__setattr__(self, "results", self.results.resolve())
        object.__setattr__(self, "data", self.data.resolve())

    def slurm_parameters(self) -> dict[str, Any]:
        """The options of Slurm in the words of submitit; ValueError if one is wrong."""
        extra = dict(pair.split("=", 1) for pair in self.flags if "=" in pair)
        if len(extra) < len(self.flags):
            raise ValueError("An option of --slurm has no '='; give --slurm KEY=VALUE, such as --slurm account=lab.")
        if self.gpus != int(self.gpus):
            raise ValueError(f"Slurm gives whole GPUs, not {self.gpus:g}; only with --on ray can runs share one.")
        parameters = {"time": self.minutes, "additional_parameters": extra}
        parameters |= {"partition": self.partition} if self.partition else {}
        return parameters | ({"gpus_per_task": int(self.gpus)} if self.gpus else {})

    def settled(
        self, planned: Sequence["Planned"], stores: Mapping[str, "Store"], timed: Path
    ) -> tuple["Execution", list["Planned"]]:
        """This execution with the number of workers and threads, and the plan with estimated time and memory.

        Args:
            planned: the runs.
            stores: dataset -> its store.
            timed: folder of the run records that estimates are based on.
        """
        from benchmark import machine
        from benchmark.sweep import plan

        local = self.on == "local"
        device = machine.device(self.device if local else "cpu")
        name, gpu = ("", True) if self.gpus else (machine.describe(device)["device"], device.type == "cuda")
        measure = _stopwatch(device, stores) if local and planned else None
        estimates = plan.Estimates(planned, stores, timed, name, gpu, measure)
        with progress.watching("Planning", len(planned)) as tell:
            planned = plan.estimated(planned, estimates, self.threads or 1, tell)
        if not local:
            return dataclasses.replace(self, workers=self.workers or len(planned), threads=self.threads or 1), planned
        gpus = len(machine.devices(self.device))
        workers = self.workers or plan.fitting(planned, device, gpus, machine.cores())
        threads = self.threads or max(1, machine.cores() // workers)
        planned = plan.estimated(planned, estimates, threads)
        if gpu and not self.workers and (plan.makespan(planned, gpus) or 0) > PROBED_FROM_S:
            shared = _share(planned, str(device), self.data)
            workers = max(1, min(shared.runs * gpus, sum(one.state != plan.DONE for one in planned)))
            threads = self.threads or max(1, machine.cores() // workers)
            planned = plan.slower(planned, shared.slowdown)
        return dataclasses.replace(self, workers=workers, threads=threads), planned

    def executor(self, results: Path, trial: bool = False) -> "Executor":
        """The executor; only after `settled`.

        Args:
            results: folder of the run records.
            trial: runs are trials of `bench tune`, scored on validation images only.
        """
        from benchmark import machine
        from benchmark.sweep.task import Task

        job = Task(results, self.data, self.device, self.threads, trial)
        if self.on == "local":
            from benchmark.sweep.executors.local import Local

            devices = machine.devices(self.device)
            return Local(job, [devices[i % len(devices)] for i in range(self.workers)])
        if self.on == "slurm":
            from benchmark.sweep.executors.slurm import Slurm

            return Slurm(job, results / "slurm", self.workers, self.slurm_parameters())
        try:
            from benchmark.sweep.executors.on_ray import OnRay
        except ImportError as error:
            raise ValueError("Ray is not installed; install it: pip install 'pathology-ssl-bench[ray]'.") from error
        return OnRay(job, self.gpus)

    @property
    def sentence(self) -> str:
        """The executor in words; only after `settled`."""
        if self.on == "local":
            return f"on {some(self.workers, 'worker')}, each with {some(self.threads, 'thread')}"
        return f"on {self.on.title()}, up to {self.workers} at a time, each with {some(self.threads, 'thread')}"


def execution_options(command: Callable, plan: str = "--dry-run") -> Callable:
    """The options that make an `Execution`, which the command receives as `execution`.

    Args:
        command: the function of the command.
        plan: the name of the option that runs nothing.
    """

    @functools.wraps(command)
    def collected(**values: Any) -> Any:
        own = {field.name: values.pop(field.name) for field in dataclasses.fields(Execution)}
        return command(**values, execution=Execution(**own))

    where = cloup.option_group(
        "Where it runs",
        cloup.option("--workers", type=Number(int, 1, 1000, example=4),
                     help="Runs at a time.  [default: as many as fit; Slurm and Ray: all]"),
        cloup.option("--threads", type=THREADS,
                     help="CPU threads of each.  [default: cores / workers; Slurm and Ray: 1]"),
        device_option,
        cloup.option("--on", type=OneOf("executor", ("local", "slurm", "ray")), default="local", show_default=True,
                     help="The executor: this machine, Slurm or Ray."),
        results_option,
        data_option,
        cloup.option(plan, "dry_run", is_flag=True, help="Print the plan and run nothing."),
    )  # fmt: skip
    cluster = cloup.option_group(
        "Slurm and Ray",
        cloup.option("--partition", help="Slurm: partition."),
        cloup.option("--time", "minutes", type=Number(int, 1, example=240), default=DAY_MIN, show_default=True,
                     help="Slurm: minutes of a job; a run that needs more continues in the next job."),
        cloup.option("--gpus-per-task", "gpus", type=Number(float, 0, example=0.25), default=0, show_default=True,
                     help="Slurm and Ray: GPUs of a run; on Ray also a fraction, such as 0.25."),
        cloup.option("--slurm", "flags", multiple=True, metavar="KEY=VALUE", help="Any option of sbatch; repeatable."),
    )  # fmt: skip
    return where(cluster(collected))


def follow(
    planned: Sequence["Planned"], executor: "Executor", results: Path, workers: int, standings: type | None = None
) -> Counter[str]:
    """Executes what is not done, shows the progress, and counts how runs ended. SIGTERM has the effect of Ctrl-C.

    Args:
        planned: the runs.
        executor: where they are executed.
        results: folder of their records.
        workers: runs at a time.
        standings: the table so far, `live.Standings` or a class derived from it.
    """
    from benchmark.sweep import execute, live

    shown = live.Progress(planned, results, workers, standings or live.Standings)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with live.showing(shown) as show:
            return execute.execute(planned, executor, results, show)
    except KeyboardInterrupt:
        click.echo(f"Stopped: {shown.sentence()}. The same command continues from the last checkpoints.", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def takes(planned: Sequence["Planned"], workers: int) -> str:
    """The estimated time of what is not done, in words."""
    from benchmark.sweep import live, plan

    seconds = plan.makespan(planned, workers)
    return "time not known yet" if seconds is None else f"about {live.duration(seconds)}"


def _share(planned: Sequence["Planned"], device: str, data: Path) -> "Sharing":
    """How many runs share each GPU, measured with the slowest run of a plan."""
    from benchmark import machine
    from benchmark.speed import sharing
    from benchmark.speed.measure import Job
    from benchmark.sweep import plan

    left = [one for one in planned if one.state != plan.DONE]
    slowest = max(left, key=lambda one: (one.seconds or 0) / one.run.steps).run
    click.echo(f"Measuring how many runs share a GPU, with {slowest.method} …", err=True)
    shared = sharing.sharing(Job(slowest, data, device, machine.cores(), seconds=PROBE_S), min(MOST, machine.cores()))
    click.echo(
        f"{some(shared.runs, 'run')} at the same time: {shared.steps_per_s:.1f} steps/s, "
        f"and {shared.alone_per_s:.1f} steps/s alone.",
        err=True,
    )
    return shared


def _stopwatch(device: Any, stores: Mapping[str, "Store"]) -> Callable[[Any], float | None]:
    """A function that times a step of a run on this device, on random images; None if it does not fit into memory."""
    import torch

    from benchmark.protocol import setup
    from benchmark.speed import measure
    from methods.base import Batch

    def seconds(run: Any) -> float | None:
        click.echo(f"No run record shows how long a step takes, so a few steps of {run.method} are timed.", err=True)
        try:
            return statistics.median(timed(run))
        except torch.OutOfMemoryError:
            return None
        finally:
            torch.cuda.empty_cache()  # the workers need the memory

    def timed(run: Any) -> list[float]:
        classes = len(stores[run.dataset].classes(run.task))
        method = setup.build(run, classes, pretrained=False).to(device, memory_format=torch.channels_last)
        x = torch.rand(run.labelled, 3, run.crop, run.crop, device=device).to(memory_format=torch.channels_last)
        y = torch.zeros(run.labelled, run.crop, run.crop, dtype=torch.long, device=device)
        u = torch.rand(run.unlabelled if method.uses_unlabelled else 0, *x.shape[1:], device=device)
        batch = Batch(x, y, u.to(memory_format=torch.channels_last))
        return measure.step_seconds({run.method: method}, batch, repeats=TIMED, precision=run.precision)[run.method]

    return seconds


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
