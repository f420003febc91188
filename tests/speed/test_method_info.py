"""Methods are listed, have cards, start as copies, and may be in other packages."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import TOY

import methods
from benchmark.cli import main
from benchmark.speed import cards, method_info
from methods.testing import contract

OUTSIDE = Path(__file__).parents[1] / "outside"


def outside(*words: str) -> str:
    """The output of a command with the package of `tests/outside` installed."""
    path = os.pathsep.join([str(OUTSIDE), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "benchmark.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_method_of_another_package_keeps_the_contract_and_runs(data, tmp_path):
    assert "self_teaching keeps the contract" in outside("check", "self_teaching")
    options = [word for name, value in TOY.items() for word in (f"--{name}", value)]
    said = outside("run", "--method", "self_teaching", *options, "--data", data, "--results", tmp_path)
    assert "Self Teaching" in said and "Dice" in said
    assert len(list(tmp_path.glob("runs/self_teaching_*.json"))) == 1


def test_without_its_package_the_method_is_not_there():
    with pytest.raises(ValueError, match="no method 'self_teaching'"):
        methods.get("self_teaching")


def test_a_new_method_keeps_the_contract(tmp_path, monkeypatch):
    path = method_info.new_method("my_method", tmp_path)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    kind = methods.get("my_method")
    assert (kind.__name__, kind.title) == ("MyMethod", "My Method")
    assert cards.stored_card("my_method") is None
    assert method_info.computed("my_method").idea == "the idea in one line"
    for check in contract.checks.values():
        check(kind)
    assert "Vu" not in path.read_text(), "the authors of the copied method should be gone"


def test_outside_a_checkout_a_new_method_is_a_package_that_provides_it(tmp_path, monkeypatch):
    monkeypatch.setattr(method_info, "in_checkout", lambda: False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["new", "method", "my_method"])
    assert result.exit_code == 0 and "pip install --editable bench-my-method" in result.output
    project = tomllib.loads((tmp_path / "bench-my-method" / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]["bench.methods"]
    monkeypatch.syspath_prepend(tmp_path / "bench-my-method")
    kind = EntryPoint("my_method", points["my_method"], "bench.methods").load()
    assert issubclass(kind, methods.base.Method) and kind.title == "My Method"
    assert not (Path(methods.__file__).parent / "my_method.py").exists()


@pytest.mark.parametrize("name", ["My-Method", "class", "supervised", "base", "parts", "testing", "1st", "../x"])
def test_a_name_that_cannot_name_a_method_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="cannot name a method|already"):
        method_info.new_method(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_list_of_methods_names_each_in_one_piece_however_narrow_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(main, ["methods"])
    assert result.exit_code == 0
    first = [line.split()[0] for line in result.output.splitlines() if line.strip()]
    assert set(methods.names()) <= set(first)
    assert max(map(len, result.output.splitlines())) <= 80


def test_a_card_shows_formulas_settings_variants_and_cost():
    result = CliRunner().invoke(main, ["methods", "mean_teacher"])
    assert result.exit_code == 0, result.output
    for part in ("L = L_sup", "decay = 0.99", "Variant   student_predicts", "4 without", "2.33 × the operations"):
        assert part in result.output


@pytest.mark.parametrize("words", [["methods"], ["methods", "cdma"], ["recipes"], ["run", "--help"]])
def test_what_is_stored_is_printed_without_torch(words):
    code = f"import sys, benchmark.cli as c; c.main({words!r}, standalone_mode=False); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_every_method_of_this_project_has_a_stored_card_of_its_present_file():
    outdated = [name for name in sorted(methods._here()) if cards.stored_card(name) is None]
    assert not outdated, "give `python -m benchmark.speed.method_info`"


def test_a_stored_card_is_the_computed_one():
    assert method_info.computed("mean_teacher") == cards.stored_card("mean_teacher")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(methods._here()))
def test_every_stored_card_is_the_computed_one(name):
    assert method_info.computed(name) == cards.stored_card(name)


def test_needs_are_read_off_the_modules():
    built = methods.build("cdma", contract.TINY)
    assert method_info.needs(built) == "1 encoder, 3 decoders"
    assert method_info.needs(methods.build("mean_teacher", contract.TINY)) == "1 encoder, 1 decoder, 1 teacher"
    assert method_info.needs(methods.build("ad_mt", contract.TINY)) == "1 encoder, 1 decoder, 2 teachers"
