"""UniMatch (2023): FixMatch with two strong views and a view of perturbed features.

Yang et al., "Revisiting weak-to-strong consistency in semi-supervised semantic segmentation", CVPR 2023,
https://arxiv.org/abs/2208.09910

ŷ, c = argmax and max over classes of sg p(u). s_1(u), s_2(u) are strong views drawn independently (colour jitter or
grey, blur, and with probability `cutmix` a box of another image with its ŷ and c). p_fp(u) is the prediction of the
decoder from the features of the weak view after dropout of half of the channels at every scale. With
ℓ(p, ŷ) = mean over ALL pixels of 1[c ≥ threshold] · (−ln p_ŷ):
L = L_sup + weight_strong · ½ Σ_k ℓ(p(s_k(u)), ŷ) + weight_fp · ℓ(p_fp(u), ŷ).

Settings:
- Weights ½ and ½ (released: ¼, ¼ and ½ beside a labelled weight of 1, all halved), `threshold` 0.95, `cutmix` 0.5 and
  `dropout` 0.5, as released; there is no ramp.
- Variant "medical" is the form for medical images: ℓ is Dice over the confident pixels of both views together.

Differences from the paper and the released code:
- One encoder pass on the weak view, without the network's own dropout, gives the labels and the features of p_fp, with
  gradient. The code also decodes the perturbed features of labelled images and discards the result.
- CutMix partners are other images of the same batch, because their labels are available. The code forwards two more
  batches; because all samplers have the same order, these are crops of the same images.
- With DeepLabv3+ the dropout of the coarse features comes after the pyramid, not before it, because the decoders here
  share the pyramid.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import kept_cross_entropy, kept_dice, paste_neighbour, pseudo_label, without_dropout
from methods.parts.views import boxes, strong

LOSSES = {"ce": kept_cross_entropy, "dice": kept_dice}


@register
class UniMatch(Method):
    title, year, venue, paper = "UniMatch", 2023, "CVPR", "https://arxiv.org/abs/2208.09910"
    strong_views = True
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
        self.net, self.view = arch.net(), arch.view(strong)
        self.weight_strong, self.weight_fp, self.loss = weight_strong, weight_fp, LOSSES[loss]
        self.threshold, self.cutmix, self.dropout = threshold, cutmix, dropout

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        u = batch.u
        with without_dropout(self.net):
            image, *features = self.net.encoder(u)
            with torch.no_grad():
                y, confidence = pseudo_label(self.net.decoder([image, *features]))
        perturbed = self.net.decoder([image, *(F.dropout2d(f, self.dropout) for f in features)])
        twice = torch.cat([u, u])  # across views: the first image of the second view gets a box of the first view
        pasted = boxes(twice, p=self.cutmix), self.view(twice), torch.cat([y, y]), torch.cat([confidence, confidence])
        views, y_views, confidence_views = paste_neighbour(*pasted)
        z, z_views = in_one_pass(self.net, batch.x, views)
        strong_loss = self.loss(z_views, y_views, confidence_views >= self.threshold)
        return {
            "sup": dice_ce(z, batch.y),
            "strong": self.weight_strong * strong_loss,
            "features": self.weight_fp * self.loss(perturbed, y, confidence >= self.threshold),
        }

    def predict(self, x: Images) -> Logits:
        return self.net(x)
