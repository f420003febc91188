"""BCP, derived region by region."""

import torch
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import copy_paste_box

VARIANTS = ("half_box", "no_warmup")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    inside = copy_paste_box(batch.x, side=method.side)[0]
    pseudo = method.teacher.net(batch.u).softmax(1).argmax(1)
    images, truth, labelled = [], [], []
    for i in range(max(len(batch.x), len(batch.u))):
        a, b = i % len(batch.x), i % len(batch.u)
        labelled.append(inside if i % 2 == 0 else ~inside)
        image, mask = batch.u[b].clone(), pseudo[b].clone()
        image[:, labelled[i]], mask[labelled[i]] = batch.x[a][:, labelled[i]], batch.y[a][labelled[i]]
        images.append(image)
        truth.append(mask)
    z, y, mine = method.student(torch.stack(images)), torch.stack(truth), torch.stack(labelled)
    one, two = slice(0, None, 2), slice(1, None, 2)
    of_labels = of_row(z[one], y[one], mine[one]) + of_row(z[two], y[two], mine[two])
    of_pseudo = of_row(z[one], y[one], ~mine[one]) + of_row(z[two], y[two], ~mine[two])
    return {"sup": of_labels / 2, "unlabelled": of_pseudo / 4}


def of_row(z: Tensor, y: Tensor, chosen: Tensor) -> Tensor:
    """The supervised loss of the chosen pixels, laid in one row."""
    return sup(z.movedim(1, -1)[chosen].T[None, :, None], y[chosen][None, None])
