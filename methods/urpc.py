"""URPC (2022): the scales of a decoder agree with their mean, with less weight where they disagree more.

Luo et al., "Semi-supervised medical image segmentation via uncertainty rectified pyramid consistency", Medical Image
Analysis 80, 102517, 2022, https://arxiv.org/abs/2012.07042

A decoder predicts at K scales, and each prediction is resized to the size of the image. p_k is the softmax of scale k,
p̄ their mean, D_k = KL(p̄ ‖ p_k) at each pixel, and
L = L_sup + λ(t) · (1/K) Σ_k [mean((p̄ − p_k)² e^(−D_k)) / mean(e^(−D_k)) + mean(D_k)], λ(t) = weight · ramp(t),
with means over unlabelled images, classes and pixels, and without stop-gradient; L_sup is the mean over scales. The
coarser maps of unlabelled images are perturbed before the heads read them: by dropout of channels, by dropping the most
active places, and by noise, from coarse to fine. The finest scale predicts.

Settings: `weight` 0.1 with `ramp` over the whole training, and `perturbed`, as released.

Differences from the paper and the released code:
- The scales of the U-Net are strides 8, 4, 2 and 1, as released; those of DPT are its fusions. DeepLabv3+ has no such
  maps; the output of the spatial pyramid and the first convolution after the fusion replace them. It has three scales
  in all, and none has noise.
- Labelled images are not perturbed, so that they train every method in the same way. Maps are enlarged bilinearly, not
  by repetition.
- The code takes the logarithm of a softmax, which makes the loss nan where the softmax underflows; here D is computed
  from log-softmax.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from methods.base import Batch, Images, Logits, Method, register
from methods.parts import perturb
from methods.parts.consistency import perturbed_from
from methods.parts.losses import dice_ce, log_mean_softmax, mean, ramp
from methods.parts.nets import UNET_SHARES, Arch, outputs_of
from methods.parts.schedule import adapted_share

PERTURBATIONS = (perturb.dropout, perturb.drop_active, perturb.noise)  # from coarse to fine


@register
class Urpc(Method):
    title, year, venue, paper = "URPC", 2022, "MedIA", "https://arxiv.org/abs/2012.07042"
    variants: ClassVar = {"not_rectified": {"rectified": False}, "not_perturbed": {"perturbed": False}}

    def __init__(
        self, arch: Arch, *, weight: float = 0.1, ramp: float = 1.0, rectified: bool = True, perturbed: bool = True
    ):
        super().__init__()
        self.net, self.stride = arch.net(), arch.stride
        shares = {"unet": UNET_SHARES[1:4], "deeplabv3plus": (1, 1), "dpt": (1, 1, 1)}[arch.decoder_name]
        self.heads = nn.ModuleList(nn.Conv2d(arch.width // share, arch.classes, 3, padding=1) for share in shares)
        self.weight, self.rectified, self.perturbed = weight, rectified, perturbed
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        scales = self.scales(torch.cat([batch.x, batch.u]), labelled := len(batch.x))
        consistency = self.consistency([z[labelled:] for z in scales])
        return {
            "sup": sum(dice_ce(z[:labelled], batch.y) for z in scales) / len(scales),
            "consistency": self.weight * ramp(t, self.ramp) * consistency,
        }

    def consistency(self, scales: list[Logits]) -> Tensor:
        log_mean, loss = log_mean_softmax(scales), 0.0
        for z in scales:
            log_p = z.to(log_mean.dtype).log_softmax(1)
            gap = (log_mean.exp() - log_p.exp()).square()
            divergence = (log_mean.exp() * (log_mean - log_p)).sum(1, keepdim=True)
            certainty = (-divergence).exp()
            rectified = mean(gap * certainty) / mean(certainty).clamp_min(1e-8) + mean(divergence)
            loss += rectified if self.rectified else mean(gap)
        return loss / len(scales)

    def scales(self, x: Images, labelled: int) -> list[Logits]:
        """The logits of the finest scale, then those of the heads from coarse to fine, all at the size of the image."""
        with outputs_of(self.stages()) as maps:
            finest = self.net(x)
        if self.perturbed:
            changes = PERTURBATIONS[: len(maps)]
            maps = [perturbed_from([x, m], labelled, change)[1] for m, change in zip(maps, changes, strict=True)]
        padded = [size + -size % self.stride for size in x.shape[2:]]
        coarse = [interpolate(head(m), padded, mode="bilinear") for head, m in zip(self.heads, maps, strict=True)]
        return [finest, *(z[..., : x.shape[2], : x.shape[3]] for z in coarse)]

    def stages(self) -> list[nn.Module]:
        """The layers with the outputs that the heads read, from coarse to fine."""
        if hasattr(decoder := self.net.decoder, "fusions"):
            return [*decoder.fusions[:0:-1]]
        return [*decoder.blocks[1:4]] if hasattr(decoder, "blocks") else [self.net.encoder.dropout, decoder.fuse[4]]

    def predict(self, x: Images) -> Logits:
        return self.net(x)
