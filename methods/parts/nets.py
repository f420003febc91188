"""The networks of every method: an encoder of segmentation-models-pytorch or timm, and one of three decoders.

Encoders and decoder blocks are from segmentation-models-pytorch, plain vision transformers from timm.

With `norm="frozen"` nothing mixes the images of a batch: the batch norms of a pretrained encoder keep their pretrained
statistics (their affine parameters are trained), and every other batch norm is replaced by a group norm. So images in
the same forward pass do not influence each other.
"""

import contextlib
import difflib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import segmentation_models_pytorch.encoders as library
import timm
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base import initialization
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP, ASPPConv
from segmentation_models_pytorch.decoders.dpt.decoder import ReassembleBlock, ResidualConvBlock
from segmentation_models_pytorch.decoders.unet import decoder as unet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from methods.base import Images, Logits
from methods.parts import weights as source
from methods.parts.lora import FULL, add_lora, rank_of
from methods.parts.tokens import Tokens
from methods.parts.views import View, strong, strong_stain

Features = list[Tensor]  # from fine to coarse, each (n, c, h, w); the first has the input's height and width
Attention = Callable[[int], nn.Module]  # channels -> a module that keeps the shape of (n, channels, h, w)

DECODERS = ("unet", "deeplabv3plus", "dpt")
NORMS = ("frozen", "batch")
VIEWS = ("own", "rgb", "stain")
UPSAMPLES = ("bilinear", "nearest", "transposed")
UNET_SHARES = (1, 2, 4, 8, 16)  # the decoder's width is divided by these, from coarse to fine
ASPP_RATES, LOW_CHANNELS = (6, 12, 18), 48  # DeepLabv3+ at output stride 16
STRIDES = {"unet": 32, "deeplabv3plus": 16}  # the stride of DPT is the patch size of its transformer
DPT_SCALES = 4.0, 2.0, 1.0, 0.5  # scales of the four maps of a transformer, from shallow to deep
REMEDIES = {
    "unet": "choose another encoder, or the decoder 'dpt' for a plain vision transformer",
    "deeplabv3plus": "choose the decoder 'unet' or another encoder",
    "dpt": "choose a plain vision transformer, such as 'tu-vit_small_patch14_dinov2', or the decoder 'unet'",
}
GROUPS = 4  # as in CDMA's released decoders
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Arch:
    """The architecture of a network, the length of its training and the strong views; the same for every method.

    `dropout` is the rate on the deepest features, for whole channels; the rate before the last convolution is a fifth
    of it. The rates 0.5 and 0.1 are the first and the last of CDMA's rates. With 0 a network is deterministic for any
    encoder, because the encoder's own dropout and stochastic depth are always off.

    `load=False` builds the same layers without reading the pretrained weights, for a state that is loaded afterwards.
    """

    encoder_name: str = "tu-tf_efficientnet_lite0"  # any encoder of segmentation-models-pytorch
    decoder_name: str = "unet"  # or "deeplabv3plus"; "dpt" on a plain vision transformer, "tu-vit_…"
    classes: int = 2
    norm: str = "frozen"  # or "batch": live batch norm everywhere
    weights: str = "imagenet"  # or "none", or a path to the encoder's weights (.pth, .safetensors)
    dropout: float = 0.5
    width: int = 256  # the largest number of channels of the decoder
    steps: int = 100_000  # optimiser steps of the run; averages and warm-ups depend on them (methods.parts.schedule)
    adapt: str = FULL  # how the encoder is trained: all of it, or "lora:8" for maps of rank 8 beside a frozen one
    views: str = "own"  # the strong view of every method that has one: its own, "rgb" or "stain"
    load: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        _check_choice("encoder", self.encoder_name, encoder_names())
        _check_choice("decoder", self.decoder_name, DECODERS)
        _check_choice("norm", self.norm, NORMS)
        _check_choice("strong view", self.views, VIEWS)
        if self.classes < 2:
            raise ValueError(
                f"{self.classes} class cannot be segmented; background counts as a class, so give 2 or more."
            )
        if rank_of(self.adapt) and self.weights == "none":
            raise ValueError(f"--adapt {self.adapt} freezes the encoder, so --weights must name pretrained weights.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not a rate; give a number of at least 0 and below 1.")
        if self.width < 16 or self.width % 16:
            raise ValueError(f"A decoder's width of {self.width} cannot be halved four times; give a multiple of 16.")

    def encoder(self) -> "Encoder":
        """Images in [0, 1] -> features."""
        return Encoder(self)

    def decoder(self, attention: Attention | None = None, upsample: str = "bilinear") -> nn.Module:
        """Features -> logits at the size of the image; each call draws new initial weights."""
        _check_choice("upsample", upsample, UPSAMPLES)
        kinds = {"unet": UnetDecoder, "deeplabv3plus": DeepLabDecoder, "dpt": DptDecoder}
        return kinds[self.decoder_name](self, attention or (lambda channels: nn.Identity()), upsample)

    def net(self) -> "Net":
        """Images in [0, 1] -> logits."""
        return Net(self)

    def view(self, own: View) -> View:
        """The strong view of a method: `own`, or with "rgb" or "stain" the same colour or H&E view for all methods."""
        return {"own": own, "rgb": strong, "stain": strong_stain}[self.views]

    @property
    def stride(self) -> int:
        """The number of pixels of the image that the coarsest feature spans, per axis."""
        return _tried(self.encoder_name, self.decoder_name).stride

    @property
    def channels(self) -> tuple[int, ...]:
        """The number of channels of each feature of the encoder, the image first."""
        image, *channels = _tried(self.encoder_name, self.decoder_name).channels
        return (image, channels[1], self.width) if self.decoder_name == "deeplabv3plus" else (image, *channels)


