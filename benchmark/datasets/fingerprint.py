"""Perceptual fingerprints: equal for the flips and quarter turns of a picture, close for its re-encodings.

A picture is averaged to 32 × 32 grey values; the signs of its 16 × 16 lowest cosine frequencies are the fingerprint, as
in the perceptual hash of Zauner (2010). Flips change the sign of odd frequencies and a transposition swaps the axes, so
all eight orientations follow from one, and the smallest stands for them all.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE, FREQUENCIES = 32, 16
BITS = FREQUENCIES * FREQUENCIES  # the first, the mean brightness, is not used
BAND = 2**20  # pixels summed at a time

_wave = np.cos(np.pi * np.outer(np.arange(FREQUENCIES), np.arange(SIDE) + 0.5) / SIDE)
_odd = 1 - 2 * (np.arange(FREQUENCIES) % 2)


def fingerprint(image: np.ndarray) -> str:
    """256 bits, as hexadecimal digits, of an image, uint8 (H, W, 3)."""
    waves = _wave @ _averaged(image) @ _wave.T
    waves = np.round(waves / max(waves[0, 0], 1), 9)  # so that symmetric pictures do not hang on rounding errors
    waves[0, 0] = 0
    return min(np.packbits(view.ravel() > 0).tobytes() for view in _views(waves)).hex()


def orientations(fingerprints: Sequence[str]) -> np.ndarray:
    """Bits of the eight orientations of pictures, the one that is stored first: uint64 (8, n, 4)."""
    raw = np.frombuffer(bytes.fromhex("".join(fingerprints)), np.uint8).reshape(len(fingerprints), BITS // 8)
    waves = np.unpackbits(raw, axis=1).reshape(-1, FREQUENCIES, FREQUENCIES).astype(np.int8) * 2 - 1
    waves[:, 0, 0] = 0
    return np.packbits(np.stack(_views(waves)).reshape(8, -1, BITS) > 0, axis=-1).view(np.uint64)


def bits_apart(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """In how many bits the pictures (n, 4) differ from others (8, m, 4) in the orientation that is nearest: (n, m)."""
    apart = [np.bitwise_count(one[:, None] ^ view).sum(-1, dtype=np.int16) for view in others]
    return np.minimum.reduce(apart)


def _views(waves: np.ndarray) -> list[np.ndarray]:
    """Frequencies (..., 16, 16) of the eight flips and quarter turns."""
    flipped = [waves, waves * _odd, waves * _odd[:, None], waves * _odd * _odd[:, None]]
    return flipped + [view.swapaxes(-1, -2) for view in flipped]


def _averaged(image: np.ndarray) -> np.ndarray:
    """Grey values (32, 32), summed over equal areas; exact whole numbers, so that turning the image turns them."""
    height, width = image.shape[:2]
    columns = np.empty((height, SIDE), np.int64)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        grey = Image.fromarray(image[top : top + rows]).convert("L")
        columns[top : top + rows] = _cells(np.asarray(grey))
    return _cells(columns.T).T


def _cells(values: np.ndarray) -> np.ndarray:
    """Sums of whole numbers (n, length) over 32 equal cells (n, 32), in units that make all of them whole."""
    length = values.shape[1]
    whole, share = np.divmod(np.arange(1, SIDE) * length, SIDE)
    sums = np.cumsum(values, axis=1, dtype=np.int64)
    before = np.where(whole > 0, sums[:, whole - 1], 0)
    borders = SIDE * before + share * values[:, whole].astype(np.int64)
    return np.diff(borders, axis=1, prepend=0, append=SIDE * sums[:, -1:])
