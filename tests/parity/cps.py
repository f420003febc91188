"""CPS, derived class by class, and mixed pixel by pixel."""

import torch
from parity.fixmatch import from_before
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes

VARIANTS = ("cutmix", "paper", "ssl4mis")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    one, two = method.nets
    u, mine, theirs = batch.u, None, None
    if method.cutmix:
        where = boxes(u, area=(0.25, 0.5), aspect=(0.25, 4), count=3, p=1)
        mine, theirs = (from_before(net(u).argmax(1), where) for net in (one, two))
        u = from_before(u, where)
    z_one, z_two = one(torch.cat([batch.x, u])), two(torch.cat([batch.x, u]))
    labelled = len(batch.x)
    strength = 0.1 * ramp(t) if method.weight == 0.1 else method.weight
    if method.on == "all":
        crossed = said(z_one, z_two.argmax(1)) + said(z_two, z_one.argmax(1))
    else:
        mine, theirs = (z_one[labelled:].argmax(1), z_two[labelled:].argmax(1)) if mine is None else (mine, theirs)
        crossed = said(z_one[labelled:], theirs) + said(z_two[labelled:], mine)
    return {"sup": sup(z_one[:labelled], batch.y) + sup(z_two[:labelled], batch.y), "cross": strength * crossed}


def said(z: Tensor, y: Tensor) -> Tensor:
    """How surprised z is by the labels y, class by class."""
    p = z.softmax(1)
    return -sum(torch.log(p[:, c][y == c]).sum() for c in range(p.shape[1])) / y.numel()
