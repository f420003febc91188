"""Every method's terms and gradients equal a second derivation, written the slow and obvious way in `tests/parity`.

A file there has `derived(method, batch, t)`, which returns the method's terms from its networks' raw outputs, with no
loss of `methods.parts`. Random numbers repeat: both start from the same seed, and a derivation draws what the method
draws in the same order. It may also have `VARIANTS`, names of variants to compare, and `DROPOUT`, 0 where it looks at
one image at a time (with dropout on, a network is to be called on the very batch that the method calls it on).
"""

import importlib
from pathlib import Path

import pytest
import torch

import methods
from methods.testing import parity

DERIVATIONS = {
    path.stem: importlib.import_module(f"parity.{path.stem}")
    for path in sorted((Path(__file__).parents[1] / "parity").glob("*.py"))
}
CASES = [
    pytest.param(name, variant, id=f"{name}-{variant}" if variant else name)
    for name, by_hand in DERIVATIONS.items()
    for variant in ("", *getattr(by_hand, "VARIANTS", ()))
]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_losses_and_gradients_equal_an_independent_derivation(name, variant, classes):
    by_hand, settings = DERIVATIONS[name], methods.get(name).variants[variant] if variant else {}

    def build(arch):
        return methods.build(name, arch, **settings)

    compared = list(parity.compare(build, by_hand.derived, classes, getattr(by_hand, "DROPOUT", 0.5)))
    for line in compared:
        assert line.difference < parity.WITHIN, f"{line.term} at t = {line.t}"
        assert line.gradient_difference < parity.WITHIN, f"the gradient at t = {line.t}"
    always_zero = {line.term for line in compared} - {line.term for line in compared if line.value}
    assert not always_zero, f"{always_zero} is always 0, so that this says nothing about it"


def test_a_wrong_derivation_is_told_from_the_method():
    right = DERIVATIONS["entropy_min"].derived

    def wrong(method, batch, t):
        return {name: term * (1 if name == "sup" else 1.001) for name, term in right(method, batch, t).items()}

    def build(arch):
        return methods.build("entropy_min", arch)

    assert max(line.difference for line in parity.compare(build, wrong, 2)) > parity.WITHIN
    with pytest.raises(ValueError, match="has the terms"):
        list(parity.compare(build, lambda method, batch, t: {}, 2))


def test_a_method_of_another_package_is_compared_with_its_derivation_too(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "outside")
    outside = importlib.import_module("self_teaching")

    def derived(method, batch, t):
        return method.losses(batch, torch.tensor(t, dtype=torch.float64))

    def halved(method, batch, t):
        return {name: term / 2 for name, term in derived(method, batch, t).items()}

    assert max(line.difference for line in parity.compare(outside.SelfTeaching, derived, 2)) < parity.WITHIN
    assert max(line.difference for line in parity.compare(outside.SelfTeaching, halved, 2)) > parity.WITHIN


def test_every_method_has_a_derivation():
    here = {path.stem for path in Path(methods.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert here - DERIVATIONS.keys() == set()
