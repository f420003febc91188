"""Every method keeps the contract, and the contract notices when one does not."""

import inspect
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import methods
from methods.base import IGNORE, Batch, Images, Logits, Method
from methods.parts.losses import dice_ce, mse, ramp
from methods.parts.nets import Arch
from methods.parts.persistence import pulls
from methods.parts.teacher import Teacher
from methods.parts.views import strong
from methods.testing.contract import SIZE, checks


@pytest.mark.parametrize(("name", "check"), [(name, check) for name in methods.names() for check in checks])
def test_every_method_keeps_the_contract(name: str, check: str):
    checks[check](methods.get(name))


@pytest.mark.parametrize("name", methods.names())
def test_what_unlabelled_images_add_can_be_measured_for_every_method_that_uses_them(name: str):
    """`labels_only` is every setting that begins with weight, at 0; a method without unlabelled images has none."""
    kind, off = methods.get(name), methods.variants(name).get(methods.LABELS_ONLY)
    settings = inspect.signature(kind.__init__).parameters
    assert (off is not None) == kind.uses_unlabelled
    assert (off or {}) == {setting: 0.0 for setting in settings if setting.startswith("weight")}


class Sound(Method):
    """A mean teacher in short, on which the defects below are planted."""

    title, year, venue, paper = "Sound", 2024, "MICCAI", "https://example.org"

    def __init__(self, arch: Arch, *, weight: float = 0.1, decay: float = 0.99):
        super().__init__()
        self.net, self.weight = arch.net(), weight
        self.teacher = Teacher(self.net, decay)

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        logits = self.net(torch.cat([batch.x, batch.u]))
        student, target = logits[len(batch.x) :], self.teacher(batch.u + 0.1 * torch.randn_like(batch.u))
        return {
            "sup": dice_ce(logits[: len(batch.x)], batch.y),
            "consistency": self.weight * ramp(t) * self.compare(student, target),
        }

    def compare(self, student: Logits, target: Logits) -> Tensor:
        return mse(student.softmax(1), target.softmax(1))

    def after_step(self) -> None:
        self.teacher.update(self.net)

    def predict(self, x: Images) -> Logits:
        return self.net(x)


class WithoutPaper(Sound):
    paper = ""


class TunesWhatItDoesNotHave(Sound):
    tuned: ClassVar = {"wieght": (0.01, 1.0)}


class TunesAroundThePublished(Sound):
    tuned: ClassVar = {"decay": (0.0, 0.9)}


class TermThatComesAndGoes(Sound):
    def losses(self, batch, t):
        terms = super().losses(batch, t)
        return terms if t > 0.3 else {"sup": terms["sup"]}


class NanWithoutUnlabelled(Sound):
    def compare(self, student, target):
        return (student.softmax(1) - target.softmax(1)).square().mean()


class Ascending(Sound):
    def losses(self, batch, t):
        return {name: -value for name, value in super().losses(batch, t).items()}


class UnusedModule(Sound):
    def __init__(self, arch, *, weight: float = 0.1):
        super().__init__(arch, weight=weight)
        self.norm = nn.GroupNorm(4, 16)


class TermWithoutGradient(Sound):
    def compare(self, student, target):
        return super().compare(student.detach(), target)


class SoftmaxOverTheWidth(Sound):
    def compare(self, student, target):
        return mse(student.softmax(-1), target.softmax(-1))


class ForgetsTheUnlabelled(Sound):
    def losses(self, batch, t):
        return super().losses(Batch(batch.x, batch.y, batch.x), t)


class ConsistencyOnLabelledAlone(Sound):
    def losses(self, batch, t):
        terms = super().losses(batch, t)
        labelled = self.net(batch.x).softmax(1)
        return terms | {"labelled": self.weight * labelled.prod(1).mean()}


class WeightThatIsNotOne(Sound):
    def losses(self, batch, t):
        terms = super().losses(batch, t)
        return terms | {"consistency": terms["consistency"] + 0.01 * self.net(batch.u).softmax(1).prod(1).sum()}


class ZeroedTeacher(Sound):
    def after_step(self):
        k = self.teacher.updates
        a = min(1 - 1 / (int(k) + 1), 0.99)
        for mine, theirs in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
            mine.data.mul_(a).add(theirs.data, alpha=1 - a)  # the sum goes nowhere
        k += 1


class SlowTeacher(Sound):
    def after_step(self):
        self.teacher.updates += 10
        self.teacher.update(self.net)
        self.teacher.updates -= 10


class GradientThroughTheTeacher(Sound):
    def __init__(self, arch, *, weight: float = 0.1):
        super().__init__(arch, weight=weight)
        self.teacher.requires_grad_(True)
        self.teacher.forward = self.teacher.net.forward


class IgnoresTheViewsOfTheRun(Sound):
    strong_views = True


class UsesTheViewsOfTheRunWithoutSayingSo(Sound):
    def __init__(self, arch, *, weight: float = 0.1):
        super().__init__(arch, weight=weight)
        self.view = arch.view(strong)

    def losses(self, batch, t):
        return super().losses(Batch(batch.x, batch.y, self.view(batch.u)), t)


