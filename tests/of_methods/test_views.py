"""Strong views and boxes: against values worked out by hand, PIL, torchvision, scipy and scikit-image."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage
from skimage import color
from torchvision.transforms import functional as vision

import methods
from methods.base import Batch
from methods.parts import views
from methods.parts.nets import Arch

RANDOM = {
    name: getattr(views, name)
    for name in (
        "strong", "strong_stain", "random_colour", "random_stain", "random_blur", "random_intensity",
    )
}  # fmt: skip
DRAWN = {**RANDOM, "boxes": views.boxes, "copy_paste_box": views.copy_paste_box}
every_view = pytest.mark.parametrize("view", RANDOM.values(), ids=RANDOM)
every_draw = pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)


@pytest.fixture
def x() -> torch.Tensor:
    """Six images, as 8-bit images give them, with black and white in them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (6, 3, 12, 10), generator=generator) / 255
    x[:, :, 0, 0], x[:, :, 0, 1] = 0, 1
    return x


def constant(*rgb: float) -> torch.Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 4, 5)


def recoloured(x, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    return views.recolour(x, *(torch.full((len(x),), value) for value in (brightness, contrast, saturation, hue)))


def close(a, b, atol=1e-6):
    torch.testing.assert_close(a, b, atol=atol, rtol=0, check_stride=False)


# What every view keeps


@every_view
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_view_keeps_range_type_and_layout_and_leaves_its_input_alone(view, layout, x):
    x = x.contiguous(memory_format=layout)
    before = x.clone()
    for seed in range(10):
        torch.manual_seed(seed)
        y = view(x)
        assert y.shape == x.shape and y.dtype == x.dtype and y.is_contiguous(memory_format=layout)
        assert y.min() >= 0 and y.max() <= 1
    assert torch.equal(x, before)


@every_draw
def test_the_same_seed_draws_the_same(draw, x):
    torch.manual_seed(1)
    first = draw(x)
    torch.manual_seed(1)
    assert torch.equal(draw(x), first)
    assert any(not torch.equal(draw(x), first) for _ in range(20))


@every_view
def test_no_image_looks_at_another(view, x):
    other = x.clone()
    other[1] = 1 - other[1].flip(1)
    for seed in range(10):
        torch.manual_seed(seed)
        y = view(x)
        torch.manual_seed(seed)
        z = view(other)
        assert torch.equal(y[0], z[0]) and torch.equal(y[2:], z[2:])


@every_view
def test_images_of_a_batch_get_views_of_their_own(view, x):
    torch.manual_seed(0)
    y = view(x[:1].expand(50, -1, -1, -1))
    assert len({image.numpy().tobytes() for image in y}) > 10


@every_draw
def test_a_batch_of_no_images_is_a_batch(draw):
    assert len(draw(torch.rand(0, 3, 8, 8))) in (0, 1)


@every_draw
def test_nothing_waits_for_the_device(draw):
    """Tensors without values: whatever asks for one, or brings a tensor of another device, fails."""
    y = draw(torch.empty(4, 3, 16, 16, device="meta"))
    assert y.device.type == "meta"


@every_view
def test_autocast_takes_no_digits(view, x):
    torch.manual_seed(3)
    exact = view(x)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(view(x), exact)


@pytest.mark.parametrize("view", [views.random_colour, views.random_stain, views.random_blur])
def test_a_probability_is_the_share_of_images_that_change(view, x):
    many = x[:1, :, :4, :4].expand(2000, -1, -1, -1)
    rest = {"grey": 0.0} if view is views.random_colour else {}
    torch.manual_seed(0)
    for p in (0.0, 0.3, 1.0):
        changed = (view(many, p=p, **rest) - many).abs().amax((1, 2, 3)) > 1e-5
        assert changed.float().mean().item() == pytest.approx(p, abs=0.07)  # a blur of 0.1 pixels changes nothing


# Colour


def test_brightness_scales_a_constant_image():
    close(recoloured(constant(0.4, 0.2, 0.6), brightness=0.5), constant(0.2, 0.1, 0.3))
    close(recoloured(constant(0.4, 0.2, 0.6), brightness=2), constant(0.8, 0.4, 1.0))


def test_contrast_pulls_towards_the_images_mean_luma():
    x = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
    close(recoloured(x, contrast=0.5), torch.tensor([0.25, 0.75]).expand(1, 3, 1, 2))
    close(recoloured(constant(0.3, 0.3, 0.3), contrast=0.1), constant(0.3, 0.3, 0.3))


def test_no_saturation_is_luma():
    luma = 0.299 * 0.4 + 0.587 * 0.2 + 0.114 * 0.6
    close(recoloured(constant(0.4, 0.2, 0.6), saturation=0), constant(luma, luma, luma))


def test_half_a_turn_of_hue_mirrors_the_chroma_and_keeps_luma():
    luma = 0.299 * 0.4 + 0.587 * 0.2 + 0.114 * 0.6
    mirrored = constant(*(2 * luma - value for value in (0.4, 0.2, 0.6)))
    close(recoloured(constant(0.4, 0.2, 0.6), hue=0.5), mirrored)
    close(recoloured(recoloured(constant(0.4, 0.2, 0.6), hue=0.1), saturation=0), constant(luma, luma, luma))


def test_no_hue_is_no_change_at_all_and_a_whole_turn_is_almost_none(x):
    assert torch.equal(recoloured(x), x)
    close(recoloured(x, hue=1.0), x)


def test_quarter_turns_of_hue_add_up():
    x = constant(0.5, 0.4, 0.6)
    close(recoloured(recoloured(x, hue=0.1), hue=0.15), recoloured(x, hue=0.25))


def test_jitter_agrees_with_torchvision_where_nothing_is_clamped(x):
    x = 0.3 + 0.4 * x
    slow = vision.adjust_brightness(x, 1.1)
    slow = vision.adjust_contrast(slow, 0.7)
    slow = vision.adjust_saturation(slow, 1.2)
    close(recoloured(x, 1.1, 0.7, 1.2), slow, 1e-3)  # torchvision's luma has weights of four digits


def test_factors_differ_between_the_images_of_a_batch(x):
    factors = torch.linspace(0.5, 1, len(x))
    one = torch.ones(len(x))
    close(views.recolour(x, factors, one, one, 0 * one), factors.view(-1, 1, 1, 1) * x)


def test_grey_is_drawn_apart_from_jitter():
    torch.manual_seed(0)
    y = views.random_colour(constant(0.4, 0.2, 0.6).expand(2000, -1, -1, -1), p=0.0, grey=0.2)
    grey = (y.amax(1) - y.amin(1)).amax((1, 2)) < 1e-5
    assert grey.float().mean().item() == pytest.approx(0.2, abs=0.03)


# Stain


def unit(*absorbance: float) -> np.ndarray:
    return np.array(absorbance) / np.linalg.norm(absorbance)


def light(density: np.ndarray) -> torch.Tensor:
    """The constant image of an optical density, light being counted as (255 x + 1) / 256."""
    return constant(*((256 * np.exp(-density) - 1) / 255)).float()


def restained(x, alpha=(1.0, 1.0, 1.0), beta=(0.0, 0.0, 0.0)):
    return views.restain(x, torch.tensor([alpha]).expand(len(x), -1), torch.tensor([beta]).expand(len(x), -1))


def test_stains_apart_and_together_again_are_the_image(x):
    close(restained(x), x, 1e-5)


def test_half_the_haematoxylin_is_half_its_density():
    h, e = unit(0.65, 0.70, 0.29), unit(0.07, 0.99, 0.11)
    x = light(1.2 * h + 0.5 * e)
    close(restained(x, alpha=(0.5, 1, 1)), light(0.6 * h + 0.5 * e), 1e-5)
    close(restained(x, alpha=(1, 2, 1)), light(1.2 * h + 1.0 * e), 1e-5)


def test_eosin_on_white_is_eosin():
    close(restained(constant(1.0, 1.0, 1.0), beta=(0, 0.7, 0)), light(0.7 * unit(0.07, 0.99, 0.11)), 1e-5)


def test_each_image_has_stains_of_its_own(x):
    alpha, beta = torch.linspace(0.8, 1.2, 18).view(6, 3), torch.linspace(0.2, -0.2, 18).view(6, 3)
    y = views.restain(x, alpha, beta)
    for image in range(6):
        alone = slice(image, image + 1)
        close(y[alone], views.restain(x[alone], alpha[alone], beta[alone]))


def test_stains_are_those_of_scikit_image():
    amounts = np.random.default_rng(0).uniform(0.01, 0.05, (4, 4, 3))
    x = color.hed2rgb(amounts)
    amounts[..., 0] = 0
    slow = torch.from_numpy(color.hed2rgb(amounts)).permute(2, 0, 1)[None].float()
    close(restained(torch.from_numpy(x).permute(2, 0, 1)[None].float(), alpha=(0, 1, 1)), slow, 5e-3)


# Blur and noise


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_gaussian_and_continues_the_border(sigma, x):
    slow = ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=(0, 0, 6, 6))
    close(views.blur(x, torch.full((6,), sigma)), torch.from_numpy(slow))


