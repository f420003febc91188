"""HCE (2022), re-implemented: targets rectified by the teacher's uncertainty; consistency of perturbed features.

Jin et al., "Semi-supervised histological image segmentation via hierarchical consistency enforcement", MICCAI 2022,
LNCS 13432, https://doi.org/10.1007/978-3-031-16434-7_1

The authors' repository does not contain the code of this method. This is a re-implementation from the abstract and from
their later work (PG-FANet). Its scores are not those of the authors' program.

One encoder, a main decoder and K auxiliary decoders on perturbed features of all levels. p is the softmax of the main
decoder, p_k that of the auxiliary decoders, q that of the teacher on noisy images, and v = H(q) / ln C the teacher's
uncertainty at each pixel:
L = L_sup + λ(t) (L_learnable + L_self), with λ(t) = weight · ramp(t), means over unlabelled images, classes and pixels,
L_learnable = mean (p − r)², where r = (1 − v) sg q + v p is the rectified target; this is mean (1 − v)² (p − sg q)²,
L_self      = (1/K) Σ_k mean (p_k − p)², with gradients through both sides,
L_sup       = mean over the K + 1 decoders of ½ CE + ½ Dice.
The teacher averages encoder and main decoder. The main decoder predicts.

Settings: weights 0.1, `decay` 0.99, `ramp` over the whole training, and gradients through both targets (`detach` stops
them), as in the later code; `noise` 0.1 as in Mean Teacher. K = 3: noise, dropout, and dropping the most active places.

Differences from the later code, because the paper's code is not available:
- The uncertainty is divided by ln C. In the later code it can exceed 1 with three classes or more, and the weight
  1 − v can be negative.
- Every unlabelled image is perturbed; the later code applies noise and dropping to half of them.
- Auxiliary decoders learn labels from unperturbed features, so that labelled images train every method in the same way.
  Their losses are averaged, not added, so that the learning rate has the same meaning.
- The noise is always in the teacher's input; the later code chooses between student and teacher at random. The teacher
  is in evaluation mode and follows the student as in Mean Teacher; in the later code its decay is (1 + k) / (10 + k)
  at first.
- Their loss on the variance within instances is a supervised loss, and is left out.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts import perturb
from methods.parts.consistency import jitter, perturbed_from, probabilities
from methods.parts.losses import dice_ce, mean, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher

PERTURBATIONS = (perturb.noise, perturb.dropout, perturb.drop_active)


@register
class Hce(Method):
    title, year, venue, paper = "HCE (re-impl.)", 2022, "MICCAI", "https://doi.org/10.1007/978-3-031-16434-7_1"
    variants: ClassVar = {
        **{f"no_{term}": {f"weight_{term}": 0.0} for term in ("learnable", "self")},
        **{"not_rectified": {"rectified": False}, "detached": {"detach": True}},
        **{"teacher_predicts": {"predicts": "teacher"}, "published_decay": {"adapt_decay": False}},
    }
    tuned: ClassVar = {"noise": (0.02, 0.5)}

    def __init__(
        self, arch: Arch, *, weight_learnable: float = 0.1, weight_self: float = 0.1, noise: float = 0.1,
        decay: float = 0.99, adapt_decay: bool = True, ramp: float = 1.0, rectified: bool = True, detach: bool = False,
        predicts: Literal["student", "teacher"] = "student",
    ):  # fmt: skip
        super().__init__()
        self.student = arch.net()
        self.auxiliary = nn.ModuleList(arch.decoder() for _ in PERTURBATIONS)
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight_learnable, self.weight_self = weight_learnable, weight_self
        self.ramp = adapted_share(ramp, arch.steps)
        self.noise, self.rectified, self.detach, self.predicts = noise, rectified, detach, predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, features = len(batch.x), self.student.encoder(torch.cat([batch.x, batch.u]))
        main = self.student.decoder(features)
        auxiliary = [
            decoder(perturbed_from(features, labelled, change))
            for decoder, change in zip(self.auxiliary, PERTURBATIONS, strict=True)
        ]
        p, q = probabilities(main[labelled:]), probabilities(self.teacher(jitter(batch.u, self.noise)))
        guide = p.detach() if self.detach else p
        uncertainty = torch.special.entr(q).sum(1, keepdim=True) / math.log(q.shape[1]) if self.rectified else 0.0
        learnable = mean((p - torch.lerp(q, guide, uncertainty)).square())
        self_guided = sum(mean((probabilities(z[labelled:]) - guide).square()) for z in auxiliary) / len(auxiliary)
        return {
            "sup": sum(dice_ce(z[:labelled], batch.y) for z in (main, *auxiliary)) / (len(auxiliary) + 1),
            "learnable": self.weight_learnable * ramp(t, self.ramp) * learnable,
            "self": self.weight_self * ramp(t, self.ramp) * self_guided,
        }

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
