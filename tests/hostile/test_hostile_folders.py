"""A folder that cannot be written to is found before the work, and the sentence names the option that gives it."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import TOY
from rows import suite

from benchmark import files, run_records
from benchmark.cli import main
from benchmark.cli.errors import FOLDERS, sentence

LONG = "x" * 300


def bench(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


def toy_options(data: Path, results: Path) -> list[object]:
    return [f"--{name}={value}" for name, value in TOY.items()] + ["--data", data, "--results", results]


@pytest.fixture
def results(tmp_path) -> Path:
    for row in suite(("supervised", "cdma"), ratios=(0.1,), bounds=False):
        run_records.save(row, tmp_path / "results")
    return tmp_path / "results"


def failing(number: int):
    """What opens no file, for the reason of this number."""

    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    return fails


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_takes_nothing_is_named_by_the_option_that_gives_it(results, data, tmp_path, monkeypatch, number):
    monkeypatch.setattr(tempfile, "TemporaryFile", failing(number))
    commands = {
        ("report", "--out", tmp_path / "out", "--results", results): "--out",
        ("report", "--results", results): "--results",
        ("run", *toy_options(data, results)): "--results",
        ("sweep", "quick", "--dataset", "toy", "--data", data, "--results", results): "--results",
    }
    for words, option in commands.items():
        code, said = bench(*words)
        assert code == 1 and said.count("\n") == 1, said
        assert "is not writable" in said and f"give another folder with {option}." in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_becomes_full_is_named_by_the_option_that_gives_it(results, tmp_path, monkeypatch, number):
    monkeypatch.setattr(files.tempfile, "mkstemp", failing(number))
    for words, option in ((("--out", tmp_path / "out"), "--out"), ((), "--results")):
        code, said = bench("report", "--results", results, "--no-panels", *words)
        assert code == 1 and said.startswith("Error: The disk is full") and f"folder with {option}," in said


@pytest.mark.parametrize("part", FOLDERS)
def test_a_file_in_the_place_of_a_folder_is_found_before_training(data, tmp_path, part):
    (tmp_path / part).write_text("mine")
    code, said = bench("run", *toy_options(data, tmp_path))
    assert code == 1 and f"{tmp_path / part} is a file" in said and "--results" in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [part], "nothing was trained"
    assert (tmp_path / part).read_text() == "mine"


def test_results_that_are_a_file_and_a_link_to_nowhere_are_refused(data, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "deep")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "runs").symlink_to(tmp_path / "nowhere")
    for place in ("file/results", "link", "results"):
        code, said = bench("run", *toy_options(data, tmp_path / place))
        assert code == 1 and "with --results." in said and said.count("\n") == 1, said


@pytest.mark.parametrize(
    "words",
    [
        ["--results", LONG], ["--data", LONG], ["--dataset", LONG], ["--method", LONG], ["--variant", LONG],
        ["--task", LONG], ["--split", LONG], ["--encoder", LONG], ["--weights", LONG], ["--recipe", LONG],
        ["--device", LONG], ["--set", LONG], ["--set", f"{LONG}=1"], ["--norm", LONG],
    ],
)  # fmt: skip
def test_a_name_of_300_letters_is_refused_in_a_short_sentence(data, tmp_path, words):
    code, said = bench("run", *toy_options(data, tmp_path / "r"), *words)
    assert code == 1 and said.count("\n") == 1 and len(said) < 400, said


def test_an_unexpected_error_is_one_sentence_with_its_place(monkeypatch):
    import methods

    def breaks(name):
        raise KeyError("weights")

    monkeypatch.setattr(methods, "get", breaks)
    monkeypatch.delenv("BENCH_DEBUG", raising=False)
    code, said = bench("check", "cdma")
    assert code == 1 and said.startswith("Error: KeyError: 'weights' (") and "test_hostile_folders.py, line" in said
    assert "BENCH_DEBUG=1 shows the whole traceback" in said and said.count("\n") == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 TB")])
def test_too_little_memory_is_said_with_what_to_make_smaller(error):
    assert sentence(error).startswith("There is not enough memory; give a smaller --crop")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--results", ""],
        ["run", "--data", ""],
        ["report", "--out", ""],
        ["predict", "--run", "x", "--out", "", "."],
        ["sweep", "quick", "--results", ""],
    ],
)
def test_an_empty_name_is_no_folder(words):
    found = CliRunner().invoke(main, words)
    assert found.exit_code != 0 and "an empty name is no folder" in found.output
