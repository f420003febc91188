"""The training loop, used by every method; it resumes exactly and leaves a run record."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

import methods
from benchmark import machine, records
from benchmark.datasets import store as stores
from benchmark.datasets.store import Store
from benchmark.files import claimed, write_whole
from benchmark.names import choose
from benchmark.progress import Tell, silent
from benchmark.protocol.audit import audit
from benchmark.protocol.batches import Batches, certificate, draw
from benchmark.protocol.distributed import Team, own_device, team
from benchmark.protocol.evaluate import NotFinite, evaluate
from benchmark.protocol.flops import autocast, count
from benchmark.protocol.scores import COMPUTED, SCORES, Score, for_classes
from benchmark.records import Best, Budget, Columns, Machine, Measured, RunRecord
from benchmark.runs import Run
from methods.base import Batch, Method
from methods.parts.nets import Arch, weights_hash

LINES = 100  # of history in a row
NAMED = 3  # tensors that an error names
VALIDATIONS = 5  # during training, the last one at its end
CHECKPOINT_S = 20.0  # seconds between checkpoints, at least

Watch = Callable[[str, int], AbstractContextManager[Tell]]


def train(
    run: Run, store: Store, results: Path, *, device: str = "auto", deterministic: bool = False,
    watch: Watch | None = None, checkpoint_s: float = CHECKPOINT_S, weights: bool = False, trial: bool = False,
    busy: Callable[[str], None] | None = None,
) -> RunRecord:  # fmt: skip
    """Trains a run, from its checkpoint if there is one, and returns its record; a finished run is only read.

    While another process trains the same run, this one waits and prints that it does; with `busy`, that function is
    called with the name of the other process instead, and may raise.

    If only the run record exists (for example, published results without weights) and `weights` is set, the run is
    trained again: the record of this machine is returned, the stored one stays as it is. A `trial` never opens test
    images: its record has no scores, and its weights are not kept.
    """
    run = complete(run, store)
    store = stores.at_resolution(store, run)
    where = own_device(machine.device(device))
    processes = team(where)
    if row := processes.told(_finished(results, run.key, weights)):
        if processes.leads:
            _clear(results, run.key)  # if it was killed between writing its row and this
        return row
    with contextlib.ExitStack() as held:
        if processes.leads:
            held.enter_context(claimed(results, run.key, busy or functools.partial(_say_waiting, run.key)))
        held.enter_context(exact(where, deterministic))
        watch = watch if watch and processes.leads else _unwatched
        return processes.told(_finished(results, run.key, weights)) or _carry_out(
            run, store, results, where, processes, watch, checkpoint_s, trial
        )


def _finished(results: Path, key: str, weights: bool) -> RunRecord | None:
    """The record of a run, if nothing is left to do."""
    row = records.find(results, key)
    missing = weights and row and row.status == "done" and not weights_path(results, key).exists()
    return None if missing else row


def complete(run: Run, store: Store) -> Run:
    """The run with everything filled in that was left to defaults, so that its key says all."""
    split = store.dataset.splits if run.split == "" else (run.split,)
    task = run.task or store.dataset.tasks[0]
    if run.norm == "batch" and 1 in (run.labelled, run.unlabelled):
        raise ValueError(
            "Live batch norm needs the statistics of at least two images; give --labelled and --unlabelled of 2 or "
            "more, or --norm frozen."
        )
    settings = methods.variants(run.method) if run.variant else {}
    if run.variant:
        choose(run.variant, list(settings), f"variant of '{run.method}'")
    if run.views != Run.views:
        if not methods.get(run.method).strong_views:
            raise ValueError(f"'{run.method}' has no strong views; leave out --views.")
        if "view" in {**settings.get(run.variant, {}), **dict(run.settings)}:
            raise ValueError("--views and the setting 'view' both choose the strong view; give one of them.")
    pretrained = weights_hash(_arch(run, len(store.classes(task))))
    return dataclasses.replace(
        run, split=next(iter(split)), task=task, scale=stores.scale_of(store, run), mpp=0.0, content=store.content,
        weights_hash=pretrained,
    )  # fmt: skip


def build(run: Run, classes: int, *, pretrained: bool = True) -> Method:
    """The method of a run, seeded. Without `pretrained` its weights are to be loaded."""
    machine.keep_memory()
    torch.manual_seed(_mix(run, -1))
    arch = dataclasses.replace(_arch(run, classes), load=pretrained)
    variant = methods.variants(run.method).get(run.variant, {})
    return methods.build(run.method, arch, **{**variant, **dict(run.settings)})


def trained(record: RunRecord, results: Path, device: str = "auto") -> Method:
    """The method of a finished run, with its weights, ready to predict.

    Raises:
        ValueError: the weights are not here, damaged, of another run, or of a network that this version builds
            differently; the message names the file and the remedy.
    """
    run, path = record.run, weights_path(results, record.key)
    if not path.exists():
        raise ValueError(f"The weights {path} of the run are not here; run it again where they are wanted.")
    tensors = proven(record, path)
    method = build(run, len(record.classes), pretrained=False)
    _load(method, tensors, path)
    return method.to(machine.device(device)).eval()


def proven(record: RunRecord, path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, if they are those of a run record.

    They are if the file has the SHA-256 of the record. Weights that were trained again for a record that was there
    before say so; they prove themselves by the key and the hash in the file.

    Raises:
        ValueError: the file is damaged, or of another run.
    """
    tensors, rest = _open(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() == record.weights_sha256:
        return tensors
    key = rest.get("key", record.key)
    if key != record.key:
        raise ValueError(f"The weights {path} are of the run {key}; delete the file and run '{record.key}' again.")
    if record.weights_sha256 and not rest.get("again"):
        raise ValueError(
            f"The weights {path} do not have the SHA-256 of the run record: the file is damaged or of another "
            "training; delete it and run it again."
        )
    return tensors


def weights_path(results: Path, key: str) -> Path:
    return results / "weights" / f"{key}.safetensors"


# ----------------------------------------------------------------------------------------------------------------------
# The loop


@dataclass
class Training:
    """All that changes while a run is carried out; a checkpoint is this and nothing else."""

    method: Method
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)


