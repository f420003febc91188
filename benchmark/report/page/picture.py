"""A figure as the page holds it: small, as text, with its caption."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from benchmark.report.figures.style import DPI

FIGURE_PIXELS = 1400  # the widest embedded figure; a phone and a sheet of paper show less
INCH = 120  # pixels of the page at which an inch of a printed figure is shown
COLOURS = 64  # of an embedded figure: enough for smooth letters and bands


class Picture(NamedTuple):
    """WebP in base 64, how large it is shown, in pixels, and what it shows."""

    webp: str
    width: int
    height: int
    caption: str
    spots: tuple[tuple[float, float, str], ...] = ()  # pixels from the upper left corner, and the text shown there
    photographs: bool = False


def picture(
    png: bytes, caption: str, photographs: bool = False, spots: Sequence[tuple[float, float, str]] = ()
) -> Picture:
    """A figure for the page: of few colours without loss, or with loss if it holds photographs; `spots` are shares."""
    image = Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB")
    width, height = (round(side * INCH / DPI) for side in image.size)
    image.thumbnail((FIGURE_PIXELS, 4 * FIGURE_PIXELS), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if photographs:
        image.save(file, "WEBP", quality=80, method=4)
    else:
        few = image.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).convert("RGB")
        few.save(file, "WEBP", lossless=True, method=4)
    placed = tuple((round(x * width, 1), round(y * height, 1), text) for x, y, text in spots)
    return Picture(base64.b64encode(file.getvalue()).decode(), width, height, caption, placed, photographs)
