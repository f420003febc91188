"""Scores of one predicted mask, with one policy for empty masks.

Truth and prediction both empty: every score is nan, to be left out of means and counted as a correct object-free image.
Only one of them empty (a false alarm or a miss): overlap scores are 0 and distances are the image's diagonal.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import find_objects
from scipy.sparse import coo_matrix
from scipy.spatial import cKDTree
from skimage.measure import label
from skimage.segmentation import relabel_sequential

Mask = Int[np.ndarray, "h w"]  # 0 is background, anything else the class in question; bool will do
Objects = Int[np.ndarray, "h w"]  # 0 is background, every object has a number of its own

BOUNDARY_TOLERANCE = 3.0  # pixels; manual outlines are hardly more exact
CALIBRATION_BINS = 15


def dice(truth: Mask, prediction: Mask) -> float:
    """2 |A∩B| / (|A| + |B|)."""
    truth, prediction = _same_size(truth, prediction)
    total = np.count_nonzero(truth) + np.count_nonzero(prediction)
    return 2 * np.count_nonzero(truth & prediction) / total if total else np.nan


def jaccard(truth: Mask, prediction: Mask) -> float:
    """|A∩B| / |A∪B|."""
    truth, prediction = _same_size(truth, prediction)
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else np.nan


@dataclass(frozen=True)
class Surface:
    """Distances in pixels between the outlines of a true and a predicted mask.

    Args:
        misses: from every pixel of the true outline to the nearest of the predicted one; inf if there is none.
        alarms: from every pixel of the predicted outline to the nearest of the true one; inf if there is none.
        diagonal: of the smallest rectangle that holds all valid pixels, in place of infinite distances.
    """

    misses: Float[np.ndarray, " n"]
    alarms: Float[np.ndarray, " m"]
    diagonal: float


def surface(truth: Mask, prediction: Mask, valid: Mask | None = None) -> Surface:
    """The distance of every boundary pixel to the other mask's nearest.

    A boundary pixel is one of the mask with a 4-neighbour outside of it; what lies beyond the image is outside, and so
    are pixels that are not `valid` (all are valid without it).
    """
    truth, prediction, valid = _valid(truth, prediction, valid)
    outlines = [np.argwhere(_boundary(mask)) for mask in (truth, prediction)]
    if not len(outlines[0]) or not len(outlines[1]):
        return Surface(*(np.full(len(outline), np.inf) for outline in outlines), _diagonal(valid))
    # unbalanced trees are as exact; far faster than a distance transform except where a mask is noise
    trees = [cKDTree(outline, balanced_tree=False, compact_nodes=False) for outline in outlines]
    return Surface(trees[1].query(outlines[0])[0], trees[0].query(outlines[1])[0], _diagonal(valid))


def hd95(surface: Surface) -> float:
    """The larger of the two directed 95th percentiles of the distances.

    Returns:
        Distance in pixels; nan if both masks are empty, the diagonal if exactly one is.

    Source: Huttenlocher et al., TPAMI 1993; as MONAI and surface-distance (MedPy pools the directions).

    >>> hd95(surface(np.eye(3), np.eye(3)))
    0.0
    """
    directions = [of for of in (surface.misses, surface.alarms) if len(of)]
    if not directions:
        return np.nan
    return max(float(np.percentile(np.minimum(of, surface.diagonal), 95)) for of in directions)


def assd(surface: Surface) -> float:
    """The mean distance over the boundary pixels of both masks together (average symmetric surface distance).

    Returns:
        Distance in pixels; nan if both masks are empty, the diagonal if exactly one is.
    """
    distances = np.concatenate([surface.misses, surface.alarms])
    return min(float(distances.mean()), surface.diagonal) if len(distances) else np.nan


def boundary_f1(surface: Surface, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """Harmonic mean of the shares of either boundary within `tolerance` pixels of the other.

    Returns:
        From 0 to 1; nan if both masks are empty, 0 if exactly one is.

    Source: Csurka et al., BMVC 2013.
    """
    if not len(surface.misses) and not len(surface.alarms):
        return np.nan
    recall, precision = (_share_within(of, tolerance) for of in (surface.misses, surface.alarms))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def surface_dice(surface: Surface, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """Share of the boundary pixels of both masks that are within `tolerance` pixels of the other boundary.

    Returns:
        From 0 to 1; nan if both masks are empty, 0 if exactly one is.

    Source: Nikolov et al., J. Med. Internet Res. 23, 2021 (arXiv 1809.04430, 2018); the normalised surface distance
    (NSD) of Metrics Reloaded (Maier-Hein et al., Nature Methods 21, 2024).
    """
    distances = np.concatenate([surface.misses, surface.alarms])
    return float((distances <= tolerance).mean()) if len(distances) else np.nan


def _share_within(distances: Float[np.ndarray, " n"], tolerance: float) -> float:
    return float((distances <= tolerance).mean()) if len(distances) else 0.0


class ObjectScores(NamedTuple):
    """The three scores of the GlaS challenge; the Hausdorff distance is in pixels."""

    f1: float
    dice: float
    hausdorff: float


def object_scores(truth: Objects, prediction: Objects, valid: Mask | None = None) -> ObjectScores:
    """Object F1, Dice and Hausdorff distance (Sirinukunwattana et al., Medical Image Analysis 35, 2017).

    An object's partner is the object of the other side that shares most pixels with it (the lower number of equals).
    f1: a predicted object is a hit if it covers at least half of its partner, and a true object is hit at most once.
    dice: of every object with its partner, 0 without one, weighted by area; the mean of both sides.
    hausdorff: the same with the distance between the two regions; without a partner, to the region nearest by it.
    Pixels that are not `valid` belong to no object (all are valid without it).
    """
    _same_size(truth, prediction)
    valid = np.ones(truth.shape, bool) if valid is None else valid != 0
    truth, prediction = np.where(valid, truth, 0), np.where(valid, prediction, 0)
    if not truth.any() and not prediction.any():
        return ObjectScores(np.nan, np.nan, np.nan)
    if not truth.any() or not prediction.any():
        return ObjectScores(0.0, 0.0, _diagonal(valid))
    sides = _Regions(truth), _Regions(prediction)
    shared = coo_matrix(
        (np.ones(truth.size, np.int64), (sides[0].numbers.ravel(), sides[1].numbers.ravel())),
        shape=(len(sides[0].areas) + 1, len(sides[1].areas) + 1),
    ).tocsr()[1:, 1:]  # pixels that a true and a predicted object have in common
    partners = _partners(shared), _partners(shared.T.tocsr())
    areas = [side.areas for side in sides]
    hit = {t for p, (t, common) in enumerate(partners[1]) if 2 * common >= areas[0][t] and common}
    both_ways = []
    for mine, other in ((0, 1), (1, 0)):
        weights = areas[mine] / areas[mine].sum()
        overlaps = [2 * common / (areas[mine][a] + areas[other][b]) for a, (b, common) in enumerate(partners[mine])]
        distances = [
            sides[mine].hausdorff(a, sides[other], b) if common else sides[mine].nearest(a, sides[other])
            for a, (b, common) in enumerate(partners[mine])
        ]
        both_ways.append((weights @ overlaps, weights @ distances))
    return ObjectScores(
        f1=2 * len(hit) / (len(areas[0]) + len(areas[1])),
        dice=float(np.mean([overlap for overlap, _ in both_ways])),
        hausdorff=float(np.mean([distance for _, distance in both_ways])),
    )


def components(mask: Mask) -> Objects:
    """The connected pieces of a mask, numbered from 1; pixels that touch at a corner belong together."""
    return label(mask != 0, connectivity=2)


def calibration_bins(
    probability: Float[np.ndarray, "*shape"], truth: Bool[np.ndarray, "*shape"], bins: int = CALIBRATION_BINS
) -> Float[np.ndarray, "3 bins"]:
    """Per bin of foreground probability: pixels, their summed probability, and how many are foreground.

    Bins of parts of an image, or of several images, add up.
    """
    places = np.minimum((probability.ravel() * bins).astype(np.int64), bins - 1)
    columns = [None, probability.ravel(), truth.ravel()]
    return np.stack([np.bincount(places, weights=column, minlength=bins).astype(np.float64) for column in columns])


def calibration_error(bins: Float[np.ndarray, "3 bins"]) -> float:
    """Expected calibration error: |mean probability − share of foreground|, averaged over pixels."""
    pixels, probability, foreground = bins
    return float(np.abs(probability - foreground).sum() / pixels.sum()) if pixels.sum() else np.nan


def false_alarm(present: bool, predicted: bool) -> float:
    """1 if something is predicted in an object-free image, 0 if not; nan where there is an object.

    So the mean over images is the false-alarm rate over object-free images.
    """
    return np.nan if present else float(predicted)


def dice_as_released_cdma(dice_per_class: Float[np.ndarray, "images classes"]) -> float:
    """What the test function of CDMA's released code would print, for comparison with numbers obtained by it.

    Class 0 is background and counts like any other, a class that is empty in truth and prediction (nan here) counts 1,
    and the first image is dropped. Its smoothing by 1e-5 pixels is left out: it shows in no printed digit.
    """
    kept = np.asarray(dice_per_class, dtype=np.float64)[1:]
    return float(np.nan_to_num(kept, nan=1.0).mean()) if kept.size else np.nan


def _same_size(truth: Mask, prediction: Mask) -> tuple[np.ndarray, np.ndarray]:
    if truth.shape != prediction.shape:
        raise ValueError(f"the truth has {truth.shape} pixels and the prediction {prediction.shape}; they must agree")
    return truth != 0, prediction != 0


def _valid(truth: Mask, prediction: Mask, valid: Mask | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boolean masks without the pixels that are not valid, and which pixels are."""
    truth, prediction = _same_size(truth, prediction)
    valid = np.ones(truth.shape, bool) if valid is None else valid != 0
    return truth & valid, prediction & valid, valid


