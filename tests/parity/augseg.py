"""AugSeg, derived image by image and pixel by pixel."""

import math

import torch
from parity.fixmatch import surprise
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, random_intensity

VARIANTS = ("no_labels", "threshold_0")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    u, labelled = batch.u, len(batch.x)
    p = method.teacher.net(u).detach().softmax(1)
    y, surety = p.argmax(1), p.amax(1)
    view, dice = random_intensity(u, most=3), torch.rand(len(u))
    areas = torch.tensor([1 - sorted(row.tolist())[7] for row in torch.rand(len(u), 9)])
    label_boxes = boxes(u, area=areas, aspect=(1, 1), p=1)
    areas = torch.tensor([1 - sorted(row.tolist())[3] for row in torch.rand(len(u), 7)])
    other_boxes = boxes(u, area=areas, aspect=(1, 1), p=1)
    injected = [view.clone(), y.clone(), surety.clone()]
    for i in range(len(u)):
        inside = label_boxes[i]
        if method.injects and dice[i] > confidence(p[i]):
            injected[0][i][:, inside] = batch.x[i % labelled][:, inside]
            injected[1][i][inside] = batch.y[i % labelled][inside]
            injected[2][i][inside] = 1
    for values, source in zip((view, y, surety), injected, strict=True):
        for i in range(len(u)):
            values[i][..., other_boxes[i]] = source[i - 1][..., other_boxes[i]]
    z = method.student(torch.cat([batch.x, view]))
    return {"sup": sup(z[:labelled], batch.y), "strong": surprise(z[labelled:], y, surety, method.threshold)}


def confidence(p: Tensor) -> float:
    """How sure an image's prediction is, pixel by pixel: its largest probability, less for a large entropy."""
    classes, height, width = p.shape
    total = 0.0
    for row in range(height):
        for column in range(width):
            q = p[:, row, column].tolist()
            total += max(q) * (1 + sum(value * math.log(value) for value in q) / math.log(classes))
    return total / (height * width)
