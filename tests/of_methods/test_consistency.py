"""What consistency methods share, and what each of them adds, in numbers worked out by hand."""

import math

import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.stats import beta, kstest

from methods.base import Batch
from methods.cct import Cct
from methods.ict import Ict, mixed
from methods.parts import perturb
from methods.parts.consistency import dropping, jitter, perturbed_from, probabilities
from methods.parts.distance import distance_to, signed_distances
from methods.parts.nets import Arch
from methods.r_drop import RDrop, symmetric_kl
from methods.ua_mt import UaMt
from methods.urpc import Urpc

TINY = Arch("tu-test_efficientnet", weights="none", width=32)


def batch(labelled: int = 1, unlabelled: int = 2) -> Batch:
    torch.manual_seed(4)
    return Batch(
        torch.rand(labelled, 3, 32, 32), torch.ones(labelled, 32, 32).long(), torch.rand(unlabelled, 3, 32, 32)
    )


def test_noise_is_cut_off_at_two_deviations():
    x = torch.full((4, 3, 50, 50), 0.5)
    difference = jitter(x, 0.1) - x
    assert difference.abs().max().item() == pytest.approx(0.2, abs=1e-6)
    assert difference.std().item() == pytest.approx(0.096, abs=0.003)  # a little less than 0.1, for the cut
    assert torch.equal(jitter(x, 0.0), x)


def test_probabilities_are_single_precision_at_least():
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)
    assert probabilities(logits.bfloat16()).dtype == torch.float32
    assert probabilities(logits.double()).dtype == torch.float64
    assert probabilities(logits).flatten().tolist() == pytest.approx([0.25, 0.75])


def test_only_the_images_from_a_place_on_are_perturbed():
    torch.manual_seed(0)
    features = [torch.rand(5, 3, 8, 8), torch.rand(5, 6, 4, 4, requires_grad=True)]
    image, changed = perturbed_from(features, 2, perturb.noise)
    assert torch.equal(image, features[0])
    assert torch.equal(changed[:2], features[1][:2])
    assert (changed[2:] != features[1][2:]).float().mean() > 0.9
    changed.sum().backward()
    assert (features[1].grad != 0).all()


def test_what_is_drawn_for_unlabelled_images_does_not_depend_on_the_labelled_ones():
    features = [torch.rand(5, 3, 8, 8), torch.rand(5, 6, 4, 4)]
    torch.manual_seed(1)
    both = perturbed_from(features, 3, perturb.dropout)[1][3:]
    torch.manual_seed(1)
    alone = perturbed_from([maps[3:] for maps in features], 0, perturb.dropout)[1]
    assert torch.equal(both, alone)


def test_ua_mt_asks_its_teacher_with_dropout_and_nothing_else_in_training_mode():
    teacher = UaMt(TINY).teacher
    image = batch().x
    with dropping(teacher):
        training = {type(module).__name__ for module in teacher.modules() if module.training}
        first, second = teacher(image), teacher(image)
    assert training == {"Dropout2d"}
    assert not torch.equal(first, second)
    assert not any(module.training for module in teacher.modules())
    assert torch.equal(teacher(image), teacher(image))


def test_ua_mt_learns_nothing_from_a_teacher_that_is_never_sure():
    method, data = UaMt(TINY).train(), batch()
    with torch.no_grad():
        method.teacher.net.decoder.head[-1].weight.zero_()
        method.teacher.net.decoder.head[-1].bias.zero_()
    assert method.losses(data, torch.tensor(0.5))["consistency"] == 0
    masked, method.masked = method.masked, False
    assert masked and method.losses(data, torch.tensor(0.5))["consistency"] > 0


@pytest.mark.parametrize("classes", [2, 4])
def test_ua_mt_trusts_three_quarters_of_the_greatest_entropy_at_first(classes):
    """The entropy of the mean answer is moved through the threshold; at the end of training it passes."""
    method, data = UaMt(Arch("tu-test_efficientnet", classes=classes, weights="none", width=32, dropout=0.0)), batch()
    head = method.teacher.net.decoder.head[-1]

    def taken(share: float, t: float) -> bool:
        """Whether an answer counts whose entropy is a share of ln C: one class with p, the others alike."""
        low, high = 1 / classes, 1 - 1e-9
        for _ in range(60):
            p = (low + high) / 2
            entropy = -p * math.log(p) - (1 - p) * math.log((1 - p) / (classes - 1))
            low, high = (p, high) if entropy > share * math.log(classes) else (low, p)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.copy_(torch.tensor([math.log(p)] + [math.log((1 - p) / (classes - 1))] * (classes - 1)))
        return method.losses(data, torch.tensor(t))["consistency"].item() > 0

    start = 0.75 + 0.25 * math.exp(-5)
    assert [taken(start - 0.01, 0.0), taken(start + 0.01, 0.0), taken(start + 0.01, 1.0)] == [True, False, True]


