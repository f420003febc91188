"""Anyone's images: images/, masks/ of the same names for some or all of them, and whatever else is known of them.

Optional are unlabelled/ (more images without masks), patients.csv (columns image, patient), split.csv (columns image,
part) and classes.txt (a name a line, the background first).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Dataset, Item, Record
from benchmark.datasets.images import black_and_white, is_lossy, nfc, pictures, values_in
from benchmark.datasets.splits import FRACTIONS, split_by_group
from benchmark.datasets.tables import read_table

MOST_CLASSES = 64  # higher values are not class numbers but something else
WHITE = "mask in black and white, stored as 0 and 1"
WHOLE = "mask without any background"
OF_MASKS = "_mask"  # may end a mask's name, as `bench predict` writes it
HALVES = {"train": 0.5, "test": 0.5}
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
UNLABELLED = "unlabelled"
FEW = 10  # with fewer patients than this who have masks, a tenth for validation is less than one


class Folder(Dataset):
    title = "A folder of your own images"
    licence = "yours"
    source = "your disk: images/, masks/ (same stems, for some or all images); optional patients.csv and more"
    size = "any"
    classes = ("background", "foreground")
    splits = {  # noqa: RUF012
        "file": "as split.csv says",
        "halves": "half of the patients with masks teach, the others judge; nobody is left for validation",
        "patient": "patients disjoint, of those with masks 60 % teach, 10 % validate and 30 % judge",
    }

    def items(self, root: Path) -> list[Item]:
        """The images by stem, with a mask or without, then those of unlabelled/ as `unlabelled/STEM`."""
        for name in ("images", "masks"):
            if not (root / name).is_dir():
                there = " ".join(sorted(f"{path.name}/" for path in root.iterdir() if path.is_dir()))
                raise ValueError(
                    f"There is no folder {root / name}{f', only {there}' if there else ''}; put the images into "
                    "images/ and their masks, NAME.png or NAME_mask.png, into masks/."
                )
        images, masks = pictures(root / "images"), {}
        for stem, path in pictures(root / "masks").items():
            name = stem if stem in images else stem.removesuffix(OF_MASKS)
            if name not in images:
                raise ValueError(
                    f"{path} has no image {name}.* in images/; give both the same name up to the suffix, or remove the "
                    "mask."
                )
            if masks.setdefault(name, path) != path:
                raise ValueError(f"{masks[name]} and {path.name} are masks of the same image; remove one of them.")
        free = pictures(root / UNLABELLED) if (root / UNLABELLED).is_dir() else {}
        if not images and not free:
            raise ValueError(f"There is no image in {root / 'images'}; put PNG, JPEG, TIFF, BMP or WebP files there.")
        pairs = [(stem, path, masks.get(stem)) for stem, path in images.items()]
        pairs += [(f"{UNLABELLED}/{stem}", path, None) for stem, path in free.items()]
        names, unmasked = [name for name, _, _ in pairs], {name for name, _, mask in pairs if mask is None}
        patients = _column(root / "patients.csv", "patient", names)
        split = _column(root / "split.csv", "part", names)
        unknown = [name for name in names if patients and name not in patients]
        if unknown:
            more = f" and {len(unknown) - 1} more images" if len(unknown) > 1 else ""
            raise ValueError(f"patients.csv does not name {unknown[0]}{more}; say of every image whose it is.")
        for name, part in split.items():
            if part not in PARTS:
                raise ValueError(f"split.csv puts {name} into the part '{part}'; the parts are train, val and test.")
            if PARTS[part] != "train" and name in unmasked:
                raise ValueError(f"split.csv puts {name} into {part}, but it has no mask; it can only be in train.")
        unnamed = [name for name, _, mask in pairs if mask and split and name not in split]
        if unnamed:
            raise ValueError(f"split.csv does not name {unnamed[0]}; add a line for it.")
        return [
            Item(
                name,
                patients.get(name, name),
                tags=(PARTS[split.get(name, "train")],) if split else (),
                image=image,
                mask=mask,
            )
            for name, image, mask in pairs
        ]

    def read(self, item: Item) -> tuple:
        image, mask, *notes = super().read(item)
        if item.mask is not None and mask.max(initial=0) == 255:
            mask, notes = mask // 255, [*notes, WHITE]
        if item.mask is not None and mask.all():
            notes = [*notes, WHOLE]
        return image, mask, *notes

    def encode(self, values: np.ndarray, path: Path) -> np.ndarray:
        """0 and 255, or class numbers; JPEG masks are taken as black and white."""
        if is_lossy(path):
            return black_and_white(values, path) * np.uint8(255)
        highest = int(values.max(initial=0))
        if highest < MOST_CLASSES or (highest == 255 and not ((values > 0) & (values < 255)).any()):
            return values.astype(np.uint8)
        found, count = f"the value {highest}", len(values_in(values))
        if count > 2:
            found = f"{count} different values up to {highest}, as after resizing or compression"
        raise ValueError(f"{path} has {found}; save masks with 0 and 255 alone, or with class numbers 0, 1, 2 …")

    def settle(self, root: Path, values: Mapping[int, str], notes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """As many classes as the masks number, with the names of classes.txt if there is one."""
        count = max(2, max(values, default=0) + 1)
        if count > 2 and WHITE in notes:
            raise ValueError(
                f"The mask of {notes[WHITE][0]} is black and white, but that of {values[count - 1]} has the class "
                f"number {count - 1}; save all masks with class numbers."
            )
        named = root / "classes.txt"
        if not named.exists():
            return self.classes if count == 2 else ("background", *(f"class {k}" for k in range(1, count)))
        names = tuple(line.strip() for line in nfc(named.read_text("utf-8-sig")).splitlines() if line.strip())
        if len(names) < count:
            raise ValueError(
                f"{named} names {len(names)} classes, but the mask of {values[count - 1]} has the class number "
                f"{count - 1}; name every class, the background first, one a line."
            )
        return names

    def offered(self, records: Sequence[Record]) -> dict[str, str]:
        masked = len({record.patient for record in records if record.annotated})
        possible = {
            "file": any(record.tags for record in records),
            "halves": masked < FEW,
            "patient": masked >= len(FRACTIONS),
        }
        return {name: about for name, about in self.splits.items() if possible[name]}

    def remarks(self, records: Sequence[Record]) -> list[str]:
        if len({record.patient for record in records}) < len(records):
            return []
        beginnings = sorted({re.split(r"[ ._-]", record.name.rpartition("/")[2])[0] for record in records})
        likely = 1 < len(beginnings) < len(records)
        hint = f" (by their names these may be {len(beginnings)}: {beginnings[0]}, {beginnings[1]} …)" if likely else ""
        return [
            f"Every image counts as a patient of its own. If some are of the same patient{hint}, say whose they are in "
            "patients.csv (columns image, patient) and add the folder again; otherwise a patient may teach and judge."
        ]

    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        if split == "patient":
            return split_by_group(records)
        if split == "halves":
            return split_by_group(records, HALVES) | {"val": []}
        return {
            part: [place for place, record in enumerate(records) if part in record.tags]
            for part in ("train", "val", "test")
        }


def _column(path: Path, column: str, names: Sequence[str]) -> dict[str, str]:
    """What a table says of each image, by its name; the table may give suffixes, and leave out `unlabelled/`."""
    if not path.exists():
        return {}
    known = {name.removeprefix(f"{UNLABELLED}/"): name for name in reversed(names)} | {name: name for name in names}
    told: dict[str, str] = {}
    for row in read_table(path, ("image", column)):
        image = row["image"]
        name = known.get(image) or known.get(image.rpartition(".")[0])
        if name is None:
            raise ValueError(f"{path} names the image '{image}', which is neither in images/ nor in {UNLABELLED}/.")
        if told.setdefault(name, row[column]) != row[column]:
            raise ValueError(f"{path} names the image '{image}' twice, with different entries; keep one.")
    return told
