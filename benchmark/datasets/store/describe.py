"""The summary of a store for people: what it is, how it is split, and what was noticed when it was read."""

from collections import Counter
from collections.abc import Sequence

from benchmark.datasets import few_patients
from benchmark.datasets.base import Record
from benchmark.datasets.store.store import Store
from benchmark.words import in_units, some


def summary(store: Store, split: str = "") -> list[str]:
    """The lines that `bench data show` prints.

    Args:
        store: an open store.
        split: one of its splits; "" is the first.
    """
    dataset = store.dataset
    sizes = sorted({(record.width, record.height) for record in store.records}, key=lambda size: size[0] * size[1])
    range_ = " to ".join(f"{width} × {height}" for width, height in dict.fromkeys((sizes[0], sizes[-1])))
    resolution = f" of {store.pixel_um:g} µm" if store.pixel_um else ""
    lines = [
        f"{store.name}: {dataset.title}",
        f"{_counts(store.records, store.unit)}; {range_} pixels{resolution}",
        *(f"{f'Task {task}: c' if task else 'C'}lasses {', '.join(store.classes(task))}" for task in dataset.tasks),
    ]
    split = split or next(iter(dataset.splits))
    parts = store.used(split)
    lines.append(f"Split {split}: {dataset.splits[split]}")
    for part, places in parts.items():
        members = [store.records[place] for place in places]
        strata = Counter(record.stratum for record in members if record.stratum)
        of_strata = "; " + ", ".join(f"{count} {name}" for name, count in sorted(strata.items())) if strata else ""
        lines.append(f"  {part:5} {_counts(members, store.unit)}{of_strata}")
    if leak := dataset.leaks.get(split):
        lines.append(f"  This split leaks: {leak}.")
    lines += dict.fromkeys(sentence for task in dataset.tasks for sentence in store.cautions(split, task))
    return [*lines, *_reservations(store, split), *store.notes]


def _reservations(store: Store, split: str) -> list[str]:
    """What to know before relying on a split, one sentence each."""
    parts = {part: [store.records[place] for place in places] for part, places in store.split(split).items()}
    unused = sum(not record.annotated for part in ("val", "test") for record in parts[part])
    test_patients = len({record.patient for record in parts["test"] if record.annotated})
    sentences = [*store.dataset.remarks(store.records), few_patients.warning(test_patients)]
    if unused:
        sentences.append(f"Unused images without a mask, of patients in validation or test: {unused}.")
    return [in_units(sentence, store.unit) for sentence in sentences if sentence]


def _counts(records: Sequence[Record], unit: str) -> str:
    """In words: "8 images (5 annotated) of 3 patients"."""
    units, annotated = len({record.patient for record in records}), sum(record.annotated for record in records)
    masks = "" if annotated == len(records) else f" ({annotated} annotated)"
    return f"{some(len(records), 'image')}{masks} of {some(units, unit)}"
