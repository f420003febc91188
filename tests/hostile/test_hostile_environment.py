"""Variables that other programs left in the environment change nothing."""

import pytest
import torch
from click.testing import CliRunner
from conftest import TOY

from benchmark import run_records
from benchmark.cli import main
from benchmark.protocol import distributed

LEFT = [
    {"RANK": "1"},
    {"RANK": "1", "WORLD_SIZE": "2"},
    {"RANK": "one", "WORLD_SIZE": "many", "LOCAL_RANK": "x"},
    {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1"},
]


@pytest.mark.parametrize("left", LEFT, ids=lambda one: " ".join(one))
def test_ranks_that_torchrun_did_not_set_are_ignored(data, tmp_path, monkeypatch, left):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    assert distributed.is_main() and distributed.join(torch.device("cpu")).size == 1
    assert distributed.own_device(torch.device("cuda")) == torch.device("cuda")
    words = [f"--{name}={value}" for name, value in TOY.items()]
    words = ["run", "--method", "supervised", *words, "--data", str(data), "--results", str(tmp_path)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and "95 % interval" in done.output and "Weights" in done.output
    assert len(run_records.paths(tmp_path)) == 1


def test_of_the_processes_that_torchrun_started_the_first_one_prints(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for rank, leads in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert distributed.is_main() == leads
