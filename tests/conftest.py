"""What tests share: a small dataset of drawn blobs, and runs short enough to be repeated."""

import math
import os
import shlex
import shutil
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; two workers share the cores, and each has small tensors

import numpy as np
import pytest
from PIL import Image

from benchmark import progress
from benchmark.datasets import store as stores
from benchmark.runs import Run

TOY = {
    "dataset": "toy",
    "encoder": "tu-test_efficientnet",
    "weights": "none",
    "steps": 6,
    "crop": 32,
    "width": 32,
    "tile": 64,
    "ratio": 0.5,
}
TOY |= {"labelled": 2, "unlabelled": 2}


def blob(seed: int, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """A stained disc on a pale ground: an image (size, size, 3) and its mask, both uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    centre, radius = random.uniform(size / 4, size * 3 / 4, 2), random.uniform(size / 8, size / 3)
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    image = np.where(mask[..., None], (120, 60, 140), (235, 200, 220)) + random.normal(0, 12, (size, size, 3))
    return image.clip(0, 255).astype(np.uint8), mask.astype(np.uint8)


@pytest.fixture(autouse=True, scope="session")
def no_lines_of_progress():
    """What a slow machine adds to the output of a command; a test that is about them brings them back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "PLAIN_S", math.inf)
        patch.setattr(progress, "SHORT_S", math.inf)
        yield


@pytest.fixture(scope="session")
def blobs(tmp_path_factory) -> Path:
    """A folder of twenty images and masks, two for each patient, and three images without masks."""
    root = tmp_path_factory.mktemp("blobs")
    for folder in ("images", "masks", "unlabelled"):
        (root / folder).mkdir()
    lines = ["image,patient"]
    for i in range(23):
        image, mask = blob(i)
        Image.fromarray(image).save(root / ("images" if i < 20 else "unlabelled") / f"b{i:02}.png")
        if i < 20:
            Image.fromarray(mask * 255).save(root / "masks" / f"b{i:02}.png")
        lines.append(f"b{i:02},p{i // 2}")
    (root / "patients.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def data(blobs, tmp_path_factory) -> Path:
    """A data folder that holds the store `toy`."""
    folder = tmp_path_factory.mktemp("data")
    stores.add("folder", blobs, folder, "toy")
    return folder


@pytest.fixture(scope="session")
def store(data):
    return stores.open_store("toy", data)


@pytest.fixture(scope="session")
def few(blobs, tmp_path_factory):
    """A store of eight of these images, four of them with masks; nobody is left to validate."""
    root = tmp_path_factory.mktemp("few")
    for folder, names in (("images", range(8)), ("masks", range(4))):
        (root / folder).mkdir()
        for i in names:
            shutil.copy(blobs / folder / f"b{i:02}.png", root / folder)
    return stores.add("folder", root, tmp_path_factory.mktemp("data"), "toy")


@pytest.fixture
def path_with_bench(tmp_path) -> str:
    """PATH of a shell that finds the command `bench`."""
    command = tmp_path / "bin" / "bench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m benchmark.cli "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"


@pytest.fixture
def toy() -> Run:
    """A run of a few seconds."""
    return Run(method="supervised", **TOY)
