"""Folders of images, masks and tables as people really have them: read rightly, refused, or with a warning."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmark.cli import main
from benchmark.datasets.base import IGNORE
from benchmark.datasets.store import Store, add, open_store, summary
from benchmark.protocol import batches as data_of_runs
from benchmark.runs import Run

SHARED = Path(__file__).parents[3] / "shared" / "cases" / "make.py"  # where there are more of these folders
LOSSY = "is compressed with loss, which has changed its numbers .*save masks as PNG"
OBJECTS = "which differ from image to image: these look like object numbers; add the folder with --instances"


def picture(seed: int, classes: int = 1, size: tuple[int, int] = (40, 48)) -> tuple[np.ndarray, np.ndarray]:
    """An image (h, w, 3) of discs on pale ground and their class numbers (h, w)."""
    random = np.random.default_rng(seed)
    image, labels = random.normal(220, 8, (*size, 3)), np.zeros(size, np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    for c in range(1, classes + 1):
        inside = (y - random.uniform(10, 30)) ** 2 + (x - random.uniform(10, 38)) ** 2 < 49
        labels[inside], image[inside] = c, random.normal(90 + 20 * c, 10, (int(inside.sum()), 3))
    return image.clip(0, 255).astype(np.uint8), labels


def png(labels: np.ndarray, path: Path, scale: int = 255) -> None:
    Image.fromarray(labels * np.uint8(scale)).save(f"{path}.png")


def folder(root: Path, save_mask: Callable = png, count: int = 6, classes: int = 1) -> Path:
    """Writes images p0, p1 … and their masks: `save_mask(labels, path without suffix)`."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(count):
        image, labels = picture(i, classes)
        Image.fromarray(image).save(root / "images" / f"p{i}.png")
        save_mask(labels, root / "masks" / f"p{i}")
    return root


def table(root: Path, name: str, header: tuple[str, str], value: Callable[[int], str], count: int = 6) -> None:
    with open(root / name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *((f"p{i}", value(i)) for i in range(count))])


