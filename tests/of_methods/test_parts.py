"""Networks, weights, attention, losses and teachers do what their formulas say."""

import inspect
import math

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import methods
from methods.base import IGNORE
from methods.parts import weights as source
from methods.parts.attention import Channel, ChannelSpatial, Spatial
from methods.parts.losses import cross_entropy, dice, dice_ce, distill, entropy, log_mean_softmax, mse, ramp
from methods.parts.nets import UPSAMPLES, Arch, DilatedConv, in_one_pass, weights_hash
from methods.parts.schedule import adapted_decay, adapted_share
from methods.parts.teacher import Teacher

TINY = "tu-test_efficientnet"
BOTH = pytest.mark.parametrize("decoder", ["unet", "deeplabv3plus"])
CLASSES = pytest.mark.parametrize("classes", [2, 5])


def tiny(decoder: str = "unet", **fields) -> Arch:
    return Arch(TINY, decoder, **{"weights": "none", "width": 32, **fields})


def random_logits(classes: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, classes, 3, 4, generator=generator, dtype=torch.float64)


# Networks


@BOTH
@pytest.mark.parametrize("upsample", UPSAMPLES)
@pytest.mark.parametrize("attention", [None, Channel, Spatial, ChannelSpatial])
def test_encoder_and_decoder_give_logits_at_the_size_of_the_image(decoder, upsample, attention):
    arch = tiny(decoder, classes=3)
    encoder, head = arch.encoder(), arch.decoder(attention, upsample)
    for height, width in ((1, 1), (31, 70), (64, 64)):
        features = encoder(torch.rand(2, 3, height, width))
        assert features[0].shape[-2:] == (height, width)
        assert head(features).shape == (2, 3, height, width)


@BOTH
@pytest.mark.parametrize("weights", ["imagenet", "none"])
def test_images_that_share_a_pass_do_not_influence_each_other(decoder, weights):
    torch.manual_seed(0)
    net = Arch(decoder_name=decoder, weights=weights, dropout=0.0, width=32).net().double().train()
    x = torch.rand(3, 3, 40, 33, dtype=torch.float64)
    assert (net(x) - torch.cat([net(x[:1]), net(x[1:])])).abs().max() < 1e-5


