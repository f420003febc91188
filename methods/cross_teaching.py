"""Cross Teaching (2022): a CNN and a transformer give each other pseudo-labels.

Luo et al., "Semi-supervised medical image segmentation via cross teaching between CNN and Transformer", MIDL 2022,
https://arxiv.org/abs/2112.04894

Two networks have the logits z_1 (CNN) and z_2 (transformer), the softmax p_i, and the hard labels ŷ_i = argmax_c z_i:
L = L_sup(z_1) + L_sup(z_2) + λ(t) [Dice(p_1, sg ŷ_2) + Dice(p_2, sg ŷ_1)], with λ(t) = weight · ramp(t).
L_sup = ½ CE + ½ Dice on the labelled images. The cross terms use all pixels of the unlabelled images, without a
threshold, as batch-wise Dice over all classes (methods.parts.losses.dice). Only the CNN predicts.

Settings: `weight` 0.1 and `ramp` over the whole training, as released; `second_encoder` "mit_b0"; `second_weights`.

Differences from the paper and the released code:
- The transformer is SegFormer's encoder (MiT, Xie et al., NeurIPS 2021) with a U-Net decoder, not Swin-UNet. Swin-UNet
  accepts only images of 224 pixels and multiples, because of its windows; MiT accepts any size. The decoder is a U-Net
  whatever decoder the CNN has, because the stages of MiT cannot be dilated. With `second_encoder="same"` the second
  network has the architecture of the first. An encoder of its own is always trained whole, also with LoRA in the first.
- The released Swin-UNet starts from ImageNet weights. No package contains MiT weights, so the transformer starts from
  random weights unless `second_weights` is a file or, if the hub can be reached, "imagenet". With random weights the
  transformer gives weak pseudo-labels in short runs: consider this when you read a comparison.
- Both networks use the one optimiser of the comparison. Transformers learn badly with the released SGD at 0.01; choose
  AdamW. The release keeps the best checkpoint of each network and reports both; here the CNN is declared in advance.
- As released, a class that the other network predicts nowhere in the batch has a Dice loss near 1, and its gradient
  lowers the probability of this class.
"""

import dataclasses
from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import dice, dice_ce, ramp
from methods.parts.nets import Arch
from methods.parts.schedule import adapted_share


@register
class CrossTeaching(Method):
    title, year, venue, paper = "Cross Teaching", 2022, "MIDL", "https://arxiv.org/abs/2112.04894"
    variants: ClassVar = {
        "two_cnns": {"second_encoder": "same"},
        "constant": {"ramp": 0.0},
        "transformer_predicts": {"predicts": "transformer"},
    }

    def __init__(
        self,
        arch: Arch,
        *,
        weight: float = 0.1,
        ramp: float = 1.0,
        second_encoder: str = "mit_b0",
        second_weights: str = "none",  # or a file, or "imagenet" from the hub; "same": as the first
        predicts: Literal["cnn", "transformer"] = "cnn",
    ):
        super().__init__()
        if second_encoder == "same" and second_weights != "none":
            raise ValueError("second_encoder 'same' uses the weights of the first encoder; leave out second_weights.")
        second = {"encoder_name": second_encoder, "decoder_name": "unet", "weights": second_weights, "adapt": "full"}
        self.cnn = arch.net()
        self.transformer = dataclasses.replace(arch, **({} if second_encoder == "same" else second)).net()
        self.weight, self.predicts = weight, predicts
        self.ramp = adapted_share(ramp, arch.steps)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, images = len(batch.x), torch.cat([batch.x, batch.u])
        z1, z2 = self.cnn(images), self.transformer(images)
        u1, u2 = z1[labelled:], z2[labelled:]
        cross = dice(u1, u2.argmax(1)) + dice(u2, u1.argmax(1))
        return {
            "sup": dice_ce(z1[:labelled], batch.y) + dice_ce(z2[:labelled], batch.y),
            "cross": self.weight * ramp(t, self.ramp) * cross,
        }

    def predict(self, x: Images) -> Logits:
        return self.cnn(x) if self.predicts == "cnn" else self.transformer(x)