def test_r_drop_measures_divergence_over_classes():
    """p = (¼, ¾), q = (¾, ¼): both divergences are ½ ln 3. A softmax over places would see no difference at all."""
    one = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert symmetric_kl(one, one.flip(1)).item() == pytest.approx(0.5 * math.log(3))
    assert symmetric_kl(one, one + 7).item() == pytest.approx(0, abs=1e-6)
    shifted = one + torch.tensor([10.0, 0.0]).view(1, 2, 1, 1)
    assert symmetric_kl(one, shifted).item() > 1


def test_r_drop_is_exactly_0_without_dropout():
    still = Arch("tu-test_efficientnet", weights="none", width=32, dropout=0.0)
    assert RDrop(still).train().losses(batch(), torch.tensor(1.0))["r_drop"] == 0
    assert RDrop(TINY).train().losses(batch(), torch.tensor(1.0))["r_drop"] > 0
    assert RDrop(still, nets=2).train().losses(batch(), torch.tensor(1.0))["r_drop"] > 0


def test_ict_mixes_the_first_half_with_the_second_and_uses_the_middle_twice():
    share = torch.tensor([0.25, 0.5])
    assert mixed(torch.tensor([0.0, 4.0, 8.0]), share).tolist() == [0 * 0.75 + 4 * 0.25, 4 * 0.5 + 8 * 0.5]
    assert mixed(torch.tensor([0.0, 4.0, 8.0, 12.0]), share).tolist() == [2.0, 8.0]
    assert mixed(torch.tensor([3.0]), share[:1]).tolist() == [3.0]
    assert mixed(torch.tensor([]), share[:0]).tolist() == []


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_ict_draws_its_shares_from_a_beta_distribution(alpha):
    torch.manual_seed(0)
    shares = Ict(TINY, alpha=alpha).shares(20_000)
    low = shares[shares < 0.5].double().numpy()  # near 1 single precision has few numbers
    assert kstest(low, lambda share: 2 * beta(alpha, alpha).cdf(share)).pvalue > 0.01
    assert len(low) == pytest.approx(10_000, abs=300)  # four standard deviations
    assert shares.min() >= 0 and shares.max() <= 1


def test_cct_s_main_decoder_learns_from_labels_only():
    data = batch()
    for detach, reached in ((True, False), (False, True)):
        torch.manual_seed(2)
        method = Cct(TINY, detach=detach).train()
        method.losses(data, torch.tensor(1.0))["consistency"].backward()
        assert any(p.grad is not None and p.grad.any() for p in method.decoder.parameters()) is reached
        assert all(p.grad is not None for p in method.auxiliary.parameters())


def test_urpc_s_scales_have_the_image_s_size_and_no_loss_where_they_agree():
    method = Urpc(TINY).train()
    assert [z.shape for z in method.scales(torch.rand(2, 3, 37, 50), 1)] == [(2, 2, 37, 50)] * 4
    alike = [torch.randn(1, 2, 4, 4)] * 3
    assert method.consistency(alike).item() == pytest.approx(0, abs=1e-6)


def test_urpc_s_loss_of_two_scales_that_contradict_each_other():
    """p = (¼, ¾) and (¾, ¼), mean (½, ½): D = ½ ln(4/3) for both, (½ − ¼)² = 1/16, and one trust cancels."""
    one = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    expected = 1 / 16 + 0.5 * math.log(4 / 3)
    assert Urpc(TINY).consistency([one, one.flip(1)]).item() == pytest.approx(expected, rel=1e-5)
    assert Urpc(TINY, rectified=False).consistency([one, one.flip(1)]).item() == pytest.approx(1 / 16, rel=1e-5)


def test_urpc_s_loss_is_finite_where_a_probability_underflows():
    sure = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
    loss = Urpc(TINY).consistency([sure, -sure])
    loss.backward()
    assert loss.isfinite() and sure.grad.isfinite().all()


def test_distances_are_those_of_another_library():
    torch.manual_seed(0)
    masks = torch.rand(6, 23, 31) < 0.03
    for mask, far in zip(masks, distance_to(masks), strict=True):
        assert torch.allclose(far, torch.from_numpy(distance_transform_edt(~mask.numpy())).float(), atol=1e-5)
    assert distance_to(torch.zeros(1, 5, 7, dtype=torch.bool)).min() >= math.hypot(5, 7)


def test_distances_are_relative_signed_and_defined_for_classes_that_are_absent_or_alone():
    y = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    assert signed_distances(y, 2).flatten().tolist() == pytest.approx([1, 2 / 3, 1 / 3, -1 / 3, -2 / 3, -1])
    assert signed_distances(y, 3)[0, 1].unique().tolist() == [1]
    assert signed_distances(torch.ones(1, 4, 4).long(), 2).unique().tolist() == [-1]
