"""Who carries out the runs of a sweep or a tuning: workers here, Slurm or Ray, in a person's sight."""

import dataclasses
import signal
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmark import progress
from benchmark.cli.numbers import THREADS, Number
from benchmark.cli.options import data_option, device_option, results_option
from benchmark.words import some

DAY_MIN = 24 * 60
TIMED = 3  # steps, where no row tells how long one takes
INTERRUPTED = 130  # the exit status of a program that was stopped by Ctrl-C


def who_options(command, plan: str = "--dry-run"):
    """The options that make a `Who`, and where runs and data lie; `plan` names the one that runs nothing."""
    options = [
        click.option("--workers", type=Number(int, 1, 1000, example=4),
                     help="Runs at once.  [default: as many as fit; Slurm and Ray: all]"),
        click.option("--threads", type=THREADS,
                     help="CPU threads of each.  [default: cores / workers; Slurm and Ray: 1]"),
        device_option,
        click.option("--on", type=click.Choice(["local", "slurm", "ray"]), default="local", show_default=True,
                     help="Who carries the runs out."),
        click.option("--partition", help="Slurm: its partition."),
        click.option("--time", "minutes", type=Number(int, 1, example=240), default=DAY_MIN, show_default=True,
                     help="Slurm: minutes of a job; a run that needs more goes on in the next."),
        click.option("--gpus-per-task", "gpus", type=Number(float, 0, example=0.25), default=0, show_default=True,
                     help="Slurm and Ray: GPUs of a run; on Ray also a fraction, such as 0.25."),
        click.option("--slurm", "flags", multiple=True, metavar="KEY=VALUE", help="Any option of sbatch; repeatable."),
        click.option(plan, "dry_run", is_flag=True, help="Print the plan and run nothing."),
        results_option,
        data_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class Who:
    """What the options say of it; `settled` for a plan."""

    on: str
    device: str
    workers: int | None
    threads: int | None
    gpus: float
    slurm: dict[str, Any]  # in submitit's words

    @classmethod
    def of(cls, on, device, workers, threads, partition, minutes, gpus, flags) -> "Who":
        """An option that another way of running would need is a mistake, not something to pass over."""
        _refuse_strangers(on, {"--partition": partition, "--slurm": flags, "--gpus-per-task": gpus})
        slurm = _slurm_parameters(partition, minutes, gpus, flags) if on == "slurm" else {}
        return cls(on, device, workers, threads, gpus, slurm)

    def settled(self, planned: Sequence, stores, rows: Path) -> tuple["Who", list]:
        """With the number of workers and threads, and the plan with what it takes, judged by `rows`."""
        from benchmark import machine
        from benchmark.sweep import plan

        local = self.on == "local"
        where = machine.device(self.device if local else "cpu")
        known_as, gpu = ("", True) if self.gpus else (machine.describe(where)["device"], where.type == "cuda")
        measure = _stopwatch(where, stores) if local and planned else None
        estimates = plan.Estimates(planned, stores, rows, known_as, gpu, measure)
        with progress.watching("Planning", len(planned)) as tell:
            planned = plan.estimated(planned, estimates, self.threads or 1, tell)
        if not local:
            return dataclasses.replace(self, workers=self.workers or len(planned), threads=self.threads or 1), planned
        workers = self.workers or plan.fitting(planned, where, len(machine.devices(self.device)), machine.cores())
        threads = self.threads or max(1, machine.cores() // workers)
        planned = plan.estimated(planned, estimates, threads)
        return dataclasses.replace(self, workers=workers, threads=threads), planned

    def executor(self, results: Path, data: Path, trial: bool = False):
        """What will carry runs out; a settled one's."""
        from benchmark import machine
        from benchmark.sweep.task import Task

        job = Task(results, data, self.device, self.threads, trial)
        if self.on == "local":
            from benchmark.sweep.executors.local import Local

            devices = machine.devices(self.device)
            return Local(job, [devices[i % len(devices)] for i in range(self.workers)])
        if self.on == "slurm":
            from benchmark.sweep.executors.slurm import Slurm

            return Slurm(job, results / "slurm", self.workers, self.slurm)
        try:
            from benchmark.sweep.executors.on_ray import OnRay
        except ImportError as error:
            raise ValueError("Ray is not installed; install it: pip install 'pathology-ssl-bench[ray]'.") from error
        return OnRay(job, self.gpus)

    @property
    def sentence(self) -> str:
        """Of a settled one."""
        who = some(self.workers, "worker") if self.on == "local" else f"{self.on.title()}, up to {self.workers} at once"
        return f"on {who}, each with {some(self.threads, 'thread')}"


def follow(planned: Sequence, executor, results: Path, workers: int, standings=None) -> Counter[str]:
    """Carries out what is left in a person's sight, and counts how runs ended; SIGTERM ends it as Ctrl-C does."""
    from benchmark.sweep import execute as sweeping
    from benchmark.sweep import live

    shown = live.Progress(planned, results, workers, standings or live.Standings)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with live.showing(shown) as show:
            return sweeping.carry_out(planned, executor, results, show)
    except KeyboardInterrupt:
        click.echo(f"Stopped: {shown.sentence()}. The same command goes on from the last checkpoints.", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def takes(planned: Sequence, workers: int) -> str:
    """How long what is not done will take, in words."""
    from benchmark.sweep import live, plan

    seconds = plan.makespan(planned, workers)
    return "for a time that no row tells yet" if seconds is None else f"for about {live.duration(seconds)}"


def _stopwatch(device, stores) -> Callable[[Any], float | None]:
    """What takes the seconds of a step of a run on this device, on random images; None where it does not fit."""
    import torch

    from benchmark.protocol import setup
    from benchmark.speed import measure
    from methods.base import Batch

    def seconds(run) -> float | None:
        click.echo("No row tells how long such runs take, so a few steps of supervised training are timed.", err=True)
        try:
            return statistics.median(timed(run))
        except torch.OutOfMemoryError:
            return None
        finally:
            torch.cuda.empty_cache()  # it is the workers' memory

    def timed(run) -> list[float]:
        classes = len(stores[run.dataset].classes(run.task))
        method = setup.build(run, classes, pretrained=False).to(device, memory_format=torch.channels_last)
        x = torch.rand(run.labelled, 3, run.crop, run.crop, device=device).to(memory_format=torch.channels_last)
        y = torch.zeros(run.labelled, run.crop, run.crop, dtype=torch.long, device=device)
        batch = Batch(x, y, x[:0])
        return measure.step_seconds({run.method: method}, batch, repeats=TIMED, precision=run.precision)[run.method]

    return seconds


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _refuse_strangers(on: str, given: dict[str, Any]) -> None:
    known = {"local": (), "ray": ("--gpus-per-task",), "slurm": tuple(given)}[on]
    if strange := [option for option, value in given.items() if value and option not in known]:
        raise ValueError(f"{strange[0]} means nothing with --on {on}; leave it out, or give another --on.")


def _slurm_parameters(partition: str | None, minutes: int, gpus: float, flags: tuple[str, ...]) -> dict[str, Any]:
    extra = dict(pair.split("=", 1) for pair in flags if "=" in pair)
    if len(extra) < len(flags):
        raise ValueError("An option of --slurm has no '='; give --slurm KEY=VALUE, such as --slurm account=lab.")
    if gpus != int(gpus):
        raise ValueError(f"Slurm gives whole GPUs, not {gpus:g}; only --on ray shares one.")
    found: dict[str, Any] = {"time": minutes, "additional_parameters": extra}
    return found | ({"partition": partition} if partition else {}) | ({"gpus_per_task": int(gpus)} if gpus else {})