def weights_hash(arch: Arch) -> str:
    """An identifier of pretrained weights: the SHA-256 of a file (12 digits), the revision of a hub, "" for none."""
    return source.identity(arch.encoder_name, arch.weights)


class Net(nn.Module):
    """One encoder and one decoder."""

    def __init__(self, arch: Arch):
        super().__init__()
        self.encoder, self.decoder = arch.encoder(), arch.decoder()

    def forward(self, x: Images) -> Logits:
        return self.decoder(self.encoder(x))


def in_one_pass(net: nn.Module, x: Images, u: Images) -> tuple[Logits, Logits]:
    """The logits of labelled and of unlabelled images, from one forward pass of all of them."""
    logits = net(torch.cat([x, u]))
    return logits[: len(x)], logits[len(x) :]


class Encoder(nn.Module):
    """Normalises images as its weights expect, pads them to whole strides, and returns features from fine to coarse.

    The first feature is the normalised image at its unpadded size; decoders only read its size. For DeepLabv3+ the
    features are the image, stride 4, and the output of the spatial pyramid, which all decoders share. For DPT they are
    the image and four maps of equal size, from shallow to deep.
    """

    def __init__(self, arch: Arch):
        super().__init__()
        tried, self.pyramid = _tried(arch.encoder_name, arch.decoder_name), None
        self.stride, self.backbone = tried.stride, _backbone(arch.encoder_name, arch.decoder_name)
        for name in tried.unused:
            self.backbone.get_parameter(name).requires_grad_(False)
        mean, std = _normalisation(arch.encoder_name)
        if arch.weights != "none" and arch.load:
            mean, std = source.load(self.backbone, arch.encoder_name, arch.weights) or (mean, std)
        if arch.adapt != FULL:
            add_lora(self.backbone, arch.encoder_name, rank_of(arch.adapt))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.keeps_statistics = arch.norm == "frozen" and arch.weights != "none"
        if arch.norm == "frozen" and arch.weights == "none":
            _group_norms(self.backbone)
        if arch.decoder_name == "deeplabv3plus":
            self.pyramid = ASPP(tried.channels[-1], arch.width, ASPP_RATES, separable=False, dropout=0.0)
            initialization.initialize_decoder(self.pyramid)
            for branch in self.pyramid.convs:
                if isinstance(branch, ASPPConv):
                    branch[0] = DilatedConv(branch[0])
            if arch.norm == "frozen":
                _group_norms(self.pyramid)
        self.dropout = nn.Dropout2d(arch.dropout)
        self.train(self.training)

    def forward(self, x: Images) -> Features:
        x = (x - self.mean) / self.std
        down, right = -x.shape[-2] % self.stride, -x.shape[-1] % self.stride
        features = self.backbone(F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x)
        if self.pyramid is None:
            return [x, *features[1:-1], self.dropout(features[-1])]
        return [x, features[2], self.dropout(self.pyramid(features[-1]))]

    def train(self, mode: bool = True) -> "Encoder":
        super().train(mode)
        if self.keeps_statistics:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


