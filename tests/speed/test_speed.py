"""The instrument measures what was planted: slow calls, drifts, jitter, memory, throttling, other processes."""

import dataclasses
import json
import math
import multiprocessing
import random
import re
import subprocess
import sys

import numpy as np
import pynvml
import pytest
import torch
from click.testing import CliRunner
from conftest import TOY
from rows import suite

import methods
from benchmark import run_records
from benchmark.analysis import timing
from benchmark.cli import main
from benchmark.protocol import flops, step
from benchmark.report import speed as report
from benchmark.report.tables import ratios
from benchmark.report.tables.formats import FORMATS
from benchmark.report.verify import verify
from benchmark.runs import Run
from benchmark.speed import interleave, measure, monitor, roofline
from benchmark.speed.timed_method import Subject
from methods.base import Batch
from methods.testing.tape import recorded

CPU = torch.device("cpu")


# ----------------------------------------------------------------------------------------------------------------------
# Turns


class Clock:
    """A clock that only calls move."""

    def __init__(self, monkeypatch):
        self.now, self.said = 0.0, []
        monkeypatch.setattr(interleave.time, "perf_counter", lambda: self.now)

    def call(self, name: str, seconds):
        """A call that takes so long, or so long as a function of the time says."""

        def call():
            self.now += seconds(self.now) if callable(seconds) else seconds
            self.said.append(name)

        return call


