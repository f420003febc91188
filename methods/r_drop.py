"""R-Drop (2021): one network, asked twice with other units dropped, is to answer alike.

Liang, Wu et al., "R-Drop: regularized dropout for neural networks", NeurIPS 2021, https://arxiv.org/abs/2106.14448

z_1, z_2 are two passes of one network over the same images with independent dropout, p_i their softmax, and
L = ½ [L_sup(z_1) + L_sup(z_2)] + λ(t) · mean over unlabelled pixels of ½ [KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)], with the
sums of KL over classes, gradients through both sides, and λ(t) = weight · ramp(t).

Settings: `weight` 1 (α; the paper takes 0.1 to 5 by task) with `ramp` over the whole training, as in SSL4MIS.

Differences from the paper and from released code:
- The paper regularises labelled samples, all it has; SSL4MIS and we the unlabelled ones (`on` "all": both).
- Released code for segmentation (SSL4MIS) trains two networks, each with its own weights, and so is mutual learning:
  variant "ssl4mis_dml". A network learns there from its own supervised loss in full, so the two are added.
- The port's softmax runs along the images' width, not over classes: a logit added to one class everywhere, which can
  turn every label over, leaves its loss unchanged. Its weight of 4 was found with that loss, so it is not ours; it
  multiplies a mean over classes, too, and is 2 beside our sum over two of them, in "ssl4mis_dml".
- The dropout is `Arch`'s, of channels of the deepest features and before the last convolution. With its rate 0 the two
  passes are the same, the term is exactly 0, and the method is supervised training; "ssl4mis_dml" does not need it.
- No dropout comes before the deepest features, so that both passes share one run of the encoder's layers. This equals
  two runs, at less than the usual cost of two.
"""

import dataclasses
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce, mean, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_share


@register
class RDrop(Method):
    title, year, venue, paper = "R-Drop", 2021, "NeurIPS", "https://arxiv.org/abs/2106.14448"
    variants: ClassVar = {
        "constant": {"ramp": 0.0},
        "on_all": {"on": "all"},
        "ssl4mis_dml": {"nets": 2, "weight": 2.0},
    }

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 1.0,
        ramp: float = 1.0,
        on: Literal["unlabelled", "all"] = "unlabelled",
        nets: Literal[1, 2] = 1,
    ):
        super().__init__()
        without = dataclasses.replace(arch, dropout=0.0)
        self.encoders = nn.ModuleList(without.encoder() for _ in range(nets))
        self.dropout = nn.Dropout2d(arch.dropout)
        self.decoders = nn.ModuleList(arch.decoder() for _ in range(nets))
        self.weight, self.on = weight, on
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled = len(batch.x)
        passes = self.two_passes(torch.cat([batch.x, batch.u]))
        sup = sum(dice_ce(z[:labelled], batch.y) for z in passes) * len(self.decoders) / 2
        agree = passes if self.on == "all" and len(batch.u) else [z[labelled:] for z in passes]
        return {"sup": sup, "r_drop": self.weight * ramp(t, self.ramp) * symmetric_kl(*agree)}

    def two_passes(self, x: Images) -> list[Logits]:
        passes = []
        for encoder, decoder in zip(self.encoders, self.decoders, strict=True):
            *fine, deep = encoder(x)
            passes += [decoder([*fine, self.dropout(deep)]) for _ in range(2 // len(self.decoders))]
        return passes

    def predict(self, x: Images) -> Logits:
        return self.decoders[0](self.encoders[0](x))


def symmetric_kl(one: Logits, two: Logits) -> Tensor:
    """Mean over pixels of ½ [KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)] = ½ Σ_c (p_1 − p_2) (ln p_1 − ln p_2)."""
    wide = torch.promote_types(one.dtype, torch.float32)
    log_one, log_two = one.to(wide).log_softmax(1), two.to(wide).log_softmax(1)
    return 0.5 * mean(((log_one.exp() - log_two.exp()) * (log_one - log_two)).sum(1))
