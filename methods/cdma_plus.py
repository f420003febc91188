"""CDMA+ (2024): CDMA with decoders that also agree with the activation maps of an image-level classifier.

Zhong, Luo, Liao, Zhang & Wang, "Semi-supervised pathological image segmentation via cross distillation of multiple
attentions and Seg-CAM consistency", Pattern Recognition, 110492, 2024, https://doi.org/10.1016/j.patcog.2024.110492

The encoder and the three decoders are those of CDMA (attention: channel and spatial, spatial, channel; logits z_i, mean
softmax p̄). A classifier, one 1 × 1 convolution of the three deepest features, gives one map for each class. The mean
of a map over places is the score of the image for this class. q, the softmax of the maps at the size of the image, is
the Seg-CAM of the image.
L = L_sup + classification · L_cls + [t ≥ warmup] (weight_cdkd L_cdkd + weight_um L_um + weight_cam L_cam), with
L_sup  = mean over decoders of ½ CE + ½ Dice, on the labelled images;
L_cls  = binary cross entropy of the scores with the classes present in the mask (background: present if no other class
is), mean over labelled images and classes; a class counts only after training has seen an image with it and one without
it;
L_cdkd = ⅓ Σ_i Σ_{j≠i} T² · mean over pixels of KL(softmax(sg z_j / T) ‖ softmax(z_i / T));
L_um   = mean of H(p̄) / ln C;
L_cam  = mean over images, classes and pixels of (p̄ − q)², with gradients through both sides.
L_cdkd, L_um and L_cam use all images. The first decoder predicts.

Settings: all weights 0.1, T = 10 and `warmup` 0.375 (epoch 15 of 40), as released. L_cls uses labels only and is
therefore part of "sup".

Differences from the paper and the released code (the code imports modules that it does not contain, and the text of the
paper was not available):
- The code is for two classes, with the targets (no tumour, tumour). For more classes, each class has its own target, as
  above.
- The code classifies the strides 8, 16 and 32 of ResNet. This file does the same with a U-Net. With DPT it uses the
  three deeper maps, and with DeepLabv3+ the output of the pyramid, which is the only deep feature that decoders read.
  The deepest feature has the dropout of `Arch`.
- L_cls has nothing to learn if every image contains the foreground, because its target is then constant (the released
  list of DigestPath contains only malignant images, but patches without tumour). One batch cannot show this, so the
  method stores which classes it has seen present and absent, and leaves a class out until it has seen both. If every
  crop of a dataset contains the foreground, L_cls is 0 throughout, and the classifier learns from L_cam only. On
  several devices, each device stores this for its own images.
- All other differences are those of CDMA. Without unlabelled images all consistency losses are left out.
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

DEEPEST = slice(2, None)  # all features except the image and the finest; the classifier uses the last 3 of these


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
        """Scores (n, c) of images, and activation maps (n, c, h, w) with a sum over classes of 1."""
        height, width = features[0].shape[-2:]
        deep = features[DEEPEST][-3:]
        maps = self.classifier(torch.cat([F.interpolate(f, deep[0].shape[-2:], mode="bilinear") for f in deep], 1))
        padded = [-(-size // self.stride) * self.stride for size in (height, width)]
        return maps.mean((2, 3)), probabilities(F.interpolate(maps, padded, mode="bilinear")[..., :height, :width])

    def presence(self, scores: Float[Tensor, "n c"], y: Masks) -> Tensor:
        """Binary cross entropy of the scores with the classes present, over classes seen both present and absent.

        Only annotated pixels determine which classes are present; images without annotated pixels are left out.
        """
        present, is_annotated = one_hot(y, scores.shape[1]).any(3).any(2), annotated(y).any(2).any(1).unsqueeze(1)
        target = torch.cat([~present[:, 1:].any(1, keepdim=True), present[:, 1:]], 1)
        self.seen_now.copy_(self.seen | torch.stack([(~target & is_annotated).any(0), (target & is_annotated).any(0)]))
        scores = at_least_single(scores)
        counts = (self.seen_now.all(0) & is_annotated).to(scores.dtype)
        presence_loss = F.binary_cross_entropy_with_logits(scores, target.to(scores.dtype), counts, reduction="sum")
        return presence_loss / (is_annotated.sum() * scores.shape[1]).clamp_min(1)

    def after_step(self) -> None:
        self.seen.copy_(self.seen_now)

    def predict(self, x: Images) -> Logits:
        return self.decoders[0](self.encoder(x))
