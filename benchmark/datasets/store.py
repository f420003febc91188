"""The store of a dataset: every image decoded once into one file of bytes, memory-mapped from then on.

A store is a folder of three files: `index.json`, `images.bin` (uint8, three bytes a pixel, image after image) and
`masks.bin` (uint8, or uint16 where masks number objects; one entry a pixel, holes where nobody has annotated).
`bench data show` adds `contact_sheet.png`. A folder that holds anything else is not replaced and not deleted.

The index has a hash of every image and mask, compared when it is first read, and hashes of itself, compared at opening.

Runs at a reduced resolution use a store of the same form inside that folder, such as `.scale-0.5`. It is made once from
the files of the store, and goes with them when the dataset is added again.
"""

import contextlib
import errno
import fcntl
import filecmp
import hashlib
import json
import os
import re
import shlex
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from benchmark import datasets
from benchmark.datasets import few_patients, resample
from benchmark.datasets.base import IGNORE, Dataset, Item, Record
from benchmark.datasets.fingerprint import fingerprint
from benchmark.datasets.images import check_name, check_regular, values_in
from benchmark.datasets.slides import Cut
from benchmark.names import choose
from benchmark.runs import Run
from benchmark.words import PATIENT, in_units, some

FORMAT = 1  # of the index; raised when a field changes its meaning
UNIT = re.compile(r"[A-Za-z][A-Za-z-]{0,29}")
SLIDES = "slides"
OF_USERS = ("folder", SLIDES)  # the kinds that read what users have, under any name
DRAWN = "phantom"  # the only dataset that is drawn and not read
READERS = 2  # threads; each holds one image
FILES = ("index.json", "images.bin", "masks.bin", "contact_sheet.png")  # all that a store consists of
UNFINISHED = ".unfinished"  # the suffix of a folder that is being filled
SCALED = ".scale-"  # begins the names of stores at a reduced resolution, inside their store
LOCK = ".lock"
REPLACED = ".replaced"  # the suffix of a store while another one takes its place
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")  # of a dataset; it is part of the names of run records
PARTS = ("train", "val", "test")
NAMED = 3  # examples in a note

Progress = Callable[[int, int, str], None]  # done, total, name of the image


