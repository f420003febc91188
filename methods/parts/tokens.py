"""Plain vision transformers of timm as encoders: maps of tokens at four depths, for images of any size."""

import timm
from torch import Tensor, nn

DEPTHS = 4  # number of depths with features, evenly spaced; the last is the deepest


class Tokens(nn.Module):
    """Images (n, 3, h, w) of whole patches -> [image, four maps (n, width, h / patch, w / patch)], each normalised.

    Position embeddings are interpolated to the grid of the image. Class and register tokens are used inside the
    transformer only. The classifier with its norm and pooling is left out, because no feature depends on it.
    """

    def __init__(self, name: str, pretrained: bool = False):
        super().__init__()
        self.model = timm.create_model(name, pretrained=pretrained, dynamic_img_size=True)
        reductions = {stage["reduction"] for stage in self.model.feature_info}
        if len(reductions) != 1:
            raise ValueError(f"its features have the strides {', '.join(map(str, sorted(reductions)))}")
        blocks, (self.patch,) = len(self.model.feature_info), reductions
        self.places = [blocks * depth // DEPTHS - 1 for depth in range(1, DEPTHS + 1)]
        self.model.prune_intermediate_layers(self.places, prune_norm=False, prune_head=True)
        self.out_channels = 3, *[self.model.feature_info[place]["num_chs"] for place in self.places]

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, *self.model.forward_intermediates(x, indices=self.places, norm=True, intermediates_only=True)]
