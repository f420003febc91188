"""R-Drop (2021): two predictions of one network with different dropout agree.

Liang, Wu et al., "R-Drop: regularized dropout for neural networks", NeurIPS 2021, https://arxiv.org/abs/2106.14448

z_1, z_2 are the logits of two passes of one network over the same images with independent dropout, p_i their softmax:
L = ½ [L_sup(z_1) + L_sup(z_2)] + λ(t) · mean over unlabelled pixels of ½ [KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)],
with KL summed over classes, gradients through both sides, and λ(t) = weight · ramp(t).

Settings: `weight` 1 (α; the paper uses 0.1 to 5, depending on the task) with `ramp` over the whole training, as in
SSL4MIS.

Differences from the paper and the released code:
- The paper regularises labelled samples, because it has no others. SSL4MIS and this file regularise the unlabelled ones
  (`on` "all": both).
- The released code for segmentation (SSL4MIS) trains two networks with separate weights, which is mutual learning:
  variant "ssl4mis_dml". There each network learns from its own full supervised loss, so the two losses are added.
- The port computes the softmax along the width of the images, not over classes. A constant added to the logit of one
  class at all pixels can change every label, but it does not change the port's loss. The port's weight of 4 was
  selected with this loss and is therefore not used here. It also multiplies a mean over classes; with the sum over two
  classes of this file it becomes 2, in "ssl4mis_dml".
- The dropout is that of `Arch`: channels of the deepest features, and before the last convolution. With rate 0 the two
  passes are identical, the term is exactly 0, and the method is supervised training; "ssl4mis_dml" needs no dropout.
- There is no dropout before the deepest features, so both passes share one forward pass of the encoder. The result is
  the same as that of two forward passes, at a lower cost.
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


def symmetric_kl(first: Logits, second: Logits) -> Tensor:
    """Mean over pixels of ½ [KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)] = ½ Σ_c (p_1 − p_2) (ln p_1 − ln p_2)."""
    wide = torch.promote_types(first.dtype, torch.float32)
    log_first, log_second = first.to(wide).log_softmax(1), second.to(wide).log_softmax(1)
    return 0.5 * mean(((log_first.exp() - log_second.exp()) * (log_first - log_second)).sum(1))
