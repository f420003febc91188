"""Perturbed features: what changes is what was meant to, image by image, and gradients pass through the rest."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import methods
from methods.base import Batch
from methods.parts import perturb
from methods.parts.nets import Arch

LABELS = torch.zeros(3, 16, 16, dtype=torch.int64)
LABELS[0, 2:12, 4:8], LABELS[1, 8:, :8], LABELS[1, 0, 15] = 1, 2, 1


class Pixelwise(nn.Module):
    """A decoder small enough to differentiate by hand: each map to two classes, at the size of the image."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(n, 2, 1) for n in (4, 6))
        self.dropout = nn.Dropout2d(0.5)

    def forward(self, features):
        size = features[0].shape[2:]
        maps = zip(self.heads, features[1:], strict=True)
        return self.dropout(sum(F.interpolate(head(x).tanh(), size, mode="bilinear") for head, x in maps))


@pytest.fixture
def decoder() -> nn.Module:
    torch.manual_seed(5)
    return Pixelwise()


@pytest.fixture
def features() -> list[torch.Tensor]:
    """The image and two maps of three images, with signs."""
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 3, 16, 16), (3, 4, 8, 8), (3, 6, 4, 4)
    return [torch.randn(shape, generator=generator) for shape in shapes]


BLIND = {name: getattr(perturb, name) for name in ("dropout", "noise", "drop_active")}
GUIDED = {name: getattr(perturb, name) for name in ("hide_objects", "hide_context", "cut_out")}


@pytest.fixture(params=[*BLIND, *GUIDED, "complementary_dropout", "vat"])
def change(request, decoder):
    """Every perturbation as a function of the features of up to three images."""
    if request.param == "vat":
        return lambda features: perturb.vat(features, decoder)
    if request.param == "complementary_dropout":  # of two views: the second is taken away again
        return lambda features: [x[: len(x) // 2] for x in perturb.complementary_dropout(twice(features))]
    if request.param in GUIDED:
        return lambda features: GUIDED[request.param](features, LABELS[: len(features[0])])
    return BLIND[request.param]


def twice(features):
    return [torch.cat([x, x]) for x in features]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# What every perturbation keeps


def test_shapes_types_and_the_image_stay_and_the_features_change(change, features):
    torch.manual_seed(0)
    before = [x.clone() for x in features]
    seen = change(features)
    assert [(x.shape, x.dtype) for x in seen] == [(x.shape, x.dtype) for x in features]
    assert torch.equal(seen[0], features[0]) and not torch.equal(seen[1], features[1])
    assert same(features, before)


def test_the_same_seed_perturbs_the_same(change, features):
    torch.manual_seed(1)
    first = change(features)
    torch.manual_seed(1)
    assert same(change(features), first)


def test_no_image_looks_at_another(change, features):
    other = [torch.cat([x[:1], 3 * x[1:2].flip(2), x[2:]]) for x in features]
    for seed in range(5):
        torch.manual_seed(seed)
        a = change(features)
        torch.manual_seed(seed)
        b = change(other)
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x[[0, 2]], y[[0, 2]], atol=1e-6, rtol=0)


def test_gradients_reach_every_map_of_the_encoder(change, features):
    torch.manual_seed(0)
    maps = [features[0], *(x.requires_grad_() for x in features[1:])]
    sum(x.square().sum() for x in change(maps)[1:]).backward()
    assert all(x.grad.isfinite().all() and x.grad.any() for x in maps[1:])


def test_half_precision_stays_finite_and_half(change, features):
    seen = change([x.bfloat16() for x in features])
    assert all(x.dtype == torch.bfloat16 and x.isfinite().all() for x in seen)


def test_no_images_are_no_trouble(change, features):
    assert [len(x) for x in change([x[:0] for x in features])] == [0, 0, 0]


@pytest.mark.parametrize("name", [*BLIND, *GUIDED, "complementary_dropout"])
def test_nothing_waits_for_the_device(name, features):
    meta = [x.to("meta") for x in twice(features)]
    labels = (torch.cat([LABELS, LABELS]).to("meta"),) if name in GUIDED else ()
    assert all(x.device.type == "meta" for x in getattr(perturb, name)(meta, *labels))


def test_a_strength_of_zero_changes_nothing(features, decoder):
    assert same(perturb.dropout(features, p=0.0), features)
    assert same(perturb.noise(features, amount=0.0), features) and same(perturb.noise(features, p=0.0), features)
    assert same(perturb.drop_active(features, p=0.0), features)
    assert same(perturb.complementary_dropout(twice(features), share=0.0), twice(features))
    assert same(perturb.cut_out(features, LABELS, side=0.0), features)
    assert same(perturb.vat(features, decoder, eps=0.0), features)


@pytest.mark.parametrize("change", [perturb.noise, perturb.drop_active])
def test_a_probability_is_the_share_of_images_that_change(change):
    x = torch.rand(2000, 2, 3, 3) + 0.5
    changed = (change([x, x], p=0.3)[1] != x).flatten(1).any(1)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.04)


