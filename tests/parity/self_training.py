"""Self-training, derived image by image."""

import torch
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, strong

VARIANTS = ("share_50", "weak_view")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    n, u = len(batch.x), batch.u
    y, view, inside = method.teacher.net(u).softmax(1).argmax(1), u, torch.zeros(len(u), *u.shape[2:], dtype=torch.bool)
    if method.strong_view:
        inside, noise = boxes(u, p=0.5), torch.rand_like(u)
        view = strong(u)
        for i in range(len(u)):
            view[i][:, inside[i]] = noise[i][:, inside[i]]
    z = method.student(torch.cat([batch.x, view]))
    surprise = []
    for i in range(len(u)):
        log_p = torch.log(torch.softmax(z[n + i], 0))
        for c in range(z.shape[1]):
            surprise += list(-log_p[c][(y[i] == c) & ~inside[i]])
    started = t >= (0.5 if method.share == 0.5 else 1 / 3)
    return {"sup": sup(z[:n], batch.y), "pseudo": started * sum(surprise) / len(surprise)}
