"""A method that is broken, misnamed or there twice is named in a sentence, and does not stop the others."""

import dataclasses
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import TOY
from msgspec import structs
from rows import row, suite
from sweep.test_sweep import carried_out, wanted

import methods
from benchmark import run_records
from benchmark.cli import main
from methods.base import REGISTRY
from methods.parts.nets import Arch

GOOD = '''
"""Mine (2026): a sentence."""
from methods.base import Method, register
from methods.parts.losses import dice_ce

@register
class Mine(Method):
    title, year, venue, paper = "Mine", 2026, "", "https://example.org"
    uses_unlabelled = False
    def __init__(self, arch, *, weight: float = 0.1):
        super().__init__()
        self.net = arch.net()
    def losses(self, batch, t):
        return {"sup": dice_ce(self.net(batch.x), batch.y)}
    def predict(self, x):
        return self.net(x)
'''
BROKEN = {  # a file, and what is said of it
    "syntax": (GOOD.replace("class Mine(Method):", "class Mine(Method)"), "SyntaxError: expected ':' ("),
    "nothing": ("x = 1", "registers no method; put @register above its class"),
    "unregistered": (GOOD.replace("@register", ""), "registers no method"),
    "two": (GOOD + GOOD[GOOD.index("@register") :].replace("Mine(", "Other("), "registered: Mine and Other"),
    "package": ("import nowhere_to_be_found.part\n" + GOOD, "needs the package 'nowhere_to_be_found', which is not"),
    "part": ("import methods.parts.nowhere\n" + GOOD, "No module named 'methods.parts.nowhere'"),
    "raises": (GOOD + "raise RuntimeError('no GPU')", "RuntimeError: no GPU ("),
    "exits": (GOOD + "raise SystemExit(3)", "SystemExit: 3 ("),
    "bytes": ("\0", "source code string cannot contain null bytes"),
    "no class": (GOOD.replace("(Method)", "()").replace("super().__init__()", "pass"), "not a class derived from"),
    "abstract": (GOOD.replace("def predict", "def predicts"), "does not define predict"),
    "untitled": (GOOD.replace("title, year", "titles, year"), "does not give 'title' as a word"),
    "year": (GOOD.replace("2026,", "'2026',"), "does not give 'year' as a whole number"),
    "variant": (GOOD.replace("uses_", "variants = {'../out': {}}\n    uses_"), "has a variant called '../out'"),
    "settings": (GOOD.replace("uses_", "variants = {'out': 1}\n    uses_"), "settings of its variant 'out'"),
}  # fmt: skip
FAILING = {  # a file that can be imported, but not used
    "losses": (GOOD.replace("return {", "raise KeyError('teacher')\n        return {", 1), "KeyError: 'teacher' ("),
    "building": (GOOD.replace("self.net =", "self.nets.x ="), "AttributeError: "),
    "terms": (GOOD.replace("return {", "return None and {", 1), "AttributeError: "),
}