def test_each_image_has_its_own_blur_and_none_is_none(x):
    sigma = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 0.0])
    y = views.blur(x, sigma)
    assert torch.equal(y[0], x[0]) and torch.equal(y[5], x[5])
    for image in range(6):
        close(y[image], views.blur(x[image : image + 1], sigma[image : image + 1])[0])


# AugSeg's operations


def by_pil(x: torch.Tensor, change) -> torch.Tensor:
    images = [Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy()) for image in x]
    return torch.stack([torch.from_numpy(np.array(change(image))).permute(2, 0, 1) for image in images]) / 255


@pytest.mark.parametrize(
    ("name", "u", "change"),
    [
        ("identity", 0.5, lambda image: image),
        ("autocontrast", 0.5, ImageOps.autocontrast),
        ("contrast", 0.5, lambda image: ImageEnhance.Contrast(image).enhance(0.5)),
        ("brightness", 0.25, lambda image: ImageEnhance.Brightness(image).enhance(0.725)),
        ("colour", 0.75, lambda image: ImageEnhance.Color(image).enhance(0.275)),
        ("posterise", 0.3, lambda image: ImageOps.posterize(image, 6)),
        ("posterise", 0.99, lambda image: ImageOps.posterize(image, 4)),
        ("solarise", 0.5, lambda image: ImageOps.solarize(image, 128)),
        ("solarise", 0.0, lambda image: ImageOps.solarize(image, 255)),
    ],
)
def test_an_operation_of_augseg_is_that_of_pil(name, u, change, x):
    x = (255 * (0.2 + 0.6 * x)).round() / 255
    which = torch.full((6,), views.INTENSITIES.index(name))
    close(views.intensity(x, which, torch.full((6,), u)), by_pil(x, change), 2 / 255)


