"""Words of messages and tables: counts, plurals, lists, and the unit of a split (patient, slide, organ)."""

import re
from collections.abc import Sequence

PATIENT = "patient"  # what the parts of a split never share, unless the dataset names another unit
_PATIENTS = re.compile(r"(?<!')\b(?:([Aa]) )?([Pp])atient(s?)\b(?!\.csv)")  # not patients.csv, nor a quoted name


def some(count: int, what: str) -> str:
    """In words: "1 run", "3 runs"."""
    return f"{count} {what if count == 1 else plural(what)}"


def plural(word: str) -> str:
    """The regular plural of an English noun.

    >>> plural("organ"), plural("biopsy"), plural("box"), plural("day")
    ('organs', 'biopsies', 'boxes', 'days')
    """
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search(r"(s|x|z|ch|sh)$", word) else f"{word}s"


def slug(name: str) -> str:
    """A name as part of an address or as the name of a folder.

    >>> slug("EBHI-Seg, epithelium: 1,200 steps")
    'ebhi-seg-epithelium-1-200-steps'
    """
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")


def examples(names: Sequence[str], most: int = 3) -> str:
    """The first few of several names, in a note or an error.

    >>> examples(["a", "b", "c", "d"])
    'a, b, c …'
    """
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def in_units(text: str, unit: str) -> str:
    """A text about patients, with the unit of the split of a dataset in their place.

    A name in quotes, such as that of a split, stays as it is.

    >>> in_units("8 images of 3 patients (patients.csv). A patient is in one part of split 'patient'.", "organ")
    "8 images of 3 organs (patients.csv). An organ is in one part of split 'patient'."
    """

    def named(match: re.Match) -> str:
        article, capital, several = match.groups()
        word = plural(unit) if several else unit
        word = word.capitalize() if capital == "P" else word
        return f"{article}{'n' * (unit[0] in 'aeiou')} {word}" if article else word

    return text if unit == PATIENT else _PATIENTS.sub(named, text)