def _carry_out(
    run: Run, store: Store, results: Path, device: torch.device, processes: Team, watch: Watch, checkpoint_s: float,
    trial: bool,
) -> RunRecord:  # fmt: skip
    drawn = draw(store, run)
    method = build(run, len(store.classes(run.task))).to(device, memory_format=torch.channels_last)
    state = Training(method, optimiser(method, run))
    batches = Batches(run, store, drawn, device, method.uses_unlabelled)
    budget = count(method, batches.at(0), run.precision)
    processes.share(method, state.optimiser)
    path, best_path = _checkpoints(results, run.key)
    if path.exists():
        _restore(state, path)

    def judge(places: list[int], what: str, scores: Sequence[Score] = COMPUTED) -> list[dict[str, Any]]:
        method.eval()
        mine = processes.mine(places)
        with watch(what, len(mine)) as tell, processes.apart():
            try:
                images = evaluate(
                    method.predict, store, mine, task=run.task, tile=run.tile, batch=8, device=device,
                    precision=run.precision, progress=lambda done, total: tell(done, ""), scores=scores,
                )  # fmt: skip
            except NotFinite:
                images = [None] * len(mine)
        images = processes.all(images, len(places))
        if None in images:  # in one of the processes; all of them have to know
            raise NotFinite
        return images

    def validate() -> None:
        """Scores the validation images; without any, a labelled image shows whether predictions are finite."""
        if not drawn.val:
            judge(drawn.labelled[:1], "Looking at an image", [SCORES["dice"]])
            return
        images = _columns(judge(drawn.val, "Validating", [SCORES["dice"]]))
        dice = SCORES[for_classes("dice", len(store.classes(run.task)) - 1)].of_run(images)
        state.validation.append({"step": state.step, "dice": 0.0 if math.isnan(dice) else round(dice, 4)})
        if best_step(state.validation) == state.step and processes.leads:
            rest = {"key": run.key}
            write_whole(best_path, lambda temporary: _write_weights(method, temporary, rest))

    def checkpoint() -> None:
        if processes.leads:
            _save(state, path)

    finite = _loop(run, state, batches, processes, watch, validate, checkpoint, checkpoint_s)
    record = RunRecord(
        key=run.key,
        run=run,
        status="done" if finite else "diverged",
        title=method.title,
        year=method.year,
        venue=method.venue,
        classes=list(store.classes(run.task)),
        history=_columns(state.history),
        validation=_columns(state.validation),
        certificate=certificate(store, run, drawn, audit(store, run.split)["counts"]),
        budget=Budget(
            steps=state.step,
            images={name: images * state.step for name, images in budget["images"].items()},
            flops=budget["flops"] * state.step,
            parameters=budget["parameters"],
        ),
        measured=Measured(seconds=round(state.seconds, 1), peak_memory=None),
        machine=_machine(device, processes.size),
        pixel_um=store.pixel_um,
        unit=store.unit,
    )
    if finite and not trial:
        checkpoint()
        if processes.leads:
            record.weights_sha256 = _keep_weights(method, run.key, results)
        # test images are opened only now that the final weights are written
        record.scores = _columns(judge(drawn.test, "Scoring test images"))
        record.best = _best(record, method, best_path, lambda: judge(drawn.test, "Scoring the best on validation"))
    record.measured.peak_memory = machine.peak_memory(device)
    if processes.leads:
        if not records.find(results, run.key):
            records.save(record, results)
        _clear(results, run.key)
    processes.told(None)  # so that no process goes on before the record is there
    return record


