"""AugSeg (2023): strong augmentation, with more labelled tissue pasted in where the teacher is less confident.

Zhao et al., "Augmentation matters: a simple-yet-effective approach to semi-supervised semantic segmentation",
CVPR 2023, https://arxiv.org/abs/2212.04976

ŷ, c = argmax and max over classes of p_T(u), from an averaged teacher. v(u) is u after 1 to `operations` of eleven
intensity operations, with strengths from continuous distributions. The confidence of an image is
ρ = mean over its pixels of c · (1 − H(p_T) / ln C). Two boxes are pasted:
1. With probability 1 − ρ, v gets a box of a labelled image, with its labels and c = 1; its area is 1 − Beta(8, 2).
2. Every v(u) gets a box of the result of 1 for another image, with its labels and c; its area is 1 − Beta(4, 4).
L = L_sup + weight · mean over ALL unlabelled pixels of 1[c ≥ threshold] · (−ln p_ŷ(v)).
The teacher predicts, as in the released evaluation (variant "student_predicts").

Settings:
- `weight` 1, `threshold` 0.95 and `operations` 3, as published.
- `decay` 0.996, the smaller of the two published values (Cityscapes; VOC: 0.999), smaller in short runs
  (methods.parts.schedule; variant "published_decay" keeps it).
- Variant "threshold_0": the release switches the threshold off for Cityscapes.

Differences from the paper and the released code:
- The Beta number is drawn for each image, not once for the batch, so that the images of a batch are independent. It is
  computed as an order statistic of uniform numbers (the 8th of 9, the 4th of 7), which never waits for the device.
- Boxes have the proportions of the image, as released, but lie inside it. The code cuts them at the border of the
  image, so that its areas are smaller than drawn.
- In step 2 the partner is the preceding image of the batch, and in step 1 the labelled images are used in order,
  because the order of a batch is random already; the code draws a permutation.
- The teacher follows the student from the first step on, as the true average. In the code it equals the student during
  the whole first epoch.
- The score is that of the last step; the released number is the best of 80 epochs on validation images.
"""

import math
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import kept_cross_entropy, log_probabilities, pseudo_label
from methods.parts.schedule import adapted_decay
from methods.parts.teacher import Teacher
from methods.parts.views import beta, boxes, cutmix, random_intensity


@register
class AugSeg(Method):
    title, year, venue, paper = "AugSeg", 2023, "CVPR", "https://arxiv.org/abs/2212.04976"
    strong_views = True
    variants: ClassVar = {
        **{"no_labels": {"injects": False}, "one_operation": {"operations": 1}, "threshold_0": {"threshold": 0.0}},
        **{"student_predicts": {"predicts": "student"}, "published_decay": {"adapt_decay": False}},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self, arch: Arch, *, weight: float = 1.0, threshold: float = 0.95, operations: int = 3, injects: bool = True,
        decay: float = 0.996, adapt_decay: bool = True, predicts: Literal["teacher", "student"] = "teacher",
    ):  # fmt: skip
        super().__init__()
        self.student = arch.net()
        self.view = arch.view(partial(random_intensity, most=operations))
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.threshold, self.injects, self.predicts = weight, threshold, injects, predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        u, target = batch.u, self.teacher(batch.u)
        y, confidence = pseudo_label(target)
        view, i = self.view(u), torch.arange(len(u), device=u.device) % len(batch.x)
        chosen = (torch.rand(len(u), device=u.device) > image_confidence(target)) & self.injects
        where = boxes(u, area=1 - beta(u, 8, 2), aspect=(1, 1), p=1) & chosen[:, None, None]
        injected = cutmix(view, batch.x[i], where), cutmix(y, batch.y[i], where), confidence.masked_fill(where, 1)
        where = boxes(u, area=1 - beta(u, 4, 4), aspect=(1, 1), p=1)
        mixtures = zip((view, y, confidence), injected, strict=True)
        view, y, confidence = (cutmix(ground, pasted.roll(1, 0), where) for ground, pasted in mixtures)
        z, z_view = in_one_pass(self.student, batch.x, view)
        strong_loss = kept_cross_entropy(z_view, y, confidence >= self.threshold)
        return {"sup": dice_ce(z, batch.y), "strong": self.weight * strong_loss}

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)


def image_confidence(logits: Logits) -> Float[Tensor, "n"]:
    """Mean over an image's pixels of the largest probability · (1 − H / ln C), in [0, 1]."""
    log_p = log_probabilities(logits)
    certainty = 1 + (log_p.exp() * log_p).sum(1) / math.log(logits.shape[1])
    return (log_p.amax(1).exp() * certainty).mean((1, 2))
