"""Decoders with different attention, and the distillation between them."""

from collections.abc import Sequence
from itertools import permutations
from typing import Literal

from torch import Tensor, nn

from methods.base import Logits
from methods.parts.attention import Channel, ChannelSpatial, Spatial
from methods.parts.losses import cross_entropy, divergence, tempered
from methods.parts.nets import Arch

Kind = Literal["none", "channel", "spatial", "both"]
ATTENTIONS = {"none": None, "channel": Channel, "spatial": Spatial, "both": ChannelSpatial}


def attentive(arch: Arch, kinds: Sequence[Kind]) -> nn.ModuleList:
    """One decoder with each kind of attention, each with its own initial weights."""
    return nn.ModuleList(arch.decoder(ATTENTIONS[kind]) for kind in kinds)


def cross_distill(branches: Sequence[Logits], temperature: float) -> Tensor:
    """(1/K) Σ_i Σ_{j≠i} of the loss of student i with teacher j: the mean over students of the sum over teachers.

    The loss of a pair is T² · KL(softmax(sg z_j / T) ‖ softmax(z_i / T)), summed over classes, mean over pixels; with
    temperature 0 it is the cross entropy with the teacher's argmax. With a single branch it is 0.
    """

    if temperature == 0:
        pair_losses = [cross_entropy(student, teacher.argmax(1)) for student, teacher in permutations(branches, 2)]
    else:
        log_p = [tempered(z, temperature) for z in branches]  # once per branch, for all its pairs
        pair_losses = [
            temperature**2 * divergence(teacher.detach(), student) for student, teacher in permutations(log_p, 2)
        ]
    return sum(pair_losses, start=branches[0].new_zeros(())) / len(branches)
