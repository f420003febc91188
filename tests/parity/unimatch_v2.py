"""UniMatch V2, derived view by view, channel by channel and pixel by pixel."""

import torch
from parity.fixmatch import from_before, surprise
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, strong

VARIANTS = ("no_dropout", "no_cutmix", "threshold_80")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    n, labelled, u = len(batch.u), len(batch.x), batch.u
    y, surety = taught(method, u)
    where = boxes(torch.cat([u, u]), p=method.cutmix)
    views, y, surety = (from_before(values, where) for values in (strong(torch.cat([u, u])), y, surety))
    *fine, deep = method.student.encoder(torch.cat([batch.x, views]))
    features = [*fine, torch.cat([torch.nn.functional.dropout2d(deep[:labelled], 0.5), deep[labelled:]])]
    if method.drop.keywords["share"]:
        changed = torch.rand(n).argsort().tolist()  # the images whose rank is among the first half
        half = round(n / 2)
        features = [features[0], *(holes(f, [rank < half for rank in changed], labelled) for f in features[1:])]
    z = method.student.decoder(features)
    one, two = labelled + n, labelled + 2 * n
    first = surprise(z[labelled:one], y[:n], surety[:n], method.threshold)
    second = surprise(z[one:two], y[n:], surety[n:], method.threshold)
    return {"sup": sup(z[:labelled], batch.y), "strong": (first + second) / 2}


def taught(method: Method, u: Tensor) -> tuple[Tensor, Tensor]:
    p = torch.softmax(method.teacher.net(u).detach(), 1)
    return p.argmax(1).repeat(2, 1, 1), p.amax(1).repeat(2, 1, 1)


def holes(feature: Tensor, changed: list[bool], labelled: int) -> Tensor:
    """For changed images, a channel is doubled in one view and zero in the other."""
    n = len(changed)
    goes_first = torch.rand(n, feature.shape[1]) < 0.5
    factor = torch.ones(feature.shape[:2], dtype=feature.dtype)
    for i in range(n):
        for channel in range(feature.shape[1]):
            if changed[i]:
                factor[labelled + i, channel] = 2 if goes_first[i, channel] else 0
                factor[labelled + n + i, channel] = 0 if goes_first[i, channel] else 2
    return feature * factor[..., None, None]
