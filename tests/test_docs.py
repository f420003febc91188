"""Every command of the pages and of the help exists, and those of the pages run in their order."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from conftest import blob
from PIL import Image
from slide_files import box, polygon, save_features, save_slide, tissue

from benchmark.analysis import pilot
from benchmark.cli import main
from benchmark.datasets import few_patients, folder, splits, store
from benchmark.datasets.ebhi_seg import GRADES
from benchmark.datasets.phantom import ENDS, Phantom
from benchmark.protocol import metrics, suites

HOUSE = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((HOUSE / "docs").glob("*.md")))]
SETUP = re.compile(r"<!-- setup -->.*?<!-- end -->", re.S)  # installs; its `bench run` is a test of its own


def text(page: str) -> str:
    return (HOUSE / page).read_text(encoding="utf-8")


def script(page: str) -> str:
    """The bash blocks of a page, one after the other."""
    return "\n".join(re.findall(r"^```bash\n(.*?)^```", SETUP.sub("", text(page)), re.M | re.S))


RUNNABLE = [page for page in PAGES if script(page)]  # what needs a Slurm or a Ray, tests/sweep/test_sweep.py runs


# ----------------------------------------------------------------------------------------------------------------------
# They exist


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `bench …` in a text, at the start of a line, behind a name=value or between back-ticks."""
    for line in re.findall(r"^ *(?:[A-Z_]+=\S+ )*(bench [^`\n]+)$|`(bench [^`\n]+)`", text, re.M):
        for part in re.split(r" && | … |  +", "".join(line).split(" #")[0]):
            if part.startswith("bench "):
                yield shlex.split(part)[1:]


def unknown(words: list[str]) -> str:
    """What of a command does not exist, or ""."""
    group: click.Command = main
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        if words[0] not in group.commands:
            return words[0]
        group, words = group.commands[words[0]], words[1:]
    known = {name for parameter in group.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "--version"} if group is main else {"--help"}
    return next((word for word in words if word.startswith("--") and word not in known), "")


def helps(command: click.Command) -> Iterator[str]:
    yield "\n".join(filter(None, (command.help, command.epilog))).replace("\b", "")
    for below in getattr(command, "commands", {}).values():
        yield from helps(below)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_that_a_page_names_exists(page):
    found = list(commands(text(page)))
    assert [(words, wrong) for words in found if (wrong := unknown(words))] == []
    assert found or page in ("docs/statistics.md", "docs/api.md")


def test_every_command_and_option_that_the_help_names_exists():
    found = [words for said in helps(main) for words in commands(said)]
    assert len(found) > 30
    assert [(words, wrong) for words in found if (wrong := unknown(words))] == []


def test_a_command_that_does_not_exist_is_found():
    (one, two, three) = commands("Give `bench swep quick`.\n  bench run --ratioo 1   # all\nA=b bench data show mine")
    assert (unknown(one), unknown(two), unknown(three)) == ("swep", "--ratioo", "")


@pytest.mark.parametrize("page", PAGES)
def test_every_change_that_a_page_shows_applies_to_the_code(page):
    for change in re.findall(r"^git apply <<'EOF'\n(.*?^)EOF$", text(page), re.M | re.S):
        done = subprocess.run(["git", "apply", "--check"], input=change, cwd=HOUSE, text=True, capture_output=True)
        assert done.returncode == 0, f"Update the change in {page}: {done.stderr}"


def test_a_citation_names_the_version_of_the_project():
    project = tomllib.loads(text("pyproject.toml"))["project"]
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == project["version"] and citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_hooks_before_a_commit_need_no_network():
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    for hook in hooks[0]["hooks"]:
        command = shlex.split(hook["entry"].removeprefix("python -m "))
        assert subprocess.run([sys.executable, "-m", *command, "tests/test_docs.py"]).returncode == 0


def test_numbers_in_the_definitions_are_those_of_the_code():
    said = " ".join(text("docs/definitions.md").split())
    for words in (
        f"within {metrics.BOUNDARY_TOLERANCE:g} pixels of the other",
        f"Σ over {metrics.CALIBRATION_BINS} bins",
        "With fewer than ten test patients",
    ):
        assert words in said
    assert few_patients.FEWEST_PATIENTS == folder.FEW == 10
    rule = " ".join(text("docs/pilot.md").split())
    assert f"{pilot.LONGER:g} times as many steps change the upper bound by less than a quarter" in rule
    assert pilot.SHARE == 1 / 4
    assert f"(p < {pilot.LEVEL:g}, adjusted over all settings" in rule
    train, val, test = (f"{100 * share:g} %" for share in splits.FRACTIONS.values())
    own = " ".join(text("docs/own-images.md").split())
    assert f"{train} are for training, {val} for validation, {test} for test (split `patient`)" in own
    shares = f"of those with masks {train} are for training, {val} for validation, {test} for test"
    assert shares in folder.Folder.splits["patient"]


