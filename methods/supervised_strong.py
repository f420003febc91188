"""Supervised with strong views (2025, ours): the strong views of a semi-supervised method on labelled images only.

A control, not a published method: it separates the effect of the strong view from the effect of unlabelled images. The
default view is that of FixMatch and UniMatch for segmentation, Yang et al., "Revisiting weak-to-strong consistency in
semi-supervised semantic segmentation", CVPR 2023, https://arxiv.org/abs/2208.09910

s(x) is the strong view of a labelled image. With probability `cutmix` a box of another labelled image is pasted into it
and into its mask, which gives y_s. With m = `share`
L = (1 − m) · L_sup(x, y) + m · L_sup(s(x), y_s), both on the same images, in one forward pass.
A step has as many forward and backward passes as the student of FixMatch, and the same fraction of them is on strong
views. The gain of FixMatch over this method is the effect of its unlabelled images.

Settings:
- `share` ½ and `cutmix` ½, as in FixMatch.
- `view` "colour" (FixMatch, UniMatch, CorrMatch), "h&e" (StainMatch), "stain" or "intensity" (AugSeg).
- `one_pass` uses each image once, with the strong view with probability `share`, at the cost of supervised training.

Differences from released supervised baselines:
- Released baselines use resizing, crops and flips only, so that a comparison with them does not separate the effect of
  the view from that of the unlabelled images.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import paste_neighbour
from methods.parts.views import VIEWS, boxes, cutmix


@register
class SupervisedStrong(Method):
    title, year, venue, paper = "Supervised, strong views", 2025, "", "https://arxiv.org/abs/2208.09910"
    strong_views = True
    uses_unlabelled = False
    variants: ClassVar = {
        **{f"view_{name.replace('&', '')}": {"view": name} for name in ("h&e", "stain", "intensity")},
        **{"no_cutmix": {"cutmix": 0.0}, "strong_only": {"share": 1.0}, "one_pass": {"one_pass": True}},
    }
    tuned: ClassVar = {"share": (0.1, 1.0)}

    def __init__(
        self,
        arch: Arch,
        *,
        share: float = 0.5,
        view: Literal["colour", "h&e", "stain", "intensity"] = "colour",
        cutmix: float = 0.5,
        one_pass: bool = False,
    ):
        super().__init__()
        self.net = arch.net()
        self.share, self.view, self.cutmix, self.one_pass = share, arch.view(VIEWS[view]), cutmix, one_pass

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        x = batch.x
        view, y = paste_neighbour(boxes(x, p=self.cutmix), self.view(x), batch.y)
        if self.one_pass:
            chosen = (torch.rand(len(x), device=x.device) < self.share)[:, None, None]
            return {"sup": dice_ce(self.net(cutmix(x, view, chosen)), cutmix(batch.y, y, chosen))}
        z, z_view = in_one_pass(self.net, x, view)
        return {"sup": (1 - self.share) * dice_ce(z, batch.y) + self.share * dice_ce(z_view, y)}

    def predict(self, x: Images) -> Logits:
        return self.net(x)