# Dropout and noise


def test_dropout_takes_whole_channels_of_each_image_and_keeps_the_mean():
    torch.manual_seed(0)
    seen = perturb.dropout([torch.ones(1), torch.ones(50, 40, 2, 2)])[1]
    assert set(seen.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(seen.amin((2, 3)), seen.amax((2, 3)))
    assert seen.mean().item() == pytest.approx(1, abs=0.06)
    assert not torch.equal(seen[0], seen[1])


def test_noise_multiplies_and_is_each_images_own():
    torch.manual_seed(0)
    x = torch.full((2, 8, 32, 32), -2.0)
    factor = perturb.noise([x, x])[1] / x
    assert 0.7 <= factor.min() < 0.71 and 1.29 < factor.max() <= 1.3
    assert factor.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.02)
    assert not torch.equal(factor[0], factor[1])


# Feature drop


def test_feature_drop_removes_exactly_the_most_active_places():
    x = torch.tensor([[1.0, -8.0, 3.0], [7.9, 10.0, 0.0]]).view(1, 1, 2, 3).expand(4, 2, 2, 3)
    seen = perturb.drop_active([x, x], low=0.8, high=0.8)[1]
    kept = torch.tensor([[1.0, 0.0, 3.0], [7.9, 0.0, 0.0]]).expand(4, 2, 2, 3)  # |−8| and 10 reach 0.8 of 10
    assert torch.equal(seen, kept)


def test_feature_drop_averages_channels_before_it_compares():
    x = torch.tensor([[10.0, 0.0], [4.0, 4.0]]).T.view(1, 2, 1, 2)  # means of 5 and 4
    assert torch.equal(perturb.drop_active([x, x], low=0.9, high=0.9)[1], x * torch.tensor([0.0, 1.0]))


def test_each_image_has_a_threshold_of_its_own():
    torch.manual_seed(0)
    x = torch.linspace(0, 1, 101).view(1, 1, 1, 101).expand(400, 1, 1, 101)
    dropped = 101 - perturb.drop_active([x, x])[1].flatten(1).count_nonzero(1) - 1  # 0 is zero in any case
    assert dropped.min() >= 11 and dropped.max() <= 31 and len(dropped.unique()) > 15


# Complementary dropout


def test_what_one_view_loses_the_other_has_twice():
    torch.manual_seed(0)
    x = torch.randn(40, 16, 2, 2)
    views = [torch.cat([x, x])] * 3
    for seen in perturb.complementary_dropout(views, share=0.5)[1:]:
        first, second = seen.chunk(2)
        torch.testing.assert_close(first + second, 2 * x)
        touched = (first != x).flatten(1).any(1)
        assert touched.sum() == 20
        factors = (first / x)[touched]
        assert set(factors.unique().tolist()) == {0.0, 2.0}
        assert torch.equal(factors.amin((2, 3)), factors.amax((2, 3)))
        assert factors.mean().item() == pytest.approx(1, abs=0.15)


