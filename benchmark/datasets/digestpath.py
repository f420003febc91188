"""DigestPath 2019, tissue: large crops of colonoscopy slides, with the malignant lesions outlined."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Dataset, Item, Record
from benchmark.datasets.images import SUFFIXES, black_and_white, nfc
from benchmark.datasets.splits import split_by_group
from benchmark.datasets.tables import read_table

CROP = re.compile(r"(?P<slide>.+)-lv\d+-\d+-\d+-\d+-\d+")  # then x, y, width and height
LIST = re.compile(r"train_\d+|valid|test")
MASK, NEGATIVE = "_mask", "tissue-train-neg"


class DigestPath(Dataset):
    title = "DigestPath 2019: colonoscopy tissue segmentation"
    licence = "by the challenge's signed agreement; no redistribution"
    source = "https://digestpath2019.grand-challenge.org/"
    size = "250 images with lesions, 3,000 to 8,000 pixels a side, and 410 without; 250 × 60 MB once read"
    cite = "Da et al., Medical Image Analysis 80, 2022"
    classes = ("background", "lesion")
    splits = {  # noqa: RUF012
        "slide": "cases and so slides disjoint, shares of images kept",
        "lists": "as listed with CDMA: train_5 in train_10 in train_100, valid, test",
    }
    leaks = {"lists": "slides of the test and validation crops also have crops in training"}  # noqa: RUF012

    def items(self, root: Path) -> list[Item]:
        """SLIDE-lv1-x-y-w-h.jpg with SLIDE-lv1-x-y-w-h_mask.jpg, in `root` or below it.

        Crops in the challenge's folder of negative tissue have no mask file, for they have no lesion.
        """
        if not root.is_dir():
            raise ValueError(f"There is no folder {root}; give the folder that holds DigestPath's tissue images.")
        files: dict[str, Path] = {}
        for path in sorted(root.rglob("*"), key=lambda path: nfc(path.name)):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                other = files.setdefault(nfc(path.stem), path)
                if other != path:
                    raise ValueError(f"{other} and {path} have the same stem; remove one of them.")
        masks = {stem.removesuffix(MASK): files.pop(stem) for stem in list(files) if stem.endswith(MASK)}
        tags = _tags(root, files)
        items = []
        for stem, image in files.items():
            found = CROP.fullmatch(stem)
            if found is None:
                raise ValueError(f"{image} is not named SLIDE-lv1-x-y-w-h; give it its published name or move it.")
            mask, negative = masks.pop(stem, None), image.parent.name == NEGATIVE
            if mask is None and not negative:
                raise ValueError(f"{image} has no mask {stem}{MASK}.jpg beside it; download it again or move it.")
            slide, stratum = found["slide"], "negative" if negative else "lesion"
            items.append(Item(stem, case_of(slide), slide, stratum, tags.get(stem, ()), image, mask))
        if masks:
            raise ValueError(f"{next(iter(masks.values()))} belongs to no image; remove it, or add its image.")
        return items

    def read(self, item: Item) -> tuple:
        image, mask, *notes = super().read(item)
        return image, np.zeros(image.shape[:2], np.uint8) if mask is None else mask, *notes

    def encode(self, values: np.ndarray, path: Path) -> np.ndarray:
        """Masks are JPEG, so black and white only nearly."""
        return black_and_white(values, path)

    def offered(self, records: Sequence[Record]) -> dict[str, str]:
        listed = any(record.tags for record in records)
        return self.splits if listed else {"slide": self.splits["slide"]}

    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        if split == "slide":
            return split_by_group(records)
        prefixes = {"train": "train_", "val": "valid", "test": "test"}
        return {
            part: [i for i, record in enumerate(records) if any(tag.startswith(prefix) for tag in record.tags)]
            for part, prefix in prefixes.items()
        }


def case_of(slide: str) -> str:
    """The case that a slide is of: its name without the time of the scan and the number or letter of the block.

    Read off the published names; a name of another form is a case of its own.
    """
    block = re.sub(r"_\d{4}-\d{2}-\d{2} \d+_\d+_\d+$", "", slide)
    for form in (
        r"(\d\d[-_]\d{5})[A-Z]",
        r"(\d{4}_\d{5})_\d+-\d+",
        r"(D\d{9})(?:\d\d|[A-Z])?",
        r"(\d{7})(?:\d{3}|-\d+)",
    ):
        found = re.fullmatch(form, block)
        if found:
            return found[1].replace("_", "-")
    return block


def _tags(root: Path, files: dict[str, Path]) -> dict[str, tuple[str, ...]]:
    """Which lists name each image; the lists are CSV files under `root`, or else beside it."""
    lists = sorted(path for path in root.rglob("*.csv") if LIST.fullmatch(path.stem))
    lists = lists or sorted(path for path in root.absolute().parent.glob("*.csv") if LIST.fullmatch(path.stem))
    tags: dict[str, tuple[str, ...]] = {}
    for path in lists:
        for row in read_table(path, ("image",)):
            stem = Path(row["image"]).stem
            if stem not in files:
                raise ValueError(f"{path} lists {row['image']}, which is not under {root}; add it, or move the lists.")
            tags[stem] = (*tags.get(stem, ()), path.stem)
    return tags
