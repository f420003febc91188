"""StainMatch, derived pixel by pixel."""

import torch
from parity.fixmatch import from_before, labels, surprise
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, random_stain, strong_stain

VARIANTS = ("stain_only",)


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    y, surety = labels(method.net, batch.u)
    where = boxes(batch.u, p=0.5)
    stained = random_stain(batch.u) if method.view is random_stain else strong_stain(batch.u)
    view, y, surety = (from_before(values, where) for values in (stained, y, surety))
    z = method.net(torch.cat([batch.x, view]))
    labelled = len(batch.x)
    return {"sup": sup(z[:labelled], batch.y), "stain": surprise(z[labelled:], y, surety, 0.95)}
