"""`bench doctor --gpu`, rehearsed on the CPU: the same checks, with a tape in the place of a CUDA graph."""

import dataclasses
import json
import time

import pytest
import torch
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.protocol.step import CAPTURES
from benchmark.speed import doctor

TINY = ["--encoder", "tu-test_efficientnet", "--weights", "none", "--crop", "32", "--width", "32", "--tile", "64"]


@pytest.fixture
def short(monkeypatch):
    for name, steps in (("WHOLE", 5), ("STEPS", 2), ("STOP", 1), ("RESUMED", 3)):
        monkeypatch.setattr(doctor, name, steps)


def examined(data, results, names: str) -> tuple[int, str]:
    words = ["doctor", "--gpu", "--device", "cpu", "--methods", names, "--dataset", "toy", *TINY]
    done = CliRunner().invoke(main, [*words, "--data", str(data), "--results", str(results)])
    return done.exit_code, done.output


def test_every_check_is_done_and_written_to_a_file_that_can_be_sent(data, tmp_path, short):
    code, said = examined(data, tmp_path, "supervised")
    assert code == 0, said
    assert "✓ same bits" in said and "✓ captured " in said and " ms" in said
    (path,) = (tmp_path / "doctor").iterdir()
    report = json.loads(path.read_text())
    assert report["machine"]["device"] and report["run"]["crop"] == 32
    assert {finding["check"] for finding in report["findings"]} == {*doctor.CHECKS, doctor.FALLBACK}
    assert all(finding["passed"] for finding in report["findings"])
    assert "cpu" not in CAPTURES, "the tape is for the checks only"


def test_what_cannot_be_captured_says_so(store, toy):
    examined = doctor.Examined(dataclasses.replace(toy, method="topo_semi"), store, torch.device("cpu"))
    assert doctor.captured_bf16(examined) == (True, "eager")


def test_a_replay_that_does_something_else_fails(data, tmp_path, short, monkeypatch):
    def forgetful(work, device):
        values = work()
        return lambda: None, values

    monkeypatch.setattr(doctor, "recorded", forgetful)
    code, said = examined(data, tmp_path, "supervised")
    assert code == 1 and "✗ supervised, float32:" in said and "Some checks failed" in said
    (path,) = (tmp_path / "doctor").iterdir()
    assert not all(finding["passed"] for finding in json.loads(path.read_text())["findings"])


def test_an_error_of_a_method_is_a_finding(store, toy, short, monkeypatch):
    def broken(*_):
        raise RuntimeError("no deterministic kernel")

    monkeypatch.setattr(doctor, "CHECKS", {"broken": broken})
    report = doctor.examine([toy], store, torch.device("cpu"))
    assert not report.passed and "no deterministic kernel" in report.findings[0].text


def test_no_check_starts_after_the_time_is_up(store, toy, monkeypatch):
    monkeypatch.setattr(doctor, "LIMIT_S", -1.0)
    start = time.monotonic()
    report = doctor.examine([toy], store, torch.device("cpu"))
    assert time.monotonic() - start < 5
    assert {finding.passed for finding in report.findings} == {None} and report.passed


def test_bf16_is_recommended_by_a_measurement(monkeypatch, tmp_path):
    for ratio, advice in ((0.8, "stay with float32"), (1.7, "give --precision bf16")):
        monkeypatch.setattr(doctor, "bf16_speed", lambda device, ratio=ratio: ratio)
        said = CliRunner().invoke(main, ["doctor", "--results", str(tmp_path), "--data", str(tmp_path)]).output
        assert f"{ratio:.2f} × as fast" in said and advice in said
