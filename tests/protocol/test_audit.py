"""The audit finds what the parts of a split share, in every orientation, and nothing else."""

import dataclasses
import io
import time

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from benchmark.datasets.base import Record
from benchmark.datasets.fingerprint import bits_apart, fingerprint, orientations
from benchmark.datasets.store import Store, add
from benchmark.protocol.audit import NEAR, audit, near_duplicates, sentences


def tissue(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    """A picture with structure at every scale."""
    random = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells in (4, 8, 16, 32):
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        image += np.asarray(coarse.resize((width, height), Image.BICUBIC), float) / 4
    return image.astype(np.uint8)


def views(image: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(view, k) for k in range(4) for view in (image, image[:, ::-1])]


def apart(one: np.ndarray, other: np.ndarray) -> int:
    first, second = (orientations([fingerprint(np.ascontiguousarray(image))]) for image in (one, other))
    return int(bits_apart(first[0], second)[0, 0])


def saved(image: np.ndarray, quality: int) -> np.ndarray:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


@pytest.mark.parametrize("size", [(90, 120), (37, 53), (32, 32), (7, 9), (224, 224)])
def test_a_fingerprint_is_the_same_for_all_flips_and_quarter_turns(size):
    for seed in range(5):
        assert len({fingerprint(np.ascontiguousarray(view)) for view in views(tissue(seed, *size))}) == 1


def test_symmetric_and_empty_pictures_have_one_fingerprint_in_all_orientations():
    half = tissue(0)[:, :60]
    symmetric = np.concatenate([half, half[:, ::-1]], 1)
    assert len({fingerprint(np.ascontiguousarray(view)) for view in views(symmetric)}) == 1
    assert fingerprint(np.full((50, 60, 3), 255, np.uint8)) == "0" * 64


def test_a_picture_of_many_bands_has_the_fingerprint_of_the_whole(monkeypatch):
    whole = fingerprint(tissue(1))
    monkeypatch.setattr("benchmark.datasets.fingerprint.BAND", 700)
    assert fingerprint(tissue(1)) == whole


def test_altered_copies_stay_near_and_other_pictures_far():
    for seed in range(10):
        image = tissue(seed)
        picture = Image.fromarray(image)
        for altered in (
            saved(image, 40),
            saved(np.rot90(image), 75),
            np.asarray(ImageEnhance.Brightness(picture).enhance(0.8)),
            np.asarray(ImageEnhance.Contrast(picture).enhance(1.2)),
            np.asarray(picture.filter(ImageFilter.GaussianBlur(1))),
            np.asarray(picture.resize((60, 45), Image.LANCZOS)),
            np.clip(image * [0.92, 1.04, 1.0] + [5, -4, 3], 0, 255).astype(np.uint8),
        ):
            assert apart(image, altered) < NEAR / 2
        assert all(apart(image, view) > NEAR * 1.3 for view in [tissue(seed + 100), tissue(seed + 200)])


@pytest.fixture
def store(tmp_path) -> Store:
    """Twelve images of twelve patients but for one who is in two parts; a copy and a turned, re-encoded copy."""
    root = tmp_path / "root"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    images = [tissue(seed) for seed in range(12)]
    images[8] = images[0]
    images[9] = saved(np.rot90(images[1]), 70)
    for number, image in enumerate(images):
        Image.fromarray(image).save(root / "images" / f"i{number}.png")
        Image.fromarray(np.full(image.shape[:2], 255, np.uint8)).save(root / "masks" / f"i{number}.png")
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    rows = [(f"i{number}", part, f"p{5 if number in (10, 11) else number}") for number, part in enumerate(parts)]
    (root / "split.csv").write_text("image,part\n" + "".join(f"{name},{part}\n" for name, part, _ in rows))
    (root / "patients.csv").write_text("image,patient\n" + "".join(f"{name},{patient}\n" for name, _, patient in rows))
    return add("folder", root, tmp_path / "data", "mine")


def test_shared_patients_copies_and_turned_copies_are_named_and_counted(store):
    findings = audit(store, "file")
    found = findings["pairs"]["train-test"]
    assert found["patients"] == ["p5"]
    assert found["patient_images"] == ["i10", "i11"]
    assert found["duplicates"] == [["i0", "i8"]]
    assert [pair[:2] for pair in found["near"]] == [["i1", "i9"]]
    assert findings["counts"]["train-test"] == {
        "patients": 1,
        "patient_images": 2,
        "slides": 0,
        "slide_images": 0,
        "duplicates": 1,
        "near": 1,
    }
    for pair in ("train-val", "val-test"):
        assert set(findings["counts"][pair].values()) == {0}
    said = sentences(findings)
    assert "train: 6 images of 6 patients" in said
    assert "2 of 4 test images come from patients with train images: p5" in said
    assert "1 train images are in test, too: i0 = i8" in said
    assert "1 train images look like one in test: i1 = i9" in said


def test_a_clean_split_is_said_to_be_clean(store):
    store.records = [
        dataclasses.replace(record, patient=str(i), image_hash=str(i), fingerprint=fingerprint(tissue(50 + i)))
        for i, record in enumerate(store.records)
    ]
    findings = audit(store)
    assert findings["split"] == "file"
    assert sentences(findings)[-1] == "The parts share no patient, no slide and no image."


def test_shared_slides_are_named(store):
    on = {"i0", "i6", "i7"}
    store.records = [dataclasses.replace(record, slide="s" if record.name in on else "") for record in store.records]
    findings = audit(store)
    assert findings["pairs"]["train-val"]["slides"] == ["s"]
    assert findings["counts"]["train-val"]["slide_images"] == 2
    assert findings["counts"]["train-test"]["slides"] == 0
    assert "2 of 2 val images come from slides with train images: s" in sentences(findings)


def test_thousands_of_images_are_compared_in_bounded_time_without_false_alarm():
    random = np.random.default_rng(0)
    records = [
        Record(str(i), str(i), "", "", (), 1, 1, 0, True, str(i), "", random.bytes(32).hex()) for i in range(2300)
    ]
    records[2299] = dataclasses.replace(records[2299], fingerprint=records[7].fingerprint)
    start = time.process_time()
    assert near_duplicates(records[:1600], records[1600:]) == [["7", "2299", 0]]
    assert time.process_time() - start < 2


def test_an_audit_reads_no_image(store):
    for name in ("images.bin", "masks.bin"):
        (store.folder / name).write_bytes(b"")
    assert audit(store)["parts"]["train"]["images"] == 6
