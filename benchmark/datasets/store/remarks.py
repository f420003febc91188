"""What is noticed when a dataset is added, a sentence each: copies of images, ignored pixels, classes without masks."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.datasets.base import IGNORE, Dataset, Record
from benchmark.datasets.splits import parts_of
from benchmark.words import examples, some


def copies(records: Sequence[Record]) -> list[str]:
    """The sentence on images with the same pixels.

    Raises:
        ValueError: if two of them have different masks.
    """
    first: dict[str, Record] = {}
    pairs = []
    for record in records:
        other = first.setdefault(record.image_hash, record)
        if other is record:
            continue
        if other.annotated and record.annotated and other.mask_hash != record.mask_hash:
            raise ValueError(
                f"'{other.name}' and '{record.name}' are the same image with different masks; remove the wrong one."
            )
        pairs.append(f"{record.name} = {other.name}")
    return [f"{len(pairs)} with the same pixels as another image ({examples(pairs)})."] if pairs else []


def ignored(records: Sequence[Record], masks: np.ndarray, present: Mapping[str, Sequence[int]]) -> list[str]:
    """The sentence on the ignore label.

    Args:
        records: all images.
        masks: flat array of all masks.
        present: image -> the class numbers in its mask.
    """
    pixels, count, names = 0, 0, []
    for record in records:
        if not record.annotated:
            continue
        pixels += record.height * record.width
        if IGNORE in present[record.name]:
            flat = masks[record.start : record.start + record.height * record.width]
            count += int(np.count_nonzero(flat == IGNORE))
            names.append(record.name)
    return [
        f"Ignore label {IGNORE}: {count / pixels:.2%} of all pixels, in {len(names)} masks ({examples(names)}), are "
        "excluded from loss and scores."
    ]


def absent(dataset: Dataset, records: Sequence[Record], name: str, present: Mapping[str, Sequence[int]]) -> list[str]:
    """The sentences on classes that are in no mask, or in no mask of a part of a split. Checks all splits.

    Args:
        dataset: the kind of dataset, with its final classes.
        records: all images.
        name: of the dataset, for errors.
        present: image -> the class numbers in its mask.
    """
    classes_of = {image: set(values) - {0, IGNORE} for image, values in present.items()}
    annotated = set().union(*classes_of.values())
    sentences = []
    if classes_of and not annotated:
        sentences.append(
            "No mask has an object, so no score can be computed; check that objects are marked in white (255) or with "
            "class numbers above 0."
        )
    elif empty := [image for image, classes in classes_of.items() if not classes]:
        sentences.append(f"{len(empty)} × mask without any object ({examples(empty)}).")
    for split in dataset.offered(records):
        for part, places in parts_of(dataset, split, records, name).items():
            of_part = set().union(*(classes_of[records[i].name] for i in places if records[i].annotated))
            if annotated - of_part and part != "val":
                classes = ", ".join(dataset.classes[number] for number in sorted(annotated - of_part))
                sentences.append(f"Split {split}: no mask of its {part} images has {classes}.")
    return sentences


def in_two_parts(dataset: Dataset, records: Sequence[Record], name: str) -> list[str]:
    """The sentences on test images that are also training images, with or without their masks."""
    sentences = []
    for split in dataset.offered(records):
        parts = parts_of(dataset, split, records, name)
        training = {records[place].image_hash: records[place].name for place in parts["train"]}
        test = [records[place] for place in parts["test"] if records[place].image_hash in training]
        if test:
            pairs = [f"{record.name} = {training[record.image_hash]}" for record in test]
            sentences.append(
                f"Split {split}: {some(len(test), 'test image')} with the same pixels as a training image "
                f"({examples(pairs)}), so test scores are too high; remove one of each."
            )
    return sentences