def bench(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A second folder of method files."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path / "files")])
    (tmp_path / "files").mkdir()
    yield tmp_path / "files"
    for path in (tmp_path / "files").glob("*.py"):
        sys.modules.pop(f"methods.{path.stem}", None)
        REGISTRY.pop(path.stem, None)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package with one module of that name, and entry points."""
    installed = []

    def install(package: str, points: str, source: str = GOOD) -> None:
        site = tmp_path / package
        (site / f"{package}-1.0.dist-info").mkdir(parents=True)
        (site / f"{package}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\n")
        text = "[bench.methods]\n" + textwrap.dedent(points)
        (site / f"{package}-1.0.dist-info" / "entry_points.txt").write_text(text)
        (site / f"{package}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        installed.append(package)

    yield install
    for package in installed:
        sys.modules.pop(package, None)
        if package not in methods.names():
            REGISTRY.pop(package, None)


@pytest.mark.parametrize(("source", "said"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_used_is_named_with_what_to_correct(folder, source, said):
    (folder / "mine.py").write_text(source)
    with pytest.raises(methods.Broken, match="The method 'mine' cannot be ") as caught:
        methods.get("mine")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert "mine" in methods.names() and methods.year("mine") in (None, 2026)


def test_the_list_of_methods_has_the_others_and_names_the_broken_ones(folder, install, monkeypatch):
    for name, (source, _) in (BROKEN | FAILING).items():
        (folder / f"{name.replace(' ', '_')}_.py").write_text(source)
    (folder / "mine.py").write_text(GOOD)
    (folder / "my method.py").write_text(GOOD)
    install("theirs", "../theirs = theirs:Mine")
    few = {"supervised", "mine", "my method"} | {path.stem for path in folder.iterdir()}
    monkeypatch.setattr(methods, "_here", lambda: few)
    code, said = bench("methods")
    assert code == 0 and "supervised" in said and "mine" in said
    for name, (_, why) in (BROKEN | FAILING).items():
        (line,) = [line for line in said.splitlines() if f"'{name.replace(' ', '_')}_'" in line]
        assert line.startswith("✗ ") and why in line
    assert "✗ 'my method' cannot name a method and is left out" in said
    assert "✗ '../theirs' cannot name a method and is left out" in said


@pytest.mark.parametrize(("source", "said"), (BROKEN | FAILING).values(), ids=BROKEN | FAILING)
def test_a_sweep_records_a_broken_method_as_failed_and_goes_on(store, data, folder, tmp_path, source, said):
    (folder / "mine.py").write_text(source)
    ran, endings = carried_out(wanted(("mine",)), store, data, tmp_path)
    assert ran == ["supervised", "mine"]
    assert [ending for _, ending, _ in endings] == ["done", "failed"], endings
    assert said in endings[1][2]
    assert len(run_records.load(tmp_path)) == 1


def test_a_run_of_a_method_that_raises_is_one_sentence_with_the_line(data, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DEBUG", raising=False)
    (folder / "mine.py").write_text(FAILING["losses"][0])
    toy = [f"--{name}={value}" for name, value in TOY.items()]
    code, said = bench("run", "--method", "mine", *toy, "--data", data, "--results", tmp_path)
    line = GOOD[: GOOD.index("return {")].count("\n") + 1
    assert code == 1 and said.startswith(f"Error: KeyError: 'teacher' ({folder / 'mine.py'}, line {line})")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["../theirs", "a b", "", "a.b", "größe", "x" * 41, "a/b", "a\nb", "."])
def test_a_name_with_other_signs_is_refused_wherever_it_enters(install, tmp_path, name):
    if name.strip():
        install("theirs", f"{name.splitlines()[0]} = theirs:Mine")
    with pytest.raises(ValueError, match="cannot name a method; use at most 40 letters, digits"):
        methods.get(name)
    assert name not in methods.names()
    code, said = bench("run", f"--method={name}", "--results", tmp_path / "results")
    assert (code == 1 and "here is no method" in said) or "cannot name" in said
    assert not list(tmp_path.rglob("*.json"))


def test_a_package_with_the_name_of_a_method_of_this_project_is_refused_by_name(install):
    install("theirs", "cdma = theirs:Mine")
    with pytest.raises(methods.Broken, match="The package 'theirs' provides a method 'cdma', which is the name of"):
        methods.get("cdma")
    assert methods.get("mean_teacher").title == "Mean Teacher"


def test_two_packages_with_one_name_are_refused_by_name(install):
    install("theirs", "mine = theirs:Mine")
    assert methods.get("mine").title == "Mine"
    install("others", "mine = others:Mine")
    with pytest.raises(methods.Broken, match=r"2 entry points provide a method 'mine' \((theirs|others), "):
        methods.get("mine")


def test_a_module_of_a_package_does_not_replace_a_method_of_the_same_file_name(install, tmp_path):
    before = methods.get("dtc")
    install("dtc", "mine = dtc.dtc:Mine")
    (tmp_path / "dtc" / "dtc").mkdir()
    (tmp_path / "dtc" / "dtc.py").rename(tmp_path / "dtc" / "dtc" / "dtc.py")
    assert methods.get("mine").title == "Mine"
    assert methods.get("dtc") is before
    sys.modules.pop("dtc.dtc")
    REGISTRY.pop("dtc.dtc")


@pytest.mark.parametrize("point", ["theirs:Nobody", "nowhere_to_be_found:Mine", "theirs:register"])
def test_an_entry_point_that_leads_nowhere_is_named(install, point):
    install("theirs", f"mine = {point}")
    with pytest.raises(methods.Broken, match="'mine' cannot be"):
        methods.get("mine")


@pytest.mark.parametrize("setting", ["arch", "name", "self", "method"])
def test_a_setting_called_like_an_argument_of_the_program_is_a_setting_that_does_not_exist(setting):
    arch = Arch("tu-test_efficientnet", weights="none", width=32)
    with pytest.raises(ValueError, match=f"Method 'cdma' has no setting '{setting}'"):
        methods.build("cdma", arch, **{setting: 5})


def test_no_method_of_this_project_breaks_these_rules():
    assert not methods.misnamed()
    for name in methods.names():
        if Path(methods.__file__).with_name(f"{name}.py").exists():
            assert all(methods.NAME.fullmatch(variant) for variant in methods.variants(name))


def test_a_report_has_the_runs_of_a_method_that_is_no_longer_here(tmp_path):
    for one in suite(("supervised", "cdma"), ratios=(0.1,)):
        run_records.save(one, tmp_path)
    for settings in ({}, {"weight_um": 0.1}, {"weight_um": 0.2}, {"weight_um": 0.5}):
        one = row("cdma", settings=settings)
        gone = dataclasses.replace(one.run, method="gone")
        run_records.save(structs.replace(one, run=gone, key=gone.key, title="Gone"), tmp_path)
    code, said = bench("report", "--results", tmp_path, "--no-panels")
    assert code == 0, said
    assert "Gone" in (tmp_path / "README.md").read_text()
