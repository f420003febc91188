"""Strong views of a whole batch on its device: colour, stain, blur, noise, and boxes that mix two batches.

Images are RGB in [0, 1] before and after, with the same dtype and memory format. A function `random_…` draws the
strengths for each image from torch's global generator, always the same number of random numbers, and does not depend on
other images. The other functions are deterministic, except `boxes`, `beta` and `copy_paste_box`, which draw boxes and
areas. Nothing here waits for the device or is changed by autocast.
"""

import functools
import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from methods.base import Images

PerImage = Float[Tensor, "n"]
Boxes = Bool[Tensor, "n h w"]
View = Callable[[Images], Images]

YIQ = (0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)  # luma and two chromas of RGB (FCC)
STAINS = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)  # RGB absorbance of haematoxylin, eosin and DAB
INTENSITIES = "identity", "autocontrast", "equalise", "blur", "contrast", "brightness", "colour", "sharpness"
INTENSITIES += "posterise", "solarise", "hue"  # AugSeg's eleven


def strong(x: Images) -> Images:
    """The intensity view of FixMatch and UniMatch for segmentation: colour jitter or grey, then blur."""
    return random_blur(random_colour(x))


def strong_stain(x: Images) -> Images:
    """The strong view for H&E: stain concentrations, a small change of brightness and contrast, then blur; no hue."""
    x = random_stain(x)
    return random_blur(random_colour(x, brightness=0.2, contrast=0.2, saturation=0.0, hue=0.0, grey=0.0))


def random_colour(
    x: Images, *, brightness: float = 0.5, contrast: float = 0.5, saturation: float = 0.5, hue: float = 0.25,
    p: float = 0.8, grey: float = 0.2,
) -> Images:  # fmt: skip
    """Colour jitter and grey.

    With probability p, the factors are drawn from U(1 − s, 1 + s), where s is the strength, and the hue from U(±hue) in
    turns. With probability `grey`, the image becomes grey.
    """
    jittered = _chosen(x, p)

    def factor(strength: float) -> PerImage:
        return (1 + jittered * _uniform(x, -strength, strength)).clamp_min(0)

    factors = factor(brightness), factor(contrast), factor(saturation) * ~_chosen(x, grey)
    return recolour(x, *factors, jittered * _uniform(x, -hue, hue))


def recolour(x: Images, brightness: PerImage, contrast: PerImage, saturation: PerImage, hue: PerImage) -> Images:
    """Four changes in one affine map of RGB: three factors, where 1 changes nothing, and a hue rotation in turns.

    With luma Y, its image mean Ȳ, and chroma x − Y:  x' = brightness · (contrast · (Y + saturation · R(hue) (x − Y))
    + (1 − contrast) · Ȳ), where R rotates the chroma in the IQ plane of YIQ. Unlike a rotation in HSV, R is linear and
    keeps luma. So the four changes commute, and no order has to be drawn. Values are clamped once, at the end.
    """
    eye, chroma, quarter_turn = _colour_maps(x.device)
    angle = 2 * math.pi * hue
    turned = _over(saturation * angle.cos() - 1) * chroma + _over(saturation * angle.sin()) * quarter_turn
    luma = (x.mean((2, 3), dtype=torch.float32) * (eye - chroma)[0]).sum(1)
    offset = brightness * (1 - contrast) * luma
    return _affine(x, _over(brightness * contrast) * (eye + turned), offset[:, None].expand(-1, 3)).clamp(0, 1)


def random_stain(x: Images, *, alpha: float = 0.2, beta: float = 0.2, p: float = 0.8) -> Images:
    """With probability p, each stain concentration times U(1 ± alpha) plus U(±beta) (Tellez et al., MedIA 2019)."""
    jittered = _chosen(x, p)[:, None]
    alphas = 1 + jittered * _uniform(x, -alpha, alpha, 3)
    return restain(x, alphas, jittered * _uniform(x, -beta, beta, 3))


def restain(x: Images, alpha: Float[Tensor, "n 3"], beta: Float[Tensor, "n 3"]) -> Images:
    """Concentrations of haematoxylin, eosin and a third stain (DAB) times alpha plus beta, and back to RGB.

    Ruifrok & Johnston (2001): the optical density −ln x is the sum over stains of concentration times absorbance, which
    is a unit vector for each stain. So a concentration of 1 transmits 1/e of the light in the direction of its stain.
    Light is (255 x + 1) / 256, so that black has a finite density; alpha 1 and beta 0 return x.
    """
    eye, mix, unmix = _stain_maps(x.device)  # mix: concentrations -> density
    maps = eye + (mix * (alpha - 1)[:, None, :]).unsqueeze(3).mul(unmix).sum(2)
    density = -torch.log((255 * x + 1) / 256)
    return ((256 * torch.exp(-_affine(density, maps, (mix * beta[:, None, :]).sum(2))) - 1) / 255).clamp(0, 1)


def random_blur(x: Images, *, low: float = 0.1, high: float = 2.0, p: float = 0.5) -> Images:
    """With probability p, a Gaussian blur with a standard deviation drawn from U(low, high), in pixels."""
    return blur(x, _chosen(x, p) * _uniform(x, low, high), radius=math.ceil(3 * high))


