"""UA-MT (2019): agree with the teacher where it is sure, which it shows by answering alike again and again.

Yu et al., "Uncertainty-aware self-ensembling model for semi-supervised 3D left atrium segmentation", MICCAI 2019,
https://arxiv.org/abs/1907.07034

The teacher sees every unlabelled image `samples` + 1 times, each time with its own noise and with dropout. One answer
is the target q; the mean p̄ of the others has the entropy U = H(p̄), and
L = L_sup + λ(t) · Σ m (p_S(u) − sg q)² / (C Σ m), m = 1[U < κ(t)] per pixel, with
κ(t) = (¾ + ¼ ramp(t)) ln C and λ(t) = weight · ramp(t); noise and θ_T are those of Mean Teacher.

Settings: `weight` 0.1, `samples` 8, `noise` 0.1, `decay` 0.99, `ramp` over the whole training, all as released.

Differences from the paper and from released code:
- ln C is the greatest entropy of C classes, and C Σ m counts squares; the release and a port fix ln 2 and 2, which is
  the same with two classes; with four, the threshold is half as high.
- Only dropout is on in the teacher; its norms stay in evaluation mode, where the code has all of it in training mode.
- The nine passes are one batch, where the code makes five; and noise is measured on [0, 1] images.
- Without dropout in the networks the samples differ by the noise only, and the method is close to Mean Teacher.
- The student predicts, as released. A port averages into a copy that it discards, and its teacher stays zero: then U
  is ln C everywhere, no pixel is below κ, and the term is always 0.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.consistency import dropping, jitter, probabilities
from methods.parts.losses import dice_ce, log_mean_softmax, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher


@register
class UaMt(Method):
    title, year, venue, paper = "UA-MT", 2019, "MICCAI", "https://arxiv.org/abs/1907.07034"
    variants: ClassVar = {
        **{"no_mask": {"masked": False}, "two_samples": {"samples": 2}, "no_noise": {"noise": 0.0}},
        "teacher_predicts": {"predicts": "teacher"},
        "published_decay": {"adapt_decay": False},
    }
    tuned: ClassVar = {"noise": (0.02, 0.5)}

    def __init__(
        self, arch: Arch, *, weight: float = 0.1, samples: int = 8, noise: float = 0.1, decay: float = 0.99,
        adapt_decay: bool = True, ramp: float = 1.0, masked: bool = True,
        predicts: Literal["student", "teacher"] = "student",
    ):  # fmt: skip
        super().__init__()
        if samples < 1:
            raise ValueError(f"{samples} samples say nothing of how sure the teacher is; give 1 or more.")
        self.student = arch.net()
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.samples, self.noise = weight, samples, noise
        self.ramp = adapted_share(ramp, arch.steps)
        self.masked, self.predicts = masked, predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled = len(batch.x)
        logits = self.student(torch.cat([batch.x, batch.u]))
        target, unsure = self.ask_teacher(batch.u)
        limit = (0.75 + 0.25 * ramp(t, self.ramp)) * math.log(logits.shape[1])
        mask = (unsure < limit) if self.masked else torch.ones_like(unsure, dtype=torch.bool)
        squares = (probabilities(logits[labelled:]) - target).square() * mask
        consistency = squares.sum() / (logits.shape[1] * mask.sum()).clamp_min(1)
        return {
            "sup": dice_ce(logits[:labelled], batch.y),
            "consistency": self.weight * ramp(t, self.ramp) * consistency,
        }

    def ask_teacher(self, u: Images) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n 1 h w"]]:
        """One answer's probabilities, and the entropy of the other answers' mean."""
        answers = self.samples + 1
        with dropping(self.teacher):
            logits = self.teacher(jitter(u.repeat(answers, 1, 1, 1), self.noise))
        target, *others = logits.unflatten(0, (answers, len(u)))
        log_mean = log_mean_softmax(others)
        return probabilities(target), -(log_mean.exp() * log_mean).sum(1, keepdim=True)

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