def test_a_pretrained_encoder_keeps_its_statistics_and_learns_its_affine_parameters():
    net = Arch(width=32).net().train()
    before = {name: value.clone() for name, value in net.encoder.named_buffers()}
    net(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert all(torch.equal(value, before[name]) for name, value in net.encoder.named_buffers())
    assert net.encoder.backbone.model.bn1.weight.grad.any()


def test_live_batch_norm_moves_its_statistics():
    net = tiny(norm="batch").net().train()
    before = {name: value.clone() for name, value in net.named_buffers()}
    net(torch.rand(2, 3, 64, 64))
    moved = {name for name, value in net.named_buffers() if not torch.equal(value, before[name])}
    assert any(name.startswith("encoder") for name in moved) and any(name.startswith("decoder") for name in moved)
    assert not any(isinstance(module, nn.GroupNorm) for module in net.modules())


@BOTH
def test_dropout_0_leaves_nothing_random_and_evaluation_neither(decoder):
    x = torch.rand(2, 3, 32, 32)
    for name in (TINY, "mit_b0", "efficientnet-b0"):  # two of them have stochastic depth of their own
        net = Arch(name, decoder, weights="none", dropout=0.0, width=32).net().train()
        assert torch.equal(net(x), net(x))
    net = tiny(decoder).net().train()
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_dropout_takes_whole_channels_of_the_deepest_features():
    *_, deep = tiny(dropout=0.5).encoder().train()(torch.rand(2, 3, 128, 128))
    off = (deep == 0).all(dim=(2, 3))
    assert 0.3 < off.float().mean() < 0.7


@BOTH
def test_every_parameter_of_a_network_learns_or_is_frozen(decoder):
    net = Arch("efficientnet-b0", decoder, weights="none", width=32).net()
    net(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None] == []
    assert any(not p.requires_grad for p in net.parameters())  # a classifier's layers, which no feature uses


def test_an_image_is_normalised_as_the_encoder_expects():
    lite = Arch(width=32).encoder()
    assert lite.mean.flatten().tolist() == lite.std.flatten().tolist() == [0.5, 0.5, 0.5]
    assert torch.allclose(lite(torch.ones(1, 3, 32, 32))[0], torch.ones(1))
    resnet = Arch("resnet18", weights="none", width=32).encoder()
    assert resnet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_asking_for_a_decoder_first_changes_no_initial_weights():
    arch = Arch("tu-test_resnet", weights="none", width=32)
    torch.manual_seed(0)
    first = arch.decoder().state_dict()
    torch.manual_seed(0)
    again = arch.decoder().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_decoders_of_one_arch_start_from_different_weights():
    arch = tiny()
    assert not torch.equal(arch.decoder().head[1].weight, arch.decoder().head[1].weight)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"encoder_name": "resnet81"}, "no encoder 'resnet81'; did you mean 'resnet"),
        ({"decoder_name": "deeplab"}, "did you mean 'deeplabv3plus'"),
        ({"norm": "frozn"}, "did you mean 'frozen'"),
        ({"classes": 1}, "2 or more"),
        ({"dropout": 1.0}, "not a rate"),
        ({"width": 40}, "multiple of 16"),
    ],
)
def test_a_wrong_arch_is_refused_with_the_remedy(fields, says):
    with pytest.raises(ValueError, match=says):
        Arch(**fields)


def test_an_encoder_that_does_not_fit_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="choose another encoder"):
        Arch("tu-test_vit", weights="none").net()
    with pytest.raises(ValueError, match="choose the decoder 'unet'"):
        Arch("tu-test_mambaout", "deeplabv3plus", weights="none").net()
    with pytest.raises(ValueError, match="did you mean 'bilinear'"):
        tiny().decoder(upsample="bilnear")


# Pretrained weights


def test_the_packaged_weights_fill_every_layer_under_the_right_name():
    state = source._lite0_names(source._read(source._lite0_file()))
    reference = timm.create_model("tf_efficientnet_lite0")
    reference.load_state_dict(state)  # strict: classifier and all
    encoder = Arch(width=32).encoder().eval()
    reference.eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for stage, feature in zip(reference.forward_intermediates(2 * x - 1)[1], encoder(x)[1:], strict=True):
            torch.testing.assert_close(stage, feature, rtol=1e-4, atol=1e-4)


def test_weights_are_identified_by_what_they_are(tmp_path):
    assert weights_hash(tiny()) == ""
    assert weights_hash(Arch()) == "579344248a93"  # the package's file names 57934424 in its own name
    assert weights_hash(Arch("resnet18")).startswith("smp-hub/resnet18.imagenet@")
    assert weights_hash(Arch("tu-resnet18")).startswith("timm/resnet18.")
    (tmp_path / "abc.pth").write_bytes(b"abc")
    assert weights_hash(tiny(weights=str(tmp_path / "abc.pth"))) == "ba7816bf8f01"  # SHA-256 of "abc", FIPS 180-2


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_file_brings_an_encoder_its_weights(tmp_path, suffix, prefix):
    torch.manual_seed(1)
    state = timm.create_model(TINY.removeprefix("tu-")).state_dict()
    path = saved(tmp_path / f"w{suffix}", {prefix + name: value for name, value in state.items()})
    encoder = tiny(weights=str(path)).encoder()
    assert torch.equal(encoder.backbone.model.conv_stem.weight, state["conv_stem.weight"])
    assert not any(isinstance(module, nn.GroupNorm) for module in encoder.modules())


