"""Reduces images by area averaging and masks by majority, in whole numbers, so that all machines agree."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8
from scipy.ndimage import find_objects
from scipy.sparse import csr_array

BAND = 2**22  # pixels of the source that are reduced at a time

Shape = tuple[int, int]


def size(height: int, width: int, scale: float) -> Shape:
    """Height and width after reduction by `scale`, rounded half up, at least 1 pixel each.

    >>> size(522, 775, 0.5)
    (261, 388)
    """
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def average(image: UInt8[np.ndarray, "h w 3"], shape: Shape) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The mean of the area that each new pixel covers; a pixel of the source at its edge counts by the part inside.

    Args:
        image: (h, w, 3), any array that can be sliced, such as a memory map.
        shape: the new height and width, at most those of the image.

    Returns:
        (h2, w2, 3); means are rounded half up.
    """
    height, width = image.shape[:2]
    reduced = np.empty((*shape, image.shape[2]), np.uint8)
    for band in _bands((height, width), shape):
        sums = _areas(image[band.source], band.down, band.across)
        reduced[band.rows] = (2 * sums + height * width) // (2 * height * width)
    return reduced


def majority(mask: Integer[np.ndarray, "h w"], shape: Shape) -> Integer[np.ndarray, "h2 w2"]:
    """The value with the largest area in each new pixel; of equal areas, the lowest value.

    Values are class numbers or instance numbers; each is a candidate of its own. So a new pixel that two touching
    objects cover by 30 % each belongs to the background that covers the remaining 40 %.

    Args:
        mask: (h, w), any array that can be sliced, such as a memory map.
        shape: the new height and width, at most those of the mask.
    """
    reduced = np.zeros(shape, mask.dtype)
    for band in _bands(mask.shape, shape):
        values, found = np.asarray(mask[band.source]), reduced[band.rows]
        most = _areas(values == 0, band.down, band.across)
        for value, box in enumerate(find_objects(values), 1):
            if box is None:
                continue
            rows, columns = (_touched(part, share) for part, share in zip(box, (band.down, band.across), strict=True))
            area = _areas(values[box] == value, band.down[rows, box[0]], band.across[columns, box[1]])
            larger = area > most[rows, columns]
            most[rows, columns][larger] = area[larger]
            found[rows, columns][larger] = value
    return reduced


def enlarge(mask: Integer[np.ndarray, "h2 w2"], shape: Shape) -> Integer[np.ndarray, "h w"]:
    """A mask at a larger size: each new pixel has the value of the pixel that holds its centre."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape, shape, strict=True))
    return mask[rows[:, None], columns]


class _Band(NamedTuple):
    """A few rows of the result, the rows of the source that they cover, and the shares along both axes."""

    rows: slice
    source: slice
    down: csr_array  # (rows, rows of the source)
    across: csr_array  # (new width, width)


def _bands(old: Shape, new: Shape) -> Iterator[_Band]:
    down, across = (_shares(length, shorter) for length, shorter in zip(old, new, strict=True))
    count = max(1, BAND * new[0] // (old[0] * old[1]))
    for top in range(0, new[0], count):
        rows = slice(top, min(top + count, new[0]))
        source = slice(rows.start * old[0] // new[0], -(-rows.stop * old[0] // new[0]))
        yield _Band(rows, source, down[rows, source], across)


def _shares(length: int, shorter: int) -> csr_array:
    """(shorter, length): how much of each old pixel lies in each new one, in units that make old pixels `shorter` long.

    Each row has the sum `length`.
    """
    if shorter > length:
        raise ValueError(f"{length} pixels cannot be reduced to {shorter}; images are never enlarged.")
    edges = np.union1d(np.arange(length + 1) * shorter, np.arange(shorter + 1) * length)
    left = edges[:-1]
    return csr_array((np.diff(edges), (left // length, left // shorter)), shape=(shorter, length))


def _areas(values: np.ndarray, down: csr_array, across: csr_array) -> Integer[np.ndarray, "h2 w2 *rest"]:
    """The sum of values (h, w, …) over each new pixel, weighted by area."""
    height, width, *rest = values.shape
    rows = (down @ values.reshape(height, -1).astype(np.int64)).reshape(-1, width, *rest)
    columns = across @ rows.swapaxes(0, 1).reshape(width, -1)
    return columns.reshape(-1, len(rows), *rest).swapaxes(0, 1)


def _touched(box: slice, shares: csr_array) -> slice:
    """The new pixels that have a part of these old ones."""
    touched = np.flatnonzero(np.diff(shares[:, box].indptr))
    return slice(touched[0], touched[-1] + 1)
