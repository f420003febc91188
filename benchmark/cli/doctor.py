"""`bench doctor`: what of this machine will be used, and whether methods train on its GPU as they should."""

import dataclasses
import os

import click

import methods
from benchmark import progress
from benchmark.cli import show
from benchmark.cli.errors import writable
from benchmark.cli.options import (
    METHOD,
    RECIPE,
    data_option,
    device_option,
    listed,
    open_store,
    results_option,
    run_options,
)
from benchmark.names import choose
from benchmark.protocol import suites
from benchmark.runs import Run

KEPT = ("dataset", "encoder", "weights", "width", "crop", "tile")  # options of a run that can be given
OTHERS = tuple(field.name for field in dataclasses.fields(Run) if field.name not in KEPT)
FASTER = 1.1  # times as fast, from which bf16 is recommended


@click.command(
    epilog="""\b
Examples:
  bench doctor                                     this machine
  bench doctor --gpu                               every method on the GPU, in at most three minutes
  bench doctor --gpu --methods cdma,topo_semi      two methods
  bench doctor --gpu --device cpu --methods cdma   the same checks without a GPU, as a rehearsal"""
)
@click.option("--gpu", is_flag=True, help="Check captured steps, exact resume and a short run of every method.")
@click.option(
    "--methods", "names", type=METHOD, multiple=True, metavar="LIST", callback=listed(),
    help="With --gpu: which methods.  [default: all]",
)  # fmt: skip
@click.option("--recipe", type=RECIPE, default="quick", show_default=True, help="With --gpu: preset of the network.")
@run_options(*OTHERS)
@device_option
@results_option
@data_option
def doctor(gpu, names, recipe, device, results, data, **fields) -> None:
    """Says what of this machine will be used, and what is wrong with it.

    With --gpu, checks every method on the device: the first steps have the same losses whether they are captured in a
    CUDA graph or not, a stopped and resumed run ends in the same bits, and a run of 50 steps leaves a record. The table
    is also written to results/doctor/DEVICE.json. The exit status is 1 if any check fails.
    """
    if gpu:
        writable(results)
        given = {name: value for name, value in fields.items() if value is not None}
        names = [choose(name, methods.names(), "method") for name in names or methods.names()]
        base = Run(**{**suites.RECIPES[choose(recipe, list(suites.RECIPES), "recipe")], **given})
        _check_device([dataclasses.replace(base, method=name) for name in names], device, results, data)
        return
    from benchmark import machine
    from benchmark.speed import doctor as checks

    findings = machine.check(results, data)
    ratio = checks.bf16_speed(machine.device())
    advice = "give --precision bf16" if ratio > FASTER else "stay with float32"
    findings.append(("precision", f"a bf16 step is {ratio:.2f} × as fast as a float32 step: {advice}", True))
    for what, finding, well in findings:
        click.echo(f"{'✓' if well else '✗'} {what:12} {finding}")
    if not all(well for _, _, well in findings):
        raise click.ClickException("Correct what is marked with ✗ first.")


def _check_device(runs: list[Run], device: str, results, data) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # needed for deterministic matrix products
    store = open_store(runs[0].dataset, data)
    from benchmark import machine
    from benchmark.speed import doctor as checks

    where = machine.device(device)
    with progress.watching("Checking", len(runs) * len(checks.CHECKS) + 1) as tell:
        report = checks.examine(runs, store, where, tell)
    path = checks.save(report, results)
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