def test_each_call_is_charged_its_own_seconds_and_no_others(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {"quick": clock.call("quick", 1.0), "slow": clock.call("slow", 3.0)}
    found = interleave.take_turns(calls, CPU, repeats=9, during=clock.call("gauge", 100.0))
    assert found == {"quick": [1.0] * 9, "slow": [3.0] * 9}


def test_nobody_always_follows_the_same_neighbour(monkeypatch):
    clock = Clock(monkeypatch)
    interleave.take_turns({name: clock.call(name, 1.0) for name in "abc"}, CPU, repeats=8)
    rounds = "".join(clock.said[3 * interleave.WARM_CALLS :])
    assert rounds == "abccba" * 4


def test_a_machine_that_slows_down_changes_no_ratio(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {"one": clock.call("one", lambda t: 1 + t / 50), "two": clock.call("two", lambda t: 2 * (1 + t / 50))}
    found = {name: timing.timing(s) for name, s in interleave.take_turns(calls, CPU, repeats=20).items()}
    assert found["two"].median / found["one"].median == pytest.approx(2, rel=0.05)
    assert found["one"].unstable, "the drift itself is worth a mark"


def test_when_time_is_up_fewer_calls_suffice(monkeypatch):
    clock = Clock(monkeypatch)
    found = interleave.take_turns({"long": clock.call("long", 10.0)}, CPU, repeats=100, seconds=120)
    assert len(found["long"]) == 12
    found = interleave.take_turns({"longer": clock.call("longer", 1000.0)}, CPU, repeats=100, seconds=120)
    assert len(found["longer"]) == interleave.LEAST


# ----------------------------------------------------------------------------------------------------------------------
# What seconds say


def test_median_percentile_and_spread_are_those_worked_out_by_hand():
    found = timing.timing([5.0, 1.0, 2.0, 4.0, 3.0])
    assert found == pytest.approx((3.0, 4.8, 2 / 3, 5))


@pytest.mark.parametrize(("jitter", "unstable"), [(0.0, False), (0.02, False), (0.1, True)])
def test_a_planted_jitter_is_marked_unstable(jitter, unstable):
    seconds = [1 + jitter * (-1) ** k for k in range(20)]  # the quartiles are 2 × jitter apart
    assert timing.timing(seconds).unstable == unstable
    said = timing.remarks(made("supervised", train=seconds))
    assert said == (["unstable: the spread of train, train_data exceeds 5%"] if unstable else [])


def test_a_single_hiccup_is_told_by_the_percentile_and_is_not_unstable():
    found = timing.timing([1.0] * 18 + [9.0] * 2)
    assert not found.unstable and found.median == 1 and found.p95 == 9


# ----------------------------------------------------------------------------------------------------------------------
# Rows


def made(method: str = "cdma", *, batch: int = 4, train=(0.2,) * 8, beside=(0.1,) * 8, **changes) -> dict:
    """A row as the instrument leaves it, with numbers that are easily divided."""
    run = Run(method=method, labelled=batch, unlabelled=batch, steps=100)
    images = batch if method == "supervised" else 2 * batch
    timed = {"images": batch, "seconds": [0.05] * 8}
    row = {
        "format": timing.FORMAT,
        "key": timing.key(run, "A Processor", 2),
        "run": json.loads(json.dumps(dataclasses.asdict(run))),
        "title": {"supervised": "Supervised", "cdma": "CDMA"}[method],
        "measured_at": "2026-01-01T00:00:00+00:00",
        "machine": {"device": "A Processor", "kind": "cpu", "threads": 2, "cores": 2},
        "modes": {
            "train": {"images": images, "seconds": list(train)},
            "train_data": {"images": images, "seconds": [1.25 * s for s in train]},
            "predict": timed,
            "segment": {"images": 1, "pixels": 50_000, "seconds": [0.1] * 8},
        },
        "beside": {"train": {"images": batch, "seconds": list(beside)}, "predict": timed},
        "ceiling": {"matmul": 1e12, "convolution": 2e12, "tf32": False},
        "cost": {
            "train": {"flops": 5e10 if method == "cdma" else 2e10, "counted": 0.99, "images": {}},
            "predict": {"flops": 1e10, "counted": 0.98},
            "parameters": 3_000_000,
        },
        "scoring": {"pixels": 600_000, "pixels_per_s": 20_000},
        "startup": {"import_s": 4.0, "build_s": 0.5, "first_step_s": 1.5, "first_predict_s": 0.5},
        "memory": {"train": 2e9, "predict": 1e9},
        "uncompiled": "",
        "energy": None,
        "together": [{"runs": 1, "threads": 2, "steps_per_s": 5.0}, {"runs": 2, "threads": 1, "steps_per_s": 8.0}],
        "conditions": {
            "load": 0.1,
            "gpu_processes": None,
            "others_cores": 0.0,
            "clock_mhz": [2000, 2000],
            "celsius": None,
            "throttled": {},
        },
    }
    if method == "supervised":
        row["beside"] = {}
    return {**row, **changes}


def test_what_a_row_says_is_worked_out_by_hand():
    row = made("cdma")
    assert timing.images_per_s(row, "train") == pytest.approx(4 / 0.2)
    assert timing.relative(row, "train") == pytest.approx(2)
    assert timing.utilisation(row, "train") == pytest.approx(5e10 / 0.2 / 1e12)
    assert [timing.runs_per_hour(row, packed) for packed in row["together"]] == pytest.approx([180, 288])
    assert timing.relative(made("supervised"), "train") == 1


def test_rows_are_written_whole_and_read_back(tmp_path):
    rows = [made("cdma"), made("supervised")]
    for row in rows:
        timing.save(row, tmp_path)
    assert timing.load(tmp_path) == rows
    assert [path.suffix for path in (tmp_path / "speed").iterdir()] == [".json"] * 2
    with pytest.raises(ValueError, match="not JSON compliant"):
        timing.save(made("cdma", energy=math.nan), tmp_path)
    assert timing.load(tmp_path) == rows, "the row that could not be written should leave the old one"
    (tmp_path / "speed" / f"{rows[0]['key']}.json").write_text('{"format": 1, "key"')
    with pytest.raises(ValueError, match="is not whole.*measure again"):
        timing.load(tmp_path)


def test_a_row_of_another_format_is_refused(tmp_path):
    path = timing.save(made("cdma"), tmp_path)
    path.write_text(path.read_text().replace(f'"format":{timing.FORMAT}', '"format":0'))
    with pytest.raises(ValueError, match=f"format 0, this version reads {timing.FORMAT}"):
        timing.load(tmp_path)


def test_rows_are_named_by_device_method_and_batch_and_by_all_that_decides_the_speed():
    run = Run(method="cdma")
    name = timing.key(run, "Intel(R) Xeon(R) CPU @ 2.20GHz", 2)
    assert name.startswith("intel-xeon_cdma_b4_")
    for field, value in {"crop": 64, "precision": "bf16", "encoder": "resnet18"}.items():
        assert timing.key(dataclasses.replace(run, **{field: value}), "Intel(R) Xeon(R) CPU @ 2.20GHz", 2) != name
    for field, value in {"lr": 1.0, "seed": 3, "steps": 9}.items():
        assert timing.key(dataclasses.replace(run, **{field: value}), "Intel(R) Xeon(R) CPU @ 2.20GHz", 2) == name


# ----------------------------------------------------------------------------------------------------------------------
# What disturbs


@pytest.mark.parametrize(
    ("conditions", "remark"),
    [
        ({"others_cores": 1.5}, "other processes kept 1.5 of 2 cores busy meanwhile"),
        ({"gpu_processes": 3}, "3 other processes were on the GPU"),
        ({"throttled": {"power cap": 0.4}}, "the GPU slowed down (power cap) in 40% of the readings"),
        ({"clock_mhz": [1000, 2000]}, "the clock moved between 1000 and 2000 MHz"),
    ],
)
def test_what_may_have_disturbed_is_remarked(conditions, remark):
    row = made("supervised")
    assert timing.remarks(row) == []
    row["conditions"] |= conditions
    assert timing.remarks(row) == [remark]


def test_losses_that_could_not_be_compiled_are_remarked():
    row = made("supervised", uncompiled="an operator is unknown")
    assert timing.remarks(row) == ["its losses could not be compiled (an operator is unknown)"]


def test_a_gpu_that_keeps_its_clocks_to_itself_is_remarked():
    row = made("supervised")
    row["machine"] |= {"kind": "cuda"}
    assert timing.remarks(row) == []
    row["conditions"] |= {"clock_mhz": None}
    assert timing.remarks(row) == ["the GPU does not tell its clocks, so that throttling cannot be seen"]


def test_seconds_of_other_processes_are_those_the_machine_worked_less_our_own(monkeypatch):
    readings = {"busy": iter([100.0, 130.0]), "own": iter([5.0, 15.0]), "now": iter([0.0, 10.0])}
    monkeypatch.setattr(monitor, "busy_seconds", lambda: next(readings["busy"]))
    monkeypatch.setattr(monitor.time, "process_time", lambda: next(readings["own"]))
    monkeypatch.setattr(monitor.time, "monotonic", lambda: next(readings["now"]))
    assert monitor.Gauges(CPU).conditions()["others_cores"] == pytest.approx(2.0)


class Nvml:
    """A GPU's driver that says what was planted."""

    def __init__(self, monkeypatch, **planted):
        monkeypatch.setattr(monitor.torch.cuda, "get_device_properties", lambda _: type("P", (), {"uuid": "1-2"}))
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: uuid)
        for name, answers in planted.items():
            monkeypatch.setattr(pynvml, name, self.answering(iter(answers)))

    @staticmethod
    def answering(answers):
        def answer(*_):
            planted = next(answers)
            if isinstance(planted, Exception):
                raise planted
            return planted

        return answer


def test_clocks_heat_and_throttling_of_a_gpu_are_told(monkeypatch):
    idle, power, heat = pynvml.nvmlClocksEventReasonGpuIdle, 0x4, 0x40  # of nvml.h
    Nvml(
        monkeypatch,
        nvmlDeviceGetClockInfo=[1980, 1200, 1500, 1980],
        nvmlDeviceGetTemperature=[50, 60, 70, 60],
        nvmlDeviceGetCurrentClocksThrottleReasons=[idle, power, power | heat, 0],
    )
    noticed = monitor.Gauges(torch.device("cuda", 0))
    for _ in range(4):
        noticed.read()
    told = noticed.conditions()
    assert told["clock_mhz"] == [1200, 1980] and told["celsius"] == [50, 70]
    assert told["throttled"] == {"power cap": 0.5, "heat, by hardware": 0.25}


def test_what_a_gpu_does_not_tell_is_none_and_stops_nothing(monkeypatch):
    deaf = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    Nvml(
        monkeypatch,
        nvmlDeviceGetTotalEnergyConsumption=[deaf, 2500],
        nvmlDeviceGetClockInfo=[deaf],
        nvmlDeviceGetTemperature=[deaf],
        nvmlDeviceGetCurrentClocksThrottleReasons=[deaf],
    )
    gpu = monitor.Gpu(torch.device("cuda", 0))
    assert gpu.joules() is None and gpu.joules() == 2.5
    noticed = monitor.Gauges(torch.device("cuda", 0))
    noticed.read()
    told = noticed.conditions()
    assert (told["clock_mhz"], told["celsius"], told["throttled"]) == (None, None, {})


def test_without_a_driver_a_gpu_tells_nothing(monkeypatch):
    Nvml(monkeypatch)
    missing = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    monkeypatch.setattr(pynvml, "nvmlInit", Nvml.answering(iter([missing])))
    gpu = monitor.Gpu(torch.device("cuda", 0))
    assert gpu.joules() is None and gpu.processes() is None and gpu.throttled() == []


def test_peak_memory_is_what_a_call_held_at_once():
    """In a process of its own, as `bench speed` has them: memory that earlier tests left would be used again."""
    script = """
import torch
from benchmark.speed import monitor
cpu, megabytes = torch.device("cpu"), 2**20
def work():
    torch.ones(32 * megabytes // 4)  # given back before the next
    torch.ones(64 * megabytes // 4)
start = monitor.in_use(cpu)
held = monitor.peak_of(cpu, work, start)
print(held // megabytes, monitor.peak_of(cpu, lambda: None, monitor.in_use(cpu)) // megabytes)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    held, later = map(int, done.stdout.split())
    assert 60 < held < 90  # some pages were there already
    assert later < 8, "an earlier peak should be forgotten"


# ----------------------------------------------------------------------------------------------------------------------
# One method, measured


@pytest.fixture(scope="module")
def job(data) -> measure.Job:
    return measure.Job(Run(method="mean_teacher", **TOY), data, "cpu", 1, repeats=8, seconds=0)


@pytest.fixture(scope="module")
def row(job):
    """What the instrument says of a tiny mean teacher, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(roofline.SIDE, "cpu", 64)
        patch.setitem(roofline.IMAGES, "cpu", (1, 8, 16))
        patch.setitem(roofline.COPIED, "cpu", 2**16)
        return measure.alone(job)


def test_every_mode_has_its_images_and_its_seconds(row, job):
    assert {mode: found["images"] for mode, found in row["modes"].items()} == {
        "train": 4, "train_data": 4, "predict": 2, "segment": 1,
    }  # fmt: skip
    assert {mode: found["images"] for mode, found in row["beside"].items()} == {"train": 2, "predict": 2}
    assert row["modes"]["segment"]["pixels"] == 48 * 48
    for found in [*row["modes"].values(), *row["beside"].values()]:
        assert len(found["seconds"]) >= job.repeats and min(found["seconds"]) > 0


def test_what_is_counted_is_what_a_run_would_count(row, job, store):
    subject = Subject(job.run, store, CPU)
    counted = flops.count(subject.method, subject.batch)
    assert {name: row["cost"]["train"][name] for name in ("flops", "counted", "images")} == {
        name: counted[name] for name in ("flops", "counted", "images")
    }
    assert row["cost"]["parameters"] == counted["parameters"]
    assert 0 < row["cost"]["predict"]["flops"] < counted["flops"]
    assert row["run"] == dataclasses.asdict(job.run) and row["title"] == "Mean Teacher"


def test_a_measured_row_can_be_written_read_and_printed(row, tmp_path):
    whole = {**row, "together": []}
    whole["startup"] = {"import_s": 1.0, **row["startup"]}
    whole["conditions"] = {"load": 0.0, "gpu_processes": None, **row["conditions"]}
    timing.save(whole, tmp_path)
    (read,) = timing.load(tmp_path)
    assert read == {"format": timing.FORMAT, **json.loads(json.dumps(whole))}
    (place,) = report.places([read])
    assert "toy, tu-test_efficientnet, unet, float32, crop 32" in place
    assert sorted(report.tables([read], place)) == ["prediction", "runs", "training"]


def test_timing_changes_no_weight_and_every_step_does_the_same_work(store, toy):
    subject = Subject(dataclasses.replace(toy, method="mean_teacher"), store, CPU)
    before = {name: value.clone() for name, value in subject.method.named_parameters()}
    subject.train()
    subject.train_data()
    assert all(torch.equal(before[name], value) for name, value in subject.method.named_parameters())
    moments = subject.eager.optimiser.state
    state = moments[next(iter(moments))]
    assert state["step"] > 0 and state["exp_avg"].abs().max() > 0, "the step itself should have been taken"


def test_a_step_with_data_takes_the_next_batch_each_time(store, toy, monkeypatch):
    subject = Subject(toy, store, CPU)
    seen = []
    monkeypatch.setattr(subject.method, "losses", lambda batch, t: seen.append(batch.x) or {"sup": batch.x.mean() * 0})
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    for call in (subject.train, subject.train, subject.train_data, subject.train_data):
        call()
    assert seen[0] is seen[1]
    assert not torch.equal(seen[2], seen[3]) and torch.equal(seen[3], subject.batches.at(2).x)


def test_the_ceiling_counts_the_products_that_it_makes():
    for precision in ("float32", "bf16"):
        for name, (call, count) in roofline.products(CPU, precision).items():
            with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
                call()
            assert counter.get_total_flops() == count, name


class OneLayer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Conv2d(3, 2, 1)

    def losses(self, batch, t):
        return {"sup": self.net(batch.x).square().mean()}


def test_the_bytes_of_a_step_are_those_worked_out_by_hand():
    """Kept for the backward pass: the images (2 · 3 · 16 numbers) and the output of the layer (2 · 2 · 16)."""
    x = torch.rand(2, 3, 4, 4)
    batch = Batch(x, torch.zeros(2, 4, 4, dtype=torch.long), x[:0])
    assert roofline.moved_bytes(OneLayer(), batch, "float32") == 2 * 4 * (96 + 64) + 4 * roofline.WORDS * 8
    call, moved = roofline.copying(CPU)
    call()
    assert moved == 2 * roofline.COPIED["cpu"]


def test_warming_up_ends_when_calls_take_as_long_as_each_other(monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setitem(interleave.WARM_S, "cpu", 50.0)
    slow_at_first = clock.call("call", lambda now: 8.0 if now < 10 else 1.0)
    interleave._warm_up(slow_at_first, CPU)
    assert clock.said == ["call"] * 5, "two slow calls, and three that are alike"


def test_a_captured_step_is_timed_beside_the_eager_one_and_taken_with_data(job, store, monkeypatch):
    monkeypatch.setitem(step.CAPTURES, "cpu", recorded)
    subject = Subject(job.run, store, CPU)
    assert subject.step.execution == "captured" and "captured" in subject.memory
    replays = []
    monkeypatch.setattr(subject.step, "replay", lambda: replays.append(1))
    subject.train()
    assert not replays
    subject.train_as_run()
    subject.train_data()
    assert len(replays) == 2


def test_captured_steps_and_the_memory_ceiling_are_in_the_table():
    row = made("cdma")
    row["modes"]["train_captured"] = {"images": 8, "seconds": [0.1] * 8}
    row["ceiling"]["copy"], row["cost"]["train"]["bytes"] = 1e11, 2e9
    table = report.training([row], "here")
    values = {c.full: cell(table, "CDMA", "4 + 4 images", c.full) for c in table.columns[1:]}
    assert values["Captured: ms"] == "100" and values["Captured: × faster"] == "2.00"
    assert values["Operations: of ceiling %"] == "50.0" and values["Operations: of memory ceiling %"] == "20.0"
    assert values["Step: data %"] == "60.0"


def test_methods_that_time_does_not_allow_are_named(data, tmp_path, monkeypatch):
    def measured(jobs, *_):
        for job in jobs:
            yield job, measure.DoesNotFit("It is too large.")

    monkeypatch.setattr(measure, "measure_all", measured)
    monkeypatch.setattr(measure, "import_seconds", lambda: 1.0)
    words = ["speed", "--methods", "supervised,cdma", "--within", "1e-9", "--dataset", "toy", "--device", "cpu"]
    said = CliRunner().invoke(main, [*words, "--data", str(data), "--results", str(tmp_path)]).output
    assert "Left out, because 1e-09 seconds were over: cdma (4)" in said


def test_steps_of_several_networks_are_timed_side_by_side(store, toy):
    subjects = {name: Subject(dataclasses.replace(toy, method=name), store, CPU) for name in ("supervised", "ict")}
    seconds = measure.step_seconds({n: s.method for n, s in subjects.items()}, subjects["ict"].batch, repeats=8)
    assert {name: len(values) for name, values in seconds.items()} == {"supervised": 8, "ict": 8}


# ----------------------------------------------------------------------------------------------------------------------
# Processes


def test_what_does_not_fit_is_told_in_a_sentence_and_those_who_wait_are_released(job):
    meeting = multiprocessing.get_context("forkserver").Barrier(2)
    measure._prepare(meeting, 1)

    def work(job):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(measure.DoesNotFit, match=r"mean_teacher with 2 \+ 2 images of 32 pixels.*smaller --batch"):
        measure._worked(work, job)
    assert meeting.broken


@pytest.mark.slow
def test_several_runs_at_once_are_each_in_a_process_with_their_share_of_threads(job):
    found = measure.together(dataclasses.replace(job, threads=2, seconds=1.0), 2)
    assert (found["runs"], found["threads"]) == (2, 1) and found["steps_per_s"] > 0


@pytest.mark.slow
def test_a_run_that_fails_among_several_ends_them_all_with_its_reason(job):
    wrong = dataclasses.replace(job, run=dataclasses.replace(job.run, crop=4096))
    with pytest.raises(ValueError, match="crop of 4096 pixels is larger"):
        measure.together(wrong, 2)


@pytest.mark.slow
def test_a_compiled_step_is_timed_beside_the_eager_one(job, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # put back afterwards
    kind = methods.get("supervised")  # with losses that every compiler can take
    monkeypatch.setattr(kind, "losses", lambda self, batch, t: {"sup": t * self.net.encoder(batch.x)[1].mean()})
    found = measure.alone(
        dataclasses.replace(job, run=dataclasses.replace(job.run, method="supervised"), compiled=True)
    )
    assert found["uncompiled"] == ""
    assert found["startup"]["compile_s"] > timing.timing(found["modes"]["train_compiled"]["seconds"]).median
    assert found["modes"]["train_compiled"]["images"] == found["modes"]["train"]["images"]


def test_losses_that_cannot_be_compiled_are_told_and_all_else_is_measured(job, monkeypatch):
    def refuse(self):
        raise RuntimeError("backend='some' raised:\n\n  KeyError: 'x'\nand a long trace")

    monkeypatch.setattr(Subject, "compiled", refuse)
    monkeypatch.setitem(roofline.SIDE, "cpu", 64)
    monkeypatch.setitem(roofline.IMAGES, "cpu", (1, 8, 16))
    found = measure.alone(
        dataclasses.replace(job, run=dataclasses.replace(job.run, method="supervised"), compiled=True)
    )
    assert found["uncompiled"] == "KeyError: 'x'"
    assert set(found["modes"]) == {"train", "train_data", "predict", "segment"} and found["beside"] == {}


def test_an_error_without_words_is_told_by_its_kind():
    assert measure._said(AssertionError()) == "AssertionError"
    assert measure._said(RuntimeError("an operator is unknown\nand a long trace")) == "an operator is unknown"


@pytest.mark.slow
def test_the_command_leaves_rows_and_prints_them(data, tmp_path):
    network = {name: TOY[name] for name in ("dataset", "encoder", "crop", "width", "tile", "steps")}
    words = [str(w) for name, value in network.items() for w in (f"--{name}", value)]
    words += ["--methods", "supervised,mean_teacher", "--batch", "1,2", "--together", "1,2"]
    words += ["--repeats", "8", "--seconds", "0.1", "--threads", "1", "--data", str(data), "--results", str(tmp_path)]
    result = CliRunner().invoke(main, ["speed", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = timing.load(tmp_path)
    assert sorted((r["run"]["method"], r["run"]["labelled"]) for r in rows) == [
        ("mean_teacher", 1), ("mean_teacher", 2), ("supervised", 1), ("supervised", 2),
    ]  # fmt: skip
    assert all([packed["runs"] for packed in r["together"]] == [1, 2] for r in rows)
    assert all(r["memory"]["train"] > 0 and r["startup"]["import_s"] > 0 for r in rows)
    assert "Mean Teacher" in result.output and "Rows" in result.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--methods", "cmda"], "There is no method 'cmda'; did you mean 'cdma'?"),
        (["--recipe", "ful"], "There is no recipe 'ful'; did you mean 'full'?"),
        (["--batch", "four"], "--batch is 'four'; give a whole number"),
        (["--batch", "0"], "--batch is '0'; give a whole number of at least 1"),
        (["--together", "0"], "--together is '0'; give a whole number of at least 1"),
        (["--device", "cuda"], "sees no GPU"),
    ],
)
def test_a_wrong_option_gets_one_sentence(words, sentence, data, tmp_path):
    fixed = ["--dataset", "toy", "--data", str(data), "--results", str(tmp_path)]
    result = CliRunner().invoke(main, ["speed", "--methods", "cdma", *fixed, *words])
    assert result.exit_code != 0 and sentence in " ".join(result.output.split())
    assert not list(tmp_path.glob("speed/*"))


# ----------------------------------------------------------------------------------------------------------------------
# Tables and the figure


def cell(table, label: str, block: str, column: str) -> str:
    (line,) = [line for line in table.lines if line.cells[0].text == label and line.block == block]
    (place,) = [k for k, head in enumerate(table.columns) if head.full == column]
    return line.cells[place].text


def test_the_table_of_training_says_what_is_worked_out_by_hand():
    table = report.training([made("cdma"), made("supervised"), made("cdma", batch=8)], "here")
    assert [line.cells[0].text for line in table.lines] == ["Supervised", "CDMA", "CDMA"]
    said = {name: cell(table, "CDMA", "4 + 4 images", name) for name in [c.full for c in table.columns[1:]]}
    assert said == {
        "Step: ms": "200", "Step: p95 ms": "200", "Step: labelled/s": "20.0", "Step: × supervised": "2.00",
        "Step: data %": "20.0", "Operations: GFLOPs": "50.0", "Operations: × supervised": "2.50",
        "Operations: counted %": "99.0", "Operations: of ceiling %": "25.0", "GB": "2.00",
        "Seconds before: build": "0.500", "Seconds before: first step": "1.50", "M param.": "3.00",
    }  # fmt: skip
    assert cell(table, "CDMA", "8 + 8 images", "Operations: × supervised") == "–", "nobody measured supervised there"


def test_prediction_and_packing_have_tables_and_what_was_not_measured_has_none():
    rows = [made("supervised"), made("cdma")]
    table = report.prediction(rows, "here")
    assert cell(table, "CDMA", "4 + 4 images", "Crops: images/s") == "80.0"
    assert cell(table, "CDMA", "4 + 4 images", "Whole images: megapixels/s") == "0.500"
    packed = report.packing(rows, "here")
    assert cell(packed, "CDMA", "4 + 4 images", "Runs an hour, at once: 2") == "288"
    assert report.packing([made("cdma", together=[])], "here") is None


def test_a_whole_run_is_extrapolated_from_its_parts():
    rows = [made("supervised", together=[]), made("cdma")]
    assert timing.run_seconds(rows[1]) == pytest.approx({"startup": 2.0, "training": 25.0, "scoring": 30.0})
    table = report.whole_runs(rows, "here")
    assert cell(table, "CDMA", "4 + 4 images", "Seconds: training") == "25.0"
    assert cell(table, "CDMA", "4 + 4 images", "minutes a run") == "0.950"
    apart, packed = 6 * 2 * 57 / 3600, 6 * (57 + 57 / (8 / 5)) / 3600  # only CDMA's runs at once were measured
    assert any(f"{apart:.2f} h one after the other, {packed:.2f} h with" in note for note in table.notes)
    assert not any("at once" in note for note in report.whole_runs(rows[:1], "here").notes)


def test_an_unstable_method_carries_a_dagger_and_remarks_stand_below():
    shaky = made("cdma", train=[0.1, 0.3] * 4)
    shaky["conditions"]["others_cores"] = 1.5
    table = report.training([made("supervised"), shaky], "here")
    assert [line.cells[0].dagger for line in table.lines] == [False, True]
    assert "CDMA: other processes kept 1.5 of 2 cores busy meanwhile." in table.notes


def test_rows_of_different_devices_networks_and_threads_are_never_in_one_table():
    rows = [made("cdma") for _ in range(4)]
    rows[1]["machine"] |= {"device": "Another"}
    rows[2]["run"] |= {"width": 64}
    rows[3]["machine"] |= {"threads": 1}
    groups = report.places(rows)
    assert [len(group) for group in groups.values()] == [1] * 4
    assert sum(", width 64" in name for name in groups) == 1 and sum(", 1 thread," in name for name in groups) == 1
    assert sum(name.startswith("Another, ") for name in groups) == 1


def test_the_figure_shows_every_method_and_batch():
    rows = [made(method, batch=batch) for method in ("supervised", "cdma") for batch in (4, 8)]
    figure = report.throughput(rows)
    training, prediction = figure.axes
    assert [text.get_text() for text in training.get_yticklabels()] == ["Supervised", "CDMA"]
    for axes, rates in ((training, [20, 20, 40, 40]), (prediction, [80, 80, 160, 160])):
        shown = np.concatenate([points.get_offsets()[:, 0] for points in axes.collections if len(points.get_offsets())])
        assert sorted(shown[shown > 0]) == pytest.approx(sorted(rates))
    assert report.throughput([]) is None


@pytest.mark.parametrize("finished", [0, 1], ids=["alone", "beside runs"])
def test_bench_report_draws_them_and_bench_verify_finds_what_does_not_hold(finished, tmp_path):
    for row in (made("supervised"), made("cdma")):
        timing.save(row, tmp_path)
    for row in suite(("supervised",), (0.1,), 1, bounds=False)[:finished]:
        run_records.save(row, tmp_path)
    said = CliRunner().invoke(main, ["report", "--results", str(tmp_path), "--no-panels"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    (table,) = tmp_path.glob("tables/speed/*/speed-training.md")
    (figure,) = tmp_path.glob("figures/speed/*/throughput.png")
    index = (tmp_path / "README.md").read_text()
    assert all(path.relative_to(tmp_path).as_posix() in index for path in (table, figure))
    page = (tmp_path / "index.html").read_text()
    section = page[page.index('id="speed"') :]
    assert table.relative_to(tmp_path).as_posix() in section
    assert re.search(r"<th[^>]*>CDMA</th>.*?<td[^>]*>200</td>", section, re.DOTALL)
    assert len(re.findall("<img", section)) == 1 and "Images per second in training" in section
    words = ["verify", str(table), "--results", str(tmp_path)]
    said = CliRunner().invoke(main, words)
    assert said.exit_code == 0 and "match the run records" in said.output, said.output
    table.write_text(table.read_text().replace("| 200 |", "| 100 |", 1))
    said = CliRunner().invoke(main, words)
    assert said.exit_code != 0 and "says 100, should say 200" in said.output


def ratio(name: str, least: float, device: str = "AMD EPYC", threads: int = 1) -> dict:
    return {
        "key": timing.ratio_key(name, device, threads), "what": f"{name}, beside others", "least": least,
        "ratio": 22.25, "quartiles": [21.1, 23.5], "turns": 9, "machine": {"device": device, "threads": threads},
    }  # fmt: skip


def test_ratios_have_a_table_that_says_what_falls_short():
    rows = [ratio("tiles", 1.3), ratio("batches", 30), ratio("batches", 20, threads=2), made("cdma")]
    table = ratios.table(rows)
    assert [line.block for line in table.lines] == ["AMD EPYC, 1 thread"] * 2 + ["AMD EPYC, 2 threads"]
    assert [line.cells[0].dagger for line in table.lines] == [True, False, False]
    assert [cell.text for cell in table.lines[1].cells] == ["tiles, beside others", "1.3", "22.2 [21.1, 23.5]", "9"]
    assert ratios.table([made("cdma")]) is None
    assert [group for groups in report.places(rows).values() for group in groups] == rows[3:], "no ratio is a method"


@pytest.mark.parametrize("methods_", [0, 1], ids=["alone", "beside methods"])
def test_bench_report_draws_ratios_and_every_changed_digit_is_found(methods_, tmp_path):
    rows = [ratio("batches", 20), ratio("tiles", 30), *[made("supervised")] * methods_]
    for row in rows:
        timing.save(row, tmp_path)
    said = CliRunner().invoke(main, ["report", "--results", str(tmp_path), "--no-panels"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    page = (tmp_path / "index.html").read_text()
    section = page[page.index('id="speed"') :]
    assert "tiles, beside others" in section and len(re.findall("<img", section)) == methods_
    assert "| 22.2 [21.1, 23.5] |" in (tmp_path / "README.md").read_text()
    found = list(tmp_path.glob("tables/speed/*/speed-ratios.*"))
    assert {path.suffix.lstrip(".") for path in found} == set(FORMATS)
    loaded = timing.load(tmp_path)
    for path in found:
        text = path.read_text()
        assert not verify(path, [], loaded).findings
        for k in (k for k, sign in enumerate(text) if sign.isdigit()):
            path.write_text(f"{text[:k]}{(int(text[k]) + 1) % 10}{text[k + 1 :]}")
            assert verify(path, [], loaded).findings, f"{text[k - 30 : k]}[{text[k]}]{text[k + 1 : k + 9]}"


@pytest.mark.slow
@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", report.TABLES)
def test_every_digit_of_a_table_of_speed_that_is_changed_is_found(tmp_path, name, ending):
    rows, drawn = [made(method, batch=batch) for method in ("supervised", "cdma") for batch in (4, 8)], random.Random(0)
    ((place, group),) = report.places(rows).items()
    text, path = FORMATS[ending](report.TABLES[name](group, place)), tmp_path / f"t.{ending}"
    for k in (k for k, sign in enumerate(text) if sign.isdigit()):
        other = drawn.choice([sign for sign in "0123456789" if sign != text[k]])
        path.write_text(text[:k] + other + text[k + 1 :], encoding="utf-8")
        assert verify(path, [], rows).findings, f"{text[k - 30 : k]}[{text[k]} → {other}]"
