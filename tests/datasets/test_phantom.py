"""The phantom is the same everywhere, and varies as patients do."""

import zlib

import numpy as np
import pytest

from benchmark.datasets.phantom import IMAGES, SIDE, Phantom

ITEMS = Phantom().items()
NAMED = {item.name: item for item in ITEMS}


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    return Phantom().read(NAMED[name])


def hue(name: str) -> np.ndarray:
    """Mean optical density (3,) of the stained pixels of an image, at length 1: the staining without its strength."""
    pixels = read(name)[0].reshape(-1, 3).astype(float) + 1
    density = -np.log10(pixels[pixels.mean(1) < 215] / 256).mean(0)
    return density / np.linalg.norm(density)


def test_an_image_is_the_same_whatever_was_drawn_before():
    image, mask = read("p05-1")
    read("p02-3")
    again, mask_again = read("p05-1")
    assert np.array_equal(image, again) and np.array_equal(mask, mask_again)


def test_the_drawing_is_the_published_one():
    """The mask, which is free of JPEG; a change here changes every result on the phantom."""
    assert zlib.crc32(np.packbits(read("p00-0")[1])) == 299114546


def test_names_and_patients_agree_and_names_are_unique():
    assert len(NAMED) == len(ITEMS)
    assert all(item.name.startswith(f"{item.patient}-") for item in ITEMS)


def test_a_patient_has_one_stratum_and_both_occur_in_every_part():
    records = np.array([(item.patient, item.stratum) for item in ITEMS])
    assert len(np.unique(records, axis=0)) == len(np.unique(records[:, 0]))
    for places in Phantom().parts("patient", ITEMS).values():
        assert {ITEMS[place].stratum for place in places} == {"benign", "malignant"}


def test_parts_hold_every_image_once_and_share_no_patient():
    parts = Phantom().parts("patient", ITEMS)
    assert list(parts) == ["train", "val", "test"]
    assert sorted(place for places in parts.values() for place in places) == list(range(len(ITEMS)))
    patients = [{ITEMS[place].patient for place in places} for places in parts.values()]
    assert len(set.union(*patients)) == sum(map(len, patients)) == len(ITEMS) // IMAGES


@pytest.mark.parametrize("name", ["p00-0", "p01-0", "p02-0", "p03-0", "p05-0"])
def test_masks_are_binary_and_cover_some_of_the_image(name):
    image, mask = read(name)
    assert image.dtype == mask.dtype == np.uint8
    assert image.shape == (SIDE, SIDE, 3) and mask.shape == (SIDE, SIDE)
    assert set(np.unique(mask)) == {0, 1}
    assert 0.1 < mask.mean() < 0.9


def test_some_images_have_no_gland():
    glandless = [name for name in ("p04-0", "p08-1", "p12-2") if not read(name)[1].any()]
    assert glandless == ["p04-0", "p08-1", "p12-2"]


def test_a_threshold_does_not_find_the_glands():
    """They are darker in red, where haematoxylin absorbs; but so are other nuclei, and lumens are not."""
    image, mask = read("p03-1")
    red, gland = image[..., 0], mask == 1
    assert red[gland].mean() < red[~gland].mean()
    assert max(2 * (gland & (red < at)).sum() / ((red < at).sum() + gland.sum()) for at in range(1, 256)) < 0.85


def test_patients_differ_in_stain_more_than_the_images_of_a_patient():
    hues = np.array([[hue(f"p{patient:02d}-{image}") for image in (1, 2)] for patient in (0, 1, 2, 3, 5)])
    within = np.abs(hues[:, 0] - hues[:, 1]).mean()
    between = np.abs(hues[:, None, 0] - hues[None, :, 1])[~np.eye(len(hues), dtype=bool)].mean()
    assert between > 2 * within
