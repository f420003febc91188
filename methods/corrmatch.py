"""CorrMatch (2024): labels are propagated between places with similar features.

Sun et al., "CorrMatch: label propagation via correlation matching for semi-supervised semantic segmentation",
CVPR 2024, https://arxiv.org/abs/2306.04300. Written from the formulas: the released code is not free to use.

Correlation: A_ij = softmax over places j of q_i·k_j / √256; q and k are linear in one convolution of the features at
stride 16 (with DPT: of the deepest features, at the stride of its patches). Logits are averaged with A,
z^c_i = Σ_j A_ij sg z_j, and enlarged to the image, so that the gradient of z^c reaches features only.
Labels: ŷ, c = argmax and max over classes of sg p(u), and m = 1[c ≥ τ]. The strong view s(u) has a box of another
image with its ŷ and m; ŷ_mix and m_mix are the labels with that box. τ is a moving average, which starts at
`threshold`, of the mean over the present classes of their largest confidence. A step first updates τ with its own u
and then uses it.
Propagation computes ŷ_prop and m_prop from ŷ_mix and m_mix. Each sampled row of A, scaled to [0, 1], gives a region:
the places where it is above ½, without their pixels in the box. If at least a fraction τ of the region's pixels is
confident (m), and more than a fraction τ of these has one class, the whole region gets this class and counts as
confident. The box keeps ŷ_mix and m_mix.
With z_fp from features with `dropout` of their channels dropped, and ℓ(z, ŷ, m) = mean over ALL pixels of
m · (−ln p_ŷ):
L = L_sup + weight_sup_corr · CE(z^c(x), y) + weight_strong · ℓ(z(s(u)), ŷ_prop, m_prop) + weight_fp · ℓ(z_fp, ŷ, m)
  + weight_kl · mean over ALL pixels of m_mix · KL(sg p_mix(u) ‖ p(s(u)))
  + weight_corr · ½ [ℓ(z^c(u), ŷ, m) + ℓ(z^c(s(u)), ŷ_prop, m_prop)].

Settings:
- Weights 1, ½, ½, ½, ½ (released: ½, ¼, ¼, ¼, ¼ beside a labelled weight of ½, all halved), `threshold` 0.85, `decay`
  0.999, `dropout` and `cutmix` 0.5, as released. In short runs the average is shorter (methods.parts.schedule; variant
  "published_decay").
- `regions` 0.076 is the fraction of rows that are sampled: the released 128 draws of 41 · 41 places.
- The τ of a short run is between 0.85 and 0.95: compare with FixMatch's variant "threshold_85", too.

Differences from the paper and the released code:
- Features and logits are pooled to at most `grid` × `grid` places, so that A has at most grid⁴ numbers per image (4 MB)
  for any crop size. Regions consist of whole places; the code enlarges each row to pixels before it is scaled.
- The number of rows is proportional to the number of places. The code always draws 128, which would cover small crops
  several times. Variant "regions_all" draws as many rows as there are places. The code never draws the last place.
- All regions are counted at once, on the labels before propagation, and where trusted regions disagree, the majority
  decides. The code loops over regions, counts labels that earlier regions have changed, and the last region decides.
- The target of KL is mixed with the box, as its mask is. The code compares p(s(u)) inside the box with p(u) of the
  image that was there before the box was pasted, which is a defect.
- The code multiplies by the transpose of A, so that the weights of a place do not add up to 1; here z^c is a mean. The
  code gives q and k as many channels as classes, which distinguishes little with two classes; here they have 256.
- The labels come without the network's own dropout, from the pass that also gives the features of z_fp and z^c.
- The CutMix partner is the preceding image of the batch; the code forwards a second batch.
- Left out: the exchange of τ between devices, and the assumption of 21 classes.
- Without unlabelled images the correlation is left out, also on labelled images: the method is then supervised.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from methods.base import Batch, Images, Logits, Masks, Method, register
from methods.parts.correlation import Correlation, propagated
from methods.parts.losses import cross_entropy, dice_ce, mean, one_hot
from methods.parts.nets import Arch
from methods.parts.pseudo import (
    Confidences,
    kept_cross_entropy,
    log_probabilities,
    paste_neighbour,
    pseudo_label,
    without_dropout,
)
from methods.parts.schedule import adapted_decay
from methods.parts.views import boxes, strong


@register
class CorrMatch(Method):
    title, year, venue, paper = "CorrMatch", 2024, "CVPR", "https://arxiv.org/abs/2306.04300"
    strong_views = True
    variants: ClassVar = {
        **{f"no_{term}": {f"weight_{term}": 0.0} for term in ("strong", "fp", "kl", "corr")},
        **{"no_regions": {"regions": 0.0}, "regions_all": {"regions": 1.0}, "no_cutmix": {"cutmix": 0.0}},
        "published_decay": {"adapt_decay": False},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self, arch: Arch, *, weight_sup_corr: float = 1.0, weight_strong: float = 0.5, weight_fp: float = 0.5,
        weight_kl: float = 0.5, weight_corr: float = 0.5, threshold: float = 0.85, decay: float = 0.999,
        adapt_decay: bool = True, regions: float = 0.076, grid: int = 32, cutmix: float = 0.5, dropout: float = 0.5,
    ):  # fmt: skip
        super().__init__()
        if not 0 <= regions <= 1:
            raise ValueError(f"regions {regions} is not a fraction of the places; give a number from 0 to 1.")
        self.net, self.view = arch.net(), arch.view(strong)
        self.level, stride = (-2, arch.stride // 2) if arch.decoder_name == "unet" else (-1, arch.stride)
        self.correlate = Correlation(arch.channels[self.level], stride, grid)
        self.register_buffer("threshold", torch.tensor(threshold))
        self.register_buffer("moved", torch.tensor(threshold), persistent=False)  # τ updated with the latest batch
        weights = {"strong": weight_strong, "fp": weight_fp, "kl": weight_kl, "corr": weight_corr}
        self.weights = {"sup_corr": weight_sup_corr, **weights}
        self.decay = adapted_decay(decay, arch.steps, adapt_decay)
        self.regions, self.cutmix, self.dropout = regions, cutmix, dropout

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        x, u, labelled = batch.x, batch.u, len(batch.x)
        if not len(u):
            self.moved.copy_(self.threshold)
            return {"sup": dice_ce(self.net(x), batch.y), **dict.fromkeys(self.weights, x.new_zeros(()))}
        with without_dropout(self.net):
            image, *features = self.net.encoder(u)
            with torch.no_grad():
                weak = self.net.decoder([image, *features])
        correlation, weak_corr = self.correlate(features[self.level], weak)
        where, strong_u, log_p = boxes(u, p=self.cutmix), self.view(u), log_probabilities(weak)
        y, confidence = pseudo_label(weak)
        threshold = self.move_threshold(y, confidence, weak.shape[1])
        kept = confidence >= threshold
        view, y_mix, kept_mix, log_p = paste_neighbour(where, strong_u, y, kept, log_p)
        y_prop, kept_prop = y_mix, kept_mix
        if self.regions:
            cell, classes = self.correlate.cell(weak), weak.shape[1]
            y_prop, kept_prop = propagated(
                y_mix, kept_mix, ~where, classes, correlation.detach(), cell, self.regions, threshold
            )
        view_features = self.net.encoder(torch.cat([x, view]))
        z = self.net.decoder(view_features)
        _, corr = self.correlate(view_features[self.level], z)
        perturbed = self.net.decoder([image, *(F.dropout2d(f, self.dropout) for f in features)])
        divergence = (log_p.exp() * (log_p - log_probabilities(z[labelled:]))).sum(1)
        corr_loss = kept_cross_entropy(weak_corr, y, kept) + kept_cross_entropy(corr[labelled:], y_prop, kept_prop)
        terms = {
            "sup_corr": cross_entropy(corr[:labelled], batch.y),
            "strong": kept_cross_entropy(z[labelled:], y_prop, kept_prop),
            "fp": kept_cross_entropy(perturbed, y, kept),
            "kl": mean(divergence * kept_mix),
            "corr": corr_loss / 2,
        }
        return {"sup": dice_ce(z[:labelled], batch.y), **{name: self.weights[name] * terms[name] for name in terms}}

    @torch.no_grad()
    def move_threshold(self, y: Masks, confidence: Confidences, classes: int) -> Float[Tensor, ""]:
        """τ updated with the labels of this step; the state itself is updated in `after_step`."""
        best = (one_hot(y, classes) * confidence.unsqueeze(1)).amax((0, 2, 3))
        self.moved.copy_(self.threshold.lerp((best.sum() / (best > 0).sum()).to(self.threshold.dtype), 1 - self.decay))
        return self.moved

    def after_step(self) -> None:
        self.threshold.copy_(self.moved)

    def predict(self, x: Images) -> Logits:
        return self.net(x)
