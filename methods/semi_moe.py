"""Semi-MoE (2025): experts for classes, distances and boundaries, and gates that mix their features.

Vu et al., "Semi-MoE: mixture-of-experts meets semi-supervised histopathology segmentation", BMVC 2025,
https://arxiv.org/abs/2509.13834. Written from the anonymised release; of the paper only the abstract could be read.

Three networks have the last features f_1, f_2, f_3 and outputs z_k = head_k(f_k): classes, a signed distance (tanh) and
a boundary. From the means of all features over the pixels, m, the gate of task k gives one weight per image and expert:
h = ReLU(A m), w_k = softmax(C (h · softmax(B h))), and g_k = gated_head_k(Σ_e w_ke f_e).
l_1 = L_sup, l_2 is the squared difference of tanh and target, l_3 the Dice loss of the boundary; y_1 is the mask, y_2
the signed distance to the border of the foreground, y_3 a ring of two pixels outside of it. With a = (1, ½, 1):
L = Σ_k a_k [l_k(z_k, y_k) + l_k(g_k, y_k)] + weight · t · Σ_k a_k l_k(z_k(u), sg label(g_k(u))),
where labels are argmax, tanh and argmax, and l_1 on unlabelled images is Dice. The gated classes g_1 predict.

Settings: `weight` 0.5, `hidden` 96 and `ring` 2, as released. `predicts` "expert" is the first network alone.

Differences from the paper and the released code:
- The code learns the weights a_k of the tasks with an optimiser of their own, and a term that keeps them bounded. Here
  they stay at the ratio at which they start, because "sup" is 0 without annotated pixels for every method here.
- l_1 on labelled images is the supervised loss of every method; the code has Dice only. Dice sums over the batch, with
  squared denominators, here; the code sums over each image, and in l_3 without squares.
- In the code the distances of an image are also compared with those of the other images of the batch, because a
  dimension is missing. This is a defect, and is not repeated.
- The distance is positive outside and 1 or −1 where a class is missing or fills the crop (methods.parts.distance); in
  the code such images end the training. Distance and ring are those of all foreground classes together, as released.
- Pseudo-labels with only one class are scored over all classes; the code scores the classes that occur.
- The dropout of a gate is that of the last convolution of a network, so that a network without dropout has none.
- SGD with a rate of 0.5 and its schedule are not part of the method here.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from methods.base import IGNORE, Batch, Images, Logits, Masks, Method, register
from methods.parts.distance import signed_distances
from methods.parts.losses import annotated, at_least_single, dice, dice_ce, mean
from methods.parts.nets import Arch

TASKS = (1.0, 0.5, 1.0)  # weights of classes, distances and boundaries


@register
class SemiMoe(Method):
    title, year, venue, paper = "Semi-MoE", 2025, "BMVC", "https://arxiv.org/abs/2509.13834"
    variants: ClassVar = {"expert_predicts": {"predicts": "expert"}, "thick_ring": {"ring": 4}}

    def __init__(
        self, arch: Arch, *, weight: float = 0.5, hidden: int = 96, ring: int = 2,
        predicts: Literal["gated", "expert"] = "gated",
    ):  # fmt: skip
        super().__init__()
        self.experts = nn.ModuleList(arch.net() for _ in TASKS)
        *_, last = self.experts[0].decoder.head
        outputs, channels = (arch.classes, 1, 2), last.in_channels
        for expert in self.experts:
            expert.decoder.head = nn.Dropout2d(arch.dropout / 5)
        self.head, self.gated_head = (nn.ModuleList(nn.Conv2d(channels, n, 1) for n in outputs) for _ in range(2))
        self.gates = nn.ModuleList(Gate(channels, hidden, arch.dropout / 5) for _ in TASKS)
        self.weight, self.ring, self.predicts = weight, ring, predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled = len(batch.x)
        own, gated = self.outputs(torch.cat([batch.x, batch.u]))
        (z, distance, boundary), (z_gated, distance_gated, boundary_gated) = own, gated
        foreground = ((batch.y > 0) & annotated(batch.y)).long()
        target, ring = signed_distances(foreground, 2), outer_ring(batch.y, self.ring)
        known = annotated(batch.y).unsqueeze(1)
        sup = [
            dice_ce(z[:labelled], batch.y) + dice_ce(z_gated[:labelled], batch.y),
            sum(squared(d[:labelled].tanh(), target, known) for d in (distance, distance_gated)),
            dice(boundary[:labelled], ring) + dice(boundary_gated[:labelled], ring),
        ]
        pseudo = [
            dice(z[labelled:], z_gated[labelled:].argmax(1)),
            mean((distance[labelled:].tanh() - distance_gated[labelled:].detach().tanh()).square()),
            dice(boundary[labelled:], boundary_gated[labelled:].argmax(1)),
        ]
        sup, pseudo = (sum(a * term for a, term in zip(TASKS, terms, strict=True)) for terms in (sup, pseudo))
        return {"sup": sup, "pseudo": self.weight * t * pseudo}

    def outputs(self, x: Images) -> tuple[list[Tensor], list[Tensor]]:
        """The outputs of the experts and of the gates for the three tasks, at least in single precision."""
        features = [expert(x) for expert in self.experts]
        own = [at_least_single(head(f)) for head, f in zip(self.head, features, strict=True)]
        pooled, gated = torch.cat([f.mean((2, 3)) for f in features], 1), []
        for gate, head in zip(self.gates, self.gated_head, strict=True):
            mixed = sum(w[:, None, None, None] * f for w, f in zip(gate(pooled).unbind(1), features, strict=True))
            gated.append(at_least_single(head(mixed)))
        return own, gated

    def predict(self, x: Images) -> Logits:
        return self.head[0](self.experts[0](x)) if self.predicts == "expert" else self.outputs(x)[1][0]


class Gate(nn.Module):
    """Pooled features of all experts -> the weight of each expert, which add up to 1."""

    def __init__(self, channels: int, hidden: int, dropout: float):
        super().__init__()
        self.hidden, self.attention = nn.Linear(len(TASKS) * channels, hidden), nn.Linear(hidden, hidden)
        self.dropout, self.weights = nn.Dropout(dropout), nn.Linear(hidden, len(TASKS))

    def forward(self, pooled: Float[Tensor, "n f"]) -> Float[Tensor, "n experts"]:
        hidden = self.hidden(pooled).relu()
        return self.weights(self.dropout(hidden * self.attention(hidden).softmax(1))).softmax(1)


def outer_ring(y: Masks, width: int) -> Masks:
    """1 at background pixels at most `width` rows and columns away from foreground, else 0; IGNORE stays."""
    foreground = ((y > 0) & annotated(y)).float().unsqueeze(1)
    near = F.max_pool2d(foreground, 2 * width + 1, 1, width) > foreground
    return near.squeeze(1).long().masked_fill(~annotated(y), IGNORE)


def squared(values: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """The mean of the squared difference over annotated pixels."""
    return ((values - target).square() * known).sum() / known.sum().clamp_min(1)
