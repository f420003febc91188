"""Names that users give: a known one, or an error that suggests the most similar one."""

import difflib
from collections.abc import Sequence


def choose(name: str, known: Sequence[str], what: str, more: str = "") -> str:
    """The name itself if it is known.

    Args:
        name: as a user gave it.
        known: all names.
        what: the kind of thing, for the error: "method", "recipe".
        more: a further sentence of the error, with its leading space.

    Raises:
        ValueError: if the name is not known; the error suggests the most similar one.

    >>> choose("cmda", ["cdma", "supervised"], "method")
    Traceback (most recent call last):
    ValueError: There is no method 'cmda'; did you mean 'cdma'?
    """
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1, 0.3)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known) or 'none'}."
    raise ValueError(f"There is no {what} '{name}'; {hint}{more}")
