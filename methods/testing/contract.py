"""The contract: checks that every method must pass, whether it is part of this project or of another package.

Each check takes the class of a method and raises AssertionError with a sentence. No check knows a method by name. The
network is very small, in double precision, on the CPU. Nothing is read or written, and the state of the global random
number generator stays unchanged.

>>> import methods
>>> checks["it_says_what_it_is"](methods.get("supervised"))
"""

import contextlib
import copy
import dataclasses
import functools
import inspect
import io
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from methods.base import IGNORE, Batch, Method
from methods.parts.losses import dice_ce
from methods.parts.nets import Arch
from methods.parts.teacher import Teacher
from methods.testing.tape import Tape

SIZE, STEPS = 32, 24
TINY = Arch("tu-test_efficientnet", weights="none", width=32, steps=STEPS)
STILL = dataclasses.replace(TINY, dropout=0.0)
LARGE = 64  # in smaller images the coarsest attention of a transformer has one key, and its queries no gradient
PROGRESS = (0.05, 0.5, 1.0)
TRACED = (0.05, 0.3, 0.45, 1.0)  # values of t on both sides of the fractions at which methods change

checks: dict[str, Callable[[type[Method]], None]] = {}


def check(function: Callable[[type[Method]], None]) -> Callable[[type[Method]], None]:
    """Adds a check to `checks`; other exceptions become AssertionError, and random numbers stay unchanged."""

    @functools.wraps(function)
    def quietly(method: type[Method]) -> None:
        with torch.random.fork_rng(devices=[]):
            try:
                function(method)
            except AssertionError:
                raise
            except Exception as error:
                raise AssertionError(f"The method raises {type(error).__name__}: {error}") from error

    checks[function.__name__] = quietly
    return quietly


@check
def it_says_what_it_is(method: type[Method]) -> None:
    for name, kind in {"title": str, "year": int, "paper": str}.items():
        value = getattr(method, name, None)
        assert isinstance(value, kind) and value, f"The method has no {name}; add it as a class attribute."
    assert isinstance(getattr(method, "venue", None), str), (
        "The method has no venue; add it, or '' for an unpublished method."
    )
    assert method.paper.startswith("https://"), f"'paper' is '{method.paper}'; give a link."
    assert (inspect.getmodule(method).__doc__ or "").strip(), "The file does not begin with a docstring."
    for parameter in _settings(method):
        assert parameter.kind is parameter.KEYWORD_ONLY, f"Setting '{parameter.name}' is not keyword-only; put * first."
        assert parameter.default is not parameter.empty, f"Setting '{parameter.name}' has no published default."
    for name, (low, high) in method.tuned.items():
        published = {parameter.name: parameter.default for parameter in _settings(method)}
        assert name in published, f"'tuned' contains '{name}', which is not a setting of the method."
        assert low <= published[name] <= high, f"The range of '{name}' in 'tuned' does not contain the published value."
    if method.uses_unlabelled:
        assert _weights(method), (
            "The name of no setting begins with 'weight', so the unsupervised terms cannot be switched off."
        )


@check
def its_terms_are_finite_scalars_with_names_that_never_change(method: type[Method]) -> None:
    built, named = _build(method), set()
    for unlabelled in (3, 0):
        for t in (0.0, *PROGRESS):
            terms = _losses(built, _batch(unlabelled=unlabelled), t)
            named.add(tuple(sorted(terms)))
            for name, value in terms.items():
                assert isinstance(value, Tensor) and value.ndim == 0, f"Term '{name}' is not a scalar tensor."
                assert value.isfinite(), (
                    f"Term '{name}' is {value.item()} at t = {t} with {unlabelled} unlabelled images."
                )
    assert len(named) == 1, f"The terms change their names: {' and then '.join(map(str, sorted(named)))}."
    assert "sup" in next(iter(named)), "No term is named 'sup'."


@check
def it_learns(method: type[Method]) -> None:
    batch, before, after = _batch(seed=0), _build(method), _trained(method)
    with torch.no_grad():
        was, now = (dice_ce(built.eval().predict(batch.x), batch.y).item() for built in (before, after))
    assert now < 0.9 * was, (
        f"{STEPS} steps on one easy batch change the loss of the predictions from {was:.3f} to {now:.3f}."
    )


