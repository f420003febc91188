"""The training loop, used by every method; it resumes exactly and writes a run record."""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import methods
from benchmark import machine, run_records
from benchmark.datasets import store as stores
from benchmark.datasets.store import Store
from benchmark.files import claimed
from benchmark.progress import Tell, silent
from benchmark.protocol import checkpoint
from benchmark.protocol.audit import audit
from benchmark.protocol.batches import Batches, Draw, certificate, draw
from benchmark.protocol.checkpoint import State
from benchmark.protocol.distributed import Team, join, own_device
from benchmark.protocol.evaluate import NotFinite, evaluate
from benchmark.protocol.flops import count
from benchmark.protocol.scores import COMPUTED, SCORES, Score, for_classes
from benchmark.protocol.setup import build, complete, exact, seed_of
from benchmark.protocol.step import Step, captured, learning_rate, optimiser
from benchmark.run_records import Best, Budget, Columns, Machine, Measured, RunRecord
from benchmark.runs import Run
from methods.base import Method

LINES = 100  # of history in a record
VALIDATIONS = 5  # during training, the last one at its end
CHECKPOINT_S = 20.0  # seconds between checkpoints, at least

Watch = Callable[[str, int], AbstractContextManager[Tell]]


@dataclass(frozen=True)
class Options:
    """How a run is trained. Nothing here decides its result, so nothing is part of its key.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:1".
        deterministic: deterministic kernels on a GPU, too.
        eager: on a GPU, do not capture the steps.
        checkpoint_s: seconds between checkpoints.
        watch: shows progress.
        weights: if only the run record exists (for example, published results without weights), train again. The record
            of this machine is returned, the stored one stays as it is.
        trial: never open test images: the record has no scores, and the weights are not kept.
        busy: called with the name of another process that trains the same run; it may raise. By default a line is
            printed. Then this process waits.
    """

    device: str = "auto"
    deterministic: bool = False
    eager: bool = False
    checkpoint_s: float = CHECKPOINT_S
    watch: Watch | None = None
    weights: bool = False
    trial: bool = False
    busy: Callable[[str], None] | None = None


def train(run: Run, store: Store, results: Path, options: Options = Options()) -> RunRecord:
    """Trains a run, from its checkpoint if there is one, and returns its record; a finished run is only read."""
    run = complete(run, store)
    store = stores.at_resolution(store, run)
    device = own_device(machine.device(options.device))
    team = join(device)
    if record := team.broadcast(_finished(results, run.key, options.weights)):
        if team.is_main:
            checkpoint.clear(results, run.key)  # if it was killed between writing its record and this
        return record
    with contextlib.ExitStack() as held:
        if team.is_main:
            busy = options.busy or functools.partial(_say_waiting, run.key)
            held.enter_context(claimed(results, run.key, busy))
        held.enter_context(exact(device, options.deterministic))
        record = team.broadcast(_finished(results, run.key, options.weights))
        return record or train_missing(Setup(run, store, results, device, team, options))


def _finished(results: Path, key: str, weights: bool) -> RunRecord | None:
    """The record of a run, if nothing is left to do."""
    record = run_records.find(results, key)
    missing = weights and record and record.status == "done" and not checkpoint.weights_path(results, key).exists()
    return None if missing else record