class Store:
    """A dataset as runs see it. Reading an image or a mask touches its own bytes and no others."""

    def __init__(self, folder: Path):
        index = _index(folder)
        if index.kind not in datasets.names():
            raise ValueError(
                f"The store {folder} is of the kind {index.kind!r}, for which there is no file in benchmark/datasets; "
                "put it back there, or add the images as another kind."
            )
        self.scale = index.scale
        self.folder, self.name, self.kind = folder, _name(folder), index.kind
        self.pixel_um: float | None = index.pixel_um or datasets.get(self.kind).pixel_um  # at this resolution
        self.content: str = index.content
        self.notes: list[str] = index.notes
        self.records: list[Record] = index.records
        self.dataset: Dataset = datasets.get(self.kind)
        self.dataset.classes, self.dataset.unit = index.classes, index.unit
        self.dataset.instances = index.instances or self.dataset.instances
        self.dataset.leaks = self.dataset.leaking(self.records)
        self.dataset.splits = {
            split: in_units(about, self.unit) for split, about in self.dataset.offered(self.records).items()
        }
        self.ignores = index.ignore is not None  # whether masks have pixels that are in no loss and in no score
        self._parts: dict[str, dict[str, list[int]]] = {}
        self._checked: set[tuple[str, int]] = set()  # the images and masks that were compared with their hashes
        for file, width in (("images.bin", 3), ("masks.bin", self._mask_type.itemsize)):
            path = folder / file
            if not path.is_file() or path.stat().st_size != width * self._length:
                raise ValueError(f"{path} is not whole; {_again(folder, self.kind)}.")

    @cached_property
    def pixels(self) -> np.ndarray:
        """All images, uint8, flat and read-only; image i begins at 3 * records[i].start."""
        return np.memmap(self.folder / "images.bin", np.uint8, "r")

    def image(self, place: int) -> np.ndarray:
        """uint8 (H, W, 3), a read-only view. Pixels that do not match their hash are a ValueError."""
        image = self._image(place)
        self._check("image", place, image, self.records[place].image_hash)
        return image

    def mask(self, place: int) -> np.ndarray:
        """The stored mask, uint8 or uint16 (H, W), a read-only view; a ValueError if it does not match its hash."""
        record = self.records[place]
        if not record.annotated:
            raise ValueError(f"'{record.name}' of '{self.name}' has no mask; only annotated images can be scored.")
        mask = self._mask(place)
        self._check("mask", place, mask, record.mask_hash)
        return mask

    def check(self, places: Iterable[int]) -> None:
        """Compares these images with their hashes, each once in the life of this object: for who reads `pixels`."""
        for place in places:
            if ("image", place) not in self._checked:
                self.image(place)

    def verify(self, progress: Progress = lambda done, total, what: None) -> None:
        """Compares every image and mask with its hash; a ValueError names those that do not match."""
        changed = []
        for place, record in enumerate(self.records):
            same = _hash(self._image(place)) == record.image_hash
            if not same or (record.annotated and _hash(self._mask(place)) != record.mask_hash):
                changed.append(record.name)
            progress(place + 1, len(self.records), record.name)
        if changed:
            raise ValueError(
                f"{len(changed)} of {len(self.records)} images of {self.folder} or their masks no longer match their "
                f"hashes ({_examples(changed)}); {_again(self.folder, self.kind)}."
            )

    def _check(self, what: str, place: int, values: np.ndarray, expected: str) -> None:
        if (what, place) in self._checked:
            return
        if _hash(values) != expected:
            raise ValueError(
                f"The {what} of '{self.records[place].name}' in {self.folder} no longer matches its hash, so the file "
                f"was changed or is damaged; {_again(self.folder, self.kind)}."
            )
        self._checked.add((what, place))

    def _image(self, place: int) -> np.ndarray:
        record = self.records[place]
        begin, length = 3 * record.start, 3 * record.height * record.width
        return self.pixels[begin : begin + length].reshape(record.height, record.width, 3)

    def _mask(self, place: int) -> np.ndarray:
        record = self.records[place]
        flat = self._masks[record.start : record.start + record.height * record.width]
        return flat.reshape(record.height, record.width)

    @property
    def unit(self) -> str:
        """What a split keeps together, "patient" unless the dataset was added with another name for it."""
        return self.dataset.unit

    def cautions(self, split: str, task: str = "") -> list[str]:
        """What whoever reads scores of a split and a task must know, a sentence each; leaks are not among them."""
        said = [self.dataset.cautions.get(self._task(task), ""), self.dataset.cautions.get(split, "")]
        unknown = "whether the parts of the split share patients is not known."
        if self.unit != PATIENT:
            said.append(f"Images are grouped by {self.unit}, not by patient: {unknown}")
        elif all(record.patient == record.name for record in self.records):
            said.append(f"Each image counts as a separate patient, because no patients are given: {unknown}")
        return [sentence for sentence in said if sentence]

    def classes(self, task: str = "") -> tuple[str, ...]:
        """The names of the classes of a task of the dataset, the background first; "" is its first task."""
        return self.dataset.task_classes.get(self._task(task), self.dataset.classes)

    def label(self, place: int, task: str = "") -> np.ndarray:
        """The classes, uint8 (H, W), for a task of the dataset; "" is its first. `IGNORE` stays, whatever the task."""
        task, mask = self._task(task), self.mask(place)
        label = self.dataset.label(task, self.records[place], mask)
        return np.where(mask == IGNORE, np.uint8(IGNORE), label) if self.ignores else label

    def _task(self, task: str) -> str:
        named = [name for name in self.dataset.tasks if name]
        return choose(task, named, f"task of '{self.name}'") if task else self.dataset.tasks[0]

    def split(self, split: str = "") -> dict[str, list[int]]:
        """The places of "train", "val" and "test"; "" is the dataset's first. "val" may have no annotated image."""
        split = choose(split or next(iter(self.dataset.splits)), list(self.dataset.splits), f"split of '{self.name}'")
        if split not in self._parts:
            self._parts[split] = _parts(self.dataset, split, self.records, self.name)
        return self._parts[split]

    def used(self, split: str = "") -> dict[str, list[int]]:
        """The places that take part: of those who validate and judge, the images with masks."""
        return {
            part: [place for place in places if part == "train" or self.records[place].annotated]
            for part, places in self.split(split).items()
        }

    def summary(self, split: str = "") -> list[str]:
        """For people: what it is, how it is split, and what was noticed when it was read."""
        tasks = self.dataset.tasks
        sizes = sorted({(record.width, record.height) for record in self.records}, key=lambda size: size[0] * size[1])
        range_ = " to ".join(f"{width} × {height}" for width, height in dict.fromkeys((sizes[0], sizes[-1])))
        said = [
            f"{self.name}: {self.dataset.title}",
            f"{_how_many(self.records, self.unit)}; {range_} pixels"
            + (f" of {self.pixel_um:g} µm" if self.pixel_um else ""),
            *(f"{f'Task {task}: c' if task else 'C'}lasses {', '.join(self.classes(task))}" for task in tasks),
        ]
        split, parts = split or next(iter(self.dataset.splits)), self.used(split)
        said.append(f"Split {split}: {self.dataset.splits[split]}")
        for part, places in parts.items():
            members = [self.records[place] for place in places]
            strata = Counter(record.stratum for record in members if record.stratum)
            shares = [f"{count} {stratum}" for stratum, count in sorted(strata.items())]
            said.append(f"  {part:5} {_how_many(members, self.unit)}" + _listed("; ", shares))
        if leak := self.dataset.leaks.get(split):
            said.append(f"  This split leaks: {leak}.")
        said += dict.fromkeys(sentence for task in tasks for sentence in self.cautions(split, task))
        return [*said, *self._reservations(split), *self.notes]

    def _reservations(self, split: str) -> list[str]:
        """What a person should know before relying on a split."""
        parts = {part: [self.records[place] for place in places] for part, places in self.split(split).items()}
        aside = sum(not record.annotated for part in ("val", "test") for record in parts[part])
        judges = len({record.patient for record in parts["test"] if record.annotated})
        said = [*self.dataset.remarks(self.records), few_patients.warning(judges)]
        if aside:
            said.append(f"Images without a mask left aside, as their patients validate or judge: {aside}.")
        return [in_units(sentence, self.unit) for sentence in said if sentence]

    @property
    def _mask_type(self) -> np.dtype:
        return np.dtype(np.uint16 if self.dataset.instances else np.uint8)

    @property
    def _length(self) -> int:
        last = self.records[-1]
        return last.start + last.height * last.width

    @cached_property
    def _masks(self) -> np.ndarray:
        return np.memmap(self.folder / "masks.bin", self._mask_type, "r")


