"""Slides and annotations that tests write: small pyramids with a pink section on glass, and exports as of QuPath."""

import json
from pathlib import Path

import numpy as np
import tifffile

WIDTH, HEIGHT, UM = 1200, 800, 0.25


def tissue(seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """A slide: white glass with a noisy pink section in its left two thirds, (h, w, 3)."""
    width, height = size
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 245, np.uint8)
    pink = np.array([210, 140, 180]) + random.integers(-20, 20, (height, width * 2 // 3, 3))
    image[:, : width * 2 // 3] = pink
    return image


def save_slide(path: Path, image: np.ndarray, um: float | None = UM, levels: int = 3) -> Path:
    """A tiled pyramidal TIFF file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(levels):
            scale = 2**level
            known = {} if um is None else {"resolution": (1e4 / um / scale,) * 2, "resolutionunit": "CENTIMETER"}
            file.write(
                image[::scale, ::scale], tile=(256, 256), photometric="rgb", subfiletype=int(level > 0), metadata=None,
                compression="zlib", **known,
            )  # fmt: skip
    return path


def save_ome(path: Path, image: np.ndarray, um: float) -> Path:
    """A pyramidal OME-TIFF file with JPEG tiles."""
    size = {f"PhysicalSize{axis}": um for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg"}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        file.write(image, subifds=1, metadata={"axes": "YXS", **size}, **options)
        file.write(image[::2, ::2], subfiletype=1, **options)
    return path


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def polygon(name: str | None, *rings: list[list[float]]) -> dict:
    """A feature as QuPath exports it."""
    properties = {"objectType": "annotation"}
    if name:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    geometry = {"type": "Polygon", "coordinates": list(rings)}
    return {"type": "Feature", "id": "1", "geometry": geometry, "properties": properties}


POINT = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [9, 9]},
    "properties": {"classification": {"name": "Cell"}},
}


def save_features(path: Path, *features: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8")
    return path
