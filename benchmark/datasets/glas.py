"""GlaS, the gland segmentation challenge of MICCAI 2015: colon glands, benign and malignant, each one outlined."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmark.datasets.base import Dataset, Item, Record
from benchmark.datasets.images import pictures
from benchmark.datasets.splits import split_by_group
from benchmark.datasets.tables import read_table

NAME, PATIENT, GRADE = "name", "patient id", "grade (glas)"
MASK = "_anno"


class GlaS(Dataset):
    title = "GlaS: gland segmentation in colon histology (MICCAI 2015)"
    licence = "research only; no commercial use, no redistribution"
    source = "https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest/"
    size = "165 images, mostly 775 × 522, of 16 patients; 110 MB"
    cite = "Sirinukunwattana et al., Medical Image Analysis 35, 2017; Sirinukunwattana et al., IEEE TMI 34, 2015"
    splits = {  # noqa: RUF012
        "patient": "patients disjoint, shares of images and grades kept",
        "official": "the challenge's: train 85, some of them for validation; test A 60 and test B 20",
    }
    leaks = {  # noqa: RUF012
        "official": "test and validation images come from patients who also have training images"
    }
    instances = True
    pixel_um = 0.62

    def items(self, root: Path) -> list[Item]:
        """The images that Grade.csv names: NAME.bmp with NAME_anno.bmp, or the same in another lossless format."""
        tables = sorted(root.rglob("Grade.csv"))
        if len(tables) != 1:
            raise ValueError(f"{len(tables)} files Grade.csv lie under {root}; give the folder of the challenge.")
        files = {
            stem: path
            for stem, path in pictures(tables[0].parent, others=True).items()
            if _part(stem.removesuffix(MASK))
        }
        items = []
        for row in sorted(read_table(tables[0], (NAME, PATIENT, GRADE)), key=lambda row: _place(row[NAME])):
            name = row[NAME]
            absent = [stem for stem in (name, name + MASK) if stem not in files]
            if absent:
                raise ValueError(f"Grade.csv names {name}, but {absent[0]}.bmp is not beside it; download it again.")
            image, mask = files.pop(name), files.pop(name + MASK)
            items.append(Item(name, row[PATIENT], stratum=row[GRADE], tags=(_part(name),), image=image, mask=mask))
        if files:
            raise ValueError(f"{next(iter(files.values()))} is not in Grade.csv; remove it or complete the table.")
        return items

    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        if split == "patient":
            return split_by_group(records)
        train = [place for place, record in enumerate(records) if record.tags == ("train",)]
        parts = split_by_group([records[place] for place in train], {"train": 0.9, "val": 0.1}, by="name")
        test = [place for place, record in enumerate(records) if record.tags != ("train",)]
        return {part: [train[place] for place in places] for part, places in parts.items()} | {"test": test}


def _part(name: str) -> str:
    """The part of the challenge, from the name: train, testA or testB; "" for other files."""
    found = re.fullmatch(r"(train|testA|testB)_\d+", name)
    return found[1] if found else ""


def _place(name: str) -> tuple[str, int]:
    if not _part(name):
        raise ValueError(f"Grade.csv names an image '{name}'; the challenge's are train_1, testA_1, testB_1 and so on.")
    part, _, number = name.partition("_")
    return part, int(number)