def test_without_loading_the_layers_are_the_same_and_no_file_is_read(tmp_path):
    state = timm.create_model(TINY.removeprefix("tu-")).state_dict()
    full = tiny(weights=str(saved(tmp_path / "w.pth", state))).net()
    blank = tiny(weights="/nowhere.pth", load=False).net()
    blank.load_state_dict(full.state_dict())
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(blank.eval()(x), full.eval()(x))


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path):
    state = timm.create_model(TINY.removeprefix("tu-")).state_dict()
    lacking = {name: value for name, value in state.items() if name != "conv_stem.weight"}
    misshapen = state | {"conv_stem.weight": torch.zeros(1, 3, 3, 3)}
    deeper = state | {"blocks.0.7.conv.weight": torch.zeros(1)}
    for wrong, says in (
        (lacking, "lacks model.conv_stem"),
        (misshapen, "other shapes"),
        (deeper, "has also model.blocks.0.7"),
    ):
        with pytest.raises(ValueError, match=says):
            tiny(weights=str(saved(tmp_path / "w.pth", wrong))).encoder()


def test_a_file_that_is_no_weights_is_refused_with_a_sentence(tmp_path):
    whole = saved(tmp_path / "w.pth", {"a": torch.zeros(1000)}).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[:500])
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    torch.save({"net": nn.Linear(1, 1)}, tmp_path / "pickle.pth")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    for name, says in {
        "none.pth": "no weights file",
        "cut.pth": "is it whole",
        "cut.safetensors": "is it whole",
        "pickle.pth": "not a plain file of tensors",
        "other.pth": "not a plain file of tensors",
    }.items():
        with pytest.raises(ValueError, match=says):
            tiny(weights=str(tmp_path / name)).encoder()


@pytest.mark.parametrize(("error", "says"), [(OSError("no route"), "does not answer"), (KeyError("x"), "no ImageNet")])
def test_a_hub_that_fails_is_named_with_the_remedy(monkeypatch, error, says):
    get_encoder = source.library.get_encoder

    def unreachable(*args, weights=None, **settings):
        if weights:
            raise error
        return get_encoder(*args, weights=weights, **settings)

    monkeypatch.setattr(source.library, "get_encoder", unreachable)
    with pytest.raises(ValueError, match=f"{says}.*; give a weights file"):
        Arch("resnet18").encoder()


def saved(path, state: dict):
    contiguous = {name: value.contiguous() for name, value in state.items()}
    save_file(contiguous, path) if path.suffix == ".safetensors" else torch.save(contiguous, path)
    return path


# Attention


def test_channel_attention_by_hand():
    attention = Channel(2)
    f = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])  # means 2 and 1, maxima 3 and 2
    with torch.no_grad():
        for layer in (attention.mlp[0], attention.mlp[2]):
            layer.weight.zero_()
        attention.mlp[0].weight[0, :, 0, 0] = torch.tensor([1.0, -1.0])  # 2 − 1 = 1 and 3 − 2 = 1
        attention.mlp[0].weight[1, :, 0, 0] = torch.tensor([-1.0, 1.0])  # −1 and −1: cut by the ReLU
        attention.mlp[2].weight[:, 0, 0, 0] = torch.tensor([1.0, -1.0])  # 1 + 1 = 2 for one channel, −2 for the other
        attention.mlp[2].weight[:, 1, 0, 0] = 5.0
        gate = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))]
        expected = torch.tensor([[[[1 * gate[0], 3 * gate[0]]], [[0.0, 2 * gate[1]]]]])
        torch.testing.assert_close(attention(f), expected)


