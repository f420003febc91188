"""Files appear whole or not at all, and the lock of a run ends with its process."""

import os
import subprocess
import sys

import pytest

from benchmark import files


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("old")

    def fails(temporary):
        temporary.write_text("ne")
        raise OSError(28, "No space left on device", str(temporary))

    with pytest.raises(OSError, match="No space"):
        files.write_whole(path, fails)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_lock_is_waited_for_and_ends_with_its_process(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from benchmark import files\n"
        f"with files.claimed(Path({str(tmp_path)!r}), 'k', print): print('locked', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "locked\n"
    unfinished = tmp_path / "runs" / ".k.json.abc"
    unfinished.parent.mkdir()
    unfinished.touch()
    owners = []

    def wait(other: str) -> None:
        owners.append(other)
        holder.kill()

    with files.claimed(tmp_path, "k", wait):
        assert owners == [f"process {holder.pid} on {os.uname().nodename}"]
        assert not unfinished.exists(), "the unfinished file of the killed process should be deleted"
    holder.wait()
