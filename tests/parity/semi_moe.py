"""Semi-MoE, derived task by task and image by image, with distances from SciPy."""

import torch
from parity.supervised import sup
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from methods.base import Batch, Method


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    n, x = len(batch.x), torch.cat([batch.x, batch.u])
    features = [expert(x) for expert in method.experts]
    m = torch.cat([f.flatten(2).mean(2) for f in features], 1)
    own, gated = [], []
    for k in range(3):
        own.append(by_hand(method.head[k], features[k]))
        gate = method.gates[k]
        h = torch.relu(m @ gate.hidden.weight.T + gate.hidden.bias)
        h = gate.dropout(h * torch.softmax(h @ gate.attention.weight.T + gate.attention.bias, 1))
        w = torch.softmax(h @ gate.weights.weight.T + gate.weights.bias, 1)
        mixed = torch.stack([sum(w[i, e] * features[e][i] for e in range(3)) for i in range(len(x))])
        gated.append(by_hand(method.gated_head[k], mixed))
    known, rings, far = batch.y != 255, batch.y.clone(), []
    for i, y in enumerate(batch.y):
        inside = (y > 0) & (y != 255)
        far.append(signed(inside))
        for r in range(y.shape[0]):
            for c in range(y.shape[1]):
                window = inside[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3]
                rings[i, r, c] = 255 if y[r, c] == 255 else int(bool(window.any()) and not inside[r, c])
    labelled, unlabelled = 0, 0
    for z in (own, gated):
        squares = [(torch.tanh(z[1][i, 0]) - far[i])[known[i]] ** 2 for i in range(n)]
        labelled = labelled + sup(z[0][:n], batch.y) + dice(z[2][:n], rings) + torch.cat(squares).mean() / 2
    unlabelled = dice(own[0][n:], gated[0][n:].argmax(1)) + dice(own[2][n:], gated[2][n:].argmax(1))
    unlabelled = unlabelled + ((torch.tanh(own[1][n:]) - torch.tanh(gated[1][n:].detach())) ** 2).mean() / 2
    return {"sup": labelled, "pseudo": t / 2 * unlabelled}


def signed(inside: Tensor) -> Tensor:
    if inside.all() or not inside.any():
        return -torch.ones(inside.shape) if inside.all() else torch.ones(inside.shape)
    outer, inner = (torch.tensor(distance_transform_edt(mask.numpy())) for mask in (~inside, inside))
    return outer / outer.max() - inner / inner.max()


def by_hand(head: torch.nn.Conv2d, f: Tensor) -> Tensor:
    return torch.stack([(f * head.weight[c]).sum(1) + head.bias[c] for c in range(head.out_channels)], 1)


def dice(z: Tensor, y: Tensor) -> Tensor:
    p, losses = torch.softmax(z, 1).movedim(1, -1)[y != 255], []
    for c in range(z.shape[1]):
        mine = y[y != 255] == c
        losses.append(1 - (2 * p[mine, c].sum() + 1e-5) / ((p[:, c] ** 2).sum() + mine.sum() + 1e-5))
    return sum(losses) / len(losses)
