"""Each dataset finds its images, masks, patients and splits in its published layout, and says what is missing."""

import resource
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import datasets
from benchmark.datasets.base import Dataset, Record
from benchmark.datasets.digestpath import case_of
from benchmark.datasets.ebhi_seg import GRADES
from benchmark.datasets.splits import split_by_group
from benchmark.datasets.store import Store, add, summary

SIDE = 24


def picture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def mask(value: int = 1, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    values = np.zeros(size, np.uint8)
    values[4:12, 6:16] = value
    return Image.fromarray(values)


def record(name: str, patient: str, stratum: str = "", annotated: bool = True) -> Record:
    return Record(name, patient, "", stratum, (), 1, 1, 0, annotated, name, name, "0" * 64)


def names(store: Store, places: list[int]) -> set[str]:
    return {store.records[place].name for place in places}


# ----------------------------------------------------------------------------------------------------------------------
# All of them


@pytest.mark.parametrize("name", datasets.names())
def test_every_name_is_that_of_a_dataset(name):
    assert datasets.get(name).title


def test_every_kind_is_found_by_its_name_and_describes_itself():
    assert {"phantom", "glas", "digestpath", "ebhi-seg", "folder"} <= set(datasets.names())
    for name in datasets.names():
        kind = datasets.get(name)
        assert isinstance(kind, Dataset)
        assert all((kind.title, kind.licence, kind.source, kind.size, kind.splits, kind.tasks)), name
        assert set(kind.leaks) <= set(kind.splits), name


def test_an_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'glas'"):
        datasets.get("glass")


# ----------------------------------------------------------------------------------------------------------------------
# Splits


def patients_of(records: list[Record], places: list[int]) -> set[str]:
    return {records[place].patient for place in places}


@pytest.mark.parametrize("sizes", [(23, 20, 20, 18, 16, 16, 13, 8, 4, 3, 3, 2, 1, 1), tuple([1, 2, 3, 9, 20] * 60)])
def test_parts_share_no_patient_and_keep_the_shares_of_images_and_strata(sizes):
    random = np.random.default_rng(0)
    records = [
        record(f"{patient}-{i}", str(patient), "ab"[random.random() < 0.4 + 0.2 * (patient % 2)])
        for patient, size in enumerate(sizes)
        for i in range(size)
    ]
    parts = split_by_group(records)
    assert sorted(place for places in parts.values() for place in places) == list(range(len(records)))
    assert not patients_of(records, parts["train"]) & patients_of(records, parts["test"])
    assert not patients_of(records, parts["val"]) & patients_of(records, parts["train"] + parts["test"])
    of_all = Counter(r.stratum for r in records)
    for part, share in (("train", 0.6), ("val", 0.1), ("test", 0.3)):
        assert len(parts[part]) / len(records) == pytest.approx(share, abs=0.04)
        for stratum, count in Counter(records[place].stratum for place in parts[part]).items():
            assert count / of_all[stratum] == pytest.approx(share, abs=0.08)


def test_a_split_depends_on_the_records_and_not_on_their_order():
    records = [record(f"{p}-{i}", f"p{p}", "ab"[p % 2]) for p in range(12) for i in range(1 + p % 5)]
    parts = split_by_group(records)
    shuffled = [records[k] for k in np.random.default_rng(1).permutation(len(records))]
    other = split_by_group(shuffled)
    assert all({records[k] for k in parts[part]} == {shuffled[k] for k in other[part]} for part in parts)


def test_patients_without_masks_only_teach():
    records = [record(f"a{i}", f"p{i}") for i in range(5)] + [
        record(f"u{i}", f"q{i}", annotated=False) for i in range(36)
    ]
    parts = split_by_group(records)
    assert {part: sum(records[k].annotated for k in places) for part, places in parts.items()} == {
        "train": 3,
        "val": 1,
        "test": 1,
    }
    assert all(records[k].annotated for k in parts["val"] + parts["test"])


def test_images_without_masks_go_where_their_patient_goes():
    records = [record(f"{i}{kind}", f"p{i}", annotated=kind == "a") for i in range(5) for kind in "auuu"]
    parts = split_by_group(records)
    assert [len(parts[part]) for part in ("train", "val", "test")] == [12, 4, 4]
    assert not patients_of(records, parts["train"]) & patients_of(records, parts["val"] + parts["test"])


@pytest.mark.parametrize("count", [3, 4])
def test_each_part_has_an_annotated_image_even_of_very_few(count):
    records = [record(f"a{i}", f"p{i}") for i in range(count)] + [record("u", "q", annotated=False)]
    parts = split_by_group(records)
    assert [sum(records[k].annotated for k in parts[part]) for part in ("val", "test")] == [1, 1]
    assert sum(records[k].annotated for k in parts["train"]) == count - 2


def test_too_few_patients_for_the_parts_are_refused():
    records = [record("a", "p"), record("b", "p"), record("c", "q"), record("u", "r", annotated=False)]
    with pytest.raises(ValueError, match="2 of 3 patients have one: annotate images of 1 more"):
        split_by_group(records)
    assert split_by_group(records, {"train": 0.5, "test": 0.5})


# ----------------------------------------------------------------------------------------------------------------------
# GlaS


PATIENTS = {"train": list("112234567"), "testA": list("128"), "testB": list("39")}


@pytest.fixture
def glas(tmp_path) -> Path:
    """The challenge's layout in small: BMP files, and a table as it was published."""
    rows, seed = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"], 0
    for part, patients in PATIENTS.items():
        for number, patient in enumerate(patients, 1):
            seed += 1
            picture(seed).save(tmp_path / f"{part}_{number}.bmp")
            mask(7).save(tmp_path / f"{part}_{number}_anno.bmp")
            rows.append(f"{part}_{number},{patient}, {'benign' if seed % 2 else 'malignant'}, healthy")
    (tmp_path / "Grade.csv").write_bytes("\r".join(rows).encode())
    return tmp_path


def test_glas_is_read_in_the_layout_of_the_challenge(glas, tmp_path_factory):
    store = add("glas", glas, tmp_path_factory.mktemp("data"))
    assert [r.name for r in store.records[:2]] == ["testA_1", "testA_2"]
    assert {r.stratum for r in store.records} == {"benign", "malignant"}
    assert store.mask(0).max() == 7
    assert store.mask(0).dtype == np.uint16
    assert store.label(0).max() == 1
    assert np.array_equal(store.image(0), np.asarray(Image.open(glas / "testA_1.bmp")))
    official, patient = store.split("official"), store.split()
    assert names(store, official["test"]) == {"testA_1", "testA_2", "testA_3", "testB_1", "testB_2"}
    assert all(name.startswith("train_") for name in names(store, official["train"] + official["val"]))
    assert official["val"]
    assert not patients_of(store.records, patient["train"]) & patients_of(
        store.records, patient["val"] + patient["test"]
    )
    assert "official" in store.dataset.leaks


def test_glas_in_other_lossless_formats_is_the_same_dataset(glas, tmp_path_factory):
    data, other = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("other")
    first = add("glas", glas, data).content
    for path in glas.glob("*.bmp"):
        suffix = ".png" if path.stem.endswith("_anno") else ".webp"
        Image.open(path).save(other / f"{path.stem}{suffix}", lossless=True)
    (other / "Grade.csv").write_bytes((glas / "Grade.csv").read_bytes())
    assert add("glas", other, data).content == first


def test_glas_keeps_object_numbers_beyond_a_byte(glas, tmp_path_factory):
    many = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 100).astype(np.uint16)
    (glas / "testA_1_anno.bmp").unlink()
    Image.fromarray(many).save(glas / "testA_1_anno.png")
    store = add("glas", glas, tmp_path_factory.mktemp("data"))
    assert np.array_equal(store.mask(0), many)
    assert set(np.unique(store.label(0))) == {0, 1}
    assert store.mask(1).max() == 7


