"""Perceptual fingerprints: equal for the flips and quarter turns of a picture, close for its re-encodings.

A picture is averaged to 32 × 32 grey values; the signs of its 16 × 16 lowest cosine frequencies are the fingerprint, as
in the perceptual hash of Zauner (2010). Flips change the sign of odd frequencies and a transposition swaps the axes, so
all eight orientations follow from one, and the smallest stands for them all.
"""

import numpy as np
from PIL import Image

SIDE, FREQUENCIES = 32, 16
BITS = FREQUENCIES * FREQUENCIES  # the first, the mean brightness, is not used
BAND = 2**22  # pixels averaged at a time

_wave = np.cos(np.pi * np.outer(np.arange(FREQUENCIES), np.arange(SIDE) + 0.5) / SIDE)
_odd = 1 - 2 * (np.arange(FREQUENCIES) % 2)


def fingerprint(image: np.ndarray) -> str:
    """256 bits, as hexadecimal digits, of an image, uint8 (H, W, 3)."""
    waves = _wave @ _averaged(image) @ _wave.T
    waves[0, 0] = 0
    largest = np.abs(waves).max()
    if largest > 0:
        waves = np.round(waves / largest, 9)  # so that symmetric pictures do not hang on rounding errors
    return min(np.packbits(view.ravel() > 0).tobytes() for view in _views(waves)).hex()


def signs(fingerprints: list[str]) -> np.ndarray:
    """Fingerprints as float32 (n, 256) of +1 and -1, and 0 for the unused bit: products count equal bits."""
    raw = np.frombuffer(bytes.fromhex("".join(fingerprints)), np.uint8).reshape(len(fingerprints), BITS // 8)
    found = np.unpackbits(raw, axis=1).astype(np.float32) * 2 - 1
    found[:, 0] = 0
    return found


def orientations(found: np.ndarray) -> np.ndarray:
    """The eight orientations (8, n, 256) of the pictures whose signs (n, 256) are given."""
    grids = found.reshape(-1, FREQUENCIES, FREQUENCIES)
    return np.stack(_views(grids)).reshape(8, -1, BITS)


def _views(waves: np.ndarray) -> list[np.ndarray]:
    """Frequencies (..., 16, 16) of the eight flips and quarter turns."""
    flipped = [waves, waves * _odd, waves * _odd[:, None], waves * _odd * _odd[:, None]]
    return flipped + [view.swapaxes(-1, -2) for view in flipped]


def _averaged(image: np.ndarray) -> np.ndarray:
    """Grey values (32, 32), averaged over equal areas; exact whole numbers, so that turning the image turns them."""
    height, width = image.shape[:2]
    rows, columns, total = _shares(height), _shares(width), np.zeros((SIDE, SIDE))
    band = max(1, BAND // width)
    for top in range(0, height, band):
        grey = np.asarray(Image.fromarray(np.ascontiguousarray(image[top : top + band])).convert("L"), np.float64)
        total += rows[:, top : top + band] @ (grey @ columns.T)
    return total


def _shares(length: int) -> np.ndarray:
    """(32, length): how much of each pixel falls into each cell, in units that make all of them whole numbers."""
    cell, pixel = np.arange(SIDE)[:, None] * length, np.arange(length)[None] * SIDE
    return np.maximum(np.minimum(cell + length, pixel + SIDE) - np.maximum(cell, pixel), 0).astype(np.float64)
