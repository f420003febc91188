"""The teacher: a network with the averaged weights of another network."""

import copy

import torch
from jaxtyping import Bool
from torch import Tensor, nn


class Teacher(nn.Module):
    """An averaged, frozen copy of a network, always in evaluation mode; no gradient passes through it.

    Methods pass `adapted_decay(decay, arch.steps)` of methods.parts.schedule, so that the teacher does not lag behind
    in short runs.

    Update k = 0, 1, … moves every parameter and floating-point buffer towards that of the network by (1 − a_k) of their
    difference, and copies other buffers. a_k = min(1 − 1/(k + 1), decay): the true average at first, the exponential
    average later.
    """

    def __init__(self, net: nn.Module, decay: float = 0.99):
        super().__init__()
        frozen = {id(parameter): parameter for parameter in net.parameters() if not parameter.requires_grad}
        self.net, self.decay = copy.deepcopy(net, frozen).requires_grad_(False), decay  # shares what is not trained
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    @torch.no_grad()
    def update(self, net: nn.Module, active: Bool[Tensor, ""] | None = None) -> None:
        """Updates the average; call it once after each optimiser step.

        Args:
            net: the network, with the same architecture as the one that the teacher was built from.
            active: a boolean on the device; if it is False, the teacher stays unchanged and counts no update.
        """
        active = torch.ones_like(self.updates, dtype=torch.bool) if active is None else active
        step = active * (1 / (self.updates.double() + 1)).clamp_min(1 - self.decay)  # 1 − a_k, on the device
        own, followed = _state(self.net), _state(net)
        own = {name: value for name, value in own.items() if value is not followed[name]}
        averaged = [name for name in own if own[name].is_floating_point()]
        gaps = torch._foreach_sub([followed[name] for name in averaged], [own[name] for name in averaged])
        torch._foreach_mul_(gaps, step.to(gaps[0].dtype))  # one GPU kernel for all, if the dtypes are equal
        torch._foreach_add_([own[name] for name in averaged], gaps)
        for name in own.keys() - set(averaged):
            own[name].copy_(torch.where(active, followed[name], own[name]))
        self.updates += active

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}
