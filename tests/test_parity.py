"""Every method's terms and gradients equal a second derivation, written the slow and obvious way in `tests/parity`.

A file there has `derived(method, batch, t)`, which returns the method's terms from its networks' raw outputs, with no
loss of `methods.parts`. Random numbers repeat: both start from the same seed, and a derivation draws what the method
draws in the same order. It may also have `VARIANTS`, names of variants to compare, and `DROPOUT`, 0 where it looks at
one image at a time (with dropout on, a network is to be called on the very batch that the method calls it on).
"""

import copy
import importlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import methods
from methods.base import Batch, Method
from methods.parts.nets import Arch

WITHIN = 1e-6
DERIVATIONS = {
    path.stem: importlib.import_module(f"parity.{path.stem}")
    for path in sorted((Path(__file__).parent / "parity").glob("*.py"))
}
CASES = [
    pytest.param(name, variant, id=f"{name}-{variant}" if variant else name)
    for name, by_hand in DERIVATIONS.items()
    for variant in ("", *getattr(by_hand, "VARIANTS", ()))
]


def prepared(name: str, variant: str, classes: int, dropout: float) -> Method:
    """A method whose networks differ from each other and from their teachers, with sure and unsure pixels."""
    arch = Arch("tu-test_efficientnet", classes=classes, weights="none", dropout=dropout, width=32)
    torch.manual_seed(classes)
    method = methods.build(name, arch, **(methods.get(name).variants[variant] if variant else {})).double().train()
    with torch.no_grad():
        for parameter_name, parameter in method.named_parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
            if ".head." in f".{parameter_name}":
                parameter.mul_(4)
    return method


def drawn(classes: int, labelled: int = 2, unlabelled: int = 3, size: int = 32) -> Batch:
    coarse = torch.rand(labelled + unlabelled, 3, 8, 8, dtype=torch.float64)
    images = F.interpolate(coarse, (size, size), mode="bilinear")
    masks = F.interpolate(torch.rand(labelled, classes, 5, 5), (size, size), mode="bilinear").argmax(1)
    return Batch(images[:labelled], masks, images[labelled:])


def gradients(terms: dict[str, Tensor], method: Method) -> dict[str, Tensor]:
    method.zero_grad()
    sum(terms.values()).backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in method.named_parameters()}


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_losses_and_gradients_equal_an_independent_derivation(name, variant, classes):
    by_hand = DERIVATIONS[name]
    method = prepared(name, variant, classes, getattr(by_hand, "DROPOUT", 0.5))
    twin = copy.deepcopy(method)
    batch = drawn(classes)
    seen = set()
    for t in (0.37, 1.0):
        torch.manual_seed(3)
        terms = method.losses(batch, t)
        torch.manual_seed(3)
        expected = by_hand.derived(twin, batch, t)
        assert terms.keys() == expected.keys()
        for term, value in terms.items():
            assert value.item() == pytest.approx(expected[term].item(), rel=WITHIN, abs=WITHIN), f"{term} at t = {t}"
        got, wanted = gradients(terms, method), gradients(expected, twin)
        for parameter, gradient in got.items():
            torch.testing.assert_close(gradient, wanted[parameter], rtol=WITHIN, atol=WITHIN, msg=f"{parameter}, t {t}")
        assert any(gradient.any() for gradient in got.values())
        seen |= {term for term, value in terms.items() if value.item()}
    assert seen == terms.keys(), f"{terms.keys() - seen} is always 0, so that this says nothing about it"


def test_every_method_has_a_derivation():
    here = {path.stem for path in Path(methods.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert here - DERIVATIONS.keys() == set()
