"""TopoSemiSeg (2024): the student's prediction has the same connected components as the teacher's.

Xu et al., "Semi-supervised segmentation of histopathology images with noise-aware topological consistency", ECCV 2024,
https://arxiv.org/abs/2311.16447

A mean teacher with a strong view for the student, and a loss on connected components. Let f be the foreground
probability 1 − p_0. In each tile, as the level falls, each component of f is born at a pixel b and dies at a saddle d
where it meets a higher component (methods.parts.persistence). Components with f(b) − f(d) > `threshold` are signal, the
others noise. The student's signal is matched with the teacher's signal. With q = sg f_T, and (b', d') the match of
(b, d):
L_topo = Σ over matched (f(b) − q(b'))² + (f(d) − q(d'))², and over all others (f(b) − sg f(d))² + (f(d) − sg f(b))²;
L = L_sup + λ(t) · mean over images, classes and pixels of (p_S(s(u)) − sg p_T(u))²
  + weight_topo · mean over images of the sum over tiles of L_topo, from t = warmup on; λ(t) = weight · ramp(t).

Settings:
- `weight_topo` 0.002, `threshold` 0.7 and `tile` 100, as released.
- `weight` 0.1 and `decay` 0.99, as in Mean Teacher.
- `warmup` 0.25 is our own value: the noise of an untrained network has thousands of components, which cost the most
  time.

Cost: this is the only method here that waits for the device. Each step copies both maps to the host, where threads
compute the tiles.

Differences from the paper and the released code:
- Only the topological loss has been released. The mean teacher and its consistency loss are our own implementation. The
  teacher's average is shorter in short runs (methods.parts.schedule).
- The released loss takes births and deaths from 1 − f, but moves f itself towards them, which moves the peak of a
  matched gland towards 0. Here both are in f.
- The matching is exact, with SciPy, and needs no topology package.
- The highest component of a tile has no saddle; only its birth is in the loss.
- A pixel that belongs to several pairs counts for each of them; the code keeps the last one.
- With several classes, f is the probability of any class except background.
"""

from typing import ClassVar, Literal

from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce, mse, ramp
from methods.parts.nets import Arch, in_one_pass
from methods.parts.persistence import pulls
from methods.parts.pseudo import log_probabilities
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher
from methods.parts.views import strong


@register
class TopoSemi(Method):
    title, year, venue, paper = "TopoSemiSeg", 2024, "ECCV", "https://arxiv.org/abs/2311.16447"
    strong_views = True
    own_defaults: ClassVar = ("warmup",)
    variants: ClassVar = {
        **{"no_topo": {"weight_topo": 0.0}, "only_topo": {"weight": 0.0}, "no_warmup": {"warmup": 0.0}},
        **{"student_predicts": {"predicts": "student"}, "published_decay": {"adapt_decay": False}},
    }
    tuned: ClassVar = {"threshold": (0.3, 0.95)}
    capturable = False  # the persistence is computed on the host

    def __init__(
        self, arch: Arch, *, weight: float = 0.1, weight_topo: float = 0.002, threshold: float = 0.7, tile: int = 100,
        warmup: float = 0.25, ramp: float = 1.0, decay: float = 0.99, adapt_decay: bool = True,
        predicts: Literal["teacher", "student"] = "teacher",
    ):  # fmt: skip
        super().__init__()
        self.student, self.view = arch.net(), arch.view(strong)
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.weight_topo, self.threshold, self.tile = weight, weight_topo, threshold, tile
        self.predicts = predicts
        self.warmup = adapted_share(warmup, arch.steps)
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        z, z_view = in_one_pass(self.student, batch.x, self.view(batch.u))
        p, q = log_probabilities(z_view).exp(), log_probabilities(self.teacher(batch.u)).exp()
        topo = z.new_zeros(())
        if self.weight_topo and len(batch.u):
            f = 1 - p[:, 0]
            count, total, square = pulls(f.detach(), 1 - q[:, 0], t >= self.warmup, self.threshold, self.tile)
            topo = (count * f.square() - 2 * total * f + square).sum() / len(f)
        return {
            "sup": dice_ce(z, batch.y),
            "consistency": self.weight * ramp(t, self.ramp) * mse(p, q),
            "topo": self.weight_topo * topo,
        }

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
