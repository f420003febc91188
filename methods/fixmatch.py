"""FixMatch (2020): confident predictions on weak views are pseudo-labels for strong views.

Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and confidence", NeurIPS 2020,
https://arxiv.org/abs/2001.07685; its form for segmentation is the baseline of Yang et al., "Revisiting weak-to-strong
consistency in semi-supervised semantic segmentation" (UniMatch), CVPR 2023, https://arxiv.org/abs/2208.09910

ŷ, c = argmax and max over classes of sg p(u). s(u) is the strong view: colour jitter or grey, blur, and with
probability `cutmix` a box of another image; ŷ and c of that box are pasted as well.
L = L_sup + weight · mean over ALL unlabelled pixels of 1[c ≥ threshold] · (−ln p_ŷ(s(u))).

Settings:
- `threshold` 0.95, `cutmix` 0.5 and `weight` 1, as released. There is no ramp, because the threshold has the same role.
- `loss` "dice" (variant "medical") is Dice over the confident pixels, the form of UniMatch for medical images.
- Variant "threshold_0" is the threshold for Cityscapes. Variant "threshold_85" is close to the threshold of CorrMatch
  in short runs, so that CorrMatch can be compared with it.

Differences from the paper and the released code:
- The labels come from one pass without dropout and gradient, so that a step forwards each unlabelled image twice and
  not four times.
- The CutMix partner is the preceding image of the batch. The code forwards a second batch; because both samplers have
  the same order, it pastes another crop of the same image.
- The code halves both terms, which is equivalent to another learning rate. The weak views are those of the harness, the
  same for all methods.
- A widespread port sets the probabilities of unconfident pixels to zero before the argmax, so that these pixels become
  background, and applies its threshold to rescaled probabilities. Here a pixel below the threshold has no loss.

With three labelled images of the built-in tissue, CutMix lowers the Dice score of this method, as variant "no_cutmix"
shows for one seed. A probable reason is that boxes cut glands open, and the inside of a gland without its wall looks
like the surrounding tissue.
"""

from typing import ClassVar, Literal

from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import kept_cross_entropy, kept_dice, own_label, paste_neighbour
from methods.parts.views import boxes, strong

LOSSES = {"ce": kept_cross_entropy, "dice": kept_dice}


@register
class FixMatch(Method):
    title, year, venue, paper = "FixMatch", 2020, "NeurIPS", "https://arxiv.org/abs/2001.07685"
    strong_views = True
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
        self.net, self.view = arch.net(), arch.view(strong)
        self.weight, self.threshold, self.cutmix, self.loss = weight, threshold, cutmix, LOSSES[loss]

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        y, confidence = own_label(self.net, batch.u)
        view, y, confidence = paste_neighbour(boxes(batch.u, p=self.cutmix), self.view(batch.u), y, confidence)
        z, z_view = in_one_pass(self.net, batch.x, view)
        return {"sup": dice_ce(z, batch.y), "strong": self.weight * self.loss(z_view, y, confidence >= self.threshold)}

    def predict(self, x: Images) -> Logits:
        return self.net(x)
