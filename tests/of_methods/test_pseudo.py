"""Pseudo-labels and the losses on them, by hand."""

import math

import pytest
import torch
from torch import nn

from methods.base import IGNORE
from methods.parts.losses import cross_entropy, dice
from methods.parts.pseudo import (
    kept_cross_entropy,
    kept_dice,
    own_label,
    paste_neighbour,
    pseudo_label,
    without_dropout,
)


def logits_of(*probabilities: list[float]) -> torch.Tensor:
    """One row of pixels with these probabilities, as logits (1, c, 1, w)."""
    return torch.tensor(probabilities, dtype=torch.float64).log().T[None, :, None].requires_grad_()


def test_a_pseudo_label_is_the_most_probable_class_with_its_probability():
    y, surety = pseudo_label(logits_of([0.9, 0.1], [0.3, 0.7]))
    assert y.tolist() == [[[0, 1]]]
    assert surety[0, 0].tolist() == pytest.approx([0.9, 0.7])
    assert not surety.requires_grad


def test_a_network_s_own_labels_are_the_whole_network_s_and_have_no_gradient():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(0.9)).train()
    x = torch.rand(2, 3, 4, 4)
    y, surety = own_label(net, x)
    p = net[0](x).softmax(1)
    assert torch.equal(y, p.argmax(1)) and net.training
    torch.testing.assert_close(surety, p.amax(1).detach())
    assert not surety.requires_grad


def test_a_pasted_pixel_that_is_not_annotated_is_left_out():
    logits, y = logits_of([0.8, 0.2], [0.4, 0.6]), torch.tensor([[[1, IGNORE]]])
    everything = torch.ones(1, 1, 2, dtype=torch.bool)
    for loss in (kept_cross_entropy, kept_dice):
        mine = loss(logits, y, everything)
        assert mine == loss(logits, torch.tensor([[[1, 0]]]), torch.tensor([[[True, False]]]))
        (gradient,) = torch.autograd.grad(mine, logits)
        assert gradient[..., 0].any() and not gradient[..., 1].any()


def test_a_pixel_left_out_adds_nothing_and_still_counts_in_the_mean():
    logits, y = logits_of([0.8, 0.2], [0.4, 0.6]), torch.tensor([[[1, 1]]])
    loss = kept_cross_entropy(logits, y, torch.tensor([[[True, False]]]))
    assert loss.item() == pytest.approx(-math.log(0.2) / 2)
    loss.backward()
    assert logits.grad[..., 0].any()
    assert not logits.grad[..., 1].any(), "a pixel that is not sure was taught a label"


def test_dice_over_the_kept_pixels_by_hand():
    logits, y = logits_of([0.8, 0.2], [0.4, 0.6], [0.5, 0.5]), torch.tensor([[[0, 1, 1]]])
    loss = kept_dice(logits, y, torch.tensor([[[True, True, False]]]))
    background, foreground = 2 * 0.8 / (0.64 + 0.16 + 1), 2 * 0.6 / (0.04 + 0.36 + 1)
    assert loss.item() == pytest.approx(1 - (background + foreground) / 2, abs=1e-5)
    loss.backward()
    assert not logits.grad[..., 2].any()


def test_with_every_pixel_kept_the_losses_are_the_supervised_ones_and_with_none_0():
    torch.manual_seed(0)
    logits, y = torch.randn(2, 5, 4, 3, dtype=torch.float64), torch.randint(5, (2, 4, 3))
    for kept, plain in ((kept_cross_entropy, cross_entropy), (kept_dice, dice)):
        assert kept(logits, y, torch.ones(2, 4, 3, dtype=torch.bool)).item() == pytest.approx(plain(logits, y).item())
        assert kept(logits, y, torch.zeros(2, 4, 3, dtype=torch.bool)).item() == 0


def test_the_losses_stay_finite_in_half_precision_far_from_the_label():
    logits = torch.tensor([60000.0, -60000.0], dtype=torch.float16).view(1, 2, 1, 1)
    for loss in (kept_cross_entropy, kept_dice):
        assert loss(logits, torch.tensor([[[1]]]), torch.tensor([[[True]]])).isfinite()


def test_an_image_and_its_label_get_the_same_box_of_their_predecessor():
    images, labels = (
        torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 2, 2),
        torch.arange(3).view(3, 1, 1).expand(3, 2, 2),
    )
    where = torch.zeros(3, 2, 2, dtype=torch.bool)
    where[:, 0, 1] = True
    mixed, y = paste_neighbour(where, images, labels)
    assert mixed[:, :, 0, 1].tolist() == [[2] * 3, [0] * 3, [1] * 3]
    assert torch.equal(mixed[:, 0].long(), y)
    assert torch.equal(y[:, 1], labels[:, 1])


def test_without_dropout_labels_are_certain_and_training_goes_on_afterwards():
    net = nn.Dropout(0.5).train()
    with without_dropout(net):
        assert torch.equal(net(torch.ones(100)), torch.ones(100))
    assert net.training
    with without_dropout(net.eval()):
        pass
    assert not net.training
