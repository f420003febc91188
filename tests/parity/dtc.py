"""DTC, derived mask by mask, with another library's distances."""

import numpy as np
import torch
from parity.supervised import ramp, sup
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from methods.base import Batch, Method

DROPOUT = 0.0
VARIANTS = ("unlabelled_only",)


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    labelled, unlabelled = ([method.net(image[None])[0] for image in images] for images in (batch.x, batch.u))
    classes = (len(labelled[0]) + 1) // 2
    wrong = []
    for outputs, y in zip(labelled, batch.y, strict=True):
        for c in range(1, classes):
            truth = torch.from_numpy(signed(y.numpy() == c))
            wrong += list(((torch.tanh(outputs[classes + c - 1]) - truth) ** 2)[y != 255])
    gaps = []
    for outputs in labelled * (method.on == "all") + unlabelled:
        for c in range(1, classes):
            mask = torch.sigmoid(-1500 * torch.tanh(outputs[classes + c - 1]))
            gaps.append(((mask - outputs[:classes].softmax(0)[c]) ** 2).mean())
    return {
        "sup": sup(torch.stack(labelled)[:, :classes], batch.y) + 0.3 * sum(wrong) / len(wrong),
        "consistency": ramp(t) * sum(gaps) / len(gaps),
    }


def signed(inside: np.ndarray) -> np.ndarray:
    if inside.all() or not inside.any():
        return np.full(inside.shape, -1.0 if inside.all() else 1.0)
    outer, inner = distance_transform_edt(~inside), distance_transform_edt(inside)
    return outer / outer.max() - inner / inner.max()