def test_the_same_images_are_touched_at_every_depth():
    torch.manual_seed(0)
    x = torch.randn(20, 32, 2, 2)
    touched = [(seen != x).flatten(1).any(1) for seen in perturb.complementary_dropout([x] * 4)[1:]]
    assert torch.equal(touched[0], touched[1]) and torch.equal(touched[1], touched[2])


def test_one_view_alone_is_refused(features):
    with pytest.raises(ValueError, match="concatenate both"):
        perturb.complementary_dropout(features)


# Guided masks


def test_objects_and_context_are_hidden_where_they_are_predicted():
    ones = [torch.ones(3, 3, 16, 16), torch.ones(3, 2, 16, 16), torch.ones(3, 2, 8, 8)]
    context, objects = perturb.hide_objects(ones, LABELS), perturb.hide_context(ones, LABELS)
    assert torch.equal(context[1], (LABELS == 0)[:, None].float().expand(-1, 2, -1, -1))
    for a, b in zip(context[1:], objects[1:], strict=True):
        assert torch.equal(a + b, torch.ones_like(a))
    assert torch.equal(objects[2][0, 0].nonzero().amin(0), torch.tensor([1, 2]))  # rows 2 to 11, columns 4 to 7
    assert torch.equal(objects[2][0, 0].nonzero().amax(0), torch.tensor([5, 3]))


def test_the_cutout_is_a_box_within_the_predicted_objects():
    ones, starts = [torch.ones(3, 3, 16, 16), torch.ones(3, 2, 16, 16)], set()
    for seed in range(60):
        torch.manual_seed(seed)
        hole = perturb.cut_out(ones, LABELS)[1][:, 0] == 0
        rows, columns = hole.any(2), hole.any(1)
        assert rows.sum(1).tolist() == [4, 7, 0]  # 0.4 of 10 and of 16, rounded up; no object, no hole
        assert columns.sum(1).tolist() == [2, 7, 0]  # 0.4 of 4 and of 16
        assert torch.equal(hole, rows[:, :, None] & columns[:, None])
        assert not (rows[0, :2].any() or rows[0, 12:].any() or columns[0, :4].any() or columns[0, 8:].any())
        starts.add((rows[0].int().argmax().item(), columns[0].int().argmax().item()))
    assert {row for row, _ in starts} == set(range(2, 9)) and {column for _, column in starts} == {4, 5, 6}


# The adversarial direction


def divergence(decoder, features, seen) -> torch.Tensor:
    """KL for each image, dropout off."""
    decoder.eval()
    with torch.no_grad():
        p, q = decoder(features).log_softmax(1), decoder(seen).log_softmax(1)
    decoder.train()
    return F.kl_div(q, p, reduction="none", log_target=True).sum((1, 2, 3))


def length(features) -> torch.Tensor:
    return sum(x.square().sum((1, 2, 3)) for x in features[1:]).sqrt()


def moves(features, seen):
    return [y - x for x, y in zip(features, seen, strict=True)]


def test_the_adversarial_direction_hurts_more_than_any_random_one(features, decoder):
    torch.manual_seed(0)
    hurt = divergence(decoder, features, perturb.vat(features, decoder))
    for _ in range(20):
        step = [torch.randn_like(x) for x in features[1:]]
        share = (0.02 * length(features) / length([None, *step])).view(-1, 1, 1, 1)
        randomly = [features[0], *(x + share * d for x, d in zip(features[1:], step, strict=True))]
        assert (hurt > 2 * divergence(decoder, features, randomly)).all()


