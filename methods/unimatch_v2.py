"""UniMatch V2 (2025): an averaged teacher gives pseudo-labels for two strong views with complementary dropout.

Yang, Zhao & Zhao, "UniMatch V2: pushing the limit of semi-supervised semantic segmentation", TPAMI 2025,
https://arxiv.org/abs/2410.10777

ŷ, c = argmax and max over classes of the teacher's softmax on u. s_1(u), s_2(u) are strong views drawn independently:
colour jitter or grey, blur, and with probability `cutmix` a box of another image with its ŷ and c. For a fraction
`dropout` of the images, the decoder gets half of the channels of each feature map of s_1(u), doubled, and the other
half of those of s_2(u). This replaces the network's own dropout of the deepest features, which labelled images keep.
L = L_sup + weight · ½ Σ_k mean over ALL pixels of 1[c ≥ threshold] · (−ln p_ŷ(s_k(u))). The teacher follows the student
by θ_T ← a θ_T + (1 − a) θ_S after each step, a = min(1 − 1/(k + 1), decay), and predicts without dropout and gradient.
The teacher's predictions are those of the method.

Settings: `threshold` 0.95, `cutmix` 0.5, `dropout` 0.5, `decay` 0.996 and `weight` 1, as released; there is no ramp.
The published network is a DINOv2 transformer with a DPT decoder: decoder "dpt" on an encoder such as
"tu-vit_small_patch14_dinov2", with its weights in a file. The method is the same on any other network.

Differences from the paper and the released code:
- The code halves both terms, and trains the encoder with a learning rate of 5e-6 and the decoder with 40 times as much.
  Here the one optimiser of the comparison trains every method; for a pretrained transformer choose a learning rate
  closer to that of the encoder.
- The dropped channels are drawn separately for each feature map, because the maps of a CNN differ in their number of
  channels. The released transformer has four maps of equal width and drops the same channels in all of them.
- The CutMix partner is the preceding image in the batch of both views. The code uses the batch in reverse order, which
  leaves the middle image of an odd batch unmixed.
- The weak views are those of the harness, and the supervised loss is the same for every method.
- In short runs the average is shorter (methods.parts.schedule). With the released decay the teacher would be the plain
  mean of all networks of the first 250 steps and would lag behind (variant "published_decay").
- The release reports student and teacher and keeps the best checkpoint of the student. Here the teacher is declared in
  advance; variant "student_predicts" uses the student.
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
    strong_views = True
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
        self.student, self.view = arch.net(), arch.view(strong)
        self.dropout, self.student.encoder.dropout = self.student.encoder.dropout, nn.Identity()
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.threshold, self.cutmix, self.predicts = weight, threshold, cutmix, predicts
        self.drop = partial(complementary_dropout, share=dropout)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, twice = len(batch.x), torch.cat([batch.u, batch.u])
        y, confidence = (values.repeat(2, 1, 1) for values in pseudo_label(self.teacher(batch.u)))
        views, y, confidence = paste_neighbour(boxes(twice, p=self.cutmix), self.view(twice), y, confidence)
        *features, deep = self.student.encoder(torch.cat([batch.x, views]))
        features = [*features, torch.cat([self.dropout(deep[:labelled]), deep[labelled:]])]
        logits = self.student.decoder(perturbed_from(features, labelled, self.drop))
        return {
            "sup": dice_ce(logits[:labelled], batch.y),
            "strong": self.weight * kept_cross_entropy(logits[labelled:], y, confidence >= self.threshold),
        }

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)