@check
def every_parameter_learns_or_is_frozen(method: type[Method]) -> None:
    for arch in (TINY, dataclasses.replace(TINY, decoder_name="deeplabv3plus")):
        built = _build(method, arch)
        optimiser, reached = _optimiser(built), set()
        for step, t in enumerate(PROGRESS):
            _step(built, optimiser, _batch(seed=step, size=LARGE), t)
            reached |= {name for name, p in built.named_parameters() if p.grad is not None and p.grad.any()}
        _assert_none_dead(_unreached(built, reached), f"with decoder '{arch.decoder_name}'")


@check
def every_term_has_a_gradient(method: type[Method]) -> None:
    built = _trained(method)
    parameters = [p for p in built.parameters() if p.requires_grad]
    for name, value in _losses(built, _batch(seed=1), 1.0).items():
        gradients = (
            torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            if value.requires_grad
            else [None]
        )
        assert any(g is not None and g.any() for g in gradients), (
            f"Term '{name}' has no gradient, so it trains nothing."
        )


@check
def every_term_compares_classes(method: type[Method]) -> None:
    """A softmax over another axis than the classes does not change when one class becomes more probable everywhere."""
    built = _trained(method)
    heads = [(n, m) for n, m in built.named_modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    heads = [(n, m) for n, m in heads if m.out_channels == TINY.classes and m.bias.requires_grad]
    for name, value in _losses(built, _batch(seed=1), 1.0).items():
        for place, head in heads if value.requires_grad else ():
            both = torch.autograd.grad(value, (head.weight, head.bias), retain_graph=True, allow_unused=True)
            weight, bias = (0.0 if g is None else g.abs().max().item() for g in both)
            assert bias > 1e-9 * weight or weight == 0, (
                f"Term '{name}' does not depend on a class's bias ('{place}.bias'): is its softmax over the classes?"
            )


@check
def unlabelled_images_matter(method: type[Method]) -> None:
    batch = _batch(seed=1)
    other = dataclasses.replace(batch, u=_batch(seed=2).u)
    same = _equal(_gradients(_trained(method), batch, 1.0), _gradients(_trained(method), other, 1.0))
    if method.uses_unlabelled:
        assert not same, "Other unlabelled images give the same gradient: they do not reach the loss."
    else:
        assert same, "The method has uses_unlabelled = False, but unlabelled images change its gradient."


@check
def its_strong_views_are_those_of_the_run(method: type[Method]) -> None:
    rgb, stain = (dataclasses.replace(STILL, views=views) for views in ("rgb", "stain"))
    if method.strong_views:  # several steps, because some methods have other views in some steps
        same = torch.equal(_trace(method, rgb, {})[0], _trace(method, stain, {})[0])
        assert not same, "The views of the run, 'rgb' or 'stain', change nothing; use arch.view(the method's own view)."
    else:
        one, other = (_gradients(_trained(method, arch), _batch(seed=1), 1.0) for arch in (rgb, stain))
        assert _equal(one, other), "The views of the run change the training; declare strong_views = True."


@check
def without_unlabelled_images_it_is_supervised(method: type[Method]) -> None:
    nothing = _batch(unlabelled=0)
    for t in PROGRESS:
        built = _trained(method, STILL)
        for name, value in _losses(built, nothing, t).items():
            assert name == "sup" or value == 0, f"Term '{name}' is {value.item():.3g} without unlabelled images."
        supervised = _gradients(_trained(method, STILL, **_weights(method)), nothing, t)
        assert _equal(_gradients(built, nothing, t), supervised, 1e-9), (
            "Without unlabelled images the gradient differs from that with all weights 0."
        )


@check
def weight_0_gives_the_supervised_gradient(method: type[Method]) -> None:
    batch = _batch(seed=1)
    for t in PROGRESS:
        terms = _losses(_trained(method, STILL, **_weights(method)), batch, t)
        nonzero = [name for name, value in terms.items() if name != "sup" and value != 0]
        assert not nonzero, f"With all weights 0, '{nonzero[0]}' is not 0; name its setting 'weight…'."
        alone = dataclasses.replace(batch, u=batch.u[:0])
        with_u, without = (_gradients(_trained(method, STILL, **_weights(method)), b, t) for b in (batch, alone))
        assert _equal(with_u, without, 1e-9), "With all weights 0, unlabelled images still change the gradient."


@check
def a_step_that_learnt_nothing_changes_nothing(method: type[Method]) -> None:
    built = _build(method)
    before, image = _parameters(built), _batch().x
    was = _predict(built, image)
    for _ in range(2):
        sum(_losses(built, _batch(), 0.5).values()).backward()
        built.after_step()
    moved = [name for name, value in _parameters(built).items() if not torch.equal(value, before[name])]
    assert not moved, f"Without an optimiser step, '{moved[0]}' changed."
    assert torch.equal(_predict(built, image), was), "Without an optimiser step, the predictions changed."


@check
def teachers_get_no_gradient_and_move_by_their_share_of_the_gap(method: type[Method]) -> None:
    built = _build(method)
    optimiser, teachers = _optimiser(built), [m for m in built.modules() if isinstance(m, Teacher)]
    for step in range(3 if teachers else 0):
        before = [_state(teacher.net) for teacher in teachers]
        updates = [int(teacher.updates) for teacher in teachers]
        _step(built, optimiser, _batch(seed=step), 1.0)
        for teacher, was, k in zip(teachers, before, updates, strict=True):
            assert not any(m.training for m in teacher.modules()), "A teacher is in training mode after a step."
            for name, p in teacher.named_parameters():
                assert not p.requires_grad and p.grad is None, f"A gradient reaches a teacher's '{name}'."
            share = (1 - min(1 - 1 / (k + 1), teacher.decay)) if int(teacher.updates) > k else 0.0
            now = _state(teacher.net)
            assert any(
                all(torch.allclose(now[n], was[n] + share * (net[n] - was[n]), rtol=0, atol=1e-9) for n in now)
                for net in _followed(built, now)
            ), f"In update {k}, a teacher has not moved by {share:.3g} of its difference to any network."


@check
def predictions_are_deterministic_logits_of_any_size_and_number_of_classes(method: type[Method]) -> None:
    for arch in (STILL, dataclasses.replace(TINY, classes=5), dataclasses.replace(TINY, decoder_name="deeplabv3plus")):
        built = _build(method, arch).eval()
        for height, width in ((37, 50), (64, 33)):
            x = torch.rand(2, 3, height, width, dtype=torch.float64)
            kept, logits = _state(built), _predict(built, x)
            shape = (2, arch.classes, height, width)
            assert logits.shape == shape, f"Predictions of {tuple(x.shape)} are {tuple(logits.shape)}, not {shape}."
            assert logits.isfinite().all(), "Predictions are not finite."
            assert torch.equal(logits, _predict(built, x)), "Two predictions of one image differ."
            assert _equal(kept, _state(built)), "Predicting changes the state of the method."
            alone = torch.cat([_predict(built, image[None]) for image in x])
            assert torch.allclose(logits, alone, atol=1e-9), "A prediction depends on the other images in its batch."
            sums = logits.sum(1)
            assert not (logits >= 0).all() or not torch.allclose(sums, torch.ones_like(sums)), (
                "The method predicts probabilities; return logits."
            )


@check
def saving_and_loading_continues_bit_for_bit(method: type[Method]) -> None:
    first = _build(method)
    optimiser = _optimiser(first)
    for step in range(2):
        _step(first, optimiser, _batch(seed=step), 0.4)
    others = [name for name, value in first.state_dict().items() if not isinstance(value, Tensor)]
    assert not others, f"'{others[0]}' of the state is not a tensor; make it a buffer."
    file = io.BytesIO()
    torch.save((first.state_dict(), optimiser.state_dict()), file)
    file.seek(0)
    second = _build(method, seed=9)
    again = _optimiser(second)
    for loaded, state in zip((second, again), torch.load(file, weights_only=True), strict=True):
        loaded.load_state_dict(state)
    for built, its in ((first, optimiser), (second, again)):
        for step in (2, 3):
            _step(built, its, _batch(seed=step), 0.6)
    assert _equal(_state(first), _state(second)), (
        "After saving and loading, training continues differently: some state is not a buffer."
    )


@check
def the_same_seed_gives_the_same_training(method: type[Method]) -> None:
    ends = []
    for _ in range(2):
        built = _build(method)
        _step(built, _optimiser(built), _batch(), 0.5)
        ends.append(_state(built))
    assert _equal(*ends), "The same seed gives other weights: some random numbers are not from torch's generator."
    torch.manual_seed(5)
    built.losses(_batch(), torch.tensor(0.5, dtype=torch.float64))
    assert torch.initial_seed() == 5, "The losses seed the global generator; leave this to the trainer."


@check
def any_mixture_of_images_is_learnt_from(method: type[Method]) -> None:
    for labelled, unlabelled in ((1, 3), (3, 1), (1, 0)):
        _assert_finite(_trained(method), _batch(labelled, unlabelled), f"{labelled} labelled, {unlabelled} unlabelled")
    batch = _batch()
    kept = copy.deepcopy(batch)
    _assert_finite(_trained(method), batch, "a batch")
    for field in dataclasses.fields(Batch):
        same = torch.equal(getattr(batch, field.name), getattr(kept, field.name))
        assert same, f"The losses write into the batch's '{field.name}'."
    _assert_finite(_trained(method), dataclasses.replace(batch, y=torch.zeros_like(batch.y)), "all background")
    five = _build(method, dataclasses.replace(TINY, classes=5))
    _assert_finite(five, dataclasses.replace(batch, y=batch.y * 3), "three of five classes absent")


@check
def pixels_that_are_not_annotated_have_no_supervised_loss(method: type[Method]) -> None:
    batch = _batch(seed=1, size=LARGE)
    batch.y[..., : LARGE // 2] = IGNORE
    built, outputs = _build(method, STILL), []
    for name, module in built.named_modules():
        if isinstance(module, nn.Conv2d) and ".head" in f".{name}":
            module.register_forward_hook(lambda module, given, output: outputs.append(output))
    for unlabelled in (batch.u, batch.u[:0]):
        outputs.clear()
        sup = _losses(built, dataclasses.replace(batch, u=unlabelled), 1.0)["sup"]
        for output in (output for output in outputs if output.requires_grad):
            (gradient,) = torch.autograd.grad(sup, output, retain_graph=True, allow_unused=True)
            far = output.shape[3] // 8  # columns that interpolation mixes with no labelled column, for any stride
            assert gradient is None or not gradient[..., :far].any(), (
                "Pixels with IGNORE have a gradient of 'sup'; use the losses of methods.parts, or omit these pixels."
            )
    nothing = dataclasses.replace(batch, y=torch.full_like(batch.y, IGNORE))
    built = _build(method, STILL)
    _assert_finite(built, nothing, "no annotated pixel")
    value = _losses(built, nothing, 1.0)["sup"].item()
    assert value == 0, f"Without an annotated pixel 'sup' is {value:.3g}, not 0."
    some = dataclasses.replace(nothing, y=torch.cat([nothing.y[:1], batch.y[1:]]))
    _assert_finite(built, some, "an image without an annotated pixel")


@check
def half_precision_stays_finite(method: type[Method]) -> None:
    batch = _batch(seed=1)
    batch = Batch(batch.x.float(), batch.y, batch.u.float())
    for sharpness in (1.0, 100.0):  # logits near 0, and as large as after long training
        built = _trained(method).float()
        with torch.no_grad():
            for name, p in built.named_parameters():
                if ".head." in f".{name}":
                    p.mul_(sharpness)
        with torch.autocast("cpu", torch.bfloat16):
            _assert_finite(built, batch, f"bfloat16, logits × {sharpness:g}")


@check
def a_step_never_waits_for_the_device(method: type[Method]) -> None:
    built = _build(method).to("meta")  # tensors with shapes, but without values that a step could wait for
    batch = Batch(*(getattr(_batch(), field.name).to("meta") for field in dataclasses.fields(Batch)))
    try:
        sum(built.losses(batch, batch.x.new_ones(())).values()).backward()
        built.after_step()
    except (RuntimeError, NotImplementedError) as error:
        raise AssertionError(f"A step reads the values of tensors or leaves their device: {error}") from error


@check
def a_step_can_be_captured(method: type[Method]) -> None:
    """For a CUDA graph, everything stays on the device, uses operators of torch, and has constant shapes."""
    if not method.capturable:
        return
    built = _build(method).to("meta")
    batch = Batch(*(getattr(_batch(), field.name).to("meta") for field in dataclasses.fields(Batch)))
    for guard in (contextlib.nullcontext(), _OnTheDevice()):  # the first step may fill caches
        with guard:
            sum(built.losses(batch, batch.x.new_ones(())).values()).backward()
            built.after_step()


@check
def a_replayed_step_is_an_eager_step(method: type[Method]) -> None:
    """A replay knows nothing of Python: a number that the host computes would stay what it was in the captured step."""
    if not method.capturable:
        return
    ends = [_replayed(_trained(method), replay) for replay in (False, True)]
    assert _equal(*ends, within=1e-9), (
        "A step that is captured and replayed trains differently: something that changes from step to step is a number "
        "of Python; make it a tensor, computed from t or from a buffer."
    )


def _replayed(built: Method, replay: bool) -> dict[str, Tensor]:
    """The state after a few steps; with `replay`, the second one is recorded, and those after it are its replays."""
    parameters = [p for p in built.parameters() if p.requires_grad]
    optimiser, batch = torch.optim.AdamW(parameters, lr=3e-3, fused=True), _batch(size=SIZE)
    t, tape = batch.x.new_zeros(()), Tape()

    def step() -> None:
        sum(built.losses(batch, t).values()).backward()
        optimiser.step()
        optimiser.zero_grad()
        built.after_step()

    for k, progress in enumerate(TRACED):
        torch.manual_seed(k)
        t.fill_(progress)
        for static, values in zip((batch.x, batch.y, batch.u), vars(_batch(seed=k)).values(), strict=True):
            static.copy_(values)
        if replay and k > 1:
            tape.replay()
            continue
        with tape if replay and k == 1 else contextlib.nullcontext():
            step()
    return _state(built)


class _OnTheDevice(TorchDispatchMode):
    """Refuses what a CUDA graph cannot contain, in a step with tensors without values ("meta")."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.namespace in ("aten", "prims"), (
            f"'{func}' is not an operator of torch and may use the host; set capturable = False if it does."
        )
        out = func(*args, **(kwargs or {}))
        elsewhere = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor) and x.device.type != "meta"]
        assert not elsewhere, (
            f"'{func}' works on the {elsewhere[0].device}, not on the batch's device; create tensors there."
        )
        return out


@check
def every_variant_differs_from_the_full_method(method: type[Method]) -> None:
    arch = STILL
    full, terms, idle = _trace(method, arch, {})
    if any(not any(values) for values in terms.values()):  # a term that is 0 without dropout
        arch = TINY
        full, _, idle = _trace(method, arch, {})
    traces = {"the full method": full}
    for variant, settings in method.variants.items():
        trace, _, unreached = _trace(method, arch, settings)
        _assert_none_dead([name for name in unreached if name not in idle], f"with settings {settings}")
        for other, known in traces.items():
            differs = trace.shape != known.shape or not torch.allclose(trace, known, rtol=0, atol=1e-12)
            assert differs, f"Variant '{variant}' trains and predicts exactly like {other}."
        traces[f"variant '{variant}'"] = trace


def _settings(method: type[Method]) -> list[inspect.Parameter]:
    return list(inspect.signature(method.__init__).parameters.values())[2:]


def _weights(method: type[Method]) -> dict[str, float]:
    return {parameter.name: 0.0 for parameter in _settings(method) if parameter.name.startswith("weight")}


def _build(method: type[Method], arch: Arch = TINY, seed: int = 0, **settings) -> Method:
    torch.manual_seed(seed)
    return method(arch, **settings).double().train()


def _batch(labelled: int = 2, unlabelled: int = 3, seed: int = 0, size: int = SIZE) -> Batch:
    """Images with smooth blobs that are darker than the background and cover about half of the image."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(labelled + unlabelled, 1, 6, 6, generator=generator, dtype=torch.float64)
    blobs = F.interpolate(noise, (size, size), mode="bicubic") > 0
    grain = torch.rand(labelled + unlabelled, 3, size, size, generator=generator, dtype=torch.float64)
    images = 0.2 * grain + torch.where(blobs, 0.1, 0.7)
    return Batch(images[:labelled], blobs[:labelled, 0].long(), images[labelled:])


def _optimiser(built: Method) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in built.parameters() if p.requires_grad], lr=3e-3)