class DropoutInPredictions(Sound):
    def predict(self, x):
        return nn.functional.dropout(self.net(x), 0.1)


class PredictsProbabilities(Sound):
    def predict(self, x):
        return self.net(x).softmax(1)


class TwoClassesOnly(Sound):
    def predict(self, x):
        return self.net(x)[:, :2]


class OneSizeOnly(Sound):
    def predict(self, x):
        return nn.functional.interpolate(self.net(x), (SIZE, SIZE))


class LiveBatchNorm(Sound):
    def predict(self, x):
        logits = self.net(x)
        return logits / logits.std()


class StateOutsideItsBuffers(Sound):
    def __init__(self, arch, *, weight: float = 0.1):
        super().__init__(arch, weight=weight)
        self.steps = 0

    def losses(self, batch, t):
        terms = super().losses(batch, t)
        return terms | {"consistency": terms["consistency"] * (1 + self.steps)}

    def after_step(self):
        super().after_step()
        self.steps += 1


class SeedsItself(Sound):
    def losses(self, batch, t):
        torch.manual_seed(0)
        return super().losses(batch, t)


class AnotherGenerator(Sound):
    generator: ClassVar = torch.Generator()

    def losses(self, batch, t):
        noise = torch.rand(batch.x.shape, generator=self.generator, dtype=batch.x.dtype)
        return super().losses(Batch(batch.x + noise, batch.y, batch.u), t)


class WritesIntoTheBatch(Sound):
    def losses(self, batch, t):
        batch.u.add_(0.1 * torch.randn_like(batch.u))
        return super().losses(batch, t)


class AsManyUnlabelledAsLabelled(Sound):
    def losses(self, batch, t):
        terms = super().losses(batch, t)
        return terms | {"consistency": terms["consistency"] + self.weight * (batch.x - batch.u).mean()}


class OverflowsInHalf(Sound):
    def compare(self, student, target):
        return (student.exp() / student.exp().sum(1, keepdim=True) - target.softmax(1)).square().sum()


class LearnsIgnoredPixelsAsBackground(Sound):
    def losses(self, batch, t):
        return super().losses(Batch(batch.x, batch.y.masked_fill(batch.y == IGNORE, 0), batch.u), t)


class NanWhereNothingIsAnnotated(Sound):
    def losses(self, batch, t):
        sup = nn.functional.cross_entropy(self.net(batch.x), batch.y, ignore_index=IGNORE)
        return super().losses(batch, t) | {"sup": sup}


class CountsIgnoredPixelsAsMistakes(Sound):
    def losses(self, batch, t):
        terms = super().losses(batch, t)
        return terms | {"sup": terms["sup"] + (batch.y == IGNORE).double().mean()}


class WaitsForTheDevice(Sound):
    def losses(self, batch, t):
        terms = super().losses(batch, t)
        return terms if terms["consistency"].item() >= 0 else {}


class BranchesOnProgress(Sound):
    def losses(self, batch, t):
        terms = super().losses(batch, t)
        return terms if t < 0.5 else {name: 0.9 * value for name, value in terms.items()}


class CountsStepsInPython(Sound):
    taken = 0

    def losses(self, batch, t):
        self.taken += 1
        return {name: value / self.taken for name, value in super().losses(batch, t).items()}


class SelectsPixels(Sound):
    def compare(self, student, target):
        sure = target.softmax(1).amax(1) > 0.5
        return super().compare(student, target) + 0 * student.movedim(1, -1)[sure].sum()


class FindsPlaces(Sound):
    def compare(self, student, target):
        return super().compare(student, target) + 0 * target.argmax(1).nonzero().sum()


class DrawsOnTheHost(Sound):
    def losses(self, batch, t):
        return super().losses(Batch(batch.x, batch.y, batch.u * torch.rand(1).to(batch.u)), t)


class CopiesToTheHost(Sound):
    def compare(self, student, target):
        return super().compare(student, target.cpu().to(student))


class HidesTheHostInAnOperator(Sound):
    def compare(self, student, target):
        foreground = student.softmax(1)[:, 0]
        maps = pulls(foreground.detach(), target.softmax(1)[:, 0], foreground.detach().sum() > 0, 0.7, 100)
        return super().compare(student, target) + (maps[0] * foreground).mean()


class DeadPerturbation(Sound):
    variants: ClassVar = {"perturbed": {"noise": 0.3}}

    def __init__(self, arch, *, weight: float = 0.1, noise: float = 0.0):
        super().__init__(arch, weight=weight)
        self.noise = noise

    def losses(self, batch, t):
        Batch(batch.x, batch.y, batch.u * (1 + self.noise))  # computed, and thrown away
        return super().losses(batch, t)


