"""CSDS, derived pixel by pixel."""

import math

import torch
from parity.fixmatch import from_before
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, random_blur, random_stain

VARIANTS = ("no_uncertainty", "both_stain")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    u, n, teacher = batch.u, len(batch.x), method.teacher.net
    p = teacher(u).softmax(1).detach()
    cases = [(random_stain(u), p)]
    if method.second == "stain":
        cases.append((random_stain(u), p))
    else:
        where, blurred = boxes(u, p=0.5), random_blur(u)
        cases.append(
            (from_before(blurred, where), torch.stack([from_before(p[:, c], where) for c in range(p.shape[1])], 1))
        )
    supervised, pseudo = 0, 0
    for student, (view, target) in zip(method.students, cases, strict=True):
        z, after = student(torch.cat([batch.x, view])), teacher(view).softmax(1).detach()
        supervised += sup(z[:n], batch.y) / 2
        log_q = torch.log(torch.softmax(z[n:], 1))
        for i in range(len(u)):
            for r in range(u.shape[2]):
                for c in range(u.shape[3]):
                    before, now = target[i, :, r, c].tolist(), after[i, :, r, c].tolist()
                    moved = sum(a * math.log(a / b) for a, b in zip(before, now, strict=True))
                    trust = math.exp(-moved) if method.uncertainty else 1.0
                    pseudo -= trust * log_q[i, before.index(max(before)), r, c] / p[:, 0].numel() / 2
    return {"sup": supervised, "pseudo": ramp(min(t / 0.25, 1.0)) * pseudo}
