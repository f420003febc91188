"""A plan promises a power that simulated benchmarks keep, and says when runs cannot help."""

import numpy as np
import pytest
from click.testing import CliRunner
from rows import row, suite

from benchmark import run_records
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.power import Components, Paired, components, design, detectable, pairs, plan, power
from benchmark.analysis.stats import paired_difference
from benchmark.cli import main

KNOWN = Components(patients=1e-5, draws=1e-4, seeds=4e-5, patients_freedom=30.0)


def made_up(draws: int, seeds: int, count: int, difference: float = 0.0, of: Components = KNOWN, patients: int = 31):
    """Pairs of methods on one image of each patient, whose mean difference has these components."""
    random = np.random.default_rng(0)
    shape = (count, draws, seeds, patients)
    a = difference + np.sqrt(of.patients * patients) * random.standard_normal((count, 1, 1, patients))
    a = a + np.sqrt(of.draws) * random.standard_normal((count, draws, 1, 1))
    a = np.broadcast_to(a + np.sqrt(of.seeds) * random.standard_normal((count, draws, seeds, 1)), shape)
    d, s, p = (part.ravel() for part in np.indices(shape[1:]))
    return [Paired(values.ravel(), np.zeros(d.size), p, d, s) for values in a]


def test_variances_of_patients_draws_and_seeds_are_told_apart():
    found = components(made_up(4, 3, 400))
    assert found[:3] == pytest.approx(KNOWN[:3], rel=0.15)
    assert found.patients_freedom == pytest.approx(30)


def test_what_the_runs_at_hand_do_not_vary_is_not_made_up():
    one_seed, one_draw = components(made_up(5, 1, 400)), components(made_up(1, 4, 400))
    assert one_seed.draws == pytest.approx(KNOWN.draws + KNOWN.seeds, rel=0.15)
    assert np.isnan(one_seed.seeds)
    assert one_draw.seeds == pytest.approx(KNOWN.seeds, rel=0.15)
    assert np.isnan(one_draw.draws)


def test_one_run_and_equal_methods_have_nothing_to_plan_from():
    with pytest.raises(ValueError, match="share one run.*at least two draws or seeds"):
        components(made_up(1, 1, 2))
    with pytest.raises(ValueError, match="no difference to plan for"):
        components([Paired(pair.b, *pair[1:]) for pair in made_up(2, 2, 2)])


def test_variances_are_averaged_over_pairs_and_pairs_count_methods():
    some = made_up(3, 2, 3)
    each = [components([pair]) for pair in some]
    together = components(some)
    assert together.patients == pytest.approx(np.mean([one.patients for one in each]), rel=0.2)
    assert (each[0].methods, together.methods) == (2, 3)  # one pair, three pairs


@pytest.mark.parametrize("runs", [(2, 1), (3, 2), (6, 1), (1, 4)])
@pytest.mark.parametrize("difference", [0.012, 0.03])
def test_the_power_is_what_simulated_tests_have(runs, difference):
    of = KNOWN if runs[0] > 1 else KNOWN._replace(draws=0.0)
    some = made_up(*runs, 500, difference, of)
    found = paired_difference(np.stack([pair.a for pair in some], 1), np.zeros((1, 500)), *some[0][2:]).p < 0.05
    assert power(of, *runs, difference) == pytest.approx(found.mean(), abs=0.07)  # a standard error of 0.022


def test_without_a_difference_the_power_is_the_level_and_with_a_large_one_certain():
    assert power(KNOWN, 6, 1, 0.0) == pytest.approx(0.05, abs=0.015)
    assert power(KNOWN, 6, 1, 0.2) > 0.999
    assert power(KNOWN, 6, 1, detectable(KNOWN, 6, 1)) == pytest.approx(0.8)


def test_more_runs_find_more_and_draws_more_than_seeds():
    assert power(KNOWN, 3, 1, 0.02) < power(KNOWN, 3, 3, 0.02) < power(KNOWN, 9, 1, 0.02)
    assert power(KNOWN, 3, 1, 0.02) < power(KNOWN._replace(methods=20), 3, 1, 0.02), "methods share what runs vary"


def test_a_plan_names_the_fewest_runs_that_suffice():
    found = plan(KNOWN, 0.02)
    few = found.fewest
    assert few.seeds == 1
    assert few.power >= 0.8 > power(KNOWN, few.draws - 1, 1, 0.02)
    assert few.power == pytest.approx(power(KNOWN, few.draws, 1, 0.02))
    assert all(line.detectable > found.limit for line in found.lines)
    assert {line.seeds for line in plan(KNOWN._replace(seeds=np.nan), 0.02).lines} == {1}
    in_one_draw = plan(KNOWN._replace(draws=np.nan), 0.02)
    assert {line.draws for line in in_one_draw.lines} == {1}
    assert in_one_draw.fewest.seeds > 1


