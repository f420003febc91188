"""Teachers that do not follow at every step: those of self-training, which stop, and AD-MT's two that take turns."""

import dataclasses
import io
import math

import pytest
import torch
from parity.ad_mt import derived
from torch import Tensor, nn

import methods
from methods.ad_mt import ensemble
from methods.parts.teacher import Teacher
from methods.st_plus_plus import agreement, upper_half
from methods.testing import contract
from methods.testing.parity import WITHIN, compare


def places(teacher: nn.Module) -> Tensor:
    return torch.cat([parameter.flatten().clone() for parameter in teacher.parameters()])


def stepped(method: methods.base.Method, steps: int, t: float, seed: int = 0) -> list[list[bool]]:
    """Which teachers moved in each of some steps at a progress of t."""
    optimiser, moved = contract._optimiser(method), []
    teachers = [module for module in method.modules() if isinstance(module, Teacher)]
    for step in range(steps):
        before = [places(teacher) for teacher in teachers]
        contract._step(method, optimiser, contract._batch(seed=seed + step), t)
        moved.append([not torch.equal(places(teacher), was) for teacher, was in zip(teachers, before, strict=True)])
    return moved


def test_a_teacher_that_is_not_active_stays_and_counts_no_update():
    net = nn.Linear(1, 1)
    teacher = Teacher(net, 0.5)
    was = places(teacher)
    nn.init.constant_(net.weight, 7.0)
    teacher.update(net, torch.tensor(False))
    assert torch.equal(places(teacher), was) and teacher.updates == 0
    teacher.update(net, torch.tensor(True))
    assert teacher.net.weight == 7 and teacher.updates == 1


def test_self_training_freezes_its_teacher_where_the_first_part_ends():
    method = methods.build("self_training", contract.TINY).double().train()
    assert stepped(method, 2, 0.3) == [[True], [True]]
    assert stepped(method, 2, 0.34) == [[False], [False]]


def test_self_training_learns_from_labels_alone_in_its_first_part():
    method = methods.build("self_training", contract.STILL).double().train()
    batches = contract._batch(seed=0), contract._batch(seed=1)
    for t, same in ((0.3, True), (0.34, False)):
        one, other = (
            contract._gradients(method, methods.base.Batch(batches[0].x, batches[0].y, batch.u), t) for batch in batches
        )
        assert all(torch.equal(one[name], other[name]) for name in one) == same


def test_st_plus_plus_stops_its_averages_one_after_the_other():
    method = methods.build("st_plus_plus", contract.TINY).double().train()
    for t, moving in ((0.1, 4), (0.12, 3), (0.3, 2), (0.4, 1), (0.7, 0)):
        assert stepped(method, 1, t) == [[False] * (4 - moving) + [True] * moving]


@pytest.mark.parametrize(("t", "learns_from_all"), [(0.5, False), (0.9, True)])
def test_st_plus_plus_learns_from_the_other_half_of_the_images_in_its_last_part_only(monkeypatch, t, learns_from_all):
    method = methods.build("st_plus_plus", contract.STILL).double().train()
    batch, other = contract._batch(seed=0, unlabelled=2), contract._batch(seed=1, unlabelled=2).u
    chosen = torch.tensor([True, False])
    monkeypatch.setattr("methods.st_plus_plus.upper_half", lambda reliability: chosen)
    changed = methods.base.Batch(batch.x, batch.y, torch.stack([batch.u[0], other[1]]))
    one, two = (contract._gradients(method, b, t) for b in (batch, changed))
    assert all(torch.equal(one[name], two[name]) for name in one) != learns_from_all


def test_the_agreement_of_two_masks_is_the_mean_iou_of_the_classes_that_are_there():
    """Classes 0, 1: 1/2 and 2/3; class 2 is in neither mask. The second image is the same in both."""
    one, other = torch.tensor([[[0, 0, 1, 1]], [[2, 2, 2, 2]]]), torch.tensor([[[0, 1, 1, 1]], [[2, 2, 2, 2]]])
    assert agreement(one, other, 3).tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2, 1])