def open_store(name: str, data: Path) -> Store:
    """The store of that name under `data`. The embedded one is drawn if it is not there; another is a ValueError."""
    if Path(name).name == name and (data / name / "index.json").exists():
        return Store(data / name)
    if name == DRAWN:
        return add(DRAWN, None, data)
    here = [path.parent.name for path in data.glob("[!.]*/index.json")]
    choose(name, sorted({*datasets.names(), *here} - {*OF_USERS}), "dataset")
    raise ValueError(
        f"The dataset '{name}' is not in {data}; get it ({datasets.get(name).source}) and run "
        f"`bench data add {shlex.quote(name)} PATH`."
    )


def scale_of(store: Store, run: Run) -> float:
    """The scale of a run on the images of `store`, as given or from its µm per pixel; enlarging is a ValueError."""
    if not run.mpp:
        return run.scale
    if not store.pixel_um:
        raise ValueError(
            f"The dataset '{store.name}' does not know how many µm a pixel has; add it again with `bench data add "
            f"{store.kind} PATH --mpp NUMBER`, or give --scale."
        )
    stored = round(store.scale * store.pixel_um, 6)
    if run.mpp < stored:
        raise ValueError(
            f"Images of '{store.name}' have {stored:g} µm per pixel, so --mpp {run.mpp:g} would enlarge them; give "
            f"{stored:g} or more."
        )
    return round(stored / run.mpp, 6)


def at_resolution(store: Store, run: Run) -> Store:
    """The store with images and masks at the resolution of a run; the only way from stored to reduced pixels.

    Images are reduced by area averaging, masks by the largest area (`benchmark.datasets.resample`), once for all runs:
    the result is kept in the folder of the store, appears whole or not at all, and is made again if the content of the
    store is no longer the same. Its content hash is that of the stored dataset, so a run is its content and its scale.
    """
    scale = scale_of(store, run)
    if scale == store.scale:
        return store
    stored = store if store.scale == 1 else Store(store.folder.parent)
    if scale == 1:
        return stored
    final = stored.folder / f"{SCALED}{scale}"
    if not _made_from(stored, final):
        with _writing(stored.folder), _unfinished(stored.folder, "scale") as folder:
            if not _made_from(stored, final):  # by the process that had the lock before
                _reduce(stored, scale, folder)
                _remove(final)
                _publish(folder, final)
    return Store(final)


