"""Mean Teacher (2017): agree with the average of your own past, seen through noise.

Tarvainen & Valpola, "Mean teachers are better role models: weight-averaged consistency targets improve semi-supervised
deep learning results", NeurIPS 2017, https://arxiv.org/abs/1703.01780

L = L_sup + λ(t) · mean over unlabelled images, classes and pixels of (p_S(u) − sg p_T(u + n))², with
n = clip(noise · N(0, 1), ±2 · noise), λ(t) = weight · ramp(t), and θ_T ← a θ_T + (1 − a) θ_S after each step,
a = min(1 − 1/(k + 1), decay).

Settings: `weight` 0.1, `decay` 0.99, `noise` 0.1 and `ramp` over the whole training, as in the usual segmentation port.

Differences from the paper and from released code:
- Consistency is on unlabelled images only, as in the port; the paper takes all images.
- The noise is measured on [0, 1] images, before normalisation, so that it does not depend on the encoder.
- The port leaves the term out for the first 1/30 of training; the ramp is below 0.01 there, so we do not.
- The teacher averages buffers, too, and predicts without dropout, so that its targets have no noise but n.
- In short runs the average is shorter (methods.parts.schedule; variant "published_decay" keeps 0.99).
- The teacher predicts, as the paper recommends; the port scores the student (variant "student_predicts").
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.consistency import jitter, probabilities
from methods.parts.losses import dice_ce, mse, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher


@register
class MeanTeacher(Method):
    title, year, venue, paper = "Mean Teacher", 2017, "NeurIPS", "https://arxiv.org/abs/1703.01780"
    variants: ClassVar = {
        "student_predicts": {"predicts": "student"},
        "no_noise": {"noise": 0.0},
        "published_decay": {"adapt_decay": False},
    }
    tuned: ClassVar = {"noise": (0.02, 0.5)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 0.1,
        decay: float = 0.99,
        adapt_decay: bool = True,
        noise: float = 0.1,
        ramp: float = 1.0,
        predicts: Literal["teacher", "student"] = "teacher",
    ):
        super().__init__()
        self.student = arch.net()
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.noise, self.predicts = weight, noise, predicts
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled = len(batch.x)
        logits = self.student(torch.cat([batch.x, batch.u]))
        target = probabilities(self.teacher(jitter(batch.u, self.noise)))
        return {
            "sup": dice_ce(logits[:labelled], batch.y),
            "consistency": self.weight * ramp(t, self.ramp) * mse(probabilities(logits[labelled:]), target),
        }

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