def squares(labels: np.ndarray, path: Path) -> None:
    """Object numbers: one more square in every image."""
    out = np.zeros_like(labels)
    for k in range(3 + int(path.name[1:])):
        out[5 * (k // 4) : 5 * (k // 4) + 4, 10 * (k % 4) : 10 * (k % 4) + 6] = k + 1
    png(out, path, 1)


def white_palette(labels: np.ndarray, path: Path) -> None:
    image = Image.fromarray(labels, "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(f"{path}.png")


def with_ignored(labels: np.ndarray, path: Path) -> None:
    labels = labels.copy()
    labels[:4] = IGNORE
    png(labels, path, 1)


def patients_by_hand(root: Path) -> Path:
    table(folder(root), "patients.csv", ("image", "patient"), lambda i: f"{'Case' if i % 2 else 'case'} {i // 2}")
    return root


def patient_in_both_parts(root: Path) -> Path:
    table(folder(root), "patients.csv", ("image", "patient"), lambda i: f"case {i // 2}")
    table(root, "split.csv", ("image", "part"), lambda i: "test" if i % 2 else "train")
    return root


def postscript(root: Path) -> Path:
    (folder(root) / "images" / "p0.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n"
    )
    return root


def pipe(root: Path) -> Path:
    os.mkfifo(folder(root) / "images" / "pipe.png")
    return root


OWN = {
    "jpeg-class-numbers": lambda root: folder(
        root, lambda labels, path: Image.fromarray(labels).save(f"{path}.jpg", quality=95), classes=2
    ),
    "jpeg-in-tiff": lambda root: folder(
        root, lambda labels, path: Image.fromarray(20 * labels).save(f"{path}.tif", compression="jpeg"), classes=2
    ),
    "lossy-webp": lambda root: folder(
        root, lambda labels, path: Image.fromarray(labels).save(f"{path}.webp", quality=80), classes=2
    ),
    "instance-numbers": lambda root: folder(root, squares),
    "class-numbers-with-gaps": lambda root: folder(root, lambda labels, path: png(labels, path, 5), classes=2),
    "patient-names-by-hand": patients_by_hand,
    "palette-white-background": lambda root: folder(root, white_palette),
    "ignore-label-255": lambda root: folder(root, with_ignored, classes=2),
    "empty-masks": lambda root: folder(root, lambda labels, path: png(labels, path, 0)),
    "name with blank & sign #1": folder,
    "patient-in-both-parts": patient_in_both_parts,
    "postscript-called-png": postscript,
    "a-pipe-among-the-images": pipe,
}
REFUSED = {
    "jpeg-class-numbers": LOSSY,
    "jpeg-in-tiff": LOSSY,
    "lossy-webp": LOSSY,
    "instance-numbers": OBJECTS,
    "postscript-called-png": "is not an image that can be read",
    "a-pipe-among-the-images": "is a named pipe, not a regular file",
}


def told(root: Path, data: Path) -> str:
    """What the command says of a folder that it takes."""
    found = CliRunner().invoke(main, ["data", "add", "folder", str(root), "--name", "case", "--data", str(data)])
    assert found.exit_code == 0, found.output
    return found.output


def check_gaps(store: Store, text: str) -> None:
    assert store.classes() == ("background", "class 5", "class 10")
    assert set(np.unique([store.label(i) for i in range(len(store.records))])) == {0, 1, 2}
    assert "No mask has the class numbers 1 to 4 and 6 to 9" in text


def check_patients(store: Store, text: str) -> None:
    assert {record.patient for record in store.records} == {"case 0", "case 1", "case 2"}
    assert "patient written in several ways, taken as one (Case 0 = case 0" in text


def check_palette(store: Store, text: str) -> None:
    assert 0 < np.mean([store.label(i).mean() for i in range(len(store.records))]) < 0.4, "the discs, not the ground"
    assert "0, shown in white, is background" in text


def check_ignored(store: Store, text: str) -> None:
    assert store.ignores and store.classes() == ("background", "class 1", "class 2")
    for label in (store.label(i) for i in range(len(store.records))):
        assert (label[:4] == IGNORE).all()
        assert set(np.unique(label)) <= {0, 1, 2, IGNORE}
    assert "Ignore label 255: 10." in text and "excluded from loss and scores" in text


def check_empty(store: Store, text: str) -> None:
    assert "No mask has an object, so no score can be computed" in text


def check_name(store: Store, text: str) -> None:
    assert len(store.records) >= 6
    assert "bench sweep quick --dataset case" in text


def check_leak(store: Store, text: str) -> None:
    leak = "have images in more than one part of split.csv (case 0, case 1, case 2"
    assert f"This split leaks: {len({r.patient for r in store.records})} patients {leak}" in text
    assert leak in "\n".join(summary(store, "file"))
    run = Run(dataset="case", split="file", ratio=1)
    certificate = data_of_runs.certificate(store, run, data_of_runs.draw(store, run), {})
    assert leak in certificate.leak, "what every table prints below it"


TAKEN = {
    "class-numbers-with-gaps": check_gaps,
    "patient-names-by-hand": check_patients,
    "palette-white-background": check_palette,
    "ignore-label-255": check_ignored,
    "empty-masks": check_empty,
    "name with blank & sign #1": check_name,
    "patient-in-both-parts": check_leak,
}


def check(root: Path, name: str, data: Path) -> None:
    """A folder of that name is refused or taken as it should be."""
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]) as error:
            add("folder", root, data, "case")
        assert "\n" not in str(error.value)
        assert not (data / "case").exists()
    else:
        text = told(root, data)
        TAKEN[name](open_store("case", data), text)


@pytest.fixture
def no_sheet(monkeypatch):
    """Without contact sheets, which take more time than all the rest."""
    monkeypatch.setattr("benchmark.report.figures.pictures.contact_sheet", lambda store, split, path: None)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.usefixtures("no_sheet")
def test_each_case_is_refused_or_taken_as_it_should_be(tmp_path, name):
    check(OWN[name](tmp_path / name), name, tmp_path / "data")


@pytest.mark.usefixtures("no_sheet")
@pytest.mark.skipif(not SHARED.exists(), reason="the script lies beside a checkout only where it is developed")
def test_every_shared_case_is_refused_or_taken_as_it_should_be(tmp_path):
    subprocess.run([sys.executable, SHARED, tmp_path / "cases"], check=True, capture_output=True)
    roots = sorted((tmp_path / "cases").iterdir())
    assert {root.name for root in roots} <= set(REFUSED) | set(TAKEN), "a case without an expectation"
    for number, root in enumerate(roots):
        check(root, root.name, tmp_path / f"data{number}")


# ----------------------------------------------------------------------------------------------------------------------
# Masks


def mixed(root: Path, masks: dict[int, np.ndarray]) -> Path:
    """A folder of which some masks are replaced."""
    folder(root, classes=2, save_mask=lambda labels, path: png(labels, path, 1))
    for i, mask in masks.items():
        Image.fromarray(mask).save(root / "masks" / f"p{i}.png")
    return root


def test_255_beside_class_numbers_means_ignored_in_the_other_masks_too(tmp_path):
    only = np.zeros((40, 48), np.uint8)
    only[:10] = IGNORE
    some = picture(1, 2)[1]
    some[30:] = IGNORE
    store = add("folder", mixed(tmp_path / "f", {0: only, 1: some}), tmp_path, "m")
    assert store.classes() == ("background", "class 1", "class 2")
    assert np.array_equal(store.label(0), only) and np.array_equal(store.label(1), some)
    store.verify()
    text = "\n".join(summary(store))
    assert "in 2 masks (p0, p1)" in text and "with 255 as the ignore label (p0)" in text
    assert "black and white" not in text
    assert "mask without any object (p0)" in text


def test_the_ignore_label_is_part_of_the_content(tmp_path):
    some = picture(1, 2)[1]
    before = add("folder", mixed(tmp_path / "f", {}), tmp_path, "m").content
    some[0, 0] = IGNORE
    Image.fromarray(some).save(tmp_path / "f" / "masks" / "p1.png")
    assert add("folder", tmp_path / "f", tmp_path, "m").content != before


def test_the_ignore_label_stays_in_every_task(tmp_path, monkeypatch):
    some = picture(1, 2)[1]
    some[:5] = IGNORE
    store = add("folder", mixed(tmp_path / "f", {1: some}), tmp_path, "m")
    monkeypatch.setattr(type(store.dataset), "tasks", ("a", "b"))
    monkeypatch.setattr(type(store.dataset), "label", lambda self, task, record, mask: (mask > 0).astype(np.uint8))
    for task in ("a", "b"):
        label = store.label(1, task)
        assert (label[:5] == IGNORE).all() and label[5:].max() == 1 and label.dtype == np.uint8


def test_ignored_pixels_of_classes_with_gaps_stay_ignored(tmp_path):
    root = folder(tmp_path / "f", lambda labels, path: png(np.where(labels, 7 * labels, 0), path, 1), classes=2)
    some = 7 * picture(1, 2)[1]
    some[:5] = IGNORE
    Image.fromarray(some).save(root / "masks" / "p1.png")
    store = add("folder", root, tmp_path, "m")
    assert store.classes() == ("background", "class 7", "class 14")
    assert np.array_equal(store.label(1), np.where(some == IGNORE, IGNORE, some // 7))
    store.verify()


def test_one_number_that_is_not_1_is_the_foreground(tmp_path):
    store = add("folder", folder(tmp_path / "f", lambda labels, path: png(labels, path, 4)), tmp_path, "m")
    assert store.classes() == ("background", "class 4")
    assert store.label(0).max() == 1


def test_named_classes_without_a_mask_stay_and_are_said(tmp_path):
    root = folder(tmp_path / "f", lambda labels, path: png(labels, path, 2))
    (root / "classes.txt").write_text("stroma\ngland\nlumen\nfat\n")
    store = add("folder", root, tmp_path, "m")
    assert store.classes() == ("stroma", "gland", "lumen", "fat")
    assert store.label(0).max() == 2
    assert "No mask has the class gland (1), fat (3), which classes.txt names." in store.notes


def test_a_class_that_a_part_does_not_hold_is_said(tmp_path):
    without = np.minimum(picture(0, 2)[1], 1)
    root = mixed(tmp_path / "f", {0: without, 1: without, 2: without})
    table(root, "split.csv", ("image", "part"), lambda i: "train" if i < 3 else "test")
    assert "Split file: no mask of its train images has class 2." in add("folder", root, tmp_path, "m").notes


def test_object_numbers_are_kept_when_asked_for(tmp_path):
    store = add("folder", folder(tmp_path / "f", squares), tmp_path, "m", instances=True)
    for read in (store, open_store("m", tmp_path)):
        assert read.dataset.instances and read.classes() == ("background", "foreground")
        assert read.mask(5).dtype == np.uint16 and read.mask(5).max() == 8
        assert set(np.unique(read.label(5))) == {0, 1}
        read.verify()


def test_object_numbers_above_255_need_the_option(tmp_path):
    root = folder(tmp_path / "f")
    Image.fromarray(np.full((40, 48), 300, np.uint16)).save(root / "masks" / "p3.png")
    with pytest.raises(ValueError, match=r"p3\.png has the value 300; .*add the folder with --instances"):
        add("folder", root, tmp_path, "m")
    assert add("folder", root, tmp_path, "m", instances=True).mask(3).max() == 300


def test_instances_of_black_and_white_or_lossy_masks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="number no objects; add the folder without --instances"):
        add("folder", folder(tmp_path / "f"), tmp_path, "m", instances=True)
    jpeg = folder(tmp_path / "g", lambda labels, path: Image.fromarray(255 * labels).save(f"{path}.jpg"))
    with pytest.raises(ValueError, match="compressed with loss"):
        add("folder", jpeg, tmp_path, "m", instances=True)
    with pytest.raises(ValueError, match="leave out --instances"):
        add("glas", tmp_path, tmp_path, instances=True)


def test_few_object_numbers_are_a_warning_and_named_classes_none(tmp_path):
    def few(labels, path):
        out = np.zeros_like(labels)
        for k in range(1 + int(path.name[1:]) % 3):
            out[:5, 10 * k : 10 * k + 6] = k + 1
        png(out, path, 1)

    root = folder(tmp_path / "f", few)
    assert any("add the folder with --instances" in note for note in add("folder", root, tmp_path, "m").notes)
    (root / "classes.txt").write_text("ground\na\nb\nc\n")
    assert not any("--instances" in note for note in add("folder", root, tmp_path, "n").notes)
    many = folder(tmp_path / "g", squares)
    (many / "classes.txt").write_text("\n".join(["ground", *"abcdefgh"]))
    assert len(add("folder", many, tmp_path, "o").classes()) == 9


# ----------------------------------------------------------------------------------------------------------------------
# Tables


def with_patients(root: Path, text: str | bytes, name: str = "patients.csv") -> Path:
    (folder(root) / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


ROWS = "".join(f"p{i},case {i}\n" for i in range(6))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,patient\n", r"patients\.csv has no row below its first line"),
        ("", "has no column 'image'"),
        ("\n\n", "has no column 'image'"),
        ("image,patient\n" + ROWS.replace("p3,case 3\n", ""), "does not name p3"),
        ("image,patient\n" + ROWS.replace("case 3", ""), "empty field in row 5"),
        ("image,patient\n" + ROWS.replace("case 3", '""'), "empty field in row 5"),
        ("image,patient\n" + ROWS.replace("p3,case 3", "p3"), "empty field in row 5"),
        ("image,patient\n" + ROWS.replace("case 3", "case 3, left"), "more fields in row 5"),
        ("image,patient\n" + ROWS.replace("case 3", '"case 3'), "quotation mark in row 5 that is not closed"),
        ("image,patient\n" + ROWS.replace("case 3", '"case" 3'), "quotation mark in row 5"),
        ("image,patient\n" + ROWS.replace("case 3", "nan"), "has 'nan' as the patient of 'p3'"),
        ("image,patient\n" + ROWS.replace("case 3", "N/A"), "has 'N/A' as the patient"),
        ("image,patient\n" + ROWS.replace("case 3", "unknown"), "a name that no other image has"),
        ("image,patient,patient\n" + ROWS.replace("\n", ",x\n"), "has 2 columns 'patient'"),
        ("image,patient\n" + ROWS.replace("case 3", "case\x00 3"), "control character in line 5"),
        (("image,patient\n" + ROWS.replace("case 3", "José")).encode("latin-1"), "not UTF-8 text; save it in UTF-8"),
        (("image,patient\n" + ROWS).encode("utf-16"), "not UTF-8 text"),
        (("image,patient\n" + ROWS).encode("utf-16-le"), "control character"),
    ],
)
def test_what_is_wrong_with_a_table_is_named_with_its_place(tmp_path, text, words):
    with pytest.raises(ValueError, match=words) as error:
        add("folder", with_patients(tmp_path / "f", text), tmp_path, "m")
    assert "\n" not in str(error.value) and "patients.csv" in str(error.value)


@pytest.mark.parametrize("name", ["patients.csv", "split.csv", "classes.txt"])
def test_every_text_file_is_checked_alike(tmp_path, name):
    root = with_patients(tmp_path / "f", "Drüse\n".encode("latin-1"), name)
    with pytest.raises(ValueError, match=rf"{name} is not UTF-8 text"):
        add("folder", root, tmp_path, "m")
    (root / name).unlink()
    os.mkfifo(root / name)
    with pytest.raises(ValueError, match=rf"{name} is a named pipe, not a regular file"):
        add("folder", root, tmp_path, "m")
    (root / name).unlink()
    (root / name).symlink_to("absent")
    with pytest.raises(ValueError, match=rf"{name} cannot be opened"):
        add("folder", root, tmp_path, "m")


@pytest.mark.parametrize("text", ["", "ground\nground\n", "ground\n", "\n".join(map(str, range(65)))])
def test_names_of_classes_are_enough_different_and_not_too_many(tmp_path, text):
    with pytest.raises(ValueError, match=r"classes\.txt names"):
        add("folder", with_patients(tmp_path / "f", text, "classes.txt"), tmp_path, "m")


def test_tabs_and_trailing_commas_are_understood(tmp_path):
    for text in ("image\tpatient\n" + ROWS.replace(",", "\t"), "image,patient,,\n" + ROWS.replace("\n", ",,\n")):
        root = with_patients(tmp_path / str(len(text)), text)
        assert [r.patient for r in add("folder", root, tmp_path, "m").records] == [f"case {i}" for i in range(6)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("case 1", "Case  1", True),
        ("case 1", "case\u00a01", True),
        ("case 1", "case 1\u200b", True),
        ("Müller", "MU\u0308LLER", True),
        ("case 1", "case-01", False),
        ("P1", "P_1", False),
        ("0017", "17", False),
    ],
)
def test_one_patient_written_in_two_ways_is_one_or_is_said(tmp_path, one, other, same):
    text = "image,patient\n" + f"p0,{one}\np1,{other}\n" + "".join(f"p{i},other {i}a\n" for i in range(2, 6))
    store = add("folder", with_patients(tmp_path / "f", text), tmp_path, "m")
    first, second = (record.patient for record in store.records[:2])
    assert (first == second) == same
    said = "\n".join(summary(store))
    assert ("taken as one" in said) == same
    assert (f"Patients may be written in several ways: '{one}' and '{other}'" in said) == (not same)


