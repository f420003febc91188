"""Reading image and mask files: decoded fully, converted where nothing is lost by it, otherwise refused."""

import stat
import struct
import unicodedata
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from benchmark import machine

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")  # no others are ever decoded: PostScript, for one, starts a program
MOST_PIXELS = 2**31
PIXEL_BYTES = 12  # main memory for a pixel while it is decoded and converted
ORIENTATION = 0x0112  # the EXIF tag by which cameras turn a picture
TURNS_TEXT = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # from right to left and back
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")  # left in folders by operating systems, beside hidden files
TURNED = "turned as its EXIF orientation says"  # a note
PHOTOMETRIC, STRIPS, TILES = 262, 273, 324  # TIFF tags: what 0 means, and where the compressed data begin
LOSSLESS = {  # compressions of TIFF files, by Pillow's names
    "raw", "tiff_ccitt", "group3", "group4", "tiff_lzw", "tiff_adobe_deflate", "tiff_raw_16", "packbits",
    "tiff_thunderscan", "tiff_deflate", "lzma", "zstd",
}  # fmt: skip
GREY_SHARE = 0.1  # a black-and-white mask has grey at its edges, but not more than this
PLATEAU_SHARE = 0.3  # of that grey, at most so much lies two pixels or more from black and white
COMPRESSION_NOISE = 31  # the brightest that lossy compression makes of black

warnings.filterwarnings("ignore", module="PIL")  # what matters about a file is an error or a note

# what Pillow raises on damaged files
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error)

Image.MAX_IMAGE_PIXELS = None  # crops of slides exceed Pillow's limit; ours is MOST_PIXELS


def nfc(name: str) -> str:
    """One spelling for a name: file systems and tables compose accented letters differently."""
    return unicodedata.normalize("NFC", name)


def is_control(letter: str) -> bool:
    """Whether it ends a line, controls a terminal or turns the direction of what follows, which hides what is there."""
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp") or letter in TURNS_TEXT


def check_name(path: Path) -> None:
    """Refuses a file name that cannot be written in a table or a message: not UTF-8, or with control characters."""
    odd = [letter for letter in path.name if is_control(letter) or unicodedata.category(letter) == "Cs"]
    if odd:
        shown = "".join(ascii(letter)[1:-1] if letter in odd else letter for letter in path.name)
        why = (
            "is not UTF-8" if any(unicodedata.category(letter) == "Cs" for letter in odd) else "has a control character"
        )
        raise ValueError(f"The file name '{shown}' in {path.parent} {why}; rename the file.")


def check_regular(path: Path) -> None:
    """Refuses what is not a regular file before it is opened: a named pipe or a device would wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ValueError(f"{path} cannot be opened: {error.strerror}.") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise ValueError(f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file; remove it.")


def pictures(folder: Path, others: bool = False) -> dict[str, Path]:
    """The image files of a folder by stem, sorted.

    Two files of one stem are a ValueError, and so are files of another kind, unless `others` may lie there, and what
    is called like an image but is not a regular file.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: nfc(path.name)):
        if path.name.startswith(".") or path.name.casefold() in SYSTEM_FILES:
            continue
        check_name(path)
        if path.suffix.lower() not in SUFFIXES:
            if others:
                continue
            if path.is_dir():
                raise ValueError(f"{path} is a folder, and files in it are not read; move them into {folder}.")
            raise ValueError(f"{path} is not an image of a known kind ({' '.join(SUFFIXES)}); convert or remove it.")
        check_regular(path)
        other = found.setdefault(nfc(path.stem), path)
        if other != path:
            raise ValueError(f"{other} and {path.name} have the same stem; rename or remove one of them.")
    return found


