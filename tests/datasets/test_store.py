"""A store holds what the files held, appears whole or not at all, and says what is wrong with a file."""

import dataclasses
import errno
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import datasets
from benchmark.datasets import resample
from benchmark.datasets.phantom import Phantom
from benchmark.datasets.store import Store, add, at_resolution, open_store, scale_of, summary
from benchmark.datasets.store.index import FORMAT
from benchmark.runs import Run

SIZES = [(20, 30), (31, 17), (24, 24), (20, 30), (40, 8)]


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZES[seed % len(SIZES)], 3), np.uint8)


def mask(seed: int) -> np.ndarray:
    return (image(seed)[..., 0] > 200).astype(np.uint8)


@pytest.fixture
def root(tmp_path) -> Path:
    """Five images of different sizes with masks, and one without."""
    for name in ("images", "masks", "unlabelled"):
        (tmp_path / "root" / name).mkdir(parents=True)
    for seed in range(5):
        Image.fromarray(image(seed)).save(tmp_path / "root" / "images" / f"i{seed}.png")
        Image.fromarray(mask(seed) * 255).save(tmp_path / "root" / "masks" / f"i{seed}.png")
    Image.fromarray(image(5)).save(tmp_path / "root" / "unlabelled" / "i5.png")
    return tmp_path / "root"


@pytest.fixture
def data(tmp_path) -> Path:
    return tmp_path / "data"


def left_over(data: Path) -> list[str]:
    """What is in a data folder besides its lock."""
    return sorted(path.name for path in data.iterdir() if path.name != ".lock")


def test_a_store_gives_back_every_image_and_mask_bit_for_bit(root, data):
    store = add("folder", root, data, "mine")
    again = open_store("mine", data)
    assert [r.name for r in store.records] == ["i0", "i1", "i2", "i3", "i4", "unlabelled/i5"]
    for seed in range(6):
        assert np.array_equal(again.image(seed), image(seed))
    for seed in range(5):
        assert np.array_equal(again.mask(seed), mask(seed))
        assert np.array_equal(again.label(seed), mask(seed))
    with pytest.raises(ValueError, match="has no mask"):
        again.mask(5)
    assert (again.content, again.name, again.kind) == (store.content, "mine", "folder")
    assert again.classes() == store.classes()
    assert again.pixels.shape == (3 * sum(h * w for h, w in [*SIZES, SIZES[0]]),)
    with pytest.raises(ValueError, match="read-only"):
        again.image(0)[0, 0, 0] = 1


def test_every_image_is_opened_once_and_the_header_of_a_mask_once_more(root, data, monkeypatch):
    opened, real = Counter(), Image.open

    def counting(path, formats):
        opened[path] += 1
        return real(path, formats=formats)

    monkeypatch.setattr("benchmark.datasets.images.Image.open", counting)
    add("folder", root, data, "mine")
    assert {count for path, count in opened.items() if path.parent.name != "masks"} == {1}
    assert {count for path, count in opened.items() if path.parent.name == "masks"} == {2}, "once for its palette"
    assert len(opened) == 11


def test_progress_is_told_in_order(root, data):
    told = []
    add("folder", root, data, "mine", lambda *step: told.append(step))
    assert told[0] == (1, 6, "i0")
    assert told[-1] == (6, 6, "unlabelled/i5")


def test_the_content_tells_pixels_masks_names_and_patients_but_not_places(root, data, tmp_path):
    first = add("folder", root, data, "mine").content
    root = root.rename(tmp_path / "moved")
    for path in (root / "images").iterdir():
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    assert add("folder", root, data, "other").content == first
    found = {first}

    def differs():
        found.add(add("folder", root, data, "other").content)
        return len(found)

    pixels = image(0)
    pixels[3, 3, 0] ^= 1
    Image.fromarray(pixels).save(root / "images" / "i0.bmp")
    assert differs() == 2
    Image.fromarray((1 - mask(1)) * 255).save(root / "masks" / "i1.png")
    assert differs() == 3
    for folder, suffix in (("images", "bmp"), ("masks", "png")):
        (root / folder / f"i2.{suffix}").rename(root / folder / f"i9.{suffix}")
    assert differs() == 4
    (root / "patients.csv").write_text("image,patient\n" + "".join(f"i{i},p{i}\n" for i in (0, 1, 3, 4, 5, 9)))
    assert differs() == 5
    (root / "classes.txt").write_text("tissue\ntumour\n")
    assert differs() == 6


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "images" / "i3.png").write_bytes(b"\x89PNG\r\n\x1a\n"), r"i3\.png is not an image"),
        (lambda root: truncate(root / "masks" / "i3.png"), r"masks/i3\.png is truncated or damaged"),
        (
            lambda root: Image.fromarray(mask(1)).save(root / "masks" / "i3.png"),
            r"has 17 × 31 pixels and its image 30 × 20",
        ),
        (lambda root: Image.fromarray(mask(3) * 200).save(root / "masks" / "i3.png"), r"i3\.png has the value 200"),
        (lambda root: Image.fromarray(image(3)).convert("CMYK").save(root / "images" / "i3.png", "TIFF"), "CMYK"),
    ],
)
def test_a_bad_file_is_named_and_leaves_nothing_behind(root, data, spoil, words):
    spoil(root)
    with pytest.raises(ValueError, match=words) as error:
        add("folder", root, data, "mine")
    assert "\n" not in str(error.value)
    assert left_over(data) == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_the_first_bad_file_is_the_one_that_is_named(root, data):
    for name in ("i2.png", "i1.png", "i4.png"):
        truncate(root / "images" / name)
    with pytest.raises(ValueError, match=r"i1\.png"):
        add("folder", root, data, "mine")


