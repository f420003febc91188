"""Anyone's images: images/, masks/ of the same names for some or all of them, and whatever else is known of them.

Optional are unlabelled/ (more images without masks), patients.csv (columns image, patient), split.csv (columns image,
part) and classes.txt (a name a line, the background first).
"""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects, label

from benchmark.datasets.base import IGNORE, Dataset, Item, Record
from benchmark.datasets.images import black_and_white, colours_in, is_lossy, pictures, values_in
from benchmark.datasets.splits import FRACTIONS, split_by_group
from benchmark.datasets.tables import LONGEST, read_table, read_text

MOST_CLASSES = 64  # higher values are not class numbers but something else
WHITE = "mask in black and white, stored as 0 and 1"
WHOLE = "mask without any background"
ONLY_IGNORED = "mask of 0 and 255 only, with 255 as the ignore label"
SAME_PATIENT = "patient written in several ways, taken as one"
NO_PATIENT = {"", "-", "?", "na", "n/a", "#n/a", "nan", "none", "null", "nil", "unknown", "missing"}
OF_MASKS = "_mask"  # may end a mask's name, as `bench predict` writes it
HALVES = {"train": 0.5, "test": 0.5}
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
UNLABELLED = "unlabelled"
MEANT = {  # how people call what is read from the folder, and its name there
    "patient": "patients.csv", "patients": "patients.csv", "split": "split.csv", "splits": "split.csv",
    "class": "classes.txt", "classes": "classes.txt", "unlabeled": UNLABELLED, "unlabelled": UNLABELLED,
}  # fmt: skip
FEW = 10  # with fewer patients than this who have masks, a tenth for validation is less than one


