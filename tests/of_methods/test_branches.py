"""What decoders teach each other equals numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

import methods
from methods.parts.attention import Channel, ChannelSpatial, Spatial
from methods.parts.branches import attentive, cross_distill
from methods.parts.nets import Arch


def pixel(*odds: float) -> Tensor:
    """Logits of one pixel whose probabilities are as these odds."""
    return torch.tensor(odds, dtype=torch.float64).log().view(1, -1, 1, 1)


def test_two_branches_lose_the_divergence_of_each_from_the_other():
    even, sure = pixel(1, 1), pixel(3, 1)
    to_even = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)  # the sure one teaches
    to_sure = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert cross_distill([even, sure], 1.0).item() == pytest.approx((to_even + to_sure) / 2)


def test_a_temperature_softens_both_sides_and_its_square_keeps_the_scale():
    even, sure = pixel(1, 1), pixel(9, 1)  # at temperature 2 the odds are 1 : 1 and 3 : 1
    assert cross_distill([even, sure], 2.0).item() == pytest.approx(4 * cross_distill([even, pixel(3, 1)], 1.0).item())


def test_at_temperature_0_the_teachers_most_likely_class_is_learnt():
    left, right = pixel(3, 1), pixel(1, 4)
    assert cross_distill([left, right], 0.0).item() == pytest.approx((-math.log(0.25) - math.log(0.2)) / 2)


def test_of_three_branches_every_student_has_two_teachers():
    a, b, c = pixel(1, 1), pixel(2, 1), pixel(5, 1)
    pairs = [cross_distill(pair, 1.0).item() * 2 for pair in ([a, b], [a, c], [b, c])]
    assert cross_distill([a, b, c], 1.0).item() == pytest.approx(sum(pairs) / 3)


def test_a_teacher_gets_no_gradient():
    student, teacher = pixel(1, 1).requires_grad_(), pixel(3, 1).requires_grad_()
    cross_distill([student, teacher], 1.0).backward()
    assert student.grad.flatten().tolist() == pytest.approx([(0.5 - 0.75) / 2, (0.5 - 0.25) / 2])  # p − q, halved
    assert teacher.grad.flatten().tolist() == pytest.approx([(0.75 - 0.5) / 2, (0.25 - 0.5) / 2])


def test_branches_that_agree_lose_nothing_and_no_image_neither():
    z = torch.randn(2, 3, 4, 4)
    assert cross_distill([z, z.clone()], 10.0).item() == pytest.approx(0, abs=1e-6)
    assert cross_distill([z[:0], z[:0]], 10.0) == 0
    assert cross_distill([z], 10.0) == 0


def test_every_decoder_has_its_own_kind_of_attention_and_its_own_weights():
    arch = Arch("tu-test_efficientnet", weights="none", width=32)
    both, spatial, channel, none = attentive(arch, ("both", "spatial", "channel", "none"))
    kinds = (ChannelSpatial, Spatial, Channel)
    inside = [
        {kind for m in decoder.modules() for kind in kinds if type(m) is kind}
        for decoder in (both, spatial, channel, none)
    ]
    assert inside == [set(kinds), {Spatial}, {Channel}, set()]
    assert not torch.equal(both.head[1].weight, none.head[1].weight)


def test_a_second_network_that_is_like_the_first_takes_no_weights_of_its_own():
    arch = Arch("tu-test_efficientnet", weights="none", width=32)
    with pytest.raises(ValueError, match="leave out second_weights"):
        methods.get("cross_teaching")(arch, second_encoder="same", second_weights="imagenet")


def test_cdma_plus_classifies_images_only_once_a_class_was_seen_present_and_absent():
    """Where every image has the foreground there is nothing to classify; p = ½ of the scores costs ln 2 an image."""
    method = methods.build("cdma_plus", Arch("tu-test_efficientnet", weights="none", width=32))
    scores, masks = torch.zeros(2, 2), torch.zeros(2, 4, 4, dtype=torch.long)
    both, one = masks.clone(), masks.clone()
    both[:, 0], one[0, 0] = 1, 1
    assert method.presence(scores, both) == 0
    method.after_step()
    assert method.presence(scores, one).item() == pytest.approx(math.log(2))
    assert method.presence(scores, both) == 0, "a step that never ended is not remembered"
    method.presence(scores, one)
    method.after_step()
    again = methods.build("cdma_plus", Arch("tu-test_efficientnet", weights="none", width=32))
    again.load_state_dict(method.state_dict())
    assert again.presence(scores, both).item() == pytest.approx(math.log(2))
