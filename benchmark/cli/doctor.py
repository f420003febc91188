"""`bench doctor`: what of this machine is used, and whether every method trains correctly on its GPU."""

import dataclasses
import os
from dataclasses import dataclass

import click
import cloup

import methods
from benchmark import progress
from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.options import METHOD, Setup, Where, group, open_store, run_options, where_options
from benchmark.cli.types import List, joined
from benchmark.runs import Run

KEPT = ("dataset", "encoder", "weights", "width", "crop", "tile")  # fields of a run that are options
OTHERS = tuple(field.name for field in dataclasses.fields(Run) if field.name not in KEPT)
FASTER = 1.1  # times as fast, from which bf16 is recommended


@dataclass(frozen=True)
class Gpu:
    """What is checked on the GPU."""

    gpu: bool
    names: tuple[str, ...] | None  # of methods; None is all


@cloup.command(
    epilog="""\b
Examples:
  bench doctor                                     this machine
  bench doctor --gpu                               every method on the GPU, in at most three minutes
  bench doctor --gpu --methods cdma,topo_semi      two methods
  bench doctor --gpu --device cpu --methods cdma   the same checks without a GPU, as a rehearsal"""
)
@group(
    "Methods on the GPU", "checked", Gpu,
    cloup.option("--gpu", is_flag=True, help="Check captured steps, exact resume and a short run of every method."),
    cloup.option("--methods", "names", type=List(METHOD), multiple=True, callback=joined,
                 help="With --gpu: which methods.  [default: all]"),
)  # fmt: skip
@run_options(*OTHERS)
@where_options
def doctor(checked: Gpu, setup: Setup, where: Where) -> None:
    """Shows what of this machine is used, and what is wrong.

    With --gpu, checks every method on the device: the first steps have the same losses whether they are captured in a
    CUDA graph or not, a stopped and resumed run ends in the same bits, and a run of 50 steps writes a run record. The
    table is also written to results/doctor/DEVICE.json. The exit status is 1 if any check fails.
    """
    if checked.gpu:
        writable(where.results)
        _check_device([setup.run(method=name) for name in checked.names or methods.names()], where)
        return
    from benchmark import machine
    from benchmark.speed import doctor as checks

    findings = machine.check(where.results, where.data)
    ratio = checks.bf16_speed(machine.device())
    advice = "give --precision bf16" if ratio > FASTER else "stay with float32"
    findings.append(("precision", f"a bf16 step is {ratio:.2f} × as fast as a float32 step: {advice}", True))
    for what, finding, well in findings:
        click.echo(f"{'✓' if well else '✗'} {what:12} {finding}")
    if not all(well for _, _, well in findings):
        raise click.ClickException("Correct what is marked with ✗ first.")


def _check_device(runs: list[Run], where: Where) -> None:
    """Checks methods on the device; prints and writes the findings."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # needed for deterministic matrix products
    store = open_store(runs[0].dataset, where.data)
    from benchmark import machine
    from benchmark.speed import doctor as checks

    with progress.watching("Checking", len(runs) * len(checks.CHECKS) + 1) as tell:
        report = checks.examine(runs, store, machine.device(where.device), tell)
    path = checks.save(report, where.results)
    _print(report)
    click.echo(f"Report   {path}")
    if not report.passed:
        raise click.ClickException("Some checks failed (✗); send the report with a bug report.")


def _print(report) -> None:
    from rich import box
    from rich.table import Table

    bounds = ", ".join(f"{precision} {bound:g}" for precision, bound in report.bounds.items())
    table = Table(
        title=f"Checks on {report.machine['device']}", title_justify="left", box=box.SIMPLE, caption_justify="left",
        caption=f"float32, bf16: how far losses of captured steps are from eager ones, at most {bounds}",
    )  # fmt: skip
    heads = list(dict.fromkeys(finding.check for finding in report.findings))
    table.add_column("")
    for head in heads:
        table.add_column(head, no_wrap=True)
    cells = {(finding.method, finding.check): finding for finding in report.findings}
    for method in dict.fromkeys(finding.method for finding in report.findings):
        table.add_row(method, *(_cell(cells.get((method, head))) for head in heads))
    show.console(100).print(table)
    for finding in report.findings:
        if finding.passed is False:
            click.echo(f"✗ {finding.method}, {finding.check}: {finding.text}")
    left_out = sum(finding.passed is None for finding in report.findings)
    if left_out:
        click.echo(f"{left_out} checks were not done, because the time was up; give --methods for the others.")


def _cell(finding) -> str:
    if finding is None:
        return ""
    if finding.passed is None:
        return "–"
    return f"✓ {finding.text}" if finding.passed else "✗"
