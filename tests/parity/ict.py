"""ICT, derived pair by pair and class by class."""

import numpy as np
import torch
from parity.supervised import ramp, sup
from scipy.stats import beta
from torch import Tensor

from methods.base import Batch, Method

DROPOUT = 0.0
VARIANTS = ("cifar10",)


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    half = (len(batch.u) + 1) // 2
    alpha, weight = (1.0, 100.0) if method.alpha == 1 else (0.2, 0.1)
    knots = np.linspace(0, 1, 4097)
    shares = np.interp(torch.rand(half).numpy(), knots, beta.ppf(knots, alpha, alpha).astype(np.float32))
    pairs = list(zip(batch.u[:half], batch.u[-half:], shares.tolist(), strict=True))
    squares = []
    for one, two, share in pairs:
        p = method.student(((1 - share) * one + share * two)[None]).softmax(1)
        q, r = (method.teacher.net(image[None]).softmax(1).detach() for image in (one, two))
        squares += [((p[:, c] - (1 - share) * q[:, c] - share * r[:, c]) ** 2).mean() for c in range(p.shape[1])]
    strength = ramp(min(t / 0.25, 1.0)) if weight == 100 else ramp(t)
    return {
        "sup": sup(torch.cat([method.student(image[None]) for image in batch.x]), batch.y),
        "consistency": weight * strength * sum(squares) / len(squares),
    }