def _diagonal(valid: Bool[np.ndarray, "h w"]) -> float:
    """Of the smallest rectangle that holds all valid pixels."""
    sides = [np.flatnonzero(valid.any(axis)) for axis in (1, 0)]
    return float(np.hypot(*(side[-1] - side[0] + 1 if len(side) else 0 for side in sides)))


def _boundary(objects: Objects) -> Bool[np.ndarray, "h w"]:
    """Pixels of a mask or of numbered objects with a 4-neighbour that is not of the same object."""
    inner = np.zeros(objects.shape, bool)
    middle = objects[1:-1, 1:-1]
    inner[1:-1, 1:-1] = (
        (middle == objects[:-2, 1:-1])
        & (middle == objects[2:, 1:-1])
        & (middle == objects[1:-1, :-2])
        & (middle == objects[1:-1, 2:])
    )
    return (objects != 0) & ~inner


def _partners(shared) -> list[tuple[int, int]]:
    """For each line of a sparse table of common pixels: the column with the most, and their number (0: none)."""
    pairs = []
    for start, stop in zip(shared.indptr[:-1], shared.indptr[1:], strict=True):
        columns, counts = shared.indices[start:stop], shared.data[start:stop]
        most = counts.max(initial=0)
        pairs.append((int(columns[counts == most].min()), int(most)) if most else (0, 0))
    return pairs


