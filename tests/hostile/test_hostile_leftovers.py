"""Unfinished files of a killed command are deleted at the next start; those of a living one, and others', stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import TOY
from rows import suite

from benchmark import files, run_records
from benchmark.cli import main

HALF = """
import os, sys, time
from pathlib import Path
from benchmark import files

def write(temporary):
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)

files.write_whole(Path(sys.argv[1]), write)
"""


def half(path: Path) -> tuple[subprocess.Popen, Path]:
    """A process that is writing this file, and the unfinished file."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", HALF, str(path)], stdout=subprocess.PIPE, text=True, env=env)
    return process, Path(process.stdout.readline().strip())


@pytest.fixture
def results(tmp_path) -> Path:
    for row in suite(("supervised", "cdma"), ratios=(0.1,), bounds=False):
        run_records.save(row, tmp_path / "results")
    return tmp_path / "results"


def bench(*words: object) -> None:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output


PLACES = ("README.md", "index.html", "runs/a.json", "figures/x/score.png", "tables/x/ratios.csv", "tuning/runs/b.json")


def test_the_next_report_deletes_what_a_killed_one_left_and_nothing_that_is_being_written(results):
    (results / "README.md").write_text("of before")
    killed, left = zip(*(half(results / place) for place in PLACES), strict=True)
    alive, written = half(results / "figures" / "x" / "ranks.pdf")
    try:
        for process in killed:
            process.kill()
            assert process.wait() == -signal.SIGKILL
        mine = [results / name for name in (".gitkeep", ".README.md.backup1.md", "runs/.nfs0000000000000001")]
        for path in mine:
            path.write_text("mine")
        assert all(path.exists() and path.name.startswith(".") for path in (*left, written))
        bench("report", "--results", results, "--no-panels")
        assert not [path for path in left if path.exists()]
        assert written.read_text() == "half" and all(path.read_text() == "mine" for path in mine)
    finally:
        alive.kill()
        alive.wait()
    bench("report", "--results", results, "--no-panels")
    assert not written.exists()


def test_a_run_deletes_them_too(data, tmp_path):
    (killed, left), options = half(tmp_path / "pictures" / "x.png"), [f"--{n}={v}" for n, v in TOY.items()]
    killed.kill()
    killed.wait()
    bench("run", "--method", "supervised", *options, "--data", data, "--results", tmp_path)
    assert not left.exists() and not [path for path in tmp_path.rglob(".*")]


def test_a_page_of_the_user_has_no_unfinished_neighbour_for_long(results, tmp_path):
    page = tmp_path / "paper" / "README.md"
    page.parent.mkdir()
    page.write_text("<!-- methods: written by bench report -->\n<!-- end of methods -->\n")
    killed, left = half(page)
    killed.kill()
    killed.wait()
    bench("report", "--results", results, "--no-panels", "--readme", page)
    assert not left.exists() and [path.name for path in page.parent.iterdir()] == ["README.md"]


def test_a_file_that_was_deleted_before_it_was_locked_is_written_again(tmp_path, monkeypatch):
    lock, deleted = files.fcntl.flock, []

    def late(handle, how):
        if how == files.fcntl.LOCK_EX and not deleted:
            deleted.extend(tmp_path.glob(".*"))
            files.delete_unfinished(tmp_path)
        lock(handle, how)

    monkeypatch.setattr(files.fcntl, "flock", late)
    files.write_whole(tmp_path / "a.txt", lambda path: path.write_text("whole"))
    assert len(deleted) == 1 and not deleted[0].exists()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuses)
    files.write_whole(tmp_path / "a.txt", lambda path: path.write_text("whole"))
    (tmp_path / f".b.txt.{files.UNFINISHED}12345678.txt").write_text("perhaps alive")
    files.delete_unfinished(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
