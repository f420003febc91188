"""Supervised with strong views, derived image by image."""

import torch
from parity.fixmatch import from_before
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, random_intensity, strong

VARIANTS = ("no_cutmix", "strong_only", "one_pass", "view_intensity")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    where = boxes(batch.x, p=method.cutmix)
    changed = random_intensity(batch.x, most=3) if method.view is random_intensity else strong(batch.x)
    view, y = from_before(changed, where), from_before(batch.y, where)
    if method.one_pass:
        dice = torch.rand(len(view)).tolist()
        images = [view[i] if dice[i] < 0.5 else batch.x[i] for i in range(len(view))]
        masks = [y[i] if dice[i] < 0.5 else batch.y[i] for i in range(len(view))]
        return {"sup": sup(method.net(torch.stack(images)), torch.stack(masks))}
    z, n = method.net(torch.cat([batch.x, view])), len(batch.x)
    if method.share == 1:
        return {"sup": sup(z[n:], y)}
    return {"sup": (sup(z[:n], batch.y) + sup(z[n:], y)) / 2}
