"""UA-MT, derived pixel by pixel from nine answers of the teacher."""

import math

import torch
from parity.supervised import ramp, sup
from torch import Tensor, nn

from methods.base import Batch, Method

VARIANTS = ("no_mask", "two_samples")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    logits = method.student(torch.cat([batch.x, batch.u]))
    again = torch.cat([batch.u] * (method.samples + 1))
    again = again + torch.clamp(torch.randn_like(again) / 10, -0.2, 0.2)
    teacher = method.teacher.net
    for module in teacher.modules():
        if isinstance(module, nn.Dropout2d):
            module.training = True
    with torch.no_grad():
        answers = teacher(again).softmax(1)
    n, classes = len(batch.u), logits.shape[1]
    squares, kept = 0.0, 0
    for i in range(n):
        p, q = logits[len(batch.x) + i].softmax(0), answers[i]
        mean = sum(answers[n * k + i] for k in range(1, method.samples + 1)) / method.samples
        for row in range(batch.u.shape[2]):
            for column in range(batch.u.shape[3]):
                unsure = -sum(value * math.log(value) for value in mean[:, row, column].tolist())
                if not method.masked or unsure < (3 / 4 + ramp(t) / 4) * math.log(classes):
                    squares = squares + ((p[:, row, column] - q[:, row, column]) ** 2).sum()
                    kept += 1
    assert method.masked is False or t == 1 or 0 < kept < n * batch.u[0, 0].numel(), "the mask decides nothing here"
    return {
        "sup": sup(logits[: len(batch.x)], batch.y),
        "consistency": 0.1 * ramp(t) * squares / (classes * kept),
    }
