"""FixMatch (2020): what you are sure of in an image, you should still see when its colours change.

Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and confidence", NeurIPS 2020,
https://arxiv.org/abs/2001.07685; its form for segmentation is the baseline of Yang et al., "Revisiting weak-to-strong
consistency in semi-supervised semantic segmentation" (UniMatch), CVPR 2023, https://arxiv.org/abs/2208.09910

ŷ, c = argmax and max over classes of sg p(u); s(u) is a strong view: colour jitter or grey, blur, and with probability
`cutmix` a box of another image, whose ŷ and c are pasted with it.
L = L_sup + weight · mean over ALL unlabelled pixels of 1[c ≥ threshold] · (−ln p_ŷ(s(u))).

Settings: `threshold` 0.95, `cutmix` 0.5, `weight` 1, as released; no ramp, the threshold is one. `loss` "dice" (variant
"medical") is Dice over the sure pixels, the form of UniMatch for medical images; variant "threshold_0" is the one for
Cityscapes; "threshold_85" is near the one that CorrMatch uses in short runs, so that CorrMatch can be compared with it.

Differences from the released code:
- Labels come from one pass without dropout and gradient, so that a step forwards each unlabelled image twice and not
  four times.
- CutMix partners are the predecessors in the batch; the code forwards a second batch, and by its samplers' equal order
  pastes another crop of the same image.
- The code halves both terms, which is a learning rate; the weak views are the harness's, the same for all methods.
- A widespread port zeroes unsure pixels before the argmax, so that they become background, and its threshold is on
  rescaled probabilities. Here a pixel below the threshold has no loss.

With three labelled images of the built-in tissue CutMix costs it Dice, as variant "no_cutmix" shows for one seed;
probably because boxes cut glands open, and an inside without its wall looks like what surrounds it.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch
from methods.parts.pseudo import kept_cross_entropy, kept_dice, own_label, paste_neighbour
from methods.parts.views import boxes, strong

LOSSES = {"ce": kept_cross_entropy, "dice": kept_dice}


@register
class FixMatch(Method):
    title, year, venue, paper = "FixMatch", 2020, "NeurIPS", "https://arxiv.org/abs/2001.07685"
    variants: ClassVar = {
        **{"medical": {"loss": "dice"}, "no_cutmix": {"cutmix": 0.0}},
        **{f"threshold_{percent}": {"threshold": percent / 100} for percent in (0, 80, 85)},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 1.0,
        threshold: float = 0.95,
        cutmix: float = 0.5,
        loss: Literal["ce", "dice"] = "ce",
    ):
        super().__init__()
        self.net = arch.net()
        self.weight, self.threshold, self.cutmix, self.loss = weight, threshold, cutmix, LOSSES[loss]

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled = len(batch.x)
        y, surety = own_label(self.net, batch.u)
        view, y, surety = paste_neighbour(boxes(batch.u, p=self.cutmix), strong(batch.u), y, surety)
        logits = self.net(torch.cat([batch.x, view]))
        return {
            "sup": dice_ce(logits[:labelled], batch.y),
            "strong": self.weight * self.loss(logits[labelled:], y, surety >= self.threshold),
        }

    def predict(self, x: Images) -> Logits:
        return self.net(x)
