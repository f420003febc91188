"""MC-Net+, derived pair by pair of decoders, with the sharpening as a power of probabilities."""

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method

VARIANTS = ("detached", "mc_net", "unlabelled_only", "not_sharpened")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    features = method.encoder(torch.cat([batch.x, batch.u]))
    logits = [decoder(features) for decoder in method.decoders]
    seen = [z if method.on == "all" else z[len(batch.x) :] for z in logits]
    gaps = []
    for i, student in enumerate(seen):
        for j, other in enumerate(seen):
            if i != j:
                target = sharpened(other.softmax(1), method.temperature)
                gaps.append(((student.softmax(1) - (target.detach() if method.detach else target)) ** 2).mean())
    return {
        "sup": sum(sup(z[: len(batch.x)], batch.y) for z in logits) / len(logits),
        "mutual": 0.1 * ramp(t) * sum(gaps) / len(logits),
    }


def sharpened(p: Tensor, temperature: float) -> Tensor:
    powers = [p[:, c] ** (1 / temperature) for c in range(p.shape[1])]
    return torch.stack([power / sum(powers) for power in powers], 1)