def largest_crop(store: Store, split: str, scale: float) -> int:
    """The side of the largest crop that fits into every training image at a scale (`Record.largest_crop`)."""
    sides = []
    for place in store.split(split)["train"]:
        record = store.records[place]
        height, width = resample.size(record.height, record.width, scale)
        sides.append(replace(record, height=height, width=width).largest_crop)
    return min(sides)


def _made_from(stored: Store, folder: Path) -> bool:
    """Whether there is a whole store in `folder` that was made from this one."""
    try:
        return (folder / "index.json").exists() and Store(folder).content == stored.content
    except ValueError:
        return False


def add(
    kind: str, root: Path | None, data: Path, name: str = "", progress: Progress = lambda done, total, what: None,
    *, pixel_um: float | None = None, unit: str = PATIENT, instances: bool = False, cut: Cut | None = None,
) -> Store:  # fmt: skip
    """Reads every file of a dataset once, checks it, and makes the store `data/NAME`, whole or not at all.

    A store of the same name is replaced; a folder that is anything else is a ValueError, and so is one that holds the
    images or lies among them. The first file that is not as it should be is a ValueError that names it.
    `pixel_um` is the side of a pixel in micrometres, if it is known and the kind of dataset does not say it. `unit` is
    what patients.csv of a folder has in its column "patient": patients, or what the images are grouped by instead.
    With `instances` masks of a folder number objects, not classes. `cut` is how slides are cut into tiles.
    """
    dataset, name = datasets.get(kind), name or kind
    if kind == SLIDES:
        dataset.pixel_um, dataset.cut = pixel_um, cut or dataset.cut
    elif cut:
        raise ValueError(f"'{kind}' has images and no slides; leave out --tile, --slide-mpp and --complete.")
    if instances and kind != "folder":
        raise ValueError(f"The kind '{kind}' decides itself what its masks number; leave out --instances.")
    dataset.instances = instances or dataset.instances
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot name a dataset; use up to 60 letters (a to z), digits, '_' and '-'.")
    if name in datasets.names() and name != kind:
        raise ValueError(f"'{name}' is a kind of dataset itself; give this one another name.")
    if not UNIT.fullmatch(unit):
        raise ValueError(f"'{unit}' is no name of a unit; give one word in the singular, such as organ, slide or tile.")
    if unit != PATIENT and kind not in OF_USERS:
        raise ValueError(f"Images of '{kind}' are grouped by {dataset.unit}; another unit is for a folder of your own.")
    dataset.unit = unit if unit != PATIENT else dataset.unit
    if root is None and kind != DRAWN:
        raise ValueError(f"Say where '{kind}' lies: `bench data add {kind} PATH`; to be had from {dataset.source}.")
    if root is not None and not root.is_dir():
        raise ValueError(f"There is no folder {root}; give the one that holds the dataset, unpacked.")
    try:
        _check_target(data / name, root)
        items = dataset.items(root)
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read ({error.strerror}); change its permissions.") from error
    if not items:
        raise ValueError(f"There is no image of '{kind}' in {root}; give the folder that holds them: {dataset.size}.")
    if twice := [item for item, count in Counter(item.name for item in items).items() if count > 1]:
        raise ValueError(f"Two images of {root} are called '{twice[0]}'; rename one.")
    for path in (path for item in items for path in (item.image, item.mask) if path):
        check_name(path)
    with _writing(data), _unfinished(data, name) as folder:
        index = {"format": FORMAT, "kind": kind, "pixel_um": pixel_um, "unit": dataset.unit, "instances": instances}
        _write_index(index | _write(folder, dataset, name, root, items, progress), folder)
        _publish(folder, data / name)
    return Store(data / name)


# ----------------------------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class _Read:
    """An image as a reader hands it over."""

    image: np.ndarray
    mask: np.ndarray | None
    notes: tuple[str, ...]
    values: list[int]
    image_hash: str
    mask_hash: str
    fingerprint: str


