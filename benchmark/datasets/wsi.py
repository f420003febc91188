"""Whole slide images: open a slide, read a region of it at a resolution in µm per pixel, find its tissue."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy.ndimage import uniform_filter

from benchmark.datasets import images
from benchmark.datasets.images import check_name, check_regular

SUFFIXES = (
    ".svs", ".ndpi", ".mrxs", ".scn", ".tif", ".tiff", ".btf", ".dcm", ".vms", ".vmu", ".bif", ".svslide", ".czi",
)  # fmt: skip
DESCRIPTION, TILES = 270, 322  # TIFF tags
OME = "<OME"  # in the description of OME-TIFF files
MOST_READ = 4096  # pixels a side of what is decoded at once
TISSUE_UM = 8.0  # µm per pixel at which tissue is detected, or the slide's own if that is coarser
SMOOTH = 5  # pixels a side of the mean filter before the threshold
PALE, STRONG = 0.03, 0.12  # between these lies the threshold of colour, also if a slide is all tissue or all glass
SAME_SIDE = 0.02  # pixels may be higher than wide, or wider than high, by this share

warnings.filterwarnings("ignore", module="rasterio")  # masks have no place on earth


def needed(module: str) -> ModuleType:
    """A module of the extra `slides`; a ValueError says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ValueError(
            f"Slides need the package {name}, which is not installed; install it: "
            "pip install 'pathology-ssl-bench[slides]'."
        ) from error


