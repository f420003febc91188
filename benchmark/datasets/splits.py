"""Splits by patient: no two parts share a patient, and each has its fraction of images, patients and strata."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.datasets.base import Dataset, Record

FRACTIONS = {"train": 0.6, "val": 0.1, "test": 0.3}
MOST_EXCHANGES = 2**18  # tried at once; with more groups than this means, moving single ones is enough
NEVER = 2**62


def labelled_count(ratio: float, annotated: int) -> int:
    """How many of the annotated training images a labelled fraction means: the nearest whole number, of two the even.

    >>> labelled_count(0.3333, 3), labelled_count(0.1, 4), labelled_count(0.1, 25)
    (1, 0, 2)
    """
    return round(ratio * annotated)


def parts_of(dataset: Dataset, split: str, records: Sequence[Record], name: str) -> dict[str, list[int]]:
    """The parts of a split, checked: no image is in two of them, and training and test have annotated images.

    Args:
        dataset: the kind of dataset.
        split: one that it offers for these records.
        records: all images.
        name: of the dataset, for errors.

    Returns:
        For "train", "val" and "test", sorted positions in `records`.

    Raises:
        ValueError: an image is in two parts, or a part has no annotated image.
    """
    given = dataset.parts(split, records)
    parts = {part: sorted(given[part]) for part in FRACTIONS}
    places = [place for members in parts.values() for place in members]
    if len(places) != len(set(places)):
        twice = next(place for place, count in Counter(places).items() if count > 1)
        raise ValueError(f"Split '{split}' of '{name}' has '{records[twice].name}' in two parts; leave it in one.")
    for part in ("train", "test"):
        if not any(records[place].annotated for place in parts[part]):
            raise ValueError(f"Split '{split}' of '{name}' has no annotated image in {part}; give it at least one.")
    return parts


def split_by_group(
    records: Sequence[Record], fractions: Mapping[str, float] = FRACTIONS, by: str = "patient"
) -> dict[str, list[int]]:
    """Places in `records` for each part, a fixed function of the records and not of their order.

    Groups without any mask are in the first part (training), and do not count towards its fraction. An image
    without a mask goes where its group goes; outside the first part nobody uses it. Too few groups with masks for the
    parts are a ValueError.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(getattr(record, by), []).append(record)
    order = sorted(groups, key=lambda group: (-len(groups[group]), hashlib.sha256(group.encode()).digest()))
    bound = np.array([not any(record.annotated for record in groups[group]) for group in order])
    strata = sorted({record.stratum for record in records})
    counts = np.array([_counts(groups[group], strata) for group in order], np.int64)
    if (~bound).sum() < len(fractions):
        raise ValueError(
            f"Each of {', '.join(fractions)} needs a {by} of its own with a mask, and {(~bound).sum()} of {len(order)} "
            f"{by}s have one: annotate images of {len(fractions) - (~bound).sum()} more."
        )
    part_of = dict(zip(order, _apportion(counts, bound, list(fractions.values())), strict=True))
    return {
        part: [place for place, record in enumerate(records) if part_of[getattr(record, by)] == number]
        for number, part in enumerate(fractions)
    }


def _counts(members: Sequence[Record], strata: Sequence[str]) -> list[int]:
    """What a group brings to its part: itself, its images, and its images of each stratum."""
    annotated = [record.stratum for record in members if record.annotated]
    return [bool(annotated), len(annotated), *(annotated.count(stratum) for stratum in strata)]


def _apportion(counts: np.ndarray, bound: np.ndarray, fractions: Sequence[float]) -> list[int]:
    """The part of each group (g, columns): first the largest to where it is missed most, then moves and exchanges.

    Least is the sum over parts and columns of (held - wanted)² / wanted, in whole numbers, so that all machines agree.
    Bound groups, those without masks, stay in part 0, and every part keeps at least one group with masks.
    """
    wanted = np.array([round(1000 * fraction) for fraction in fractions])[:, None] * counts.sum(0)
    part_of = np.zeros(len(counts), np.int64)
    held = np.zeros_like(wanted)
    for group in np.flatnonzero(~bound):
        part_of[group] = np.argmin(_misfit(held + counts[group], wanted) - _misfit(held, wanted))
        held[part_of[group]] += counts[group]
    while True:
        step = _empty(counts, bound, part_of, wanted) or _move(counts, bound, part_of, wanted)
        step = step or _exchange(counts, bound, part_of, wanted)
        if step is None:
            return part_of.tolist()
        for group, part in step:
            part_of[group] = part


def _misfit(held: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return ((1000 * held - wanted) ** 2 // np.maximum(wanted, 1)).sum(-1)


def _held(counts: np.ndarray, part_of: np.ndarray, parts: int) -> np.ndarray:
    return np.stack([counts[part_of == part].sum(0) for part in range(parts)])


Step = list[tuple[int, int]] | None  # groups and the parts they go to


def _changes(counts: np.ndarray, bound: np.ndarray, part_of: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(g, parts): how the misfit changes if a group goes to a part; NEVER where it may not."""
    held = _held(counts, part_of, len(wanted))
    now = _misfit(held, wanted)
    left = _misfit(held[part_of] - counts, wanted[part_of]) - now[part_of]
    changes = left[:, None] + _misfit(held + counts[:, None], wanted) - now
    last = (held[:, 0] == 1)[part_of] & (counts[:, 0] == 1)  # the only one with masks in its part
    changes[bound | last] = NEVER
    changes[np.arange(len(counts)), part_of] = NEVER
    return changes


def _empty(counts: np.ndarray, bound: np.ndarray, part_of: np.ndarray, wanted: np.ndarray) -> Step:
    """The cheapest move into a part that has nothing yet."""
    empty = np.flatnonzero(_held(counts, part_of, len(wanted))[:, 0] == 0)
    if not len(empty):
        return None
    changes = _changes(counts, bound, part_of, wanted)[:, empty[0]]
    return [(int(np.argmin(changes)), int(empty[0]))]


def _move(counts: np.ndarray, bound: np.ndarray, part_of: np.ndarray, wanted: np.ndarray) -> Step:
    """The best move of a single group, if any makes it better."""
    changes = _changes(counts, bound, part_of, wanted)
    group, part = np.unravel_index(np.argmin(changes), changes.shape)
    return [(int(group), int(part))] if changes[group, part] < 0 else None


def _exchange(counts: np.ndarray, bound: np.ndarray, part_of: np.ndarray, wanted: np.ndarray) -> Step:
    """The best exchange of two groups between two parts, if any makes it better."""
    held = _held(counts, part_of, len(wanted))
    now, best, step = _misfit(held, wanted), 0, None
    for one in range(len(wanted)):
        for other in range(one + 1, len(wanted)):
            ours, theirs = (np.flatnonzero(~bound & (part_of == part)) for part in (one, other))
            if not 0 < len(ours) * len(theirs) <= MOST_EXCHANGES:
                continue
            gain = counts[theirs] - counts[ours][:, None]
            changes = _misfit(held[one] + gain, wanted[one]) + _misfit(held[other] - gain, wanted[other])
            changes -= now[one] + now[other]
            mine, yours = np.unravel_index(np.argmin(changes), changes.shape)
            if changes[mine, yours] < best:
                best = changes[mine, yours]
                step = [(int(ours[mine]), other), (int(theirs[yours]), one)]
    return step
