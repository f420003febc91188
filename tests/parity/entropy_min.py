"""Entropy minimisation, derived image by image and class by class."""

import math

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method

DROPOUT = 0.0
VARIANTS = ("on_all",)


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    labelled = [method.net(image[None]) for image in batch.x]
    unlabelled = [method.net(image[None]) for image in batch.u]
    seen = labelled + unlabelled if method.on == "all" else unlabelled
    return {
        "sup": sup(torch.cat(labelled), batch.y),
        "entropy": 0.1 * ramp(t) * sum(entropy(logits) for logits in seen) / len(seen),
    }


def entropy(logits: Tensor) -> Tensor:
    """Mean over pixels of an image's entropy, 1 where all classes are equally likely."""
    p = logits.softmax(1)
    bits = sum(-p[:, c] * torch.log(p[:, c]) for c in range(p.shape[1]))
    return (bits / math.log(p.shape[1])).mean()
