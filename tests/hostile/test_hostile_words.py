"""Names, patients and classes that mislead: too long, turned, shifted by a line, or twice among the images."""

import os
import shutil

import pytest
from PIL import Image
from test_hostile_folder import ROWS, folder, picture, table, with_patients

from benchmark.datasets.images import pictures
from benchmark.datasets.store import add, summary


@pytest.mark.parametrize("letter", ["\u202e", "\u2066"])
def test_what_turns_the_direction_of_text_is_refused_everywhere(tmp_path, letter):
    for name, text in (("patients.csv", "image,patient\n" + ROWS.replace("case 3", f"case{letter} 3")),
                       ("classes.txt", f"ground\ngl{letter}and\n")):  # fmt: skip
        with pytest.raises(ValueError, match=rf"{name} has a control character in line"):
            add("folder", with_patients(tmp_path / name, text, name), tmp_path, "m")
    (tmp_path / f"a{letter}gnp.png").touch()
    with pytest.raises(ValueError, match=r"u20.*' in .* has a control character; rename the file"):
        pictures(tmp_path)


def test_names_that_fit_into_no_table_are_refused(tmp_path):
    """A contact sheet with names of thousands of letters took minutes."""
    for length, words in ((201, "over 200 letters in row 5"), (200_000, "letters in row 5; shorten the row")):
        text = "image,patient\n" + ROWS.replace("case 3", "x" * length)
        with pytest.raises(ValueError, match=words):
            add("folder", with_patients(tmp_path / str(length), text), tmp_path, "m")
    with pytest.raises(ValueError, match="names a class in over 200 letters"):
        add("folder", with_patients(tmp_path / "f", "ground\n" + "g" * 201, "classes.txt"), tmp_path, "m")
    text = "image,patient\n" + ROWS.replace("case 3", "x" * 200)
    assert add("folder", with_patients(tmp_path / "g", text), tmp_path, "m").records[3].patient == "x" * 200


@pytest.mark.parametrize("text", ["# names\nBackground\ngland\n", "gland\nbackground\n"])
def test_a_background_that_is_not_the_first_name_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="has the background as another than the first name; put it first"):
        add("folder", with_patients(tmp_path / "f", text, "classes.txt"), tmp_path, "m")


def test_classes_that_differ_in_case_alone_are_one_name(tmp_path):
    with pytest.raises(ValueError, match="names a class twice"):
        add("folder", with_patients(tmp_path / "f", "ground\nGland\ngland\n", "classes.txt"), tmp_path, "m")


def test_numbers_that_a_spreadsheet_wrote_with_a_point_are_asked_about(tmp_path):
    text = "image,patient\n" + "".join(f"p{i},{name}\n" for i, name in enumerate(("17.0", "17", "2.5", "3", "4", "5")))
    said = "\n".join(summary(add("folder", with_patients(tmp_path / "f", text), tmp_path, "m")))
    assert "Patients may be written in several ways: '17.0' and '17'." in said


@pytest.mark.parametrize("what", ["a file", "a link to nowhere"])
def test_unlabelled_images_that_are_no_folder_are_not_left_out_in_silence(tmp_path, what):
    place = folder(tmp_path / "f") / "unlabelled"
    if what == "a file":
        place.touch()
    else:
        os.symlink("absent", place)
    with pytest.raises(ValueError, match="unlabelled is not a folder"):
        add("folder", tmp_path / "f", tmp_path, "m")


def test_files_that_systems_leave_are_passed_over_in_any_case(tmp_path):
    for name in (".DS_Store", "._p0.png", "Thumbs.db", "thumbs.db", "Desktop.ini", "Icon\r"):
        (tmp_path / name).touch()
    assert pictures(tmp_path) == {}


def test_test_images_among_the_training_images_are_said_with_what_it_means(tmp_path):
    root = folder(tmp_path / "f")
    table(root, "split.csv", ("image", "part"), lambda i: "train" if i < 3 else "test")
    said = "\n".join(summary(add("folder", root, tmp_path, "m")))
    assert "with the same pixels" not in said
    (root / "unlabelled").mkdir()
    shutil.copy(root / "images" / "p4.png", root / "unlabelled")
    said = "\n".join(summary(add("folder", root, tmp_path, "m")))
    assert "Split file: 1 test image with the same pixels as a training image (p4 = unlabelled/p4)" in said
    assert "so test scores are too high; remove one of each" in said
    Image.fromarray(picture(0)[0]).save(root / "unlabelled" / "p4.png")
    said = "\n".join(summary(add("folder", root, tmp_path, "m")))
    assert "(unlabelled/p4 = p0)" in said and "too high" not in said, "both are for training"
