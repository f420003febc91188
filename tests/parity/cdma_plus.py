"""CDMA+, derived pair by pair of decoders and image by image."""

import math

import torch
from parity.cdma import soft
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method

VARIANTS = ("no_warmup", "cam_teaches")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    images, labelled = torch.cat([batch.x, batch.u]), len(batch.x)
    features = method.encoder(images)
    logits = [decoder(features) for decoder in method.decoders]
    size = features[3].shape[-2:]  # of a U-Net's encoder: image, strides 2, 4, 8, 16, 32
    resized = [torch.nn.functional.interpolate(f, size, mode="bilinear") for f in features[3:]]
    maps = torch.einsum("nihw,ci->nchw", torch.cat(resized, 1), method.classifier.weight[:, :, 0, 0])
    cams = torch.nn.functional.interpolate(maps, images.shape[2:], mode="bilinear").softmax(1)
    cams = cams.detach() if method.detach else cams
    one, two, three = logits
    pairs = [(one, two), (one, three), (two, one), (two, three), (three, one), (three, two)]
    p = (one.softmax(1) + two.softmax(1) + three.softmax(1)) / 3
    classes, on = p.shape[1], 0.1 if t >= method.warmup else 0.0
    return {
        "sup": sum(sup(z[:labelled], batch.y) for z in logits) / 3 + 0.1 * wrong(maps[:labelled], batch.y),
        "cdkd": on * sum(soft(student, teacher, 10) for student, teacher in pairs) / 3,
        "um": on * sum(-p[:, c] * p[:, c].log() for c in range(classes)).mean() / math.log(classes),
        "cam": on * sum(((p[:, c] - cams[:, c]) ** 2).mean() for c in range(classes)) / classes,
    }


def wrong(maps: Tensor, y: Tensor) -> Tensor:
    """How surprised each image's scores are by the classes of its mask; without classes that all have, or none."""
    inside = [set(mask.flatten().tolist()) - {255} for mask in y]
    surprise = 0.0
    for c in range(maps.shape[1]):
        there = [c in classes if c else classes == {0} for classes in inside]
        for image, present in zip(maps, there, strict=True):
            probability = torch.sigmoid(image[c].mean())
            if any(there) and not all(there):
                surprise = surprise - torch.log(probability if present else 1 - probability)
    return surprise / maps[:, :, 0, 0].numel()