def _keep_weights(method: Method, key: str, results: Path) -> str:
    """Writes the weights of a finished run; the SHA-256 of their file. Others than those of a record say so."""
    path, before = weights_path(results, key), records.find(results, key)

    def write(rest: dict[str, Any]) -> str:
        write_whole(path, lambda temporary: _write_weights(method, temporary, rest))
        return hashlib.sha256(path.read_bytes()).hexdigest()

    found = write({"key": key})
    return found if before is None or before.weights_sha256 == found else write({"key": key, "again": True})


def _loop(
    run: Run, state: Training, batches: Batches, processes: Team, watch: Watch, validate: Callable[[], None],
    checkpoint: Callable[[], None], checkpoint_s: float,
) -> bool:  # fmt: skip
    """Trains to the end, or until a loss or a prediction is not finite (then the answer is False)."""
    method, optimiser = state.method, state.optimiser
    every, validate_at = max(1, run.steps // LINES), {run.steps * k // VALIDATIONS for k in range(1, VALIDATIONS + 1)}
    lines: list[dict[str, Tensor]] = []
    images = run.labelled + (run.unlabelled if batches.unlabelled else 0)
    saved = last = time.monotonic()
    method.train()
    with watch(f"Training {run.method}", run.steps) as tell:
        while state.step < run.steps:
            torch.manual_seed(_mix(run, state.step))
            batch = batches.at(state.step)
            for group in optimiser.param_groups:
                group["lr"] = run.lr * _schedule(run, state.step)
            terms = take_step(method, optimiser, batch, state.step / run.steps, run.precision)
            state.step += 1
            lines.append({name: term.detach() for name, term in terms.items()})
            if state.step % every and state.step not in validate_at:
                continue
            line = processes.told(_line(state.step, lines))  # so that all end together if it is not finite
            now = time.monotonic()
            state.seconds, rate, last = state.seconds + now - last, len(lines) * images / (now - last), now
            lines.clear()
            if not all(map(math.isfinite, line.values())):
                state.history.append({name: value if math.isfinite(value) else None for name, value in line.items()})
                return False
            state.history.append(line)
            tell(state.step, f"{rate:.0f} images/s " + "".join(f" {k} {v:.3f}" for k, v in line.items() if k != "step"))
            if state.step in validate_at:
                try:
                    validate()
                except NotFinite:
                    return False
                method.train()
            if state.step in validate_at or now - saved > checkpoint_s:  # the best weights belong to what is kept
                checkpoint()
                saved = last = time.monotonic()
    return True


def take_step(
    method: Method, optimiser: torch.optim.Optimizer, batch: Batch, t: float, precision: str
) -> dict[str, Tensor]:
    """One step, from the batch to the moved weights; its terms."""
    progress = torch.full((), t, device=batch.x.device)
    with autocast(batch.x.device, precision):
        terms = method.losses(batch, progress)
    sum(terms.values()).backward()
    optimiser.step()
    optimiser.zero_grad()
    method.after_step()
    return terms


def _line(step: int, lines: list[dict[str, Tensor]]) -> dict[str, float]:
    """The mean of each term since the last line: the only place where the loop waits for the device."""
    means = torch.stack([torch.stack([line[name].float() for line in lines]).mean() for name in lines[0]]).tolist()
    return {"step": step, **{name: _significant(mean) for name, mean in zip(lines[0], means, strict=True)}}


def _schedule(run: Run, step: int) -> float:
    """The share of the learning rate at a step."""
    left = 1 - step / run.steps
    return {"constant": 1.0, "poly": left**0.9, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}[run.schedule]


def optimiser(method: Method, run: Run) -> torch.optim.Optimizer:
    parameters = [p for p in method.parameters() if p.requires_grad]
    if run.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, run.lr, momentum=0.9, nesterov=True, weight_decay=run.weight_decay, fused=True
        )
    return torch.optim.AdamW(parameters, run.lr, weight_decay=run.weight_decay, fused=True)


