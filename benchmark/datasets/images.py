"""Reading image and mask files: decoded fully, converted where nothing is lost by it, otherwise refused."""

import struct
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MOST_PIXELS = 2**31
ORIENTATION = 0x0112  # the EXIF tag by which cameras turn a picture
GREY_SHARE = 0.1  # a black-and-white mask has grey at its edges, but not more than this
COMPRESSION_NOISE = 31  # the brightest that JPEG makes of black

# what Pillow raises on damaged files
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error)

Image.MAX_IMAGE_PIXELS = None  # crops of slides exceed Pillow's limit; ours is MOST_PIXELS


def nfc(name: str) -> str:
    """One spelling for a name: file systems and tables compose accented letters differently."""
    return unicodedata.normalize("NFC", name)


def pictures(folder: Path, others: bool = False) -> dict[str, Path]:
    """The image files of a folder by stem, sorted.

    Two files of one stem are a ValueError, and so are files of another kind, unless `others` may lie there.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: nfc(path.name)):
        if path.name.startswith(".") or path.name in ("Thumbs.db", "desktop.ini"):
            continue  # left there by operating systems
        if path.suffix.lower() not in SUFFIXES:
            if others:
                continue
            raise ValueError(f"{path} is not an image of a known kind ({' '.join(SUFFIXES)}); convert or remove it.")
        other = found.setdefault(nfc(path.stem), path)
        if other != path:
            raise ValueError(f"{other} and {path.name} have the same stem; rename or remove one of them.")
    return found


def read_image(path: Path, notes: list[str] | None = None) -> np.ndarray:
    """The pixels of an 8-bit image as RGB, uint8 (H, W, 3); what had to be converted is added to `notes`.

    Grey, palette and fully opaque images lose nothing by it. Transparent, CMYK, 16-bit, float, 1-bit and multi-page
    files are a ValueError that says what to do, and so are damaged ones.
    """
    notes = [] if notes is None else notes
    with _decoded(path, notes) as picture:
        mode, picture = picture.mode, _opaque(picture, path, notes)
        if mode in ("L", "LA"):
            notes.append("grey, converted to RGB")
        elif mode in ("P", "PA"):
            notes.append("palette, converted to RGB")
        elif mode not in ("RGB", "RGBA", "RGBX"):
            raise ValueError(f"{path} is an image of mode {mode}; save it as 8-bit RGB.")
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def read_mask(path: Path, notes: list[str] | None = None) -> np.ndarray:
    """The numbers of a mask file, uint8 or uint16 (H, W): of 1-bit files 0 and 1, of colour palettes the indices."""
    notes = [] if notes is None else notes
    with _decoded(path, notes, deep=True) as picture:
        picture = _opaque(picture, path, [])
        if picture.mode == "P":
            return np.asarray(picture.convert("L") if _grey_palette(picture) else picture)
        values = np.asarray(picture)
    if values.ndim == 3 and picture.mode == "RGB" and all((values[..., 0] == values[..., k]).all() for k in (1, 2)):
        return np.ascontiguousarray(values[..., 0])
    if values.ndim == 3:
        raise ValueError(f"{path} is a mask in colour; save class numbers as an 8-bit grey or palette PNG.")
    if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError(f"{path} is a mask of other than whole numbers from 0 to 65535; save it as an 8-bit grey PNG.")
    return values.astype(np.uint8 if values.dtype.kind == "b" or values.dtype == np.uint8 else np.uint16)


def black_and_white(values: np.ndarray, path: Path) -> np.ndarray:
    """0 and 1 (uint8) of a mask that is drawn in 0/1 or in black and white with soft edges: above 127 is 1."""
    highest = int(values.max(initial=0))
    if highest <= 1:
        return values.astype(np.uint8)
    soft = np.count_nonzero((values > 63) & (values < 192)) / values.size
    dark = highest <= (COMPRESSION_NOISE if is_jpeg(path) else 0)
    if highest > 255 or soft > GREY_SHARE or (highest < 192 and not dark):
        raise ValueError(
            f"{path} is not a black-and-white mask: its highest value is {highest} and {soft:.0%} of it is grey; "
            "draw the object in white (255) on black (0)."
        )
    return (values > 127).astype(np.uint8)


def is_jpeg(path: Path) -> bool:
    """Whether compression has changed the values."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def values_in(mask: np.ndarray) -> list[int]:
    """The values that occur, ascending, found without a wider copy of the whole mask."""
    rows = max(1, 2**20 // max(1, mask.shape[1]))
    counts = np.zeros(int(mask.max(initial=0)) + 1, np.int64)
    for top in range(0, mask.shape[0], rows):
        counts += np.bincount(mask[top : top + rows].ravel(), minlength=len(counts))
    return np.flatnonzero(counts).tolist()


@contextmanager
def _decoded(path: Path, notes: list[str], deep: bool = False) -> Iterator[Image.Image]:
    """The picture of a file, fully decoded, turned as its EXIF orientation says. `deep`: 1 and 16 bits are fine."""
    try:
        opened = Image.open(path)
        frames = getattr(opened, "n_frames", 1)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that can be read; remove it, or save it as PNG.") from error
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise ValueError(f"{path} cannot be opened: {error.strerror}.") from error
    except DAMAGE as error:
        raise ValueError(_damaged(path, error)) from error
    with opened as picture:
        _refuse(picture, path, frames, deep)
        try:
            turned = picture.getexif().get(ORIENTATION, 1) not in (0, 1)
            picture.load()
            if turned:
                notes.append("turned as its EXIF orientation says")
                picture = ImageOps.exif_transpose(picture)
        except DAMAGE as error:
            raise ValueError(_damaged(path, error)) from error
        yield picture


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is truncated or damaged ({error}); copy or download it again."


def _refuse(picture: Image.Image, path: Path, frames: int, deep: bool) -> None:
    """Stops before decoding what would be decoded wrongly or not at all."""
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"{path} has {width} × {height} pixels, more than 2^31; cut it into smaller images.")
    if frames > 1:
        raise ValueError(f"{path} holds {frames} pages or frames; save the one that is meant as a file of its own.")
    # Pillow opens 16-bit colour as 8-bit RGB without a word: only the decoder's argument tells
    sixteen = any(";16" in str(tile[3]) for tile in picture.tile) and picture.mode not in ("I;16", "I;16B", "I")
    if sixteen or (not deep and picture.mode.startswith("I")):
        raise ValueError(f"{path} has 16 bits or more a channel; scale it to 8-bit RGB, all images by the same factor.")
    if picture.mode == "F":
        raise ValueError(f"{path} holds floating-point numbers; scale it to 8 bits, all images by the same factor.")
    if picture.mode == "CMYK":
        raise ValueError(f"{path} is a CMYK image for print; convert it to RGB with its colour profile.")
    if picture.mode == "1" and not deep:
        raise ValueError(f"{path} has 1 bit a pixel, like a mask; put an 8-bit RGB image in its place.")


def _opaque(picture: Image.Image, path: Path, notes: list[str]) -> Image.Image:
    """Without its alpha channel, if that hides nothing."""
    if not picture.has_transparency_data:
        return picture
    if picture.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise ValueError(f"{path} is transparent in places; flatten it onto its background, without alpha.")
    notes.append("opaque alpha channel, left out")
    return picture if picture.mode == "P" else picture.convert("L" if picture.mode in ("L", "LA", "La") else "RGB")


def _grey_palette(picture: Image.Image) -> bool:
    colours = np.array(picture.getpalette("RGB")).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())
