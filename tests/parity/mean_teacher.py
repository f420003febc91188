"""Mean Teacher, derived image by image and class by class."""

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method

DROPOUT = 0.0


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    noise = torch.randn_like(batch.u)
    squares = []
    for image, grain in zip(batch.u, noise, strict=True):
        p = method.student(image[None]).softmax(1)
        q = method.teacher.net((image + torch.clamp(grain / 10, -0.2, 0.2))[None]).softmax(1).detach()
        squares += [((p[:, c] - q[:, c]) ** 2).mean() for c in range(p.shape[1])]
    return {
        "sup": sup(torch.cat([method.student(image[None]) for image in batch.x]), batch.y),
        "consistency": 0.1 * ramp(t) * sum(squares) / len(squares),
    }