def test_spatial_attention_by_hand():
    attention = Spatial(2)
    f = torch.tensor([[[[1.0, 2.0]], [[3.0, -2.0]]]])  # means 2 and 0, maxima 3 and 2
    with torch.no_grad():
        attention.conv.weight.zero_()
        attention.conv.weight[0, 0, 3, 3] = 1.0  # the mean here
        attention.conv.weight[0, 1, 3, 4] = -1.0  # minus the maximum one place to the right
        gate = [1 / (1 + math.exp(-(2 - 2))), 1 / (1 + math.exp(-(0 - 0)))]  # nothing lies right of the second place
        expected = torch.tensor([[[[1 * gate[0], 2 * gate[1]]], [[3 * gate[0], -2 * gate[1]]]]])
        torch.testing.assert_close(attention(f), expected)
        attention.conv.weight[0, 0, 3, 3] = 2.0
        torch.testing.assert_close(attention(f)[0, 0, 0, 0], torch.tensor(1 / (1 + math.exp(-2.0))))


def test_both_is_channel_then_spatial():
    torch.manual_seed(0)
    attention, f = ChannelSpatial(16), torch.rand(2, 16, 5, 4)
    channel, spatial = attention
    torch.testing.assert_close(attention(f), spatial(channel(f)))
    assert not torch.allclose(attention(f), channel(spatial(f)))


@pytest.mark.parametrize("kind", [Channel, Spatial, ChannelSpatial])
def test_attention_can_only_weaken_and_treats_images_apart(kind):
    torch.manual_seed(0)
    attention, f = kind(16), torch.rand(3, 16, 5, 4)
    assert (attention(f) < f).all() and (attention(f) > 0).all()
    torch.testing.assert_close(attention(f)[1:2], attention(f[1:2]))


# Losses


def test_dice_and_cross_entropy_by_hand():
    logits = torch.zeros(1, 2, 1, 2, dtype=torch.float64)  # p = ½ everywhere
    y = torch.tensor([[[0, 1]]])
    s = 1e-5
    # per class: Σ p·y = ½, Σ p² = ½, Σ y² = 1, so 1 − (1 + s) / (1.5 + s) = 1/3 but for s
    assert cross_entropy(logits, y).item() == pytest.approx(math.log(2))
    assert dice(logits, y).item() == pytest.approx(1 - (1 + s) / (1.5 + s))
    assert dice_ce(logits, y).item() == pytest.approx(0.5 * math.log(2) + 0.5 * (1 - (1 + s) / (1.5 + s)))


def test_ignored_pixels_take_part_in_no_loss():
    """p = (¼, ¾) at a pixel of class 1; beside it two that are not annotated. CE = −ln ¾. Dice, but for s: of class 0
    1 − 0 = 1, of class 1 1 − 2 · ¾ / (9/16 + 1) = 1/25."""
    logits = torch.tensor([[[[0.0, 5.0, -3.0]], [[math.log(3), 2.0, 9.0]]]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[[1, IGNORE, IGNORE]]])
    assert cross_entropy(logits, y).item() == pytest.approx(-math.log(0.75))
    assert dice(logits, y).item() == pytest.approx((1 + 1 / 25) / 2, abs=1e-3)
    dice_ce(logits, y).backward()
    assert logits.grad[..., 0].any() and not logits.grad[..., 1:].any()


@CLASSES
def test_a_mask_with_ignored_pixels_equals_its_other_pixels_in_a_row(classes):
    logits, y = random_logits(classes), random_logits(classes, seed=1).argmax(1)
    y[0, :2], y[1, :, 1] = IGNORE, IGNORE
    row = logits.movedim(1, -1)[y != IGNORE].T[None, :, None], y[y != IGNORE][None, None]
    for loss in (cross_entropy, dice, dice_ce):
        torch.testing.assert_close(loss(logits, y), loss(*row))


def test_a_mask_of_ignored_pixels_alone_costs_nothing():
    logits = random_logits(3).requires_grad_()
    total = dice_ce(logits, torch.full((len(logits), *logits.shape[2:]), IGNORE))
    total.backward()
    assert total == 0 and not logits.grad.any()


