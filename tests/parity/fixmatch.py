"""FixMatch, derived pixel by pixel."""

import math

import torch
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, strong

VARIANTS = ("medical", "no_cutmix", "threshold_80")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    y, surety = labels(method.net, batch.u)
    where = boxes(batch.u, p=method.cutmix)
    view, y, surety = (from_before(values, where) for values in (strong(batch.u), y, surety))
    z = method.net(torch.cat([batch.x, view]))
    labelled = len(batch.x)
    loss = dice_of if method.loss.__name__.endswith("dice") else surprise
    return {"sup": sup(z[:labelled], batch.y), "strong": loss(z[labelled:], y, surety, method.threshold)}


def labels(net: torch.nn.Module, u: Tensor) -> tuple[Tensor, Tensor]:
    """Classes and their probabilities, from the network as it predicts."""
    net.eval()
    p = torch.softmax(net(u).detach(), 1)
    net.train()
    return p.argmax(1), p.amax(1)


def from_before(values: Tensor, where: Tensor) -> Tensor:
    """Each image with the values of the one before it, the first with the last's, inside its boxes."""
    mixed = values.clone()
    for i in range(len(values)):
        for row, column in where[i].nonzero().tolist():
            mixed[i, ..., row, column] = values[i - 1, ..., row, column]
    return mixed


def surprise(z: Tensor, y: Tensor, surety: Tensor, threshold: float) -> Tensor:
    """The sum of −ln p over the sure pixels that have a label, over the number of all."""
    sure = (surety >= threshold) & (y != 255)
    rows, classes = torch.exp(z).movedim(1, -1)[sure], y[sure]
    return -torch.log(rows[range(len(rows)), classes] / rows.sum(1)).sum() / math.prod(y.shape)


def dice_of(z: Tensor, y: Tensor, surety: Tensor, threshold: float) -> Tensor:
    """Dice of each class over the sure pixels, gathered into one row."""
    sure = surety >= threshold
    p, truth = torch.softmax(z, 1).movedim(1, -1)[sure], y[sure]
    losses = []
    for c in range(z.shape[1]):
        overlap, mine, its = p[truth == c, c].sum(), (p[:, c] ** 2).sum(), (truth == c).sum()
        losses.append(1 - (2 * overlap + 1e-5) / (mine + its + 1e-5))
    return sum(losses) / len(losses)
