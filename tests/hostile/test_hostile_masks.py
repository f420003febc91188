"""Masks that would be read wrongly without a word: palettes, loss, orientation, folders in folders."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_hostile_folder import folder, png

from benchmark.datasets.images import read_image, read_mask
from benchmark.datasets.store import add

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)


def in_order(labels: np.ndarray, path: Path, order: list[int]) -> None:
    """A palette mask in which class k has the index order[k], and always the same colour."""
    image = Image.fromarray(np.array(order, np.uint8)[labels], "P")
    image.putpalette(COLOURS[np.argsort(order)].ravel().tolist())
    image.save(f"{path}.png")


@pytest.mark.parametrize("order", [[0, 2, 1], [1, 0, 2]])
def test_palettes_that_disagree_about_a_colour_are_refused(tmp_path, order):
    """As programs write them that sort the palette of each file by how often a colour occurs."""

    def saved(labels: np.ndarray, path: Path) -> None:
        in_order(labels, path, order if path.name == "p4" else [0, 1, 2])

    with pytest.raises(ValueError, match=r"masks of p0 and p4 show .* in one colour, #\w{6}; save all masks with the"):
        add("folder", folder(tmp_path / "f", saved, classes=2), tmp_path, "m")
    for name in ("same", "grey"):
        root = folder(tmp_path / name, lambda labels, path: in_order(labels, path, [0, 1, 2]), classes=2)
        if name == "grey":
            png(np.asarray(Image.open(root / "masks" / "p4.png")), root / "masks" / "p4", 1)
        assert len(add("folder", root, tmp_path / "data", name).classes()) == 3


def test_palettes_of_object_numbers_may_show_a_number_in_any_colour(tmp_path):
    def saved(labels: np.ndarray, path: Path) -> None:
        in_order(labels, path, [0, 2, 1] if path.name == "p4" else [0, 1, 2])

    assert add("folder", folder(tmp_path / "f", saved, classes=2), tmp_path, "m", instances=True).dataset.instances


def test_white_of_a_lossy_mask_never_becomes_the_ignore_label(tmp_path):
    root = folder(tmp_path / "f", lambda labels, path: Image.fromarray(labels * 255).save(f"{path}.jpg"))
    (root / "masks" / "p3.jpg").unlink()
    mask = np.zeros((40, 48), np.uint8)
    mask[:4], mask[20:30] = 255, 1
    png(mask, root / "masks" / "p3", 1)
    with pytest.raises(ValueError, match="mask of p0 is black and white and .* in that of p3 255 is the ignore label"):
        add("folder", root, tmp_path, "m")


@pytest.mark.parametrize(
    ("kind", "value", "turned"), [(3, b"\6", True), (3, b"\1", False), (3, b"\x63", False), (2, b"6", False)]
)
def test_only_what_is_turned_is_called_turned(tmp_path, kind, value, turned):
    """Some cameras write an orientation that does not exist, or write it as text (kind 2) instead of a number."""
    path, notes = tmp_path / "a.jpg", []
    tags = struct.pack("<HHHI4sI", 1, 0x112, kind, 1 if kind == 3 else 2, value, 0)
    Image.new("RGB", (48, 40)).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0" + tags)
    assert read_image(path, notes).shape[:2] == ((48, 40) if turned else (40, 48))
    assert ("turned as its EXIF orientation says" in notes) == turned


def test_a_mask_that_was_not_turned_with_its_image_is_explained(tmp_path):
    root, exif = folder(tmp_path / "f"), Image.Exif()
    exif[0x112] = 6
    with Image.open(root / "images" / "p2.png") as image:
        image.save(root / "images" / "p2.png", exif=exif)
    with pytest.raises(ValueError, match=r"p2\.png has 48 × 40 .* 40 × 48; one was turned as its EXIF orientation"):
        add("folder", root, tmp_path, "m")


@pytest.mark.parametrize(
    "values", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), -1, np.int32), np.full((4, 4), 70_000, np.int32)]
)
def test_the_remedy_for_odd_numbers_of_a_mask_scales_nothing(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="as a grey PNG") as error:
        read_mask(tmp_path / "a.tif")
    assert "scale" not in str(error.value)


@pytest.mark.parametrize("part", ["images", "masks"])
def test_folders_inside_are_named_as_such(tmp_path, part):
    (folder(tmp_path / "f") / part / "gland").mkdir()
    with pytest.raises(ValueError, match=rf"{part}/gland is a folder, and files in it are not read; move them into"):
        add("folder", tmp_path / "f", tmp_path, "m")
