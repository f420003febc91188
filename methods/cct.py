"""CCT (2020): auxiliary decoders on perturbed features agree with the main decoder on unperturbed features.

Ouali, Hudelot & Tami, "Semi-supervised semantic segmentation with cross-consistency training", CVPR 2020,
https://arxiv.org/abs/2003.09005

One encoder h, a main decoder g, and K auxiliary decoders g_k, each with its own perturbation P_k of the features:
L = L_sup(g(h(x))) + λ(t) · (1/K) Σ_k mean over unlabelled images, classes and pixels of
(softmax g_k(P_k(h(u))) − sg softmax g(h(u)))², with λ(t) = weight · ramp(t).
The main decoder learns from labels only; the auxiliary decoders learn from the consistency loss, and the encoder from
both. The main decoder predicts.

Settings:
- `ramp` over the first tenth of training, as released.
- `perturbations`, one for each auxiliary decoder: by default the three that do not need a background class (noise,
  dropout, and dropping the most active places). Variant "seven" adds VAT, hidden objects, hidden context and a cut in
  the objects; the last three use class 0 as background.
- `weight` 1 (published: 30; variant "paper").

Differences from the paper and the released code:
- The release has 30 auxiliary decoders of one convolution and an upsampling. Here there are K = 3 full decoders, as in
  the ports.
- The weight is 1 instead of 30. With full decoders on all feature maps of an encoder, a weight of 30 dominates the
  supervised loss: in short trainings on the phantom, which compared 1, 10 and 30, the results with 10 and 30 were below
  those of supervised training.
- The decoders of the paper read one feature map. Here they read several, and all are perturbed; otherwise a decoder
  could ignore the perturbation and use the unperturbed maps.
- One port (SSL4MIS) also trains the auxiliary decoders with labels, lets gradients through the target, and uses a
  weight of 0.1 with a ramp over the whole training. Variant "ssl4mis" has that weight and that gradient (`detach`
  false).
- Another port applies a second softmax to the target, which is a softmax already: (1, 0) becomes (0.73, 0.27), so that
  the term cannot vanish when decoders agree. The release calls backward inside VAT and clears gradients. Neither is
  done here.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts import perturb
from methods.parts.consistency import images_from, probabilities
from methods.parts.losses import dice_ce, mean, ramp
from methods.parts.nets import Arch, Features
from methods.parts.schedule import adapted_share

BLIND = {"noise": perturb.noise, "dropout": perturb.dropout, "drop_active": perturb.drop_active}
GUIDED = {"cut_out": perturb.cut_out, "hide_objects": perturb.hide_objects, "hide_context": perturb.hide_context}
Perturbation = Literal["noise", "dropout", "drop_active", "vat", "cut_out", "hide_objects", "hide_context"]


@register
class Cct(Method):
    title, year, venue, paper = "CCT", 2020, "CVPR", "https://arxiv.org/abs/2003.09005"
    variants: ClassVar = {
        "seven": {"perturbations": (*BLIND, "vat", *GUIDED)},
        "vat_only": {"perturbations": ("vat",)},
        **{f"{name}_only": {"perturbations": (name,)} for name in BLIND},
        "paper": {"weight": 30.0},
        "ssl4mis": {"weight": 0.1, "ramp": 1.0, "detach": False},
    }
    tuned: ClassVar = {"weight": (0.1, 30.0)}

    def __init__(
        self, arch: Arch, *, weight: float = 1.0,  # published: 30
        ramp: float = 0.1, perturbations: Sequence[Perturbation] = tuple(BLIND), detach: bool = True,
    ):  # fmt: skip
        super().__init__()
        if not perturbations:
            raise ValueError("Without perturbations there is no auxiliary decoder; give one or more.")
        self.encoder, self.decoder = arch.encoder(), arch.decoder()
        self.auxiliary = nn.ModuleList(arch.decoder() for _ in perturbations)
        self.weight, self.perturbations, self.detach = weight, perturbations, detach
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, features = len(batch.x), self.encoder(torch.cat([batch.x, batch.u]))
        sup = dice_ce(self.decoder([maps[:labelled] for maps in features]), batch.y)
        unlabelled = images_from(features, labelled)
        with torch.set_grad_enabled(not self.detach):
            main = self.decoder(unlabelled)
        gaps = [
            probabilities(decoder(self.perturbed(unlabelled, name, main, decoder))) - probabilities(main)
            for name, decoder in zip(self.perturbations, self.auxiliary, strict=True)
        ]
        consistency = sum(mean(gap.square()) for gap in gaps) / len(gaps)
        return {"sup": sup, "consistency": self.weight * ramp(t, self.ramp) * consistency}

    def perturbed(self, features: Features, name: str, main: Logits, decoder: nn.Module) -> Features:
        if name == "vat":
            return perturb.vat(features, decoder)
        return BLIND[name](features) if name in BLIND else GUIDED[name](features, main.argmax(1))

    def predict(self, x: Images) -> Logits:
        return self.decoder(self.encoder(x))
