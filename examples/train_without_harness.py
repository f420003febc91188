"""Train a semi-supervised method in your own loop: only torch and the package `methods` are needed.

python examples/train_without_harness.py
"""

from collections.abc import Iterator

import torch
from torch import Tensor

import methods
from methods.base import Batch, Method
from methods.parts.nets import Arch


def train(name: str, arch: Arch, batches: Iterator[Batch], learning_rate: float = 0.01) -> Method:
    """A method after `arch.steps` optimiser steps, ready for `predict`."""
    method = methods.build(name, arch)
    learnt = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(learnt, learning_rate, momentum=0.9)
    for step in range(arch.steps):
        progress = torch.tensor(step / arch.steps)
        loss = sum(method.losses(next(batches), progress).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step()
    return method.eval()


def discs(count: int, size: int = 64) -> tuple[Tensor, Tensor]:
    """Random images (count, 3, size, size) in [0, 1] with a dark disc each, and their masks (count, size, size)."""
    centre, radius = size * (0.3 + 0.4 * torch.rand(2, count, 1, 1)), size * (0.1 + 0.15 * torch.rand(count, 1, 1))
    place = torch.arange(size, dtype=torch.float32)
    masks = (place[:, None] - centre[0]) ** 2 + (place - centre[1]) ** 2 < radius**2
    images = 0.8 - 0.4 * masks[:, None] + 0.1 * torch.randn(count, 3, size, size)
    return images.clamp(0, 1), masks.long()


def made_up_batches(labelled: int = 4, unlabelled: int = 4) -> Iterator[Batch]:
    """Batches without end. The labelled images are always the same; replace this by your own data."""
    x, y = discs(labelled)
    while True:
        yield Batch(x, y, discs(unlabelled)[0])


@torch.no_grad()
def dice(method: Method, images: Tensor, masks: Tensor) -> float:
    """Dice of the foreground over all pixels."""
    predicted = method.predict(images).argmax(1)
    return float(2 * (predicted * masks).sum() / (predicted + masks).sum())


if __name__ == "__main__":
    torch.manual_seed(0)
    # a tiny network; Arch(steps=…) is the default one
    tiny = Arch("tu-test_efficientnet", weights="none", width=32, dropout=0.0, steps=50)
    trained = train("mean_teacher", tiny, made_up_batches(), learning_rate=0.1)
    print(f"Dice {dice(trained, *discs(16)):.3f}")
