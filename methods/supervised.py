"""Supervised (2015): training on the labelled images only.

Ronneberger et al., "U-Net", MICCAI 2015, https://arxiv.org/abs/1505.04597, for the form with the U-Net.

L = ½ CE + ½ Dice on the labelled images. Cross entropy is the mean over pixels. Dice sums over all pixels of the batch,
with squared denominators, and is the mean over all classes (methods.parts.losses.dice_ce). With a labelled fraction
below 1 this is the lower bound of a comparison; with 1 it is the upper bound.

Differences from the literature:
- Both bounds use as many labelled images per step as every other method, and the same augmentation. Released
  comparisons often give the lower bound twice as many.
"""

from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch


@register
class Supervised(Method):
    title, year, venue, paper = "Supervised", 2015, "", "https://arxiv.org/abs/1505.04597"
    uses_unlabelled = False

    def __init__(self, arch: Arch):
        super().__init__()
        self.net = arch.net()

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        return {"sup": dice_ce(self.net(batch.x), batch.y)}

    def predict(self, x: Images) -> Logits:
        return self.net(x)
