"""Persistence, by hand and against flooding an image level by level."""

import numpy as np
import pytest
from scipy.ndimage import label

from methods.parts.persistence import components, matched


def diagram(p: np.ndarray) -> list[tuple[float, float]]:
    born, dead = components(p)
    return sorted((p.flat[b], p.flat[d] if d >= 0 else 0.0) for b, d in zip(born, dead, strict=True))


def test_two_glands_joined_by_a_bridge_by_hand():
    p = np.array([[0.9, 0.3, 0.6], [0.1, 0.0, 0.2]])
    born, dead = components(p)
    assert sorted(zip(born.tolist(), dead.tolist(), strict=True)) == [(0, -1), (2, 1)]


def test_corners_that_touch_do_not_join():
    assert diagram(np.array([[0.8, 0.1], [0.2, 0.7]])) == [(0.7, 0.2), (0.8, 0.0)]


def test_a_flat_image_is_one_component_and_a_plateau_has_no_components_of_its_own():
    assert len(components(np.full((5, 4), 0.5))[0]) == 1
    p = np.zeros((5, 7))
    p[1:4, 1:6] = 1
    p[2, 2:5] = 0.5  # a ring
    assert diagram(p) == [(1.0, 0.0)]


@pytest.mark.parametrize("levels", [5, 1000])
def test_as_many_components_live_at_each_level_as_flooding_finds(levels):
    random = np.random.default_rng(levels)
    for _ in range(10):
        p = random.integers(1, levels, random.integers(1, 12, 2)) / levels
        points = diagram(p)
        for level in np.unique(p):
            assert sum(birth >= level > death for birth, death in points) == label(p >= level)[1]


def one_after_the_other(p: np.ndarray) -> dict[int, int]:
    """Where each component is born and dies, pixel by pixel from the highest: a component joins those it touches."""
    order = np.argsort(-p, axis=None, kind="stable").tolist()
    rank, parent, pairs = {pixel: k for k, pixel in enumerate(order)}, {}, {}

    def root(pixel: int) -> int:
        while parent[pixel] != pixel:
            pixel = parent[pixel]
        return pixel

    for pixel in order:
        row, column = divmod(pixel, p.shape[1])
        beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [r * p.shape[1] + c for r, c in beside if 0 <= r < p.shape[0] and 0 <= c < p.shape[1]]
        roots = sorted({root(other) for other in inside if other in parent}, key=rank.__getitem__)
        parent[pixel] = roots[0] if roots else pixel
        for young in roots[1:]:
            parent[young] = roots[0]
            pairs[young] = pixel
    pairs[order[0]] = -1
    return {born: dead for born, dead in pairs.items() if dead < 0 or p.flat[born] > p.flat[dead]}


@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_births_and_deaths_are_those_of_one_pixel_after_the_other(levels):
    """Many basins join at once in the code; with few levels, several meet at the same saddle."""
    random = np.random.default_rng(levels)
    for _ in range(60):
        p = random.integers(1, levels, random.integers(1, 12, 2)) / levels
        born, dead = components(p)
        assert dict(zip(born.tolist(), dead.tolist(), strict=True)) == one_after_the_other(p)
        assert (np.diff(p.flat[born]) <= 0).all(), "from the highest to the lowest, so that sums keep their order"


def test_points_are_matched_with_their_nearest_or_with_the_diagonal():
    births, deaths = np.array([0.9, 1.0, 0.3]), np.array([0.1, 0.0, 0.25])
    pairs = matched(births, deaths, np.array([1.0, 0.8]), np.array([0.05, 0.1]))
    assert pairs.tolist() == [[0, 1], [1, 0]]
    assert matched(births, deaths, np.array([]), np.array([])).shape == (0, 2)
    assert not len(matched(np.array([0.2]), np.array([0.1]), np.array([0.9]), np.array([0.8])))
