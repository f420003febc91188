"""Whole slides: cut into tiles of tissue at one resolution, with masks from annotations of QuPath.

Beside a slide `NAME.svs`, or in the folder `annotations/`, lie its annotations: `NAME.geojson`. Optional are
patients.csv (columns slide, patient) and classes.txt (a name a line, the background first).
"""

import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from benchmark import progress
from benchmark.datasets.annotations import BACKGROUND, REGION, Annotations, Raster, read_geojson
from benchmark.datasets.base import IGNORE, Dataset, Item, Record
from benchmark.datasets.folder import FEW, HALVES, NO_PATIENT, read_classes, spelled
from benchmark.datasets.images import SYSTEM_FILES, nfc
from benchmark.datasets.splits import FRACTIONS, split_by_group
from benchmark.datasets.tables import read_table
from benchmark.datasets.wsi import SUFFIXES, Slide
from benchmark.words import some

TISSUE = 0.1  # a tile with less tissue than this share of its area is left out
LABELLED = 0.01  # a tile with annotations on less than this share of its area has no mask
OPEN = 4  # slides that are open at a time
ANNOTATIONS, OF_ANNOTATIONS = "annotations", (".geojson", ".json")
OF_SLIDES = (".dat", ".ini")  # of files that belong to a slide of several files
TABLES = ("patients.csv", "classes.txt")
BY_SLIDE = "slide"  # what a split keeps together without patients.csv


@dataclass(frozen=True)
class Cut:
    """How slides are cut into tiles."""

    tile: int = 512  # pixels a side
    slide_um: float | None = None  # µm per pixel at full resolution of slides that do not say it
    complete: bool = False  # annotated slides are annotated completely, so that the rest of them is background


class Tile(NamedTuple):
    """A square of a slide."""

    slide: str
    left: int  # in pixels of the tile
    top: int


