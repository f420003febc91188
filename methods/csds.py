"""CSDS (2025), a reconstruction: a stain and a structure student learn from one teacher, weighted by its uncertainty.

Pham et al., "Learning disentangled stain and structural representations for semi-supervised histopathology
segmentation", COMPAYL at MICCAI 2025, https://arxiv.org/abs/2507.03923

Only the abstract could be read: two students, one on stain-augmented and one on structure-augmented inputs; one
averaged teacher that gives pseudo-labels to both; a stain-aware and a structure-aware uncertainty that change how much
each student contributes. The formulas below are ours. Results of this file are not results of the paper.

v_1(u) changes the stain only: concentrations of haematoxylin, eosin and a third stain. v_2(u) keeps the stain and
changes the structure: blur, and with probability `cutmix` a box of another image. With the same box pasted into the
labels, ŷ_j = argmax p_T(u), and the uncertainty of a pixel is how much the teacher changes under that kind of view,
U_j = KL(p_T(u) ‖ p_T(v_j(u))):
L = ½ Σ_j [L_sup(student j) + λ(t) · mean over ALL unlabelled pixels of e^(−U_j) · (−ln p_ŷj(student j, v_j(u)))],
λ(t) = weight · ramp(t). The students start with the same weights and the teacher follows them in turn, so that it is
the average of both. The teacher predicts.

Settings, none of them published: `weight` 1, `ramp` 0.25, `decay` 0.99 and `cutmix` 0.5 as in related methods (AD-MT,
FixMatch). In short runs average and ramp are adapted (methods.parts.schedule).
- `uncertainty` false gives all pixels the weight 1. `predicts` "student" is the stain student.
- Variant "both_stain" gives both students the stain view.

Differences from the paper and the released code:
- Unknown, because neither could be read: how one average follows two students, both kinds of augmentation and their
  strengths, both uncertainties, the losses, their weights and ramps, the decay, and which network predicts.
"""

import copy
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce, ramp
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import kept_cross_entropy, log_probabilities, paste_neighbour
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher
from methods.parts.views import boxes, random_blur, random_stain


@register
class Csds(Method):
    title, year, venue, paper = "CSDS (rec.)", 2025, "COMPAYL", "https://arxiv.org/abs/2507.03923"
    own_defaults: ClassVar = ("weight", "ramp", "decay", "cutmix")
    variants: ClassVar = {
        **{"no_uncertainty": {"uncertainty": False}, "no_cutmix": {"cutmix": 0.0}, "constant": {"ramp": 0.0}},
        **{"both_stain": {"second": "stain"}, "student_predicts": {"predicts": "student"}},
    }

    def __init__(
        self, arch: Arch, *, weight: float = 1.0, ramp: float = 0.25, decay: float = 0.99, cutmix: float = 0.5,
        uncertainty: bool = True, second: Literal["structure", "stain"] = "structure",
        predicts: Literal["teacher", "student"] = "teacher",
    ):  # fmt: skip
        super().__init__()
        student = arch.net()
        self.students = nn.ModuleList([student, copy.deepcopy(student)])
        self.teacher = Teacher(student, adapted_decay(decay, arch.steps))
        self.ramp = adapted_share(ramp, arch.steps)
        self.weight, self.cutmix, self.uncertainty = weight, cutmix, uncertainty
        self.second, self.predicts = second, predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        u, target = batch.u, log_probabilities(self.teacher(batch.u))
        stained = random_stain(u), target
        if self.second == "structure":
            changed = paste_neighbour(boxes(u, p=self.cutmix), random_blur(u), target)
        else:
            changed = random_stain(u), target
        sup, pseudo = [], []
        for student, (view, log_p) in zip(self.students, (stained, changed), strict=True):
            z, z_view = in_one_pass(student, batch.x, view)
            moved = (log_p.exp() * (log_p - log_probabilities(self.teacher(view)))).sum(1)
            kept = torch.exp(-moved) if self.uncertainty else torch.ones_like(moved)
            sup.append(dice_ce(z, batch.y))
            pseudo.append(kept_cross_entropy(z_view, log_p.argmax(1), kept))
        strength = self.weight * ramp(t, self.ramp)
        return {"sup": sum(sup) / 2, "pseudo": strength * sum(pseudo) / 2}

    def after_step(self) -> None:
        first, second = self.students
        turn = self.teacher.updates % 2 == 0
        self.teacher.update(first, turn)
        self.teacher.update(second, ~turn)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.students[0](x)