# ----------------------------------------------------------------------------------------------------------------------
# They run


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    """The store of the drawn tissue, but of few images to score, which is what takes the time of a rehearsal."""
    data, last = tmp_path_factory.mktemp("drawn"), ENDS["val"] + 6
    items = [item for item in Phantom().items() if int(item.patient[1:]) < last]
    few = [item for item in items if int(item.patient[1:]) < ENDS["train"] or item.name.endswith("-0")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Phantom, "items", lambda self, root: few)
        store.add("phantom", None, data)
    return data / "phantom"


@pytest.fixture
def home(tmp_path) -> Path:
    """A home with what the pages speak of: one's own slides, a set to be added, and EBHI-Seg in small."""
    home = tmp_path / "home"
    lines = ["image,patient"]
    for i in range(12):
        name = f"Präparat {i:02} größe"
        save(blob(i)[0], home / "slides" / "images" / f"{name}.jpg")
        lines.append(f"{name}.jpg,Zoé {i}")
    for i in range(4):
        save(255 * blob(i)[1], home / "slides" / "masks" / f"Präparat {i:02} größe.png")
    (home / "slides" / "patients.csv").write_text("\n".join(lines), encoding="utf-8")
    for i in range(4):
        save_slide(home / "wsi" / f"case{i}.tif", tissue(i))
        spots = [polygon("Tumor", box(100 + 200 * k, 50, 200 + 200 * k, 350)) for k in range(2)]
        save_features(home / "wsi" / f"case{i}.geojson", polygon("Region*", box(0, 0, 700, 500)), *spots)
    for i in range(24):
        image, mask = blob(i)
        save(image, home / "my_set" / f"p{i // 2}" / f"{i}.png")
        save(255 * mask, home / "my_set" / f"p{i // 2}" / f"{i}_mask.png")
        grade = home / "Downloads" / "EBHI-SEG" / GRADES[i % len(GRADES)]
        save(image, grade / "image" / f"GT20{i // 2:05}-1-400-{i:03}.png")
        save(255 * mask, grade / "label" / f"GT20{i // 2:05}-1-400-{i:03}.png")
    return home


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def house(tmp_path) -> Path:
    """A copy of the repository, without rows, in which pages may write."""
    house = tmp_path / "house"
    for name in ("benchmark", "methods", "docs"):
        shutil.copytree(HOUSE / name, house / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "README.md", house)
    return house


def give(lines: str, house: Path, home: Path, path: str) -> str:
    """What a reader sees who gives these lines in a shell, with every command rehearsed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    env |= {"PATH": path, "HOME": str(home), "PYTHONPATH": str(house), "BENCH_RECIPE": "rehearsal"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=house, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def published(house: Path) -> None:
    """The rows and tables of the drawn tissue, as they are in a clone."""
    for path in (HOUSE / "results" / "runs").glob("*_phantom_*.json"):
        (house / "results" / "runs").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, house / "results" / "runs")
    shutil.copytree(HOUSE / "results" / "tables" / "phantom", house / "results" / "tables" / "phantom")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE)
def test_the_commands_of_a_page_run_in_their_order(page, house, home, phantom, path_with_bench):
    (house / "data").mkdir()
    (house / "data" / "phantom").symlink_to(phantom)
    if page == "docs/reproduce.md":
        published(house)
    said = give(script(page), house, home, path_with_bench)
    assert "Traceback" not in said


@pytest.mark.slow
def test_four_masks_lead_from_a_folder_to_a_table_and_a_page_that_say_what_they_are_worth(house, home, path_with_bench):
    """The first lines of docs/own-images.md, with two methods."""
    lines = script("docs/own-images.md").splitlines()
    first = "\n".join(lines[: lines.index(next(line for line in lines if line.startswith("bench report"))) + 1])
    first = first.replace("sweep quick", "sweep quick --methods mean_teacher").replace("report", "report --no-panels")
    said = give(first, house, home, path_with_bench)
    assert "12 images (4 annotated) of 12 patients" in said
    assert "Next           bench sweep quick --dataset mine --ratios 1 --crop 32" in said
    warning = "from only 2 patients. A difference is significant only if it exceeds 9.0 times"
    assert warning in said
    assert warning in (house / "mine-results" / "tables" / "mine" / "comparison.md").read_text(encoding="utf-8")
    assert warning in (house / "mine-results" / "index.html").read_text(encoding="utf-8")


def test_a_rehearsal_is_a_recipe_of_few_steps_on_a_toy_network():
    rehearsal = suites.RECIPES["rehearsal"]
    assert rehearsal["weights"] == "none" and rehearsal["steps"] < 10
