"""Annotations of a slide as GeoJSON of QuPath: read and rasterised, and masks written back as polygons.

Coordinates are pixels of the slide at full resolution. Every polygon has a classification. As in QuPath, a name that
ends with `*` is no class: `Region*` is a region that is completely annotated, so that what is in no polygon of it is
background; pixels of `Ignore*` are in no loss and in no score.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from benchmark.datasets.base import IGNORE
from benchmark.datasets.images import is_control
from benchmark.datasets.tables import LONGEST, decoded
from benchmark.datasets.wsi import needed

REGION, IGNORED = "Region*", "Ignore*"
BACKGROUND = 0
UNCLASSIFIED = ""


class Area(NamedTuple):
    """A polygon, or several with one classification."""

    shape: Any  # of shapely: Polygon or MultiPolygon, in pixels of the slide
    name: str  # of its class, `Region*`, `Ignore*`, or "" without a classification


@dataclass
class Annotations:
    """What a file says of a slide."""

    path: Path
    areas: list[Area] = field(default_factory=list)
    not_read: Counter[str] = field(default_factory=Counter)  # what has no area or no meaning here, in words

    @property
    def classes(self) -> set[str]:
        """The names of classes; neither regions nor what is ignored."""
        return {area.name for area in self.areas} - {REGION, IGNORED, UNCLASSIFIED}


def read_geojson(path: Path, width: int, height: int) -> Annotations:
    """The annotations in a GeoJSON file of QuPath.

    Args:
        path: a FeatureCollection, a list of features, or one feature.
        width, height: of the slide in pixels at full resolution.

    Raises:
        ValueError: the file is no GeoJSON, a polygon crosses itself or lies outside the slide.
    """
    try:
        content = json.loads(decoded(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not GeoJSON ({error}); export the annotations from QuPath again.") from error
    found = Annotations(path)
    box = needed("shapely").box(0, 0, width, height)
    for number, feature in enumerate(_features(content, path), 1):
        name = _class_of(feature, path, number)
        what = f"object {number} ({f'class {name}' if name else 'without a class'})"
        kind = _kind(feature)
        if kind not in ("Polygon", "MultiPolygon"):
            found.not_read[f"{kind or 'no geometry'} ({f'class {name}' if name else 'no class'})"] += 1
            continue
        shape = _shape(feature["geometry"], path, what)
        if not shape.intersects(box):
            raise ValueError(
                f"{path}: {what} lies outside the slide, which has {width} × {height} pixels; is it the file of "
                "another slide?"
            )
        if not shape.within(box.buffer(1)):
            found.not_read["polygon that exceeds the slide, cut at its border"] += 1
        if name.endswith("*") and name not in (REGION, IGNORED):
            found.not_read[f"polygon of class {name}, read as {IGNORED}"] += 1
            name = IGNORED
        if name == UNCLASSIFIED:
            found.not_read[f"polygon without a class, read as {IGNORED}"] += 1
        found.areas.append(Area(shape, name))
    return found


class Raster:
    """Draws the annotations of a slide into masks of any region of it."""

    def __init__(self, annotations: Annotations, numbers: Mapping[str, int], complete: bool = False):
        """Prepares the polygons: regions first, then classes from large to small, then what is ignored.

        Args:
            annotations: of the slide.
            numbers: of the classes by name.
            complete: whether the whole slide is annotated, so that everything else is background.
        """
        shapely = needed("shapely")
        special = {REGION: BACKGROUND, IGNORED: IGNORE, UNCLASSIFIED: IGNORE}
        order = {REGION: 0, IGNORED: 2, UNCLASSIFIED: 2}
        areas = sorted(annotations.areas, key=lambda area: (order.get(area.name, 1), -area.shape.area))
        self._shapes = [area.shape for area in areas]
        self._values = [special.get(area.name, numbers.get(area.name)) for area in areas]
        self._tree = shapely.STRtree(self._shapes)
        self._fill = BACKGROUND if complete else IGNORE

    def mask(
        self, left: float, top: float, width: int, height: int, factor: float
    ) -> UInt8[np.ndarray, "height width"]:
        """Class numbers; a pixel has the value of the polygon that holds its centre, and IGNORE outside of all.

        Args:
            left, top: of the region, in pixels of the mask.
            width, height: of the region, in the same pixels.
            factor: pixels of the slide per pixel of the mask.
        """
        shapely = needed("shapely")
        needed("rasterio")
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        corners = left * factor, top * factor, (left + width) * factor, (top + height) * factor
        touched = sorted(self._tree.query(shapely.box(*corners), predicate="intersects"))
        if not touched:
            return np.full((height, width), self._fill, np.uint8)
        return rasterize(
            [(self._shapes[k], self._values[k]) for k in touched],
            (height, width),
            fill=self._fill,
            transform=Affine(factor, 0, corners[0], 0, factor, corners[1]),
            dtype="uint8",
        )


# ----------------------------------------------------------------------------------------------------------------------
# From masks to polygons


def polygons(
    mask: UInt8[np.ndarray, "h w"], factor: float, left: float = 0, top: float = 0
) -> Iterator[tuple[dict[str, Any], int]]:
    """The outlines of 4-connected pixels of one value above 0, as GeoJSON geometries with their value.

    They follow the edges of pixels, so that `Raster` makes the same mask of them.

    Args:
        mask: class numbers, or any others.
        factor: pixels of the slide per pixel of the mask.
        left, top: where the mask begins on the slide, in pixels of the slide.
    """
    rasterio = needed("rasterio")
    yield from _outlines(mask, (mask > 0).astype(np.uint8), rasterio.Affine(factor, 0, left, 0, factor, top))


def polygons_of(file: Any, band: int, inside: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The same of a band of an open raster of any size, where another band is above 0. It is read line by line."""
    rasterio = needed("rasterio")
    yield from _outlines(rasterio.band(file, band), rasterio.band(file, inside), file.transform)


