"""CDMA, derived pair by pair of decoders."""

import math

import torch
from parity.supervised import ramp, sup
from torch import Tensor

from methods.base import Batch, Method

VARIANTS = ("hard_targets", "perturbation", "unlabelled_only")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    fine, deep = (features := method.encoder(torch.cat([batch.x, batch.u])))[:-1], features[-1]
    logits = []
    for decoder in method.decoders:
        shaken = deep
        if method.perturbation:
            shaken = deep + deep * torch.empty_like(deep).uniform_(-0.3, 0.3)
        logits.append(decoder([*fine, shaken]))
    seen = logits if method.on == "all" else [z[len(batch.x) :] for z in logits]
    strength = 0.1 * (ramp(t) if method.schedule == "ramp" else 1.0)
    one, two, three = seen
    teach = hard if method.temperature == 0 else lambda s, z: soft(s, z, method.temperature)
    pairs = [(one, two), (one, three), (two, one), (two, three), (three, one), (three, two)]
    mean = (one.softmax(1) + two.softmax(1) + three.softmax(1)) / 3
    return {
        "sup": (sum(sup(z[: len(batch.x)], batch.y) for z in logits)) / 3,
        "cdkd": strength * sum(teach(student, teacher) for student, teacher in pairs) / 3,
        "um": strength
        * sum(-mean[:, c] * mean[:, c].log() for c in range(mean.shape[1])).mean()
        / math.log(len(mean[0])),
    }


def soft(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student), both softened."""
    p, q = (teacher.detach() / temperature).softmax(1), (student / temperature).softmax(1)
    return temperature**2 * sum(p[:, c] * torch.log(p[:, c] / q[:, c]) for c in range(p.shape[1])).mean()


def hard(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy with the teacher's most likely class."""
    q, winner = student.softmax(1), teacher.detach().argmax(1)
    return -sum(torch.where(winner == c, q[:, c].log(), 0.0) for c in range(q.shape[1])).mean()
