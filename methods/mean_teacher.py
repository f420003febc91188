"""Mean Teacher (2017): the student agrees with an averaged teacher under input noise.

Tarvainen & Valpola, "Mean teachers are better role models: weight-averaged consistency targets improve semi-supervised
deep learning results", NeurIPS 2017, https://arxiv.org/abs/1703.01780

L = L_sup + λ(t) · mean over unlabelled images, classes and pixels of (p_S(u) − sg p_T(u + n))²,
with the noise n = clip(noise · N(0, 1), ±2 · noise) and λ(t) = weight · ramp(t); sg is stop-gradient. After each step
the teacher follows the student: θ_T ← a θ_T + (1 − a) θ_S with a = min(1 − 1/(k + 1), decay) at update k.

Settings: `weight` 0.1, `decay` 0.99, `noise` 0.1 and `ramp` over the whole training, as in the usual segmentation port.

Differences from the paper and the released code:
- The consistency loss uses unlabelled images only, as in the port; the paper uses all images.
- The noise is added to images in [0, 1], before normalisation, so that it does not depend on the encoder.
- The port leaves the consistency loss out for the first 1/30 of training. It is kept here, because the ramp is below
  0.01 there.
- The teacher also averages buffers, and it predicts without dropout, so that n is the only noise in its targets.
- In short runs the average is shorter (methods.parts.schedule; variant "published_decay" keeps 0.99).
- The teacher predicts, as the paper recommends; the port evaluates the student (variant "student_predicts").
"""

from typing import ClassVar, Literal

from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.consistency import jitter, probabilities
from methods.parts.losses import dice_ce, mse, ramp
from methods.parts.nets import Arch, in_one_pass
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
        z, z_u = in_one_pass(self.student, batch.x, batch.u)
        target = probabilities(self.teacher(jitter(batch.u, self.noise)))
        consistency = mse(probabilities(z_u), target)
        return {"sup": dice_ce(z, batch.y), "consistency": self.weight * ramp(t, self.ramp) * consistency}

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
