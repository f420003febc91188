"""Output that nobody reads, that does not fit or that cannot be encoded changes no result and no exit status."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TOY

from benchmark import run_records
from benchmark.cli import main

BENCH = [sys.executable, "-m", "benchmark.cli"]
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def bench(*words: str, **how) -> subprocess.CompletedProcess:
    return subprocess.run([*BENCH, *words], env={**ENV, **how.pop("env", {})}, **how)


@pytest.mark.parametrize("words", [["data", "list"], ["sweep", "--help"]])
def test_a_closed_pipe_is_silent(words):
    reading, writing = os.pipe()
    os.close(reading)
    done = bench(*words, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_pipe_for_errors_keeps_the_exit_status():
    reading, writing = os.pipe()
    os.close(reading)
    assert bench("sweep", "quikc", stdout=subprocess.PIPE, stderr=writing).returncode == 1
    os.close(writing)


def test_a_full_disk_behind_the_output_is_said_once():
    with open("/dev/full", "w") as full:
        done = bench("data", "list", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 0
    assert done.stderr.decode() == "The output could not be written (No space left on device).\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_not_there_is_not_needed(closed):
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *BENCH, "data", "list"], env=ENV)
    assert done.returncode == 0


@pytest.mark.parametrize(("encoding", "said"), [("ascii", "250 x 60 MB"), ("latin-1", "250 × 60 MB")])
def test_what_cannot_be_encoded_is_written_plainly(encoding, said):
    done = bench("data", "list", env={"PYTHONIOENCODING": encoding}, capture_output=True)
    assert done.returncode == 0 and not done.stderr
    assert said in done.stdout.decode(encoding)


class Process:
    """Standard output of this process in another encoding, to another file."""

    def __init__(self, monkeypatch, path: Path | str, encoding: str):
        self.file = open(path, "wb", 0)  # noqa: SIM115 – closed by the test
        stream = io.TextIOWrapper(self.file, encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_finished_run_prints_its_scores_in_every_encoding(data, tmp_path, monkeypatch, encoding):
    words = [f"--{name}={value}" for name, value in TOY.items()]
    words = ["run", "--method", "supervised", *words, "--data", str(data), "--results", str(tmp_path)]
    with monkeypatch.context() as patch:
        Process(patch, tmp_path / "said", encoding)
        main.main(words, standalone_mode=False)
    said = (tmp_path / "said").read_text(encoding)
    assert "Dice" in said and "95 % interval" in said and "Weights" in said
    with monkeypatch.context() as patch:
        Process(patch, "/dev/full", encoding)
        main.main(words, standalone_mode=False)
    assert len(run_records.paths(tmp_path)) == 1


def test_signs_that_no_encoding_has_are_replaced():
    signs = "─│┏┛ ✓ ✗ µm × – … é 中 \udcff"
    assert signs.encode("ascii", "plain").decode() == "-|++ ok x um x - ... e ? ?"
    assert signs.encode("utf-8", "plain").decode() == "─│┏┛ ✓ ✗ µm × – … é 中 ?"


NAMES = ["[b]", "[/b]", "[/]", "{task}", "{", "100 %s", ":smile:", "[link=file:///]x[/link]"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_user_is_printed_as_it_is(capsys, monkeypatch, name):
    from rich.table import Table

    from benchmark import progress
    from benchmark.cli import show

    table = Table(title=f"on {name}")
    table.add_column(name)
    table.add_row(f"Dice of {name}")
    show.console(width=100).print(table)
    assert capsys.readouterr().out.count(name) == 3
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "200")
    with progress._bar(f"Predicting {name}.png", 3) as tell:
        tell(1, f"of {name}")
    shown = capsys.readouterr().err
    assert f"Predicting {name}.png" in shown and f"of {name}" in shown
