"""CPS (2021): two networks with different initial weights give each other pseudo-labels.

Chen et al., "Semi-supervised semantic segmentation with cross pseudo supervision", CVPR 2021,
https://arxiv.org/abs/2106.01226

Two networks of the same architecture have the logits z_1, z_2 and the hard labels ŷ_i = argmax_c z_i:
L = L_sup(z_1) + L_sup(z_2) + λ(t) [CE(z_1, sg ŷ_2) + CE(z_2, sg ŷ_1)], with λ(t) = weight · ramp(t).
L_sup = ½ CE + ½ Dice on the labelled images. The cross terms are the mean over all pixels of labelled and unlabelled
images, without a threshold. The first network predicts.
With `cutmix` the cross terms use unlabelled images only. Both networks label these images without gradient. Three
boxes, together 25 to 50 % of the image, are pasted from a partner, which is the preceding image of the batch, and the
same boxes of the partner's labels are pasted into the labels. Both networks learn from this mixture.

Settings:
- `weight` 1.0 (published: 1.5 on VOC and 6 on Cityscapes; with CutMix 1 and 5).
- `ramp` 0.1; the paper has no ramp. The networks here start with an untrained decoder and would, in short runs, first
  learn each other's noise.
- Variant "paper" is 1.5 without a ramp. Variant "ssl4mis" is the usual medical port: unlabelled images only, 0.1 with a
  ramp over the whole training, which is 15 to 60 times weaker than published.

Differences from the paper and the released code:
- The networks differ by the initial weights of their decoders (and of their encoders, if not pretrained) and by
  dropout, as released. Two equal networks would be self-training; a port that gives both the same seed does this.
- The CutMix partner is another image of the same batch, not of a second batch. So a step has two labelling passes
  instead of four.
- As in the release, networks label with dropout; here nothing else of the training mode changes a prediction.
- The first network is declared as the predicting one in advance. Releases keep the better of the two, which is a
  selection on test scores if it is made on test images.
- Without unlabelled images all cross terms are left out, also those on labelled images: the method is then supervised.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import cross_entropy, dice_ce, log_mean_softmax, ramp
from methods.parts.nets import Arch
from methods.parts.pseudo import paste_neighbour
from methods.parts.schedule import adapted_share
from methods.parts.views import boxes


@register
class Cps(Method):
    title, year, venue, paper = "CPS", 2021, "CVPR", "https://arxiv.org/abs/2106.01226"
    own_defaults: ClassVar = ("weight", "ramp")
    variants: ClassVar = {
        "cutmix": {"cutmix": True},
        "paper": {"weight": 1.5, "ramp": 0.0},
        "ssl4mis": {"weight": 0.1, "ramp": 1.0, "on": "unlabelled"},
        "unlabelled_only": {"on": "unlabelled"},
        "both_predict": {"predicts": "both"},
    }

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 1.0,
        ramp: float = 0.1,
        on: Literal["all", "unlabelled"] = "all",
        cutmix: bool = False,
        predicts: Literal["first", "both"] = "first",
    ):
        super().__init__()
        self.nets = nn.ModuleList([arch.net(), arch.net()])
        self.weight, self.cutmix, self.predicts = weight, cutmix, predicts
        self.ramp = adapted_share(ramp, arch.steps)
        self.on = "unlabelled" if cutmix else on

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, (u, hard) = len(batch.x), self.mixed(batch.u) if self.cutmix else (batch.u, None)
        z1, z2 = (net(torch.cat([batch.x, u])) for net in self.nets)
        first = 0 if self.on == "all" and len(u) else labelled
        y1, y2 = hard or (z1[first:].argmax(1), z2[first:].argmax(1))
        cross = cross_entropy(z1[first:], y2) + cross_entropy(z2[first:], y1)
        return {
            "sup": dice_ce(z1[:labelled], batch.y) + dice_ce(z2[:labelled], batch.y),
            "cross": self.weight * ramp(t, self.ramp) * cross,
        }

    @torch.no_grad()
    def mixed(self, u: Images) -> tuple[Images, tuple[Tensor, Tensor]]:
        """Images with boxes of their partners, and the labels of each network with the same boxes."""
        where = boxes(u, area=(0.25, 0.5), aspect=(0.25, 4), count=3, p=1)
        u, y1, y2 = paste_neighbour(where, u, *(net(u).argmax(1) for net in self.nets))
        return u, (y1, y2)

    def predict(self, x: Images) -> Logits:
        return self.nets[0](x) if self.predicts == "first" else log_mean_softmax([net(x) for net in self.nets])