def test_patients_limit_what_any_number_of_runs_can_find():
    found = plan(KNOWN, 0.005)
    assert found.fewest is None
    # as a t test of 31 patients: (t(0.975) + t(0.8)) standard errors, almost
    assert found.limit == pytest.approx((2.042 + 0.854) * np.sqrt(KNOWN.patients), rel=0.02)
    assert plan(KNOWN._replace(patients=0.0), 0.005).limit == 0


# ----------------------------------------------------------------------------------------------------------------------
# From rows


def test_pairs_are_of_all_methods_with_the_common_budget_on_the_runs_that_they_share():
    rows = suite(("supervised", "mean_teacher", "cdma"), ratios=(0.1,), draws=3, seeds=2, bounds=False)
    rows = [r for r in rows if (r.run.method, r.run.draw, r.run.seed) != ("cdma", 2, 1)]
    rows.append(row("cct", ratio=0.1, steps=99))
    ratio, found = pairs(Comparison(rows))
    assert ratio == 0.1
    assert len(found) == 2, "cdma shares one seed less with each of the others, and those pairs are alike"
    assert {design(pair) for pair in found} == {(3, 1)}
    assert pairs(Comparison(rows[:1])) == (0.1, [])
    assert pairs(Comparison([])) == (None, [])


def test_seeds_of_two_draws_have_nothing_in_common_and_single_runs_are_left_out():
    rows = [row(method, draw=draw, seed=draw) for method in ("supervised", "mean_teacher", "cdma") for draw in range(3)]
    more = [row("cdma", draw=0, seed=7)]
    _, found = pairs(Comparison([*rows, *more]), 0.1)
    assert len(found) == 3
    assert {design(pair) for pair in found} == {(3, 1)}
    single = [row(method) for method in ("cct", "cps", "urpc", "ict")]
    assert len(pairs(Comparison([*rows, *single]), 0.1)[1]) == 3, "single runs, however many, tell nothing"
    one_seed = [row(method, draw=draw) for method in ("supervised", "mean_teacher", "cdma") for draw in range(3)]
    _, other = pairs(Comparison(one_seed), 0.1)
    assert {design(pair) for pair in other} == {(3, 1)}


def test_a_pair_has_the_scores_of_the_same_runs_side_by_side():
    rows = suite(("supervised", "cdma"), ratios=(0.1, 0.2), draws=2, seeds=1, images=5, patients=3, bounds=False)
    rows += suite(("cct",), ratios=(0.2,), draws=2, seeds=1, images=5, patients=3, bounds=False)
    ratio, found = pairs(Comparison(rows[::-1]))
    assert (ratio, len(found)) == (0.2, 3)
    (pair,) = pairs(Comparison(rows), 0.1)[1]
    for part, method in ((pair.a, "supervised"), (pair.b, "cdma")):
        for draw in (0, 1):
            (run,) = (r for r in rows if (r.run.method, r.run.ratio, r.run.draw) == (method, 0.1, draw))
            assert part[pair.draws == draw].tolist() == [dice for (dice,) in run.scores["dice"]]


def told(tmp_path, rows, *options: str):
    for one in rows:
        run_records.save(one, tmp_path)
    return CliRunner().invoke(main, ["plan", "--results", str(tmp_path), *options])


def test_the_command_prints_a_plan_for_every_comparison(tmp_path):
    rows = suite(ratios=(0.1,), draws=3, seeds=2, images=12, patients=6) + suite(draws=1, seeds=1, dataset="glas")
    found = told(tmp_path, rows, "--detect", "3")
    assert found.exit_code == 0, found.output
    assert "phantom, ratio 0.1: 3 methods, 3 × 2 draws × seeds, 6 test patients" in found.output
    assert "Fewest runs:" in found.output
    assert "glas: no two methods have two runs in common" in found.output
    assert "No number of runs is enough: on these 6 patients" in told(tmp_path, [], "--detect", "0.0001").output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detect", "1", "--dataset", "glass"], "no run records of glass"),
        (["--detect", "1", "--metric", "hd95"], "no metric 'hd95'"),
        (["--detect", "0"], "give a number above 0"),
        (["--detect", "1", "--ratio", "0.3"], "Nothing can be planned"),
    ],
)
def test_what_cannot_be_planned_is_said(tmp_path, options, message):
    found = told(tmp_path, suite(ratios=(0.1,), images=6, patients=3), *options)
    assert found.exit_code != 0
    assert message in found.output
