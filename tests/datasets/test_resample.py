"""Reduced images are means of areas, reduced masks have the value with the largest area."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import resample


@pytest.mark.parametrize("factor", [2, 4])
def test_an_image_at_half_and_at_a_quarter_has_the_mean_of_each_block(factor):
    image = np.random.default_rng(factor).integers(0, 256, (24, 40, 3), np.uint8)
    blocks = image.reshape(24 // factor, factor, 40 // factor, factor, 3).astype(float).mean((1, 3))
    shape = resample.size(24, 40, 1 / factor)
    assert np.array_equal(resample.average(image, shape), np.floor(blocks + 0.5).astype(np.uint8))


def test_a_block_average_agrees_with_pillow():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    theirs = np.asarray(Image.fromarray(image).reduce(2)).astype(int)
    assert np.abs(resample.average(image, (30, 40)) - theirs).max() <= 1  # they round in fixed point


def overlap(old: int, new: int, i: int, j: int) -> Fraction:
    """How much of old pixel j lies in new pixel i of a line."""
    edge = Fraction(old, new)
    return max(Fraction(0), min((i + 1) * edge, Fraction(j + 1)) - max(i * edge, Fraction(j)))


def by_hand(values: np.ndarray, shape: tuple[int, int]) -> list[list[Fraction]]:
    """The area of true pixels in each new pixel, or the sum of numbers weighted by area."""
    (height, width), (rows, columns) = values.shape, shape
    return [
        [
            sum(
                int(values[j, m]) * overlap(height, rows, i, j) * overlap(width, columns, k, m)
                for j in range(height)
                for m in range(width)
            )
            for k in range(columns)
        ]
        for i in range(rows)
    ]


def test_pixels_at_the_edge_of_an_area_count_by_the_part_inside():
    image = np.random.default_rng(1).integers(0, 256, (7, 10, 3), np.uint8)
    area = Fraction(7 * 10, 4 * 3)
    means = [[int(total / area + Fraction(1, 2)) for total in row] for row in by_hand(image[..., 0], (4, 3))]
    assert resample.average(image, (4, 3))[..., 0].tolist() == means


def test_a_mask_has_the_class_of_the_largest_area_also_where_sizes_do_not_divide():
    mask = np.random.default_rng(2).choice(np.array([0, 1, 2, 255], np.uint8), (9, 11))
    areas = {value: by_hand(mask == value, (4, 5)) for value in (0, 1, 2, 255)}
    wanted = [
        [max(areas, key=lambda value, i=i, k=k: (areas[value][i][k], -value)) for k in range(5)] for i in range(4)
    ]
    assert resample.majority(mask, (4, 5)).tolist() == wanted


def test_of_equal_areas_the_lowest_value_is_taken():
    mask = np.array([[3, 1, 0, 2], [1, 3, 2, 0]], np.uint8)
    assert resample.majority(mask, (1, 2)).tolist() == [[1, 0]]


def test_numbered_objects_stay_whole_numbers_and_do_not_merge():
    mask = np.zeros((40, 40), np.uint16)
    mask[4:16, 4:20], mask[16:30, 4:20], mask[32:33, 32:33] = 300, 7, 9
    reduced = resample.majority(mask, (20, 20))
    assert reduced.dtype == np.uint16
    assert set(np.unique(reduced)) == {0, 7, 300}  # one pixel of four has no majority
    assert (reduced == 300).sum() == 6 * 8
    assert (reduced == 7).sum() == 7 * 8


def test_bands_do_not_show(monkeypatch):
    random = np.random.default_rng(3)
    image, mask = random.integers(0, 256, (31, 23, 3), np.uint8), random.integers(0, 5, (31, 23), np.uint8)
    whole = resample.average(image, (13, 9)), resample.majority(mask, (13, 9))
    monkeypatch.setattr(resample, "BAND", 50)
    assert np.array_equal(resample.average(image, (13, 9)), whole[0])
    assert np.array_equal(resample.majority(mask, (13, 9)), whole[1])


def test_sizes_are_rounded_and_never_empty_and_nothing_is_enlarged():
    assert resample.size(522, 775, 0.5) == (261, 388)
    assert resample.size(3, 1, 0.1) == (1, 1)
    with pytest.raises(ValueError, match="4 pixels cannot be reduced to 5"):
        resample.average(np.zeros((4, 4, 3), np.uint8), (5, 4))


def test_a_mask_that_was_reduced_can_be_enlarged_to_the_size_of_its_image():
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    enlarged = resample.enlarge(mask, (4, 5))
    assert enlarged.tolist() == [[1, 1, 2, 2, 2], [1, 1, 2, 2, 2], [3, 3, 4, 4, 4], [3, 3, 4, 4, 4]]
    assert np.array_equal(resample.majority(np.kron(mask, np.ones((3, 3), np.uint8)), (2, 2)), mask)
