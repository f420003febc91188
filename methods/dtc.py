"""DTC (2021): the predicted classes and the predicted signed distances to their borders agree.

Luo et al., "Semi-supervised medical image segmentation through dual-task consistency", AAAI 2021,
https://arxiv.org/abs/2009.04448

The last convolution of a network gives p, the softmax over C classes. A second convolution gives a signed distance
d = tanh(·) for each class except background. D is the signed distance to the border in the mask, < 0 inside, divided
separately inside and outside by its largest value there:
L = L_sup + distance · mean (d − D)² + λ(t) · mean over images, classes 1 … C − 1 and pixels of (σ(−slope · d) − p)².
σ(−slope · d) is the mask that corresponds to the distances. The second term uses labelled images and is part of "sup".
The last term uses all images, with gradients through both sides; λ(t) = weight · ramp(t).

Settings: `distance` 0.3, `weight` 1, `slope` 1500 and `ramp` over the whole training, as released.

Differences from the paper and the released code:
- Each class except background has its own distances; the release has one foreground class.
- In the code D is 0 at the inner pixels of a border, which corresponds to a mask of ½; here it keeps its sign. For an
  absent class D is 0 in the code and 1 here; for a class that fills the whole crop D is −1 here. All distances are
  exact and computed on the device; the code uses SciPy.
- Pixels that are not annotated count as background in the distance maps of other pixels, and have no loss themselves.
- D is relative to the crop, as released. This is harder to learn with many glands in an image than with one organ.
- With the built-in recipes for a CPU, the score on EBHI-Seg falls below that of `supervised` while `weight` rises to 1;
  a tenth of that weight recovers most of the loss. With a slope of 1500, the masks of distances that are not yet well
  learnt are hard and wrong.
- In bf16 the slope amplifies rounding errors, and the gradient differs from that in float32, which is the case for no
  other method here. Use --precision float32 for this method.
- Without unlabelled images the consistency loss is left out, also on labelled images: the method is then supervised.
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
        is_annotated = annotated(batch.y).unsqueeze(1)
        distance_loss = (distances[:labelled] - signed_distances(batch.y, self.classes)).square() * is_annotated
        distance_loss = distance_loss.sum() / (is_annotated.sum() * distance_loss.shape[1]).clamp_min(1)
        start = 0 if self.on == "all" and len(batch.u) else labelled
        masks = (-self.slope * distances[start:]).sigmoid()
        consistency = mean((masks - probabilities(logits[start:])[:, 1:]).square())
        return {
            "sup": dice_ce(logits[:labelled], batch.y) + self.distance * distance_loss,
            "consistency": self.weight * ramp(t, self.ramp) * consistency,
        }

    def predict(self, x: Images) -> Logits:
        return self.net(x)[:, : self.classes]


class Both(nn.ModuleList):
    """Several heads on the same input; their outputs are concatenated along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([head(x) for head in self], 1)
