"""A network that follows another as the average of its past."""

import copy

import torch
from jaxtyping import Bool
from torch import Tensor, nn


class Teacher(nn.Module):
    """An averaged, frozen copy of a network, always in evaluation mode; no gradient passes through it.

    Methods pass `adapted_decay(decay, arch.steps)` of methods.parts.schedule, so that it does not lag in short runs.

    Update k = 0, 1, … moves every parameter and floating buffer by (1 − a_k) of its gap to the network's, and copies
    other buffers; a_k = min(1 − 1/(k + 1), decay): the true average at first, the exponential one later.
    """

    def __init__(self, net: nn.Module, decay: float = 0.99):
        super().__init__()
        self.net, self.decay = copy.deepcopy(net).requires_grad_(False), decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    @torch.no_grad()
    def update(self, net: nn.Module, active: Bool[Tensor, ""] | None = None) -> None:
        """Follows the network by one step; call it once after each optimiser step.

        Args:
            net: the network, of the same kind as the one that the teacher was made from.
            active: a truth value on the device; where it is False, the teacher stays as it is and counts no update.
        """
        active = torch.ones_like(self.updates, dtype=torch.bool) if active is None else active
        step = active * (1 / (self.updates.double() + 1)).clamp_min(1 - self.decay)  # 1 − a_k, on the device
        mine, theirs = _state(self.net), _state(net)
        averaged = [name for name in mine if mine[name].is_floating_point()]
        gaps = torch._foreach_sub([theirs[name] for name in averaged], [mine[name] for name in averaged])
        torch._foreach_mul_(gaps, step.to(gaps[0].dtype))  # on a GPU one kernel for all, of another dtype one for each
        torch._foreach_add_([mine[name] for name in averaged], gaps)
        for name in mine.keys() - set(averaged):
            mine[name].copy_(torch.where(active, theirs[name], mine[name]))
        self.updates += active

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}