def _read(dataset: Dataset, item: Item) -> _Read:
    image, mask, *notes = dataset.read(item)
    image = np.ascontiguousarray(image)
    if mask is not None:
        mask = np.ascontiguousarray(mask, np.uint16 if dataset.instances else np.uint8)
    values = [] if mask is None else [int(mask.any())] if dataset.instances else values_in(mask)
    mask_hash = "" if mask is None else _hash(mask)
    return _Read(image, mask, tuple(notes), values, _hash(image), mask_hash, fingerprint(image))


def _in_order(dataset: Dataset, items: Sequence[Item]) -> Iterator[tuple[Item, _Read]]:
    """Reads ahead with a few threads, each one image at most, and gives the images in their order."""
    with ThreadPoolExecutor(READERS) as readers:
        waiting: deque[tuple[Item, Future[_Read]]] = deque()
        try:
            for item in items:
                waiting.append((item, readers.submit(_read, dataset, item)))
                if len(waiting) == READERS:
                    item, future = waiting.popleft()
                    yield item, future.result()
            while waiting:
                item, future = waiting.popleft()
                yield item, future.result()
        finally:
            readers.shutdown(cancel_futures=True)


def _write(
    folder: Path, dataset: Dataset, name: str, root: Path | None, items: Sequence[Item], progress: Progress
) -> dict[str, Any]:
    """Fills the folder of a store with images and masks; what the index is to say of them."""
    records: list[Record] = []
    present: dict[str, list[int]] = {}  # the class numbers in each mask
    values: dict[int, str] = {}
    notes: dict[str, list[str]] = {}
    start, width = 0, 2 if dataset.instances else 1
    with open(folder / "images.bin", "wb") as images, open(folder / "masks.bin", "wb") as masks:
        for item, read in _in_order(dataset, items):
            images.write(read.image.data)
            if read.mask is not None:
                masks.seek(width * start)
                masks.write(read.mask.data)
                present[item.name] = read.values
            for value in read.values:
                values.setdefault(value, item.name)
            for note in read.notes:
                notes.setdefault(note, []).append(item.name)
            height, width_ = read.image.shape[:2]
            records.append(
                Record(
                    item.name,
                    item.patient,
                    item.slide,
                    item.stratum,
                    tuple(item.tags),
                    height,
                    width_,
                    start,
                    read.mask is not None,
                    read.image_hash,
                    read.mask_hash,
                    read.fingerprint,
                )
            )
            start += height * width_
            progress(len(records), len(items), item.name)
        masks.truncate(width * start)
        _sync(images, masks)
    dataset.classes = dataset.settle(root, values, notes)
    masks = np.memmap(folder / "masks.bin", np.uint16 if dataset.instances else np.uint8, "r+")
    records = _corrected(records, dataset, masks, present)
    masks.flush()
    ignore = any(IGNORE in found for found in present.values()) and not dataset.instances
    said = [f"{len(names)} × {note} ({_examples(names)})." for note, names in notes.items()] + _copies(records)
    said += [
        *dataset.noticed,
        *(_ignored(records, masks, present) if ignore else []),
        *_absent(dataset, records, name, present),
        *_in_two_parts(dataset, records, name),
    ]
    return {
        "classes": dataset.classes,
        "notes": said,
        "ignore": IGNORE if ignore else None,
        "records": [asdict(record) for record in records],
    }


def _corrected(
    records: Sequence[Record], dataset: Dataset, masks: np.ndarray, present: dict[str, list[int]]
) -> list[Record]:
    """The records once the dataset has corrected the stored masks, knowing them all; `present` follows."""
    corrected = []
    for record in records:
        flat = masks[record.start : record.start + record.height * record.width]
        mask = flat.reshape(record.height, record.width)
        new = dataset.correct(record.name, mask) if record.annotated else None
        if new is not None:
            mask[:] = new
            present[record.name] = values_in(mask)
            record = replace(record, mask_hash=_hash(mask))
        corrected.append(record)
    return corrected


def _ignored(records: Sequence[Record], masks: np.ndarray, present: Mapping[str, Sequence[int]]) -> list[str]:
    """What to say of the ignore label."""
    pixels, ignored, names = 0, 0, []
    for record in records:
        if not record.annotated:
            continue
        pixels += record.height * record.width
        if IGNORE in present[record.name]:
            flat = masks[record.start : record.start + record.height * record.width]
            ignored += int(np.count_nonzero(flat == IGNORE))
            names.append(record.name)
    return [
        f"Ignore label {IGNORE}: {ignored / pixels:.2%} of all pixels, in {len(names)} masks ({_examples(names)}), are "
        "in no loss and in no score."
    ]


