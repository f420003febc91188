"""R-Drop, derived direction by direction of the divergence."""

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method

VARIANTS = ("on_all", "ssl4mis_dml")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    labelled, images = len(batch.x), torch.cat([batch.x, batch.u])
    if len(method.nets) == 2:
        (first, second), weight, share = (net(images) for net in method.nets), 4.0, 1.0
    else:
        both, weight, share = method.nets[0](torch.cat([images, images])), 1.0, 0.5
        first, second = both[: len(images)], both[len(images) :]
    start = 0 if method.on == "all" else labelled
    p, q = first[start:].softmax(1), second[start:].softmax(1)
    return {
        "sup": share * (sup(first[:labelled], batch.y) + sup(second[:labelled], batch.y)),
        "r_drop": weight * ramp(t) * (divergence(p, q) + divergence(q, p)) / 2,
    }


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Mean over pixels of KL(p ‖ q)."""
    return sum((p[:, c] * torch.log(p[:, c] / q[:, c])).mean() for c in range(p.shape[1]))
