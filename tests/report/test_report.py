"""Tables count what they say, and pictures are whole files that show the right pixels."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmark.analysis.stats import mean_interval
from benchmark.report.figures import pictures
from benchmark.report.tables import summary


def scored(patient: str, dice: float | None, present: bool = True, predicted: bool = True, **more) -> dict:
    """The scores of an image with one foreground class."""
    far = None if dice is None else 10.0 * (1 - dice)
    per_class = {"dice": [dice], "jaccard": [dice], "hd95": [far], "assd": [far], "boundary_f1": [dice]}
    flags = {"present": [present], "predicted": [predicted]}
    return {"name": "n", "patient": patient, **per_class, **flags, "background_dice": 0.9, "ece": 0.1, **more}


SCORES = [
    scored("a", 0.8),
    scored("a", 0.6),
    scored("b", 0.7),
    scored("b", 0.0, present=False),
    scored("c", None, present=False, predicted=False),
]


def table(scores: list[dict], classes=("background", "gland")) -> dict[str, tuple]:
    columns = {name: [image[name] for image in scores] for name in scores[0]}
    return {name: tuple(numbers) for name, *numbers in summary.every(columns, classes)}


def of_two_classes() -> list[dict]:
    doubled = [
        {key: value * 2 if isinstance(value, list) else value for key, value in image.items()} for image in SCORES
    ]
    doubled[0]["dice"] = [0.8, 0.2]
    doubled[1]["dice"] = [0.6, None]
    return doubled


def test_a_mean_its_interval_over_patients_and_the_number_of_images_with_a_value():
    mean, low, high = mean_interval([0.8, 0.6, 0.7, 0.0], "aabb")
    assert table(SCORES)["Dice"] == pytest.approx((mean, low, high, 4))
    assert table(SCORES)["HD95 (pixels)"][0] == pytest.approx(10 * (1 - mean))
    assert table(SCORES)["Calibration error"] == pytest.approx((0.1, 0.1, 0.1, 5))


def test_distances_of_hits_are_there_only_if_there_are_misses_or_false_alarms():
    assert table(SCORES)["HD95 of hits (pixels)"][::3] == pytest.approx((3.0, 3))
    assert not any("hits" in name for name in table(SCORES[:3]))


def test_false_alarms_are_a_share_of_the_object_free_images():
    assert table(SCORES)["False alarms"][::3] == (0.5, 2)
    assert table(SCORES)["Missed"][::3] == (0.0, 3)
    assert "False alarms" not in table(SCORES[:3])


def test_bounds_stay_in_the_range_of_the_metric():
    numbers = table([scored("a", 1.0), scored("b", 0.2)])
    assert 0 < numbers["Dice"][1] < numbers["Dice"][2] < 1
    assert numbers["HD95 (pixels)"][1] > 0
    assert numbers["HD95 (pixels)"][2] > 10


def test_one_patient_has_no_interval_and_no_image_no_mean():
    assert np.isnan(table(SCORES[:2])["Dice"][1:3]).all()
    nothing = table([scored("a", None, present=False, predicted=False)])
    assert nothing["Dice"][3] == 0
    assert np.isnan(nothing["Dice"][0])


def test_object_scores_appear_where_they_exist():
    with_objects = [scored(p, 0.5, object_f1=[0.4], object_dice=[0.3], object_hausdorff=[20.0]) for p in "ab"]
    assert table(with_objects)["Object F1"][::3] == (0.4, 2)
    assert table(with_objects)["Object Hausdorff (pixels)"][0] == 20
    assert "Object F1" not in table(SCORES)


def test_every_class_has_its_own_line_beside_the_mean_over_classes():
    names = table(of_two_classes(), ("background", "gland", "tumour"))
    assert names["Dice, gland"][0] == pytest.approx(table(SCORES)["Dice"][0])
    assert names["Dice, tumour"][0] == pytest.approx((0.2 + 0.7 + 0.0) / 3)
    assert names["Dice, mean over classes"][0] == pytest.approx((2.1 / 4 + 0.9 / 3) / 2)
    assert "Dice" not in names


def test_the_short_table_has_the_mean_and_each_class_and_of_one_class_that_alone():
    columns = {name: [image[name] for image in of_two_classes()] for name in SCORES[0]}
    short = summary.by_class(columns, ("background", "gland", "tumour"))
    assert list(short) == ["mean over classes", "gland", "tumour"]
    assert [of[0].mean for of in short.values()] == pytest.approx([(2.1 / 4 + 0.9 / 3) / 2, 2.1 / 4, 0.9 / 3])
    assert list(summary.by_class(columns, ("background", "gland"))) == ["gland"]


def test_the_dice_of_cdmas_released_code_is_named_so_and_says_how_far_it_is_from_ours():
    expected = np.mean([[0.9, 0.6], [0.9, 0.7], [0.9, 0.0], [0.9, 1.0]])
    ours = (0.8 + 0.6 + 0.7 + 0.0) / 4
    name = f"Dice as CDMA's released code counts ({expected - ours:+.3f})"
    assert table(SCORES)[name][::3] == pytest.approx((expected, 4))


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def disc(size: tuple[int, int] = (60, 80)) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: size[0], : size[1]]
    mask = ((y - 30) ** 2 + (x - 40) ** 2 < 300).astype(np.uint8)
    return np.full((*size, 3), 200, np.uint8), mask


def colours_in(path) -> set[str]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    return {"#{:02X}{:02X}{:02X}".format(*colour) for colour in np.unique(pixels, axis=0)}


def test_a_runs_picture_shows_truth_and_prediction_in_their_colours(tmp_path):
    image, mask = disc()
    path = tmp_path / "new folder" / "run.png"
    panels = [("best: a$b_", 0.9, image, mask, np.roll(mask, 9, 1)), ("worst: ü", 0.0, image, mask, 0 * mask)]
    pictures.run_picture(panels, path, "Title with 100 $ & _")
    assert colours_in(path) >= {pictures.TRUTH, pictures.PREDICTION, "#C8C8C8"}
    assert [file.name for file in path.parent.iterdir()] == ["run.png"]
    pictures.run_picture([("best", 1.0, image, mask * 0, mask * 0)], path, "Nothing to see")
    assert "#C8C8C8" in colours_in(path)


def test_several_classes_have_several_colours(tmp_path):
    image, mask = disc()
    pictures.run_picture([("a", 0.5, image, mask * 2, mask)], tmp_path / "run.png", "", ("none", "one", "two"))
    assert colours_in(tmp_path / "run.png") >= set(pictures.COLOURS[:2])


def test_a_contact_sheet_shows_every_part_and_images_without_a_mask(tmp_path):
    image, mask = disc()
    records = [SimpleNamespace(patient=f"p{k}", annotated=k != 1) for k in range(5)]

    def label(place):
        assert records[place].annotated
        return mask

    store = SimpleNamespace(
        name="toy",
        classes=lambda: ("background", "gland"),
        unit="patient",
        ignores=False,
        records=records,
        dataset=SimpleNamespace(splits={"patient": "by patient"}),
        used=lambda split: {"train": [0, 1, 2], "val": [], "test": [3, 4]},
        image=lambda place: image,
        label=label,
    )
    pictures.contact_sheet(store, "", tmp_path / "sheet.png", per_part=3)
    assert colours_in(tmp_path / "sheet.png") >= {pictures.COLOURS[0], "#C8C8C8"}


def test_a_contact_sheet_shows_all_of_a_few_masks_and_evenly_picked_images_without():
    records = [SimpleNamespace(annotated=k in (7, 9)) for k in range(12)]
    store = SimpleNamespace(records=records)
    assert pictures._picked(store, range(12), 5) == [7, 9, 0, 4, 11]
    assert pictures._picked(store, range(12), 2) == [7, 9]
    assert pictures._picked(store, [7], 5) == [7]


def test_an_overlay_frames_objects_from_inside_and_changes_nothing_else():
    image, mask = disc()
    framed = pictures.overlay(image, mask)
    changed = (framed != image).any(2)
    assert changed.any()
    assert not changed[mask == 0].any()
    assert not changed[30, 40]
    assert {tuple(colour) for colour in framed[changed].tolist()} == {(0, 0x72, 0xB2), (255, 255, 255)}
    assert (image == 200).all()


@pytest.mark.parametrize("rows", [3, 7, 64])
def test_an_overlay_is_the_same_however_many_rows_are_worked_on_at_a_time(monkeypatch, rows):
    image, mask = disc()
    mask[5:50, 60:75] = 2
    whole = pictures.overlay(image, mask)
    monkeypatch.setattr(pictures, "BAND_ROWS", rows)
    assert np.array_equal(pictures.overlay(image, mask), whole)


def test_what_fills_an_image_is_outlined_along_its_edge():
    axes = Figure().subplots()
    pictures.outline(axes, np.ones((30, 40), np.uint8), pictures.COLOURS, 400)
    (lines,) = axes.collections
    (path,) = lines.get_paths()
    assert path.get_extents().extents.tolist() == [0.5, 0.5, 39.5, 29.5], "centres of the outermost pixels"


def test_what_fills_an_image_is_framed_along_its_edge():
    framed = pictures.overlay(np.full((30, 40, 3), 200, np.uint8), np.ones((30, 40), np.uint8))
    changed = (framed != 200).any(2)
    assert changed[[0, -1]].all() and changed[:, [0, -1]].all() and not changed[5:-5, 5:-5].any()


def test_an_overlay_needs_labels_of_the_images_size():
    image, mask = disc()
    with pytest.raises(ValueError, match="must agree"):
        pictures.overlay(image, mask.T)


@pytest.mark.parametrize("shape", [(1, 1), (30, 17), (30, 17, 3), (5, 2000, 3)])
def test_a_saved_png_is_read_back_pixel_by_pixel(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(pictures, "BAND_ROWS", 8)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pictures.save_png(pixels, tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as picture:
        picture.load()
        assert picture.mode == ("RGB" if len(shape) == 3 else "L")
        assert np.array_equal(np.asarray(picture), pixels)
