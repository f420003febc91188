"""Checkpoints and weights: tensors and JSON in one file, no pickle; a damaged file is an error."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from benchmark import machine, run_records
from benchmark.files import write_whole
from benchmark.protocol.setup import build
from benchmark.run_records import RunRecord
from methods.base import Method

NAMED = 3  # tensors that an error names


@dataclass
class State:
    """Everything that changes while a run is trained; a checkpoint holds this and nothing else."""

    method: Method
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float | None]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)


def checkpoint_path(results: Path, key: str) -> Path:
    return results / "checkpoints" / f"{key}.safetensors"


def best_path(results: Path, key: str) -> Path:
    """The weights that were best on validation so far."""
    return results / "checkpoints" / f"{key}.best.safetensors"


def weights_path(results: Path, key: str) -> Path:
    """The weights of a finished run."""
    return results / "weights" / f"{key}.safetensors"


def clear(results: Path, key: str) -> None:
    """Deletes the checkpoint of a finished run."""
    for path in (checkpoint_path(results, key), best_path(results, key)):
        path.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------------------------
# The state of an unfinished run


def save(state: State, path: Path) -> None:
    """Writes a checkpoint whole, or not at all."""
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
    write_tensors(tensors, path, rest)


def restore(state: State, path: Path) -> None:
    """Continues from a checkpoint.

    Raises:
        ValueError: the file is damaged or of another run or network; names it and the remedy.
    """
    tensors, rest = read_tensors(path)
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


def _moments(state: State, tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The state of the optimiser for each parameter."""
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in state.optimiser.param_groups for p in group["params"]]
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, i, moment = name.split(".")
            like = parameters[int(i)]  # the parameter's strides, too, so that the next step adds in the same order
            same = value if value.shape != like.shape else torch.empty_like(like, dtype=value.dtype).copy_(value)
            moments.setdefault(int(i), {})[moment] = same
    return moments


# ----------------------------------------------------------------------------------------------------------------------
# Weights


def best_step(validation: list[dict[str, float]]) -> int:
    """The step with the best validation score; of equal ones, the later."""
    return int(max(validation, key=lambda line: (line["dice"], line["step"]))["step"])


def save_best(state: State, results: Path, key: str) -> None:
    """Keeps the weights, if the last validation was the best so far."""
    if best_step(state.validation) == state.step:
        write_tensors(dict(state.method.state_dict()), best_path(results, key), {"key": key})


def load_best(method: Method, results: Path, key: str) -> None:
    """Gives a method the weights that were best on validation."""
    path = best_path(results, key)
    _load(method, read_tensors(path)[0], path)


def save_weights(method: Method, results: Path, key: str) -> str:
    """Writes the weights of a finished run and returns the SHA-256 of their file.

    If a record of the run exists with other weights, the file says that the run was trained again.
    """
    path, before = weights_path(results, key), run_records.find(results, key)
    tensors = dict(method.state_dict())
    write_tensors(tensors, path, {"key": key})
    digest = _sha256(path)
    if before is None or before.weights_sha256 == digest:
        return digest
    write_tensors(tensors, path, {"key": key, "again": True})
    return _sha256(path)


def trained(record: RunRecord, results: Path, device: str = "auto") -> Method:
    """The method of a finished run, with its weights, ready to predict.

    Raises:
        ValueError: the weights are missing, damaged, of another run, or of a network that this version builds
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

    They are if the file has the SHA-256 of the record. If the run was trained again for an existing record, the file
    says so, and its key and its own hash prove it.

    Raises:
        ValueError: the file is damaged, or of another run.
    """
    tensors, rest = read_tensors(path)
    if _sha256(path) == record.weights_sha256:
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
# Files


def write_tensors(tensors: dict[str, Tensor], path: Path, rest: dict[str, Any]) -> None:
    """Writes tensors and JSON into one file with a hash of both, whole or not at all."""
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    about = json.dumps({**rest, "sha256": _hash(whole, rest)})
    data = safetensors.torch.save(whole, {"rest": about})  # one entry, since several come in any order
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON of a file.

    Raises:
        ValueError: the file is damaged, or was not written by this program.
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


def _hash(tensors: dict[str, Tensor], rest: dict[str, Any]) -> str:
    """SHA-256 of everything in a file: names, types, shapes and bytes of the tensors, and the JSON."""
    digest = hashlib.sha256(json.dumps(rest).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