def is_slide(path: Path) -> bool:
    """Whether a file is a slide by its suffix, or, if that is TIFF, by its pyramid."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        return False
    if suffix not in images.SUFFIXES:
        return True
    try:
        with Image.open(path, formats=("TIFF",)) as picture:
            description = str(picture.tag_v2.get(DESCRIPTION, ""))
            return OME in description or (TILES in picture.tag_v2 and getattr(picture, "n_frames", 1) > 1)
    except images.DAMAGE:
        return False  # which the reader of images says in a sentence


class Slide:
    """A whole slide image of any size. Regions come from the pyramid level that is just fine enough.

    Coordinates begin at the top left of the slide, or, if the file names the part that was scanned (MRXS), of that
    part, as in QuPath.

    Attributes:
        path: of the file.
        width, height: pixels at full resolution.
        pixel_um: the side of a pixel at full resolution in µm.
    """

    def __init__(self, path: Path, pixel_um: float | None = None):
        """Opens a slide.

        Args:
            path: a file in one of the formats of OpenSlide, or an OME-TIFF file.
            pixel_um: µm per pixel at full resolution, if the file does not say it.

        Raises:
            ValueError: the file is damaged or no slide, or its resolution is not known.
        """
        check_name(path)
        check_regular(path)
        self.path = path
        openslide = needed("openslide")
        with self._sentences():
            self._file: Any = openslide.OpenSlide(str(path))
            description = self._file.properties.get("tiff.ImageDescription", "")
        if OME in description:  # of its pyramid, OpenSlide sees full resolution only
            tiffslide = needed("tiffslide")
            with self._sentences():
                self._file = tiffslide.TiffSlide(path)
        bounds = [self._number(f"openslide.bounds-{name}") for name in ("x", "y", "width", "height")]
        whole = self._file.dimensions
        self._left, self._top = (round(value or 0) for value in bounds[:2])
        self.width, self.height = (round(value or whole[k]) for k, value in enumerate(bounds[2:]))
        self.pixel_um: float = pixel_um or self._own_um(description)

    def read(self, left: float, top: float, width: int, height: int, um: float) -> UInt8[np.ndarray, "height width 3"]:
        """A region, averaged over the area of each pixel; what lies beyond the slide is white.

        Args:
            left, top: of the region, in pixels of `um` µm.
            width, height: of the region, in the same pixels.
            um: µm per pixel, at least those of the slide.

        Raises:
            ValueError: the file is damaged there.
        """
        factor = um / self.pixel_um
        level = self._file.get_best_level_for_downsample(factor * (1 + 1e-6))
        reduce = factor / self._file.level_downsamples[level]
        if width * reduce > MOST_READ and width > 1:
            half = width // 2
            parts = self.read(left, top, half, height, um), self.read(left + half, top, width - half, height, um)
            return np.hstack(parts)
        if height * reduce > MOST_READ and height > 1:
            half = height // 2
            parts = self.read(left, top, width, half, um), self.read(left, top + half, width, height - half, um)
            return np.vstack(parts)
        x0, y0 = left * reduce, top * reduce
        box = _box(x0, y0, x0 + width * reduce, y0 + height * reduce)
        pixels = self._region(level, box)
        inside = (x0 - box[0], y0 - box[1], x0 - box[0] + width * reduce, y0 - box[1] + height * reduce)
        return np.asarray(pixels.resize((width, height), Image.Resampling.BOX, box=inside))

    def size(self, um: float) -> tuple[int, int]:
        """Width and height of the slide in pixels of `um` µm, rounded up."""
        return tuple(math.ceil(side * self.pixel_um / um - 1e-6) for side in (self.width, self.height))

    def tissue(self) -> tuple[Bool[np.ndarray, "h w"], float]:
        """Where there is tissue, and the µm per pixel of that mask (about `TISSUE_UM`).

        Tissue is coloured and glass is grey: the difference of the highest and lowest of red, green and blue exceeds
        Otsu's threshold (IEEE Trans. Systems, Man and Cybernetics, 1979), kept between `PALE` and `STRONG`.
        """
        from skimage.filters import threshold_otsu

        um = max(TISSUE_UM, self.pixel_um)
        image = self.read(0, 0, *self.size(um), um)
        colour = (image.max(2) - image.min(2)).astype(np.float32) / 255
        colour = uniform_filter(colour, SMOOTH, mode="nearest")
        return colour > np.clip(threshold_otsu(colour), PALE, STRONG), um

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _region(self, level: int, box: tuple[int, int, int, int]) -> Image.Image:
        """The pixels of a level from left, top to right, bottom, on white."""
        downsample = self._file.level_downsamples[level]
        width, height = self._file.level_dimensions[level]
        found = Image.new("RGB", (box[2] - box[0], box[3] - box[1]), "white")
        shift = self._left / downsample, self._top / downsample
        right = min(math.ceil(self.width / downsample), math.ceil(width - shift[0]))
        bottom = min(math.ceil(self.height / downsample), math.ceil(height - shift[1]))
        left, top = max(box[0], 0), max(box[1], 0)
        right, bottom = min(box[2], right), min(box[3], bottom)
        if left >= right or top >= bottom:
            return found
        place = self._left + round(left * downsample), self._top + round(top * downsample)
        with self._sentences():
            pixels = self._file.read_region(place, level, (right - left, bottom - top))
        found.paste(pixels, (left - box[0], top - box[1]), pixels if pixels.mode == "RGBA" else None)
        return found

    def _own_um(self, description: str) -> float:
        """µm per pixel at full resolution as the file says them."""
        in_properties = [self._number(f"openslide.mpp-{axis}") for axis in "xy"]
        sides = _of_ome(description) if OME in description else in_properties
        if not all(side and math.isfinite(side) and side > 0 for side in sides):
            raise ValueError(
                f"{self.path} does not say how many µm a pixel has; give --slide-mpp NUMBER, the µm per pixel at full "
                "resolution."
            )
        if abs(sides[0] / sides[1] - 1) > SAME_SIDE:
            raise ValueError(
                f"{self.path} has pixels of {sides[0]:g} × {sides[1]:g} µm, which are not square; save it with square "
                "pixels."
            )
        return math.sqrt(sides[0] * sides[1])

    def _number(self, name: str) -> float | None:
        try:
            return float(self._file.properties.get(name) or "")
        except ValueError:
            return None

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """What the libraries raise, as one sentence."""
        try:
            yield
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:
            if type(error).__name__ == "OpenSlideUnsupportedFormatError":
                raise ValueError(
                    f"{self.path} is truncated, or not a slide that can be read; copy it again, save it as a tiled "
                    "pyramidal TIFF, or add plain images with `bench data add folder`."
                ) from error
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{self.path} is truncated or damaged ({reason}); copy or download it again.") from error


def _box(left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int]:
    """The whole pixels that a box touches."""
    least = 1e-6
    return math.floor(left + least), math.floor(top + least), math.ceil(right - least), math.ceil(bottom - least)


def _of_ome(description: str) -> list[float | None]:
    """Width and height of a pixel in µm, as the first image of an OME-XML description says them."""
    tifffile = needed("tifffile")
    try:
        image = tifffile.xml2dict(description)["OME"]["Image"]
        pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    except Exception:  # whatever the XML reader raises, there is no resolution in it
        return [None, None]
    units = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
    sides = []
    for axis in "XY":
        unit = units.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        side = pixels.get(f"PhysicalSize{axis}")
        sides.append(float(side) * unit if unit and side is not None else None)
    return sides
