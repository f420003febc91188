"""BCP (2023): labelled tissue is pasted into unlabelled images, and unlabelled tissue into labelled images.

Bai et al., "Bidirectional copy-paste for semi-supervised medical image segmentation", CVPR 2023,
https://arxiv.org/abs/2305.00673

A box M has ⅔ of the height and width and a random place; one box is drawn for the batch. Mixed image i of max(l, n)
combines labelled image i mod l and unlabelled image i mod n: if i is even, the labelled image is inside the box, else
outside. Labels are pasted in the same way; those of unlabelled images are ŷ = argmax of the averaged teacher. The even
and the odd images are the two directions d. With R_d(region) = ½ CE + ½ Dice over the pixels of a region only, in all
images of d:
L = ½ Σ_d [R_d(labelled region) + weight · R_d(unlabelled region)], without threshold and ramp.
Before t = warmup the other image is also a labelled one, and L = R(everything). The student predicts.

Settings: `weight` 0.5, `side` ⅔ and `decay` 0.99, as released; `warmup` 0.25, the released 10,000 of 40,000 iterations.

Differences from the paper and the released code:
- There is one stage with a warm-up, in which the teacher already follows the student. The code trains twice, with two
  optimisers, and starts the second stage from the weights of the first that are best on its validation images.
- The largest connected component is not selected. The code keeps only one component of each class in a pseudo-label,
  which is right for a heart and wrong for tissue: an image contains many glands, and all but one would become
  background.
- The two directions are averaged; the code adds them. So "sup" has the scale of every method's supervised loss. The
  ratios of the four regions are as released: in neither direction is a region weighted by its area.
- Both directions are one forward pass, which gives the same result where nothing mixes the images of a batch; the code
  uses two passes.
- The teacher labels in evaluation mode, so that labels have no noise; in the code it keeps its dropout.
- The teacher starts as the true average of the first steps, as in every method here; the code uses the exponential
  average from the first step. In short runs the average is shorter (methods.parts.schedule).
- Any numbers of labelled and unlabelled images are possible; the code needs an even, equal number of both.
- The steps before `warmup` are the same computation with other images, so that a step can be captured once. The labels
  of the teacher are not used there.
- Without unlabelled images, or with weight 0, nothing is pasted: the method is then supervised.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Masks, Method, register
from methods.parts.losses import annotated, dice_ce
from methods.parts.nets import Arch
from methods.parts.pseudo import Kept, kept_cross_entropy, kept_dice
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher
from methods.parts.views import copy_paste_box, cutmix


@register
class Bcp(Method):
    title, year, venue, paper = "BCP", 2023, "CVPR", "https://arxiv.org/abs/2305.00673"
    variants: ClassVar = {
        **{"no_warmup": {"warmup": 0.0}, "equal_weight": {"weight": 1.0}, "half_box": {"side": 0.5}},
        **{"teacher_predicts": {"predicts": "teacher"}, "published_decay": {"adapt_decay": False}},
    }

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 0.5,
        side: float = 2 / 3,
        warmup: float = 0.25,
        decay: float = 0.99,
        adapt_decay: bool = True,
        predicts: Literal["student", "teacher"] = "student",
    ):
        super().__init__()
        self.student = arch.net()
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.side, self.predicts = weight, side, predicts
        self.warmup = adapted_share(warmup, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        x, y, u = batch.x, batch.y, batch.u
        box, nothing = copy_paste_box(x, side=self.side), x.new_zeros(())
        if not self.weight or not len(u):
            return {"sup": dice_ce(self.student(x), y), "unlabelled": nothing}
        i, warming = torch.arange(max(len(x), len(u)), device=x.device), t < self.warmup
        from_x, inside_i, outside_i = box ^ (i % 2 == 1)[:, None, None], i % len(x), (i + 1) % len(x)
        target = self.teacher(u).argmax(1)
        ground = torch.where(warming, x[outside_i], u[i % len(u)])
        y = cutmix(torch.where(warming, y[outside_i], target[i % len(u)]), y[inside_i], from_x)
        logits = self.student(cutmix(ground, x[inside_i], from_x))
        return {
            "sup": torch.where(warming, dice_ce(logits, y), directions(logits, y, from_x)),
            "unlabelled": self.weight * torch.where(warming, nothing, directions(logits, y, ~from_x)),
        }

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)


def directions(logits: Logits, y: Masks, inside: Kept) -> Tensor:
    """The mean of the losses inside of the even and of the odd images; a single image has one direction."""
    parts = [slice(first, None, 2) for first in range(min(len(y), 2))]
    return sum(region(logits[part], y[part], inside[part]) for part in parts) / len(parts)


def region(logits: Logits, y: Masks, inside: Kept) -> Tensor:
    """½ cross entropy + ½ Dice over the annotated pixels inside; 0 if there are none."""
    inside = inside & annotated(y)
    share = inside.float().mean().clamp_min(1 / inside.numel())
    return 0.5 * kept_cross_entropy(logits, y, inside) / share + 0.5 * kept_dice(logits, y, inside)
