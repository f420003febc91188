"""ST++, derived image by image."""

import torch
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, strong

VARIANTS = ("share_50", "all_images")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    n, u = len(batch.x), batch.u
    inside, noise, view = boxes(u, p=0.5), torch.rand_like(u), strong(u)
    share = method.ends[2]
    early, middle, first, second = (teacher.net(u).argmax(1) for teacher in method.teachers)
    reliability = [miou(early[i], first[i]) / 2 + miou(middle[i], first[i]) / 2 for i in range(len(u))]
    reliable = [i for i in range(len(u)) if sum(r > reliability[i] for r in reliability) * 2 < len(u)]
    if not method.select:
        reliable = list(range(len(u)))
    for i in range(len(u)):
        view[i][:, inside[i]] = noise[i][:, inside[i]]
    z, surprise = method.student(torch.cat([batch.x, view])), []
    for i in range(len(u)):
        y = first[i] if i in reliable else second[i]
        if i not in reliable and t < share + (1 - share) / 2:
            continue
        log_p = torch.log(torch.softmax(z[n + i], 0))
        for c in range(z.shape[1]):
            surprise += list(-log_p[c][(y == c) & ~inside[i]])
    return {"sup": sup(z[:n], batch.y), "pseudo": (t >= share) * sum(surprise) / len(surprise)}


def miou(one: Tensor, other: Tensor) -> float:
    shares = []
    for c in set(one.flatten().tolist()) | set(other.flatten().tolist()):
        shares.append(((one == c) & (other == c)).sum().item() / ((one == c) | (other == c)).sum().item())
    return sum(shares) / len(shares)