def _absent(dataset: Dataset, records: Sequence[Record], name: str, present: Mapping[str, Sequence[int]]) -> list[str]:
    """What to say of classes that masks, or the masks of a part of a split, do not hold. Checks all splits."""
    found = {image: set(values) - {0, IGNORE} for image, values in present.items()}
    drawn = set().union(*found.values())
    said = []
    if found and not drawn:
        said.append(
            "No mask holds an object, so no score can be computed; check that objects are drawn in white (255) or with "
            "class numbers above 0."
        )
    elif empty := [image for image, classes in found.items() if not classes]:
        said.append(f"{len(empty)} × mask without any object ({_examples(empty)}).")
    for split in dataset.offered(records):
        for part, places in _parts(dataset, split, records, name).items():
            held = set().union(*(found[records[i].name] for i in places if records[i].annotated))
            if drawn - held and part != "val":
                classes = ", ".join(dataset.classes[c] for c in sorted(drawn - held))
                said.append(f"Split {split}: no mask of its {part} images holds {classes}.")
    return said


def _in_two_parts(dataset: Dataset, records: Sequence[Record], name: str) -> list[str]:
    """What to say of test images that are among the training images, with or without their masks."""
    said = []
    for split in dataset.offered(records):
        parts = _parts(dataset, split, records, name)
        training = {records[place].image_hash: records[place].name for place in parts["train"]}
        test = [records[place] for place in parts["test"] if records[place].image_hash in training]
        if test:
            pairs = [f"{record.name} = {training[record.image_hash]}" for record in test]
            said.append(
                f"Split {split}: {some(len(test), 'test image')} with the same pixels as a training image "
                f"({_examples(pairs)}), so test scores are too high; remove one of each."
            )
    return said


def _reduce(stored: Store, scale: float, folder: Path) -> None:
    """Fills the folder of a store with the images and masks of another at a smaller scale, the index last."""
    rows, start, width = [], 0, stored._mask_type.itemsize
    with open(folder / "images.bin", "wb") as images, open(folder / "masks.bin", "wb") as masks:
        for place, record in enumerate(stored.records):
            shape = resample.size(record.height, record.width, scale)
            image = np.ascontiguousarray(resample.average(stored.image(place), shape))
            images.write(image.data)
            mask_hash = ""
            if record.annotated:
                mask = resample.majority(stored.mask(place), shape)
                masks.seek(width * start)
                masks.write(mask.data)
                mask_hash = _hash(mask)
            height, width_ = shape
            rows.append(
                asdict(record)
                | {"height": height, "width": width_, "start": start}
                | {"image_hash": _hash(image), "mask_hash": mask_hash}
            )
            start += height * width_
        masks.truncate(width * start)
        _sync(images, masks)
    index = msgspec.to_builtins(_index(stored.folder)) | {
        "scale": scale,
        "pixel_um": stored.pixel_um and stored.pixel_um / scale,
        "records": rows,
    }
    _write_index(index, folder)


def _write_index(index: dict, folder: Path) -> None:
    with open(folder / "index.json", "w", encoding="utf-8") as file:
        json.dump(sealed(index), file, ensure_ascii=False, separators=(",", ":"))
        _sync(file)


def _sync(*files: IO) -> None:
    """Makes what was written durable."""
    for file in files:
        file.flush()
        os.fsync(file.fileno())


def _copies(records: Sequence[Record]) -> list[str]:
    """What to say of images with the same pixels; different masks for them are a ValueError."""
    first: dict[str, Record] = {}
    copies = []
    for record in records:
        other = first.setdefault(record.image_hash, record)
        if other is record:
            continue
        if other.annotated and record.annotated and other.mask_hash != record.mask_hash:
            raise ValueError(
                f"'{other.name}' and '{record.name}' are the same image with different masks; remove the wrong one."
            )
        copies.append(f"{record.name} = {other.name}")
    return [f"{len(copies)} with the same pixels as another image ({_examples(copies)})."] if copies else []