def all_pictures(paths: Iterable[Path], or_none: bool = False) -> list[Path]:
    """Image files and those of folders, in this order; a folder without any is a ValueError, unless `or_none`."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = pictures(path, others=True)
            if not inside and not or_none:
                raise ValueError(f"There is no image ({' '.join(SUFFIXES)}) in {path}; give images or their folder.")
            found += inside.values()
        else:
            check_name(path)
            check_regular(path)
            found.append(path)
    return found


def read_image(path: Path, notes: list[str] | None = None) -> np.ndarray:
    """The pixels of an 8-bit image as RGB, uint8 (H, W, 3); what had to be converted is added to `notes`.

    Grey, palette and fully opaque images lose nothing by it. Transparent, CMYK, 16-bit, float, 1-bit and multi-page
    files are a ValueError that says what to do, and so are damaged ones.
    """
    notes = [] if notes is None else notes
    with _decoded(path, notes) as (picture, _):
        mode, picture = picture.mode, _opaque(picture, path, notes)
        if mode in ("L", "LA"):
            notes.append("grey, converted to RGB")
        elif mode in ("P", "PA"):
            notes.append("palette, converted to RGB")
        elif mode not in ("RGB", "RGBA", "RGBX"):
            raise ValueError(f"{path} is an image of mode {mode}; save it as 8-bit RGB.")
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def read_mask(path: Path, notes: list[str] | None = None) -> np.ndarray:
    """The numbers of a mask file, uint8 or uint16 (H, W), as they are stored.

    Of palettes these are the indices, of grey PNG and TIFF files of 1, 2 or 4 bits 0 to 1, 3 or 15. What a viewer
    shows differently is added to `notes`.
    """
    notes = [] if notes is None else notes
    with _decoded(path, notes, deep=True) as (picture, packed):
        picture = _opaque(picture, path, [])
        values = np.asarray(picture)
    if picture.mode == "P":
        first = tuple(picture.getpalette("RGB")[:3])
        if first != (0, 0, 0):
            colour = "white" if first == (255, 255, 255) else "#{:02x}{:02x}{:02x}".format(*first)
            notes.append(f"palette mask, read as the numbers of its colours: 0, shown in {colour}, is background")
        return values
    if packed.min_is_white and picture.mode == "1":
        notes.append('1-bit TIFF mask "min is white", read as it is shown: white is foreground')
    elif packed.min_is_white:
        values = 255 - values if picture.mode == "L" else values
        notes.append('TIFF mask "min is white", read as its stored numbers: 0, shown in white, is background')
    if values.ndim == 3 and picture.mode == "RGB":
        apart = int((values.max(-1) - values.min(-1)).max(initial=0))
        if apart == 0 or (apart <= COMPRESSION_NOISE and is_lossy(path)):
            return np.ascontiguousarray(values[..., 1])
    if values.ndim == 3:
        raise ValueError(f"{path} is a mask in colour; save class numbers as an 8-bit grey or palette PNG.")
    if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError(f"{path} has other numbers than 0 to 65535; save masks with these, as a grey PNG.")
    for bits, scale in ((";2", 85), (";4", 17)):  # Pillow spreads these over 0 to 255
        if picture.mode == "L" and bits in packed.raw_mode:
            values = values // np.uint8(scale)
    return values.astype(np.uint8 if values.dtype.kind == "b" or values.dtype == np.uint8 else np.uint16)


def black_and_white(values: np.ndarray, path: Path) -> np.ndarray:
    """0 and 1 (uint8) of a mask in 0/1 or in black and white with soft edges: above 127 is 1.

    Lossy compression keeps black and white apart, but not 0 and 1: such a mask is a ValueError unless it is all black.
    """
    highest, lossy = int(values.max(initial=0)), is_lossy(path)
    if lossy and highest < 192:
        if highest <= COMPRESSION_NOISE and values.min(initial=highest) == highest:
            return np.zeros(values.shape, np.uint8)
        raise ValueError(
            f"{path} is compressed with loss, which has changed its numbers (they are 0 to {highest} now); save masks "
            "as PNG. Only black and white, 0 and 255, outlast such compression."
        )
    if highest <= 1:
        return values.astype(np.uint8)
    grey = (values > 63) & (values < 192)
    soft = np.count_nonzero(grey) / values.size
    if highest > 255 or soft > GREY_SHARE or highest < 192 or _plateau(grey) > PLATEAU_SHARE:
        raise ValueError(
            f"{path} is not a black-and-white mask: its highest value is {highest} and {soft:.1%} of it is grey; "
            "draw the object in white (255) on black (0), or save class numbers as PNG."
        )
    return (values > 127).astype(np.uint8)


def _plateau(grey: np.ndarray) -> float:
    """Share of the grey pixels that have only grey in the 5 × 5 pixels around them: near 0 for edges."""
    inside = grey
    for axis in (0, 1):
        length = inside.shape[axis] - 4
        if length < 1:
            return 0.0
        inside = np.logical_and.reduce([inside[_range(axis, k, k + length)] for k in range(5)])
    return np.count_nonzero(inside) / max(1, np.count_nonzero(grey))


def _range(axis: int, begin: int, end: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(begin, end),)


def is_lossy(path: Path) -> bool:
    """Whether compression has changed the values, by the data of the file and not by its suffix."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:2] == b"\xff\xd8":
            return True
        if head[:4] == b"RIFF" and head[8:] == b"WEBP":
            return _lossy_webp(file)
        if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return False
        with Image.open(path, formats=("TIFF",)) as picture:
            compression = picture.info.get("compression", "raw")
            begins = picture.tag_v2.get(STRIPS) or picture.tag_v2.get(TILES)
        if compression == "webp":
            file.seek(begins[0] + 12)
            return _lossy_webp(file)
        return compression not in LOSSLESS


def _lossy_webp(file: BinaryIO) -> bool:
    """Of the chunks that follow, which comes first: `VP8 `, with loss, or `VP8L`, without."""
    while len(head := file.read(8)) == 8:
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        file.seek(16 if kind == b"ANMF" else length + length % 2, 1)
    return True


def colours_in(path: Path, values: Iterable[int]) -> dict[tuple[int, int, int], int]:
    """The colours by which a palette mask shows these values, each with its value; empty without a palette."""
    with Image.open(path, formats=FORMATS) as picture:
        palette = picture.getpalette("RGB") if picture.mode == "P" else None
    return {tuple(palette[3 * value : 3 * value + 3]): value for value in values} if palette else {}