def test_less_sharpness_is_that_of_pil_inside_the_border(x):
    y = views.intensity(x, torch.full((6,), views.INTENSITIES.index("sharpness")), torch.full((6,), 0.5))
    slow = by_pil(x, lambda image: ImageEnhance.Sharpness(image).enhance(0.5))
    close(y[..., 1:-1, 1:-1], slow[..., 1:-1, 1:-1], 2 / 255)


def test_equalising_spreads_levels_evenly_and_leaves_a_constant_channel():
    x = torch.tensor([10.0, 10, 20, 30]).div(255).view(1, 1, 2, 2).repeat(1, 3, 1, 1)
    x[:, 2] = 0.2
    y = views.intensity(x, torch.tensor([views.INTENSITIES.index("equalise")]), torch.tensor([0.5]))
    close(y[0, 0], torch.tensor([[0.0, 0.0], [0.5, 1.0]]))  # 0, 1 and 2 of the 2 pixels above the lowest level
    close(y[0, 2], x[0, 2])


def test_each_image_gets_the_operation_and_strength_of_its_own(x):
    which, u = torch.tensor([0, 2, 3, 7, 8, 10]), torch.linspace(0.1, 0.9, 6)
    y = views.intensity(x, which, u)
    assert torch.equal(y[0], x[0])
    for image in range(6):
        alone = slice(image, image + 1)
        close(y[alone], views.intensity(x[alone], which[alone], u[alone]))


def test_one_to_three_operations_are_drawn(monkeypatch, x):
    rounds = []
    monkeypatch.setattr(views, "intensity", lambda x, which, u: rounds.append(which) or x)
    torch.manual_seed(0)
    views.random_intensity(x[:1].expand(3000, -1, -1, -1))
    done = torch.stack(rounds) > 0  # place 0 is the identity, which is drawn, too
    assert done.float().mean(1).tolist() == pytest.approx([10 / 11, 10 / 11 * 2 / 3, 10 / 11 / 3], abs=0.04)


# Boxes


def test_a_box_is_one_rectangle_of_the_area_and_shape_that_were_asked_for():
    torch.manual_seed(0)
    where = views.boxes(torch.empty(500, 3, 64, 64), area=(0.1, 0.3), aspect=(0.5, 2.0), p=1.0)
    assert where.shape == (500, 64, 64) and where.dtype == torch.bool
    height, width = where.any(2).sum(1), where.any(1).sum(1)
    assert torch.equal(height * width, where.sum((1, 2)))  # full, so a rectangle
    area, tall = where.float().mean((1, 2)), height / width
    assert area.min() > 0.09 and area.max() < 0.31 and area.mean().item() == pytest.approx(0.2, abs=0.01)
    assert tall.min() > 0.45 and tall.max() < 2.2 and tall.log().mean().item() == pytest.approx(0, abs=0.06)