def _parts(dataset: Dataset, split: str, records: Sequence[Record], name: str) -> dict[str, list[int]]:
    """The parts of a split, checked: disjoint, and each with something to learn from or to judge by."""
    found = dataset.parts(split, records)
    parts = {part: sorted(found[part]) for part in PARTS}
    places = [place for members in parts.values() for place in members]
    if len(places) != len(set(places)):
        twice = next(place for place, count in Counter(places).items() if count > 1)
        raise ValueError(f"Split '{split}' of '{name}' has '{records[twice].name}' in two parts; leave it in one.")
    for part in ("train", "test"):
        if not any(records[place].annotated for place in parts[part]):
            raise ValueError(f"Split '{split}' of '{name}' has no annotated image in {part}; give it at least one.")
    return parts


def _hash(array: np.ndarray) -> str:
    """Of the size and every value of an image or a mask."""
    found = hashlib.sha256(f"{array.shape[0]} {array.shape[1]} ".encode())
    found.update(array.data)
    return found.hexdigest()[:32]


def sealed(index: dict[str, Any]) -> dict[str, Any]:
    """The index of a store with the hash of its `content` and, over all of the index, its `seal`.

    A store at a reduced resolution keeps the content of the one that it was made from.
    """
    index = {name: value for name, value in index.items() if name != "seal"}
    if index.get("scale", 1) == 1:
        index["content"] = _content(index["records"], index["classes"], index.get("ignore"))
    return {**index, "seal": _text_hash(index)}


def _content(rows: Sequence[dict], classes: Sequence[str], ignore: int | None) -> str:
    """Of all that can decide a result: pixels, masks, names, patients, strata and classes; not of where they lay."""
    rows = [{field: value for field, value in row.items() if field != "fingerprint"} for row in rows]
    return _text_hash([list(classes), rows, *([] if ignore is None else [{"ignore": ignore}])])


