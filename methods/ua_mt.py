"""UA-MT (2019): a mean teacher with targets only where the uncertainty of the teacher is low.

Yu et al., "Uncertainty-aware self-ensembling model for semi-supervised 3D left atrium segmentation", MICCAI 2019,
https://arxiv.org/abs/1907.07034

The teacher predicts every unlabelled image `samples` + 1 times, each time with new input noise and with dropout. One
prediction is the target q. The entropy U = H(p̄) of the mean p̄ of the other predictions is the uncertainty:
L = L_sup + λ(t) · Σ m (p_S(u) − sg q)² / (C Σ m), m = 1[U < κ(t)] per pixel, with
κ(t) = (¾ + ¼ ramp(t)) ln C and λ(t) = weight · ramp(t); the noise and θ_T are those of Mean Teacher.

Settings: `weight` 0.1, `samples` 8, `noise` 0.1, `decay` 0.99 and `ramp` over the whole training, all as released.

Differences from the paper and the released code:
- ln C is the largest entropy of C classes, and C Σ m is the number of squared differences. The release and a port use
  the constants ln 2 and 2, which is the same for two classes; with four classes their threshold is half as high.
- In the teacher only dropout is in training mode; the norms stay in evaluation mode. In the code the whole teacher is
  in training mode.
- The nine predictions are computed in one pass; the code uses five. The noise is added to images in [0, 1].
- If the networks have no dropout, the samples differ by the noise only, and the method is close to Mean Teacher.
- The student predicts, as released. A port averages into a copy that it discards, so that its teacher stays zero: then
  U is ln C at every pixel, no pixel is below κ, and the consistency loss is always 0.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.consistency import dropping, jitter, probabilities
from methods.parts.losses import dice_ce, log_mean_softmax, ramp
from methods.parts.nets import Arch, in_one_pass
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
            raise ValueError(f"{samples} samples give no estimate of the teacher's uncertainty; give 1 or more.")
        self.student = arch.net()
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.samples, self.noise = weight, samples, noise
        self.ramp = adapted_share(ramp, arch.steps)
        self.masked, self.predicts = masked, predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        z, z_u = in_one_pass(self.student, batch.x, batch.u)
        target, uncertainty = self.teacher_samples(batch.u)
        limit = (0.75 + 0.25 * ramp(t, self.ramp)) * math.log(z.shape[1])
        mask = (uncertainty < limit) if self.masked else torch.ones_like(uncertainty, dtype=torch.bool)
        squares = (probabilities(z_u) - target).square() * mask
        consistency = squares.sum() / (z.shape[1] * mask.sum()).clamp_min(1)
        return {"sup": dice_ce(z, batch.y), "consistency": self.weight * ramp(t, self.ramp) * consistency}

    def teacher_samples(self, u: Images) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n 1 h w"]]:
        """The probabilities of one prediction, and the entropy of the mean of the other predictions."""
        passes = self.samples + 1
        with dropping(self.teacher):
            logits = self.teacher(jitter(u.repeat(passes, 1, 1, 1), self.noise))
        target, *others = logits.unflatten(0, (passes, len(u)))
        log_mean = log_mean_softmax(others)
        return probabilities(target), -(log_mean.exp() * log_mean).sum(1, keepdim=True)

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
