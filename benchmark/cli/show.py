"""Tables and sentences on standard output."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(width: int | None = None) -> "Console":
    """Standard output that prints text as it is: "[b]" and ":x:" in the name of a class are no styles and no emoji."""
    from rich.console import Console

    return Console(width=width, markup=False, emoji=False)