def values_in(mask: np.ndarray) -> list[int]:
    """The values that occur, ascending, found without a wider copy of the whole mask."""
    rows = max(1, 2**20 // max(1, mask.shape[1]))
    counts = np.zeros(int(mask.max(initial=0)) + 1, np.int64)
    for top in range(0, mask.shape[0], rows):
        counts += np.bincount(mask[top : top + rows].ravel(), minlength=len(counts))
    return np.flatnonzero(counts).tolist()


class _Packed(NamedTuple):
    """How the pixels lie in the file."""

    raw_mode: str  # as Pillow's decoders call it, such as "L;4" for grey of 4 bits; "" if that is not known
    min_is_white: bool  # of TIFF files: 0 is shown in white


@contextmanager
def _decoded(path: Path, notes: list[str], deep: bool = False) -> Iterator[tuple[Image.Image, _Packed]]:
    """The picture of a file, fully decoded, turned as its EXIF orientation says. `deep`: 1 and 16 bits are fine."""
    check_regular(path)
    try:
        opened = Image.open(path, formats=FORMATS)
        frames = getattr(opened, "n_frames", 1)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that can be read; remove it, or save it as PNG.") from error
    except PermissionError as error:
        raise ValueError(f"{path} cannot be opened: {error.strerror}.") from error
    except DAMAGE as error:
        raise ValueError(_damaged(path, error)) from error
    with opened as picture:
        _refuse(picture, path, frames, deep)
        packed = _packed(picture)
        try:
            turned = picture.getexif().get(ORIENTATION, 1) in range(2, 9)  # by other values nothing is turned
            picture.load()
            if turned:
                notes.append(TURNED)
                picture = ImageOps.exif_transpose(picture)
        except MemoryError as error:
            raise ValueError(_too_large(path, picture)) from error
        except DAMAGE as error:
            raise ValueError(_damaged(path, error)) from error
        yield picture, packed


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is truncated or damaged ({error}); copy or download it again."


def _too_large(path: Path, picture: Image.Image) -> str:
    width, height = picture.size
    return (
        f"{path} has {width} × {height} pixels, which take {width * height * PIXEL_BYTES / 1e9:,.1f} GB while they are "
        f"read, and {machine.memory_left() / 1e9:,.1f} GB of main memory are free; cut it into smaller images."
    )


def _packed(picture: Image.Image) -> _Packed:
    arguments = picture.tile[0][3] if picture.tile else ""
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return _Packed(str(raw_mode), getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == 0)


def _refuse(picture: Image.Image, path: Path, frames: int, deep: bool) -> None:
    """Stops before decoding what would be decoded wrongly or not at all."""
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{path} has {width} × {height} pixels, more than 2^31; cut it into smaller images.")
    if width * height < 1:
        raise ValueError(f"{path} has {width} × {height} pixels, so there is nothing in it; remove it.")
    if width * height * PIXEL_BYTES > machine.memory_left():
        raise ValueError(_too_large(path, picture))
    if frames > 1:
        raise ValueError(f"{path} holds {frames} pages or frames; save the one that is meant as a file of its own.")
    # Pillow opens 16-bit colour as 8-bit RGB without a warning: only the argument of the decoder shows it
    sixteen = any(";16" in str(tile[3]) for tile in picture.tile) and picture.mode not in ("I;16", "I;16B", "I")
    remedy = "save whole numbers, as a grey PNG" if deep else "scale it to 8-bit RGB, all images by the same factor"
    if sixteen or (not deep and picture.mode.startswith("I")):
        raise ValueError(f"{path} has 16 bits or more a channel; {remedy}.")
    if picture.format == "BMP" and _misread(picture):
        raise ValueError(f"{path} is a BMP file with a palette that is often read wrongly; save it as PNG.")
    if picture.mode == "F":
        raise ValueError(f"{path} holds floating-point numbers; {remedy}.")
    if picture.mode == "CMYK":
        raise ValueError(f"{path} is a CMYK image for print; convert it to RGB with its colour profile.")
    if picture.mode == "1" and not deep:
        raise ValueError(f"{path} has 1 bit a pixel, like a mask; put an 8-bit RGB image in its place.")


def _misread(picture: Image.Image) -> bool:
    """Whether Pillow takes indices of 4 or 8 bits for pixels of 1 or 8 bits, as it does where a palette is all grey."""
    codec, _, _, (raw_mode, *rest) = picture.tile[0]
    bits = {"1": 1, "L": 8}.get(raw_mode)
    if bits is None or (codec == "bmp_rle" and bits == 8):
        return False
    return codec != "raw" or rest[0] != (picture.width * bits + 31 >> 3) & ~3


def _opaque(picture: Image.Image, path: Path, notes: list[str]) -> Image.Image:
    """Without its alpha channel, if that hides nothing."""
    if not picture.has_transparency_data:
        return picture
    if picture.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise ValueError(f"{path} is transparent in places; flatten it onto its background, without alpha.")
    notes.append("opaque alpha channel, left out")
    return picture if picture.mode == "P" else picture.convert("L" if picture.mode in ("L", "LA", "La") else "RGB")
