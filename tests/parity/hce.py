"""HCE, derived image by image in its second form: squares weighted by the teacher's trust."""

import math

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts import perturb

DROPOUT = 0.0
VARIANTS = ("detached", "not_rectified")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    encode, main = method.student.encoder, method.student.decoder
    labelled, features = [encode(image[None]) for image in batch.x], encode(batch.u)
    p = main(features).softmax(1)
    damaged = [perturb.noise(features), perturb.dropout(features), perturb.drop_active(features)]
    noise = torch.clamp(torch.randn_like(batch.u) / 10, -0.2, 0.2)
    stop = Tensor.detach if method.detach else lambda values: values
    learnable, guided = [], []
    for i, image in enumerate(batch.u):
        q = method.teacher.net((image + noise[i])[None]).softmax(1)[0].detach()
        doubt = -sum(row * torch.log(row) for row in q) / math.log(len(q)) if method.rectified else torch.zeros(())
        for c in range(len(q)):
            gap = p[i, c] - q[c]
            weighted = (gap - doubt * stop(gap)) ** 2  # with gradients through both: (1 − doubt)² · gap²
            learnable.append(weighted.mean())
    for decoder, maps in zip(method.auxiliary, damaged, strict=True):
        r = decoder(maps).softmax(1)
        guided += [((r[i, c] - stop(p[i, c])) ** 2).mean() for i in range(len(p)) for c in range(p.shape[1])]
    heads = [main, *method.auxiliary]
    return {
        "sup": sum(sup(torch.cat([head(maps) for maps in labelled]), batch.y) for head in heads) / len(heads),
        "learnable": 0.1 * ramp(t) * sum(learnable) / len(learnable),
        "self": 0.1 * ramp(t) * sum(guided) / len(guided),
    }
