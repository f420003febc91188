"""A slide becomes GeoJSON, a mask and a thumbnail, block by block; what it costs does not grow with the slide."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from click.testing import CliRunner
from conftest import TOY
from slide_files import HEIGHT, UM, WIDTH, save_ome, save_slide, tissue

from benchmark.cli import main
from benchmark.datasets import annotations
from benchmark.datasets.annotations import Raster
from benchmark.datasets.base import IGNORE
from benchmark.datasets.wsi import Slide
from benchmark.protocol import train
from benchmark.protocol.evaluate import mean_of, segment
from benchmark.protocol.whole_slides import predict_slide
from benchmark.report import slide_files
from benchmark.runs import Run

CLASSES = ("background", "Tumor", "Stroma")


def spots() -> np.ndarray:
    """A slide with two dark spots in its section, one of them blue with a hole."""
    image = tissue()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image[(y - 200) ** 2 + (x - 200) ** 2 < 100**2] = (150, 60, 110)
    image[700:706, 700:706] = (150, 60, 110)  # 2 µm², in the mask alone
    ring = (y - 500) ** 2 + (x - 500) ** 2
    image[(ring < 150**2) & (ring > 50**2)] = (100, 60, 170)
    return image


def network(images: torch.Tensor) -> torch.Tensor:
    """Sees Tumor where it is dark red and Stroma where it is dark blue, pixel by pixel."""
    red, green, blue = images[:, 0], images[:, 1], images[:, 2]
    dark = 20 * (0.4 - green)
    return torch.stack([torch.zeros_like(red), torch.where(red > blue, dark, -dark.abs()),
                        torch.where(blue > red, dark, -dark.abs())], 1)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return save_slide(tmp_path_factory.mktemp("wsi") / "case 1.tif", spots())


@pytest.fixture(scope="module")
def predicted(path, tmp_path_factory):
    """The area, the raster and the files of a prediction by two networks, of which one sees nothing."""
    out = tmp_path_factory.mktemp("out")
    slide = Slide(path)

    def blind(images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(images), 3, *images.shape[2:]) + torch.tensor([0.1, 0, 0])[:, None, None]

    area = predict_slide([network, network, blind], slide, 2 * UM, out / "raster.tif", tile=64)
    files = slide_files.targets(out, path, several=True)
    slide_files.write_slide(slide, area, out / "raster.tif", files, CLASSES)
    return area, out / "raster.tif", files


def test_blocks_give_what_the_whole_slide_would(path, tmp_path):
    slide = Slide(path)
    area = predict_slide([network], slide, 2 * UM, tmp_path / "raster.tif", tile=64)
    size = slide.size(2 * UM)
    whole = segment(network, slide.read(0, 0, *size, 2 * UM), tile=64)
    with rasterio.open(tmp_path / "raster.tif") as file:
        values, confidence = file.read(1), file.read(2)
    inside = area.within(0, 0, *size, 2 * UM)
    assert not values[~inside].any() and (values[inside] == whole[inside] + 1).all()
    assert ((confidence > 0) == (values > 1)).all() and {1, 2} <= set(np.unique(whole))


def test_glass_is_not_predicted(path, tmp_path):
    seen = []

    def counting(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return network(images)

    area = predict_slide([counting], Slide(path), UM, tmp_path / "raster.tif", tile=64)
    assert area.mask.mean() < 0.75 and sum(seen) * 64**2 < 2.5 * 0.75 * WIDTH * HEIGHT


def test_geojson_comes_back_as_the_mask(predicted):
    _, raster, (geojson, *_) = predicted
    read = annotations.read_geojson(geojson, WIDTH, HEIGHT)
    assert not read.not_read and read.classes == {"Tumor", "Stroma"}
    width, height = WIDTH // 2, HEIGHT // 2
    back = Raster(read, {"Tumor": 1, "Stroma": 2}).mask(0, 0, width, height, 2)
    with rasterio.open(raster) as file:
        values = file.read(1)
    assert (values[350:353, 350:353] == 2).all(), "too small for an object"
    values[350:353, 350:353] = 1
    inside = values > 0
    assert (back[inside] == values[inside] - 1).all() and (back[~inside] == IGNORE).mean() > 0.95


def test_objects_have_class_colour_and_measurements(predicted):
    _, _, (geojson, *_) = predicted
    region, *objects = json.loads(geojson.read_text(encoding="utf-8"))["features"]
    assert region["properties"]["classification"]["name"] == "Region*" and region["geometry"]["type"] == "MultiPolygon"
    found = {one["properties"]["classification"]["name"]: one for one in objects}
    assert len(objects) == 2 and {len(one["geometry"]["coordinates"]) for one in objects} == {1, 2}, "one has a hole"
    tumor = found["Tumor"]["properties"]
    assert tumor["objectType"] == "annotation" and tumor["classification"]["color"] == [0, 114, 178]
    measured = tumor["measurements"]
    assert measured["Area µm^2"] == pytest.approx(np.pi * (100 * UM) ** 2, rel=0.05)
    assert 40 < measured["Mean confidence %"] < 100
    assert measured["Mean disagreement %"] == pytest.approx(33, abs=1), "one network of three sees another class"


def test_the_mask_is_a_pyramid_with_its_resolution(predicted):
    _, raster, (_, mask, overlay, disagreement) = predicted
    with rasterio.open(raster) as file:
        values = file.read(1)
    with tifffile.TiffFile(mask) as file:
        assert file.is_ome and 'PhysicalSizeX="0.5"' in file.ome_metadata
        assert (file.series[0].asarray() == np.where(values > 0, values - 1, IGNORE)).all()
    assert overlay.stat().st_size > 1000 and set(np.unique(tifffile.imread(disagreement))) == {0, 33, IGNORE}
    assert Slide(mask).pixel_um == 0.5


def test_a_large_mask_has_levels(tmp_path, monkeypatch):
    monkeypatch.setattr(slide_files, "SMALLEST_LEVEL", 100)
    slide = Slide(save_slide(tmp_path / "a.tif", spots()))
    area = predict_slide([network], slide, 2 * UM, tmp_path / "raster.tif", tile=64)
    files = slide_files.targets(tmp_path / "out", slide.path, several=False)
    slide_files.write_slide(slide, area, tmp_path / "raster.tif", files, CLASSES)
    with tifffile.TiffFile(files[1]) as file:
        levels = [level.asarray() for level in file.series[0].levels]
    assert [level.shape for level in levels] == [(400, 600), (200, 300), (100, 150), (50, 75)]
    assert (levels[0][::2, ::2] == levels[1]).mean() > 0.97


def test_several_networks_are_their_mean_probability():
    images = torch.rand(2, 3, 4, 4)
    mean = (network(images).softmax(1) + network(images.flip(1)).softmax(1)) / 2
    found = mean_of([network, lambda images: network(images.flip(1))])(images)
    assert torch.allclose(found.exp(), mean, atol=1e-6)


@pytest.mark.parametrize("name", ["case 1.geojson", "case 1_mask.ome.tif", "case 1_overlay.png"])
def test_files_of_users_are_kept(name, path, tmp_path):
    target = next(file for file in slide_files.targets(tmp_path, path, several=False) if file.name == name)
    target.write_bytes(b"mine")
    with pytest.raises(ValueError, match="was not written by `bench predict`, so it is kept"):
        slide_files.check_replaceable(target)


def test_own_files_are_replaced(predicted):
    for file in predicted[2]:
        slide_files.check_replaceable(file)


# ----------------------------------------------------------------------------------------------------------------------
# The command


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory) -> tuple[Path, str]:
    """Two repeats of a run, and the beginning of their keys."""
    results = tmp_path_factory.mktemp("results")
    runs = [Run(method="supervised", **{**TOY, "steps": 1, "seed": seed}) for seed in (0, 1)]
    keys = [train.train(run, store, results).key for run in runs]
    return results, keys[0]


def predict(finished, out: Path, *words) -> tuple[int, str]:
    results, key = finished
    given = ["predict", "--run", key, "--results", results, "--out", out, *words]
    done = CliRunner().invoke(main, list(map(str, given)))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, done.output


def test_the_command_takes_slides_images_and_repeats(finished, path, tmp_path, blobs):
    image = next((blobs / "images").glob("*.png"))
    code, said = predict(finished, tmp_path, path, image, "--mpp", 1, "--ensemble")
    assert code == 0 and "The predictions of 1 image and 1 slide are in" in said
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([
        "case 1.geojson", "case 1_disagreement.ome.tif", "case 1_mask.ome.tif", "case 1_overlay.png",
        f"{image.stem}_mask.png", f"{image.stem}_overlay.png",
    ])  # fmt: skip
    code, said = predict(finished, tmp_path, path.parent, "--mpp", 1)
    assert code == 0 and "The predictions of 1 slide are in" in said, "again, and of a folder"
    code, said = predict(finished, tmp_path / "other", tmp_path / "case 1_mask.ome.tif", "--mpp", 1)
    assert code == 1 and "was written by `bench predict`; keep predictions and images in different folders" in said


def test_bad_slides_are_one_sentence(finished, path, tmp_path):
    glass = save_slide(tmp_path / "glass.tif", np.full((600, 600, 3), 240, np.uint8))
    unknown = save_slide(tmp_path / "unknown.tif", tissue(), um=None)
    coarse = save_ome(tmp_path / "coarse.ome.tif", tissue(), 2.0)
    text = tmp_path / "text.svs"
    text.write_text("no slide")
    for words, sentence in (
        ([path], "does not say how many µm per pixel its images had; give them with --mpp."),
        ([glass, "--mpp", 1], "No tissue was found in"),
        ([unknown, "--mpp", 1], "does not say how many µm a pixel has; give --slide-mpp NUMBER"),
        ([coarse, "--mpp", 1], "has 2 µm per pixel and the run was trained at 1, but slides are never enlarged"),
        ([text, "--mpp", 1], "text.svs is truncated, or not a slide that can be read"),
    ):
        code, said = predict(finished, tmp_path / "out", *words)
        assert code == 1 and sentence in " ".join(said.split()) and said.count("\n") <= 3, said
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_ensemble_of_one_run_is_refused(finished, path, tmp_path, store):
    results, _ = finished
    alone = train.train(Run(method="supervised", **{**TOY, "steps": 2}), store, results).key
    code, said = predict((results, alone), tmp_path, path, "--mpp", 1, "--ensemble")
    assert code == 1 and "has no repeats in" in said
