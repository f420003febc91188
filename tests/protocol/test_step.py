"""A captured step is an eager step: tested with a tape, which records and replays on the CPU as a CUDA graph does."""

import dataclasses

import pytest
import torch
from test_train import decided, equal, weights

from benchmark.protocol import checkpoint, step, train
from benchmark.protocol.batches import Batches, draw
from benchmark.protocol.distributed import Team
from benchmark.protocol.setup import build, complete, seed_of
from benchmark.protocol.step import CapturedStep, Step, captured, learning_rate, optimiser
from methods.base import Method
from methods.parts.losses import dice_ce
from methods.testing.tape import Tape, recorded

CPU = torch.device("cpu")
STEPS = 3


@pytest.fixture
def batches(store, toy):
    run = complete(dataclasses.replace(toy, method="mean_teacher"), store)
    return Batches(run, store, draw(store, run), CPU)


def made(run) -> Step:
    method = build(run, 2).train()
    return Step(method, optimiser(method, run), run.precision)


def taken(one: Step, run, batches, steps=range(STEPS)) -> tuple[list, dict]:
    """The terms of some steps, as the loop takes them, and the state after them."""
    terms = []
    for k in steps:
        torch.manual_seed(seed_of(run, k))
        terms.append(one(batches.at(k), k / run.steps, learning_rate(run, k)).tolist())
    return terms, {name: value.clone() for name, value in one.method.state_dict().items()}


@pytest.mark.parametrize(
    "changed",
    [{"method": "cdma"}, {"method": "mean_teacher", "precision": "bf16"}, {"method": "ad_mt", "optimiser": "sgd"},
     {"method": "supervised", "norm": "batch", "schedule": "cosine"}],
    ids=lambda changed: " ".join(changed.values()),
)  # fmt: skip
def test_a_replayed_step_has_the_terms_and_weights_of_an_eager_step(toy, batches, changed):
    run = dataclasses.replace(toy, **changed)
    eager = taken(made(run), run, batches)
    replayed = taken(CapturedStep(made(run), batches.at(5), recorded), run, batches)
    assert replayed[0] == eager[0] and equal(replayed[1], eager[1])


@pytest.mark.parametrize("method", ["supervised", "ad_mt"])
@pytest.mark.parametrize("sgd", [False, True])
def test_capturing_moves_neither_weights_nor_optimiser_nor_random_numbers(toy, batches, method, sgd):
    run = dataclasses.replace(toy, method=method, optimiser="sgd" if sgd else "adamw")
    one = made(run)
    taken(one, run, batches, range(1))  # the optimiser has its state, as after a resume
    before, moments = one.method.state_dict(), one.optimiser.state_dict()["state"]
    before = {name: value.clone() for name, value in before.items()}
    moments = {p: {name: value.clone() for name, value in state.items()} for p, state in moments.items()}
    torch.manual_seed(3)
    CapturedStep(one, batches.at(0), recorded)
    following = torch.rand(1).item()
    torch.manual_seed(3)
    assert torch.rand(1).item() == following
    assert equal(before, one.method.state_dict())
    after = one.optimiser.state_dict()["state"]
    assert all(equal(moments[p], after[p]) for p in moments) and moments.keys() == after.keys()
    assert all(p.grad is None for p in one.method.parameters())


def test_what_is_random_depends_on_the_seed_under_replay_too(toy, batches):
    run = dataclasses.replace(toy, method="cdma", lr=1e-9)
    one = CapturedStep(made(run), batches.at(0), recorded)
    terms = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        terms.append(one(batches.at(0), 1.0, 0.0).tolist())
    assert terms[0] == terms[2] != terms[1]


class Counting(Method):
    """Its weight is a Python number that changes from step to step."""

    title, year, paper = "Counting", 2026, ""

    def __init__(self, arch):
        super().__init__()
        self.net, self.taken = arch.net(), 0

    def losses(self, batch, t):
        self.taken += 1
        return {"sup": dice_ce(self.net(batch.x), batch.y) * self.taken}

    def predict(self, x):
        return self.net(x)


class Waiting(Counting):
    title = "Waiting"

    def losses(self, batch, t):
        sup = dice_ce(self.net(batch.x), batch.y)
        return {"sup": sup / max(sup.item(), 1.0)}


