"""URPC, derived scale by scale, with the decoder walked through block by block."""

import torch
import torch.nn.functional as F
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts import perturb

DROPOUT = 0.0
VARIANTS = ("not_rectified", "not_perturbed")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    labelled = [scales(method, image[None], False) for image in batch.x]
    probabilities = [z.softmax(1) for z in scales(method, batch.u, method.perturbed)]
    mean = sum(probabilities) / 4
    consistency = 0.0
    for p in probabilities:
        gap = (mean - p) ** 2
        if not method.rectified:
            consistency = consistency + gap.mean() / 4
            continue
        divergence = sum(mean[:, c] * torch.log(mean[:, c] / p[:, c]) for c in range(p.shape[1]))
        trust = torch.exp(-divergence)
        weighted = sum((gap[:, c] * trust).mean() for c in range(p.shape[1])) / p.shape[1]
        consistency = consistency + (weighted / trust.mean() + divergence.mean()) / 4
    return {
        "sup": sum(sup(torch.cat(scale), batch.y) for scale in zip(*labelled, strict=True)) / 4,
        "consistency": 0.1 * ramp(t) * consistency,
    }


def scales(method: Method, x: Tensor, perturbed: bool) -> list[Tensor]:
    """Logits of the finest scale, then of strides 8, 4 and 2, for images that need no padding."""
    decoder, (_, *skips, deepest) = method.net.decoder, method.net.encoder(x)
    maps = [deepest]
    for block, skip in zip(decoder.blocks, [*skips[::-1], None], strict=True):
        maps.append(block(maps[-1], (2 * maps[-1].shape[2], 2 * maps[-1].shape[3]), skip))
    damages = [perturb.dropout, perturb.drop_active, perturb.noise]
    read = [damage([x, m])[1] if perturbed else m for damage, m in zip(damages, maps[2:5], strict=True)]
    coarse = [head(m) for head, m in zip(method.heads, read, strict=True)]
    return [decoder.head(maps[5]), *(F.interpolate(z, x.shape[2:], mode="bilinear") for z in coarse)]