@dataclass(frozen=True)
class Setup:
    """What does not change while a run is trained."""

    run: Run
    store: Store
    results: Path
    device: torch.device
    team: Team
    options: Options

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.store.classes(self.run.task))

    @cached_property
    def draw(self) -> Draw:
        return draw(self.store, self.run)

    @cached_property
    def batches(self) -> Batches:
        from_pool = methods.get(self.run.method).uses_unlabelled
        return Batches(self.run, self.store, self.draw, self.device, from_pool)

    @cached_property
    def validated_at(self) -> set[int]:
        """The steps after which validation images are scored."""
        return {self.run.steps * k // VALIDATIONS for k in range(1, VALIDATIONS + 1)}

    @cached_property
    def images(self) -> int:
        """Images in a batch."""
        return self.run.labelled + (self.run.unlabelled if self.batches.unlabelled else 0)

    @cached_property
    def dice(self) -> Score:
        """The score that is validated: of one class, or the mean over classes."""
        return SCORES[for_classes("dice", len(self.classes) - 1)]

    def watch(self, what: str, total: int) -> AbstractContextManager[Tell]:
        return self.options.watch(what, total) if self.options.watch and self.team.is_main else _unwatched()


def train_missing(setup: Setup) -> RunRecord:
    """Trains a run that has no record yet, and writes one."""
    run, results, team = setup.run, setup.results, setup.team
    state, cost = begin(setup)
    step = prepared(setup, state)
    finite = loop(setup, state, step)
    record = _record(setup, state, cost)
    record.status, record.execution = "done" if finite else "diverged", step.execution
    if finite and not setup.options.trial:
        _finish(setup, state, record)
    record.measured.peak_memory = machine.peak_memory(setup.device)
    if team.is_main:
        if not run_records.find(results, run.key):
            run_records.save(record, results)
        checkpoint.clear(results, run.key)
    team.broadcast(None)  # so that no process continues before the record exists
    return record


def begin(setup: Setup) -> tuple[State, dict[str, Any]]:
    """The state in which training starts or continues, and the cost of a step (`benchmark.protocol.flops.count`)."""
    batch = setup.batches.at(0)
    method = build(setup.run, len(setup.classes)).to(setup.device).to(memory_format=torch.channels_last)
    state = State(method, optimiser(method, setup.run))
    cost = count(method, batch, setup.run.precision)
    setup.team.attach(method, state.optimiser)
    path = checkpoint.checkpoint_path(setup.results, setup.run.key)
    if path.exists():
        checkpoint.restore(state, path)
    return state, cost


# ----------------------------------------------------------------------------------------------------------------------
# The loop


def loop(setup: Setup, state: State, step: Step) -> bool:
    """Trains to the end. The answer is False if a loss or a prediction was not finite before."""
    run, every, values = setup.run, max(1, setup.run.steps // LINES), []
    saved = last = time.monotonic()
    state.method.train()
    with setup.watch(f"Training {run.method}", run.steps) as tell:
        while state.step < run.steps:
            torch.manual_seed(seed_of(run, state.step))
            batch = setup.batches.at(state.step)
            values.append(step(batch, state.step / run.steps, learning_rate(run, state.step)))
            state.step += 1
            validating = state.step in setup.validated_at
            if state.step % every and not validating:
                continue
            line = setup.team.broadcast(_line(state.step, step.names, values))  # so that all end together
            now = time.monotonic()
            state.seconds, rate, last = state.seconds + now - last, len(values) * setup.images / (now - last), now
            values.clear()
            state.history.append({name: value if math.isfinite(value) else None for name, value in line.items()})
            if not all(map(math.isfinite, line.values())):
                return False
            tell(state.step, f"{rate:.0f} images/s " + "".join(f" {k} {v:.3f}" for k, v in line.items() if k != "step"))
            if validating and not validate(setup, state):
                return False
            if validating or now - saved > setup.options.checkpoint_s:  # the best weights belong to what is kept
                if setup.team.is_main:
                    checkpoint.save(state, checkpoint.checkpoint_path(setup.results, run.key))
                saved = last = time.monotonic()
    return True


def prepared(setup: Setup, state: State) -> Step:
    """The step of a run: captured on a GPU, unless that was not wanted or is not possible."""
    start = time.monotonic()
    step = Step(state.method, state.optimiser, setup.run.precision)
    if not setup.options.eager and state.step < setup.run.steps:
        obstacle = "several processes train together" if setup.team.size > 1 else ""
        step = captured(step, setup.batches.at(state.step), obstacle)
    state.seconds += time.monotonic() - start
    return step


def _line(step: int, names: Sequence[str], values: Sequence[Tensor]) -> dict[str, float]:
    """The mean of each term since the last line: the only place where the loop waits for the device."""
    by_term = torch.stack(list(values), 1)
    means = torch.stack([term.mean() for term in by_term]).tolist()
    return {"step": step, **{name: float(f"{mean:.5g}") for name, mean in zip(names, means, strict=True)}}


# ----------------------------------------------------------------------------------------------------------------------
# Scores during and after training


def validate(setup: Setup, state: State) -> bool:
    """Scores the validation images and keeps the best weights; False if predictions are not finite.

    Without validation images, a labelled image shows whether predictions are finite.
    """
    try:
        if not setup.draw.val:
            score(setup, state.method, setup.draw.labelled[:1], "Predicting an image", [SCORES["dice"]])
            return True
        scores = score(setup, state.method, setup.draw.val, "Validating", [SCORES["dice"]])
    except NotFinite:
        return False
    finally:
        state.method.train()
    dice = setup.dice.of_run(scores)
    state.validation.append({"step": state.step, "dice": 0.0 if math.isnan(dice) else round(dice, 4)})
    if setup.team.is_main:
        checkpoint.save_best(state, setup.results, setup.run.key)
    return True


def score(setup: Setup, method: Method, places: list[int], what: str, scores: Sequence[Score] = COMPUTED) -> Columns:
    """Scores of images of the store by column; several processes share the images.

    Raises:
        NotFinite: if predictions are not finite, in any of the processes.
    """
    run, team = setup.run, setup.team
    method.eval()
    own = team.shard(places)
    with setup.watch(what, len(own)) as tell, team.no_sync():
        try:
            images = evaluate(
                method.predict, setup.store, own, task=run.task, tile=run.tile, device=setup.device,
                precision=run.precision, progress=lambda done, total: tell(done, ""), scores=scores,
            )  # fmt: skip
        except NotFinite:
            images = [None] * len(own)
    images = team.gather(images, len(places))
    if None in images:
        raise NotFinite
    return _columns(images)


def _finish(setup: Setup, state: State, record: RunRecord) -> None:
    """Writes the final weights, then scores the test images: they are opened only now."""
    key, results = setup.run.key, setup.results
    if setup.team.is_main:
        checkpoint.save(state, checkpoint.checkpoint_path(results, key))
        record.weights_sha256 = checkpoint.save_weights(state.method, results, key)
    record.scores = score(setup, state.method, setup.draw.test, "Scoring test images")
    best, scores = checkpoint.best_step(state.validation) if state.validation else state.step, record.scores
    if best != state.step:
        checkpoint.load_best(state.method, results, key)
        scores = score(setup, state.method, setup.draw.test, "Scoring the best on validation")
    record.best = Best(step=best, scores={name: scores[name] for name in ("dice", "jaccard")})


# ----------------------------------------------------------------------------------------------------------------------
# The record


def _record(setup: Setup, state: State, cost: dict[str, Any]) -> RunRecord:
    """The record of a trained run, without scores. `cost` is that of a step, from `benchmark.protocol.flops`."""
    run, store, method = setup.run, setup.store, state.method
    return RunRecord(
        key=run.key,
        run=run,
        status="done",
        title=method.title,
        year=method.year,
        venue=method.venue,
        classes=list(setup.classes),
        history=_columns(state.history),
        validation=_columns(state.validation),
        certificate=certificate(store, run, setup.draw, audit(store, run.split)["counts"]),
        budget=Budget(
            steps=state.step,
            images={name: images * state.step for name, images in cost["images"].items()},
            flops=cost["flops"] * state.step,
            parameters=cost["parameters"],
        ),
        measured=Measured(seconds=round(state.seconds, 1), peak_memory=None),
        machine=_machine(setup.device, setup.team.size),
        pixel_um=store.pixel_um,
        unit=store.unit,
    )


def _machine(device: torch.device, processes: int) -> Machine:
    described = machine.describe(device)
    versions = {name: described[name] for name in ("python", *machine.PACKAGES)}
    known = {name: described[name] for name in ("kind", "device", "threads", "commit")}
    return Machine(**known, processes=processes, versions=versions)


def _columns(lines: list[dict[str, Any]]) -> Columns:
    return {name: [line[name] for line in lines] for name in lines[0]} if lines else {}


@contextlib.contextmanager
def _unwatched() -> Iterator[Tell]:
    yield silent


def _say_waiting(key: str, other: str) -> None:
    print(f"The run {key} is being trained by {other or 'another process'}; waiting for it.", flush=True)
