"""The loss terms that methods share: pure functions of logits, computed at least in single precision.

A mean over no images is 0, with gradient 0, so that a batch without unlabelled images needs no special case. Pixels of
masks with IGNORE are in no sum and no mean; if all pixels are ignored, the loss is 0.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from methods.base import IGNORE, Logits, Masks

Probabilities = Float[Tensor, "n c h w"]
SMOOTH = 1e-5


def dice_ce(logits: Logits, y: Masks) -> Tensor:
    """½ cross entropy + ½ Dice loss, the supervised loss of every method."""
    return 0.5 * cross_entropy(logits, y) + 0.5 * dice(logits, y)


def cross_entropy(logits: Logits, y: Masks) -> Tensor:
    """Mean over annotated pixels of −ln p_y."""
    negative_log_p = -(at_least_single(logits).log_softmax(1) * one_hot(y, logits.shape[1])).sum(1)
    return negative_log_p.sum() / annotated(y).sum().clamp_min(1)


def dice(logits: Logits, y: Masks) -> Tensor:
    """Mean over all classes, background included, of 1 − (2 Σ p·y + s) / (Σ p² + Σ y² + s), s = 1e-5.

    The sums run over all annotated pixels of the batch, so that a patch without foreground has only the weight of its
    pixels.
    """
    p, truth, pixels = at_least_single(logits).softmax(1), one_hot(y, logits.shape[1]), (0, 2, 3)
    p = p * annotated(y).unsqueeze(1)
    overlap, size = (p * truth).sum(pixels), p.square().sum(pixels) + truth.sum(pixels)
    return (1 - (2 * overlap + SMOOTH) / (size + SMOOTH)).mean()


def distill(student: Logits, teacher: Logits, temperature: float = 1.0) -> Tensor:
    """T² · KL(softmax(sg teacher / T) ‖ softmax(student / T)): summed over classes, mean over pixels."""
    return temperature**2 * divergence(tempered(teacher, temperature).detach(), tempered(student, temperature))


def tempered(logits: Logits, temperature: float) -> Logits:
    """ln softmax(logits / T)."""
    return (at_least_single(logits) / temperature).log_softmax(1)


def divergence(log_p: Logits, log_q: Logits) -> Tensor:
    """KL(p ‖ q) of log-probabilities: summed over classes, mean over pixels."""
    return mean((log_p.exp() * (log_p - log_q)).sum(1))


def entropy(logits: Logits) -> Tensor:
    """Mean over pixels of −Σ p ln p / ln C, in [0, 1]; every p has a gradient. Log-probabilities are valid logits."""
    log_p = at_least_single(logits).log_softmax(1)
    return mean(-(log_p.exp() * log_p).sum(1)) / math.log(logits.shape[1])


def log_mean_softmax(branches: list[Logits]) -> Logits:
    """The logarithm of the mean probabilities of the branches, computed with logarithms only (logsumexp)."""
    log_p = torch.stack([at_least_single(logits).log_softmax(1) for logits in branches])
    return log_p.logsumexp(0) - math.log(len(branches))


def mse(p: Probabilities, q: Probabilities) -> Tensor:
    """Mean over images, classes and pixels of (p − sg q)²."""
    return mean((at_least_single(p) - at_least_single(q).detach()).square())


def ramp(t: Float[Tensor, ""], length: float = 1.0) -> Float[Tensor, ""]:
    """exp(−5 (1 − t / length)²): from 0.007 to 1 at `length`, a fraction of training (Laine & Aila, ICLR 2017)."""
    return torch.exp(-5 * (1 - (t / length).clamp_max(1)).square()) if length > 0 else torch.ones_like(t)


def mean(values: Tensor) -> Tensor:
    """The mean over all elements; 0 if there are none."""
    return values.sum() / max(values.numel(), 1)


def at_least_single(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def annotated(y: Masks) -> Bool[Tensor, "n h w"]:
    return y != IGNORE


def one_hot(y: Masks, classes: int) -> Bool[Tensor, "n c h w"]:
    """True at each pixel's class; nowhere for IGNORE."""
    return y.unsqueeze(1) == torch.arange(classes, device=y.device).view(1, -1, 1, 1)
