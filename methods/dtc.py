"""DTC (2021): the same tissue as classes and as distances to its border; the two tasks are to agree.

Luo et al., "Semi-supervised medical image segmentation through dual-task consistency", AAAI 2021,
https://arxiv.org/abs/2009.04448

A network's last convolution gives p, the softmax over C classes; a second one gives each class but background a signed
distance d = tanh(·). With D that of the truth to its border, < 0 inside, over its greatest value inside and outside,
L = L_sup + distance · mean (d − D)² + λ(t) · mean over images, classes 1 … C − 1 and pixels of (σ(−slope · d) − p)²,
where σ(−slope · d) is the mask that distances say; the second term, on labelled images, is part of "sup", the last is
on all images, with gradients through both sides; λ(t) = weight · ramp(t).

Settings: `distance` 0.3, `weight` 1, `slope` 1500, `ramp` over the whole training, as released.

Differences from the paper and from released code:
- Each class but background has its own distances; the release has one foreground class.
- D of a border's inner pixels is 0 in the code, a mask of ½; here it keeps its sign. D of an absent class is 0 there,
  and 1 here; of a class that is all there is, −1. All are computed exactly and on the device; the code asks SciPy.
- Pixels that are not annotated are background in the distance maps of the others, and have no loss themselves.
- D is relative to the crop, as released: harder to learn with many glands in an image than with one whole organ.
- On the built-in recipes for a CPU it falls below `supervised` on EBHI-Seg while `weight` rises to 1; a tenth of it
  gives most of the loss back. With a slope of 1500 the masks of half-learnt distances are hard, and wrong.
- In bf16 the slope magnifies what was rounded, and the gradient is another one than in float32, as it is for no other
  method here. Take --precision float32 for it.
- Without unlabelled images consistency is left out, that on labelled images too: the method is then supervised.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.consistency import probabilities
from methods.parts.distance import signed_distances
from methods.parts.losses import annotated, dice_ce, mean, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_share


@register
class Dtc(Method):
    title, year, venue, paper = "DTC", 2021, "AAAI", "https://arxiv.org/abs/2009.04448"
    variants: ClassVar = {"no_distance": {"distance": 0.0}, "unlabelled_only": {"on": "unlabelled"}}
    tuned: ClassVar = {"distance": (0.03, 3.0)}

    def __init__(
        self, arch: Arch, *, weight: float = 1.0, distance: float = 0.3, slope: float = 1500.0, ramp: float = 1.0,
        on: Literal["all", "unlabelled"] = "all",
    ):  # fmt: skip
        super().__init__()
        self.classes, self.net = arch.classes, arch.net()
        *before, classify = self.net.decoder.head
        both = Both([classify, nn.Conv2d(classify.in_channels, arch.classes - 1, 1)])
        self.net.decoder.head = nn.Sequential(*before, both)
        self.weight, self.distance, self.slope, self.on = weight, distance, slope, on
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, outputs = len(batch.x), self.net(torch.cat([batch.x, batch.u]))
        logits, distances = outputs.split((self.classes, self.classes - 1), 1)
        distances = distances.to(torch.promote_types(distances.dtype, torch.float32)).tanh()
        known = annotated(batch.y).unsqueeze(1)
        wrong = (distances[:labelled] - signed_distances(batch.y, self.classes)).square() * known
        wrong = wrong.sum() / (known.sum() * wrong.shape[1]).clamp_min(1)
        start = 0 if self.on == "all" and len(batch.u) else labelled
        masks = (-self.slope * distances[start:]).sigmoid()
        consistency = mean((masks - probabilities(logits[start:])[:, 1:]).square())
        return {
            "sup": dice_ce(logits[:labelled], batch.y) + self.distance * wrong,
            "consistency": self.weight * ramp(t, self.ramp) * consistency,
        }

    def predict(self, x: Images) -> Logits:
        return self.net(x)[:, : self.classes]


class Both(nn.ModuleList):
    """The outputs of several heads, one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([head(x) for head in self], 1)
