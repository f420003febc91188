"""An ablation begins where its baseline stands: everything off is `supervised`, or is said to be another network."""

import dataclasses

import pytest

from benchmark.sweep.ablation import everything_off
from methods.base import REGISTRY
from methods.cdma import Cdma


def test_the_variant_with_everything_off_equals_supervised(toy):
    found = {off.name: off for off in everything_off(dataclasses.replace(toy, method="cdma"), 2)}
    assert found["all_off"].same_network and found["all_off"].equal
    assert "equals supervised on the same network" in found["all_off"].sentence
    assert not found["labels_only"].same_network, "three decoders are not one"


def test_a_method_of_one_network_is_supervised_without_its_terms(toy):
    (off,) = everything_off(dataclasses.replace(toy, method="mean_teacher"), 3)
    assert off.name == "labels_only" and off.equal


def test_a_method_that_cannot_be_switched_off_is_found(toy, monkeypatch):
    class Stubborn(Cdma):
        def losses(self, batch, t):
            return {name: 1.5 * term for name, term in super().losses(batch, t).items()}

    monkeypatch.setitem(REGISTRY, "cdma", Stubborn)
    off = next(off for off in everything_off(dataclasses.replace(toy, method="cdma"), 2) if off.name == "all_off")
    assert off.same_network and not off.equal and "does not equal" in off.sentence
    assert off.loss == pytest.approx(0.5 * 0.6, rel=0.5), "half a loss apart"