# ----------------------------------------------------------------------------------------------------------------------
# Checkpoints: tensors and JSON in one file, no pickle


def _checkpoints(results: Path, key: str) -> tuple[Path, Path]:
    """Where a run's state is kept, and the weights that were best on validation so far."""
    return tuple(results / "checkpoints" / f"{key}{kind}.safetensors" for kind in ("", ".best"))


def _clear(results: Path, key: str) -> None:
    for path in _checkpoints(results, key):
        path.unlink(missing_ok=True)


def _save(state: Training, path: Path) -> None:
    tensors = {f"method.{name}": value for name, value in state.method.state_dict().items()}
    for i, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": value for name, value in moments.items() if value is not None}
    rest = {
        "key": path.stem,
        "step": state.step,
        "seconds": state.seconds,
        "history": state.history,
        "validation": state.validation,
    }
    write_whole(path, lambda temporary: _write(tensors, temporary, rest))


def _restore(state: Training, path: Path) -> None:
    """Continues from a checkpoint."""
    tensors, rest = _open(path)
    if rest.get("key", path.stem) != path.stem:
        raise ValueError(f"The checkpoint {path} is of the run {rest['key']}; delete it and start the run again.")
    method = {name.removeprefix("method."): value for name, value in tensors.items() if name.startswith("method.")}
    _load(state.method, method, path)
    try:
        moments = _moments(state, tensors)
        groups = state.optimiser.state_dict()["param_groups"]
        state.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        state.step, state.seconds = rest["step"], rest["seconds"]
        state.history, state.validation = rest["history"], rest["validation"]
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"The checkpoint {path} is damaged ({error}); delete it and start the run again.") from error


def _moments(state: Training, tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """What the optimiser remembers of each parameter."""
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in state.optimiser.param_groups for p in group["params"]]
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, i, moment = name.split(".")
            like = parameters[int(i)]  # the parameter's strides, too, so that the next step adds in the same order
            same = value if value.shape != like.shape else torch.empty_like(like, dtype=value.dtype).copy_(value)
            moments.setdefault(int(i), {})[moment] = same
    return moments


def _write_weights(method: Method, path: Path, rest: dict[str, Any]) -> None:
    _write(dict(method.state_dict()), path, rest)


