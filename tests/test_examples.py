"""The examples run, and do what they say."""

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from rows import suite

from benchmark import run_records
from benchmark.protocol.scores import SCORES
from methods.parts.nets import Arch

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(name: str, argument: Path, patch: pytest.MonkeyPatch) -> None:
    """Runs an example as a script with one argument."""
    patch.setattr(sys, "argv", [name, str(argument)])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_a_method_learns_in_a_loop_of_ones_own():
    torch.manual_seed(0)
    loop = example("train_without_harness")
    arch = Arch("tu-test_efficientnet", weights="none", width=32, dropout=0.0, steps=25)
    untrained = loop.methods.build("mean_teacher", arch).eval()
    images, masks = loop.discs(8)
    trained = loop.train("mean_teacher", arch, loop.made_up_batches(), learning_rate=0.1)
    assert loop.dice(trained, images, masks) > loop.dice(untrained, images, masks) + 0.2


def test_records_become_a_table(tmp_path, monkeypatch, capsys):
    kept = suite(("supervised", "cdma"), ratios=(0.1,), draws=2, bounds=False)
    for record in kept:
        run_records.save(record, tmp_path)
    found = example("read_records").table(str(tmp_path), ("dice",))
    of_method = {one.title: [] for one in kept}
    for one in kept:
        of_method[one.title].append(100 * SCORES["dice"].of_run(one.scores))
    for title, values in of_method.items():
        assert found.dice[title, 0.1] == pytest.approx(sum(values) / len(values))
    start("read_records", tmp_path, monkeypatch)
    assert "CDMA" in capsys.readouterr().out


def test_without_records_an_example_names_the_remedy(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="no finished runs"):
        start("read_records", tmp_path, monkeypatch)
