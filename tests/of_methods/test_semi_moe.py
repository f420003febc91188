"""Semi-MoE: rings, gates and losses, by hand."""

import pytest
import torch

from methods.base import IGNORE
from methods.semi_moe import Gate, outer_ring, squared


def test_the_ring_is_outside_of_the_foreground_and_leaves_out_what_is_not_annotated():
    y = torch.tensor([[[0, 0, 0, 0, 1, 2, 0, IGNORE]]])
    assert outer_ring(y, 2).tolist() == [[[0, 0, 1, 1, 0, 0, 1, IGNORE]]]
    assert outer_ring(torch.zeros(1, 2, 2, dtype=torch.long), 2).sum() == 0


def test_the_squared_difference_is_the_mean_over_annotated_pixels():
    values, target = torch.tensor([0.5, -1.0, 3.0]), torch.tensor([1.0, 1.0, 0.0])
    assert squared(values, target, torch.tensor([True, True, False])).item() == pytest.approx((0.25 + 4) / 2)
    assert squared(values, target, torch.zeros(3, dtype=torch.bool)) == 0


def test_a_gate_weighs_the_experts_of_each_image_by_the_formula():
    """With A = 1, B = 0 and C = (ln 1, ln 2, ln 3) of one hidden unit, h = 1 and the weights are 1/6, 2/6, 3/6."""
    gate = Gate(1, 1, 0.0)
    with torch.no_grad():
        for layer in (gate.hidden, gate.attention, gate.weights):
            layer.weight.zero_()
            layer.bias.zero_()
        gate.hidden.bias.fill_(1)
        gate.weights.weight.copy_(torch.tensor([[1.0], [2.0], [3.0]]).log())
    assert gate(torch.rand(2, 3)).flatten().tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6] * 2)