DEFECTS = [  # the check that catches it, the defect, and words of what it says
    ("it_says_what_it_is", WithoutPaper, "no paper"),
    ("it_says_what_it_is", TunesWhatItDoesNotHave, "'wieght', which is not a setting"),
    ("it_says_what_it_is", TunesAroundThePublished, "range of 'decay' in 'tuned' does not contain"),
    ("its_terms_are_finite_scalars_with_names_that_never_change", TermThatComesAndGoes, "change their names"),
    ("its_terms_are_finite_scalars_with_names_that_never_change", NanWithoutUnlabelled, "is nan"),
    ("it_learns", Ascending, "steps on one easy batch"),
    ("every_parameter_learns_or_is_frozen", UnusedModule, "norm.weight' never learns"),
    ("every_term_has_a_gradient", TermWithoutGradient, "'consistency' has no gradient"),
    ("every_term_compares_classes", SoftmaxOverTheWidth, "over the classes"),
    ("unlabelled_images_matter", ForgetsTheUnlabelled, "do not reach the loss"),
    ("its_strong_views_are_those_of_the_run", IgnoresTheViewsOfTheRun, "change nothing; use arch.view"),
    ("its_strong_views_are_those_of_the_run", UsesTheViewsOfTheRunWithoutSayingSo, "declare strong_views = True"),
    ("without_unlabelled_images_it_is_supervised", ConsistencyOnLabelledAlone, "'labelled' is"),
    ("weight_0_gives_the_supervised_gradient", WeightThatIsNotOne, "'consistency' is not 0"),
    ("a_step_that_learnt_nothing_changes_nothing", ZeroedTeacher, "Without an optimiser step"),
    ("teachers_get_no_gradient_and_move_by_their_share_of_the_gap", ZeroedTeacher, "has not moved by 1 "),
    ("teachers_get_no_gradient_and_move_by_their_share_of_the_gap", SlowTeacher, "has not moved by 1 "),
    ("teachers_get_no_gradient_and_move_by_their_share_of_the_gap", GradientThroughTheTeacher, "gradient reaches"),
    ("predictions_are_deterministic_logits_of_any_size_and_number_of_classes", DropoutInPredictions, "differ"),
    ("predictions_are_deterministic_logits_of_any_size_and_number_of_classes", PredictsProbabilities, "return logits"),
    ("predictions_are_deterministic_logits_of_any_size_and_number_of_classes", TwoClassesOnly, r"not \(2, 5"),
    ("predictions_are_deterministic_logits_of_any_size_and_number_of_classes", OneSizeOnly, r"not \(2, 2, 37"),
    (
        "predictions_are_deterministic_logits_of_any_size_and_number_of_classes",
        LiveBatchNorm,
        "other images in its batch",
    ),
    ("saving_and_loading_continues_bit_for_bit", StateOutsideItsBuffers, "some state is not a buffer"),
    ("the_same_seed_gives_the_same_training", SeedsItself, "seed the global generator"),
    ("the_same_seed_gives_the_same_training", AnotherGenerator, "torch's generator"),
    ("any_mixture_of_images_is_learnt_from", WritesIntoTheBatch, "batch's 'u'"),
    ("any_mixture_of_images_is_learnt_from", AsManyUnlabelledAsLabelled, "must match the size"),
    ("pixels_that_are_not_annotated_have_no_supervised_loss", LearnsIgnoredPixelsAsBackground, "have a gradient"),
    ("pixels_that_are_not_annotated_have_no_supervised_loss", NanWhereNothingIsAnnotated, "nan with no annotated"),
    ("pixels_that_are_not_annotated_have_no_supervised_loss", CountsIgnoredPixelsAsMistakes, "'sup' is 1, not 0"),
    ("half_precision_stays_finite", OverflowsInHalf, "bfloat16"),
    ("a_step_never_waits_for_the_device", WaitsForTheDevice, "reads the values of tensors"),
    ("a_step_can_be_captured", WaitsForTheDevice, "_local_scalar_dense|item"),
    ("a_step_can_be_captured", BranchesOnProgress, "meta"),
    ("a_replayed_step_is_an_eager_step", CountsStepsInPython, "is a number of Python"),
    ("a_replayed_step_is_an_eager_step", BranchesOnProgress, "waits for the values of tensors"),
    ("a_step_can_be_captured", SelectsPixels, "nonzero"),
    ("a_step_can_be_captured", FindsPlaces, "nonzero"),
    ("a_step_can_be_captured", DrawsOnTheHost, "works on the cpu"),
    ("a_step_can_be_captured", CopiesToTheHost, "Cannot copy out of meta"),
    ("a_step_can_be_captured", HidesTheHostInAnOperator, "not an operator of torch"),
    ("every_variant_differs_from_the_full_method", DeadPerturbation, "exactly like the full method"),
]


def test_every_check_has_a_defect_that_it_catches():
    assert {check for check, _, _ in DEFECTS} == checks.keys()


@pytest.mark.parametrize("check", checks)
def test_a_sound_method_passes(check: str):
    checks[check](Sound)


@pytest.mark.parametrize(("check", "defect", "says"), DEFECTS)
def test_a_planted_defect_is_caught(check: str, defect: type[Method], says: str):
    with pytest.raises(AssertionError, match=says):
        checks[check](defect)


def test_checks_leave_the_global_random_numbers_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    checks["any_mixture_of_images_is_learnt_from"](Sound)
    assert torch.equal(torch.rand(3), expected)
