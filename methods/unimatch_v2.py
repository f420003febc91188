"""UniMatch V2 (2025): an averaged teacher labels; two strong views lack each other's features.

Yang, Zhao & Zhao, "UniMatch V2: pushing the limit of semi-supervised semantic segmentation", TPAMI 2025,
https://arxiv.org/abs/2410.10777

ŷ, c = argmax and max over classes of the teacher's softmax on u; s_1(u), s_2(u) are strong views drawn independently:
colour jitter or grey, blur, and with probability `cutmix` a box of another image with its ŷ and c. In a share `dropout`
of the images the decoder sees half of each map's channels of s_1(u), doubled, and the other half of those of s_2(u);
this takes the place of the network's own dropout of deep features, which labelled images keep.
L = L_sup + weight · ½ Σ_k mean over ALL pixels of 1[c ≥ threshold] · (−ln p_ŷ(s_k(u))); the teacher follows by
θ_T ← a θ_T + (1 − a) θ_S after each step, a = min(1 − 1/(k + 1), decay), without dropout and gradient. It predicts.

Settings: `threshold` 0.95, `cutmix` 0.5, `dropout` 0.5, `decay` 0.996, `weight` 1, as released; no ramp. The published
network is a DINOv2 transformer under DPT: decoder "dpt" on an encoder such as "tu-vit_small_patch14_dinov2", with its
weights in a file. The method is the same on any other.

Differences from the released code:
- It halves both terms, and learns the encoder at 5e-6 and the decoder 40 times faster. Here one optimiser, the
  comparison's, serves every method; for a pretrained transformer choose a learning rate nearer to the encoder's.
- Which channels are dropped is drawn for each map, because those of a CNN differ in number; the released transformer
  has four maps of one width and drops the same channels of all.
- CutMix partners are predecessors in the batch of both views, not the batch in reverse, which leaves the middle image
  of an odd batch unmixed. The weak views are the harness's, and labels are learnt with everyone's loss.
- In short runs the average is shorter (methods.parts.schedule): with the released decay it would be the plain mean of
  all networks of the first 250 steps, and the teacher would lag (variant "published_decay").
- The release reports student and teacher and keeps the student's best checkpoint; here the teacher is declared, and the
  student is variant "student_predicts".
"""

from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.consistency import perturbed_from
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch
from methods.parts.perturb import complementary_dropout
from methods.parts.pseudo import kept_cross_entropy, paste_neighbour, pseudo_label
from methods.parts.schedule import adapted_decay
from methods.parts.teacher import Teacher
from methods.parts.views import boxes, strong


@register
class UniMatchV2(Method):
    title, year, venue, paper = "UniMatch V2", 2025, "TPAMI", "https://arxiv.org/abs/2410.10777"
    variants: ClassVar = {
        "no_dropout": {"dropout": 0.0},
        "no_cutmix": {"cutmix": 0.0},
        "no_average": {"decay": 0.0},
        "threshold_80": {"threshold": 0.8},
        "student_predicts": {"predicts": "student"},
        "published_decay": {"adapt_decay": False},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 1.0,
        threshold: float = 0.95,
        cutmix: float = 0.5,
        dropout: float = 0.5,
        decay: float = 0.996,
        adapt_decay: bool = True,
        predicts: Literal["teacher", "student"] = "teacher",
    ):
        super().__init__()
        self.student = arch.net()
        self.dropout, self.student.encoder.dropout = self.student.encoder.dropout, nn.Identity()
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.threshold, self.cutmix, self.predicts = weight, threshold, cutmix, predicts
        self.drop = partial(complementary_dropout, share=dropout)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, twice = len(batch.x), torch.cat([batch.u, batch.u])
        y, surety = (values.repeat(2, 1, 1) for values in pseudo_label(self.teacher(batch.u)))
        views, y, surety = paste_neighbour(boxes(twice, p=self.cutmix), strong(twice), y, surety)
        *features, deep = self.student.encoder(torch.cat([batch.x, views]))
        features = [*features, torch.cat([self.dropout(deep[:labelled]), deep[labelled:]])]
        logits = self.student.decoder(perturbed_from(features, labelled, self.drop))
        return {
            "sup": dice_ce(logits[:labelled], batch.y),
            "strong": self.weight * kept_cross_entropy(logits[labelled:], y, surety >= self.threshold),
        }

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
