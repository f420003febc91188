"""`index.json` of a store: what it holds, how it is hashed, and how it is checked when it is read."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from benchmark.datasets.base import Record
from benchmark.datasets.images import check_regular
from benchmark.words import PATIENT

FORMAT = 1  # of the index; raised when a field changes its meaning
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")  # of a dataset; it is part of the names of run records
FILES = ("index.json", "images.bin", "masks.bin", "contact_sheet.png")  # all files of a store
SCALED = ".scale-"  # begins the names of stores at a reduced resolution, inside their store


class Index(msgspec.Struct):
    """The content of `index.json`."""

    format: int
    kind: str
    content: str  # hash of everything that can decide a result
    classes: tuple[str, ...]
    notes: list[str]
    records: list[Record]
    ignore: int | None = None  # the number of pixels that are excluded from loss and scores
    instances: bool = False  # masks number objects, as asked for when the dataset was added
    scale: float = 1.0
    pixel_um: float | None = None
    unit: str = PATIENT
    seal: str = ""  # hash of the whole index; older stores have none


def read_index(folder: Path) -> Index:
    """The index of a store.

    Raises:
        ValueError: it is missing a field, inconsistent, was changed since it was written, or has another format.
    """
    path = folder / "index.json"
    check_regular(path)
    try:
        raw = msgspec.json.decode(path.read_bytes())
        if isinstance(raw, dict) and raw.get("format") == FORMAT:
            index = msgspec.convert(raw, Index)
            _check(index, raw)
            return index
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is damaged or was changed ({error}); {how_to_add_again(folder)}.") from error
    problem = f"has format {raw.get('format')}" if isinstance(raw, dict) else "is not the index of a store"
    raise ValueError(f"{path} {problem}, and this version reads format {FORMAT}; {how_to_add_again(folder)}.")


def write_index(index: dict[str, Any], folder: Path) -> None:
    """Writes the index, with its hashes, into the folder of an unfinished store."""
    with open(folder / "index.json", "w", encoding="utf-8") as file:
        json.dump(sealed(index), file, ensure_ascii=False, separators=(",", ":"))
        flush(file)


def flush(*files: IO) -> None:
    """Writes what is in the buffers of open files to disk."""
    for file in files:
        file.flush()
        os.fsync(file.fileno())


def sealed(index: dict[str, Any]) -> dict[str, Any]:
    """The index with the hash of its `content` and, over the whole index, its `seal`.

    A store at a reduced resolution keeps the content hash of the store that it was made from.
    """
    index = {name: value for name, value in index.items() if name != "seal"}
    if index.get("scale", 1) == 1:
        index["content"] = _content(index["records"], index["classes"], index.get("ignore"))
    return {**index, "seal": _text_hash(index)}


def array_hash(array: np.ndarray) -> str:
    """Hash of the size and every value of an image or a mask."""
    digest = hashlib.sha256(f"{array.shape[0]} {array.shape[1]} ".encode())
    digest.update(array.data)
    return digest.hexdigest()[:32]


def dataset_name(folder: Path) -> str:
    """The name of the dataset in a store, at whatever resolution."""
    return (folder.parent if folder.name.startswith(SCALED) else folder).name


def how_to_add_again(folder: Path, kind: str = "KIND") -> str:
    """The remedy, in an error, for a store that is damaged or was changed."""
    if folder.name.startswith(SCALED):
        return f"delete the folder {shlex.quote(str(folder))}, and it is made again"
    name = "" if folder.name == kind else f" --name {shlex.quote(folder.name)}"
    return f"add the dataset again: `bench data add {kind} PATH{name}`"


def _check(index: Index, raw: dict[str, Any]) -> None:
    """A ValueError, the end of a sentence, if an index is inconsistent."""
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


def _content(records: Sequence[dict], classes: Sequence[str], ignore: int | None) -> str:
    """Hash of pixels, masks, names, patients, strata and classes, which can decide a result; not of file paths."""
    records = [{field: value for field, value in record.items() if field != "fingerprint"} for record in records]
    return _text_hash([list(classes), records, *([] if ignore is None else [{"ignore": ignore}])])


def _text_hash(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