def test_different_patients_are_not_called_alike(tmp_path):
    text = "image,patient\n" + "".join(
        f"p{i},{name}\n" for i, name in enumerate(("1-1", "11", "a1", "a 2", "10", "100"))
    )
    assert "several ways" not in "\n".join(summary(add("folder", with_patients(tmp_path / "f", text), tmp_path, "m")))


def test_commands_that_are_printed_can_be_pasted_into_a_shell(tmp_path, no_sheet):
    data = tmp_path / "data & $(more) 'quoted' #1"
    text = told(folder(tmp_path / "f"), data)
    (command,) = (line.removeprefix("Next").strip() for line in text.splitlines() if line.startswith("Next"))
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True).stdout
    assert words.splitlines()[:5] == ["bench", "sweep", "quick", "--dataset", "case"]
    assert words.splitlines()[-2:] == ["--data", str(data)]
    root = folder(tmp_path / "name with blank & sign #1")
    found = CliRunner().invoke(main, ["data", "add", str(root)])
    assert f"`bench data add folder '{root}'`" in found.output


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Patients.csv", "patients.csv"),
        ("patients.csv.txt", "patients.csv"),
        ("patients.xlsx", "patients.csv"),
        ("patient.csv", "patients.csv"),
        ("Split.csv", "split.csv"),
        ("classes.csv", "classes.txt"),
        ("unlabeled", "unlabelled"),
    ],
)
def test_what_would_be_left_out_for_its_name_is_named(tmp_path, name, meant):
    (folder(tmp_path / "f") / name).touch()
    with pytest.raises(ValueError, match=f"{name} would not be read; rename it to {meant}"):
        add("folder", tmp_path / "f", tmp_path, "m")


@pytest.mark.parametrize("ending", ["_mask", "_overlay"])
def test_predictions_among_the_images_are_not_images(tmp_path, ending):
    root = folder(tmp_path / "f")
    Image.fromarray(picture(0)[1]).save(root / "images" / f"p3{ending}.png")
    with pytest.raises(ValueError, match=f"p3{ending}.png has the name of the mask or overlay of p3"):
        add("folder", root, tmp_path, "m")


def test_black_objects_on_white_are_asked_about(tmp_path):
    store = add("folder", folder(tmp_path / "f", lambda labels, path: png(1 - labels, path)), tmp_path, "m")
    assert any("if objects are shown in black, invert the masks" in note for note in store.notes)
    store = add("folder", folder(tmp_path / "g"), tmp_path, "n")
    assert not any("invert" in note for note in store.notes)