def _text_hash(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


# ----------------------------------------------------------------------------------------------------------------------
# The folder of a store


class _Index(msgspec.Struct):
    """What `index.json` holds."""

    format: int
    kind: str
    content: str
    classes: tuple[str, ...]
    notes: list[str]
    records: list[Record]
    ignore: int | None = None  # the number of pixels that are in no loss and in no score
    instances: bool = False  # masks number objects, as asked for when the dataset was added
    scale: float = 1.0
    pixel_um: float | None = None
    unit: str = PATIENT
    seal: str = ""  # of all of the index; older stores have none


def _index(folder: Path) -> _Index:
    """The index of a store, checked: complete, consistent, and unchanged since it was written."""
    path = folder / "index.json"
    check_regular(path)
    try:
        raw = msgspec.json.decode(path.read_bytes())
        if isinstance(raw, dict) and raw.get("format") == FORMAT:
            index = msgspec.convert(raw, _Index)
            _check_index(index, raw)
            return index
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is damaged or was changed ({error}); {_again(folder)}.") from error
    found = f"has format {raw.get('format')}" if isinstance(raw, dict) else "is not the index of a store"
    raise ValueError(f"{path} {found}, and this version reads format {FORMAT}; {_again(folder)}.")


def _check_index(index: _Index, raw: dict[str, Any]) -> None:
    start = 0
    for record in index.records:
        if record.start != start or record.height < 1 or record.width < 1:
            raise ValueError(f"size or start of '{record.name}' cannot be right")
        start += record.height * record.width
    if not index.records or len({record.name for record in index.records}) < len(index.records):
        raise ValueError("it names no image, or one twice")
    if len(index.classes) < 2:
        raise ValueError("it names fewer than two classes")
    resealed = sealed(raw)
    if index.content != resealed["content"] or index.seal not in ("", resealed["seal"]):
        raise ValueError("it does not match its own hash")


def _name(folder: Path) -> str:
    """The name of the dataset that a store holds, whatever its resolution."""
    return (folder.parent if folder.name.startswith(SCALED) else folder).name


def _again(folder: Path, kind: str = "KIND") -> str:
    """The remedy for a store that is not as it was written."""
    if folder.name.startswith(SCALED):
        return f"delete the folder {shlex.quote(str(folder))}, and it is made again"
    name = "" if folder.name == kind else f" --name {shlex.quote(folder.name)}"
    return f"add the dataset again: `bench data add {kind} PATH{name}`"


def _check_target(target: Path, root: Path | None) -> None:
    """Refuses to write a store where something else lies, or among the images that are to be read."""
    remedy = "give another --name, or another folder with --data"
    if target.is_symlink():
        raise ValueError(f"{target} is a symbolic link, and what it leads to is not replaced; {remedy}.")
    place = target.resolve()
    for source in [] if root is None else [root, *(path for path in sorted(root.iterdir()) if path.is_dir())]:
        real = source.resolve()
        if place == real or place in real.parents:
            raise ValueError(f"The images in {source} lie inside the store that is to be written, {target}; {remedy}.")
        if real in place.parents:
            raise ValueError(f"The store {target} would lie inside {source}, which is only read; {remedy}.")
    if not target.exists():
        return
    if not target.is_dir():
        raise ValueError(f"{target} is a file; {remedy}.")
    others = [path.name for path in sorted(target.iterdir()) if not _written_here(path)]
    if others:
        raise ValueError(f"{target} holds what is not of a store ({_examples(others)}), so it is kept; {remedy}.")
    if any(target.iterdir()) and not _is_store(target):
        raise ValueError(f"{target} is not a store that `bench data add` wrote, so it is kept; {remedy}.")


def _is_store(folder: Path) -> bool:
    """Whether `bench data add` wrote it, also before stores had a seal, and even if its index was damaged since."""
    index = folder / "index.json"
    if not index.is_file():
        return False
    with open(index, "rb") as file:
        begins = file.read(40)
    return b'"format":' in begins or all((folder / name).is_file() for name in ("images.bin", "masks.bin"))


def _written_here(path: Path) -> bool:
    """Whether a file has a name that is given here, or a folder is a store at a reduced resolution and nothing else."""
    if path.is_dir() and not path.is_symlink():
        return path.name.startswith(SCALED) and all(map(_written_here, path.iterdir()))
    return path.name in (*FILES, LOCK) or any(path.name.startswith(f".{name}.") for name in FILES)


def _remove(folder: Path) -> None:
    """Deletes a store, and of another folder nothing but such files."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and _written_here(path):
            _remove(path)
        elif _written_here(path):
            path.unlink()
    with contextlib.suppress(OSError):  # something else is in it, so it stays
        folder.rmdir()


@contextlib.contextmanager
def _writing(data: Path) -> Iterator[None]:
    """Says in a sentence why a folder cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(
                f"The disk of {data} is full; free some space or give another folder with --data."
            ) from error
        raise ValueError(f"{data} cannot be written ({error.strerror}); give another folder with --data.") from error


@contextlib.contextmanager
def _unfinished(data: Path, name: str) -> Iterator[Path]:
    """A folder to fill, gone at the end; what killed processes have left goes, too.

    One process at a time: the others wait for a lock, which the operating system lifts when its owner ends.
    """
    data.mkdir(parents=True, exist_ok=True)
    with open(data / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in data.glob(f".*{UNFINISHED}"):
            _remove(left)
        for left in data.glob(f".*{REPLACED}"):
            old = data / left.name[1:].removesuffix(REPLACED)
            if old.exists():
                _remove(left)
            elif _is_store(left):
                left.rename(old)
        folder = Path(tempfile.mkdtemp(dir=data, prefix=f".{name}-", suffix=UNFINISHED))
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            _remove(folder)


def _publish(folder: Path, final: Path) -> None:
    """Gives a filled folder its name; the store that had it is moved aside first, unless it is the same."""
    aside = final.with_name(f".{final.name}{REPLACED}")
    if final.exists():
        if all(_same(folder / name, final / name) for name in ("index.json", "images.bin", "masks.bin")):
            return
        _check_target(final, None)
        os.rename(final, aside)
    try:
        os.rename(folder, final)
    except OSError:
        if aside.exists():
            os.rename(aside, final)
        raise
    handle = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    _remove(aside)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)


# ----------------------------------------------------------------------------------------------------------------------
# Words


def _how_many(records: Sequence[Record], unit: str) -> str:
    units, annotated = len({record.patient for record in records}), sum(record.annotated for record in records)
    masks = "" if annotated == len(records) else f" ({annotated} annotated)"
    return f"{some(len(records), 'image')}{masks} of {some(units, unit)}"


def _listed(before: str, words: Sequence[str]) -> str:
    return before + ", ".join(words) if words else ""


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
