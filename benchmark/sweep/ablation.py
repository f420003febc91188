"""Checks that a method with every part switched off equals `supervised`, so that its ablation has the same baseline."""

import dataclasses
import inspect
from typing import NamedTuple

import torch
from torch import Tensor

import methods
from benchmark.protocol import setup
from benchmark.protocol.suites import BASELINE
from benchmark.runs import Run
from methods.base import Batch, Method

IMAGES, SIDE = 2, 64  # labelled, and as many unlabelled; pixels
PROGRESS = 0.0, 0.5, 1.0  # of training: terms that begin late must be off, too
SAME = 1e-9  # differences in double precision of numbers near 1


class Off(NamedTuple):
    """A method with all unsupervised weights 0, compared with `supervised` with the same initial weights."""

    name: str  # the variant
    same_network: bool  # whether the trained parameters have the shapes of `supervised`
    loss: float  # largest difference
    gradient: float

    @property
    def sentence(self) -> str:
        if not self.same_network:
            return f"{self.name} trains another network than {BASELINE}, so the two are not compared."
        equal = "equals" if self.equal else "does not equal"
        return (
            f"{self.name} {equal} {BASELINE} on the same network: its losses differ by {self.loss:.1g}, its gradients "
            f"by {self.gradient:.1g} at most."
        )

    @property
    def equal(self) -> bool:
        return max(self.loss, self.gradient) <= SAME


def everything_off(run: Run, classes: int) -> list[Off]:
    """Compares every variant without unsupervised weights with `supervised`.

    On the network of the run, untrained and without dropout, in double precision, on random images.
    """
    parameters = inspect.signature(methods.get(run.method).__init__).parameters
    weights = {name: p.default for name, p in parameters.items() if name.startswith("weight")}
    return [
        _compared(dataclasses.replace(run, variant=name, settings=()), classes)
        for name, changed in methods.variants(run.method).items()
        if not any((weights | changed)[weight] for weight in weights)
    ]


def _compared(run: Run, classes: int) -> Off:
    name, run = run.variant, dataclasses.replace(run, dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        baseline = _built(dataclasses.replace(run, method=BASELINE, variant="", settings=()), classes)
        method, batch = _built(run, classes), _batch(classes)
        learning = {key: p for key, (p, gradient) in _step(method, batch, 1.0)[1].items() if gradient.any()}
        wanted = {key: p for key, p in baseline.named_parameters() if p.requires_grad}
        if [p.shape for p in learning.values()] != [p.shape for p in wanted.values()]:
            return Off(name, False, float("nan"), float("nan"))
        with torch.no_grad():
            for own, its in zip(learning.values(), wanted.values(), strict=True):
                own.copy_(its)
        loss = gradient = 0.0
        for t in PROGRESS:
            (one, ours), (other, its) = _step(method, batch, t), _step(baseline, batch, t)
            loss = max(loss, abs(one - other))
            pairs = zip((ours[key][1] for key in learning), (its[key][1] for key in wanted), strict=True)
            gradient = max(gradient, *((a - b).abs().max().item() for a, b in pairs))
    return Off(name, True, loss, gradient)


def _built(run: Run, classes: int) -> Method:
    return setup.build(run, classes, pretrained=False).double().train()


def _step(method: Method, batch: Batch, t: float) -> tuple[float, dict[str, tuple[Tensor, Tensor]]]:
    """The loss of a step, and each trainable parameter with its gradient."""
    method.zero_grad()
    total = sum(method.losses(batch, torch.tensor(t, dtype=torch.float64)).values())
    total.backward()
    own = {key: p for key, p in method.named_parameters() if p.requires_grad}
    return total.item(), {key: (p, torch.zeros_like(p) if p.grad is None else p.grad) for key, p in own.items()}


def _batch(classes: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * IMAGES, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, classes, (IMAGES, SIDE, SIDE), generator=generator)
    return Batch(images[:IMAGES], masks, images[IMAGES:])
