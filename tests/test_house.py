"""The map of the code holds: who may import whom, and which package is used where."""

import subprocess
import sys
import time

import house
import pytest

ONLY_IN = {
    "matplotlib": "benchmark.report",
    "seaborn": "benchmark.report",
    "click": "benchmark.cli",
    "cloup": "benchmark.cli",
}


@pytest.mark.parametrize("module", house.modules())
def test_every_module_is_on_the_map(module):
    assert house.wing(module) in house.ARROWS


@pytest.mark.parametrize("module", house.modules())
def test_a_module_uses_only_names_that_it_defines(module):
    assert house.undefined(module) == set()


def test_no_import_points_upward():
    assert house.upward() == []


def test_imports_form_no_circle():
    assert house.circle() == []


def test_the_map_in_the_docs_is_up_to_date():
    assert house.PAGE.read_text(encoding="utf-8") == house.page(), "give `python tests/house.py`"


def test_a_module_outside_of_the_wings_is_found():
    with pytest.raises(ValueError, match="in no wing"):
        house.wing("benchmark.helpers")


@pytest.mark.parametrize("module", [m for m in house.modules() if m.startswith("methods")])
def test_methods_need_nothing_of_the_harness(module):
    assert not [other for other in house.imports(module) if other.startswith("benchmark")]


@pytest.mark.parametrize(("package", "room"), ONLY_IN.items())
def test_a_heavy_package_stays_in_its_wing(package, room):
    users = [m for m in house.modules() if package in {other.partition(".")[0] for other in house.imports(m)}]
    assert users and all(module.startswith(room) for module in users)


def test_help_does_not_import_torch():
    code = "import sys, benchmark.cli as c; c.main(['--help'], standalone_mode=False); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"


@pytest.mark.slow
def test_help_answers_in_half_a_second():
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "benchmark.cli", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.5


def test_no_folder_of_tests_hides_a_package():
    """Pytest puts tests/ on the path, where a folder is found before a package that is installed as editable."""
    assert not {path.name for path in (house.ROOT / "tests").iterdir() if path.is_dir()} & set(house.PACKAGES)