def test_dice_of_a_class_that_is_absent_and_rightly_not_predicted_is_0():
    logits = torch.tensor([[[[60.0, 60.0]], [[-60.0, -60.0]], [[-60.0, -60.0]]]], dtype=torch.float64)
    assert dice(logits, torch.zeros(1, 1, 2, dtype=torch.int64)).item() == pytest.approx(0, abs=1e-9)


def test_dice_sums_over_the_whole_batch():
    logits = random_logits(3)
    y = random_logits(3, seed=1).argmax(1)
    in_one = torch.cat(list(logits), dim=1)[None], torch.cat(list(y), dim=0)[None]  # the images one below the other
    torch.testing.assert_close(dice(logits, y), dice(*in_one))


def test_distillation_by_hand():
    teacher = torch.tensor([2 * math.log(3), 0.0]).view(1, 2, 1, 1)  # at T = 2: (¾, ¼)
    student = torch.zeros(1, 2, 1, 1)  # (½, ½)
    # T² KL = 4 (¾ ln 1.5 + ¼ ln ½) = 4 · (0.304099 − 0.173287)
    assert distill(student, teacher, 2.0).item() == pytest.approx(4 * 0.130812, abs=1e-5)


def test_entropy_by_hand():
    logits = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1)  # (¾, ¼)
    # (¾ ln 4/3 + ¼ ln 4) / ln 2 = (0.215762 + 0.346574) / 0.693147
    assert entropy(logits).item() == pytest.approx(0.811278, abs=1e-5)
    assert entropy(logits.log_softmax(1)).item() == pytest.approx(0.811278, abs=1e-5)


@CLASSES
def test_entropy_is_1_for_an_even_guess_and_0_for_a_sure_one(classes):
    even = torch.zeros(1, classes, 2, 2)
    sure = even.clone()
    sure[:, 0] = 500.0
    assert entropy(even).item() == pytest.approx(1)
    assert entropy(sure).item() == pytest.approx(0, abs=1e-6)


def test_the_mean_of_branches_by_hand():
    one = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1)  # (¾, ¼)
    other = torch.zeros(1, 2, 1, 1)  # (½, ½)
    assert log_mean_softmax([one, other]).exp().flatten().tolist() == pytest.approx([0.625, 0.375])


def test_mse_by_hand():
    p, q = torch.tensor([0.75, 0.25]).view(1, 2, 1, 1), torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
    assert mse(p, q).item() == pytest.approx(0.0625)  # (¼² + ¼²) / 2


def test_the_ramp_by_hand():
    start, early, middle, late, end = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    assert ramp(start).item() == pytest.approx(math.exp(-5))
    assert ramp(middle).item() == pytest.approx(math.exp(-1.25))  # −5 · ½²
    assert ramp(end) == ramp(middle, 0.5) == ramp(late, 0.4) == ramp(start, 0.0) == 1.0
    assert ramp(early, 0.4).item() == pytest.approx(math.exp(-5 * 0.75**2))


