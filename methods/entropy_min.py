"""Entropy minimisation (2019): make the predictions on unlabelled images confident.

Vu et al., "ADVENT: adversarial entropy minimization for domain adaptation in semantic segmentation", CVPR 2019,
https://arxiv.org/abs/1811.12833

L = L_sup + λ(t) · mean over unlabelled pixels of H(p) / ln C, with H(p) = −Σ_c p_c ln p_c and λ(t) = weight · ramp(t).
The gradient flows through p at every pixel: there is no threshold, no stop-gradient and no temperature.

Settings:
- `weight` 0.1 and `ramp` over the whole training, as in the medical ports. ADVENT uses a constant 0.001 for domain
  adaptation (variant "advent").
- `on` "unlabelled", as in the paper; "all" images, as in the ports.

Differences from the paper and the released code:
- Only the entropy loss of the paper is used, without its adversarial loss, as in every semi-supervised comparison.
- The entropy is divided by ln C, where C is the number of classes of the task. One port always divides by ln 4, which
  halves the loss for two classes.
- The entropy is computed from log-softmax, because p · ln(p + ε) changes the gradient where p is small.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce, entropy, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_share


@register
class EntropyMin(Method):
    title, year, venue, paper = "Entropy Min.", 2019, "CVPR", "https://arxiv.org/abs/1811.12833"
    variants: ClassVar = {"constant": {"ramp": 0.0}, "on_all": {"on": "all"}, "advent": {"weight": 0.001, "ramp": 0.0}}

    def __init__(
        self, arch: Arch, *, weight: float = 0.1, ramp: float = 1.0, on: Literal["unlabelled", "all"] = "unlabelled"
    ):
        super().__init__()
        self.net, self.weight, self.on = arch.net(), weight, on
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled = len(batch.x)
        logits = self.net(torch.cat([batch.x, batch.u]))
        uncertainty = entropy(logits if self.on == "all" and len(batch.u) else logits[labelled:])
        return {
            "sup": dice_ce(logits[:labelled], batch.y),
            "entropy": self.weight * ramp(t, self.ramp) * uncertainty,
        }

    def predict(self, x: Images) -> Logits:
        return self.net(x)
