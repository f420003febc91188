"""Whatever bytes a mask, a table, a list of classes or an index has: it is read, or refused with one sentence."""

import copy
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark import machine
from benchmark.datasets.folder import Folder
from benchmark.datasets.images import black_and_white, read_image, read_mask
from benchmark.datasets.store import Store
from benchmark.datasets.store.index import sealed
from benchmark.datasets.tables import read_table, read_text

CASES = 300  # of each test; together with the fuzzing of other readers they stay under a minute
fuzzed = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def place():
    """A folder of its own, as function-scoped ones are not made again for every case; headers may not ask for GBs."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(machine, "memory_left", lambda: 2 * 10**8):
        yield Path(folder)


def read_or_refused(read: Callable[[], Any], named: Path) -> Any:
    """What was read; an error is a ValueError of our own, in one sentence that names the file."""
    try:
        return read()
    except ValueError as error:
        text = str(error)
        assert type(error) is ValueError, f"the interpreter's own words: {error!r}"
        assert named.name in text and "\n" not in text and text.endswith("."), text
        return None


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def files() -> list[bytes]:
    """Masks and images in every format that is read, as they should be."""
    labels = np.random.default_rng(0).integers(0, 4, (9, 11), np.uint8)
    grey, deep = Image.fromarray(labels), Image.fromarray(labels.astype(np.uint16) * 900)
    palette, bits = Image.fromarray(labels, "P"), Image.fromarray(labels > 1)
    palette.putpalette([0, 0, 0, 9, 200, 7, 255, 255, 255, 3, 4, 5])
    colour = Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 11, 3), np.uint8))
    lossless = [encoded(picture, kind) for picture in (grey, palette, bits, colour) for kind in ("PNG", "TIFF", "BMP")]
    tiffs = [encoded(grey, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    others = [
        encoded(deep, "PNG"),
        encoded(deep, "TIFF"),
        encoded(colour.convert("RGBA"), "PNG"),
        encoded(grey, "JPEG"),
    ]
    webp = [encoded(colour, "WEBP", lossless=lossless_) for lossless_ in (True, False)]
    return lossless + tiffs + others + webp + [encoded(bits, "TIFF", compression="group4")]


FILES = files()


@st.composite
def damaged(draw: st.DrawFn, wholes: list[bytes]) -> bytes:
    """A file of which some bytes are others, some are missing, or some are too many; or bytes without any sense."""
    raw = bytearray(draw(st.sampled_from(wholes)))
    for at in draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=6)):
        raw[at] = draw(st.integers(0, 255))
    how = draw(st.sampled_from(["as it is", "cut", "more", "senseless"]))
    if how == "cut":
        raw = raw[: draw(st.integers(0, len(raw)))]
    elif how == "more":
        at = draw(st.integers(0, len(raw)))
        raw[at:at] = draw(st.binary(max_size=20))
    return draw(st.binary(max_size=60)) if how == "senseless" else bytes(raw)


@fuzzed
@given(raw=damaged(FILES), suffix=st.sampled_from([".png", ".jpg", ".tif", ".bmp", ".webp"]))
def test_any_bytes_are_a_mask_or_an_error(place, raw, suffix):
    path = place / f"mask{suffix}"
    path.write_bytes(raw)
    values = read_or_refused(lambda: read_mask(path), path)
    if values is None:
        return
    assert values.dtype in (np.uint8, np.uint16) and values.ndim == 2 and values.size
    for encode in (black_and_white, Folder().encode):
        classes = read_or_refused(lambda encode=encode: encode(values, path), path)
        assert classes is None or (classes.shape == values.shape and classes.dtype == np.uint8)


@fuzzed
@given(raw=damaged(FILES), suffix=st.sampled_from([".png", ".jpg", ".tif", ".bmp", ".webp"]))
def test_any_bytes_are_an_image_or_an_error(place, raw, suffix):
    path = place / f"image{suffix}"
    path.write_bytes(raw)
    pixels = read_or_refused(lambda: read_image(path), path)
    assert pixels is None or (pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3)


TABLES = [b"image,patient\na,1\nb,2\n", b"\xef\xbb\xbfimage;patient\r\na;1\r\n", 'image\tpatient\n"ä, b"\t1\n'.encode()]


@fuzzed
@given(raw=damaged(TABLES) | st.text(alphabet='image,patient;"\t\r\n ä\u2028\0', max_size=60).map(str.encode))
def test_any_bytes_are_a_table_or_an_error(place, raw):
    path = place / "patients.csv"
    path.write_bytes(raw)
    rows = read_or_refused(lambda: read_table(path, ("image", "patient")), path)
    assert rows is None or (rows and all(row["image"] and row["patient"] for row in rows))
    read_or_refused(lambda: read_text(path), path)


LEAVES = st.none() | st.booleans() | st.integers(-2, 10**20) | st.floats(allow_nan=False) | st.text(max_size=9)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


@st.composite
def changed_index(draw: st.DrawFn, index: dict) -> dict:
    """An index of which a few places hold something else."""
    index = copy.deepcopy(index)
    for _ in range(draw(st.integers(1, 3))):
        at: Any = index
        while True:
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
            if not (isinstance(at[key], dict | list) and at[key]) or draw(st.booleans()):
                break
            at = at[key]
        if draw(st.booleans()):
            at[key] = draw(JSON)
        else:
            del at[key]
        if not index:
            break
    return index


@pytest.fixture(scope="module")
def written(data, place) -> tuple[Path, dict]:
    """A copy of a store with few images, and its index."""
    index = json.loads((data / "toy" / "index.json").read_bytes())
    index["records"] = index["records"][:4]
    pixels = sum(record["height"] * record["width"] for record in index["records"])
    (place / "toy").mkdir()
    (place / "toy" / "images.bin").write_bytes(bytes(3 * pixels))
    (place / "toy" / "masks.bin").write_bytes(bytes(pixels))
    return place / "toy", sealed(index)


@fuzzed
@given(choices=st.data(), sealed=st.booleans())
def test_any_index_is_a_store_or_an_error(written, choices, sealed):
    folder, index = written
    changed = choices.draw(changed_index(index))
    if sealed:  # as if it had been written so, to get behind the comparison with its hash
        try:
            changed = sealed(changed)
        except (KeyError, TypeError, AttributeError, ValueError):
            assume(False)
    (folder / "index.json").write_text(json.dumps(changed), encoding="utf-8")
    read_or_refused(lambda: Store(folder), folder)


@fuzzed
@given(choices=st.data())
def test_any_bytes_are_an_index_or_an_error(written, choices):
    folder, index = written
    (folder / "index.json").write_bytes(choices.draw(damaged([json.dumps(index).encode(), b"[]", b"{}"])))
    read_or_refused(lambda: Store(folder), folder)
