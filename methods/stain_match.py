"""StainMatch (2025, ours): FixMatch with a strong view that changes the staining of haematoxylin and eosin.

This is our name for FixMatch with a strong view made for haematoxylin and eosin. It shows whether a gain is due to the
view or to the method. The view is that of Tellez et al., "Quantifying the effects of data augmentation and stain color
normalization in convolutional neural networks for computational pathology", Medical Image Analysis 2019,
https://arxiv.org/abs/1902.06543. Related: CSDS (Pham et al., "Learning disentangled stain and structural
representations for semi-supervised histopathology segmentation", COMPAYL at MICCAI 2025,
https://arxiv.org/abs/2507.03923) trains one student with stain views and another with structure views, both from one
averaged teacher, weighted by uncertainty. StainMatch is not CSDS: it has one network, one kind of view, and the
threshold of FixMatch.

ŷ, c = argmax and max over classes of sg p(u). For the strong view s(u), the optical density is split into haematoxylin,
eosin and a third stain. With probability 0.8 the concentration of each stain becomes α · concentration + β with
α ~ U(1 ± 0.2) and β ~ U(±0.2). A small change of brightness and contrast, blur, and with probability `cutmix` a box of
another image follow.
L = L_sup + weight · mean over ALL unlabelled pixels of 1[c ≥ threshold] · (−ln p_ŷ(s(u))).

Settings:
- `threshold` 0.95, `cutmix` 0.5 and `weight` 1, as in FixMatch.
- `view` "stain" leaves out brightness, contrast and blur (variant "stain_only"). `view` "colour" is the view of
  FixMatch, which makes this method FixMatch (variant "colour").

Differences from FixMatch:
- Only the view differs. The colour jitter of FixMatch changes the hue by up to a quarter turn and sometimes removes all
  colour, which no laboratory does. The stain view stays within the differences between slides, stainers and scanners.
"""

from typing import ClassVar, Literal

from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import kept_cross_entropy, own_label, paste_neighbour
from methods.parts.views import VIEWS, boxes


@register
class StainMatch(Method):
    title, year, venue, paper = "StainMatch (ours)", 2025, "", "https://arxiv.org/abs/1902.06543"
    strong_views = True
    own_defaults: ClassVar = ("view",)
    variants: ClassVar = {
        **{"stain_only": {"view": "stain"}, "colour": {"view": "colour"}},
        **{"no_cutmix": {"cutmix": 0.0}, "threshold_80": {"threshold": 0.8}},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 1.0,
        threshold: float = 0.95,
        cutmix: float = 0.5,
        view: Literal["h&e", "stain", "colour"] = "h&e",
    ):
        super().__init__()
        self.net = arch.net()
        self.weight, self.threshold, self.cutmix, self.view = weight, threshold, cutmix, arch.view(VIEWS[view])

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        y, confidence = own_label(self.net, batch.u)
        view, y, confidence = paste_neighbour(boxes(batch.u, p=self.cutmix), self.view(batch.u), y, confidence)
        z, z_view = in_one_pass(self.net, batch.x, view)
        stain_loss = kept_cross_entropy(z_view, y, confidence >= self.threshold)
        return {"sup": dice_ce(z, batch.y), "stain": self.weight * stain_loss}

    def predict(self, x: Images) -> Logits:
        return self.net(x)
