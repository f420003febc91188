"""Image and mask files that would start a program, never end, fill the memory, or be read wrongly without a word."""

import ast
import os
import socket
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from benchmark import machine
from benchmark.datasets.images import FORMATS, black_and_white, is_lossy, pictures, read_image, read_mask

ROOT = Path(__file__).parents[2]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 20\n0 0 30 20 rectfill\nshowpage\n%%EOF\n"


def disc(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) ** 2 + (x - width / 2) ** 2 < 144).astype(np.uint8)


def sentence(error) -> str:
    """The message of an error, checked to be one line that ends like a sentence."""
    text = str(error.value)
    assert "\n" not in text and text.endswith("."), text
    return text


@pytest.fixture
def no_program(monkeypatch):
    """Fails if anything starts another program."""

    def started(*arguments, **options):
        raise AssertionError(f"a program was started: {arguments}")

    for name in ("Popen", "run", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, started)
    monkeypatch.setattr(os, "system", started)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize(
    "content",
    [
        POSTSCRIPT,
        b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 32, len(POSTSCRIPT), 0, 0, 0, 0) + b"\0" * 4 + POSTSCRIPT,
        b"%PDF-1.4\n%%EOF\n",
        b"\xd7\xcd\xc6\x9a" + b"\0" * 60,
        b"GIF89a" + b"\0" * 60,
        b"SIMPLE  =                    T" + b" " * 2900,
    ],
    ids=["postscript", "dos-postscript", "pdf", "wmf", "gif", "fits"],
)
def test_only_the_named_formats_are_opened_whatever_a_file_is_called(tmp_path, no_program, read, content):
    path = tmp_path / "a1.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not an image that can be read") as error:
        read(path)
    sentence(error)


def test_every_place_that_opens_an_image_names_the_formats():
    calls = [
        (path, call)
        for room in ("benchmark", "methods")
        for path in (ROOT / room).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Image.open"
    ]
    assert calls
    for path, call in calls:
        assert "formats" in {keyword.arg for keyword in call.keywords}, f"{path}: {ast.unparse(call)}"
    assert set(FORMATS) == {"PNG", "JPEG", "TIFF", "BMP", "WEBP"}


@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a folder", "a device"])
def test_what_is_not_a_regular_file_is_refused_before_it_is_opened(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # the path of a socket has 108 bytes at most
    path = Path("a.png")
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for read in (read_image, read_mask, lambda path: pictures(path.parent), lambda path: pictures(path.parent, True)):
        with pytest.raises(ValueError, match=f"{kind}, not a regular file; remove it") as error:
            read(path)
        sentence(error)


def test_links_to_files_are_followed_and_dangling_ones_are_named(tmp_path):
    Image.fromarray(disc()).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert np.array_equal(read_mask(tmp_path / "b.png"), disc())
    for target in ("absent.png", "c.png"):
        (tmp_path / "c.png").unlink(missing_ok=True)
        (tmp_path / "c.png").symlink_to(target)
        with pytest.raises(ValueError, match=r"c\.png cannot be opened"):
            pictures(tmp_path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"tum\xf6r.png", r"tum\\udcf6r\.png' in .* is not UTF-8"), (b"a\nb.png", "control"), (b"a\x1b[2Jb.png", "x1b")],
)
def test_file_names_that_cannot_be_written_are_named(tmp_path, name, shown):
    with open(os.fsencode(tmp_path) + b"/" + name, "wb"):
        pass
    with pytest.raises(ValueError, match=shown) as error:
        pictures(tmp_path)
    assert sentence(error).isprintable()


