"""How many runs share a GPU follows from measured rates and from what fits into memory."""

import pytest

from benchmark.runs import Run
from benchmark.speed import sharing as module
from benchmark.speed.measure import DoesNotFit, Job
from benchmark.speed.sharing import sharing


@pytest.mark.parametrize(
    ("rates", "runs", "slowdown"),
    [({1: 28, 2: 50, 4: 90, 8: 95}, 4, 4 * 28 / 90), ({1: 100, 2: 105}, 1, 1), ({1: 17, 2: 23}, 2, 2 * 17 / 23)],
    ids=["launches decide", "captured", "the next number does not fit"],
)
def test_runs_are_doubled_while_that_pays_and_fits(monkeypatch, tmp_path, rates, runs, slowdown):
    def together(job, count):
        if count not in rates:
            raise DoesNotFit("too large")
        return {"steps_per_s": rates[count]}

    monkeypatch.setattr(module, "together", together)
    shared = sharing(Job(Run(), tmp_path), 8)
    assert (shared.runs, shared.steps_per_s, shared.alone_per_s) == (runs, rates[runs], rates[1])
    assert shared.slowdown == pytest.approx(slowdown)
