"""Texts for readers are in plain technical English, and their links lead to a file and a heading that exist."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmark.cli import main

ROOT = Path(__file__).parents[1]
TEXTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", ".github/**/*.md"]
PAGES = sorted(str(path.relative_to(ROOT)) for pattern in TEXTS for path in ROOT.glob(pattern))

# Words that readers do not search for, and what to write instead. A pattern matches whole words in any case.
# To check other texts, add them to TEXTS; for docstrings and comments of code, let `lines` return only these.
INSTEAD = {
    r"anew|afresh": "again",
    r"told|tells": "print, show, name (a comparison that cannot answer 'cannot tell')",
    r"suffic(e|es|ed)": "be enough",
    r"whose": "of the, with",
    r"(?<!cross )(teach|teaches|taught|teaching)": "use for training",
    r"judge|judges|judged|judging": "use for test or validation, score",
    r"(carry|carries|carried|carrying) (it |them )?out": "train, run",
    r"suret(y|ies)|how sure|how (it )?is sure": "confidence, 95 % confidence interval",
    r"rows?": "run record, speed record; line of a table",
    r"(re)?drawn|redraws?|drew": "render, write, random (a draw is a labelled subset)",
    r"(does|do|did) not hold": "does not match",
    r"labelled shares?|(share|percentage)s? of (the )?labels|label ratios?": "labelled fraction",
    r"leaves? a (run )?record": "write a run record",
    r"wherein|whereby|thereof|therein|thereby|henceforth|hitherto|whilst|amongst|lest|nought|albeit": "a usual word",
    r"of which|how probable|with nothing kept|is told apart|may teach": "a shorter sentence",
}
FOUND = {re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.I): word for pattern, word in INSTEAD.items()}


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line of a file with its number."""
    yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)


def unusual(line: str) -> list[str]:
    """The words of a line that are to be replaced, each with its replacement."""
    return [f"'{match[0]}': {word}" for pattern, word in FOUND.items() for match in pattern.finditer(line)]


PACKAGES = ("methods", "benchmark")
MODULES = sorted(str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# Words with another meaning in code: rows of a matrix, an image or a CSV file, random numbers, the title of a paper
ELSEWHERE = {
    "methods": re.compile(r"'(rows?|drawn|teaching)'", re.I),
    "benchmark/datasets": re.compile(r"'rows?'"),
    "benchmark/protocol": re.compile(r"'rows?'"),
}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_only_usual_words(module):
    allowed = [pattern for place, pattern in ELSEWHERE.items() if module.startswith(f"{place}/")]
    words = ((number, word) for number, line in lines(ROOT / module) for word in unusual(line))
    wrong = [f"{module}:{number}: {word}" for number, word in words if not any(p.match(word) for p in allowed)]
    assert not wrong, "\n".join(["Write it in other words:", *wrong])


def commands(group: click.Group, before: str = "") -> dict[str, click.Command]:
    """Every command with its name, the groups included."""
    named = {f"{before}{name}": command for name, command in group.commands.items()}
    inside = [commands(command, f"{name} ") for name, command in named.items() if isinstance(command, click.Group)]
    return {name: command for part in (named, *inside) for name, command in part.items()}


COMMANDS = {"": main, **commands(main)}


def help_of(name: str, width: int) -> str:
    result = CliRunner().invoke(main, [*name.split(), "--help"], terminal_width=width)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_only_usual_words(name):
    wrong = [word for line in help_of(name, 100).splitlines() for word in unusual(line)]
    assert not wrong, "\n".join(["Write it in other words:", *wrong])


@pytest.mark.parametrize("group", [name for name, command in COMMANDS.items() if isinstance(command, click.Group)])
def test_the_first_line_of_every_command_fits_its_column(group):
    lines = help_of(group, 80).splitlines()[1:]  # below "Usage: bench COMMAND [ARGS]..."
    assert [line for line in lines if line.endswith("...")] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_only_usual_words(page):
    wrong = [f"{page}:{number}: {word}" for number, line in lines(ROOT / page) for word in unusual(line)]
    assert not wrong, "\n".join(["Write it in other words:", *wrong])


@pytest.mark.parametrize(
    "sentence",
    [
        "One of which only the row is here is carried out anew.",
        "Other defaults of network and training; those told here are of quick.",
        "Some of your masks must judge and cannot teach.",
        "What the compilation takes, with nothing kept from before, is told apart.",
        "A row has the bits of its commit.",
        "3 places do not hold.",
        "Leave out settings for which these do not suffice.",
        "Methods by labelled share",
    ],
)
def test_unusual_words_are_found(sentence):
    assert unusual(sentence)


@pytest.mark.parametrize(
    "sentence", ["Cross teaching has a teacher.", "The comparison cannot tell.", "Enough draws and a row-major array."]
)
def test_names_and_usual_words_are_left_alone(sentence):
    assert unusual(sentence) == []


def test_texts_and_code_are_spelled_correctly():
    places = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "benchmark", "methods", "tests", "examples"]
    found = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *places], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not found.stdout + found.stderr


# ----------------------------------------------------------------------------------------------------------------------
# The site


def test_every_page_is_in_the_navigation_of_the_site():
    shown = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(shown) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="needs pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "class Batch" not in (text := (tmp_path / "api" / "index.html").read_text()) and "unlabelled images" in text


# ----------------------------------------------------------------------------------------------------------------------
# Links and headings


def prose(page: Path) -> str:
    """A page without its blocks of code; `code` in a line stays without its marks, unless it shows a link."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]+`", lambda match: match[0][1:-1] if "](" not in match[0] else "", text)


def headings(page: Path) -> list[tuple[int, str]]:
    """Level and text of every heading."""
    return [(len(level), title) for level, title in re.findall(r"^(#+) (.+)$", prose(page), re.M)]


def anchor(title: str) -> str:
    """The name that GitHub gives to a heading.

    >>> anchor("Means, intervals, bold")
    'means-intervals-bold'
    """
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def broken(page: Path) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading of it."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page)) + re.findall(r'src="([^"]+)"', prose(page))
    wrong = []
    for link in found:
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, name = link.partition("#")
        target = page.parent / path if path else page
        named = not name or (target.suffix == ".md" and name in {anchor(title) for _, title in headings(target)})
        if not (target.exists() and named):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert broken(ROOT / page) == []


def test_a_link_to_a_missing_file_or_heading_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n[1](#a-title) [2](#another) [3](gone.md) [4](page.md#a-title) `[5](gone.md)` [6](page.md#no)\n"
    )
    assert broken(page) == ["#another", "gone.md", "page.md#no"]


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith(".github")])
def test_a_page_has_one_title_and_headings_of_their_own(page):
    found = headings(ROOT / page)
    levels, titles = [level for level, _ in found], [anchor(title) for _, title in found]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(below <= level + 1 for level, below in itertools.pairwise(levels)), "a level is left out"
    if page != "CHANGELOG.md":  # every version has its "Added"
        assert len(set(titles)) == len(titles)
