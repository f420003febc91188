"""Work is shared among processes so that nothing is lost, and nothing outlives an error or Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from benchmark.report.fork_pool import side_by_side

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process is forked")
TORCH = "import torch; torch.ones(400, 400) @ torch.ones(400, 400); "  # whose threads no fork has


def refuse() -> None:
    raise ValueError("The rows cannot be drawn; do this.")


def results(pieces) -> dict[int, object]:
    with side_by_side(pieces) as found:
        return dict(found)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def running(parent: int) -> list[str]:
    return Path(f"/proc/{parent}/task/{parent}/children").read_text().split()


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_every_piece_is_done_once_and_comes_back_with_its_place(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    large = [partial(bytes, 200_000 * place) for place in range(7)]  # more than a pipe holds
    assert {place: len(found) for place, found in results(large).items()} == {k: 200_000 * k for k in range(7)}
    assert results([]) == {}


def test_pieces_are_done_by_other_processes_which_are_gone_afterwards():
    with side_by_side([os.getpid] * 8) as found:
        workers = {process for _, process in found}
    assert workers and os.getpid() not in workers
    assert not any(Path(f"/proc/{process}").exists() for process in workers)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_an_error_of_a_piece_is_raised_as_it_was_and_ends_the_others(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    before, children = time.monotonic(), running(os.getpid())
    with pytest.raises(ValueError) as raised:
        results([refuse, *[partial(time.sleep, 30)] * 3])
    assert str(raised.value) == "The rows cannot be drawn; do this."
    assert time.monotonic() - before < 20
    assert running(os.getpid()) == children


def test_a_process_that_is_killed_is_said_in_a_sentence_with_the_remedy():
    killed = partial(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(ValueError, match=r"was ended \(exit code -9\), most likely because memory ran out; free some"):
        results([killed, *[partial(time.sleep, 30)] * 3])


SLOW = (
    "import os, time; forks = []; "
    "os.register_at_fork(before=lambda: forks.append(1), after_in_child=lambda: time.sleep(len(forks))); "
)  # the second process is only beginning when the first has something to say


@pytest.mark.parametrize("before", ["", TORCH, SLOW])
def test_ctrl_c_ends_all_processes_at_once_and_without_a_word_of_theirs(before):
    script = (
        f"{before}import functools, signal, time; from benchmark.report.fork_pool import side_by_side\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a process in the background may not have it
        "try:\n"
        "    with side_by_side([str] + [functools.partial(time.sleep, 60)] * 3) as found:\n"
        "        print(*next(found), flush=True); next(found)\n"
        "except KeyboardInterrupt: print('stopped')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "0 \n"
    workers = running(process.pid)
    assert len(workers) == 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of them
    assert process.communicate(timeout=30) == ("stopped\n", "")
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
