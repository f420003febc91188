"""Several processes give one process's step, with every method, and evaluate no image twice."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_train import bench_run, decided, equal, weights
from torch import nn

import methods
from benchmark import run_records
from benchmark.protocol.distributed import Team, _Dropout, own_device
from methods.parts.nets import Arch

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def in_two_processes(*command: str) -> str:
    """What they say. Each has one thread, as in all tests."""
    done = subprocess.run([*TORCHRUN, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_a_gpu_that_is_named_is_refused_to_several_processes(monkeypatch):
    named, cpu = torch.device("cuda:0"), torch.device("cpu")
    assert own_device(named) == named and own_device(cpu) == cpu
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device(named) == named, "one process of torchrun"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert own_device(cpu) == cpu
    with pytest.raises(ValueError, match="cannot share cuda:0; give --device cuda"):
        own_device(named)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_every_method(tmp_path):
    """In double precision, so that a method that sees less than whole batches cannot hide behind rounding."""
    in_two_processes(str(Path(__file__).parents[1] / "two_processes.py"), str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) >= set(methods.names())
    assert not {name: told for name, told in found.items() if told["losses"] > 1e-9 or told["weights"] > 1e-6}


@pytest.mark.slow
def test_a_run_in_two_processes_leaves_the_row_of_one(data, toy, tmp_path):
    run = dataclasses.replace(toy, method="cdma", labelled=3, unlabelled=2)
    python, *command = bench_run(data, tmp_path / "one", run)
    subprocess.run([python, *command], check=True, capture_output=True)
    (one,) = run_records.load(tmp_path / "one")
    said = in_two_processes(*bench_run(data, tmp_path / "two", run)[1:])
    (two,) = run_records.load(tmp_path / "two")
    assert said.count("on the test images of") == 1, "only one of them tells"
    assert two.machine.processes == 2 and one.machine.processes == 1
    assert two.key == one.key, "the number of processes decides no result"
    for name, values in one.history.items():
        assert two.history[name] == pytest.approx(values, rel=2e-5)  # history has five digits
    for name in ("name", "patient", "present"):
        assert two.scores[name] == one.scores[name]
    assert two.scores["dice"] == [pytest.approx(dice, abs=2e-3) for dice in one.scores["dice"]]
    assert two.budget == one.budget


@pytest.mark.slow
def test_a_run_of_which_one_process_was_killed_goes_on_to_the_same_bits(data, toy, tmp_path):
    run = dataclasses.replace(toy, method="mean_teacher", steps=40)
    command = bench_run(data, tmp_path / "killed", run)[1:]
    process = subprocess.Popen([*TORCHRUN, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("killed/checkpoints/[!.]*")):
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert process.wait() != 0, "the others must not go on, or wait for ever"
    assert not run_records.load(tmp_path / "killed")
    in_two_processes(*command)
    in_two_processes(*bench_run(data, tmp_path / "whole", run)[1:])
    (one,), (two,) = run_records.load(tmp_path / "whole"), run_records.load(tmp_path / "killed")
    assert decided(one) == decided(two)
    assert equal(weights(tmp_path / "whole", one.key), weights(tmp_path / "killed", two.key))


def test_every_image_is_one_processs_and_comes_back_in_its_place():
    teams, places = [Team(rank, 3) for rank in range(3)], list(range(10, 18))
    parts = [team.shard(places) for team in teams]
    assert sorted(place for part in parts for place in part) == places
    assert Team().shard(places) == places and Team().gather(places, len(places)) == places


@pytest.mark.parametrize("whole", [1, 3, 4, 7])
def test_every_image_of_a_batch_is_in_one_share(whole):
    rows = torch.cat([Team(rank, 2).rows(whole, torch.device("cpu")) for rank in range(2)])
    assert rows[:whole].tolist() == list(range(whole))
    assert (rows[whole:] == whole - 1).all() and len(rows) - whole < 2


def test_dropout_draws_for_the_whole_batch():
    x, dropout = torch.rand(5, 8, 2, 2), nn.Dropout2d(0.5)
    torch.manual_seed(0)
    expected, after = dropout(x), torch.rand(1)
    for rank in range(2):
        team = Team(rank, 2)
        team.whole, rows = 5, team.rows(5, torch.device("cpu"))
        torch.manual_seed(0)
        assert torch.equal(_Dropout(dropout, team)(x[rows]), expected[rows])
        assert torch.equal(torch.rand(1), after), "what is drawn next must not depend on the share"


def test_live_batch_norm_is_refused():
    method = methods.build("supervised", Arch("tu-test_efficientnet", weights="none", width=32, norm="batch"))
    with pytest.raises(ValueError, match="batch norm mixes the images .* --norm frozen"):
        Team(0, 2).attach(method, torch.optim.SGD(method.parameters(), 0.1))
