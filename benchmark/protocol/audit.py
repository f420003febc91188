"""Audit of a split: patients, slides, copies and near-duplicates of images that its parts share."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from benchmark.datasets.base import Record
from benchmark.datasets.fingerprint import bits_apart, orientations
from benchmark.datasets.store import Store
from benchmark.words import plural, some

# Of the bits of a fingerprint, re-encoding, blur, noise and staining change up to a dozen, and images of different
# patients differ in 86 and more (EBHI-Seg and GlaS, all pairs in all orientations)
NEAR = 48
CHUNK = 128  # images compared with all others at a time


def audit(store: Store, split: str = "") -> dict[str, Any]:
    """The findings on a split ("" is the dataset's first), by pairs of parts such as "train-test".

    Each pair has the shared `patients` and `slides`, the `patient_images` and `slide_images` of the second part that
    come from them, `duplicates` (pairs of names with the same pixels) and `near` (pairs of names that look the same,
    also flipped or turned by quarters, with the number of different bits). `counts` has their numbers.
    """
    split = split or next(iter(store.dataset.splits))
    parts = {part: [store.records[place] for place in places] for part, places in store.split(split).items()}
    pairs = {f"{one}-{other}": _shared(parts[one], parts[other]) for one, other in combinations(parts, 2)}
    return {
        "dataset": store.name,
        "split": split,
        "unit": store.unit,
        "leak": store.dataset.leaks.get(split, ""),
        "parts": {part: _described(records) for part, records in parts.items()},
        "pairs": pairs,
        "counts": {pair: {what: len(names) for what, names in shared.items()} for pair, shared in pairs.items()},
    }


def sentences(findings: dict[str, Any]) -> list[str]:
    """The findings for people: a line for each part, then one for each thing that two parts share."""
    lines = []
    for part, of in findings["parts"].items():
        strata = ", ".join(f"{count} {stratum}" for stratum, count in of["strata"].items())
        units = some(of["patients"], findings["unit"])
        lines.append(f"{part}: {some(of['images'], 'image')} of {units}" + (f" ({strata})" if strata else ""))
    clean = len(lines)
    for pair, shared in findings["pairs"].items():
        one, other = pair.split("-")
        images = findings["parts"][other]["images"]
        for unit, key in ((findings["unit"], "patient"), ("slide", "slide")):
            if names := shared[f"{key}s"]:
                count = len(shared[f"{key}_images"])
                lines.append(
                    f"{count} of {images} {other} images come from {plural(unit)} with {one} images: {_some(names)}"
                )
        if shared["duplicates"]:
            lines.append(f"{len(shared['duplicates'])} {one} images are in {other}, too: {_some(shared['duplicates'])}")
        if shared["near"]:
            lines.append(f"{len(shared['near'])} {one} images look like one in {other}: {_some(shared['near'])}")
    return lines if len(lines) > clean else [*lines, f"The parts share no {findings['unit']}, no slide and no image."]


def _shared(first: Sequence[Record], second: Sequence[Record]) -> dict[str, list]:
    patients = {record.patient for record in first} & {record.patient for record in second}
    copies: dict[str, list[str]] = {}
    for record in first:
        copies.setdefault(record.image_hash, []).append(record.name)
    slides = ({record.slide for record in first} & {record.slide for record in second}) - {""}
    return {
        "patients": sorted(patients),
        "patient_images": [record.name for record in second if record.patient in patients],
        "slides": sorted(slides),
        "slide_images": [record.name for record in second if record.slide in slides],
        "duplicates": [[name, record.name] for record in second for name in copies.get(record.image_hash, [])],
        "near": near_duplicates(first, second),
    }


def near_duplicates(first: Sequence[Record], second: Sequence[Record]) -> list[list]:
    """Pairs of images, one of each part, that look the same in some orientation, with the number of different bits.

    Images with exactly the same pixels are left out.
    """
    if not first or not second:
        return []
    near = []
    ours = orientations([record.fingerprint for record in first])[0]
    theirs = orientations([record.fingerprint for record in second])
    for begin in range(0, len(first), CHUNK):
        apart = bits_apart(ours[begin : begin + CHUNK], theirs)
        for ours_at, theirs_at in np.argwhere(apart <= NEAR):
            one, other = first[begin + ours_at], second[theirs_at]
            if one.image_hash != other.image_hash:
                near.append([one.name, other.name, int(apart[ours_at, theirs_at])])
    return sorted(near, key=lambda pair: pair[2])


def _described(records: Sequence[Record]) -> dict[str, Any]:
    return {
        "images": len(records),
        "annotated": sum(record.annotated for record in records),
        "patients": len({record.patient for record in records}),
        "strata": dict(sorted(Counter(record.stratum for record in records if record.stratum).items())),
    }


def _some(names: Sequence, most: int = 5) -> str:
    words = [name if isinstance(name, str) else " = ".join(name[:2]) for name in names[:most]]
    return ", ".join(words) + (f" and {len(names) - most} more" if len(names) > most else "")
