"""Costs are counted: images through encoders, and FLOPs as worked out by hand."""

import dataclasses

import pytest
import torch
from torch import nn

import methods
from benchmark.protocol import flops
from methods.base import Batch, Method
from methods.parts.nets import Arch

ARCH = Arch("resnet18", weights="none")


def batch(labelled: int = 2, unlabelled: int = 2) -> Batch:
    return Batch(
        torch.rand(labelled, 3, 32, 32), torch.zeros(labelled, 32, 32).long(), torch.rand(unlabelled, 3, 32, 32)
    )


class Grouped(Method):
    title, year, venue, paper = "Grouped", 2026, "", "https://example.org"

    def __init__(self):
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def losses(self, batch, t):
        return {"sup": self.depthwise(self.first(batch.x)).mean()}

    def predict(self, x):
        return x


def test_flops_of_plain_and_grouped_convolutions_are_those_worked_out_by_hand():
    pixels = 2 * 32 * 32
    first, depthwise = 2 * pixels * 3 * 8, 2 * pixels * 8 * 9  # multiplications and additions
    forward = first + depthwise
    backward = first + 2 * depthwise  # nobody asks for the gradient of the image
    assert flops.count(Grouped(), batch())["flops"] == forward + backward


def test_a_teacher_costs_one_forward_pass_of_the_unlabelled_images():
    plain, taught = (flops.count(methods.build(name, ARCH), batch()) for name in ("supervised", "mean_teacher"))
    assert plain["images"] == {"with_gradient": 2, "without_gradient": 0}
    assert taught["images"] == {"with_gradient": 4, "without_gradient": 2}
    assert taught["flops"] / plain["flops"] == pytest.approx(7 / 3, rel=0.02)
    assert plain["parameters"] == taught["parameters"]


def test_counting_leaves_the_method_as_it_was():
    method = methods.build("mean_teacher", dataclasses.replace(ARCH, norm="batch"))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    flops.count(method, batch())
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


def test_the_counted_share_sets_what_has_a_formula_against_an_operation_for_each_other_element():
    outputs = 2 * 8 * 32 * 32
    others = outputs + outputs + 1 + 1  # the mean, its gradient, the gradient of the loss, and the sum of the terms
    counted = flops.count(Grouped(), batch())
    assert counted["counted"] == pytest.approx(counted["flops"] / (counted["flops"] + others), rel=1e-12)


def test_a_prediction_counts_one_forward_pass_and_leaves_the_method_as_it_was():
    method = methods.build("mean_teacher", ARCH).train()
    found, step = flops.count_prediction(method, batch().x), flops.count(methods.build("supervised", ARCH), batch())
    assert step["flops"] / found["flops"] == pytest.approx(3, rel=0.02)  # the gradient of the images is not needed
    assert 0.9 < found["counted"] < 1
    assert method.training
