"""CorrMatch (2024): places that look alike pass their labels on to each other.

Sun et al., "CorrMatch: label propagation via correlation matching for semi-supervised semantic segmentation",
CVPR 2024, https://arxiv.org/abs/2306.04300. Written from the formulas: the released code is not free to use.

Correlation: A_ij = softmax over places j of q_i·k_j / √256; q and k are linear in one convolution of the features at
stride 16 (of DPT: the deepest, at its patch's stride). Logits spread along it, z^c_i = Σ_j A_ij sg z_j, and are
enlarged to the image: z^c teaches features only.
Labels: ŷ, c = argmax and max over classes of sg p(u); a pixel is sure if c ≥ τ, a moving average, from `threshold`, of
the mean over the present classes of their largest confidence. Regions: each of `regions` random rows of A, scaled to
[0, 1], is a region where above ½; if more than τ of it is sure, and more than τ of that one class, it all becomes so.
With s(u) a strong view with a box of another image and its labels, p_fp from features with `dropout` of their channels
dropped, and ℓ(z) = mean over ALL pixels of 1[sure] · (−ln p_ŷ):
L = L_sup + weight_sup_corr · CE(z^c(x), y) + weight_strong · ℓ(z(s(u))) + weight_fp · ℓ(z_fp)
  + weight_kl · mean over ALL pixels of 1[sure] · KL(sg p(u) ‖ p(s(u))) + weight_corr · ½ [ℓ(z^c(u)) + ℓ(z^c(s(u)))].

Settings: weights 1, ½, ½, ½, ½ (released: ½, ¼, ¼, ¼, ¼ beside a labelled weight of ½, all halved), `threshold` 0.85,
`decay` 0.999, `regions` 128, `dropout` and `cutmix` 0.5, as released.

Differences from the paper and the released code: features and logits are pooled to at most `grid` × `grid` places, so
that A has at most grid⁴ numbers an image (4 MB), whatever the crop. Regions are counted on these places by one product,
where the code loops over rows; where regions disagree, most decide, not the last. The code multiplies by A from the
other side, so that a place's weights do not add up to 1, and gives q and k as many channels as classes, which with two
classes tells little apart; here z^c is a mean, and q and k have 256. Labels come without the network's own dropout.
Left out: the exchange of τ between devices; nothing assumes 21 classes.
Without unlabelled images the correlation is left out, on labelled images, too: the method is then supervised.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import Batch, Images, Logits, Masks, Method, register
from methods.parts.correlation import Alike, Correlation, propagated
from methods.parts.losses import cross_entropy, dice_ce, mean
from methods.parts.nets import Arch
from methods.parts.pseudo import (
    Kept,
    kept_cross_entropy,
    log_probabilities,
    paste_neighbour,
    pseudo_label,
    without_dropout,
)
from methods.parts.views import boxes, strong


@register
class CorrMatch(Method):
    title, year, venue, paper = "CorrMatch", 2024, "CVPR", "https://arxiv.org/abs/2306.04300"
    variants: ClassVar = {
        **{f"no_{term}": {f"weight_{term}": 0.0} for term in ("strong", "fp", "kl", "corr")},
        **{"no_regions": {"regions": 0}, "no_cutmix": {"cutmix": 0.0}},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self, arch: Arch, *, weight_sup_corr: float = 1.0, weight_strong: float = 0.5, weight_fp: float = 0.5,
        weight_kl: float = 0.5, weight_corr: float = 0.5, threshold: float = 0.85, decay: float = 0.999,
        regions: int = 128, grid: int = 32, cutmix: float = 0.5, dropout: float = 0.5,
    ):  # fmt: skip
        super().__init__()
        self.net = arch.net()
        self.level, stride = (-2, arch.stride // 2) if arch.decoder_name == "unet" else (-1, arch.stride)
        self.correlate = Correlation(arch.channels[self.level], stride, grid)
        self.register_buffer("threshold", torch.tensor(threshold))
        self.register_buffer("seen", torch.tensor(threshold))  # in the latest batch
        weights = {"strong": weight_strong, "fp": weight_fp, "kl": weight_kl, "corr": weight_corr}
        self.weights = {"sup_corr": weight_sup_corr, **weights}
        self.decay, self.regions, self.cutmix, self.dropout = decay, regions, cutmix, dropout

    def losses(self, batch: Batch, t: float) -> dict[str, Tensor]:
        x, u, labelled = batch.x, batch.u, len(batch.x)
        if not len(u):
            return {"sup": dice_ce(self.net(x), batch.y), **dict.fromkeys(self.weights, x.new_zeros(()))}
        with without_dropout(self.net):
            image, *features = self.net.encoder(u)
            with torch.no_grad():
                weak = self.net.decoder([image, *features])
        alike, weak_corr = self.correlate(features[self.level], weak)
        where, strong_u, log_p = boxes(u, p=self.cutmix), strong(u), log_probabilities(weak)
        y, sure = self.labels(weak, alike)
        view, y_view, sure_view, log_p = paste_neighbour(where, strong_u, y, sure, log_p)
        view_features = self.net.encoder(torch.cat([x, view]))
        z = self.net.decoder(view_features)
        _, corr = self.correlate(view_features[self.level], z)
        perturbed = self.net.decoder([image, *(F.dropout2d(f, self.dropout) for f in features)])
        unlike = (log_p.exp() * (log_p - log_probabilities(z[labelled:]))).sum(1)
        of_corr = kept_cross_entropy(weak_corr, y, sure) + kept_cross_entropy(corr[labelled:], y_view, sure_view)
        terms = {
            "sup_corr": cross_entropy(corr[:labelled], batch.y),
            "strong": kept_cross_entropy(z[labelled:], y_view, sure_view),
            "fp": kept_cross_entropy(perturbed, y, sure),
            "kl": mean(unlike * sure_view),
            "corr": of_corr / 2,
        }
        return {"sup": dice_ce(z[:labelled], batch.y), **{name: self.weights[name] * terms[name] for name in terms}}

    @torch.no_grad()
    def labels(self, weak: Logits, alike: Alike) -> tuple[Masks, Kept]:
        """Labels and which are sure, by confidence or by their region; notes how sure the classes are at best."""
        y, surety = pseudo_label(weak)
        of_class = (y.unsqueeze(1) == torch.arange(weak.shape[1], device=y.device).view(-1, 1, 1)).to(surety.dtype)
        best = (of_class * surety.unsqueeze(1)).amax((0, 2, 3))
        self.seen.copy_(best.sum() / (best > 0).sum())
        sure = surety >= self.threshold
        if not self.regions:
            return y, sure
        return propagated(y, sure, of_class, alike, self.correlate.cell(weak), self.regions, self.threshold)

    def after_step(self) -> None:
        self.threshold.lerp_(self.seen, 1 - self.decay)

    def predict(self, x: Images) -> Logits:
        return self.net(x)
