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


def test_points_are_matched_with_their_nearest_or_with_the_diagonal():
    births, deaths = np.array([0.9, 1.0, 0.3]), np.array([0.1, 0.0, 0.25])
    pairs = matched(births, deaths, np.array([1.0, 0.8]), np.array([0.05, 0.1]))
    assert pairs.tolist() == [[0, 1], [1, 0]]
    assert matched(births, deaths, np.array([]), np.array([])).shape == (0, 2)
    assert not len(matched(np.array([0.2]), np.array([0.1]), np.array([0.9]), np.array([0.8])))
