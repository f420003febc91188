"""ICT (2019): the prediction of a mixture of two images is the mixture of the teacher's predictions.

Verma et al., "Interpolation consistency training for semi-supervised learning", IJCAI 2019,
https://arxiv.org/abs/1903.03825

Unlabelled images u_0 and u_1 are paired. Each pair has its own share s ~ Beta(α, α):
L = L_sup + λ(t) · mean over pairs, classes and pixels of
(p_S((1 − s) u_0 + s u_1) − sg [(1 − s) p_T(u_0) + s p_T(u_1)])², with λ(t) = weight · ramp(t) and θ_T as in Mean
Teacher. The teacher predicts unperturbed images, without dropout.

Settings: `alpha` 0.2, `weight` 0.1, `decay` 0.99 and `ramp` over the whole training, as in the segmentation port.
Variant "cifar10" has the settings of the paper's classification (weight 100, α 1, ramp over a quarter, decay 0.999).

Differences from the paper and the released code:
- The first half of the unlabelled images is mixed with the second half, as in the port. If their number is odd, the
  middle image is in both halves. The paper pairs the whole batch with a permutation of itself, which needs twice as
  many forward passes.
- The port splits the unlabelled batch at half of the number of labelled images, which is right only if both numbers
  are equal.
- Each pair has its own share, as in the port; the paper draws one share for the batch.
- The targets are mixed probabilities, as in the paper's formula and the port; the paper's code mixes logits.
- The paper also mixes labelled images. Here the supervised loss is the same for every method, as in the port.
- The teacher predicts, as in the paper's evaluation; the port evaluates the student (variant "student_predicts").
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from scipy.special import betaincinv
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.consistency import probabilities
from methods.parts.losses import dice_ce, mse, ramp
from methods.parts.nets import Arch, in_one_pass
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher

CELLS = 4096  # cells of the table of quantiles; all have the same probability


@register
class Ict(Method):
    title, year, venue, paper = "ICT", 2019, "IJCAI", "https://arxiv.org/abs/1903.03825"
    variants: ClassVar = {
        "student_predicts": {"predicts": "student"},
        "published_decay": {"adapt_decay": False},
        "even_shares": {"alpha": 1.0},
        "cifar10": {"weight": 100.0, "alpha": 1.0, "ramp": 0.25, "decay": 0.999},
    }
    tuned: ClassVar = {"alpha": (0.1, 1.0)}

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 0.1,
        alpha: float = 0.2,
        decay: float = 0.99,
        adapt_decay: bool = True,
        ramp: float = 1.0,
        predicts: Literal["teacher", "student"] = "teacher",
    ):
        super().__init__()
        if alpha <= 0:
            raise ValueError(f"alpha {alpha} is not a parameter of a Beta distribution; give a number above 0.")
        quantiles = torch.from_numpy(betaincinv(alpha, alpha, torch.linspace(0, 1, CELLS + 1).double().numpy()))
        self.register_buffer("quantiles", quantiles.float(), persistent=False)
        self.student = arch.net()
        self.teacher = Teacher(self.student, adapted_decay(decay, arch.steps, adapt_decay))
        self.weight, self.alpha, self.predicts = weight, alpha, predicts
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        share = self.shares((len(batch.u) + 1) // 2).to(batch.u.dtype).view(-1, 1, 1, 1)
        z, z_mixed = in_one_pass(self.student, batch.x, mixed(batch.u, share))
        target = mixed(probabilities(self.teacher(batch.u)), share)
        consistency = mse(probabilities(z_mixed), target)
        return {"sup": dice_ce(z, batch.y), "consistency": self.weight * ramp(t, self.ramp) * consistency}

    def shares(self, pairs: int) -> Float[Tensor, "pairs"]:
        """Samples from Beta(α, α), computed on the device: the quantiles of uniform numbers, from a table."""
        place = torch.rand(pairs, device=self.quantiles.device) * CELLS
        below = place.long().clamp_max(CELLS - 1)
        return torch.lerp(self.quantiles[below], self.quantiles[below + 1], (place - below).to(self.quantiles.dtype))

    def after_step(self) -> None:
        self.teacher.update(self.student)

    def predict(self, x: Images) -> Logits:
        return self.teacher(x) if self.predicts == "teacher" else self.student(x)


def mixed(values: Tensor, share: Tensor) -> Tensor:
    """(1 − share) · the first half + share · the second half; of an odd number the middle element is in both halves."""
    pairs = len(share)
    return torch.lerp(values[:pairs], values[len(values) - pairs :], share)