def test_glas_names_what_is_missing_or_too_much(glas, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    (glas / "train_2_anno.bmp").rename(glas / "train_77.bmp")
    with pytest.raises(ValueError, match=r"train_2_anno\.bmp is not beside it"):
        add("glas", glas, data)
    mask().save(glas / "train_2_anno.bmp")
    with pytest.raises(ValueError, match=r"train_77\.bmp is not in Grade\.csv"):
        add("glas", glas, data)
    (glas / "Grade.csv").unlink()
    with pytest.raises(ValueError, match=r"0 files Grade\.csv"):
        add("glas", glas, data)


# ----------------------------------------------------------------------------------------------------------------------
# NuInsSeg

ORGANS = ("human bladder", "human brain", "mouse fat", "mouse heart", "mouse liver")


def nuinsseg(root: Path, flat: bool = False) -> Path:
    """Two images of each organ, in the published folders or all together."""
    for number, organ in enumerate(ORGANS):
        images = root / "images" if flat else root / organ / "tissue images"
        masks = root / "masks" if flat else root / organ / "mask binary"
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        for i in (1, 2):
            name = f"{organ.replace(' ', '_')}_{i:02d}.png"
            picture(10 * number + i).save(images / name)
            mask(255).save(masks / name)
    return root


@pytest.mark.parametrize("flat", [False, True])
def test_nuinsseg_is_split_by_organ_in_either_layout(flat, tmp_path, tmp_path_factory):
    store = add("nuinsseg", nuinsseg(tmp_path, flat), tmp_path_factory.mktemp("data"))
    assert {record.patient for record in store.records} == set(ORGANS) and store.unit == "organ"
    assert store.records[0].name == "human_bladder_01" and set(np.unique(store.label(0)).tolist()) == {0, 1}
    parts = {part: patients_of(store.records, places) for part, places in store.split().items()}
    assert all(parts.values()) and sum(map(len, parts.values())) == len(ORGANS), "no organ is in two parts"
    assert any("one slide from each organ" in line for line in summary(store))


def test_nuinsseg_names_missing_folders_odd_names_and_lone_masks(tmp_path, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    with pytest.raises(ValueError, match="give the folder that holds the organs"):
        add("nuinsseg", tmp_path, data)
    nuinsseg(tmp_path)
    organ = tmp_path / "mouse fat"
    mask(255).save(organ / "mask binary" / "mouse_fat_07.png")
    with pytest.raises(ValueError, match="mouse_fat_07.png belongs to no image"):
        add("nuinsseg", tmp_path, data)
    picture(0).save(organ / "tissue images" / "fat.png")
    with pytest.raises(ValueError, match="not named ORGAN_NUMBER"):
        add("nuinsseg", tmp_path, data)
    shutil.rmtree(organ / "mask binary")
    with pytest.raises(ValueError, match="put the masks"):
        add("nuinsseg", tmp_path, data)


# ----------------------------------------------------------------------------------------------------------------------
# EBHI-Seg


@pytest.fixture
def ebhi(tmp_path) -> Path:
    """Six grades of two cases each; the first case is in all of them. Masks are grey with soft edges."""
    for number, grade in enumerate(GRADES):
        for folder in ("image", "label"):
            (tmp_path / grade / folder).mkdir(parents=True)
        for case in (2000000, 2000001 + number):
            name = f"GT{case}-1-400-001.png"
            picture(10 * number + case % 10).save(tmp_path / grade / "image" / name)
            soft = np.asarray(mask(255)).copy()
            soft[4, 6:9] = (90, 127, 128)
            Image.fromarray(soft).save(tmp_path / grade / "label" / name)
    return tmp_path


def test_the_task_grade_paints_the_epithelium_by_the_diagnosis_of_its_image(ebhi, tmp_path_factory):
    store = add("ebhi-seg", ebhi, tmp_path_factory.mktemp("data"))
    assert store.classes() == store.classes("malignant") == ("background", "epithelium")
    assert store.classes("grade") == ("background", "benign", "low-grade", "malignant")
    painted = {}
    for place, record in enumerate(store.records):
        graded = store.label(place, "grade")
        assert np.array_equal(graded > 0, store.label(place) > 0)
        painted[record.stratum] = set(np.unique(graded).tolist()) - {0}
    assert painted == {
        "Normal": {1}, "Polyp": {1}, "Serrated adenoma": {1}, "Low-grade IN": {2}, "High-grade IN": {3},
        "Adenocarcinoma": {3},
    }  # fmt: skip


def test_ebhi_seg_is_split_by_case_and_knows_two_tasks(ebhi, tmp_path_factory):
    store = add("ebhi-seg", ebhi, tmp_path_factory.mktemp("data"))
    assert len(store.records) == 12
    assert len({r.patient for r in store.records}) == 7
    assert store.records[0].name == "Normal/GT2000000-1-400-001"
    assert store.label(0)[4, 6:10].tolist() == [0, 0, 1, 1]
    for place, found in enumerate(store.records):
        malignant = found.stratum in ("High-grade IN", "Adenocarcinoma")
        assert store.label(place, "malignant").any() == malignant
        assert store.label(place, "epithelium").any()
    parts = store.split()
    assert not patients_of(store.records, parts["train"]) & patients_of(store.records, parts["val"] + parts["test"])
    with pytest.raises(ValueError, match="did you mean 'malignant'"):
        store.label(0, "malign")


def test_an_ebhi_seg_image_without_label_is_one_that_nobody_annotated(ebhi, tmp_path_factory):
    next((ebhi / "Polyp" / "label").iterdir()).unlink()
    store = add("ebhi-seg", ebhi, tmp_path_factory.mktemp("data"))
    place = next(i for i, r in enumerate(store.records) if not r.annotated)
    assert place in store.split()["train"]


def test_ebhi_seg_names_missing_folders_odd_names_and_lone_masks(ebhi, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    lone = ebhi / "Polyp" / "label" / "GT2-1-400-001.png"
    mask(255).save(lone)
    with pytest.raises(ValueError, match="belongs to no image"):
        add("ebhi-seg", ebhi, data)
    lone.rename(ebhi / "Polyp" / "image" / "other.png")
    with pytest.raises(ValueError, match="case-section-400-frame"):
        add("ebhi-seg", ebhi, data)
    with pytest.raises(ValueError, match="There is no folder .*Normal"):
        add("ebhi-seg", ebhi / "Polyp", data)


# ----------------------------------------------------------------------------------------------------------------------
# DigestPath


SLIDES = (
    "18-04026B_2019-05-07 23_23_28",
    "18-04026A_2019-05-08 2_23_28",
    "D20170951201_2019-05-14 14_41_50",
    "s4",
    "s5",
)


def digestpath(root: Path, size: tuple[int, int] = (30, 40), count: int = 2) -> list[str]:
    """The tissue layout: JPEG crops of five slides and JPEG masks."""
    (root / "tissue-train-pos-v1").mkdir()
    stems = []
    for number, slide in enumerate(SLIDES):
        for i in range(count):
            stems.append(f"{slide}-lv1-{1000 + i}-{2000 + number}-{size[1]}-{size[0]}")
            path = root / "tissue-train-pos-v1" / stems[-1]
            small = picture(10 * number + i, (size[0] // 10, size[1] // 10))
            small.resize(size[::-1]).save(f"{path}.jpg")
            mask(255, size).save(f"{path}_mask.jpg", quality=30)
    return stems


def lists(root: Path, stems: list[str]) -> None:
    for name, listed in {
        "train_5": stems[:1],
        "train_10": stems[:2],
        "train_100": stems[:6],
        "valid": stems[6:7],
        "test": stems[7:9],
    }.items():
        (root / f"{name}.csv").write_text("image\n" + "".join(f"{stem}.jpg\n" for stem in listed))


def test_digestpath_is_split_by_slide_and_by_the_released_lists(tmp_path, tmp_path_factory):
    stems, data = digestpath(tmp_path), tmp_path_factory.mktemp("data")
    store = add("digestpath", tmp_path, data)
    assert list(store.dataset.splits) == ["slide"]
    with pytest.raises(ValueError, match="There is no split"):
        store.split("lists")
    lists(tmp_path, stems)
    store = add("digestpath", tmp_path, data)
    tags = {r.name: r.tags for r in store.records}
    assert tags[stems[0]] == ("train_10", "train_100", "train_5")
    assert tags[stems[9]] == ()
    parts = store.split("lists")
    assert [names(store, parts[part]) for part in parts] == [set(stems[:6]), set(stems[6:7]), set(stems[7:9])]
    parts = store.split("slide")
    slides = {part: {store.records[i].slide for i in places} for part, places in parts.items()}
    assert slides["train"] | slides["val"] | slides["test"] == set(SLIDES)
    assert not slides["train"] & (slides["val"] | slides["test"])
    assert set(np.unique(store.mask(0))) == {0, 1}
    assert store.mask(0).mean() == pytest.approx(80 / 1200, abs=0.01)


def test_lists_beside_the_images_are_found_and_must_fit_them(tmp_path, tmp_path_factory):
    root, data = tmp_path / "images", tmp_path_factory.mktemp("data")
    root.mkdir()
    lists(tmp_path, digestpath(root))
    assert "lists" in add("digestpath", root, data).dataset.splits
    (tmp_path / "valid.csv").write_text("image\nabsent-lv1-1-1-1-1.jpg\n")
    with pytest.raises(ValueError, match=r"valid\.csv lists absent-lv1-1-1-1-1\.jpg"):
        add("digestpath", root, data)


def test_negative_tissue_has_an_empty_mask_and_positive_tissue_needs_a_file(tmp_path, tmp_path_factory):
    stems, data = digestpath(tmp_path), tmp_path_factory.mktemp("data")
    (tmp_path / "tissue-train-neg").mkdir()
    picture(99).save(tmp_path / "tissue-train-neg" / "n1-lv1-1-2-3-4.jpg")
    store = add("digestpath", tmp_path, data)
    negative = next(i for i, r in enumerate(store.records) if r.stratum == "negative")
    assert store.records[negative].annotated
    assert not store.mask(negative).any()
    (tmp_path / "tissue-train-pos-v1" / f"{stems[0]}_mask.jpg").unlink()
    with pytest.raises(ValueError, match=r"has no mask .*_mask\.jpg"):
        add("digestpath", tmp_path, data)


def test_slides_of_one_case_are_one_patient():
    assert case_of(SLIDES[0]) == case_of(SLIDES[1]) == "18-04026"
    assert case_of("2018_74432_1-1_2019-02-21 00_38_07") == "2018-74432"
    assert case_of("D20170951201_2019-05-14 14_41_50") == case_of("D20170951202_2019-05-21 14_41_50") == "D201709512"
    assert case_of("D201801775B_2019-05-14 16_11_32") == "D201801775"
    assert case_of("1901940-1_2019-04-30 10_30_47") == case_of("1901940001_2019-04-30 10_30_47") == "1901940"
    assert case_of("another hospital's slide 7") == "another hospital's slide 7"


@pytest.mark.slow
def test_digestpath_of_full_size_is_stored_one_image_at_a_time(tmp_path, tmp_path_factory):
    stems, size = digestpath(tmp_path, (5000, 8000), 1), 5000 * 8000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = add("digestpath", tmp_path, tmp_path_factory.mktemp("data"))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert len(store.records) == len(stems) == 5
    assert store.pixels.nbytes == 5 * 3 * size
    assert grown < 24 * size, "more than the two images that are being read"
    assert np.array_equal(
        store.image(4)[::50],
        np.asarray(Image.open(tmp_path / "tissue-train-pos-v1" / f"{store.records[4].name}.jpg"))[::50],
    )


# ----------------------------------------------------------------------------------------------------------------------
# Folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six images, two each of three patients, with blanks and accents in their names, and two without masks."""
    for name in ("images", "masks", "unlabelled"):
        (tmp_path / name).mkdir()
    for i in range(6):
        picture(i).save(tmp_path / "images" / f"schön {i}.png")
        mask(255).save(tmp_path / "masks" / f"schön {i}.png")
    for i in (6, 7):
        picture(i).save(tmp_path / "unlabelled" / f"schön {i}.png")
    return tmp_path


@pytest.fixture
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_a_folder_needs_nothing_but_images_and_masks(folder, data):
    store = add("folder", folder, data, "mine")
    assert [r.name for r in store.records][:2] == ["schön 0", "schön 1"]
    assert store.classes() == ("background", "foreground")
    assert set(np.unique(store.mask(0))) == {0, 1}
    assert list(store.dataset.splits) == ["halves", "patient"]
    for split, sizes in (("halves", [5, 0, 3]), ("patient", [5, 1, 2])):
        parts = store.split(split)
        assert {"unlabelled/schön 6", "unlabelled/schön 7"} <= names(store, parts["train"])
        assert [len(parts[part]) for part in ("train", "val", "test")] == sizes
    (said,) = (line for line in summary(store) if "list them in patients.csv" in line)
    assert "by their names" not in said, "all begin alike"


def test_with_ten_patients_who_have_masks_a_tenth_can_validate(folder, data):
    for i in range(6, 10):
        picture(i).save(folder / "images" / f"schön {i}.png")
        mask(255).save(folder / "masks" / f"schön {i}.png")
    store = add("folder", folder, data, "mine")
    assert list(store.dataset.splits) == ["patient"]
    assert [sum(store.records[i].annotated for i in places) for places in store.split().values()] == [6, 1, 3]


def test_patients_csv_keeps_patients_together(folder, data):
    lines = [f"schön {i}.png, Zoé {i // 2}" for i in range(6)] + ["unlabelled/schön 6,u", "schön 7,u"]
    (folder / "patients.csv").write_text("\n".join(["image,patient", *lines]), encoding="utf-8")
    store = add("folder", folder, data, "mine")
    assert [r.patient for r in store.records] == [f"Zoé {i // 2}" for i in range(6)] + ["u", "u"]
    parts = store.split("patient")
    assert [len(patients_of(store.records, parts[part])) for part in ("train", "val", "test")] == [2, 1, 1]
    assert not any("list them in patients.csv" in line for line in summary(store))
    for text, words in (
        ("schön 0,p", "does not name schön 1 and 6 more images"),
        ("schön 0,p\nschoen,p", "names the image 'schoen'"),
    ):
        (folder / "patients.csv").write_text(f"image,patient\n{text}\n", encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            add("folder", folder, data, "mine")
    (folder / "patients.csv").write_text("image,patient\nschön 0,p\nschön 0.png,q\n", encoding="utf-8")
    with pytest.raises(ValueError, match="twice"):
        add("folder", folder, data, "mine")


def test_split_csv_is_the_default_split_where_there_is_one(folder, data):
    parts = ["train", "train", "val", "valid", "test", "test"]
    lines = [f"schön {i},{part}" for i, part in enumerate(parts)]
    (folder / "split.csv").write_text("\n".join(["image,part", *lines]))
    store = add("folder", folder, data, "mine")
    assert list(store.dataset.splits) == ["file", "halves", "patient"]
    assert names(store, store.split()["val"]) == {"schön 2", "schön 3"}
    assert names(store, store.split()["train"]) == {"schön 0", "schön 1", "unlabelled/schön 6", "unlabelled/schön 7"}
    for changed, words in (
        ([*lines[:5], "schön 5,exam"], "part 'exam'"),
        (lines[:5], "does not name schön 5"),
        ([*lines, "schön 7,test"], "it has no mask"),
        ([line.replace("test", "train") for line in lines], "no annotated image in test"),
    ):
        (folder / "split.csv").write_text("\n".join(["image,part", *changed]))
        with pytest.raises(ValueError, match=words):
            add("folder", folder, data, "other")
    assert not (data / "other").exists()


def test_several_classes_are_numbered_by_the_masks_and_named_by_classes_txt(folder, data):
    for i in range(6):
        mask(i % 4).save(folder / "masks" / f"schön {i}.png")
    assert add("folder", folder, data, "mine").classes() == ("background", "class 1", "class 2", "class 3")
    (folder / "classes.txt").write_text("stroma\ngland\nlumen\n")
    with pytest.raises(ValueError, match=r"names 3 classes, but the mask of schön 3 has the class number 3"):
        add("folder", folder, data, "mine")
    (folder / "classes.txt").write_text("stroma\ngland\nlumen\nfat\nbone\n")
    assert add("folder", folder, data, "mine").classes() == ("stroma", "gland", "lumen", "fat", "bone")


def test_names_that_begin_alike_may_be_of_one_patient(tmp_path, data):
    for name, draw in (("images", picture), ("masks", lambda i: mask(255))):
        (tmp_path / name).mkdir()
        for i in range(6):
            draw(i).save(tmp_path / name / f"case{i // 2}_{i}.png")
    assert "these may be 3: case0, case1 …" in " ".join(summary(add("folder", tmp_path, data, "mine")))


def test_a_mask_may_be_named_as_predictions_are(folder, data):
    named, plain = (folder / "masks" / f"schön 3{end}.png" for end in ("_mask", ""))
    before = add("folder", folder, data, "mine").content
    plain.rename(named)
    assert add("folder", folder, data, "other").content == before
    shutil.copy(named, plain)
    with pytest.raises(ValueError, match=r"schön 3_mask\.png are masks of the same image; remove one"):
        add("folder", folder, data, "both")


def test_a_mask_without_background_is_told(folder, data):
    Image.fromarray(np.ones_like(np.asarray(mask(1)))).save(folder / "masks" / "schön 3.png")
    said = summary(add("folder", folder, data, "mine"))
    assert any("mask without any background (schön 3)" in line for line in said)


def test_a_mask_that_was_resized_smoothly_is_refused_for_that(folder, data):
    mask(255).resize((9, 9)).resize(mask(255).size, Image.Resampling.BILINEAR).save(folder / "masks" / "schön 3.png")
    with pytest.raises(ValueError, match=r"has \d+ different values up to 255, as after resizing"):
        add("folder", folder, data, "mine")


def test_masks_with_unexpected_values_are_refused(folder, data):
    mask(127).save(folder / "masks" / "schön 3.png")
    with pytest.raises(ValueError, match=r"schön 3\.png has the value 127"):
        add("folder", folder, data, "mine")
    mask(2).save(folder / "masks" / "schön 3.png")
    with pytest.raises(ValueError, match=r"schön 0 is black and white, but that of schön 3 has the class number 2"):
        add("folder", folder, data, "mine")
    assert not list(data.glob("[!.]*")) + list(data.glob(".*.unfinished"))


def test_jpeg_masks_are_taken_as_black_and_white(folder, data):
    (folder / "masks" / "schön 0.png").unlink()
    mask(255).save(folder / "masks" / "schön 0.jpg", quality=60)
    assert set(np.unique(add("folder", folder, data, "mine").mask(0))) == {0, 1}


def test_a_missing_mask_or_image_or_folder_is_named_with_the_remedy(folder, data):
    (folder / "masks" / "schön 4.png").rename(folder / "masks" / "schön 9.png")
    with pytest.raises(ValueError, match=r"schön 9\.png has no image .*give both the same name"):
        add("folder", folder, data, "mine")
    with pytest.raises(ValueError, match="There is no folder"):
        add("folder", folder / "images", data, "mine")


def test_an_empty_folder_is_refused(tmp_path, data):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="There is no image in .*images; put PNG"):
        add("folder", tmp_path, data)
    (tmp_path / "unlabelled").mkdir()
    picture(0).save(tmp_path / "unlabelled" / "a.png")
    with pytest.raises(ValueError, match="0 of 1 patients have one: annotate images of 2 more"):
        add("folder", tmp_path, data)


def test_four_masks_are_halved_and_images_without_a_mask_stay_where_they_are(folder, data):
    for i in (4, 5):
        (folder / "masks" / f"schön {i}.png").unlink()
    store = add("folder", folder, data, "mine")
    annotated = {part: sum(store.records[i].annotated for i in places) for part, places in store.split().items()}
    assert annotated == {"train": 2, "val": 0, "test": 2}
    assert {"schön 4", "schön 5", "unlabelled/schön 6"} < names(store, store.split()["train"])
    assert any("from only 2 patients" in line for line in summary(store))


def test_masks_of_one_patient_are_refused_with_the_reason(folder, data):
    for i in range(1, 6):
        (folder / "masks" / f"schön {i}.png").unlink()
    with pytest.raises(ValueError, match="1 of 8 patients have one: annotate images of 1 more"):
        add("folder", folder, data, "mine")
    assert not list(data.glob("[!.]*")) + list(data.glob(".*.unfinished"))
