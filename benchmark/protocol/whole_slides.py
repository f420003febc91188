"""Predicts slides of any size in bounded memory: block after block of tissue, into a raster file.

The raster is a sparse GeoTIFF of bytes that is read and written window by window. Its coordinates are pixels of the
slide at full resolution.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from scipy.ndimage import binary_dilation

from benchmark import progress
from benchmark.datasets.wsi import Slide, needed
from benchmark.protocol.evaluate import Predict, bands

# The bands of the raster. Class: 0 where nothing was predicted, else the class number + 1. Confidence: percent, 0
# outside of foreground. Disagreement: percent of the networks with another class than that of the mean probabilities.
CLASS, CONFIDENCE, DISAGREEMENT = 1, 2, 3
OVERLAP = 0.25  # of neighbouring tiles
STEPS = 4  # from the first to the last tile of a block; more of them compute less twice, and more glass
AROUND = 2  # pixels of the tissue mask that are predicted around tissue
CACHE_MB = 64  # main memory for parts of the raster


class Area(NamedTuple):
    """The part of a slide that is predicted."""

    mask: Bool[np.ndarray, "h w"]
    um: float  # µm per pixel of the mask

    def within(self, left: int, top: int, width: int, height: int, um: float) -> Bool[np.ndarray, "height width"]:
        """The mask in a window of the slide, in pixels of `um` µm."""
        rows, columns = (
            np.minimum(((begin + np.arange(count) + 0.5) * um / self.um).astype(int), side - 1)
            for begin, count, side in ((top, height, self.mask.shape[0]), (left, width, self.mask.shape[1]))
        )
        return self.mask[rows[:, None], columns]


def predict_slide(
    predicts: Sequence[Predict], slide: Slide, um: float, raster: Path, *, tile: int,
    device: torch.device | str = "cpu", precision: str = "float32",
) -> Area:  # fmt: skip
    """Predicts the tissue of a slide with one network, or with the mean probabilities of several.

    Args:
        predicts: of methods in eval mode.
        slide: is read at `um`.
        um: µm per pixel at which the networks were trained, at least those of the slide.
        raster: where the raster is written.
        tile, device, precision: see `benchmark.protocol.evaluate.segment`.

    Raises:
        ValueError: the slide would be enlarged, is damaged, or has no tissue.
    """
    if um < slide.pixel_um * (1 - 1e-3):
        raise ValueError(
            f"{slide.path} has {slide.pixel_um:.4g} µm per pixel and the run was trained at {um:.4g}, but slides are "
            f"never enlarged; use a run that was trained at {slide.pixel_um:.4g} or more."
        )
    tissue, tissue_um = slide.tissue()
    if not tissue.any():
        raise ValueError(f"No tissue was found in {slide.path}; give a slide with stained tissue.")
    area = Area(binary_dilation(tissue, iterations=AROUND), tissue_um)
    width, height = slide.size(um)
    side, margin = tile + STEPS * max(1, int(tile * (1 - OVERLAP))), tile // 4
    blocks = [block for block in _blocks(width, height, side - 2 * margin) if area.within(*block, um).any()]

    def image(block: tuple[int, int, int, int]) -> UInt8[np.ndarray, "side side 3"]:
        return slide.read(block[0] - margin, block[1] - margin, side, side, um)

    options = {"tile": tile, "overlap": OVERLAP, "device": device, "precision": precision}
    with (
        needed("rasterio").Env(GDAL_CACHEMAX=CACHE_MB),
        new_raster(raster, width, height, um / slide.pixel_um) as file,
        progress.watching(f"Predicting {slide.path.name}", len(blocks)) as tell,
    ):
        for number, (block, pixels) in enumerate(_one_ahead(image, blocks), 1):
            left, top, columns, rows = block
            inside = slice(margin, margin + rows), slice(margin, margin + columns)
            values = _predicted(predicts, pixels, options)[:, *inside] * area.within(*block, um)
            file.write(values, window=((top, top + rows), (left, left + columns)))
            tell(number, "blocks of tissue")
    return area


def new_raster(path: Path, width: int, height: int, factor: float) -> Any:
    """An empty raster, open for writing (see `rasterio.open`); a pixel has `factor` × `factor` pixels of the slide."""
    rasterio = needed("rasterio")
    return rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8", interleave="band", tiled=True,
        blockxsize=512, blockysize=512, BIGTIFF="YES", SPARSE_OK=True,
        transform=rasterio.Affine(factor, 0, 0, 0, factor, 0),
    )  # fmt: skip


def _blocks(width: int, height: int, core: int) -> Iterator[tuple[int, int, int, int]]:
    """Squares that cover the slide: left, top, width, height."""
    for top in range(0, height, core):
        for left in range(0, width, core):
            yield left, top, min(core, width - left), min(core, height - top)


def _one_ahead(read: Callable[[Any], Any], things: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Each thing with what is read of it, while a thread reads the next one."""
    with ThreadPoolExecutor(1) as reader:
        next_one = reader.submit(read, things[0])
        for thing, after in zip(things, [*things[1:], None], strict=True):
            result = next_one.result()
            if after is not None:
                next_one = reader.submit(read, after)
            yield thing, result


def _predicted(
    predicts: Sequence[Predict], image: UInt8[np.ndarray, "h w 3"], options: dict[str, Any]
) -> UInt8[np.ndarray, "3 h w"]:
    """The bands of the raster for an image."""
    values = np.empty((3, *image.shape[:2]), np.uint8)
    for parts in zip(*(bands(predict, image, **options) for predict in predicts), strict=True):
        top = parts[0][0]
        each = np.stack([probabilities for _, probabilities in parts])
        mean = each.mean(0)
        classes = mean.argmax(0)
        rows = slice(top, top + mean.shape[1])
        values[CLASS - 1, rows] = classes + 1
        values[CONFIDENCE - 1, rows] = np.where(classes > 0, np.maximum(100 * mean.max(0), 1).round(), 0)
        values[DISAGREEMENT - 1, rows] = (100 * (each.argmax(1) != classes).mean(0)).round()
    return values