class DilatedConv(nn.Module):
    """A dilated 3 × 3 convolution that keeps the size, without the taps that only read padding.

    On a map that is no higher (wider) than the dilation, the outer rows (columns) of the kernel never reach a pixel.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.dilation = conv.weight, conv.dilation

    def forward(self, x: Tensor) -> Tensor:
        reaches = [size > dilation for size, dilation in zip(x.shape[-2:], self.dilation, strict=True)]
        rows, columns = (slice(None) if reach else slice(1, 2) for reach in reaches)
        padding = [dilation * reach for dilation, reach in zip(self.dilation, reaches, strict=True)]
        return F.conv2d(x, self.weight[:, :, rows, columns], padding=padding, dilation=self.dilation)


class UnetDecoder(nn.Module):
    """The U-Net blocks of the library, with attention after every block except the finest, as in PyMIC for CDMA."""

    def __init__(self, arch: Arch, attention: Attention, upsample: str):
        super().__init__()
        channels, widths = arch.channels, [arch.width // share for share in UNET_SHARES]
        mode = "bilinear" if upsample == "bilinear" else "nearest"  # nearest at equal size is the identity
        blocks = unet.UnetDecoder(channels, widths, interpolation_mode=mode).blocks
        attentions = [*map(attention, widths[:-1]), nn.Identity()]
        self.blocks = nn.ModuleList(UnetBlock(*both, mode) for both in zip(blocks, attentions, strict=True))
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(n, n, 2, stride=2) if upsample == "transposed" else nn.Identity()
            for n in (channels[-1], *widths[:-1])
        )
        self.head = _head(widths[-1], arch)
        _finish(self, arch)

    def forward(self, features: Features) -> Logits:
        image, *skips, x = features
        height, width = image.shape[-2:]
        for up, block, skip in zip(self.ups, self.blocks, [*reversed(skips), None], strict=True):
            x = block(up(x), (2 * x.shape[-2], 2 * x.shape[-1]), skip)
        return self.head(x)[..., :height, :width]


class UnetBlock(nn.Module):
    """The two convolutions of a block of the library, after enlarging the input to the size of the skip connection."""

    def __init__(self, block: nn.Module, attention: nn.Module, mode: str):
        super().__init__()
        self.conv1, self.conv2, self.attention2, self.mode = block.conv1, block.conv2, attention, mode

    def forward(self, x: Tensor, size: tuple[int, int], skip: Tensor | None) -> Tensor:
        x = F.interpolate(x, size, mode=self.mode)
        x = x if skip is None else _joined(x, skip)
        return self.attention2(self.conv2(self.conv1(x)))


class DeepLabDecoder(nn.Module):
    """DeepLabv3+'s decoder, with attention on the fused features and after the first convolution, as in CDMA."""

    def __init__(self, arch: Arch, attention: Attention, upsample: str):
        super().__init__()
        width, fused = arch.width, arch.width + LOW_CHANNELS
        self.mode = "bilinear" if upsample == "bilinear" else "nearest"
        self.up = nn.ConvTranspose2d(width, width, 4, 4) if upsample == "transposed" else nn.Identity()
        self.low = nn.Sequential(
            nn.Conv2d(arch.channels[1], LOW_CHANNELS, 1, bias=False), nn.BatchNorm2d(LOW_CHANNELS), nn.ReLU()
        )
        self.fuse = nn.Sequential(
            attention(fused),
            nn.Conv2d(fused, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            attention(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.head = _head(width, arch)
        _finish(self, arch)

    def forward(self, features: Features) -> Logits:
        image, low, x = features
        height, width = image.shape[-2:]
        x = F.interpolate(self.up(x), low.shape[-2:], mode=self.mode)
        x = self.head(self.fuse(_joined(x, self.low(low))))
        return F.interpolate(x, scale_factor=4, mode="bilinear")[..., :height, :width]


class DptDecoder(nn.Module):
    """DPT's decoder (Ranftl et al., ICCV 2021): four maps of equal size become a pyramid, fused from deep to shallow.

    Sizes are derived from the maps, so that any patch size works. Attention comes after every fusion except the finest.
    """

    def __init__(self, arch: Arch, attention: Attention, upsample: str):
        super().__init__()
        width, self.patch = arch.width, arch.stride
        self.mode = "bilinear" if upsample == "bilinear" else "nearest"
        self.levels = nn.ModuleList(
            ReassembleBlock(channels, width, width, scale)
            for channels, scale in zip(arch.channels[1:], DPT_SCALES, strict=True)
        )
        self.fusions = nn.ModuleList(
            Fusion(width, attention if level else nn.Identity, upsample if level < len(DPT_SCALES) - 1 else "none")
            for level in range(len(DPT_SCALES))
        )
        self.last = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU()
        )
        self.head = _head(width // 2, arch)
        _finish(self, arch)

    def forward(self, features: Features) -> Logits:
        image, *maps = features
        height, width = image.shape[-2:]
        x = None
        for level, fusion, tokens in zip(self.levels[::-1], self.fusions[::-1], maps[::-1], strict=True):
            x = fusion(level(tokens), x)
        x = self.head(self.last(F.interpolate(x, scale_factor=2, mode=self.mode)))
        padded = [self.patch * side for side in maps[0].shape[-2:]]
        return F.interpolate(x, padded, mode="bilinear")[..., :height, :width]


class Fusion(nn.Module):
    """Adds the deeper level of DPT's pyramid, which has half the size, to a level."""

    def __init__(self, width: int, attention: Attention, upsample: str):
        super().__init__()
        self.mode = "bilinear" if upsample == "bilinear" else "nearest"
        self.up = nn.ConvTranspose2d(width, width, 2, 2) if upsample == "transposed" else nn.Identity()
        self.refine = ResidualConvBlock(width)
        self.fuse = nn.Sequential(ResidualConvBlock(width), nn.Conv2d(width, width, 1), attention(width))

    def forward(self, level: Tensor, deeper: Tensor | None) -> Tensor:
        x, (height, width) = self.refine(level), level.shape[-2:]
        if deeper is not None:
            x = x + F.interpolate(self.up(deeper)[..., :height, :width], (height, width), mode=self.mode)
        return self.fuse(x)


@functools.cache
def encoder_names() -> tuple[str, ...]:
    """The names of all encoders of the library; those of timm have the prefix "tu-"."""
    return *library.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models())


@contextlib.contextmanager
def outputs_of(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The outputs of layers inside a network, in the order in which they are computed within this context.

    They are those of the whole batch: where several processes share a network, its layers have an attribute `gather`
    for this.

    >>> layer = nn.Identity()
    >>> with outputs_of([layer]) as outputs:
    ...     _ = layer(torch.ones(2))
    >>> outputs
    [tensor([1., 1.])]
    """
    outputs: list[Tensor] = []
    with contextlib.ExitStack() as hooks:
        for layer in layers:
            gather = getattr(layer, "gather", lambda output: output)
            hook = layer.register_forward_hook(lambda _, given, output, gather=gather: outputs.append(gather(output)))
            hooks.enter_context(hook)
        yield outputs


class Tried(NamedTuple):
    """The properties of an encoder with one kind of decoder, measured in a forward pass without values."""

    stride: int  # pixels of the image that its coarsest feature spans
    channels: tuple[int, ...]  # of its features, the image first
    unused: frozenset[str]  # names of parameters that no used feature depends on


def _backbone(name: str, decoder: str) -> nn.Module:
    """An untrained encoder, with its dropout and stochastic depth off."""
    if decoder == "dpt":
        backbone = Tokens(name.removeprefix("tu-"))
    else:
        backbone = library.get_encoder(name, depth=5, weights=None, output_stride=STRIDES[decoder])
    for module in backbone.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        for rate in ("drop_prob", "_drop_connect_rate"):  # stochastic depth
            if hasattr(module, rate):
                setattr(module, rate, 0.0)
    return backbone


@functools.cache
@torch.enable_grad()  # a network may be built where gradients are off
def _tried(name: str, decoder: str) -> Tried:
    try:
        with torch.random.fork_rng(devices=[]):  # so that the initial weights of networks do not change
            backbone = _backbone(name, decoder).to("meta")
        stride = backbone.patch if decoder == "dpt" else STRIDES[decoder]
        features = backbone(torch.empty(2, 3, 2 * stride, 3 * stride, device="meta"))
    except (NotImplementedError, ValueError, RuntimeError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(
            f"Encoder '{name}' gives no features of any size for decoder '{decoder}' ({error}); {REMEDIES[decoder]}."
        ) from error
    used = [features[2], features[-1]] if decoder == "deeplabv3plus" else features[1:]
    sum(feature.sum() for feature in used if feature.requires_grad).backward()
    unused = frozenset(parameter_name for parameter_name, p in backbone.named_parameters() if p.grad is None)
    return Tried(stride, tuple(feature.shape[1] for feature in features), unused)


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB in [0, 1]: timm's for its encoders, ImageNet's for the others."""
    if not name.startswith("tu-"):
        return IMAGENET
    settings = timm.models.get_pretrained_cfg(name.removeprefix("tu-"))
    return (tuple(settings.mean), tuple(settings.std)) if settings else IMAGENET


def _joined(resized: Tensor, other: Tensor) -> Tensor:
    """Both maps. The first gradient is made contiguous: resizing a channel slice is ten times slower."""
    return torch.cat([_DenseGradient.apply(resized), other], 1)


class _DenseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient.clone()


def _head(channels: int, arch: Arch) -> nn.Sequential:
    return nn.Sequential(nn.Dropout2d(arch.dropout / 5), nn.Conv2d(channels, arch.classes, 1))


def _finish(decoder: nn.Module, arch: Arch) -> None:
    """Sets initial weights, norms, and padding that repeats the outermost pixel.

    Zero padding would look like another tissue and cause thin false outlines along the border.
    """
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.padding_mode = "replicate"
    initialization.initialize_decoder(decoder)
    initialization.initialize_head(decoder.head)
    if arch.norm == "frozen":
        _group_norms(decoder)


def _group_norms(module: nn.Module) -> None:
    """Replaces every batch norm by a group norm with the same affine parameters and activation."""
    for name, child in module.named_children():
        if not isinstance(child, _BatchNorm):
            _group_norms(child)
            continue
        norm = nn.GroupNorm(math.gcd(GROUPS, child.num_features), child.num_features)
        norm.load_state_dict({"weight": child.weight.detach(), "bias": child.bias.detach()})
        norm.requires_grad_(child.weight.requires_grad)
        has_activation = hasattr(child, "act")  # timm's batch norms contain their activation
        setattr(module, name, nn.Sequential(norm, child.act) if has_activation else norm)


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, 1, 0.3)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(allowed[:20])}."
        raise ValueError(f"There is no {option} '{value}'; {hint}")
