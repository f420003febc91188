"""CDMA+ (2024): CDMA whose decoders also agree with the activation maps of an image-level classifier.

Zhong, Luo, Liao, Zhang & Wang, "Semi-supervised pathological image segmentation via cross distillation of multiple
attentions and Seg-CAM consistency", Pattern Recognition, 110492, 2024, https://doi.org/10.1016/j.patcog.2024.110492

CDMA's encoder and three decoders (attention by channel and place, by place, by channel; logits z_i, mean softmax p̄). A
classifier, one 1 × 1 convolution of the three deepest features, gives one map a class; a map's mean over places is the
image's score, and q, the softmax of the maps at the image's size, is its Seg-CAM.
L = L_sup + classification · L_cls + [t ≥ warmup] (weight_cdkd L_cdkd + weight_um L_um + weight_cam L_cam);
L_sup  = mean over decoders of ½ CE + ½ Dice, and L_cls = binary cross entropy, mean over images and classes, of scores
with the classes present in the mask (background: with no other present), both on the labelled images; a class counts
only once training has seen an image with it and one without it;
L_cdkd = ⅓ Σ_i Σ_{j≠i} T² · mean over pixels of KL(softmax(sg z_j / T) ‖ softmax(z_i / T)); L_um = mean of H(p̄) / ln C;
L_cam  = mean over images, classes and pixels of (p̄ − q)², each side learning from the other; these three on all images.
The first decoder predicts.
Settings: the weights 0.1, T = 10 and `warmup` 0.375 (epoch 15 of 40), as released. L_cls learns from labels alone, so
that it counts as a part of "sup".

Differences from the released code, which imports modules that it lacks (the paper's text was not at hand):
- It is for two classes, with the targets (no tumour, tumour); for more, each class has its own, as above.
- It classifies ResNet's strides 8, 16 and 32. So do we under a U-Net; under DPT it is the three deeper maps, and under
  DeepLabv3+ the pyramid's output, the only deep feature that decoders see. The deepest has `Arch`'s dropout.
- L_cls has nothing to learn where every image has the foreground: its target is then constant (DigestPath's released
  list has malignant images only, but patches without tumour). One batch cannot show that, so the method remembers which
  classes it has seen present and absent; until it has seen both, the class is left out. On data whose every crop has
  the foreground L_cls is 0 throughout, and the classifier learns from L_cam alone. On several devices each remembers
  its own images.
- As to the rest, see CDMA. Without unlabelled images all consistency is left out.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Batch, Images, Logits, Masks, Method, register
from methods.parts.branches import attentive, cross_distill
from methods.parts.consistency import probabilities
from methods.parts.losses import annotated, at_least_single, dice_ce, entropy, log_mean_softmax, mean, one_hot
from methods.parts.nets import Arch, Features
from methods.parts.schedule import adapted_share

DEEPEST = slice(2, None)  # of the features: neither the image nor the finest; of these, the classifier takes the last 3


@register
class CdmaPlus(Method):
    title, year, venue, paper = "CDMA+", 2024, "Pattern Recognition", "https://doi.org/10.1016/j.patcog.2024.110492"
    variants: ClassVar = {
        **{f"no_{term}": {f"weight_{term}": 0.0} for term in ("cdkd", "um", "cam")},
        **{"no_classification": {"classification": 0.0}, "cam_teaches": {"detach": True}, "no_warmup": {"warmup": 0.0}},
    }
    tuned: ClassVar = {"classification": (0.01, 1.0), "temperature": (1.0, 20.0)}

    def __init__(
        self, arch: Arch, *, weight_cdkd: float = 0.1, weight_um: float = 0.1, weight_cam: float = 0.1,
        classification: float = 0.1, temperature: float = 10.0, warmup: float = 0.375, detach: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.encoder, self.decoders = arch.encoder(), attentive(arch, ("both", "spatial", "channel"))
        self.classifier = nn.Conv2d(sum(arch.channels[DEEPEST][-3:]), arch.classes, 1, bias=False)
        self.weight_cdkd, self.weight_um, self.weight_cam = weight_cdkd, weight_um, weight_cam
        self.classification, self.temperature = classification, temperature
        self.warmup = adapted_share(warmup, arch.steps)
        self.stride, self.detach = arch.stride, detach
        self.register_buffer("seen", torch.zeros(2, arch.classes, dtype=torch.bool))  # absent, present
        self.register_buffer("seen_now", torch.zeros(2, arch.classes, dtype=torch.bool), persistent=False)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, features = len(batch.x), self.encoder(torch.cat([batch.x, batch.u]))
        branches, (scores, cams) = [decoder(features) for decoder in self.decoders], self.classified(features)
        sup = sum(dice_ce(z[:labelled], batch.y) for z in branches) / len(branches)
        first, on = 0 if len(batch.u) else labelled, t >= self.warmup
        agree, cams = [z[first:] for z in branches], (cams.detach() if self.detach else cams)[first:]
        log_p = log_mean_softmax(agree)
        return {
            "sup": sup + self.classification * self.presence(scores[:labelled], batch.y),
            "cdkd": self.weight_cdkd * on * cross_distill(agree, self.temperature),
            "um": self.weight_um * on * entropy(log_p),
            "cam": self.weight_cam * on * mean((log_p.exp() - cams).square()),
        }

    def classified(self, features: Features) -> tuple[Tensor, Tensor]:
        """Scores (n, c) of images, and activation maps (n, c, h, w) whose sum over classes is 1."""
        height, width = features[0].shape[-2:]
        deep = features[DEEPEST][-3:]
        maps = self.classifier(torch.cat([F.interpolate(f, deep[0].shape[-2:], mode="bilinear") for f in deep], 1))
        padded = [-(-size // self.stride) * self.stride for size in (height, width)]
        return maps.mean((2, 3)), probabilities(F.interpolate(maps, padded, mode="bilinear")[..., :height, :width])

    def presence(self, scores: Float[Tensor, "n c"], y: Masks) -> Tensor:
        """Binary cross entropy of the images' scores with their classes, of classes seen both present and absent.

        Only annotated pixels say which classes there are; images without any are left out.
        """
        there, known = one_hot(y, scores.shape[1]).any(3).any(2), annotated(y).any(2).any(1).unsqueeze(1)
        target = torch.cat([~there[:, 1:].any(1, keepdim=True), there[:, 1:]], 1)
        self.seen_now.copy_(self.seen | torch.stack([(~target & known).any(0), (target & known).any(0)]))
        scores = at_least_single(scores)
        counts = (self.seen_now.all(0) & known).to(scores.dtype)
        wrong = F.binary_cross_entropy_with_logits(scores, target.to(scores.dtype), counts, reduction="sum")
        return wrong / (known.sum() * scores.shape[1]).clamp_min(1)

    def after_step(self) -> None:
        self.seen.copy_(self.seen_now)

    def predict(self, x: Images) -> Logits:
        return self.decoders[0](self.encoder(x))