@pytest.mark.parametrize(
    ("values", "chosen"),
    [([0.1, 0.9, 0.5, 0.3], [1, 2]), ([0.5, 0.1, 0.9], [0, 2]), ([0.2], [0]), ([0.4, 0.4], [0, 1]), ([], [])],
)
def test_the_upper_half_has_the_larger_values_and_the_middle_one(values, chosen):
    assert upper_half(torch.tensor(values)).nonzero().flatten().tolist() == chosen


def test_csds_has_two_equal_students_whose_teacher_follows_them_in_turn():
    torch.manual_seed(0)
    method = methods.build("csds", contract.STILL).double().train()
    first, second = method.students
    assert torch.equal(places(first), places(second))
    stepped(method, 1, 1.0)
    assert not torch.equal(places(first), places(second))
    torch.testing.assert_close(places(method.teacher), places(first))
    was = places(method.teacher)
    stepped(method, 1, 1.0, seed=1)
    torch.testing.assert_close(places(method.teacher), (was + places(second)) / 2)


def test_csds_weighs_a_pixel_by_how_much_the_teacher_changes_under_the_view(monkeypatch):
    """The teacher says (½, ½), and (¼, ¾) on the views: U = ½ ln 2 + ½ ln ⅔, so the loss is e^−U ln 2 = √¾ ln 2."""
    method = methods.build("csds", contract.STILL, weight=1.0).double().train()
    answers = iter([(0.5, 0.5), (0.25, 0.75), (0.25, 0.75)])
    monkeypatch.setattr(method.teacher, "forward", lambda x: logits_of(next(answers), x))
    for student in method.students:
        monkeypatch.setattr(student, "forward", lambda x: logits_of((0.5, 0.5), x))
    terms = method.losses(contract._batch(), torch.ones((), dtype=torch.float64))
    assert terms["pseudo"].item() == pytest.approx(math.sqrt(0.75) * math.log(2))


def logits_of(probabilities: tuple[float, float], x: Tensor) -> Tensor:
    return torch.tensor(probabilities, dtype=x.dtype).log().view(1, 2, 1, 1).expand(len(x), 2, *x.shape[2:])


def test_one_of_ad_mt_s_teachers_moves_in_each_step_and_both_have_their_turns():
    torch.manual_seed(0)
    method = methods.build("ad_mt", contract.TINY).double().train()
    moved = stepped(method, 25, 0.5)
    assert all(sum(step) == 1 for step in moved)
    turns = "".join("12"[step[1]] for step in moved)
    assert {"1", "2"} <= set(turns)
    lengths = [len(run) for run in turns.replace("12", "1 2").replace("21", "2 1").split()]
    assert max(lengths) <= method.longest == 2, "a tenth of 24 steps"


def test_ad_mt_s_longest_turn_is_that_of_the_release_at_its_length_and_10_steps_in_short_runs():
    turns = {T: methods.build("ad_mt", dataclasses.replace(contract.TINY, steps=T)).longest for T in (50, 400, 30_000)}
    assert turns == {50: 5, 400: 10, 30_000: 50}


def test_ad_mt_goes_on_with_the_same_teacher_after_a_restart():
    torch.manual_seed(0)
    method = methods.build("ad_mt", contract.TINY).double().train()
    stepped(method, 7, 0.5)
    again = methods.build("ad_mt", contract.TINY).double().train()
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert stepped(method, 8, 0.5, seed=7) == stepped(again, 8, 0.5, seed=7)


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("classes", [2, 5])
def test_while_the_second_teacher_is_active_labels_inside_a_box_are_the_partner_s(classes, exchange):
    def build(arch):
        method = methods.build("ad_mt", arch, threshold=0.0, exchange=exchange)
        method.first.fill_(False)
        return method

    for line in compare(build, derived, classes):
        assert max(line.difference, line.gradient_difference) < WITHIN, line.term


def test_the_ensemble_trusts_the_teacher_with_less_entropy():
    """(½, ½) has 1 bit; (1, 0) none: weights e^−1 and 1, so the second class has ½ e^−1 / (e^−1 + 1)."""
    even, sure = torch.zeros(1, 2, 1, 1), torch.tensor([60.0, -60.0]).view(1, 2, 1, 1)
    p = ensemble(even, sure).exp().flatten().tolist()
    assert p[1] == pytest.approx(0.5 * math.exp(-1) / (math.exp(-1) + 1))
    assert sum(p) == pytest.approx(1)
