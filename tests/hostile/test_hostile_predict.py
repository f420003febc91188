"""`bench predict` on whatever is given to it: one sentence, nothing replaced that is not its own, nothing executed."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TOY
from PIL import Image

from benchmark.cli import main
from benchmark.protocol import setup, train
from benchmark.report.figures import pictures
from benchmark.runs import Run


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory) -> tuple[Path, str]:
    """The results of one run, and its key."""
    results = tmp_path_factory.mktemp("results")
    run = Run(method="supervised", **{**TOY, "steps": 1})
    return results, setup.complete(run, store).key if train.train(run, store, results) else ""


@pytest.fixture
def predict(finished, tmp_path):
    """Predicts, and gives the exit status and what was said."""
    results, key = finished

    def predicted(*paths, out: Path = tmp_path / "out") -> tuple[int, str]:
        words = ["predict", "--run", key, "--results", results, "--out", out, *paths]
        found = CliRunner().invoke(main, list(map(str, words)))
        assert found.exception is None or isinstance(found.exception, SystemExit), found.output
        return found.exit_code, found.output

    return predicted


def image(path: Path, size: tuple[int, int] = (40, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(path)
    return path


def test_an_empty_folder_is_an_error_and_named(predict, tmp_path):
    image(tmp_path / "full" / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    for paths in ((tmp_path / "empty",), (tmp_path / "full", tmp_path / "empty")):
        code, said = predict(*paths)
        assert code == 1 and "There is no image (.png .jpg" in said and str(tmp_path / "empty") in said
    assert not (tmp_path / "out").exists()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n")


def sixteen(path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(path)


def odd(path: Path) -> None:
    with open(os.fsencode(path.parent) + b"/a\xff.png", "wb"):
        pass


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (pipe, "is a named pipe, not a regular file"),
        (postscript, "is not an image that can be read"),
        (lambda path: path.write_bytes(b""), "is not an image that can be read"),
        (lambda path: image(path) and path.write_bytes(path.read_bytes()[:90]), "truncated or damaged"),
        (sixteen, "16 bits"),
        (lambda path: path.mkdir(), "is a folder, not a regular file"),
        (lambda path: path.symlink_to("absent.png"), "cannot be opened"),
        (odd, "is not UTF-8; rename the file"),
    ],
)
def test_a_hostile_file_in_a_folder_is_one_sentence(predict, tmp_path, write, words):
    image(tmp_path / "in" / "b.png")
    write(tmp_path / "in" / "a.png")
    code, said = predict(tmp_path / "in")
    assert code == 1 and words in said
    assert said.count("\n") == 1 or "Predicting" in said


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 5), (33, 31)])
def test_images_of_any_size_are_predicted(predict, tmp_path, size):
    code, said = predict(image(tmp_path / "a.png", size))
    assert code == 0, said
    assert np.asarray(Image.open(tmp_path / "out" / "a_mask.png")).shape == size


def test_masks_that_somebody_drew_are_never_replaced(predict, tmp_path):
    drawn = image(tmp_path / "in" / "a_mask.png").read_bytes()
    image(tmp_path / "in" / "a.png")
    code, said = predict(tmp_path / "in" / "a.png", out=tmp_path / "in")
    assert code == 1 and "a_mask.png was not written by `bench predict`, so it is kept" in said
    assert (tmp_path / "in" / "a_mask.png").read_bytes() == drawn
    assert not (tmp_path / "in" / "a_overlay.png").exists()
    for _ in range(2):
        assert predict(tmp_path / "in" / "a.png")[0] == 0, "its own may be replaced"


@pytest.mark.parametrize("what", ["a pipe", "a link", "a link to nowhere", "a folder"])
def test_what_is_no_regular_file_in_the_place_of_a_mask_is_kept_and_not_opened(predict, tmp_path, what):
    place = tmp_path / "out" / "a_mask.png"
    place.parent.mkdir()
    if what == "a pipe":
        os.mkfifo(place)
    elif what == "a folder":
        place.mkdir()
    else:
        place.symlink_to(image(tmp_path / "own.png") if what == "a link" else "absent")
    before = place.lstat()
    code, said = predict(image(tmp_path / "a.png"))
    assert code == 1 and "a_mask.png was not written by `bench predict`, so it is kept" in said
    assert place.lstat() == before


def test_predictions_are_not_predicted_again(predict, tmp_path):
    image(tmp_path / "in" / "a.png")
    assert predict(tmp_path / "in", out=tmp_path / "in")[0] == 0
    code, said = predict(tmp_path / "in", out=tmp_path / "in")
    assert code == 1 and "was written by `bench predict`; keep predictions and images in different folders" in said
    assert len(list((tmp_path / "in").iterdir())) == 3


def test_names_that_differ_in_their_spelling_alone_are_one_name(predict, tmp_path):
    both = [image(tmp_path / folder / name) for folder, name in (("x", "ü.png"), ("y", "u\u0308.png"))]
    code, said = predict(*both)
    assert code == 1 and "have the same name" in said


# ----------------------------------------------------------------------------------------------------------------------
# Pixels with the ignore label


def with_ignored(size: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A pale image, and labels with a class on the left and ignored pixels on the right."""
    labels = np.zeros((size, size), np.uint8)
    labels[10:30, 5:25], labels[:, 45:] = 1, 255
    return np.full((size, size, 3), 220, np.uint8), labels


def test_ignored_pixels_have_a_veil_and_no_outline():
    pixels, labels = with_ignored()
    shown = pictures.overlay(pixels, labels)
    assert (shown[:, 45:] == 220 // 2 + 64).all(), "one grey, without a frame"
    assert (shown[:, 30:45] == 220).all()
    assert len(np.unique(shown[10:30, 5:25].reshape(-1, 3), axis=0)) > 1, "the class has its frame"


def test_ignored_pixels_are_in_the_legend_and_are_no_class(tmp_path, monkeypatch):
    pixels, labels = with_ignored()
    legends, real = [], pictures._legend
    monkeypatch.setattr(pictures, "_legend", lambda figure, colours: legends.append(colours) or real(figure, colours))
    pictures.run_picture([("best", 0.5, pixels, labels, labels // 255)], tmp_path / "a.png", "title")
    pictures.run_picture([("best", 0.5, pixels, labels // 255, labels // 255)], tmp_path / "b.png", "title")
    assert list(legends[0]) == ["truth", "prediction", "ignored"] and list(legends[1]) == ["truth", "prediction"]
    contours = []
    figure = pictures.Figure()
    axes = figure.subplots()
    monkeypatch.setattr(axes, "contour", lambda x, y, mask, **style: contours.append(mask) or StubLines())
    pictures.outline(axes, labels, pictures.COLOURS, 100)
    assert len(contours) == 1 and contours[0].sum() == 400


class StubLines:
    def set_path_effects(self, effects) -> None:
        """Lines that are not drawn need none."""
