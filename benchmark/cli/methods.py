"""`bench methods`, `bench new method`, and `bench check`."""

from pathlib import Path

import click

import methods
from benchmark import progress
from benchmark.cli import show
from benchmark.cli.options import METHOD


@click.command(
    name="methods",
    epilog="""\b
Examples:
  bench methods              all of them, by year
  bench methods mean_teacher formulas, settings, differences from the paper, variants, cost""",
)
@click.argument("name", type=METHOD, required=False)
def list_methods(name) -> None:
    """Lists the methods with idea, needs and cost; with a NAME, shows that method's card."""
    from benchmark.speed import method_info

    if name:
        kind = methods.get(name)
        _print_card(name, kind, method_info)
        return
    from rich import box
    from rich.table import Table

    table = Table(
        caption="cost: counted operations of a training step, beside supervised", caption_justify="left",
        box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for column in ("name", "published", "idea", "needs", "cost"):
        table.add_column(column, no_wrap=column in ("name", "cost"), justify="right" if column == "cost" else "left")
    broken = []
    with progress.watching("Counting costs", len(methods.names())) as tell:
        for done, line in enumerate(method_info.listing(), 1):
            tell(done, line["name"])
            if "broken" in line:
                broken.append(line["broken"])
                continue
            published = " ".join(str(line[c]) for c in ("title", "venue", "year") if line[c])
            table.add_row(line["name"], published, line["idea"], line["needs"], f"{line['cost']:.2f} ×")
    show.console().print(table)
    for sentence in (*broken, *methods.misnamed()):
        click.echo(f"✗ {sentence}")


def _print_card(name: str, kind, method_info) -> None:
    """A method's section, its settings and variants, and what a step of it costs here beside supervised."""
    click.echo(method_info.text(kind))
    click.echo("\nSettings  " + ", ".join(f"{key} = {value!r}" for key, value in method_info.settings(kind).items()))
    for variant, changed in methods.variants(name).items():
        click.echo(f"Variant   {variant}: " + ", ".join(f"{key} = {value!r}" for key, value in changed.items()))
    if apart := method_info.parity(name):
        said = [f"{c} classes {terms:.0e} and {gradients:.0e}" for c, (terms, gradients) in apart.items()]
        click.echo(f"\nParity    terms and gradients differ from tests/parity/{name}.py by at most: {'; '.join(said)}")
    found = method_info.measured(name)
    images = found["images"]
    click.echo(
        f"\nA step of the quick recipe forwards {images['with_gradient']} images with gradient and "
        f"{images['without_gradient']} without; {found['parameters'] / 1e6:.1f} million parameters learn.\nBeside "
        f"supervised it counts {found['flops_ratio']:.2f} × the operations and takes {found['seconds_ratio']:.2f} × "
        f"the time ({1000 * found['seconds']:.0f} ms here)."
    )


@click.group()
def new() -> None:
    """Starts something of your own."""


@new.command(
    name="method",
    epilog="""\b
Example:
  bench new method my_method && bench check my_method && bench run --method my_method""",
)
@click.argument("name")
def new_method(name) -> None:
    """Writes methods/NAME.py: a method that keeps the contract and runs, for you to change."""
    from benchmark.speed import method_info

    path = method_info.new_method(name, Path(methods.__file__).parent)
    click.echo(f"{path} is a copy of the shortest method; change it, then: bench check {name}")


@click.command()
@click.argument("name", type=METHOD)
def check(name) -> None:
    """Runs the contract of a method, one sentence a check. Works for methods of other packages, too."""
    method = methods.get(name)
    from methods.testing import contract

    failed = 0
    for sentence, examine in contract.checks.items():
        try:
            examine(method)
        except Exception as error:  # whatever a method does wrong, the other checks still run
            failed += 1
            click.echo(f"✗ {sentence}: {error or type(error).__name__}")
        else:
            click.echo(f"✓ {sentence}")
    if failed:
        raise click.ClickException(f"{name} breaks {failed} of {len(contract.checks)} checks.")
    click.echo(f"{name} keeps the contract.")