@pytest.mark.parametrize("kind", ["unet", "deeplabv3plus"])
def test_it_hurts_real_decoders_too_and_leaves_their_statistics(kind):
    torch.manual_seed(0)
    net = Arch("resnet18", kind, weights="none", norm="batch").net()
    features = [x.detach() for x in net.encoder(torch.rand(2, 3, 32, 32))]
    before = {name: value.clone() for name, value in net.decoder.state_dict().items()}
    hurt = divergence(net.decoder, features, perturb.vat(features, net.decoder))
    assert all(torch.equal(value, before[name]) for name, value in net.decoder.state_dict().items())
    step = [torch.randn_like(x) for x in features[1:]]
    share = (0.02 * length(features) / length([None, *step])).view(-1, 1, 1, 1)
    randomly = [features[0], *(x + share * d for x, d in zip(features[1:], step, strict=True))]
    assert (hurt > 2 * divergence(net.decoder, features, randomly)).all()


def test_the_move_has_the_length_that_was_asked_for_whatever_the_scale(features, decoder):
    for scale in (1.0, 30.0):
        scaled = [scale * x for x in features]
        share = length(moves(scaled, perturb.vat(scaled, decoder, eps=0.1))) / length(scaled)
        torch.testing.assert_close(share, torch.full((3,), 0.1), rtol=1e-3, atol=0)


def test_the_direction_is_that_of_a_power_iteration_written_out(features, decoder):
    """A logistic decoder's KL has the Hessian p (1 − p) w wᵀ, so one iteration ends on the line of w."""
    w = torch.tensor([1.0, -2.0, 0.5])
    line = nn.Conv2d(3, 2, 1, bias=False)
    with torch.no_grad():
        line.weight.zero_()
        line.weight[1] = w.view(3, 1, 1)
    network = nn.Sequential(line)
    network.forward = lambda features: line(features[1])
    x = [torch.zeros(4, 3, 1, 1), torch.randn(4, 3, 1, 1)]
    move = moves(x, perturb.vat(x, network, eps=0.5))[1].flatten(1)
    cosine = F.cosine_similarity(move, w.expand(4, -1))
    torch.testing.assert_close(cosine.abs(), torch.ones(4), rtol=1e-3, atol=0)


def test_the_decoder_is_left_as_it_was(features, decoder):
    decoder.train()
    kept = torch.ones_like(decoder.heads[0].weight)
    decoder.heads[0].weight.grad = kept
    perturb.vat(features, decoder)
    assert decoder.heads[0].weight.grad is kept and torch.equal(kept, torch.ones_like(kept))
    assert decoder.heads[1].weight.grad is None and decoder.heads[1].weight.requires_grad
    assert decoder.training and decoder.dropout.training


def test_the_direction_does_not_depend_on_autocast_or_on_gradients_being_off(features, decoder):
    torch.manual_seed(2)
    expected = perturb.vat(features, decoder)
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert same(perturb.vat(features, decoder), expected)


def test_a_decoder_that_listens_to_nothing_moves_nothing(features, decoder):
    for parameter in decoder.parameters():
        nn.init.zeros_(parameter)
    assert same(perturb.vat(features, decoder), features)


def test_what_one_view_loses_the_other_has_twice_whatever_the_networks_own_dropout():
    method = methods.build(
        "unimatch_v2", Arch("tu-test_efficientnet", weights="none", dropout=0.5), dropout=1.0
    ).train()
    read = []
    method.student.decoder.register_forward_pre_hook(lambda module, given: read.append(given[0][-1]))
    method.cutmix = 0.0
    x = torch.rand(2, 3, 64, 64)
    method.view = lambda images: images
    method.losses(Batch(x, torch.zeros(2, 64, 64, dtype=torch.long), x), torch.tensor(0.5))
    labelled, first, second = read[0].split(2)
    whole = method.student.encoder(x)[-1]
    torch.testing.assert_close(first + second, 2 * whole)
    assert (labelled == 0).flatten(2).all(2).any(), "labelled images keep their dropout"
