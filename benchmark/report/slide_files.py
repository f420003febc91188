"""Writes the prediction of a slide: GeoJSON for QuPath, a mask as pyramidal OME-TIFF, an overlay thumbnail."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from benchmark.datasets import annotations
from benchmark.datasets.base import IGNORE
from benchmark.datasets.images import nfc
from benchmark.datasets.wsi import Slide, needed
from benchmark.files import write_whole
from benchmark.protocol.whole_slides import CACHE_MB, CLASS, CONFIDENCE, DISAGREEMENT, Area
from benchmark.report.figures import pictures

WRITER = "bench predict"  # in every file, so that nothing of another origin is replaced
OME_TILE = 512  # pixels a side
SMALLEST_LEVEL = 1024  # pixels of the longer side of the smallest level
THUMBNAIL = 2000  # pixels of the longer side
SMALLEST_UM2 = 10.0  # smaller objects, such as noise, are in the mask only; a nucleus has 30 or more
MOST_READ = 2**22  # pixels of the raster that are read for the mean of an object; larger ones are sampled
GREY = (160, 160, 160)  # of the predicted region


def targets(out: Path, slide: Path, several: bool) -> list[Path]:
    """The files that `write_slide` writes for a slide, with a map of disagreement for several networks."""
    name = nfc(slide.stem).removesuffix(".ome")
    endings = [".geojson", "_mask.ome.tif", "_overlay.png", *(["_disagreement.ome.tif"] if several else [])]
    return [out / f"{name}{ending}" for ending in endings]


def is_prediction(path: Path) -> bool:
    """Whether `write_slide` wrote this regular file."""
    with open(path, "rb") as file:
        return WRITER.encode() in file.read(400)


def check_replaceable(path: Path) -> None:
    """Refuses, by a ValueError, to replace a file that `bench predict` did not write."""
    if not os.path.lexists(path):
        return
    if path.suffix == ".png":
        pictures.check_replaceable(path)
        return
    if not path.is_file() or path.is_symlink() or not is_prediction(path):
        raise ValueError(f"{path} was not written by `bench predict`, so it is kept; give another folder with --out.")


def write_slide(slide: Slide, area: Area, raster: Path, files: Sequence[Path], classes: Sequence[str]) -> None:
    """Writes the files of a prediction.

    Args:
        slide: the slide.
        area: what of it was predicted.
        raster: the prediction, see `benchmark.protocol.whole_slides`.
        files: see `targets`.
        classes: their names, the background first.
    """
    rasterio = needed("rasterio")
    geojson, mask, overlay, *rest = files
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB), rasterio.open(raster) as file:
        um = slide.pixel_um * file.transform.a
        features = _features(slide, area, file, classes, several=bool(rest))
        write_whole(geojson, lambda path: annotations.write_geojson(path, features, WRITER))
        write_whole(mask, lambda path: _write_ome(path, file, CLASS, um))
        for path in rest:
            write_whole(path, lambda path: _write_ome(path, file, DISAGREEMENT, um))
        thumbnail_um = um * max(1, max(file.width, file.height) / THUMBNAIL)
        width, height = slide.size(thumbnail_um)
        small = file.read(CLASS, out_shape=(height, width))
    image = slide.read(0, 0, width, height, thumbnail_um)
    pictures.save_png(pictures.overlay(image, np.where(small > 0, small - 1, 0).astype(np.uint8)), overlay)


def _features(slide: Slide, area: Area, file: Any, classes: Sequence[str], several: bool) -> Iterator[dict[str, Any]]:
    """The predicted region, then every object that is not too small."""
    from shapely.geometry import shape

    outlines = annotations.polygons(area.mask.astype(np.uint8), area.um / slide.pixel_um)
    region = [_clipped(outline["coordinates"], slide) for outline, _ in outlines]
    yield annotations.feature({"type": "MultiPolygon", "coordinates": region}, annotations.REGION, GREY)
    colours = [tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5)) for colour in pictures.COLOURS]
    for outline, value in annotations.polygons_of(file, CLASS, CONFIDENCE):
        number, polygon = value - 1, shape(outline)
        if polygon.area * slide.pixel_um**2 < SMALLEST_UM2:
            continue
        measurements = _measurements(polygon, file, slide.pixel_um, several)
        outline["coordinates"] = _clipped(outline["coordinates"], slide)
        yield annotations.feature(outline, classes[number], colours[(number - 1) % len(colours)], measurements)


def _clipped(rings: Sequence[Sequence[tuple[float, float]]], slide: Slide) -> list[list[tuple[float, float]]]:
    """Rings without the part of the last pixel that exceeds the slide."""
    return [[(round(min(x, slide.width), 2), round(min(y, slide.height), 2)) for x, y in ring] for ring in rings]


def _measurements(polygon: Any, file: Any, pixel_um: float, several: bool) -> dict[str, float]:
    """Area in µm², mean confidence and disagreement in percent of an object."""
    from rasterio.features import rasterize
    from rasterio.windows import Window

    factor = file.transform.a
    left, top, right, bottom = (round(value / factor) for value in polygon.bounds)
    every = math.ceil(math.sqrt(max(1, (right - left) * (bottom - top) / MOST_READ)))
    window = Window(left, top, right - left, bottom - top)
    size = math.ceil((bottom - top) / every), math.ceil((right - left) / every)
    wide, high = factor * window.width / size[1], factor * window.height / size[0]
    place = type(file.transform)(wide, 0, left * factor, 0, high, top * factor)
    inside = rasterize([polygon], size, transform=place, dtype="uint8").astype(bool)
    inside = inside if inside.any() else np.ones(size, bool)  # an object that is thinner than the sampling
    bands = {"Mean confidence %": CONFIDENCE} | ({"Mean disagreement %": DISAGREEMENT} if several else {})
    means = {name: float(file.read(band, window=window, out_shape=size)[inside].mean()) for name, band in bands.items()}
    return {"Area µm^2": round(polygon.area * pixel_um**2, 2)} | {name: round(mean, 1) for name, mean in means.items()}


def _write_ome(path: Path, file: Any, band: int, um: float) -> None:
    """A band of the raster as a pyramidal OME-TIFF file, tile by tile; 255 where nothing was predicted."""
    tifffile = needed("tifffile")
    halvings = max(0, math.ceil(math.log2(max(file.width, file.height) / SMALLEST_LEVEL)))
    side = {f"PhysicalSize{axis}": um for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    options = {"dtype": "uint8", "tile": (OME_TILE, OME_TILE), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as tiff:
        for level in range(halvings + 1):
            shape = math.ceil(file.height / 2**level), math.ceil(file.width / 2**level)
            first = {"subifds": halvings, "metadata": {"axes": "YX", "Creator": WRITER, **side}, "software": WRITER}
            tiff.write(
                _tiles(file, band, shape, 2**level), shape=shape, **options,
                **(first if level == 0 else {"subfiletype": 1, "metadata": None}),
            )  # fmt: skip


def _tiles(file: Any, band: int, shape: tuple[int, int], every: int) -> Iterator[UInt8[np.ndarray, "tile tile"]]:
    """The tiles of a level, line by line."""
    from rasterio.windows import Window

    for top in range(0, shape[0], OME_TILE):
        for left in range(0, shape[1], OME_TILE):
            height, width = min(OME_TILE, shape[0] - top), min(OME_TILE, shape[1] - left)
            box = Window(left * every, top * every, width * every, height * every).intersection(
                Window(0, 0, file.width, file.height)
            )
            predicted, values = (file.read(one, window=box, out_shape=(height, width)) for one in (CLASS, band))
            values = values - 1 if band == CLASS else values
            tile = np.full((OME_TILE, OME_TILE), IGNORE, np.uint8)
            tile[:height, :width] = np.where(predicted > 0, values, IGNORE)
            yield tile
