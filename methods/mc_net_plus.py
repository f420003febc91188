"""MC-Net+ (2022): three decoders with different upsampling learn from each other's sharpened predictions.

Wu et al., "Mutual consistency learning for semi-supervised medical image segmentation", Medical Image Analysis 81,
102530, 2022, https://arxiv.org/abs/2109.09960

One encoder, and decoders that differ in their upsampling only: bilinear, transposed convolution, nearest. p_i is the
softmax of decoder i, s(p) = p^(1/T) / Σ_c p_c^(1/T) its sharpening, and
L = L_sup + λ(t) L_mc, with λ(t) = weight · ramp(t),
L_sup = ⅓ Σ_i (½ CE + ½ Dice) on the labelled images,
L_mc  = ⅓ Σ_i Σ_{j≠i} mean over all images, classes and pixels of (p_i − s(p_j))².
The first decoder predicts.

Settings:
- `weight` 0.1 with `ramp` over the whole training, as released for slices. The release for volumes uses 1 beside a
  labelled weight of ½, and a ramp of 0.4: variant "volumes".
- `temperature` T = 0.1, as released.
- `upsamples` as released; two of them are the earlier MC-Net.

Differences from the paper and the released code:
- The code sums both losses over decoders; here both are divided by the number of decoders. Their ratio is the same, and
  the learning rate has the same meaning as for other methods. The supervised loss of the code is Dice only; here it is
  the same for every method.
- The paper calls s(p_j) a pseudo-label, but the code lets gradients through it, up to 1/T times as steep as through
  p_i. This file follows the code; `detach` stops these gradients, as the paper describes.
- The code sharpens each class separately, p^(1/T) / (p^(1/T) + (1 − p)^(1/T)). With two classes this equals s. With
  more classes its sum is far below 1 where classes compete, so that the term lowers every class there. s always sums
  to 1.
- s is computed as softmax(z / T), which is equal: in half precision p^(1/T) itself underflows for p ≤ 0.18.
- "transposed" and "nearest" replace the bilinear steps of the decoder that the comparison uses; a DeepLabv3+ has one.
- Without unlabelled images the consistency loss is left out, also on labelled images: the method is then supervised.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import at_least_single, dice_ce, log_mean_softmax, mean, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_share


@register
class McNetPlus(Method):
    title, year, venue, paper = "MC-Net+", 2022, "MedIA", "https://arxiv.org/abs/2109.09960"
    variants: ClassVar = {
        "detached": {"detach": True},
        "mc_net": {"upsamples": ("bilinear", "transposed")},
        "same_upsampling": {"upsamples": ("bilinear",) * 3},
        "not_sharpened": {"temperature": 1.0},
        "volumes": {"weight": 2.0, "ramp": 0.4},
        "unlabelled_only": {"on": "unlabelled"},
        "mean_predicts": {"predicts": "mean"},
    }
    tuned: ClassVar = {"temperature": (0.05, 1.0)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 0.1,
        ramp: float = 1.0,
        temperature: float = 0.1,
        detach: bool = False,
        upsamples: Sequence[Literal["bilinear", "transposed", "nearest"]] = ("bilinear", "transposed", "nearest"),
        on: Literal["all", "unlabelled"] = "all",
        predicts: Literal["first", "mean"] = "first",
    ):
        super().__init__()
        self.encoder = arch.encoder()
        self.decoders = nn.ModuleList(arch.decoder(upsample=how) for how in upsamples)
        self.weight, self.temperature, self.detach = weight, temperature, detach
        self.ramp = adapted_share(ramp, arch.steps)
        self.on, self.predicts = on, predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, features = len(batch.x), self.encoder(torch.cat([batch.x, batch.u]))
        branches = [decoder(features) for decoder in self.decoders]
        sup = sum(dice_ce(z[:labelled], batch.y) for z in branches) / len(branches)
        agree = branches if self.on == "all" and len(batch.u) else [z[labelled:] for z in branches]
        pairs = permutations(agree, 2)
        mutual = sum(self.consistency(student, teacher) for student, teacher in pairs) / len(branches)
        return {"sup": sup, "mutual": self.weight * ramp(t, self.ramp) * mutual}

    def consistency(self, student: Logits, teacher: Logits) -> Tensor:
        student, teacher = at_least_single(student), at_least_single(teacher)
        target = (teacher / self.temperature).softmax(1)
        return mean((student.softmax(1) - (target.detach() if self.detach else target)).square())

    def predict(self, x: Images) -> Logits:
        features = self.encoder(x)
        if self.predicts == "first":
            return self.decoders[0](features)
        return log_mean_softmax([decoder(features) for decoder in self.decoders])
