"""ST++ (2022): self-training in two parts, first on the images on which earlier networks agree with the teacher.

Yang et al., "ST++: make self-training work better for semi-supervised semantic segmentation", CVPR 2022,
https://arxiv.org/abs/2106.05095, as one run.

Four averages of the student stop at t = share/3, 2/3 share, share and (1 + share)/2. ŷ_1 … ŷ_4 are the classes that
they predict on u, and r = ½ [mIoU(ŷ_1, ŷ_3) + mIoU(ŷ_2, ŷ_3)] is the reliability of an image. The half of the images
with the largest r is reliable.
- t < share: L = L_sup.
- share ≤ t < (1 + share)/2: L = L_sup + weight · mean of −ln p_ŷ3(v(u)) over the pixels of the reliable images.
- t ≥ (1 + share)/2: the same over all images, with ŷ_3 on the reliable and ŷ_4 on the other images.
v(u) is u with colour jitter or grey, blur, and with probability `cutout` a box of uniform noise, in which labels are
ignored. The student predicts.

Settings: `weight` 1 and `cutout` 0.5, as released; `share` ⅓ and `decay` 0.99 are our own values, as in self_training.
`select` false treats all images as reliable, so that only the second labelling differs from self_training.

Differences from the paper and the released code:
- The released code trains three networks, one after the other, each with a new optimiser and schedule. Here one student
  goes through all parts, and all steps count: compare with `supervised` at as many steps (see self_training).
- Reliability is that of a crop, among the crops of a batch. The code ranks whole images among all unlabelled images.
- The networks that are compared are averages (shorter ones in short runs, methods.parts.schedule), because the first
  part ends at a high learning rate. The code compares the checkpoints of three epochs, and keeps the best teacher on
  validation images.
- Labels are computed in each step, from one scale. The code labels whole images once, with the mean over five scales
  and their mirror images.
- All four averages label in every step, and before t = `share` with weight 0, so that every step is the same
  computation. A step forwards each unlabelled image five times; the released code reads stored labels.
- Labelled and unlabelled images have separate means, as in every method here.
"""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from methods.base import IGNORE, Batch, Images, Logits, Masks, Method, register
from methods.parts.losses import cross_entropy, dice_ce, one_hot
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import cut_out
from methods.parts.schedule import adapted_decay
from methods.parts.teacher import Teacher
from methods.parts.views import strong


@register
class StPlusPlus(Method):
    title, year, venue, paper = "ST++", 2022, "CVPR", "https://arxiv.org/abs/2106.05095"
    strong_views = True
    own_defaults: ClassVar = ("share", "decay")
    variants: ClassVar = {
        **{"share_20": {"share": 0.2}, "share_50": {"share": 0.5}},
        **{"all_images": {"select": False}, "no_average": {"decay": 0.0}},
    }
    tuned: ClassVar = {"share": (0.1, 0.7)}

    def __init__(
        self, arch: Arch, *, weight: float = 1.0, share: float = 1 / 3, cutout: float = 0.5, decay: float = 0.99,
        select: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.student, self.view = arch.net(), arch.view(strong)
        self.ends = (share / 3, 2 * share / 3, share, (1 + share) / 2)
        decay = adapted_decay(decay, arch.steps)
        self.teachers = nn.ModuleList(Teacher(self.student, decay) for _ in self.ends)
        self.register_buffer("following", torch.ones(len(self.ends), dtype=torch.bool), persistent=False)  # set by t
        self.weight, self.cutout, self.select = weight, cutout, select

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        u = batch.u
        self.following.copy_(torch.stack([t < end for end in self.ends]))
        _, _, first_part, second_part = self.following
        early, middle, first, second = (teacher(u) for teacher in self.teachers)
        classes, early, middle, first, second = first.shape[1], *(z.argmax(1) for z in (early, middle, first, second))
        reliability = agreement(early, first, classes) + agreement(middle, first, classes)
        reliable = (upper_half(reliability) | (not self.select))[:, None, None]
        y = torch.where(reliable, first, second).masked_fill(~reliable & second_part, IGNORE)
        view, y = cut_out(u, self.view, y, self.cutout)
        z, z_view = in_one_pass(self.student, batch.x, view)
        pseudo = torch.where(first_part, 0.0, cross_entropy(z_view, y))
        return {"sup": dice_ce(z, batch.y), "pseudo": self.weight * pseudo}

    def after_step(self) -> None:
        for teacher, active in zip(self.teachers, self.following, strict=True):
            teacher.update(self.student, active)

    def predict(self, x: Images) -> Logits:
        return self.student(x)


def agreement(y: Masks, other: Masks, classes: int) -> Float[Tensor, "n"]:
    """The mean IoU of two masks of each image, over the classes that are in at least one of them."""
    y, other = one_hot(y, classes), one_hot(other, classes)
    both, either = (y & other).sum((2, 3)), (y | other).sum((2, 3))
    return (both / either.clamp_min(1)).sum(1) / (either > 0).sum(1)


def upper_half(values: Float[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """True for the larger half of the values, rounded up; more where values are equal."""
    return (values[None] > values[:, None]).sum(1) < len(values) / 2