@CLASSES
def test_losses_and_their_gradients_equal_loops_over_pixels(classes):
    y = random_logits(classes, seed=5).argmax(1)
    other = random_logits(classes, seed=1)

    def softmax(z: Tensor, temperature: float = 1.0) -> list[Tensor]:
        exponentials = [torch.exp(z[c] / temperature) for c in range(classes)]
        return [e / sum(exponentials) for e in exponentials]

    def slow_cross_entropy(z):
        pixels = [(i, r, c) for i in range(2) for r in range(3) for c in range(4)]
        return sum(-torch.log(softmax(z[i, :, r, c])[y[i, r, c]]) for i, r, c in pixels) / len(pixels)

    def slow_dice(z):
        total = 0.0
        for k in range(classes):
            overlap, size = 0.0, 0.0
            for i in range(2):
                for r in range(3):
                    for c in range(4):
                        p, truth = softmax(z[i, :, r, c])[k], float(y[i, r, c] == k)
                        overlap, size = overlap + p * truth, size + p * p + truth * truth
            total = total + 1 - (2 * overlap + 1e-5) / (size + 1e-5)
        return total / classes

    def slow_distill(z):
        total = 0.0
        for i in range(2):
            for r in range(3):
                for c in range(4):
                    q, p = softmax(z[i, :, r, c], 4.0), softmax(other[i, :, r, c], 4.0)
                    total = total + sum(p[k] * (torch.log(p[k]) - torch.log(q[k])) for k in range(classes))
        return 16 * total / 24

    def slow_entropy(z):
        total = 0.0
        for i in range(2):
            for r in range(3):
                for c in range(4):
                    mean = [
                        (a + b) / 2 for a, b in zip(softmax(z[i, :, r, c]), softmax(other[i, :, r, c]), strict=True)
                    ]
                    total = total - sum(p * torch.log(p) for p in mean) / math.log(classes)
        return total / 24

    def slow_mse(z):
        total = 0.0
        for i in range(2):
            for r in range(3):
                for c in range(4):
                    pairs = zip(softmax(z[i, :, r, c]), softmax(other[i, :, r, c]), strict=True)
                    total = total + sum((p - q) ** 2 for p, q in pairs)
        return total / (24 * classes)

    for fast, slow in (
        (lambda z: cross_entropy(z, y), slow_cross_entropy),
        (lambda z: dice(z, y), slow_dice),
        (lambda z: distill(z, other, 4.0), slow_distill),
        (lambda z: entropy(log_mean_softmax([z, other])), slow_entropy),
        (lambda z: mse(z.softmax(1), other.softmax(1)), slow_mse),
    ):
        z = random_logits(classes).requires_grad_()
        value, expected = fast(z), slow(z)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(*(torch.autograd.grad(loss, z)[0] for loss in (value, expected)))


CONSISTENCIES = [
    pytest.param(lambda a, b: distill(a, b, 1.0), id="distill at 1"),
    pytest.param(lambda a, b: distill(a, b, 10.0), id="distill at 10"),
    pytest.param(lambda a, b: mse(a.softmax(1), b.softmax(1)), id="mse"),
]


@CLASSES
@pytest.mark.parametrize("compare", CONSISTENCIES)
def test_a_consistency_is_0_for_branches_that_agree_and_notices_a_shifted_class(compare, classes):
    a, b = random_logits(classes), random_logits(classes, seed=1)
    assert compare(a, a).item() == pytest.approx(0, abs=1e-12)
    assert compare(a, b).item() > 0
    shifted = a.clone()
    shifted[:, 0] += 10.0
    assert abs(compare(shifted, b).item() - compare(a, b).item()) > 1e-3
    assert compare(a + 10.0, b).item() == pytest.approx(compare(a, b).item())  # all classes alike: no other prediction


@pytest.mark.parametrize("compare", CONSISTENCIES)
def test_no_gradient_reaches_the_branch_that_teaches(compare):
    a, b = random_logits(3).requires_grad_(), random_logits(3, seed=1).requires_grad_()
    compare(a, b).backward()
    assert a.grad.any() and b.grad is None


def test_distillation_tends_to_the_squared_difference_of_margins():
    """With two classes and a large T, T² KL → (difference of z_1 − z_0)² / 8."""
    a, b = random_logits(2), random_logits(2, seed=1)
    margin = (a[:, 1] - a[:, 0]) - (b[:, 1] - b[:, 0])
    assert distill(a, b, 1e4).item() == pytest.approx((margin.square() / 8).mean().item(), rel=1e-4)


