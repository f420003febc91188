"""The bibliography of methods and datasets, as BibTeX, from their declarations."""

import re
import sys
from functools import cache
from typing import NamedTuple

import methods
from benchmark import datasets

FILE = "references.bib"
# as files of methods name a publication: Authors, "Title", Venue Year, https://…
PUBLICATION = re.compile(r'((?:[^."]|et al\.)+?), "([^"]+)", ([^"]+?), (https?://\S+)')
NAME = re.compile(r"[A-ZÀ-Ž][\w’'-]*(?: [A-ZÀ-Ž][\w’'-]*)*$")
JOURNALS = re.compile(r"Analysis|TPAMI|TMI|Recognition|Medicine|Journal|Transactions")


class Publication(NamedTuple):
    """What a bibliography has of a publication."""

    key: str
    authors: str  # joined by " and "
    title: str
    venue: str
    year: int
    link: str


@cache
def of_methods() -> dict[str, Publication]:
    """By name of a method, its publication; methods with the same publication share its key.

    Methods without one (of a package that names none) are left out.
    """
    found: dict[str, Publication] = {}
    keys: dict[str, str] = {}
    for name in methods.names():
        kind = methods.get(name)
        text = " ".join((sys.modules[kind.__module__].__doc__ or "").split())
        declared = PUBLICATION.search(text)
        if declared:
            authors, title, venue, link = declared.groups()
            link = link.rstrip(".,;:)")
            key = keys.setdefault(link, re.sub(r"\W+", "-", name))
            found[name] = Publication(key, _authors(authors), title, *_venue(venue, kind.year), link)
    return found


@cache
def of_dataset(name: str) -> Publication | None:
    """The publication of a dataset; None if it names none, or is not known here."""
    kind = datasets.get(name) if name in datasets.names() else None
    if kind is None or not kind.cite:
        return None
    authors, _, venue = kind.cite.split(";")[0].partition(", ")
    return Publication(name, _authors(authors), kind.title.split(":")[0], *_venue(venue, None), kind.source)


def method_key(name: str) -> str:
    """The key of a method's publication; "" if it has none."""
    return of_methods()[name].key if name in of_methods() else ""


def dataset_key(name: str) -> str:
    """The key of a dataset's publication; "" if it has none."""
    publication = of_dataset(name)
    return publication.key if publication else ""


def bibtex(names: set[str], dataset_names: set[str]) -> str:
    """BibTeX entries of these methods and datasets, in the order of their keys, each once."""
    found = [of_methods()[name] for name in names if name in of_methods()]
    found += filter(None, map(of_dataset, dataset_names))
    entries = {publication.key: _entry(publication) for publication in found}
    return "\n".join(entries[key] for key in sorted(entries))


def _authors(words: str) -> str:
    """The authors of "Ouali, Hudelot & Tami" or "Bai et al." as BibTeX separates them."""
    words = words.strip().replace(" et al.", ", others").replace("&", ",")
    names: list[str] = []
    for part in map(str.strip, words.split(",")):
        name = NAME.search(part)
        if part == "others" or (name and name[0] == part):
            names.append(part)
        elif name:
            names = [name[0]]  # the end of a sentence before the names
    return " and ".join(names)


def _venue(words: str, year: int | None) -> tuple[str, int]:
    """The venue without its year, and the year."""
    years = re.findall(r"\b(?:19|20)\d\d\b", words)
    venue = re.sub(r",?\s*\b(?:19|20)\d\d\b", "", words).strip(" ,")
    return venue, int(years[-1]) if years else int(year or 0)


def _entry(publication: Publication) -> str:
    key, authors, title, venue, year, link = publication
    journal = JOURNALS.search(venue)
    kind, where = ("article", "journal") if journal else ("inproceedings", "booktitle")
    fields = {"author": authors, "title": f"{{{title}}}", where: venue, "year": str(year), "url": link}
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    return f"@{kind}{{{key},\n{lines}\n}}\n"
