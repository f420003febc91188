"""Ten thousand rows are reported within limits: `pytest -n0 -s --benchmark-only tests/benchmarks/test_report.py`."""

import dataclasses
import itertools
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from rows import row

import methods
from benchmark import run_records

ROWS, PATIENTS = 10_000, 24
RATIOS, DRAWS = (0.05, 0.1, 0.2, 0.5, 1.0), 3  # of each method and dataset; as many datasets as rows need
SECONDS, BYTES = 20.0, 2e9  # on two cores that have nothing else to do
ASKED = (96, 10)  # images of a row, and seeds: three comparisons; the others are measured beside it


@pytest.fixture(params=[ASKED, (96, 5), (668, 10)], ids=str)
def many(request, tmp_path) -> tuple[Path, tuple[int, int]]:
    """A folder of rows of so many images and seeds. Seeds and datasets have the scores of the first: quickly made."""
    images, seeds = request.param
    (tmp_path / "runs").mkdir()
    copies = -(-ROWS // (len(methods.names()) * len(RATIOS) * DRAWS))  # of each, by seed and dataset
    places = [(f"set{k // seeds}", k % seeds) for k in range(copies)]
    left = ROWS
    for method, ratio, draw in itertools.product(methods.names(), RATIOS, range(DRAWS)):
        one = row(method, ratio=ratio, draw=draw, images=images, patients=PATIENTS, empty=(1, 2))
        for dataset, seed in places[: min(left, copies)]:
            one.run = dataclasses.replace(one.run, dataset=dataset, seed=seed)
            one.key = f"{method}_{dataset}_r{ratio:g}_d{draw}_s{seed}"
            run_records.path_of(tmp_path, one.key).write_bytes(msgspec.json.encode(one))
        left -= min(left, copies)
    return tmp_path, request.param


@pytest.mark.skipif(sys.platform != "linux", reason="memory that processes share is counted by Linux alone")
def test_ten_thousand_rows_are_reported_in_time_and_memory(benchmark, many):
    results, (images, seeds) = many
    peak = benchmark.pedantic(_report, (results,), rounds=1)
    seconds = benchmark.stats.stats.max
    print(f"\n{ROWS} rows of {images} images and {seeds} seeds: {seconds:.1f} s, {peak / 1e9:.2f} GB")
    assert peak < BYTES
    assert seconds < SECONDS or (images, seeds) != ASKED


def _report(results: Path) -> int:
    """The most bytes that `bench report` and its processes have at once, what they share counted once."""
    command = [sys.executable, "-m", "benchmark.cli", "report", "--results", str(results), "--no-panels"]
    process, peak = subprocess.Popen(command, stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        peak = max(peak, sum(map(_bytes, _tree(process.pid))))
        time.sleep(0.1)
    assert process.returncode == 0
    return peak


def _tree(process: int) -> list[int]:
    children = _read(f"/proc/{process}/task/{process}/children").split()
    return [process, *(found for child in children for found in _tree(int(child)))]


def _bytes(process: int) -> int:
    lines = _read(f"/proc/{process}/smaps_rollup").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended in between
        return ""