class Slides(Dataset):
    title = "Whole slides of your own"
    licence = "yours"
    source = "your disk: slides, annotations of QuPath as NAME.geojson; optional patients.csv and classes.txt"
    size = "any"
    classes = ("background", "foreground")
    splits: ClassVar[dict[str, str]] = {
        "halves": "half of the patients with masks are for training, half for test; none for validation",
        "patient": "patients disjoint; of those with masks 60 % are for training, 10 % for validation, 30 % for test",
    }
    cut = Cut()

    def __init__(self) -> None:
        self.noticed = []
        self._rasters: dict[str, Raster] = {}  # of annotated slides
        self._tiles: dict[str, Tile] = {}  # by the names of the items
        self._unused: Counter[str] = Counter()  # annotated tiles without a mask in the dataset, by the reason
        self._open = functools.lru_cache(OPEN)(lambda path: Slide(path, self.cut.slide_um))

    def items(self, root: Path) -> list[Item]:
        """The tiles with tissue of every slide, named `SLIDE xLEFT yTOP` in pixels of the slide."""
        if not self.pixel_um:
            raise ValueError(
                "Slides are cut at a resolution that you choose; give it in µm per pixel, as in --mpp 0.5."
            )
        self._paths = _slides(root)
        files = _annotations(root, list(self._paths))
        self._check_resolutions()
        patients = _patients(root / "patients.csv", list(self._paths))
        if not patients:
            self.unit = BY_SLIDE
        self._read_annotations(root / "classes.txt", files)
        items: list[Item] = []
        with progress.watching("Finding tissue", len(self._paths)) as tell:
            for done, (name, path) in enumerate(self._paths.items(), 1):
                for place, annotated in self._places(name):
                    mask = files[name] if annotated else None
                    items.append(Item(place, patients.get(name, name), name, image=path, mask=mask))
                tell(done, name)
        self.noticed += [f"{reason}: {some(count, 'tile')}." for reason, count in self._unused.items() if count]
        return items

    def read(self, item: Item) -> tuple:
        """A tile and its mask, with IGNORE outside of what is annotated and outside of the slide."""
        tile, side = self._tiles[item.name], self.cut.tile
        image = self._slide(tile.slide).read(tile.left, tile.top, side, side, self.pixel_um)
        return image, self._mask(tile) if item.mask else None

    def settle(self, root: Path | None, values: Mapping[int, str], notes: dict[str, list[str]]) -> tuple[str, ...]:
        """The names of classes.txt, or those in the annotations; masks without background are a ValueError."""
        self._open.cache_clear()
        if values and BACKGROUND not in values:
            raise ValueError(
                f"No annotation says where background is: draw a region of class {REGION} around what is completely "
                f"annotated, annotate the class {self.classes[BACKGROUND]}, or, if slides with annotations are "
                "annotated completely, add them with --complete."
            )
        return self.classes

    def offered(self, records: Sequence[Record]) -> dict[str, str]:
        masked = len({record.patient for record in records if record.annotated})
        possible = {"halves": masked < FEW, "patient": masked >= len(FRACTIONS)}
        return {name: about for name, about in self.splits.items() if possible[name]}

    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        return split_by_group(records) if split == "patient" else split_by_group(records, HALVES) | {"val": []}

    def _slide(self, name: str) -> Slide:
        return self._open(self._paths[name])

    def _factor(self, name: str) -> float:
        """Pixels of a slide per pixel of its tiles."""
        return self.pixel_um / self._slide(name).pixel_um

    def _check_resolutions(self) -> None:
        """Refuses to enlarge, and says at how many µm per pixel the slides were scanned where they differ."""
        counts: Counter[str] = Counter()
        for name, path in self._paths.items():
            um = self._slide(name).pixel_um
            if self._factor(name) < 1 - 1e-3:
                raise ValueError(
                    f"{path} has {um:.4g} µm per pixel, so --mpp {self.pixel_um:g} would enlarge it; give {um:.4g} or "
                    "more."
                )
            counts[f"{um:.3g}"] += 1
        if len(counts) > 1:
            each = ", ".join(f"{count} at {um} µm per pixel" for um, count in sorted(counts.items()))
            self.noticed.append(f"Slides have different resolutions ({each}); all tiles have {self.pixel_um:g}.")

    def _read_annotations(self, path: Path, files: Mapping[str, Path]) -> None:
        """Reads the annotations of all slides and numbers their classes."""
        read: dict[str, Annotations] = {}
        for name, file in files.items():
            read[name] = read_geojson(file, self._slide(name).width, self._slide(name).height)
        used: dict[str, Path] = {}  # classes, each with the first file that has it
        for annotations in read.values():
            used = dict.fromkeys(annotations.classes, annotations.path) | used
        self.classes = _classes(path, used)
        numbers = {name: number for number, name in enumerate(self.classes)}
        numbers |= {name: BACKGROUND for name in used if spelled(name) == "background"}
        self._rasters = {name: Raster(annotations, numbers, self.cut.complete) for name, annotations in read.items()}
        for annotations in read.values():
            if annotations.not_read:
                what = ", ".join(f"{count} × {what}" for what, count in annotations.not_read.items())
                self.noticed.append(f"{annotations.path.name}: {what}.")

    def _places(self, name: str) -> Iterator[tuple[str, bool]]:
        """The names of the tiles with tissue of a slide, and whether they are annotated."""
        factor = self._factor(name)
        for tile, tissue in self._grid(name):
            labelled = self._labelled(tile)
            if tissue < TISSUE:
                self._unused[f"Annotated, but left out with less than {TISSUE:.0%} tissue"] += labelled > 0
                continue
            if 0 < labelled < LABELLED:
                self._unused[f"Without a mask, as less than {LABELLED:.0%} is annotated"] += 1
            place = f"{name} x{round(tile.left * factor)} y{round(tile.top * factor)}"
            self._tiles[place] = tile
            yield place, labelled >= LABELLED

    def _grid(self, name: str) -> Iterator[tuple[Tile, float]]:
        """Every square of a slide, line by line, with its share of tissue."""
        slide, side = self._slide(name), self.cut.tile
        tissue, um = slide.tissue()
        width, height = slide.size(self.pixel_um)
        per = self.pixel_um / um  # pixels of the tissue mask per pixel of a tile

        def covered(begin: int) -> slice:
            return slice(math.floor(begin * per), max(math.ceil((begin + side) * per), 1))

        for top in range(0, height, side):
            for left in range(0, width, side):
                share = np.count_nonzero(tissue[covered(top), covered(left)]) / max(1.0, (side * per) ** 2)
                yield Tile(name, left, top), share

    def _labelled(self, tile: Tile) -> float:
        """The share of a tile that is annotated."""
        return float(np.mean(self._mask(tile) != IGNORE)) if tile.slide in self._rasters else 0.0

    def _mask(self, tile: Tile) -> np.ndarray:
        side = self.cut.tile
        mask = self._rasters[tile.slide].mask(tile.left, tile.top, side, side, self._factor(tile.slide))
        width, height = self._slide(tile.slide).size(self.pixel_um)
        mask[max(0, height - tile.top) :] = IGNORE
        mask[:, max(0, width - tile.left) :] = IGNORE
        return mask