def png(width: int, height: int, bits: int, kind: int, rows: bytes = b"") -> bytes:
    """A PNG file of these rows, each with its leading filter byte, whatever its header says."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("content", [png(46_000, 46_000, 8, 2), bmp(46_000, 46_000)], ids=["png", "bmp"])
def test_the_size_is_checked_against_the_memory_before_decoding(tmp_path, monkeypatch, content):
    monkeypatch.setattr(machine, "memory_left", lambda: 8 * 10**9)
    monkeypatch.setattr(Image.core, "fill", None)  # nothing of that size may be made
    monkeypatch.setattr(Image.core, "new", None)
    path = tmp_path / "vast.png"
    path.write_bytes(content)
    for read in (read_image, read_mask):
        with pytest.raises(
            ValueError, match=r"46000 × 46000 .* 25\.4 GB .* 8\.0 GB of main memory are free; cut"
        ) as error:
            read(path)
        sentence(error)


def test_memory_that_runs_out_while_decoding_is_said_in_a_sentence(tmp_path, monkeypatch):
    Image.fromarray(disc()).save(tmp_path / "a.png")

    def full(self):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(ValueError, match="cut it into smaller images"):
        read_mask(tmp_path / "a.png")


def test_an_image_without_pixels_is_refused(tmp_path):
    for size in ((0, 5), (5, 0)):
        (tmp_path / "a.png").write_bytes(png(*size, 8, 0))
        with pytest.raises(ValueError, match=r"a\.png"):
            read_image(tmp_path / "a.png")


# ----------------------------------------------------------------------------------------------------------------------
# Masks


LOSSY = {
    "jpeg": lambda image, path: image.save(path, "JPEG", quality=90),
    "jpeg-in-tiff": lambda image, path: image.save(path, "TIFF", compression="jpeg"),
    "webp": lambda image, path: image.save(path, "WEBP", quality=80),
    "webp-with-alpha": lambda image, path: image.convert("RGBA").save(
        path, "WEBP", quality=80, exact=True, exif=Image.Exif()
    ),
}
LOSSLESS = {
    "png": lambda image, path: image.save(path, "PNG"),
    "bmp": lambda image, path: image.save(path, "BMP"),
    "tiff": lambda image, path: image.save(path, "TIFF"),
    "lzw": lambda image, path: image.save(path, "TIFF", compression="tiff_lzw"),
    "deflate": lambda image, path: image.save(path, "TIFF", compression="tiff_adobe_deflate"),
    "webp": lambda image, path: image.save(path, "WEBP", lossless=True),
}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("how", LOSSY)
def test_loss_is_judged_by_the_compression_and_not_by_the_suffix(tmp_path, how, suffix):
    path = tmp_path / f"m{suffix}"
    for numbers in (disc(), 2 * disc(), 20 * disc(), 90 * disc()):
        LOSSY[how](Image.fromarray(numbers), path)
        assert is_lossy(path)
        with pytest.raises(ValueError, match="compressed with loss.*save masks as PNG") as error:
            black_and_white(read_mask(path), path)
        sentence(error)
    LOSSY[how](Image.fromarray(255 * disc()), path)
    assert np.array_equal(black_and_white(read_mask(path), path), disc())
    LOSSY[how](Image.fromarray(0 * disc()), path)
    assert not black_and_white(read_mask(path), path).any()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("how", LOSSLESS)
def test_without_loss_class_numbers_are_taken_whatever_the_suffix(tmp_path, how, suffix):
    path = tmp_path / f"m{suffix}"
    LOSSLESS[how](Image.fromarray(2 * disc()), path)
    assert not is_lossy(path)
    assert np.array_equal(read_mask(path), 2 * disc())


def test_three_levels_of_grey_are_not_black_and_white_with_soft_edges(tmp_path):
    levels = 255 * disc()
    levels[4:14, 4:14] = 127
    for how, suffix in ((LOSSY["jpeg"], ".jpg"), (LOSSLESS["png"], ".png")):
        how(Image.fromarray(levels), tmp_path / f"m{suffix}")
        with pytest.raises(ValueError, match="is not a black-and-white mask"):
            black_and_white(read_mask(tmp_path / f"m{suffix}"), tmp_path / f"m{suffix}")
    soft = Image.fromarray(255 * disc()).resize((360, 240), Image.Resampling.BICUBIC)
    soft.save(tmp_path / "soft.png")
    assert black_and_white(read_mask(tmp_path / "soft.png"), tmp_path / "soft.png").mean() == pytest.approx(
        disc().mean(), rel=0.05
    )


def test_of_palettes_the_indices_are_the_numbers_and_an_unusual_background_is_said(tmp_path):
    white_first, black_first, grey = ([255] * 3 + [0] * 3, [0] * 3 + [255] * 3, [0] * 3 + [90] * 3)
    blue_first = [0, 0, 255, 255, 0, 0]
    for colours, said in ((white_first, "white"), (blue_first, "#0000ff"), (black_first, ""), (grey, "")):
        picture = Image.fromarray(disc(), "P")
        picture.putpalette(colours)
        for suffix in (".png", ".tif", ".bmp")[: 2 if colours == black_first else 3]:
            picture.save(tmp_path / f"m{suffix}")
            notes = []
            assert np.array_equal(read_mask(tmp_path / f"m{suffix}", notes), disc()), (colours, suffix)
            assert [said in note for note in notes] == [True] * bool(said), notes


def test_min_is_white_says_what_was_read(tmp_path):
    path = tmp_path / "m.tif"

    def read(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """What is read of a file whose tag of what 0 means is changed, but not its data."""
        Image.fromarray(values).save(path)
        raw = bytearray(path.read_bytes())
        raw[raw.index(struct.pack("<HHII", 262, 3, 1, 1)) + 8] = 0
        path.write_bytes(raw)
        notes = []
        return read_mask(path, notes), notes

    for values in (disc(), 2 * disc(), 255 * disc()):
        found, notes = read(values)
        assert np.array_equal(found, values)
        assert notes == ['TIFF mask "min is white", read as its stored numbers: 0, shown in white, is background']
    found, notes = read(disc() > 0)
    assert np.array_equal(found, 1 - disc())
    assert notes == ['1-bit TIFF mask "min is white", read as it is shown: white is foreground']


@pytest.mark.parametrize("compression", [0, 1])
def test_bmp_files_that_pillow_reads_with_too_few_bits_are_refused(tmp_path, compression):
    """It takes 8-bit indices for single bits where a palette is black and white, and the mask becomes empty."""
    picture = Image.fromarray(disc(), "P")
    picture.putpalette([0] * 3 + [255] * 3)
    picture.save(tmp_path / "m.bmp")
    raw = bytearray((tmp_path / "m.bmp").read_bytes())
    raw[30] = compression
    (tmp_path / "m.bmp").write_bytes(raw)
    for read in (read_mask, read_image):
        with pytest.raises(ValueError, match=r"m\.bmp is a BMP file with a palette.*save it as PNG") as error:
            read(tmp_path / "m.bmp")
        sentence(error)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_holds_the_numbers_themselves(tmp_path, bits):
    numbers = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**bits
    packed = np.packbits(np.unpackbits(numbers[..., None], axis=-1)[..., -bits:].reshape(2, -1), axis=1)
    (tmp_path / "m.png").write_bytes(png(8, 2, bits, 0, b"".join(b"\0" + row.tobytes() for row in packed)))
    assert np.array_equal(read_mask(tmp_path / "m.png"), numbers)
