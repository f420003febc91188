"""`bench methods`, `bench new method`, `bench check` and `bench recipes`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

import methods
from benchmark import progress
from benchmark.cli import show
from benchmark.cli.options import METHOD
from benchmark.protocol import suites
from benchmark.runs import Run

if TYPE_CHECKING:
    from benchmark.speed.cards import Card


@cloup.command(
    name="methods",
    epilog="""\b
Examples:
  bench methods              all of them, by year
  bench methods mean_teacher formulas, settings, differences from the paper, variants, cost""",
)
@cloup.argument("name", type=METHOD, required=False)
def list_methods(name) -> None:
    """Lists the methods, or shows one of them.

    The list has the idea of each method, what it is built of, and its cost relative to supervised training. With NAME,
    shows formulas, settings, differences from the paper, variants and cost of one method.
    """
    if name:
        _print_card(_card(name))
        return
    from rich import box
    from rich.table import Table

    cards, broken = _cards()
    table = Table(
        caption="cost: counted operations of a training step, relative to supervised", caption_justify="left",
        box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for column in ("name", "published", "idea", "needs", "cost"):
        table.add_column(column, no_wrap=column in ("name", "cost"), justify="right" if column == "cost" else "left")
    for card in cards:
        published = " ".join(str(part) for part in (card.title, card.venue, card.year) if part)
        table.add_row(card.name, published, card.idea, card.needs, f"{card.relative_flops:.2f} ×")
    show.console().print(table)
    for sentence in (*broken, *methods.misnamed()):
        click.echo(f"✗ {sentence}")


def _card(name: str) -> "Card":
    """The card of a method, stored or computed; a ValueError if the method cannot be used."""
    from benchmark.speed.cards import stored_card

    if card := stored_card(name):
        return card
    from benchmark.speed.method_info import computed

    return computed(name)


def _cards() -> tuple[list["Card"], list[str]]:
    """The cards of all methods by year, and a sentence for each method that cannot be used."""
    cards, broken = [], []
    with progress.watching("Reading methods", len(methods.names())) as tell:
        for done, name in enumerate(methods.names(), 1):
            try:
                cards.append(_card(name))
            except methods.Broken as error:
                broken.append(str(error))
            except Exception as error:  # the file of a method may raise anything
                broken.append(f"A step of '{name}' fails: {methods.described(error)}")
            tell(done, name)
    return sorted(cards, key=lambda card: (card.year, card.name)), broken


def _print_card(card: "Card") -> None:
    """Prints what a method's file says of it, its settings and variants, and the cost of a step."""
    click.echo(card.text)
    click.echo("\nSettings  " + ", ".join(f"{name} = {value}" for name, value in card.settings.items()))
    for variant, changed in card.variants.items():
        click.echo(f"Variant   {variant}: " + ", ".join(f"{name} = {value}" for name, value in changed.items()))
    click.echo(
        f"\nA step of the recipe quick forwards {card.with_gradient} images with gradient and {card.without_gradient} "
        f"without; {card.parameters / 1e6:.1f} million parameters are trained. It has {card.relative_flops:.2f} × the "
        f"operations of supervised training.\nTo measure its time: bench speed --methods supervised,{card.name}"
    )


@cloup.group()
def new() -> None:
    """Writes a file to start from."""


@new.command(
    name="method",
    epilog="""\b
Example:
  bench new method my_method && bench check my_method && bench run --method my_method""",
)
@cloup.argument("name")
def new_method(name) -> None:
    """Writes a method that you can change.

    In a checkout of this project, writes methods/NAME.py. Elsewhere, writes a package into the current folder, which
    provides the method once it is installed. The method passes `bench check` and runs.
    """
    from benchmark.speed import method_info

    if method_info.in_checkout():
        path = method_info.new_method(name, Path(methods.__file__).parent)
        click.echo(f"{path} is a copy of the shortest method; change it, then: bench check {name}")
    else:
        path = method_info.new_package(name, Path.cwd())
        click.echo(
            f"{path} is a package with a copy of the shortest method; change it, then: pip install --editable "
            f"{path.name} && bench check {name}"
        )


@cloup.command()
@cloup.argument("name", type=METHOD)
def check(name) -> None:
    """Checks that a method keeps the contract.

    Prints one sentence per check. Also for methods of other packages.
    """
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


@cloup.command()
def recipes() -> None:
    """Lists the presets for network and training.

    Options of a command override the fields of its recipe.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("option", no_wrap=True)
    for name in suites.RECIPES:
        table.add_column(name, justify="right", overflow="fold")
    fields = dict.fromkeys(field for recipe in suites.RECIPES.values() for field in recipe)
    for field in (field for field in Run.__dataclass_fields__ if field in fields):
        values = [str(recipe.get(field, getattr(Run, field))) for recipe in suites.RECIPES.values()]
        table.add_row(f"--{field.replace('_', '-')}", *values)
    console = show.console()
    descriptions = Table.grid(padding=(0, 2))
    for name, about in suites.ABOUT_RECIPES.items():
        descriptions.add_row(name, about)
    console.print(descriptions)
    console.print(table)
