"""UniMatch (2023): what you are sure of, see it in two strong views, and through features with holes.

Yang et al., "Revisiting weak-to-strong consistency in semi-supervised semantic segmentation", CVPR 2023,
https://arxiv.org/abs/2208.09910

ŷ, c = argmax and max over classes of sg p(u); s_1(u), s_2(u) are strong views drawn independently (colour jitter or
grey, blur, and with probability `cutmix` a box of another image with its ŷ and c); p_fp(u) is the decoder's prediction
from the weak view's features after dropping half of the channels at every scale. With
ℓ(p, ŷ) = mean over ALL pixels of 1[c ≥ threshold] · (−ln p_ŷ):
L = L_sup + weight_strong · ½ Σ_k ℓ(p(s_k(u)), ŷ) + weight_fp · ℓ(p_fp(u), ŷ).

Settings: ½ and ½ (released: ¼, ¼ and ½ beside a labelled weight of 1, all halved), `threshold` 0.95, `cutmix` 0.5,
`dropout` 0.5, as released; no ramp. Variant "medical" is the form for medical images: ℓ is Dice over the sure pixels
of both views together.

Differences from the released code: the weak view's features come without the network's own dropout, carry the gradient
of the perturbed stream and give the labels, by one encoder pass; the code decodes labelled images' perturbed features
as well and discards them. CutMix partners are the other images of the batch, whose labels are there already; the code
forwards two more batches, which its samplers' equal order makes crops of the same images. DeepLabv3+'s coarse features
are dropped after the pyramid, not before: decoders here share it.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch
from methods.parts.pseudo import kept_cross_entropy, kept_dice, paste_neighbour, pseudo_label, without_dropout
from methods.parts.views import boxes, strong

LOSSES = {"ce": kept_cross_entropy, "dice": kept_dice}


@register
class UniMatch(Method):
    title, year, venue, paper = "UniMatch", 2023, "CVPR", "https://arxiv.org/abs/2208.09910"
    variants: ClassVar = {
        **{"medical": {"loss": "dice"}, "no_fp": {"weight_fp": 0.0}, "no_strong": {"weight_strong": 0.0}},
        **{"no_cutmix": {"cutmix": 0.0}, "threshold_80": {"threshold": 0.8}},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight_strong: float = 0.5,
        weight_fp: float = 0.5,
        threshold: float = 0.95,
        cutmix: float = 0.5,
        dropout: float = 0.5,
        loss: Literal["ce", "dice"] = "ce",
    ):
        super().__init__()
        self.net = arch.net()
        self.weight_strong, self.weight_fp, self.loss = weight_strong, weight_fp, LOSSES[loss]
        self.threshold, self.cutmix, self.dropout = threshold, cutmix, dropout

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, u = len(batch.x), batch.u
        with without_dropout(self.net):
            image, *features = self.net.encoder(u)
            with torch.no_grad():
                y, surety = pseudo_label(self.net.decoder([image, *features]))
        perturbed = self.net.decoder([image, *(F.dropout2d(f, self.dropout) for f in features)])
        twice = torch.cat([u, u])  # partners cross the views: the second view's first image gets a box of the first's
        pasted = boxes(twice, p=self.cutmix), strong(twice), torch.cat([y, y]), torch.cat([surety, surety])
        views, y_views, surety_views = paste_neighbour(*pasted)
        logits = self.net(torch.cat([batch.x, views]))
        of_views = self.loss(logits[labelled:], y_views, surety_views >= self.threshold)
        return {
            "sup": dice_ce(logits[:labelled], batch.y),
            "strong": self.weight_strong * of_views,
            "features": self.weight_fp * self.loss(perturbed, y, surety >= self.threshold),
        }

    def predict(self, x: Images) -> Logits:
        return self.net(x)
