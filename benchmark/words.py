"""Words of messages and tables: counts, plurals, and the name of what a split keeps together."""

import re

PATIENT = "patient"  # what a split keeps together unless the dataset names another unit
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


def in_units(text: str, unit: str) -> str:
    """A text about patients, with the name of the unit that the split of a dataset keeps together.

    A name in quotes, such as that of a split, stays as it is.

    >>> in_units("8 images of 3 patients (patients.csv). A patient is in one part of split 'patient'.", "organ")
    "8 images of 3 organs (patients.csv). An organ is in one part of split 'patient'."
    """

    def named(found: re.Match) -> str:
        article, capital, several = found.groups()
        word = plural(unit) if several else unit
        word = word.capitalize() if capital == "P" else word
        return f"{article}{'n' * (unit[0] in 'aeiou')} {word}" if article else word

    return text if unit == PATIENT else _PATIENTS.sub(named, text)