def test_a_loss_over_no_images_is_0_with_gradient_0():
    for loss in (
        lambda z: entropy(z),
        lambda z: distill(z, z, 2.0),
        lambda z: mse(z.softmax(1), z.softmax(1)),
        lambda z: cross_entropy(z, torch.zeros(0, 3, 4, dtype=torch.int64)),
    ):
        z = random_logits(2).requires_grad_()
        value = loss(z[:0])
        value.backward()
        assert value.item() == 0 and not z.grad.any()


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_losses_of_half_precision_logits_stay_finite(precision):
    y = random_logits(3, seed=5).argmax(1)
    for scale in (1.0, 5000.0):
        z, other = (random_logits(3, seed, scale).to(precision).requires_grad_() for seed in (0, 1))
        total = dice_ce(z, y) + entropy(log_mean_softmax([z, other])) + mse(z.softmax(1), other.softmax(1))
        for temperature in (0.1, 1.0, 10.0):
            total = total + 1e-6 * distill(z, other, temperature)
        total.backward()
        assert total.dtype == torch.float32 and total.isfinite() and z.grad.isfinite().all()


# Schedule


def test_an_average_looks_back_over_one_percent_of_a_run_but_at_least_over_10_steps():
    steps = (400, 1_200, 2_000, 4_000, 10_000, 25_000, 100_000)
    lengths = [1 / (1 - adapted_decay(0.999, T)) for T in steps]
    assert lengths == pytest.approx([10, 12, 20, 40, 100, 250, 1_000])


def test_a_published_decay_holds_at_published_lengths():
    for decay, steps in ((0.99, 30_000), (0.996, 39_300), (0.999, 104_880)):
        assert adapted_decay(decay, steps) == decay
    assert adapted_decay(0.99, 400, adapt=False) == 0.99
    assert adapted_decay(0.5, 400) == 0.5, "the rule never makes an average longer"
    assert adapted_decay(0.0, 400) == 0.0


def test_a_warm_up_has_200_steps_or_20_percent_of_the_run():
    assert [T * adapted_share(0.1, T) for T in (100, 400, 1_000, 1_500)] == pytest.approx([20, 80, 200, 200])
    assert adapted_share(0.1, 2_000) == 0.1, "long runs keep the published share"
    assert adapted_share(0.25, 400) == 0.25
    assert adapted_share(0.0, 400) == 0.0, "what has no ramp gets none"


def test_every_averaged_teacher_follows_the_rule_for_short_runs():
    for name in methods.names():
        for steps in (400, 100_000):
            built = methods.build(name, tiny(steps=steps))
            signature = inspect.signature(methods.get(name).__init__).parameters
            for teacher in (module for module in built.modules() if isinstance(module, Teacher)):
                own = steps // 2 if name == "ad_mt" else steps  # two teachers that take turns
                assert teacher.decay == adapted_decay(signature["decay"].default, own), name
                if "adapt_decay" in signature:
                    assert methods.get(name).variants["published_decay"] == {"adapt_decay": False}, name


def test_every_method_with_a_predicting_teacher_can_be_scored_by_either_network():
    """`predicts` says which network predicts by default; one variant has the other. Without it the student predicts."""
    for name in methods.names():
        kind = methods.get(name)
        if not any(isinstance(module, Teacher) for module in methods.build(name, tiny()).modules()):
            continue
        if "predicts" not in inspect.signature(kind.__init__).parameters:
            assert not depends_on_a_teacher(name), name
            continue
        default = inspect.signature(kind.__init__).parameters["predicts"].default
        other = {"teacher": "student", "student": "teacher"}[default]
        assert kind.variants[f"{other}_predicts"] == {"predicts": other}, name


def depends_on_a_teacher(name: str) -> bool:
    method, x = methods.build(name, tiny()).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = method.predict(x)
        for teacher in (module for module in method.modules() if isinstance(module, Teacher)):
            for parameter in teacher.parameters():
                parameter.add_(1.0)
        return not torch.equal(method.predict(x), before)


# Teacher


