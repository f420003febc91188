"""BCP's two directions, by hand."""

import dataclasses

import pytest
import torch

import methods
from methods.bcp import directions, region
from methods.parts.losses import dice_ce
from methods.parts.views import copy_paste_box
from methods.testing import contract

SIDE, BOX = 3, 4  # a box of 2 · 2 of 3 · 3 pixels


def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two images, one a direction: −ln p of the label is 1 inside the labelled box of one, 2 outside the box of two."""
    inside = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    inside[:, :2, :2] = True
    inside[1] = ~inside[1]
    p = torch.tensor([1.0, 2.0]).neg().exp().view(2, 1, 1).expand(-1, SIDE, SIDE)
    logits = torch.stack([(1 - p).log(), p.log()], 1)
    logits = torch.where(inside[:, None], logits, 0.0)
    return logits, torch.ones(2, SIDE, SIDE, dtype=torch.long), inside


def dice_of(p: float, pixels: int) -> float:
    """Dice loss of pixels that all are class 1 with probability p."""
    background = 1 - 1e-5 / (pixels * (1 - p) ** 2 + 1e-5)
    foreground = 1 - (2 * pixels * p + 1e-5) / (pixels * p**2 + pixels + 1e-5)
    return (background + foreground) / 2


def test_directions_count_alike_whatever_the_area_of_their_regions():
    """Cross entropy 1 on 4 pixels and 2 on 5 are 1.5; pooled they would be (4 · 1 + 5 · 2) / 9 = 1.556."""
    logits, y, inside = given()
    dice = (dice_of(torch.tensor(-1.0).exp().item(), BOX) + dice_of(torch.tensor(-2.0).exp().item(), 9 - BOX)) / 2
    assert directions(logits, y, inside).item() == pytest.approx((1.5 + dice) / 2, abs=1e-5)
    assert region(logits, y, inside).item() > (1.55 + dice) / 2, "the pixels of both at once are another loss"


def test_before_the_warm_up_ends_only_labelled_images_are_mixed():
    method = methods.build("bcp", dataclasses.replace(contract.STILL, classes=2)).double()
    batch = contract._batch(labelled=2, unlabelled=2)
    torch.manual_seed(0)
    box = copy_paste_box(batch.x)[0]
    (a, b), (ya, yb) = batch.x, batch.y
    mixed = torch.stack([torch.where(box, a, b), torch.where(box, a, b)])
    masks = torch.stack([torch.where(box, ya, yb), torch.where(box, ya, yb)])
    torch.manual_seed(0)
    terms = method.losses(batch, torch.tensor(0.1))
    torch.testing.assert_close(terms["sup"], dice_ce(method.student(mixed), masks))
    assert terms["unlabelled"] == 0


def test_one_image_has_one_direction():
    logits, y, inside = (value[:1] for value in given())
    assert directions(logits, y, inside) == region(logits, y, inside)