def _write(tensors: dict[str, Tensor], path: Path, rest: dict[str, Any]) -> None:
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    about = json.dumps({**rest, "sha256": _hash(whole, rest)})
    path.write_bytes(safetensors.torch.save(whole, {"rest": about}))  # one entry, since several come in any order


def _hash(tensors: dict[str, Tensor], rest: dict[str, Any]) -> str:
    """SHA-256 of all that a file holds: names, types, shapes and bytes of the tensors, and the rest."""
    found = hashlib.sha256(json.dumps(rest).encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file and the rest.

    Raises:
        ValueError: the file is damaged, or is none of this program.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            rest = json.loads((file.metadata() or {})["rest"])
        if not isinstance(rest, dict):
            raise ValueError("its metadata is no dictionary")
        if rest.pop("sha256", None) not in (None, _hash(tensors, rest)):
            raise ValueError("its bytes do not have the SHA-256 that it states")
    except (safetensors.SafetensorError, KeyError, ValueError, RecursionError, RuntimeError) as error:
        raise ValueError(f"The file {path} is damaged ({error}); delete it and start the run again.") from error
    return tensors, rest


def _load(method: Method, tensors: dict[str, Tensor], path: Path) -> None:
    """Gives a method its weights; an error names a few tensors of those that differ."""
    expected = method.state_dict()
    differing = sorted(
        name
        for name in expected.keys() | tensors.keys()
        if name not in expected or name not in tensors or expected[name].shape != tensors[name].shape
    )
    if differing:
        named = ", ".join(differing[:NAMED]) + (" …" if len(differing) > NAMED else "")
        raise ValueError(
            f"The file {path} is of another network ({len(differing)} tensors differ: {named}); delete it and run "
            "again."
        )
    method.load_state_dict(tensors)


# ----------------------------------------------------------------------------------------------------------------------
# What goes into the row


def best_step(validation: list[dict[str, float]]) -> int:
    """The step that was best on validation; of equals, the later."""
    return max(validation, key=lambda line: (line["dice"], line["step"]))["step"]


def _best(record: RunRecord, method: Method, path: Path, judge: Callable[[], list[dict]]) -> Best:
    """Step and test scores of the weights that were best on validation: beside the score, never instead of it."""
    validated = records.lines(record.validation)
    step = best_step(validated) if validated else record.run.steps
    if step == record.run.steps:
        scores = record.scores
    else:
        _load(method, _open(path)[0], path)
        scores = _columns(judge())
    return Best(step=step, scores={name: scores[name] for name in ("dice", "jaccard")})


def _machine(device: torch.device, processes: int) -> Machine:
    found = machine.describe(device)
    versions = {name: found[name] for name in ("python", *machine.PACKAGES)}
    known = {name: found[name] for name in ("kind", "device", "threads", "commit")}
    return Machine(**known, processes=processes, versions=versions)


def _columns(rows: list[dict[str, Any]]) -> Columns:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _significant(value: float) -> float:
    return float(f"{value:.5g}")


# ----------------------------------------------------------------------------------------------------------------------
# Exactness


def _mix(run: Run, step: int) -> int:
    """One number from (seed, draw, step): all randomness of a step starts there, so none is carried over.

    Step −1 is for the initial weights.
    """
    return int(np.random.SeedSequence([run.seed, run.draw, step + 1]).generate_state(1, np.uint64)[0] >> 1)


@contextlib.contextmanager
def exact(device: torch.device, deterministic: bool):
    """Deterministic kernels on the CPU, where they cost nothing, and on a GPU when asked."""
    before, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(deterministic or device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # a twelfth of a step, and nothing here reads it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def _arch(run: Run, classes: int) -> Arch:
    return Arch(run.encoder, run.decoder, classes, run.norm, run.weights, run.dropout, run.width, run.steps, run.views)


@contextlib.contextmanager
def _unwatched(what: str, total: int):
    yield silent


def _say_waiting(key: str, other: str) -> None:
    print(f"The run {key} is being trained by {other or 'another process'}; waiting for it.", flush=True)
