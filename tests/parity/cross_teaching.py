"""Cross teaching, derived class by class."""

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method

VARIANTS = ("two_cnns",)


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    images, labelled = torch.cat([batch.x, batch.u]), len(batch.x)
    cnn, transformer = method.cnn(images), method.transformer(images)
    crossed = overlap_lost(cnn[labelled:], transformer[labelled:]) + overlap_lost(
        transformer[labelled:], cnn[labelled:]
    )
    return {
        "sup": sup(cnn[:labelled], batch.y) + sup(transformer[:labelled], batch.y),
        "cross": 0.1 * ramp(t) * crossed,
    }


def overlap_lost(student: Tensor, teacher: Tensor) -> Tensor:
    """1 − Dice with the teacher's most likely class, each class over the whole batch, mean over classes."""
    p, lost = student.softmax(1), []
    for c in range(p.shape[1]):
        wins = torch.stack([teacher[:, c] > teacher[:, d] for d in range(p.shape[1]) if d != c]).all(0).double()
        both = sum((p[i, c] * wins[i]).sum() for i in range(len(p)))
        each = sum((p[i, c] ** 2).sum() + wins[i].sum() for i in range(len(p)))
        lost.append(1 - (2 * both + 1e-5) / (each + 1e-5))
    return sum(lost) / len(lost)
