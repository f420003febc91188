"""Low-rank adaptation (LoRA) of a frozen transformer: small trained matrices beside its attention layers."""

import re

from torch import Tensor, nn

FULL = "full"  # every parameter of the encoder is trained


class Lora(nn.Module):
    """A frozen linear layer plus a trained map of low rank, B (A x), which is 0 at first.

    Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, https://arxiv.org/abs/2106.09685.
    The scale α / r of the paper is 1 here, and there is no dropout before A, so that networks without dropout are
    deterministic. Zhang et al. (NeurIPS 2025, https://arxiv.org/abs/2503.09707) also have scale 1, and dropout 0.1.
    """

    def __init__(self, layer: nn.Linear, rank: int):
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.up(self.down(x))


def rank_of(adapt: str) -> int:
    """The rank of an adaptation: 8 of "lora:8"; 0 of "full".

    Raises:
        ValueError: if it is neither.
    """
    found = re.fullmatch(r"lora:([1-9][0-9]{0,3})", adapt)
    if not found and adapt != FULL:
        raise ValueError(f"The encoder cannot be adapted by '{adapt}'; give '{FULL}', or lora:RANK, such as lora:8.")
    return int(found[1]) if found else 0


def add_lora(encoder: nn.Module, name: str, rank: int) -> None:
    """Freezes an encoder, and adapts the joint projection to queries, keys and values of every attention layer.

    Raises:
        ValueError: if the encoder has no such projection; `name` is the encoder in this message.
    """
    encoder.requires_grad_(False)
    layers = [m for m in encoder.modules() if isinstance(getattr(m, "qkv", None), nn.Linear)]
    layers = [m for m in layers if not hasattr(m, "q_bias")]  # those read the weight of the projection themselves
    if not layers:
        raise ValueError(
            f"Encoder '{name}' has no attention layer that LoRA can adapt; choose a plain vision transformer, such as "
            f"'tu-vit_small_patch14_dinov2', or --adapt {FULL}."
        )
    for layer in layers:
        layer.qkv = Lora(layer.qkv, rank)
