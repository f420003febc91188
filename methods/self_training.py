"""Self-training (2022): supervised training first, then pseudo-labels of the fixed average under strong views.

Yang et al., "ST++: make self-training work better for semi-supervised semantic segmentation", CVPR 2022,
https://arxiv.org/abs/2106.05095: its basic form, ST, as one run.

Until t = `share` the network learns from labelled images, and the teacher is its average. After that the teacher stays
fixed: ŷ = argmax of its logits on u. v(u) is u with colour jitter or grey, blur, and with probability `cutout` a box of
uniform noise, in which ŷ is ignored. L = L_sup until t = `share`, and after that
L = L_sup + weight · mean over unlabelled pixels outside the boxes of (−ln p_ŷ(v(u))), without a threshold.
The student predicts.

Settings: `weight` 1 and `cutout` 0.5, as released; `share` ⅓ and `decay` 0.99 are our own values.

Differences from the paper and the released code:
- The released code trains twice: the student is a new network, with a new optimiser and schedule. Here the student
  continues from its own weights, because a method cannot restart an optimiser, and a new network in the middle of a
  schedule would be at a disadvantage. So the student starts as close to its teacher as possible, which the new network
  is meant to avoid.
- The teacher is the average of the networks of the first part (a shorter average in short runs,
  methods.parts.schedule), because the first part ends at a high learning rate. In the code it ends at rate 0, and the
  best epoch on validation images is kept.
- The first part is a third of the run. In the released runs it is 1 to 14 % of all steps, because both parts have the
  same number of epochs. All steps count: compare with `supervised` at as many steps.
- Labels are computed for crops, in each step. The code labels whole images once, with the mean over five scales and
  their mirror images. The teacher is fixed, so that only the crop and the mean differ.
- The unlabelled pass is also computed before t = `share`, with weight 0, so that every step is the same computation.
- Labelled and unlabelled images have separate means, as in every method here. The code has one mean over a batch with
  about as many labelled as unlabelled images.
- The selection of reliable images is a method of its own, st_plus_plus.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import cross_entropy, dice_ce
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import cut_out
from methods.parts.schedule import adapted_decay
from methods.parts.teacher import Teacher
from methods.parts.views import strong


@register
class SelfTraining(Method):
    title, year, venue, paper = "Self-training (ST)", 2022, "CVPR", "https://arxiv.org/abs/2106.05095"
    strong_views = True
    own_defaults: ClassVar = ("share", "decay")
    variants: ClassVar = {
        **{"share_20": {"share": 0.2}, "share_50": {"share": 0.5}, "no_average": {"decay": 0.0}},
        **{"weak_view": {"strong_view": False}, "teacher_predicts": {"predicts": "teacher"}},
    }
    tuned: ClassVar = {"share": (0.1, 0.7)}

    def __init__(
        self, arch: Arch, *, weight: float = 1.0, share: float = 1 / 3, cutout: float = 0.5, decay: float = 0.99,
        strong_view: bool = True, predicts: Literal["student", "teacher"] = "student",
    ):  # fmt: skip
        super().__init__()
        self.student, self.view = arch.net(), arch.view(strong)
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps))
        self.register_buffer("first_part", torch.ones((), dtype=torch.bool), persistent=False)  # set by each step's t
        self.weight, self.share, self.cutout = weight, share, cutout
        self.strong_view, self.predicts = strong_view, predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        u = batch.u
        self.first_part.copy_(t < self.share)
        y = self.teacher(u).argmax(1)
        view, y = cut_out(u, self.view, y, self.cutout) if self.strong_view else (u, y)
        z, z_view = in_one_pass(self.student, batch.x, view)
        pseudo = torch.where(self.first_part, 0.0, cross_entropy(z_view, y))
        return {"sup": dice_ce(z, batch.y), "pseudo": self.weight * pseudo}

    def after_step(self) -> None:
        self.teacher.update(self.student, self.first_part)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