class Number(nn.Module):
    """A parameter, a floating buffer and a counter, all of one value."""

    def __init__(self, value: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("statistic", torch.tensor(value, dtype=torch.float64))
        self.register_buffer("counter", torch.tensor(int(value)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def test_a_teacher_moves_by_its_share_of_the_gap():
    net = Number(0.0)
    teacher = Teacher(net, decay=0.75)
    # a = 0, ½, ⅔, then 0.75 for ever: 8, 8 + ½ (16 − 8) = 12, 12 + ⅓ (0 − 12) = 8, 8 + ¼ (4 − 8) = 7, 7 + ¼ (3 − 7) = 6
    for follows, expected in ((8.0, 8.0), (16.0, 12.0), (0.0, 8.0), (4.0, 7.0), (3.0, 6.0)):
        with torch.no_grad():
            for value in (net.weight, net.statistic, net.counter):
                value.fill_(follows)
        teacher.update(net)
        assert teacher.net.weight.item() == pytest.approx(expected)
        assert teacher.net.statistic.item() == pytest.approx(expected)
        assert teacher.net.counter.item() == follows


def test_a_teacher_is_frozen_and_always_evaluates():
    net = tiny().net().train()
    teacher = Teacher(net)
    parent = nn.ModuleList([net, teacher]).train()
    assert parent[0].training and not any(module.training for module in teacher.modules())
    x = torch.rand(1, 3, 32, 32)
    assert not teacher(x).requires_grad and torch.equal(teacher(x), teacher(x))
    assert not any(p.requires_grad for p in teacher.parameters()) and all(p.requires_grad for p in net.parameters())


def test_a_teacher_goes_on_from_its_state():
    net = Number(1.0)
    teacher, again = Teacher(net), Teacher(Number(5.0))
    teacher.update(net)
    again.load_state_dict(teacher.state_dict())
    other = Number(3.0)
    for each in (teacher, again):
        each.update(other)
    assert again.net.weight.item() == teacher.net.weight.item() == 2.0  # halfway from 1 to 3: the second update


def test_a_teacher_of_a_net_that_learnt_nothing_stays():
    net = tiny().net()
    teacher = Teacher(net)
    for _ in range(3):
        teacher.update(net)
    for mine, theirs in zip(teacher.net.parameters(), net.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("decoder_name", ["unet", "deeplabv3plus"])
def test_a_decoder_sees_no_border_in_features_that_have_none(decoder_name):
    """Flat features give flat logits, up to the border; zeros beyond it would show."""
    arch = Arch(TINY, decoder_name, weights="none", dropout=0.0, width=32)
    with torch.no_grad():
        features = arch.encoder()(torch.rand(1, 3, 64, 64))
        flat = [torch.full_like(feature, 0.3) for feature in features]
        logits = arch.decoder(upsample="nearest").eval()(flat)
    torch.testing.assert_close(logits, logits[..., :1, :1].expand_as(logits))


def test_labelled_and_unlabelled_images_pass_together_and_come_back_apart():
    sizes = []

    def net(images):
        sizes.append(len(images))
        return 2 * images

    x, u = torch.rand(2, 3, 4, 4), torch.rand(3, 3, 4, 4)
    z, z_u = in_one_pass(net, x, u)
    assert torch.equal(z, 2 * x) and torch.equal(z_u, 2 * u) and sizes == [5]
    assert len(in_one_pass(net, x, u[:0])[1]) == 0


@pytest.mark.parametrize("size", [(5, 5), (5, 12), (12, 5), (12, 12), (6, 7)])
def test_a_dilated_convolution_without_taps_on_padding_is_the_whole_one(size):
    plain = nn.Conv2d(3, 4, 3, padding=6, dilation=6, bias=False).double()
    conv, x = DilatedConv(plain), torch.rand(2, 3, *size, dtype=torch.float64)
    gradients = []
    for layer in (plain, conv):
        plain.zero_grad()
        output = layer(x)
        output.square().sum().backward()
        gradients.append((output.detach(), plain.weight.grad.clone()))
    for whole, part in zip(*gradients, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-12, atol=1e-12)