def test_a_failing_addition_leaves_the_store_that_was_there(root, data):
    before = add("folder", root, data, "mine").content
    truncate(root / "images" / "i4.png")
    with pytest.raises(ValueError, match=r"i4\.png"):
        add("folder", root, data, "mine")
    assert open_store("mine", data).content == before
    assert left_over(data) == ["mine"]


def test_a_store_is_replaced_and_open_ones_stay_readable(root, data):
    old = add("folder", root, data, "mine")
    before = old.image(0)
    Image.fromarray(255 - image(0)).save(root / "images" / "i0.png")
    assert np.array_equal(add("folder", root, data, "mine").image(0), 255 - image(0))
    assert np.array_equal(before, image(0))
    assert left_over(data) == ["mine"]
    assert sorted(path.name for path in (data / "mine").iterdir()) == ["images.bin", "index.json", "masks.bin"]


def test_adding_the_same_again_leaves_the_store_untouched(root, data):
    add("folder", root, data, "mine")
    (data / "mine" / "contact_sheet.png").write_bytes(b"")
    add("folder", root, data, "mine")
    assert (data / "mine" / "contact_sheet.png").exists()


def test_two_additions_at_once_make_one_store(root, data):
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: add("folder", root, data, "mine"), range(2))
    assert first.content == second.content == open_store("mine", data).content
    assert left_over(data) == ["mine"]


