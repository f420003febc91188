"""Checks that methods train correctly on a device: captured steps, exact resume, and a run from start to record."""

import contextlib
import dataclasses
import datetime
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

import methods
from benchmark import files, machine
from benchmark.analysis.timing import slug
from benchmark.datasets.store import Store
from benchmark.progress import Tell, silent
from benchmark.protocol import train
from benchmark.protocol.batches import Batches, draw
from benchmark.protocol.checkpoint import State
from benchmark.protocol.distributed import Team
from benchmark.protocol.setup import build, complete, exact, seed_of
from benchmark.protocol.step import CAPTURES, CapturedStep, Step, captured, learning_rate, optimiser
from benchmark.runs import CHOICES, Run
from benchmark.speed.measure import step_seconds
from methods.base import Batch
from methods.testing.tape import recorded

STEPS = 5  # that are taken eagerly and captured
STOP = 4  # step after which a run is stopped and resumed
RESUMED = 8  # steps of that run
WHOLE = 50  # steps of a run that writes a run record
BOUNDS = {"float32": 1e-5, "bf16": 2e-2}  # of the relative difference of losses; bf16 rounds to 8 bits
TIMED = 3  # steps of each precision
LIMIT_S = 170.0  # after which no further check is started


class Finding(msgspec.Struct, kw_only=True):
    """The result of one check of one method."""

    method: str
    check: str
    passed: bool | None  # None if it was not done
    text: str  # a number or a short sentence
    seconds: float


class Report(msgspec.Struct, kw_only=True):
    """What the checks found on a device: the file that `bench doctor --gpu` writes."""

    checked_at: str  # UTC
    machine: dict[str, str | int]
    run: Run  # the network and batch of the checks
    bounds: dict[str, float]
    findings: list[Finding]

    @property
    def passed(self) -> bool:
        return all(finding.passed is not False for finding in self.findings)


@dataclasses.dataclass(frozen=True)
class Examined:
    """What is checked: a run of a method, its data, and the device."""

    run: Run
    store: Store
    device: torch.device


def examine(runs: Sequence[Run], store: Store, device: torch.device, tell: Tell = silent) -> Report:
    """Does all checks of all runs, one check after the other, as far as the time allows.

    Args:
        runs: one for each method.
        store: the dataset of the runs.
        device: where to train. A device that cannot capture steps records and replays them instead.
        tell: is called with the number of checks that are done.
    """
    start, findings = time.monotonic(), []
    planned = [(name, check, run) for name, check in CHECKS.items() for run in runs]
    with _capturing(device):
        for name, check, run in [*planned, (FALLBACK, falls_back, runs[0])]:
            late = time.monotonic() - start > LIMIT_S
            findings.append(_found(name, None if late else check, Examined(run, store, device)))
            tell(len(findings), f"{name}, {run.method}")
    return Report(
        checked_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine.describe(device),
        run=runs[0],
        bounds=BOUNDS,
        findings=findings,
    )


