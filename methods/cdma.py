"""CDMA (2023): three decoders with different attention learn from each other, and their mean becomes confident.

Zhong, Liao, Zhang & Wang, "Semi-supervised pathological image segmentation via cross distillation of multiple
attentions", MICCAI 2023, https://arxiv.org/abs/2305.18830

One encoder (for DeepLabv3+ with its pyramid) and three decoders: with channel and spatial attention (CBAM), with
spatial attention, and with channel attention. z_i are the logits and p_i the softmax of decoder i:
L = L_sup + λ(t) (weight_cdkd · L_cdkd + weight_um · L_um), with
L_sup  = mean over decoders of ½ CE + ½ Dice, on the labelled images;
L_cdkd = ⅓ Σ_i Σ_{j≠i} T² · mean over pixels of KL(softmax(sg z_j / T) ‖ softmax(z_i / T)), summed over classes;
L_um   = mean over pixels of H((p_1 + p_2 + p_3) / 3) / ln C, without stop-gradient.
L_cdkd and L_um use labelled and unlabelled images; λ(t) = 0 before t = warmup, then 1. The first decoder predicts.

Settings: weights 0.1, `temperature` T = 10 and `warmup` 0.1 (epoch 15 of 150), all as released.

Differences from the paper and the released code, and choices that neither determines:
- With DeepLabv3+, attention is applied to the fused features and after the first convolution, as released. With the
  U-Net, it is applied after every block except the finest, as in the authors' PyMIC. The code builds modules that it
  never calls; one of them, the norm of the second convolution, is used here, and the others are not built.
- The figure in the paper perturbs the features of each decoder; the code computes this perturbation and discards it. It
  is therefore off by default; variant "perturbation" multiplies every element of each decoder's deepest features by
  1 + U(−0.3, 0.3).
- T², the sum over two teachers (twice a mean over pairs) and ln C are those of the code; the form in the paper is not
  known.
- The code adds 1e-6 to p̄ inside the logarithm of the entropy. Here ln p̄ is computed from log-softmax, without an
  epsilon, so that gradients are exact where p̄ is small.
- Channel attention has channels / 16 hidden units, as released, but at least 8. The released decoders have 256 channels
  or more (16 to 19 units). The finer blocks of a U-Net have fewer, and one or two units often stay at zero.
- Images in [0, 1] are normalised with the mean and standard deviation of the encoder's pretraining, as for every method
  here. The code scales each patch with its own minimum and maximum, without further normalisation.
- The weights are switched on at once, as in the code, but at a fraction of training, so that short runs have a warm-up.
- The last stage of a DeepLabv3+ encoder is dilated, not only without stride; dropout is that of `Arch`, the same for
  every method.
- Without unlabelled images all consistency losses are left out, also on labelled images: the method is then supervised.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.branches import Kind, attentive, cross_distill
from methods.parts.losses import dice_ce, entropy, log_mean_softmax, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_share

OFF = {"weight_cdkd": 0.0, "weight_um": 0.0}


@register
class Cdma(Method):
    title, year, venue, paper = "CDMA", 2023, "MICCAI", "https://arxiv.org/abs/2305.18830"
    variants: ClassVar = {
        **{f"{kind}_only": {"attentions": (kind,) * 3} for kind in ("both", "spatial", "channel")},
        **{f"no_{term}": {f"weight_{term}": 0.0} for term in ("cdkd", "um")},
        **{f"temperature_{t}": {"temperature": float(t)} for t in (1, 2, 5, 20)},
        **{"no_attention": {"attentions": ("none",) * 3}, "hard_targets": {"temperature": 0.0}},
        **{"no_warmup": {"warmup": 0.0}, "ramp": {"warmup": 1.0, "schedule": "ramp"}},
        **{"perturbation": {"perturbation": 0.3}, "unlabelled_only": {"on": "unlabelled"}},
        **{f"weights_{w:g}".replace(".", "_"): {"weight_cdkd": w, "weight_um": w} for w in (0.01, 1.0)},
        "labels_only_no_attention": {**OFF, "attentions": ("none",) * 3},
        "all_off": {**OFF, "attentions": ("none",)},  # supervised
    }
    tuned: ClassVar = {"temperature": (1.0, 20.0)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight_cdkd: float = 0.1,
        weight_um: float = 0.1,
        temperature: float = 10.0,  # 0: hard targets, cross entropy with the argmax
        warmup: float = 0.1,
        schedule: Literal["switch", "ramp"] = "switch",  # at t = warmup, or until then
        attentions: Sequence[Kind] = ("both", "spatial", "channel"),
        perturbation: float = 0.0,
        on: Literal["all", "unlabelled"] = "all",
    ):
        super().__init__()
        self.encoder, self.decoders = arch.encoder(), attentive(arch, attentions)
        self.weight_cdkd, self.weight_um, self.temperature = weight_cdkd, weight_um, temperature
        self.schedule, self.perturbation, self.on = schedule, perturbation, on
        self.warmup = adapted_share(warmup, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, (*fine, deep) = len(batch.x), self.encoder(torch.cat([batch.x, batch.u]))
        branches = [decoder([*fine, self.perturb(deep)]) for decoder in self.decoders]
        sup = sum(dice_ce(z[:labelled], batch.y) for z in branches) / len(branches)
        agree = branches if self.on == "all" and len(batch.u) else [z[labelled:] for z in branches]
        cdkd, um = cross_distill(agree, self.temperature), entropy(log_mean_softmax(agree))
        on = ramp(t, self.warmup) if self.schedule == "ramp" else t >= self.warmup
        return {"sup": sup, "cdkd": self.weight_cdkd * on * cdkd, "um": self.weight_um * on * um}

    def perturb(self, deep: Tensor) -> Tensor:
        return deep * (1 + self.perturbation * (2 * torch.rand_like(deep) - 1)) if self.perturbation else deep

    def predict(self, x: Images) -> Logits:
        return self.decoders[0](self.encoder(x))
