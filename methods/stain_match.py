"""StainMatch (2025, ours): what you are sure of in a slide, you should still see when it is stained differently.

Our name for FixMatch with a strong view made for haematoxylin and eosin, to ask whether the view or the method brings a
gain; https://arxiv.org/abs/1902.06543 is where its view comes from: Tellez et al., "Quantifying the effects of data
augmentation and stain color normalization in convolutional neural networks for computational pathology", Medical Image
Analysis 2019. Related: CSDS (Pham et al., "Learning disentangled stain and structural representations for
semi-supervised histopathology segmentation", COMPAYL at MICCAI 2025, https://arxiv.org/abs/2507.03923) teaches one
student with stain views, another with structure views, from one averaged teacher, weighted by uncertainty. This is not
CSDS: it has one network, one kind of view, and FixMatch's threshold.

ŷ, c = argmax and max over classes of sg p(u); s(u) is the strong view: the optical density is split into haematoxylin,
eosin and a third stain, each stain's concentration becomes α · concentration + β with α ~ U(1 ± 0.2), β ~ U(±0.2), with
probability 0.8; then a little light and contrast, blur, and with probability `cutmix` a box of another image.
L = L_sup + weight · mean over ALL unlabelled pixels of 1[c ≥ threshold] · (−ln p_ŷ(s(u))).

Settings: as FixMatch's: `threshold` 0.95, `cutmix` 0.5, `weight` 1. `view` "stain" leaves out light, contrast and blur
(variant "stain_only"); "colour" is FixMatch's own view, and with it this is FixMatch (variant "colour").

Differences from FixMatch: the view and nothing else. Its colour jitter turns hues by up to a quarter and drops colour
altogether, which no laboratory does; the stain view stays within what differs between slides, stainers and scanners.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch
from methods.parts.pseudo import kept_cross_entropy, own_label, paste_neighbour
from methods.parts.views import VIEWS, boxes


@register
class StainMatch(Method):
    title, year, venue, paper = "StainMatch (ours)", 2025, "", "https://arxiv.org/abs/1902.06543"
    own_defaults: ClassVar = ("view",)
    variants: ClassVar = {
        **{"stain_only": {"view": "stain"}, "colour": {"view": "colour"}},
        **{"no_cutmix": {"cutmix": 0.0}, "threshold_80": {"threshold": 0.8}},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 1.0,
        threshold: float = 0.95,
        cutmix: float = 0.5,
        view: Literal["h&e", "stain", "colour"] = "h&e",
    ):
        super().__init__()
        self.net = arch.net()
        self.weight, self.threshold, self.cutmix, self.view = weight, threshold, cutmix, VIEWS[view]

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled = len(batch.x)
        y, surety = own_label(self.net, batch.u)
        view, y, surety = paste_neighbour(boxes(batch.u, p=self.cutmix), self.view(batch.u), y, surety)
        logits = self.net(torch.cat([batch.x, view]))
        return {
            "sup": dice_ce(logits[:labelled], batch.y),
            "stain": self.weight * kept_cross_entropy(logits[labelled:], y, surety >= self.threshold),
        }

    def predict(self, x: Images) -> Logits:
        return self.net(x)
