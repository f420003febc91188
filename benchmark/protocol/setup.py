"""What is settled before a run starts: every field of it, its network, and the random numbers of each step."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import methods
from benchmark import machine
from benchmark.datasets import store as stores
from benchmark.datasets.store import Store
from benchmark.names import choose
from benchmark.runs import Run
from methods.base import Method
from methods.parts.nets import Arch, weights_hash


def complete(run: Run, store: Store) -> Run:
    """The run with everything filled in that was left to defaults, so that its key is final.

    Raises:
        ValueError: the batch, the split or the variant cannot be used.
    """
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
    """The method of a run with its initial weights, which depend on seed and draw.

    Args:
        run: names the method, its settings and the network.
        classes: number of classes, background included.
        pretrained: load the pretrained weights; False if other weights are loaded afterwards.
    """
    machine.keep_memory()
    torch.manual_seed(seed_of(run, -1))
    arch = dataclasses.replace(_arch(run, classes), load=pretrained)
    variant = methods.variants(run.method).get(run.variant, {})
    return methods.build(run.method, arch, **{**variant, **dict(run.settings)})


def seed_of(run: Run, step: int) -> int:
    """One number from (seed, draw, step). All randomness of a step starts from it, so none is carried over.

    Step −1 is for the initial weights.
    """
    return int(np.random.SeedSequence([run.seed, run.draw, step + 1]).generate_state(1, np.uint64)[0] >> 1)


@contextlib.contextmanager
def exact(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Deterministic kernels on the CPU, where they cost nothing, and on a GPU if asked."""
    kernels: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), kernels.fill_uninitialized_memory
    torch.use_deterministic_algorithms(deterministic or device.type == "cpu")
    kernels.fill_uninitialized_memory = False  # a twelfth of a step, and nothing here reads it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        kernels.fill_uninitialized_memory = filled


def _arch(run: Run, classes: int) -> Arch:
    return Arch(
        run.encoder, run.decoder, classes, run.norm, run.weights, run.dropout, run.width, run.steps, run.adapt,
        run.views,
    )  # fmt: skip
