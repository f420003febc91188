"""AD-MT (2024): two averaged teachers that follow the student in turn; the student resolves their conflicts.

Zhao et al., "Alternate diverse teaching for semi-supervised medical image segmentation", ECCV 2024,
https://arxiv.org/abs/2311.17325

p_1, p_2 are the softmax outputs of the teachers on u, and H_k is the entropy of p_k in bits. The pseudo-label is that
of their mean with weights e^(−H_k):
ŷ, c = argmax and max over classes of (e^(−H_1) p_1 + e^(−H_2) p_2) / (e^(−H_1) + e^(−H_2)).
At pixels where the teachers predict different classes, and the student's class on u differs from ŷ with a confidence
greater than c, the student's class and confidence replace ŷ and c.
While the first teacher is active, the view v(u) is colour jitter and blur. While the second is active, v(u) has a box
of another image, of area 1 − Beta(4, 4), and the same box is pasted into labels and confidences.
L = L_sup + λ(t) · Dice(p(v(u)), ŷ) over the pixels with c ≥ threshold, λ(t) = weight · ramp(t).
After a step only the active teacher follows the student. After a random number of steps, U{1, …, longest}, the other
teacher becomes active. The student predicts.

Settings:
- `weight` 2, `ramp` 0.25, `threshold` 0.95 and `decay` 0.99, as released for slices. In short runs the average is
  shorter (methods.parts.schedule, with half of the steps, because each teacher follows in half of them).
- `period` 1/600 is the longest period as a fraction of training (released: 50 of 30,000 steps), but at least 10 steps
  or a tenth of the run, whichever is shorter.
- `exchange` false leaves conflicts between the teachers as they are.

Differences from the paper and the released code:
- In steps with a box, the code takes the student's class from the unmixed image, also inside the box, where it belongs
  to another image. This is a defect; here the student's class is mixed with the same box.
- The student labels u without gradient and dropout; in the code this is part of the pass with gradient, without a loss.
- Both teachers predict in evaluation mode; in the code the active teacher keeps its dropout.
- A teacher starts as the true average of its first steps; the code copies the student for the first 100 steps.
- The CutMix partner is the preceding image of the batch; the code draws a permutation. A Beta number is drawn for each
  image, not once for the batch.
- Both views are computed in each step and one is selected, so that every step is the same computation.
- Left out: the form for volumes, with cross entropy, and the separate weight of conflicts, which is 1 in the release.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice_ce, ramp
from methods.parts.nets import Arch, in_one_pass
from methods.parts.pseudo import kept_dice, log_probabilities, own_label, paste_neighbour, pseudo_label
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher
from methods.parts.views import beta, boxes, random_blur, random_colour, strong_stain


@register
class AdMt(Method):
    title, year, venue, paper = "AD-MT", 2024, "ECCV", "https://arxiv.org/abs/2311.17325"
    strong_views = True
    variants: ClassVar = {
        **{"no_threshold": {"threshold": 0.0}, "view_he": {"view": "h&e"}, "constant": {"ramp": 0.0}},
        "both_follow": {"alternate": False},
        **{"teacher_predicts": {"predicts": "teacher"}, "published_decay": {"adapt_decay": False}},
    }
    tuned: ClassVar = {"threshold": (0.5, 0.99)}

    def __init__(
        self, arch: Arch, *, weight: float = 2.0, ramp: float = 0.25, threshold: float = 0.95, decay: float = 0.99,
        adapt_decay: bool = True, period: float = 1 / 600, exchange: bool = True, alternate: bool = True,
        view: Literal["colour", "h&e"] = "colour", predicts: Literal["student", "teacher"] = "student",
    ):  # fmt: skip
        super().__init__()
        self.student = arch.net()
        decay = adapted_decay(decay, arch.steps // 2, adapt_decay)
        self.teachers = nn.ModuleList(Teacher(self.student, decay) for _ in range(2))
        self.register_buffer("first", torch.ones((), dtype=torch.bool))  # whether the first teacher is active
        self.longest = max(round(period * arch.steps), min(10, arch.steps // 10), 1)
        self.register_buffer("left", torch.randint(1, self.longest + 1, ()))  # steps until the other teacher is active
        self.ramp = adapted_share(ramp, arch.steps)
        self.weight, self.threshold, self.exchange, self.alternate = weight, threshold, exchange, alternate
        self.view, self.predicts = arch.view({"colour": colour, "h&e": strong_stain}[view]), predicts

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        u = batch.u
        log_p1, log_p2 = (log_probabilities(teacher(u)) for teacher in self.teachers)
        own_y, own_confidence = own_label(self.student, u)
        y, confidence = pseudo_label(ensemble(log_p1, log_p2))
        conflict = (log_p1.argmax(1) != log_p2.argmax(1)) & (own_y != y) & (own_confidence > confidence) & self.exchange
        y, confidence = torch.where(conflict, own_y, y), torch.where(conflict, own_confidence, confidence)
        where = boxes(u, area=1 - beta(u, 4, 4), aspect=(1, 1), p=1) & ~self.first
        view, y, confidence = paste_neighbour(where, torch.where(self.first, self.view(u), u), y, confidence)
        z, z_view = in_one_pass(self.student, batch.x, view)
        pseudo = kept_dice(z_view, y, confidence >= self.threshold)
        return {"sup": dice_ce(z, batch.y), "pseudo": self.weight * ramp(t, self.ramp) * pseudo}

    def after_step(self) -> None:
        first_teacher, second_teacher = self.teachers
        first_teacher.update(self.student, self.first | (not self.alternate))
        second_teacher.update(self.student, ~self.first | (not self.alternate))
        self.left -= 1
        ends = self.left == 0
        self.left.copy_(torch.where(ends, torch.randint_like(self.left, 1, self.longest + 1), self.left))
        self.first.logical_xor_(ends)

    def predict(self, x: Images) -> Logits:
        return ensemble(*(teacher(x) for teacher in self.teachers)) if self.predicts == "teacher" else self.student(x)


def colour(x: Images) -> Images:
    """Colour jitter without grey, and blur for a fifth of the images."""
    return random_blur(random_colour(x, grey=0.0), p=0.2)


def ensemble(first: Logits, second: Logits) -> Logits:
    """ln of the mean of two predictions' probabilities, with weights e^(−entropy in bits) at each pixel."""
    first, second = log_probabilities(first), log_probabilities(second)
    h_first, h_second = bits(first), bits(second)
    return torch.logaddexp(first - h_first, second - h_second) - torch.logaddexp(-h_first, -h_second)


def bits(log_p: Logits) -> Float[Tensor, "n 1 h w"]:
    """The entropy of each pixel, in bits."""
    return -(log_p.exp() * log_p).sum(1, keepdim=True) / math.log(2)
