"""Slides become ordinary datasets of tiles; annotations of QuPath become masks, and masks polygons."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slide_files import HEIGHT, POINT, UM, WIDTH, box, polygon, save_features, save_ome, save_slide, tissue

from benchmark.datasets import annotations, store
from benchmark.datasets.annotations import IGNORED, REGION, Annotations, Area, Raster
from benchmark.datasets.base import IGNORE
from benchmark.datasets.slides import Cut
from benchmark.datasets.wsi import Slide


@pytest.fixture
def root(tmp_path) -> Path:
    """Three slides; a and b have a completely annotated region with a tumour in it."""
    root = tmp_path / "wsi"
    for number, name in enumerate("abc"):
        save_slide(root / f"{name}.tif", tissue(number))
    for name in "ab":
        save_features(
            root / f"{name}.geojson", polygon(REGION, box(0, 0, 500, 500)), polygon("Tumor", box(100, 100, 300, 300))
        )
    return root


def add(root: Path, tmp_path: Path, mpp: float | None = 0.5, tile: int = 128, **cut):
    return store.add("slides", root, tmp_path / "data", "mine", pixel_um=mpp, cut=Cut(tile, **cut))


# ----------------------------------------------------------------------------------------------------------------------
# Slides


def test_a_region_is_read_at_any_resolution_and_white_beyond_the_slide(tmp_path):
    image = tissue()
    slide = Slide(save_slide(tmp_path / "s.tif", image))
    assert (slide.width, slide.height, slide.pixel_um) == (WIDTH, HEIGHT, UM)
    assert (slide.read(30, 20, 50, 40, UM) == image[20:60, 30:80]).all()
    half = np.asarray(Image.fromarray(image[:400, :400]).resize((200, 200), Image.Resampling.BOX))
    assert abs(slide.read(0, 0, 200, 200, 2 * UM).astype(int) - half).mean() < 15  # of the level, which is a sample
    assert (slide.read(-4, -4, 8, 8, UM)[:4] == 255).all() and (
        slide.read(-4, -4, 8, 8, UM)[4:, 4:] == image[:4, :4]
    ).all()
    assert (slide.read(WIDTH - 4, 0, 8, 8, UM)[:, 4:] == 255).all()


def test_a_large_region_is_read_in_parts(tmp_path, monkeypatch):
    slide = Slide(save_slide(tmp_path / "s.tif", tissue(), levels=1))
    whole = slide.read(0, 0, 150, 100, 8 * UM)
    monkeypatch.setattr("benchmark.datasets.wsi.MOST_READ", 256)
    assert abs(slide.read(0, 0, 150, 100, 8 * UM).astype(int) - whole).max() <= 1


def test_ome_tiff_has_its_pyramid_and_its_resolution(tmp_path):
    slide = Slide(save_ome(tmp_path / "s.ome.tif", tissue(), 0.4))
    assert slide.pixel_um == pytest.approx(0.4)
    assert abs(slide.read(0, 0, 100, 100, 0.8).mean() - tissue()[:200:2, :200:2].mean()) < 3
    assert len(slide._file.level_dimensions) == 2


def test_tissue_is_the_part_with_colour(tmp_path):
    found, um = Slide(save_slide(tmp_path / "s.tif", tissue())).tissue()
    assert um == 8 and found[:, :23].mean() > 0.95 and not found[:, 28:].any()
    glass, _ = Slide(save_slide(tmp_path / "glass.tif", np.full((400, 400, 3), 240, np.uint8))).tissue()
    whole, _ = Slide(save_slide(tmp_path / "whole.tif", tissue()[:400, :400])).tissue()
    assert not glass.any() and whole.all()


def test_slides_become_a_dataset_of_tiles_that_stay_together(root, tmp_path):
    dataset = add(root, tmp_path)
    assert dataset.pixel_um == 0.5 and dataset.unit == "slide" and dataset.classes() == ("background", "Tumor")
    assert {record.patient for record in dataset.records} == {record.slide for record in dataset.records} == {*"abc"}
    assert all((record.height, record.width) == (128, 128) for record in dataset.records)
    assert max(int(record.name.rpartition("x")[2].split()[0]) for record in dataset.records) < WIDTH * 2 // 3
    parts = [{dataset.records[place].slide for place in places} for places in dataset.split().values()]
    assert not parts[0] & parts[2] and store.summary(dataset)


def test_tiles_are_annotated_inside_the_region_and_ignored_elsewhere(root, tmp_path):
    dataset = add(root, tmp_path)
    place = {record.name: number for number, record in enumerate(dataset.records)}
    mask = dataset.mask(place["a x0 y0"])  # 128 pixels of 0.5 µm, of a slide with 0.25
    assert (mask[50:, 50:] == 1).all() and not mask[:50].any() and not mask[:, :50].any()
    edge = dataset.mask(place["a x256 y256"])  # the region ends at pixel 500 of the slide, the tumour at 300
    assert (edge[122:] == IGNORE).all() and (edge[:, 122:] == IGNORE).all() and (edge[22:122, 22:122] == 0).all()
    assert not dataset.records[place["a x512 y0"]].annotated
    assert not any(record.annotated for record in dataset.records if record.slide == "c")


def test_complete_slides_are_background_outside_of_annotations(root, tmp_path):
    for name in "ab":
        save_features(root / f"{name}.geojson", polygon("Tumor", box(100, 100, 300, 300)))
    with pytest.raises(ValueError, match=r"No annotation says where background is: draw a region of class Region\*"):
        add(root, tmp_path)
    dataset = add(root, tmp_path, complete=True)
    assert all(record.annotated for record in dataset.records if record.slide != "c")


def test_patients_come_from_a_table(root, tmp_path):
    (root / "patients.csv").write_text("slide,patient\na.tif,p1\nb,p2\nc,P1\n")
    dataset = add(root, tmp_path)
    assert dataset.unit == "patient"
    assert {record.slide: record.patient for record in dataset.records} == {"a": "p1", "b": "p2", "c": "p1"}


def test_different_resolutions_are_named_and_brought_to_one(root, tmp_path):
    save_slide(root / "b.tif", tissue(1), um=0.5)
    dataset = add(root, tmp_path)
    assert "Slides have different resolutions (2 at 0.25 µm per pixel, 1 at 0.5 µm per pixel); all tiles have 0.5." in (
        dataset.notes
    )
    with pytest.raises(ValueError, match=r"b\.tif has 0\.5 µm per pixel, so --mpp 0\.4 would enlarge it; give 0\.5"):
        add(root, tmp_path, 0.4)


def test_an_interrupted_add_leaves_nothing_and_starts_cleanly(root, tmp_path, monkeypatch):
    read, count = Slide.read, iter(range(100))

    def killed(self, *region):
        if next(count) > 8:
            raise KeyboardInterrupt
        return read(self, *region)

    monkeypatch.setattr(Slide, "read", killed)
    with pytest.raises(KeyboardInterrupt):
        add(root, tmp_path)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".lock"]
    monkeypatch.undo()
    assert add(root, tmp_path).records


def test_nothing_in_the_folder_is_changed(root, tmp_path):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*")}
    add(root, tmp_path)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*")} == before


# ----------------------------------------------------------------------------------------------------------------------
# Annotations


def test_an_export_of_qupath_goes_in_and_what_is_not_understood_is_named(root, tmp_path):
    export = [
        polygon(REGION, box(0, 0, 500, 500)),
        polygon("Tumor", box(20, 20, 220, 220), box(60, 60, 140, 140)),
        polygon("Stroma", box(80, 80, 120, 120)),
        polygon(IGNORED, box(200, 0, 256, 100)),
        polygon("Artefact*", box(0, 230, 100, 256)),
        polygon(None, box(230, 230, 256, 256)),
        POINT,
    ]
    save_features(root / "a.geojson", *export)
    dataset = add(root, tmp_path)
    assert dataset.classes() == ("background", "Stroma", "Tumor")
    mask = dataset.mask(next(number for number, one in enumerate(dataset.records) if one.name == "a x0 y0"))
    assert [mask[50, 20], mask[50, 35], mask[50, 45], mask[5, 5]] == [2, 0, 1, 0], "ring, hole, island, region"
    assert [mask[20, 110], mask[120, 20], mask[120, 120]] == [IGNORE] * 3
    (note,) = [note for note in dataset.notes if note.startswith("a.geojson")]
    assert "1 × Point (class Cell)" in note and "1 × polygon of class Artefact*, read as Ignore*" in note
    assert "1 × polygon without a class, read as Ignore*" in note


def test_a_mask_becomes_polygons_and_the_same_mask_again(tmp_path):
    random = np.random.default_rng(0)
    coarse = np.kron(random.integers(0, 3, (12, 12)), np.ones((6, 6))).astype(np.uint8)
    coarse[random.random(coarse.shape) < 0.05] = IGNORE
    names = {1: "Tumor", 2: "Stroma: a", IGNORE: IGNORED}
    factor = 2.5
    path = tmp_path / "a.geojson"
    outlines = annotations.polygons(coarse, factor, 100, 50)
    features = [
        annotations.feature(outline, names[value], (1, 2, 3), {"Area µm^2": 3.0}) for outline, value in outlines
    ]
    assert any(len(one["geometry"]["coordinates"]) > 1 for one in features), "holes"
    features.append(polygon(REGION, box(100, 50, 100 + 72 * factor, 50 + 72 * factor)))
    annotations.write_geojson(path, iter(features), "a test")
    read = annotations.read_geojson(path, 1000, 1000)
    raster = Raster(read, {"Tumor": 1, "Stroma: a": 2})
    assert not read.not_read and (raster.mask(40, 20, 72, 72, factor) == coarse).all()
    shifted = raster.mask(39, 20, 72, 72, factor)
    assert (shifted[:, 1:] == coarse[:, :-1]).all() and (shifted[:, 0] == IGNORE).all()


def test_the_smaller_of_two_polygons_lies_above_the_larger():
    from shapely import box

    areas = [Area(box(4, 4, 6, 6), "inner"), Area(box(0, 0, 10, 10), "outer")]
    mask = Raster(Annotations(Path("a"), areas), {"inner": 1, "outer": 2}).mask(0, 0, 10, 10, 1)
    assert mask[5, 5] == 1 and mask[0, 0] == 2


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        ([polygon("Tumor", [[0, 0], [50, 50], [50, 0], [0, 50], [0, 0]])],
         r"a\.geojson: the outline of object 1 \(class Tumor\) is wrong \(self-intersection\[25 25\]\); correct it"),
        ([polygon("Tumor", box(5000, 0, 5100, 100))], r"object 1 \(class Tumor\) lies outside the slide, which has"),
        ([polygon("Tumor", [[0, 0], [1, 1]])], r"the polygon of object 1 \(class Tumor\) is damaged"),
        ([polygon("Tumor", [])], r"the polygon of object 1 \(class Tumor\) is empty"),
        ([polygon("T" * 201, box(0, 0, 9, 9))], "the class of object 1 has over 200 letters"),
        ([{"type": "Point"}], "is not GeoJSON with features"),
    ],
)  # fmt: skip
def test_wrong_annotations_are_one_sentence(root, tmp_path, features, sentence):
    save_features(root / "a.geojson", *features)
    with pytest.raises(ValueError, match=sentence):
        add(root, tmp_path)
    assert not (tmp_path / "data").exists()


def test_a_class_that_classes_txt_does_not_name_is_refused(root, tmp_path):
    (root / "classes.txt").write_text("background\nTumour\n")
    with pytest.raises(ValueError, match=r"a\.geojson has the class 'Tumor', which classes\.txt does not name"):
        add(root, tmp_path)
    (root / "classes.txt").write_text("rest\nStroma\nTumor\n")
    assert add(root, tmp_path).classes() == ("rest", "Stroma", "Tumor")


# ----------------------------------------------------------------------------------------------------------------------
# Bad files


def test_a_slide_without_a_resolution_is_refused_or_given_one(root, tmp_path):
    for name in "abc":
        save_slide(root / f"{name}.tif", tissue(), um=None)
    with pytest.raises(ValueError, match=r"a\.tif does not say how many µm a pixel has; give --slide-mpp NUMBER"):
        add(root, tmp_path)
    assert add(root, tmp_path, slide_um=0.25).pixel_um == 0.5


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["tif", "ome.tif"])
def test_a_truncated_slide_is_one_sentence(root, tmp_path, share, kind):
    path = root / f"z.{kind}"
    save_slide(path, tissue()) if kind == "tif" else save_ome(path, tissue(), UM)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"z\..* (is truncated|does not say how many µm a pixel has)"):
        add(root, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.svs", b"no slide", "x.svs is truncated, or not a slide that can be read"),
        ("x.docx", b"", "x.docx is not a slide of a known kind"),
        ("x.geojson", b"{}", r"x\.geojson has no slide x\.\* beside it"),
        ("a.json", b"{}", r"a\.geojson and .*a\.json are annotations of the same slide"),
        ("a.svs", b"", "have the same stem"),
        ("patients.csv", b"slide,patient\nq,p", "names the slide 'q', which is not in"),
        ("patients.csv", b"slide,patient\na,p", "does not name the slide 'b'"),
        ("patients.csv", b"slide,patient\na,n/a", "has 'n/a' as the patient of 'a'"),
        ("classes.txt", b"tumour", "names fewer than two classes"),
    ],
)
def test_other_files_are_one_sentence(root, tmp_path, name, content, sentence):
    (root / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        add(root, tmp_path)


def test_a_resolution_is_asked_for(root, tmp_path):
    with pytest.raises(ValueError, match=r"give it in µm per pixel, as in --mpp 0\.5"):
        add(root, tmp_path, None)


def test_options_of_slides_are_refused_for_images(root, tmp_path):
    with pytest.raises(ValueError, match="'folder' has images and no slides; leave out --tile"):
        store.add("folder", root, tmp_path / "data", "mine", cut=Cut(64))


def test_without_the_extra_one_sentence_says_what_to_install(root, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    with pytest.raises(ValueError, match=r"need the package openslide.*pip install 'pathology-ssl-bench\[slides\]'"):
        add(root, tmp_path)