def _slides(root: Path) -> dict[str, Path]:
    """The slides of a folder by their names; a file that is neither a slide nor belongs to one is a ValueError."""
    slides: dict[str, Path] = {}
    for path in sorted(root.iterdir(), key=lambda path: nfc(path.name)):
        suffix = path.suffix.lower()
        if path.name.startswith(".") or path.name.casefold() in SYSTEM_FILES or path.name in TABLES:
            continue
        if path.is_dir():
            files = sorted(path.glob("*.dcm"))[:1]  # any file of a DICOM slide opens all of it
        elif suffix in SUFFIXES:
            files = [path]
        elif suffix in (*OF_ANNOTATIONS, *OF_SLIDES):
            files = []
        else:
            raise ValueError(f"{path} is not a slide of a known kind ({' '.join(SUFFIXES)}); convert or remove it.")
        name = nfc(path.name if path.is_dir() else path.stem)
        for file in files:
            if slides.setdefault(name, file) != file:
                raise ValueError(f"{slides[name]} and {path.name} have the same stem; rename or remove one of them.")
    if not slides:
        raise ValueError(f"There is no slide ({' '.join(SUFFIXES)}) in {root}; give the folder that holds the slides.")
    return slides


def _annotations(root: Path, slides: Sequence[str]) -> dict[str, Path]:
    """The files of annotations by the names of their slides."""
    files: dict[str, Path] = {}
    folders = [root, root / ANNOTATIONS] if (root / ANNOTATIONS).is_dir() else [root]
    paths = [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix.lower() in OF_ANNOTATIONS]
    for path in paths:
        stem = nfc(path.stem)
        name = stem if stem in slides else stem.rpartition(".")[0]  # QuPath may write NAME.svs.geojson
        if name not in slides:
            raise ValueError(f"{path} has no slide {stem}.* beside it; give both the same name, or remove it.")
        if files.setdefault(name, path) != path:
            raise ValueError(f"{files[name]} and {path} are annotations of the same slide; remove one of them.")
    return files


def _patients(path: Path, slides: Sequence[str]) -> dict[str, str]:
    """The patient of each slide; empty without the file."""
    if not path.exists() and not path.is_symlink():
        return {}
    patients: dict[str, str] = {}
    first: dict[str, str] = {}  # one spelling for names that differ in case and blanks alone
    for line in read_table(path, ("slide", "patient")):
        name = line["slide"] if line["slide"] in slides else line["slide"].rpartition(".")[0]
        if name not in slides:
            raise ValueError(f"{path} names the slide '{line['slide']}', which is not in {path.parent}.")
        patient = first.setdefault(spelled(line["patient"]), line["patient"])
        if patient.casefold() in NO_PATIENT:
            raise ValueError(f"{path} has '{patient}' as the patient of '{name}'; give a name that no other slide has.")
        if patients.setdefault(name, patient) != patient:
            raise ValueError(f"{path} names the slide '{name}' twice, with different patients; keep one.")
    missing = [name for name in slides if name not in patients]
    if missing:
        raise ValueError(f"{path} does not name the slide '{missing[0]}'; add a line for it.")
    return patients


def _classes(path: Path, used: Mapping[str, Path]) -> tuple[str, ...]:
    """The names of classes.txt, or the background and the names that annotations use."""
    if path.exists() or path.is_symlink():
        names = read_classes(path)
        if len(names) < 2:
            raise ValueError(f"{path} names fewer than two classes; name all, the background first, one a line.")
        unknown = [name for name in sorted(used) if name not in names and spelled(name) != "background"]
        if unknown:
            raise ValueError(
                f"{used[unknown[0]]} has the class '{unknown[0]}', which {path.name} does not name "
                f"({', '.join(names)}); add it there, or change the class in QuPath."
            )
        return names
    names = tuple(name for name in sorted(used) if spelled(name) != "background")
    return ("background", *(names or Slides.classes[1:]))