def blur(x: Images, sigma: PerImage, radius: int = 6) -> Images:
    """A Gaussian blur with a standard deviation for each image, in pixels, cut off at `radius`; 0 changes nothing.

    Beyond its border the image is continued with the value of the border.
    """
    taps = torch.arange(radius + 1, device=x.device)
    weights = torch.exp(-0.5 * (taps / sigma.float().clamp_min(1e-3)[:, None]).square())
    return _window(x, weights / (2 * weights.sum(1, keepdim=True) - 1)).clamp(0, 1)


def random_intensity(x: Images, *, most: int = 3) -> Images:
    """AugSeg's view (Zhao et al., CVPR 2023): 1 to `most` of eleven operations, drawn with replacement, one by one.

    Strengths as released: factors of contrast, brightness, colour and sharpness from U(0.05, 0.95), which only reduce
    them; blur of 0.1 to 2 pixels; 4 to 7 bits; inversion above 1 to 255; hue by up to half a turn in both directions.
    """
    count = torch.randint(1, most + 1, x.shape[:1], device=x.device)
    for turn in range(most):
        which = torch.randint(len(INTENSITIES), x.shape[:1], device=x.device)
        x = intensity(x, which * (turn < count), _uniform(x, 0, 1))
    return x


def intensity(x: Images, which: Float[Tensor, "n"], u: PerImage) -> Images:
    """One of `INTENSITIES` for each image, given by its index in that tuple, with a strength from u in [0, 1)."""
    chosen = {name: which == place for place, name in enumerate(INTENSITIES)}
    mask = {name: _over(images, 4) for name, images in chosen.items()}
    less = 0.95 - 0.9 * u
    brightness, contrast, colour, sharpness = (
        torch.where(chosen[name], less, 1) for name in ("brightness", "contrast", "colour", "sharpness")
    )
    bits, threshold = 8 - (4 * u).ceil().clamp_min(1), 256 - (255 * u).ceil().clamp_min(1)
    x = recolour(x, brightness, contrast, colour, chosen["hue"] * (u - 0.5))
    x = blur(x, chosen["blur"] * (0.1 + 1.9 * u))
    x = torch.lerp(_smooth(x), x, _over(sharpness, 4).to(x.dtype))
    x = torch.where(mask["posterise"], _posterise(x, bits), x)
    x = torch.where(mask["solarise"] & (255 * x >= _over(threshold, 4)), 1 - x, x)
    x = torch.where(mask["autocontrast"], _autocontrast(x), x)
    return torch.where(mask["equalise"], _equalise(x), x)


def boxes(
    x: Images, *, area: tuple[float, float] | PerImage = (0.02, 0.4), aspect: tuple[float, float] = (0.3, 1 / 0.3),
    count: int = 1, p: float = 0.5,
) -> Boxes:  # fmt: skip
    """Where to paste: with probability p True inside `count` random boxes of each image, otherwise False everywhere.

    The areas of the boxes add up to a fraction of the image drawn from U(area), or to the given fraction of each image,
    and cover less where boxes overlap. The aspect height : width, relative to that of the image, is log-uniform in
    `aspect`, restricted so that a box of the whole area fits. Positions are uniform. The defaults are those of FixMatch
    and UniMatch; CPS uses area=(0.25, 0.5), aspect=(0.25, 4), count=3, p=1.
    """
    (n, _, height, width), device = x.shape, x.device
    share = area[:, None].float() if isinstance(area, Tensor) else _uniform(x, *area, 1)
    low = share.log().clamp_min(math.log(aspect[0]))
    high = (-share.log()).clamp_max(math.log(aspect[1]))
    tall = torch.exp(low + (high - low) * torch.rand(n, count, device=device))
    inside = []
    for size, side in (height, (share * tall / count).sqrt()), (width, (share / tall / count).sqrt()):
        pixels = (side * size).round().clamp(1, size)
        start = (torch.rand(n, count, device=device) * (size - pixels + 1)).floor()
        inside.append(span(start, pixels, size))
    rows, columns = inside
    return (rows[..., None] & columns[..., None, :]).any(1) & _over(_chosen(x, p))


def beta(x: Images, a: int, b: int) -> PerImage:
    """A sample from Beta(a, b) for each image: the a-th smallest of a + b − 1 uniform numbers."""
    return torch.rand(len(x), a + b - 1, device=x.device).sort(1).values[:, a - 1]


def copy_paste_box(x: Images, *, side: float = 2 / 3) -> Bool[Tensor, "1 h w"]:
    """BCP's box, one for the whole batch: True inside, at a random place, with `side` of the image's height and width.

    cutmix(u, x, box) has the labelled image inside the box, cutmix(x, u, box) the unlabelled image.
    """
    inside = []
    for size in x.shape[2:]:
        pixels = int(size * side)
        start = torch.randint(size - pixels + 1, (1,), device=x.device)
        inside.append(span(start, pixels, size))
    rows, columns = inside
    return rows[..., None] & columns[..., None, :]