def _outlines(values: Any, inside: Any, transform: Any) -> Iterator[tuple[dict[str, Any], int]]:
    from rasterio.features import shapes

    for geometry, value in shapes(values, inside, connectivity=4, transform=transform):
        yield geometry, int(value)


def feature(
    geometry: dict[str, Any], name: str, colour: Sequence[int], measurements: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """An annotation as QuPath reads it.

    Args:
        geometry: a GeoJSON geometry in pixels of the slide.
        name: of its class.
        colour: red, green, blue from 0 to 255.
        measurements: numbers that QuPath shows beside it, by name with unit.
    """
    properties: dict[str, Any] = {
        "objectType": "annotation",
        "classification": {"name": name, "color": [int(value) for value in colour]},
    }
    if measurements:
        properties["measurements"] = dict(measurements)
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write_geojson(path: Path, features: Iterator[dict[str, Any]], generator: str) -> None:
    """Writes features one by one as a FeatureCollection that names the program that wrote it."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"type":"FeatureCollection","generator":{json.dumps(generator)},"features":[')
        for number, one in enumerate(features):
            file.write(("," if number else "") + "\n" + json.dumps(one, ensure_ascii=False, separators=(",", ":")))
        file.write("\n]}\n")


# ----------------------------------------------------------------------------------------------------------------------
# Reading features


def _features(content: Any, path: Path) -> list[dict[str, Any]]:
    if isinstance(content, dict):
        content = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    good = isinstance(content, list) and all(isinstance(one, dict) and one.get("type") == "Feature" for one in content)
    if not good:
        raise ValueError(f"{path} is not GeoJSON with features; export the annotations from QuPath again.")
    return content


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _kind(feature: dict[str, Any]) -> str:
    geometry = feature.get("geometry")
    return str(geometry.get("type", "")) if isinstance(geometry, dict) else ""


def _class_of(feature: dict[str, Any], path: Path, number: int) -> str:
    """The name of a classification; parts of a derived class are joined as QuPath shows them ("Tumor: Positive")."""
    named = _properties(feature).get("classification")
    named = named if isinstance(named, dict) else {"name": named}
    name = named.get("name") or ": ".join(map(str, named.get("names") or [])) or UNCLASSIFIED
    name = " ".join(str(name).split())
    if len(name) > LONGEST or any(map(is_control, name)):
        raise ValueError(f"{path}: the class of object {number} has over {LONGEST} letters or a control character.")
    return name


def _shape(geometry: dict[str, Any], path: Path, what: str) -> Any:
    """The polygon of a geometry, checked."""
    shapely = needed("shapely")
    from shapely.geometry import shape

    try:
        found = shapely.force_2d(shape(geometry))
    except Exception as error:  # shapely raises many kinds for wrong nesting, too few points and no numbers
        raise ValueError(f"{path}: the polygon of {what} is damaged; export the annotations again.") from error
    if found.is_empty or not np.isfinite(shapely.get_coordinates(found)).all():
        raise ValueError(f"{path}: the polygon of {what} is empty or has no finite coordinates; remove it.")
    if not found.is_valid:
        reason = shapely.is_valid_reason(found)
        raise ValueError(
            f"{path}: the outline of {what} is wrong ({reason[:1].lower()}{reason[1:]}); correct it in QuPath and "
            "export the annotations again."
        )
    return found