def of(kind: type[Method], run) -> Step:
    arch = build(run, 2).net  # the network of `supervised`
    method = kind(type("Arch", (), {"net": staticmethod(lambda: arch)}))
    return Step(method.train(), optimiser(method, run), run.precision)


def test_a_number_of_the_host_stays_as_it_was_recorded(toy, batches):
    """So the tape finds what would go wrong in a CUDA graph."""
    one = of(Counting, toy)
    eager, _ = taken(of(Counting, toy), toy, batches)
    replayed, _ = taken(CapturedStep(one, batches.at(0), recorded), toy, batches)
    assert replayed[0][0] == pytest.approx(2 * eager[0][0]) and replayed[2] != eager[2]


def test_a_step_that_waits_for_the_device_stays_eager_after_a_line_that_says_why(toy, batches, monkeypatch, capsys):
    monkeypatch.setitem(step.CAPTURES, "cpu", recorded)
    one = of(Waiting, toy)
    before = {name: value.clone() for name, value in one.method.state_dict().items()}
    assert captured(one, batches.at(0)) is one
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Steps are not captured, so training is slower: 'aten._local_scalar_dense")
    assert equal(before, one.method.state_dict()), "a capture that failed leaves no trace"


def test_known_obstacles_are_named_without_trying(toy, batches, monkeypatch, capsys):
    monkeypatch.setitem(step.CAPTURES, "cpu", lambda *_: pytest.fail("it was captured"))
    one = made(dataclasses.replace(toy, method="topo_semi"))
    assert captured(one, batches.at(0)) is one
    assert "TopoSemiSeg computes on the host" in capsys.readouterr().out
    assert captured(made(toy), batches.at(0), "several processes train together").execution == "eager"
    assert "several processes train together" in capsys.readouterr().out


def test_a_cpu_does_not_capture_and_says_nothing_of_it(toy, batches, capsys):
    one = made(toy)
    assert captured(one, batches.at(0)) is one and not capsys.readouterr().out


def test_a_captured_run_leaves_the_record_and_weights_of_an_eager_one_and_says_so(store, toy, tmp_path, monkeypatch):
    eager = train.train(toy, store, tmp_path / "a")
    monkeypatch.setitem(step.CAPTURES, "cpu", recorded)
    record = train.train(toy, store, tmp_path / "b")
    assert (eager.execution, record.execution) == ("eager", "captured")
    assert decided(record) == decided(eager) | {"execution": "captured"}
    assert equal(weights(tmp_path / "a", eager.key), weights(tmp_path / "b", record.key))
    assert train.train(toy, store, tmp_path / "c", train.Options(eager=True)).execution == "eager"


def test_a_captured_run_that_stopped_ends_in_the_same_bits(store, toy, tmp_path, monkeypatch):
    monkeypatch.setitem(step.CAPTURES, "cpu", recorded)
    whole = train.train(toy, store, tmp_path / "a")

    class Stop(Exception):
        pass

    save = checkpoint.save

    def stopping(state, path):
        save(state, path)
        if state.step == 3:
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(checkpoint, "save", stopping)
        train.train(toy, store, tmp_path / "b", train.Options(checkpoint_s=0))
    assert decided(train.train(toy, store, tmp_path / "b")) == decided(whole)
    assert equal(weights(tmp_path / "a", whole.key), weights(tmp_path / "b", whole.key))


def test_several_processes_are_an_obstacle(store, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(step.CAPTURES, "cpu", recorded)
    method = build(toy, 2)
    state = checkpoint.State(method, optimiser(method, toy))
    setup = train.Setup(complete(toy, store), store, tmp_path, CPU, Team(0, 2), train.Options())
    assert train.prepared(setup, state).execution == "eager"
    assert "several processes" in capsys.readouterr().out


def test_a_tape_replays_views_and_writes_in_place():
    x = torch.arange(6.0)
    tape = Tape()
    with tape:
        rows = x.view(2, 3)
        rows[0].mul_(2)
        total = rows.sum()
    tape.replay()
    assert x.tolist() == [0, 4, 8, 3, 4, 5] and total.item() == 24
    for work in (lambda: x.nonzero(), lambda: x[x > 1], lambda: x.sum().item()):
        with pytest.raises(RuntimeError, match="waits for the values"), Tape():
            work()