def _losses(built: Method, batch: Batch, t: float, seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return built.train().losses(batch, batch.x.new_full((), t))


def _step(built: Method, optimiser: torch.optim.Optimizer, batch: Batch, t: float) -> dict[str, Tensor]:
    terms = _losses(built, batch, t)
    optimiser.zero_grad()
    sum(terms.values()).backward()
    optimiser.step()
    built.after_step()
    return terms


def _trained(method: type[Method], arch: Arch = TINY, **settings) -> Method:
    """A method after a short training: confident enough for thresholds, with teachers that lag behind.

    `settings` must not change the layers.
    """
    built = _build(method, arch, **settings)
    built.load_state_dict(_trained_state(method))
    return built


@functools.lru_cache(maxsize=1)
def _trained_state(method: type[Method]) -> dict[str, Tensor]:
    built = _build(method, TINY)
    optimiser = _optimiser(built)
    for step in range(STEPS):
        _step(built, optimiser, _batch(seed=0), step / STEPS)
    return built.state_dict()


def _gradients(built: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    built.zero_grad()
    sum(_losses(built, batch, t).values()).backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in built.named_parameters()}


def _trace(method: type[Method], arch: Arch, settings: dict) -> tuple[Tensor, dict[str, list[float]], list[str]]:
    """A trace of training and prediction, the values of each term, and the parameters that never learn.

    The trace has the losses, a prediction, and the norms of teachers and other averages. Teachers are part of it,
    because labels that are argmaxes need not change when a teacher changes.
    """
    built = _build(method, arch, **settings)
    if built.state_dict().keys() == _trained_state(method).keys():  # otherwise the variant has other layers
        built.load_state_dict(_trained_state(method))
    teachers = [module for module in built.modules() if isinstance(module, Teacher)]
    for teacher in teachers:
        teacher.updates.fill_(10**6)  # after the true average, so that the decay has an effect
    optimiser, reached, terms = _optimiser(built), set(), {}
    for step, t in enumerate(TRACED):
        batch = _batch(seed=step)
        if t == TRACED[-1]:
            batch.y[0] = 0  # an image without foreground, for terms on whole images
        for name, value in _step(built, optimiser, batch, t).items():
            terms.setdefault(name, []).append(value.item())
        reached |= {name for name, p in built.named_parameters() if p.grad is not None and p.grad.any()}
    numbers = torch.tensor([value for name in sorted(terms) for value in terms[name]], dtype=torch.float64)
    followers = [value for teacher in teachers for value in teacher.parameters()]
    averages = [value for value in built.buffers() if value.is_floating_point()]  # such as a moving threshold
    norms = [value.norm().view(1) for value in (*followers, *averages)]
    trace = torch.cat([numbers, _predict(built, _batch(seed=7).x).flatten(), *norms])
    return trace, terms, _unreached(built, reached)


def _predict(built: Method, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return built.eval().predict(x).clone()


def _parameters(built: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in built.named_parameters()}


def _state(built: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in built.state_dict().items() if value.is_floating_point()}


def _followed(built: Method, state: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The states of all networks of a method that a teacher with this state could follow."""
    inside = {id(m) for teacher in built.modules() if isinstance(teacher, Teacher) for m in teacher.modules()}
    for module in built.modules():
        if id(module) not in inside and (other := _state(module)).keys() == state.keys():
            yield other


def _equal(a: dict[str, Tensor], b: dict[str, Tensor], within: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], rtol=0, atol=within) for name in a)


def _unreached(built: Method, reached: set[str]) -> list[str]:
    return [name for name, p in built.named_parameters() if p.requires_grad and name not in reached]


def _assert_none_dead(dead: list[str], where: str) -> None:
    assert not dead, (
        f"Parameter '{dead[0]}' never learns {where} ({len(dead)} parameters in all); freeze it or remove it."
    )


def _assert_finite(built: Method, batch: Batch, where: str) -> None:
    total = sum(_losses(built, batch, 1.0).values())
    assert math.isfinite(total.item()), f"The loss is {total.item()} with {where}."
    total.backward()
    broken = [name for name, p in built.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert not broken, f"The gradient of '{broken[0]}' is not finite with {where}."
