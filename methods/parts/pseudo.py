"""Pseudo-labels: a network's predictions used as labels, their confidence, and losses over the confident pixels only.

A pixel that is left out adds nothing to a loss and never becomes background. It still counts in a mean over pixels, so
that unlabelled images have less weight if fewer pixels are confident. Pixels with IGNORE, which come from pasted masks,
are left out in the same way.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from methods.base import IGNORE, Images, Logits, Masks
from methods.parts.losses import SMOOTH, annotated, at_least_single, mean, one_hot
from methods.parts.views import Boxes, View, boxes, cutmix

Confidences = Float[Tensor, "n h w"]  # the probability of the most probable class, in [1 / c, 1]
Kept = Bool[Tensor, "n h w"]  # pixels that a loss uses; or numbers, as weights of pixels


def log_probabilities(logits: Logits) -> Logits:
    """Log-softmax over classes, at least in single precision."""
    return at_least_single(logits).log_softmax(1)


def pseudo_label(logits: Logits) -> tuple[Masks, Confidences]:
    """The most probable class of each pixel and its probability; no gradient reaches the logits."""
    confidence, y = log_probabilities(logits.detach()).max(1)
    return y, confidence.exp()


@contextmanager
def without_dropout(net: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block: the whole network without dropout gives the labels; gradients still flow."""
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


@torch.no_grad()
def own_label(net: nn.Module, u: Images) -> tuple[Masks, Confidences]:
    """Pseudo-labels of images from the network itself, without its dropout."""
    with without_dropout(net):
        return pseudo_label(net(u))


def paste_neighbour(where: Boxes, *values: Tensor) -> list[Tensor]:
    """CutMix inside a batch: where True, each image, label or confidence gets that of the preceding image.

    The partners are images of the same batch, so no further image is forwarded. A single image stays as it is.
    """
    return [cutmix(value, value.roll(1, 0), where) for value in values]


def cut_out(u: Images, view: View, y: Masks, p: float) -> tuple[Images, Masks]:
    """The strong view of ST: `view`, and with probability p a box of uniform noise, in which the label is IGNORE."""
    where, noise = boxes(u, p=p), torch.rand_like(u)
    return cutmix(view(u), noise, where), y.masked_fill(where, IGNORE)


def kept_cross_entropy(logits: Logits, y: Masks, kept: Kept) -> Tensor:
    """Mean over ALL pixels of kept · (−ln p_y)."""
    log_p = log_probabilities(logits)
    return mean(-(log_p * one_hot(y, logits.shape[1])).sum(1) * kept)


def kept_dice(logits: Logits, y: Masks, kept: Kept) -> Tensor:
    """Mean over all classes of 1 − (2 Σ p·y + s) / (Σ p² + Σ y² + s), sums over the kept pixels of the batch, s = 1e-5.

    0 if none is kept.
    """
    p, kept, pixels = at_least_single(logits).softmax(1), (kept * annotated(y)).unsqueeze(1), (0, 2, 3)
    truth = one_hot(y, logits.shape[1]) * kept
    overlap, size = (p * truth).sum(pixels), (p.square() * kept).sum(pixels) + truth.sum(pixels)
    return (1 - (2 * overlap + SMOOTH) / (size + SMOOTH)).mean()