def test_boxes_lie_anywhere_up_to_the_border():
    torch.manual_seed(0)
    cover = views.boxes(torch.empty(3000, 3, 16, 24), p=1.0).float().mean(0)
    assert cover.min() > 0.002
    close(cover, cover.flip(0), 0.06)
    close(cover, cover.flip(1), 0.06)


def test_large_boxes_of_any_aspect_fit():
    torch.manual_seed(0)
    where = views.boxes(torch.empty(200, 3, 20, 20), area=(0.9, 1.0), aspect=(0.1, 10.0), p=1.0)
    assert where.float().mean((1, 2)).min() > 0.85


def test_half_of_the_images_stay_whole_by_default():
    torch.manual_seed(0)
    share = views.boxes(torch.empty(3000, 3, 8, 8)).any(2).any(1).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.03)
    assert not views.boxes(torch.empty(20, 3, 8, 8), p=0.0).any()


def test_three_boxes_share_the_area_of_one():
    torch.manual_seed(0)
    where = views.boxes(torch.empty(500, 3, 60, 60), area=(0.25, 0.5), aspect=(0.25, 4), count=3, p=1.0)
    area = where.float().mean((1, 2))
    assert area.max() < 0.52 and area.min() > 0.25 / 3 - 0.01  # the least: three on top of each other
    assert 0.25 < area.mean() < 0.375
    height, width = where.any(2).sum(1), where.any(1).sum(1)
    assert (height * width > where.sum((1, 2))).float().mean() > 0.9  # not one rectangle


def test_an_image_can_bring_its_own_area():
    area = torch.tensor([0.25, 0.01, 1.0])
    where = views.boxes(torch.empty(3, 3, 20, 20), area=area, aspect=(1.0, 1.0), p=1.0)
    assert where.sum((1, 2)).tolist() == [100, 4, 400]


def test_bcps_box_is_one_for_the_batch():
    torch.manual_seed(0)
    seen = [views.copy_paste_box(torch.empty(5, 3, 30, 60)) for _ in range(50)]
    assert {box.shape for box in seen} == {(1, 30, 60)}
    assert {(int(box.any(2).sum()), int(box.any(1).sum())) for box in seen} == {(20, 40)}
    assert len({box.numpy().tobytes() for box in seen}) > 20


@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (2, 2, 2)])
def test_cutmix_takes_the_pasted_where_true_and_the_ground_elsewhere(shape):
    ground, pasted = torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.int64)
    where = torch.tensor([[[True, False], [False, False]], [[False, False], [True, True]]])
    mixed = views.cutmix(ground, pasted, where)
    assert torch.equal(mixed.bool(), where if len(shape) == 3 else where[:, None].expand(shape))


def test_cutmix_keeps_the_layout(x):
    x = x.contiguous(memory_format=torch.channels_last)
    mixed = views.cutmix(x, x.flip(0), views.boxes(x, p=1.0))
    assert mixed.is_contiguous(memory_format=torch.channels_last)


# ----------------------------------------------------------------------------------------------------------------------
# Views of a run


def first_loss(name: str, views: str) -> float:
    """The unsupervised loss of a method's first step."""
    torch.manual_seed(0)
    arch = Arch("tu-test_efficientnet", weights="none", width=32, dropout=0.0, views=views)
    method = methods.build(name, arch, threshold=0.0)
    batch = Batch(torch.rand(2, 3, 32, 32), torch.randint(2, (2, 32, 32)), torch.rand(3, 3, 32, 32))
    torch.manual_seed(1)
    terms = method.losses(batch, torch.ones(()))
    return next(value.item() for term, value in terms.items() if term != "sup")


def test_with_the_same_views_fixmatch_and_stainmatch_are_one_method_and_with_their_own_they_are_two():
    assert first_loss("fixmatch", "rgb") == first_loss("stain_match", "rgb") == first_loss("fixmatch", "own")
    assert first_loss("fixmatch", "stain") == first_loss("stain_match", "stain") == first_loss("stain_match", "own")
    assert first_loss("fixmatch", "own") != first_loss("stain_match", "own")


def test_a_view_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no strong view 'stains'; did you mean 'stain'"):
        Arch(views="stains")
