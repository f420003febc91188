"""What the ratios share: patches as files and as a store, threads, and a clock that two sides take turns on."""

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import machine
from benchmark.analysis import timing
from benchmark.datasets import store as stores

CPU = torch.device("cpu")
SIDE = 256  # pixels of a patch, as the field cuts them
PATCHES = 24


@pytest.fixture(scope="session")
def patches(tmp_path_factory) -> Path:
    """A folder of stained discs on a pale ground: JPEG images, PNG masks, one for each patient."""
    root = tmp_path_factory.mktemp("patches")
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for i in range(PATCHES):
        random = np.random.default_rng(i)
        y, x = np.mgrid[:SIDE, :SIDE] - random.uniform(SIDE / 4, SIDE * 3 / 4, 2)[:, None, None]
        mask = y**2 + x**2 < random.uniform(SIDE / 8, SIDE / 3) ** 2
        image = np.where(mask[..., None], (120, 60, 140), (235, 200, 220)) + random.normal(0, 12, (SIDE, SIDE, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{i:02}.jpg", quality=90)
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{i:02}.png")
    return root


@pytest.fixture(scope="session")
def patch_store(patches, tmp_path_factory) -> stores.Store:
    folder = tmp_path_factory.mktemp("data")
    stores.add("folder", patches, folder, "patches")
    return stores.open_store("patches", folder)


def pytest_addoption(parser):
    parser.addoption("--keep", type=Path, help="a folder of results that rows of the ratios go to")
    parser.addoption("--threads", type=int, default=1, help="of each side; with one, a busy neighbour disturbs least")


@pytest.fixture(autouse=True)
def threads(request) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.config.getoption("--threads"))
    yield
    torch.set_num_threads(before)


@pytest.fixture
def times_faster(request, benchmark) -> Callable[..., None]:
    """Measures how many times longer `other` takes than `ours`, keeps it as a row, and fails where it is too little.

    The median over turns, each of them one call of both: whatever else the machine does falls on both alike.
    pytest-benchmark's table shows the times of `ours`.
    """

    def measure(
        ours: Callable[[], object], other: Callable[[], object], turns: int, *, name: str, what: str, least: float,
        device: torch.device = CPU,
    ) -> None:  # fmt: skip
        seconds: list[float] = []

        def before() -> None:
            start = time.perf_counter()
            other()
            seconds.append(time.perf_counter() - start)

        ours(), other()  # what only the first call does
        benchmark.pedantic(ours, setup=before, rounds=turns)
        ratios = [theirs / mine for theirs, mine in zip(seconds, benchmark.stats.stats.data, strict=True)]
        low, ratio, high = (float(f"{q:.4g}") for q in statistics.quantiles(ratios, n=4))
        described = {"ratio": ratio, "quartiles": [low, high], "turns": turns, "what": what, "least": least}
        benchmark.extra_info |= described
        print(f"\n{what}: {ratio:.3g} (quartiles {low:.3g} and {high:.3g}, {turns} turns)")
        if kept := request.config.getoption("--keep"):
            on = machine.describe(device)
            key = timing.ratio_key(name, on["device"], on["threads"])
            now = datetime.now(UTC).isoformat(timespec="seconds")
            timing.save({"key": key, **described, "measured_at": now, "machine": on}, kept)
        assert ratio >= least

    return measure
