"""Compares the terms and gradients of a method with a second derivation, on fixed tensors in double precision."""

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import IGNORE, Batch, Method
from methods.parts.nets import Arch

WITHIN = 1e-6  # relative or absolute, whichever is larger
PROGRESS = (0.37, 1.0)  # of training, where terms are compared

Derivation = Callable[[Method, Batch, float], dict[str, Tensor]]


class Compared(NamedTuple):
    """One term at one t: its value, and the differences of value and gradient from the derivation."""

    t: float
    term: str
    value: float
    difference: float  # relative if the value exceeds 1
    gradient_difference: float  # of the sum of all terms; the largest over all parameters


def compare(
    build: Callable[[Arch], Method], derived: Derivation, classes: int, dropout: float = 0.5
) -> Iterator[Compared]:
    """Compares every term of a method with its derivation; both start from the same random numbers.

    Args:
        build: an architecture -> the method.
        derived: (method, batch, t) -> the terms, computed a second time from the formulas.
        classes: number of classes.
        dropout: rate of the networks' dropout.

    Raises:
        ValueError: if method and derivation have different terms.
    """
    with torch.random.fork_rng(devices=[]):
        method = _prepared(build, classes, dropout)
        twin, batch = copy.deepcopy(method), _batch(classes)
        for t in PROGRESS:
            torch.manual_seed(3)
            terms = method.losses(batch, torch.tensor(t, dtype=torch.float64))
            torch.manual_seed(3)
            expected = derived(twin, batch, t)
            if terms.keys() != expected.keys():
                raise ValueError(f"The method has the terms {list(terms)}, its derivation has {list(expected)}.")
            gradient = max(map(_difference, _gradients(terms, method), _gradients(expected, twin)))
            for term, value in terms.items():
                yield Compared(t, term, value.item(), _difference(value.detach(), expected[term].detach()), gradient)


def _prepared(build: Callable[[Arch], Method], classes: int, dropout: float) -> Method:
    """A method with networks that differ from each other and from their teachers, and pixels of any confidence."""
    torch.manual_seed(classes)
    arch = Arch("tu-test_efficientnet", classes=classes, weights="none", dropout=dropout, width=32)
    method = build(arch).double().train()
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
            if ".head." in f".{name}":
                parameter.mul_(4)
    return method


def _batch(classes: int, labelled: int = 2, unlabelled: int = 3, size: int = 32) -> Batch:
    coarse = torch.rand(labelled + unlabelled, 3, 8, 8, dtype=torch.float64)
    images = F.interpolate(coarse, (size, size), mode="bilinear")
    masks = F.interpolate(torch.rand(labelled, classes, 5, 5), (size, size), mode="bilinear").argmax(1)
    masks[0] = masks[0] % (classes - 1)  # an image without the last class, for terms on whole images
    masks[1, : size // 4, : size // 2] = IGNORE
    return Batch(images[:labelled], masks, images[labelled:])


def _gradients(terms: dict[str, Tensor], method: Method) -> list[Tensor]:
    method.zero_grad()
    sum(terms.values()).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in method.parameters()]


def _difference(value: Tensor, expected: Tensor) -> float:
    """The largest difference of two tensors, relative where the expected value exceeds 1."""
    return ((value - expected).abs() / expected.abs().clamp_min(1)).max().item()
