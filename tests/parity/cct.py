"""CCT, derived decoder by decoder."""

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts import perturb

DROPOUT = 0.0
VARIANTS = ("seven", "paper", "ssl4mis")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    features = method.encoder(batch.u)
    main = method.decoder(features)
    winner = main.argmax(1)
    p = main.softmax(1) if not method.detach else main.softmax(1).detach()
    damaged = {
        "noise": lambda decoder: perturb.noise(features),
        "dropout": lambda decoder: perturb.dropout(features),
        "drop_active": lambda decoder: perturb.drop_active(features),
        "vat": lambda decoder: perturb.vat(features, decoder),
        "cut_out": lambda decoder: perturb.cut_out(features, winner),
        "hide_objects": lambda decoder: perturb.hide_objects(features, winner),
        "hide_context": lambda decoder: perturb.hide_context(features, winner),
    }
    squares = []
    for name, decoder in zip(list(damaged)[: len(method.auxiliary)], method.auxiliary, strict=True):
        q = decoder(damaged[name](decoder)).softmax(1)
        squares += [((q[i, c] - p[i, c]) ** 2).mean() for i in range(len(q)) for c in range(q.shape[1])]
    strength = 0.1 * ramp(t) if method.weight == 0.1 else method.weight * ramp(min(t / 0.1, 1.0))
    return {
        "sup": sup(torch.cat([method.decoder(method.encoder(image[None])) for image in batch.x]), batch.y),
        "consistency": strength * sum(squares) / len(squares),
    }