class Folder(Dataset):
    title = "A folder of your own images"
    licence = "yours"
    source = "your disk: images/, masks/ (same stems, for some or all images); optional patients.csv and more"
    size = "any"
    classes = ("background", "foreground")
    splits = {  # noqa: RUF012
        "file": "as split.csv says",
        "halves": "half of the patients with masks are for training, half for test; none for validation",
        "patient": "patients disjoint; of those with masks 60 % are for training, 10 % for validation, 30 % for test",
    }

    def __init__(self) -> None:
        self.noticed = []
        self._spellings: list[str] = []
        self._masks: dict[str, _Mask] = {}  # what each mask file holds, by the name of its image
        self._ignored: set[str] = set()  # images of masks with 0 and 255 alone, where other masks have an ignore label
        self._number: dict[int, int] = {}  # class numbers as stored, for those in the files, where some are not used

    def items(self, root: Path) -> list[Item]:
        """The images by stem, with a mask or without, then those of unlabelled/ as `unlabelled/STEM`."""
        for name in ("images", "masks"):
            if not (root / name).is_dir():
                there = " ".join(sorted(f"{path.name}/" for path in root.iterdir() if path.is_dir()))
                raise ValueError(
                    f"There is no folder {root / name}{f', only {there}' if there else ''}; put the images into "
                    "images/ and their masks, NAME.png or NAME_mask.png, into masks/."
                )
        _check_names(root)
        images, masks = pictures(root / "images"), {}
        for stem in images:
            for ending in (OF_MASKS, "_overlay"):
                if stem.endswith(ending) and stem.removesuffix(ending) in images:
                    raise ValueError(
                        f"{images[stem]} has the name of the mask or overlay of {stem.removesuffix(ending)}, but lies "
                        "among the images; move it to masks/, or remove it."
                    )
        for stem, path in pictures(root / "masks").items():
            name = stem if stem in images else stem.removesuffix(OF_MASKS)
            if name not in images:
                raise ValueError(
                    f"{path} has no image {name}.* in images/; give both the same name up to the suffix, or remove the "
                    "mask."
                )
            if masks.setdefault(name, path) != path:
                raise ValueError(f"{masks[name]} and {path.name} are masks of the same image; remove one of them.")
        if os.path.lexists(root / UNLABELLED) and not (root / UNLABELLED).is_dir():
            raise ValueError(f"{root / UNLABELLED} is not a folder; put images without masks into one, or remove it.")
        free = pictures(root / UNLABELLED) if (root / UNLABELLED).is_dir() else {}
        if not images and not free:
            raise ValueError(f"There is no image in {root / 'images'}; put PNG, JPEG, TIFF, BMP or WebP files there.")
        pairs = [(stem, path, masks.get(stem)) for stem, path in images.items()]
        pairs += [(f"{UNLABELLED}/{stem}", path, None) for stem, path in free.items()]
        names, unmasked = [name for name, _, _ in pairs], {name for name, _, mask in pairs if mask is None}
        patients = self._patients(root / "patients.csv", names)
        split = _column(root / "split.csv", "part", names)
        unknown = [name for name in names if patients and name not in patients]
        if unknown:
            more = f" and {len(unknown) - 1} more images" if len(unknown) > 1 else ""
            raise ValueError(f"patients.csv does not name {unknown[0]}{more}; list the patient of every image.")
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
        if item.mask is None:
            return image, mask, *notes
        values = values_in(mask)
        single = self.instances or _in_single_pieces(mask, values)
        colours = {} if self.instances else colours_in(item.mask, values)
        self._masks[item.name] = _Mask(
            frozenset(values) - {0}, single, np.count_nonzero(mask) / mask.size, colours, is_lossy(item.mask)
        )
        if not self.instances and max(values) == IGNORE and set(values) <= {0, IGNORE}:
            mask, notes = mask // IGNORE, [*notes, WHITE]
        if 0 not in values:
            notes = [*notes, WHOLE]
        return image, mask, *notes

    def encode(self, values: np.ndarray, path: Path) -> np.ndarray:
        """0 and 255, or class numbers with or without 255 as the ignore label; with `instances` object numbers.

        After lossy compression only black and white is taken.
        """
        if is_lossy(path):
            if self.instances:
                raise ValueError(f"{path} is compressed with loss, which has changed its numbers; save masks as PNG.")
            return black_and_white(values, path) * np.uint8(255)
        if self.instances:
            return values
        found = values_in(values)
        if all(value < MOST_CLASSES for value in found if value != IGNORE):
            return values.astype(np.uint8)
        if len(found) > 3:
            what = f"{len(found)} different values up to {found[-1]}, as after resizing or compression"
        else:
            what = f"the value {max(value for value in found if value != IGNORE)}"
        raise ValueError(
            f"{path} has {what}; save masks with 0 and 255 alone, or with class numbers 0, 1, 2 …, or, if the masks "
            "number objects, add the folder with --instances."
        )

    def settle(self, root: Path, values: Mapping[int, str], notes: dict[str, list[str]]) -> tuple[str, ...]:
        """As many classes as the masks number, with the names of classes.txt if there is one."""
        if self._spellings:
            notes[SAME_PATIENT] = self._spellings
        if self.instances:
            if set().union(*(mask.values for mask in self._masks.values())) == {255}:
                raise ValueError(
                    "The masks are black and white and number no objects; add the folder without --instances."
                )
            return self._names(root, 2, values) or self.classes
        self._check_colours()
        if IGNORE in values:  # beside class numbers, so it is no class in the other masks either
            self._ignored = set(notes.pop(WHITE, ()))
            if white := sorted(name for name in self._ignored if self._masks[name].lossy):
                raise ValueError(
                    f"The mask of {white[0]} is black and white and compressed with loss, but in that of "
                    f"{values[IGNORE]} 255 is the ignore label; save all masks as PNG with class numbers."
                )
            if self._ignored:
                notes[ONLY_IGNORED] = sorted(self._ignored)
        present = set().union(*(mask.values for mask in self._masks.values()))
        numbers = sorted(present - {IGNORE} | ({1} if WHITE in notes else set()))
        count = max(2, max(numbers, default=0) + 1)
        if count > 2 and WHITE in notes:
            raise ValueError(
                f"The mask of {notes[WHITE][0]} is black and white, but that of {values[count - 1]} has the class "
                f"number {count - 1}; save all masks with class numbers."
            )
        share = np.mean([mask.share for mask in self._masks.values()]) if WHITE in notes else 0
        if share > 0.5:
            self.noticed.append(
                f"{share:.0%} of the pixels are foreground, which is white (255) in the masks; if objects are shown in "
                "black, invert the masks."
            )
        names = self._names(root, count, values)
        if names:
            unused = [f"{name} ({k})" for k, name in enumerate(names) if k and k not in numbers]
            if unused and numbers:
                self.noticed.append(f"No mask has the class {', '.join(unused)}, which classes.txt names.")
            return names
        self._check_objects()
        if len(numbers) < count - 1 and numbers:
            self._number = {value: k for k, value in enumerate([0, *numbers])}
            missing = _ranges(sorted(set(range(1, count)) - set(numbers)))
            self.noticed.append(
                f"No mask has the class numbers {missing}, so they are not counted as classes; the others keep their "
                "numbers as names."
            )
        if numbers in ([], [1]):
            return self.classes
        return ("background", *(f"class {value}" for value in numbers))

    def _names(self, root: Path, count: int, values: Mapping[int, str]) -> tuple[str, ...]:
        """The classes as classes.txt names them; empty without that file."""
        path = root / "classes.txt"
        if not path.exists() and not path.is_symlink():
            return ()
        names = read_classes(path)
        if len(names) < count:
            raise ValueError(
                f"{path} names {len(names)} classes, but the mask of {values[count - 1]} has the class number "
                f"{count - 1}; name every class, the background first, one a line."
            )
        return names

    def _check_colours(self) -> None:
        """Refuses palettes in which one colour has different numbers."""
        first: dict[tuple[int, int, int], tuple[int, str]] = {}
        for name in sorted(self._masks):
            for colour, value in self._masks[name].colours.items():
                other, where = first.setdefault(colour, (value, name))
                if other != value:
                    raise ValueError(
                        f"The palettes of the masks of {where} and {name} show the numbers {other} and {value} in one "
                        "colour, #{:02x}{:02x}{:02x}; save all masks with the same palette.".format(*colour)
                    )

    def _check_objects(self) -> None:
        """Refuses what looks like object numbers: 1, 2, 3 … up to another end in each mask."""
        masks = [mask._replace(values=mask.values - {IGNORE}) for mask in self._masks.values()]
        masks = [mask for mask in masks if mask.values]
        ends = sorted({max(mask.values) for mask in masks})
        dense = sum(len(mask.values) for mask in masks) >= 0.9 * sum(max(mask.values) for mask in masks)
        single = all(mask.single for mask in masks)
        counts = sorted(len(mask.values) for mask in masks)
        if not masks or not dense or len(ends) < 2:
            return
        said = f"Masks hold {counts[0]} to {counts[-1]} numbers, which differ from image to image"
        if len(ends) > 2 and (ends[-1] >= 8 or (ends[-1] >= 4 and single)):
            raise ValueError(
                f"{said}: these look like object numbers; add the folder with --instances, or, if they are classes, "
                "name each of them in classes.txt."
            )
        if single and ends[-1] > 2:
            self.noticed.append(
                f"{said}. If these are object numbers and not classes, add the folder with --instances."
            )

    def correct(self, name: str, mask: np.ndarray) -> np.ndarray | None:
        """The numbers as stored, where another mask decides what they mean."""
        if name in self._ignored:
            return mask * np.uint8(IGNORE)
        if not self._number:
            return None
        table = np.arange(256, dtype=np.uint8)
        table[list(self._number)] = list(self._number.values())
        return table[mask]

    def _patients(self, path: Path, names: Sequence[str]) -> dict[str, str]:
        """The patient of each image; of names that differ in case and blanks alone, the first is taken for all."""
        patients = _column(path, "patient", names)
        first: dict[str, str] = {}
        for name, patient in patients.items():
            if patient.casefold() in NO_PATIENT:
                raise ValueError(
                    f"{path} has '{patient}' as the patient of '{name}'; if it is not known, give a name that no other "
                    "image has."
                )
            patients[name] = first.setdefault(spelled(patient), patient)
            if patients[name] != patient and f"{patient} = {patients[name]}" not in self._spellings:
                self._spellings.append(f"{patient} = {patients[name]}")
        return patients

    def offered(self, records: Sequence[Record]) -> dict[str, str]:
        masked = len({record.patient for record in records if record.annotated})
        possible = {
            "file": any(record.tags for record in records),
            "halves": masked < FEW,
            "patient": masked >= len(FRACTIONS),
        }
        return {name: about for name, about in self.splits.items() if possible[name]}

    def leaking(self, records: Sequence[Record]) -> dict[str, str]:
        """What split.csv puts into two parts."""
        parts: dict[str, set[str]] = {}
        for record in records:
            parts.setdefault(record.patient, set()).update(record.tags)
        shared = [patient for patient, of in parts.items() if len(of) > 1]
        if not shared:
            return {}
        examples = ", ".join(shared[:3]) + (" …" if len(shared) > 3 else "")
        who = "1 patient has" if len(shared) == 1 else f"{len(shared)} patients have"
        return {"file": f"{who} images in more than one part of split.csv ({examples}), so test scores are too high"}

    def remarks(self, records: Sequence[Record]) -> list[str]:
        patients = list(dict.fromkeys(record.patient for record in records))
        if len(patients) < len(records) or any(record.patient != record.name for record in records):
            return _alike(patients)
        beginnings = sorted({re.split(r"[ ._-]", record.name.rpartition("/")[2])[0] for record in records})
        likely = 1 < len(beginnings) < len(records)
        hint = f" (by their names these may be {len(beginnings)}: {beginnings[0]}, {beginnings[1]} …)" if likely else ""
        return [
            f"If several images are of one patient{hint}, list them in "
            "patients.csv (columns image, patient) and add the folder again; otherwise one may be in training and test."
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


def _check_names(root: Path) -> None:
    """Refuses what would be left out for its name alone, such as Patients.csv, patients.csv.txt or unlabeled/."""
    for path in sorted(root.iterdir()):
        meant = MEANT.get(path.name.casefold().partition(".")[0])
        if meant and path.name != meant:
            raise ValueError(f"{path} would not be read; rename it to {meant}, or move it out of the folder.")


class _Mask(NamedTuple):
    """What a mask file holds."""

    values: frozenset[int]  # except 0
    single: bool  # whether each of them is one connected piece
    share: float  # of its pixels that are not 0
    colours: dict[tuple[int, int, int], int]  # of palettes: the number that has this colour
    lossy: bool  # compressed with loss, so that 255 can only be white


def _in_single_pieces(mask: np.ndarray, values: Sequence[int]) -> bool:
    """Whether each number up to `MOST_CLASSES` marks one connected piece (of 8 neighbours)."""
    numbers = [value for value in values if 0 < value < MOST_CLASSES]
    if len(numbers) < 2:
        return True
    boxes, around = find_objects(mask, MOST_CLASSES), np.ones((3, 3))
    return all(label(mask[boxes[number - 1]] == number, around)[1] == 1 for number in numbers)


def _ranges(numbers: Sequence[int]) -> str:
    """Whole numbers in words: "1 to 4 and 6"."""
    ends = [k for k in numbers if k + 1 not in numbers]
    begins = [k for k in numbers if k - 1 not in numbers]
    said = [f"{begin}" if begin == end else f"{begin} to {end}" for begin, end in zip(begins, ends, strict=True)]
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def read_classes(path: Path) -> tuple[str, ...]:
    """The names of classes in a text file, one a line, the background first and each once; else a ValueError."""
    names = tuple(line for _, line in read_text(path))
    if len(names) > MOST_CLASSES or len(set(map(spelled, names))) < len(names):
        raise ValueError(f"{path} names a class twice, or more than {MOST_CLASSES}; give each its own name.")
    if max(map(len, names), default=0) > LONGEST:
        raise ValueError(f"{path} names a class in over {LONGEST} letters; shorten the name.")
    if "background" in map(spelled, names[1:]):
        raise ValueError(f"{path} has the background as another than the first name; put it first, one a line.")
    return names


def spelled(patient: str) -> str:
    """One spelling for a name in any case, with any blanks and without invisible characters."""
    visible = "".join(letter for letter in patient if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible).casefold().split())


