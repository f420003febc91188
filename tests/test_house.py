"""The plan of the house holds: who may import whom, and what stays out of a room."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "benchmark.cli": 7,
    "benchmark.train": 4,
    "benchmark.speed": 5,
    "benchmark.report": 4,
    "benchmark.cards": 6,
    "benchmark.planning": 5,
    "benchmark.reading": 6,
    "benchmark.sweep": 5,
    "benchmark.ablation": 5,
    "benchmark.tune": 5,
    "benchmark.rescore": 5,
    "benchmark.data": 3,
    "benchmark.audit": 3,
    "benchmark.suites": 3,
    "benchmark.evaluate": 3,
    "benchmark.cost": 3,
    "benchmark.parallel": 3,
    "benchmark.timing": 3,
    "methods": 2,
    "methods.testing": 2,
    "methods.parts": 1,
    "benchmark.datasets": 1,
    "benchmark.scores": 1,
    "benchmark.simulation": 1,
    "benchmark.records": 1,
    "benchmark.pilot": 2,
    "methods.base": 0,
    "benchmark.runs": 0,
    "benchmark.proofs": 0,
    "benchmark.metrics": 0,
    "benchmark.stats": 0,
    "benchmark.machine": 0,
    "benchmark.progress": 0,
    "benchmark.words": 0,
}
ONLY_IN = {"matplotlib": "benchmark.report", "seaborn": "benchmark.report", "click": "benchmark.cli"}

ROOMS = (
    "benchmark.simulation",
    "benchmark.stats",
    "methods.parts",
    "methods.testing",
    "benchmark.datasets",
    "benchmark.report",
    "benchmark.speed",
    "benchmark.sweep",
    "benchmark.cli",
)


def sources() -> dict[str, Path]:
    """Every module of the two packages."""
    paths = [path for room in ("benchmark", "methods") for path in (ROOT / room).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = sources()


def floor(module: str) -> int:
    """The floor of a module, or of the room that it is in."""
    while module not in FLOORS:
        module, dot, _ = module.rpartition(".")
        if not dot:
            raise KeyError
    return FLOORS[module]


def imports(path: Path) -> set[str]:
    """What a file imports, as modules; imports for type checking only do not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inside}
    return found


@pytest.mark.parametrize("module", [m for m in MODULES if m != "benchmark"])
def test_a_module_imports_only_from_lower_floors(module):
    room = module if module in FLOORS else module.rpartition(".")[0]
    for other in imports(MODULES[module]):
        if other in ("benchmark", module) or other.partition(".")[0] not in ("benchmark", "methods"):
            continue
        same_room = room in ROOMS and other.startswith(room)
        assert floor(other) < floor(module) or same_room, f"{module} imports {other}, which is not below it"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("methods")])
def test_methods_need_nothing_of_the_harness(module):
    assert not [other for other in imports(MODULES[module]) if other.startswith("benchmark")]


@pytest.mark.parametrize(("package", "room"), ONLY_IN.items())
def test_a_heavy_package_stays_in_its_room(package, room):
    users = {module for module, path in MODULES.items() if package in {o.partition(".")[0] for o in imports(path)}}
    assert all(module.startswith(room) for module in users)


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