def span(start: Tensor, length: Tensor | int, size: int) -> Bool[Tensor, "... size"]:
    """For each start, True at those of `size` places that are in [start, start + length)."""
    place = torch.arange(size, device=start.device)
    return (place >= start[..., None]) & (place < (start + length)[..., None])


def cutmix(ground: Tensor, pasted: Tensor, where: Boxes) -> Tensor:
    """`pasted` where True, else `ground`: for images or logits (n, c, h, w), or labels or confidences (n, h, w)."""
    return torch.where(where if ground.ndim == 3 else where[:, None], pasted, ground)


VIEWS = {
    "colour": strong,
    "h&e": strong_stain,
    "stain": random_stain,
    "intensity": random_intensity,
}  # name of a setting -> view


def _uniform(x: Tensor, low: float, high: float, *shape: int) -> Tensor:
    """Random numbers from U(low, high) for each image."""
    return low + (high - low) * torch.rand(len(x), *shape, device=x.device)


def _chosen(x: Tensor, p: float) -> Bool[Tensor, "n"]:
    return torch.rand(len(x), device=x.device) < p


def _over(values: Tensor, ndim: int = 3) -> Tensor:
    """(n,) -> (n, 1, 1, …)"""
    return values.view(-1, *[1] * (ndim - 1))


def _affine(x: Images, matrix: Float[Tensor, "n 3 3"], offset: Float[Tensor, "n 3"]) -> Images:
    """matrix · x + offset at every pixel, without a matrix product, which loses precision under autocast and TF32."""
    red, green, blue = matrix.to(x.dtype)[..., None, None].unbind(2)
    x_red, x_green, x_blue = x.split(1, 1)
    y = torch.addcmul(offset.to(x.dtype)[..., None, None], red, x_red)
    y = torch.addcmul(torch.addcmul(y, green, x_green), blue, x_blue)
    return _in_format_of(x, y)


def _in_format_of(x: Tensor, y: Tensor) -> Tensor:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@functools.cache  # cached, so that a training step copies nothing to the device
def _colour_maps(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The identity, the projection to chroma, and the rotation of chroma by a quarter turn."""
    yiq, turn = torch.tensor(YIQ, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    turn[1, 2], turn[2, 1] = -1, 1
    eye = torch.eye(3, dtype=torch.float64)
    maps = eye, eye - yiq[0].expand(3, 3), torch.linalg.inv(yiq) @ turn @ yiq
    return tuple(m.float().to(device) for m in maps)


@functools.cache
def _stain_maps(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The identity, the matrix concentrations -> optical density, and its inverse."""
    mix = F.normalize(torch.tensor(STAINS, dtype=torch.float64), dim=1).T.contiguous()
    return tuple(m.float().to(device) for m in (torch.eye(3), mix, torch.linalg.inv(mix)))


def _window(x: Images, weights: Float[Tensor, "n taps"]) -> Images:
    """Weighted sums over a square window; the weights start at its centre and are the same for rows and columns.

    Shifted additions are used instead of a convolution, which would lose precision under autocast and TF32.
    """
    radius, weights = weights.shape[1] - 1, weights.to(x.dtype)[..., None, None, None]
    for axis, padding in (2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0)):
        padded, size = F.pad(x, padding, mode="replicate"), x.shape[axis]
        x = weights[:, 0] * x
        for tap in range(1, radius + 1):
            both = padded.narrow(axis, radius - tap, size) + padded.narrow(axis, radius + tap, size)
            x = torch.addcmul(x, weights[:, tap], both)
    return x


def _smooth(x: Images) -> Images:
    """The mean of 3 × 3 pixels, with weight 5 for the centre, as in PIL's sharpness."""
    return (_window(x, torch.ones(1, 2, device=x.device)) + 4 * x) / 13


def _posterise(x: Images, bits: PerImage) -> Images:
    step = _over(2 ** (8 - bits), 4).to(x.dtype)
    return ((255 * x).round() / step).floor() * step / 255


def _autocontrast(x: Images) -> Images:
    """Each channel stretched to [0, 1]; a constant channel stays unchanged."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp_min(1e-6), x)


def _equalise(x: Images) -> Images:
    """Histogram equalisation of each channel with 256 levels; a constant channel stays unchanged."""
    n, channels, height, width = x.shape
    level = (255 * x).round().long().flatten(2).flatten(0, 1)
    place = level + 256 * torch.arange(n * channels, device=x.device)[:, None]
    ones = torch.ones((), dtype=torch.int32, device=x.device).expand(place.numel())
    counts = torch.zeros(n * channels * 256, dtype=torch.int32, device=x.device).scatter_add_(0, place.flatten(), ones)
    below = counts.view(-1, 256).cumsum(1)
    first = below.gather(1, level.amin(1, keepdim=True))  # number of pixels with the lowest level
    spread = (below - first) / (height * width - first).clamp_min(1)
    y = torch.where(first < height * width, spread.gather(1, level), level / 255).to(x.dtype)
    return _in_format_of(x, y.view(n, channels, height, width))
