"""R-Drop, derived direction by direction of the divergence."""

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method

VARIANTS = ("on_all", "ssl4mis_dml")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    labelled, images = len(batch.x), torch.cat([batch.x, batch.u])
    two_nets = len(method.decoders) == 2
    weight, share = (4.0 / 2, 1.0) if two_nets else (1.0, 0.5)
    first, second = (answer(method, images, net) for net in (0, int(two_nets)))
    start = 0 if method.on == "all" else labelled
    p, q = first[start:].softmax(1), second[start:].softmax(1)
    return {
        "sup": share * (sup(first[:labelled], batch.y) + sup(second[:labelled], batch.y)),
        "r_drop": weight * ramp(t) * (divergence(p, q) + divergence(q, p)) / 2,
    }


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Mean over pixels of KL(p ‖ q)."""
    return sum((p[:, c] * torch.log(p[:, c] / q[:, c])).mean() for c in range(p.shape[1]))


def answer(method: Method, images: Tensor, net: int) -> Tensor:
    """A whole pass, dropout included."""
    *fine, deep = method.encoders[net](images)
    return method.decoders[net]([*fine, torch.nn.functional.dropout2d(deep, 0.5)])