def test_what_a_killed_addition_left_goes_with_the_next(root, data):
    (data / ".mine-abc.unfinished").mkdir(parents=True)
    (data / ".mine-abc.unfinished" / "images.bin").write_bytes(b"half")
    add("folder", root, data, "mine")
    assert left_over(data) == ["mine"]


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk of .* is full"), (errno.EROFS, "cannot be written")]
)
def test_a_full_or_read_only_disk_is_said_in_a_sentence(root, data, monkeypatch, number, words):
    def fails(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(ValueError, match=words):
        add("folder", root, data, "mine")
    assert left_over(data) == []


def test_a_data_folder_that_cannot_be_is_said_in_a_sentence(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        add("folder", root, tmp_path / "file" / "data", "mine")


def test_copies_are_reported_and_refused_only_if_their_masks_disagree(root, data):
    Image.fromarray(image(0)).save(root / "images" / "copy.png")
    Image.fromarray(mask(0) * 255).save(root / "masks" / "copy.png")
    store = add("folder", root, data, "mine")
    assert [note for note in store.notes if "same pixels" in note and "i0 = copy" in note]
    Image.fromarray((1 - mask(0)) * 255).save(root / "masks" / "copy.png")
    with pytest.raises(ValueError, match="'copy' and 'i0' are the same image with different masks"):
        add("folder", root, data, "mine")


def test_conversions_and_missing_masks_are_in_the_summary(root, data):
    Image.fromarray(image(0)[..., 0]).save(root / "images" / "i0.png")
    Image.fromarray(image(1)).convert("RGBA").save(root / "images" / "i1.png")
    lines = summary(add("folder", root, data, "mine"))
    assert any("1 × grey, converted to RGB (i0)" in line for line in lines)
    assert any("1 × opaque alpha channel, left out (i1)" in line for line in lines)
    assert any(line.startswith("6 images (5 annotated)") for line in lines)
    assert any(line.startswith("Split halves: half of the patients") for line in lines)
    assert any(line.startswith("  test  ") for line in lines)


def test_names_places_and_kinds_that_cannot_be_are_refused(root, data):
    for name in ("../mine", "a/b", ".hidden", ".."):
        with pytest.raises(ValueError, match="cannot name a dataset"):
            add("folder", root, data, name)
    with pytest.raises(ValueError, match="is a kind of dataset itself"):
        add("folder", root, data, "glas")
    with pytest.raises(ValueError, match="There is no folder"):
        add("folder", root / "absent", data)
    with pytest.raises(ValueError, match=r"bench data add glas PATH"):
        add("glas", None, data)
    with pytest.raises(ValueError, match="did you mean 'folder'"):
        add("foldr", root, data)
    assert not data.exists()


def test_a_missing_store_says_how_to_get_it(root, data):
    add("folder", root, data, "mine")
    with pytest.raises(ValueError, match=r"doi\.org.*bench data add ebhi-seg PATH"):
        open_store("ebhi-seg", data)
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        open_store("mines", data)


def test_a_store_that_is_not_whole_is_refused(root, data):
    folder = add("folder", root, data, "mine").folder
    index = (folder / "index.json").read_text()
    (folder / "masks.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"masks\.bin is not complete"):
        open_store("mine", data)
    (folder / "index.json").write_text(index[:-9])
    with pytest.raises(ValueError, match="damaged"):
        open_store("mine", data)
    (folder / "index.json").write_text(json.dumps({**json.loads(index), "format": 0}))
    with pytest.raises(ValueError, match="format 0"):
        open_store("mine", data)


def test_a_split_that_puts_an_image_in_two_parts_is_refused(root, data, monkeypatch):
    store = add("folder", root, data, "mine")
    parts = {"train": [0, 1], "val": [1], "test": [2]}
    monkeypatch.setattr(type(store.dataset), "parts", lambda self, split, records: parts)
    with pytest.raises(ValueError, match="'i1' in two parts"):
        Store(store.folder).split()
    with pytest.raises(ValueError, match="did you mean 'patient'"):
        store.split("patients")


def test_the_embedded_dataset_is_drawn_when_it_is_first_asked_for(data, monkeypatch):
    drawn = []

    def small(self, item):
        drawn.append(item.name)
        return image(len(item.name)), mask(len(item.name))

    monkeypatch.setattr(Phantom, "read", small)
    store = open_store("phantom", data)
    assert len(drawn) == len(store.records) == len(datasets.get("phantom").items(None))
    assert all(record.annotated for record in store.records)
    open_store("phantom", data)
    assert len(drawn) == len(store.records)


def test_records_tell_sizes_and_starts_that_follow_each_other(root, data):
    records = add("folder", root, data, "mine").records
    for before, after in pairwise(records):
        assert after.start == before.start + before.height * before.width
    assert {field.name for field in dataclasses.fields(records[0])} >= {"image_hash", "mask_hash", "fingerprint"}
    assert json.loads((data / "mine" / "index.json").read_text())["format"] == FORMAT


# ----------------------------------------------------------------------------------------------------------------------
# Resolution

HALF = Run(scale=0.5)


def test_a_store_at_half_the_resolution_has_every_image_and_mask_reduced(root, data):
    stored = add("folder", root, data, "mine")
    half = at_resolution(stored, HALF)
    assert (half.name, half.content, half.classes(), half.scale) == ("mine", stored.content, stored.classes(), 0.5)
    for place, (height, width) in enumerate([*SIZES, SIZES[0]]):
        shape = resample.size(height, width, 0.5)
        assert np.array_equal(half.image(place), resample.average(image(place), shape))
        if place < 5:
            assert np.array_equal(half.label(place), resample.majority(mask(place), shape))
    assert not half.records[5].annotated
    assert half.split() == stored.split()
    assert [record.image_hash for record in half.records] != [record.image_hash for record in stored.records]


def test_images_are_reduced_once_and_never_twice(root, data, monkeypatch):
    stored = add("folder", root, data, "mine")
    half = at_resolution(stored, HALF)
    quarter = at_resolution(half, Run(scale=0.25))
    assert np.array_equal(quarter.image(0), resample.average(image(0), (5, 8)))
    monkeypatch.setattr(resample, "average", None)
    assert at_resolution(open_store("mine", data), HALF).folder == at_resolution(half, HALF).folder == half.folder
    assert at_resolution(half, Run()).folder == at_resolution(stored, Run()).folder == stored.folder


def test_a_dataset_that_is_added_again_with_other_images_is_reduced_again(root, data):
    before = at_resolution(add("folder", root, data, "mine"), HALF).image(0).copy()
    Image.fromarray(255 - image(0)).save(root / "images" / "i0.png")
    after = at_resolution(add("folder", root, data, "mine"), HALF)
    assert np.array_equal(after.image(0), resample.average(255 - image(0), (10, 15)))
    assert not np.array_equal(after.image(0), before)


def test_a_reduced_store_of_other_content_or_not_whole_is_made_again(root, data):
    stored = add("folder", root, data, "mine")
    half = at_resolution(stored, HALF)
    index = json.loads((half.folder / "index.json").read_text())
    (half.folder / "index.json").write_text(json.dumps(index | {"content": "another"}))
    assert at_resolution(stored, HALF).content == stored.content
    (half.folder / "images.bin").write_bytes(b"")
    assert np.array_equal(at_resolution(stored, HALF).image(0), resample.average(image(0), (10, 15)))


def test_many_processes_make_one_reduced_store_and_a_killed_one_leaves_none(root, data, monkeypatch):
    stored = add("folder", root, data, "mine")
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="is full; free some space"):
        patch.setattr(resample, "majority", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        at_resolution(stored, HALF)
    assert left_over(data) == ["mine"]
    assert not list((data / "mine").glob(".scale*"))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: at_resolution(Store(data / "mine"), HALF).image(0).tolist(), range(4)))
    assert found == [resample.average(image(0), (10, 15)).tolist()] * 4
    assert left_over(data) == ["mine"]


def test_micrometres_a_pixel_become_a_scale(root, data):
    stored = add("folder", root, data, "mine", pixel_um=0.25)
    assert "pixels of 0.25 µm" in summary(stored)[1]
    assert scale_of(stored, Run(mpp=1.0)) == 0.25
    assert scale_of(stored, Run(mpp=0.25)) == 1
    half = at_resolution(stored, Run(mpp=0.5))
    assert (half.scale, half.pixel_um) == (0.5, 0.5)
    assert scale_of(half, Run(mpp=1.0)) == 0.25, "of the stored images, not of those"
    with pytest.raises(ValueError, match="have 0.25 µm per pixel, so --mpp 0.2 would enlarge them; give 0.25 or more"):
        scale_of(stored, Run(mpp=0.2))
    with pytest.raises(ValueError, match=r"is not known; add it again with .bench data add folder PATH --mpp NUMBER"):
        scale_of(add("folder", root, data, "other"), Run(mpp=1.0))


# ----------------------------------------------------------------------------------------------------------------------
# The unit of the split


def test_the_unit_of_the_split_is_named_instead_of_patients(root, data):
    (root / "patients.csv").write_text("image,patient\n" + "".join(f"i{i},o{i % 4}\n" for i in range(6)))
    add("folder", root, data, "mine", unit="organ", pixel_um=0.5)
    store = open_store("mine", data)
    said = "\n".join(summary(store))
    assert store.unit == at_resolution(store, HALF).unit == "organ"
    assert "6 images (5 annotated) of 4 organs" in said
    assert "half of the organs with masks" in said
    assert "The test images come from only 2 organs" in said
    assert "Images are grouped by organ, not by patient: whether the parts of the split share patients" in said
    assert said.count("patient") == 2, "in that sentence alone"


def test_a_store_without_a_unit_means_patients(root, data):
    store = add("folder", root, data, "mine")
    index = json.loads((store.folder / "index.json").read_text())
    assert index.pop("unit") == "patient"
    index.pop("seal")
    (store.folder / "index.json").write_text(json.dumps(index))
    assert open_store("mine", data).unit == "patient"
    assert any("because no patients are given" in said for said in store.cautions("halves"))
    (root / "patients.csv").write_text("image,patient\n" + "".join(f"i{i},p{i}\n" for i in range(6)))
    assert add("folder", root, data, "mine").cautions("halves") == []


def test_a_unit_is_one_word_and_only_of_a_folder(root, data):
    with pytest.raises(ValueError, match="'whole slide' is no name of a unit; give one word in the singular"):
        add("folder", root, data, "mine", unit="whole slide")
    with pytest.raises(ValueError, match="Images of 'phantom' are grouped by patient; another unit is for a folder"):
        add("phantom", None, data, unit="organ")


def test_a_split_or_task_with_a_caution_says_it(root, data):
    store = add("folder", root, data, "mine")
    store.dataset.cautions = {"halves": "Not known to be disjoint."}
    assert "Not known to be disjoint." in store.cautions("halves")
    assert "Not known to be disjoint." in summary(store, "halves")
    assert "Not known to be disjoint." not in store.cautions("patient")