def _alike(patients: Sequence[str]) -> list[str]:
    """A sentence if names differ in separators or leading zeros alone, as in "case 1" and "case-01"."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for patient in patients:
        whole = re.sub(r"^(\d+)\.0+$", r"\1", spelled(patient))  # as spreadsheets and pandas write numbers
        words = re.findall(r"\d+|[^\W\d_]+", whole)
        alike.setdefault(tuple(word.lstrip("0") or "0" for word in words), []).append(patient)
    pairs = [" and ".join(f"'{patient}'" for patient in of) for words, of in alike.items() if words and len(of) > 1]
    if not pairs:
        return []
    return [
        f"Patients may be written in several ways: {'; '.join(pairs[:3])}{' …' if len(pairs) > 3 else ''}. If so, "
        "write them alike in patients.csv and add the folder again; otherwise one patient may be in training and test."
    ]


def _column(path: Path, column: str, names: Sequence[str]) -> dict[str, str]:
    """What a table says of each image, by its name; the table may give suffixes, and leave out `unlabelled/`."""
    if not path.exists() and not path.is_symlink():
        return {}
    known = {name.removeprefix(f"{UNLABELLED}/"): name for name in reversed(names)} | {name: name for name in names}
    values: dict[str, str] = {}
    for row in read_table(path, ("image", column)):
        image = row["image"]
        name = known.get(image) or known.get(image.rpartition(".")[0])
        if name is None:
            raise ValueError(f"{path} names the image '{image}', which is neither in images/ nor in {UNLABELLED}/.")
        if values.setdefault(name, row[column]) != row[column]:
            raise ValueError(f"{path} names the image '{image}' twice, with different entries; keep one.")
    return values