class _Regions:
    """Numbered objects of one side, and Hausdorff distances from them to objects of the other."""

    directions = np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8)])

    def __init__(self, objects: Objects):
        self.numbers = relabel_sequential(objects.astype(np.int64))[0]
        self.areas = np.bincount(self.numbers.ravel())[1:]
        self.boxes = find_objects(self.numbers)
        places = np.argwhere(_boundary(self.numbers))
        of = self.numbers[tuple(places.T)]
        order = np.argsort(of, kind="stable")
        self.outlines = np.split(places[order], np.cumsum(np.bincount(of)[1:])[:-1])
        self.middles = [outline.mean(0) for outline in self.outlines]
        self.radii = [_lengths(o - middle).max() for o, middle in zip(self.outlines, self.middles, strict=True)]
        # how far each object reaches in each direction
        self.reach = np.stack([(outline @ self.directions).max(0) for outline in self.outlines])
        self.trees: dict[int, cKDTree] = {}

    def hausdorff(self, a: int, other: "_Regions", b: int) -> float:
        """Between object a of this side and object b of the other, as sets of pixels."""
        return max(self._farthest(a, other, b), other._farthest(b, self, a))

    def nearest(self, a: int, other: "_Regions") -> float:
        """The smallest Hausdorff distance of object a to an object of the other side."""
        at_least = np.abs(other.reach - self.reach[a]).max(1)  # two objects that close reach equally far
        smallest = np.inf
        for b in np.argsort(at_least):
            if at_least[b] >= smallest:
                break
            smallest = min(smallest, self.hausdorff(a, other, int(b)))
        return smallest

    def _farthest(self, a: int, other: "_Regions", b: int) -> float:
        """The largest distance of a pixel of a to b.

        It is that of a pixel on a's outline, or of one between b's pixels: from any other, a step away from b leads to
        a pixel of a that is farther.
        """
        between = tuple(
            slice(max(mine.start, its.start), min(mine.stop, its.stop))
            for mine, its in zip(self.boxes[a], other.boxes[b], strict=True)
        )
        within = np.argwhere(self.numbers[between] == a + 1) + [side.start for side in between]
        pixels = np.concatenate([self.outlines[a], within])
        pixels = pixels[other.numbers[tuple(pixels.T)] != b + 1]
        if not len(pixels):
            return 0.0
        # the distance to an object differs from that to its middle by no more than its radius
        distances = _lengths(pixels - other.middles[b])
        pixels = pixels[distances >= distances.max() - 2 * other.radii[b] - 1e-6]
        if b not in other.trees:
            other.trees[b] = cKDTree(other.outlines[b], balanced_tree=False, compact_nodes=False)
        return float(other.trees[b].query(pixels)[0].max())


def _lengths(vectors: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    return np.hypot(vectors[:, 0], vectors[:, 1])
