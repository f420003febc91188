"""What the field does instead: patches from files through MONAI, and networks in their plain form."""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from monai import transforms
from monai.data import DataLoader, Dataset
from torch import Tensor

from benchmark import machine
from methods.base import Batch
from methods.cdma import Cdma
from methods.parts.branches import cross_distill
from methods.parts.losses import dice_ce, entropy, log_mean_softmax


def pipeline(crop: int | None = None) -> transforms.Compose:
    """Load, scale, flip, quarter turn, Gaussian noise: the released augmentation of CDMA, on image and mask."""
    both = ["image", "label"]
    return transforms.Compose([
        transforms.LoadImaged(both, reader="PILReader"),
        transforms.EnsureChannelFirstd(both),
        transforms.ScaleIntensityd("image"),
        *([transforms.RandSpatialCropd(both, crop, random_size=False)] if crop else []),
        transforms.RandAxisFlipd(both, prob=0.5),
        transforms.RandRotate90d(both, prob=0.5),
        transforms.RandGaussianNoised("image", prob=0.25, std=0.1),
    ])  # fmt: skip


def loader(folder: Path, batch: int, batches: int, crop: int | None = None) -> DataLoader:
    """Two workers that go through the folder's patches until so many batches are full."""
    images = sorted((folder / "images").iterdir())
    files = [{"image": str(path), "label": str(folder / "masks" / f"{path.stem}.png")} for path in images]
    files = (files * (1 + batch * batches // len(files)))[: batch * batches]
    data = Dataset(files, pipeline(crop))
    return DataLoader(data, batch_size=batch, shuffle=True, num_workers=2, persistent_workers=True)


def endless(loader: DataLoader, labelled: int, device: torch.device) -> Iterator[Batch]:
    """Batches whose first images are the labelled ones."""
    while True:
        for found in loader:
            x, y = found["image"].as_tensor().to(device), found["label"].as_tensor().to(device)
            yield Batch(x[:labelled], (y[:labelled, 0] > 0).long(), x[labelled:])


@contextlib.contextmanager
def usual_memory() -> Iterator[None]:
    """The allocator as it is after a few large arrays where nobody tells it to keep memory."""
    choose = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
    choose(-3, 32 << 20)  # M_MMAP_THRESHOLD, the largest that it takes by itself
    choose(-1, 64 << 20)  # M_TRIM_THRESHOLD, twice as much
    yield
    machine.keep_memory()


def apart(method: Cdma, batch: Batch) -> dict[str, Tensor]:
    """CDMA's losses, by one forward pass for labelled and another for unlabelled images."""
    labelled, unlabelled = (_branches(method, images) for images in (batch.x, batch.u))
    sup = sum(dice_ce(z, batch.y) for z in labelled) / len(labelled)
    branches = [torch.cat(both) for both in zip(labelled, unlabelled, strict=True)]
    cdkd, um = cross_distill(branches, method.temperature), entropy(log_mean_softmax(branches))
    return {"sup": sup, "cdkd": method.weight_cdkd * cdkd, "um": method.weight_um * um}


def _branches(method: Cdma, images: Tensor) -> Sequence[Tensor]:
    features = method.encoder(images)
    return [decoder(features) for decoder in method.decoders]