def save(report: Report, results: Path) -> Path:
    """Writes the report as JSON."""
    path = results / "doctor" / f"{slug(str(report.machine['device']))}.json"
    files.write_text(path, msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    return path


def bf16_speed(device: torch.device) -> float:
    """How many times as fast as float32 a step of supervised training is in bf16, with the network of the defaults."""
    run = Run(method="supervised", weights="none")
    x = torch.rand(run.labelled, 3, run.crop, run.crop, device=device).to(memory_format=torch.channels_last)
    batch = Batch(x, torch.zeros(run.labelled, run.crop, run.crop, dtype=torch.int64, device=device), x[:0])
    seconds = {}
    for precision in CHOICES["precision"]:
        method = build(run, 2).to(device).to(memory_format=torch.channels_last)
        (times,) = step_seconds({run.method: method}, batch, repeats=TIMED, precision=precision).values()
        seconds[precision] = min(times)
    return seconds["float32"] / seconds["bf16"]


def _found(name: str, check: Callable[[Examined], tuple[bool, str]] | None, examined: Examined) -> Finding:
    start, passed, text = time.monotonic(), None, "not done: no time left"
    if check:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the table says which steps were not captured
                passed, text = check(examined)
        except Exception as error:  # whatever a method or a driver does, the other checks go on
            passed, text = False, methods.described(error)
    if examined.device.type == "cuda":
        torch.cuda.empty_cache()
    seconds = round(time.monotonic() - start, 1)
    return Finding(method=examined.run.method, check=name, passed=passed, text=text, seconds=seconds)


# ----------------------------------------------------------------------------------------------------------------------
# Checks


def captured_float32(examined: Examined) -> tuple[bool, str]:
    return _captured(examined, "float32")


def captured_bf16(examined: Examined) -> tuple[bool, str]:
    return _captured(examined, "bf16")


def _captured(examined: Examined, precision: str) -> tuple[bool, str]:
    """A few steps from the same state, eager and captured, with deterministic kernels where there are any."""
    run, device = dataclasses.replace(examined.run, precision=precision), examined.device
    if not methods.get(run.method).capturable:
        return True, "eager"
    batches = Batches(run, examined.store, draw(examined.store, run), device, methods.get(run.method).uses_unlabelled)
    with _deterministic_if_possible():
        eager = _losses(run, batches, captured=False)
        replayed = _losses(run, batches, captured=True)
    difference = ((replayed - eager).abs().amax(0) / eager.abs().amax(0).clamp_min(1e-6)).max().item()
    return difference <= BOUNDS[precision], f"{difference:.1e}"


def _losses(run: Run, batches: Batches, captured: bool) -> Tensor:
    """The terms (steps, terms) of the first steps of a run."""
    method = build(run, 2).to(batches.device).to(memory_format=torch.channels_last).train()
    step = Step(method, optimiser(method, run), run.precision)
    if captured:
        step = CapturedStep(step, batches.at(0), CAPTURES[batches.device.type])
    values = []
    for k in range(STEPS):
        torch.manual_seed(seed_of(run, k))
        values.append(step(batches.at(k), k / STEPS, learning_rate(run, k)))
    return torch.stack(values)


def resumed(examined: Examined) -> tuple[bool, str]:
    """A run that is stopped and resumed ends in the bits of one that was not, with deterministic kernels."""
    run = complete(dataclasses.replace(examined.run, steps=RESUMED), examined.store)
    with tempfile.TemporaryDirectory() as folder, exact(examined.device, deterministic=True):
        whole = _trained(run, examined, Path(folder, "whole"), _unstopped)
        with contextlib.suppress(_Stopped):
            _trained(run, examined, Path(folder, "stopped"), _stopped)
        again = _trained(run, examined, Path(folder, "stopped"), _unstopped)
    differing = [name for name, value in whole.items() if not torch.equal(value, again[name])]
    return not differing, f"{len(differing)} of {len(whole)} tensors differ" if differing else "same bits"


def _trained(run: Run, examined: Examined, results: Path, watch: train.Watch) -> dict[str, Tensor]:
    """The weights after training, from a checkpoint if there is one."""
    options = train.Options(checkpoint_s=0, watch=watch)
    setup = train.Setup(run, examined.store, results, examined.device, Team(), options)
    state: State = train.begin(setup)[0]
    train.loop(setup, state, train.prepared(setup, state))
    return state.method.state_dict()


class _Stopped(Exception):
    """Ends a run as a kill would."""


@contextlib.contextmanager
def _stopped(what: str, total: int) -> Iterator[Tell]:
    def tell(done: int, text: str = "") -> None:
        if done > STOP and what.startswith("Training"):
            raise _Stopped

    yield tell


@contextlib.contextmanager
def _unstopped(what: str, total: int) -> Iterator[Tell]:
    yield silent


def whole_run(examined: Examined) -> tuple[bool, str]:
    """A short run ends with a record that has scores."""
    run = dataclasses.replace(examined.run, steps=WHOLE)
    with tempfile.TemporaryDirectory() as folder:
        record = train.train(run, examined.store, Path(folder), train.Options(device=str(examined.device)))
    text = f"{record.execution} {1000 * record.measured.seconds / WHOLE:.0f} ms"
    return record.status == "done" and bool(record.scores), text if record.status == "done" else record.status


def falls_back(examined: Examined) -> tuple[bool, str]:
    """A step that waits for the device is not captured, and training goes on; last, as it may leave CUDA in error."""
    run, device = examined.run, examined.device
    batch = Batches(run, examined.store, draw(examined.store, run), device, False).at(0)
    method = build(run, 2).to(device).to(memory_format=torch.channels_last).train()
    losses = method.losses
    method.losses = lambda batch, t: {name: term * float(term.item() > 0) for name, term in losses(batch, t).items()}
    step = captured(Step(method, optimiser(method, run), run.precision), batch)
    finite = bool(step(batch, 0.0, run.lr).isfinite().all())
    return step.execution == "eager" and finite, step.execution if finite else "losses are not finite"


FALLBACK = "waits"
CHECKS: dict[str, Callable[[Examined], tuple[bool, str]]] = {
    "float32": captured_float32,
    "bf16": captured_bf16,
    "resume": resumed,
    "run": whole_run,
}


@contextlib.contextmanager
def _capturing(device: torch.device) -> Iterator[None]:
    """Where steps cannot be captured, as on a CPU, a tape stands for a CUDA graph."""
    before = dict(CAPTURES)
    CAPTURES.setdefault(device.type, recorded)
    try:
        yield
    finally:
        CAPTURES.clear()
        CAPTURES.update(before)


@contextlib.contextmanager
def _deterministic_if_possible() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
