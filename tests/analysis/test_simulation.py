"""Simulated benchmarks have the true means that they claim, and show where statistics hold and where they do not."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.analysis.simulation import study
from benchmark.analysis.simulation.checks import (
    Coverage,
    Gaps,
    Level,
    beside,
    coverage,
    gain_of,
    gaps,
    level,
    power,
    unequal,
)
from benchmark.analysis.simulation.study import Study, tables, write
from benchmark.analysis.simulation.worlds import COLLAPSE, WORLDS, Design, World, images_of_patients, simulate
from benchmark.analysis.stats import Difference, pooled_runs, spread, worse_than_best
from benchmark.analysis.stats import tested as as_difference
from benchmark.cli import main

DOCS = Path(__file__).parents[2] / "docs" / "statistics.md"
EASY = WORLDS["easy"]
OWN = {name: 0.0 for name in vars(EASY) if name.startswith("own")}


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_patients_have_unequal_numbers_of_images():
    assert images_of_patients(4).tolist() == [1, 2, 3, 7]  # −3 log(7/8, 5/8, 3/8, 1/8), rounded up
    assert images_of_patients(100).mean() == pytest.approx(3.5, abs=0.1)
    uneven = np.sort(images_of_patients(100, uneven=True))
    assert uneven[-10:].sum() > 0.4 * uneven.sum()


def test_labels_name_the_patient_the_draw_and_the_seed_of_every_score():
    found = simulate(EASY, Design(2, 3, 2), np.zeros(2), 5, random())
    images = images_of_patients(2).sum()
    assert found.values.shape == (6 * images, 2, 5)
    assert found.draws.tolist() == np.repeat([0, 1, 2], 2 * images).tolist()
    assert found.seeds.tolist() == np.tile(np.repeat([0, 1], images), 3).tolist()
    assert found.patients.tolist() == np.tile(np.repeat([0, 1], images_of_patients(2)), 6).tolist()


@pytest.mark.parametrize(("draws", "seeds"), [(1, 1), (1, 3), (3, 1)])
def test_the_true_mean_is_the_mean_over_ever_more_patients(draws, seeds):
    found = simulate(EASY, Design(1500, draws, seeds), np.array([0.0, 0.5]), 4, random())
    if draws * seeds == 1:
        assert found.values.mean(0) == pytest.approx(found.true, abs=0.006)
    assert found.true_for_new_runs[1] > found.true_for_new_runs[0]
    if draws > 1:
        assert found.true == pytest.approx(np.repeat(found.true_for_new_runs[:, None], 4, axis=1))


def test_what_a_design_varies_is_averaged_over_and_the_rest_is_as_it_is():
    spread = [
        simulate(EASY, Design(2, *runs), np.zeros(1), 300, random()).true.std() for runs in ((1, 1), (1, 3), (2, 1))
    ]
    assert spread[0] > spread[1] > spread[2] == pytest.approx(0, abs=1e-12)


def test_collapsed_runs_are_in_the_true_mean_as_often_as_they_happen():
    often = World(centre=2.0, patient=0.1, image=0.1, collapse=0.5)
    found = simulate(often, Design(40, 400, 1), np.zeros(1), 3, random())
    runs = found.values.reshape(400, -1, 1, 3).mean(1)
    assert 0.4 < (runs < 0.3).mean() < 0.6, f"an effect of {COLLAPSE} is a Dice near 0"
    assert found.values.mean(0) == pytest.approx(found.true, abs=0.06)
    one = simulate(often, Design(40, 1, 1), np.zeros(1), 60, random())
    assert one.values.mean(0) == pytest.approx(one.true, abs=0.04), "of one run, as it is"


def test_methods_apart_share_no_draw_with_the_others():
    alone = World(centre=0.0, patient=0.0, image=0.0, draw=1.0, seed=0.0, **OWN)
    values = simulate(alone, Design(2, 3, 1), np.zeros(3), 50, random(), apart=[1]).values
    assert np.ptp(values[:, [0, 2]], axis=1).max() == pytest.approx(0)
    assert abs(np.corrcoef(values[:, 0].ravel(), values[:, 1].ravel())[0, 1]) < 0.5


def test_what_is_shared_cancels_in_a_difference():
    shared = World(centre=1.0, patient=1.0, image=1.0, **OWN)
    values = simulate(shared, Design(5, 2, 2), np.zeros(3), 4, random()).values
    assert np.ptp(values, axis=1) == pytest.approx(0)
    assert values.std() > 0.1


@pytest.mark.parametrize(("world", "design"), [("easy", (20, 3, 3)), ("easy", (20, 1, 1)), ("hard", (10, 5, 1))])
def test_intervals_cover_as_often_as_they_say(world, design):
    found = coverage(WORLDS[world], Design(*design), 800, random(1))
    assert 0.92 <= found.score <= 0.98  # 800 simulations: a standard error of 0.008
    assert 0.92 <= found.difference <= 0.98


def test_one_run_says_little_about_the_next():
    found = coverage(EASY, Design(100, 1, 1), 300, random())
    assert found.score > 0.9
    assert found.score_for_new_runs < 0.75
    assert found.difference_for_new_runs < 0.55


def test_one_run_says_more_where_others_tell_how_much_draws_vary():
    assert 0.93 <= beside(EASY, 100, 300, random()) <= 1


def test_tests_find_nothing_where_nothing_is_but_the_winner_looks_better_than_it_is():
    found = level(EASY, Design(50, 3, 1), 300, random())
    assert max(found.test, found.holm, found.tie_group) < 0.09  # a standard error of 0.013
    assert found.winner > 0.1
    assert np.isnan(found.test_for_new_runs)


def test_methods_that_are_equal_differ_in_the_runs_at_hand():
    found = level(EASY, Design(50, 1, 1), 200, random())
    assert found.test < 0.1
    assert found.test_for_new_runs > 0.3


def test_a_method_whose_runs_vary_much_more_is_not_found_to_differ_more_often():
    assert unequal(5, 600, random()) < 0.08  # a standard error of 0.009


def test_the_tie_group_keeps_its_level_and_finds_what_is_worse():
    gains = np.array([0.0] * 4 + [-0.5] * 4)
    values, *labels = simulate(EASY, Design(50, 3, 1), gains, 300, random())[:4]
    tied = []
    for table in np.moveaxis(values, 2, 0):
        found = as_difference(pooled_runs(spread(table, *labels, less=table[:, [table.mean(0).argmax()]])))
        tied.append(worse_than_best([Difference(*parts) for parts in zip(*found, strict=True)]) >= 0.05)
    assert np.mean([not group[:4].all() for group in tied]) < 0.09  # a standard error of 0.013
    assert np.mean([group[4:] for group in tied]) < 0.5


def test_with_collapses_tests_keep_their_level_but_scores_are_covered_too_rarely():
    """Three runs of a method that collapses in a tenth of its runs mostly show none of it."""
    found = level(WORLDS["collapses"], Design(50, 3, 1), 200, random())
    assert max(found.test, found.holm, found.tie_group) < 0.1  # a standard error of 0.015
    assert coverage(WORLDS["collapses"], Design(50, 3, 1), 200, random()).score < 0.6


def test_headroom_and_gap_are_covered_as_often_as_they_say():
    found = gaps(EASY, Design(50, 3, 1), 30, random())
    assert 0.2 < found.open < 0.9
    assert found.headroom > 0.85  # a standard error of 0.04
    assert found.share > 0.85


def test_power_rises_with_the_difference_and_falls_with_the_number_of_tests():
    few, many = (power(EASY, Design(100, 3, 1), (0.5, 5.0), tests, 100, random()) for tests in (1, 100))
    assert few[0] < few[1]
    assert few[1] > 0.9
    assert many[0] < few[0]
    assert gain_of(EASY, 0.0) == pytest.approx(0, abs=1e-9)


# ----------------------------------------------------------------------------------------------------------------------
# The page


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(study, "PATIENTS", (10,))
    monkeypatch.setattr(study, "WORLDS", {"easy": EASY})
    monkeypatch.setattr(study, "LEVEL_WORLDS", ("easy",))
    monkeypatch.setattr(study, "GAP_WORLDS", ("easy",))
    monkeypatch.setattr(study, "REPEATS", (1, 3))
    monkeypatch.setattr(study, "SEVERAL", (3,))
    monkeypatch.setattr(study, "POINTS", (1.0,))


def test_tables_hold_what_was_found_and_mark_what_is_outside(small):
    found = Study(
        simulations=400,
        tests=76,
        coverage={("easy", 10, runs): Coverage(0.951, 0.9291, 0.8, 0.7) for runs in (1, 3)},
        level={("easy", 10, 1): Level(0.05, 0.04, 0.3, 0.01, 0.5), ("easy", 10, 3): Level(0, 0, 0, 0, np.nan)},
        gaps={("easy", 10, 3): Gaps(0.624, 0.94, 0.981)},
        power={(10, 3): (0.314,)},
        beside={10: 0.962},
        unequal={1: 0.03, 8: 0.066},
    )
    drawn = tables(found)
    assert drawn["coverage"].splitlines()[2] == "| easy | 10 | 95.1 / **92.9** | 95.1 / **92.9** |"
    assert drawn["new runs"].splitlines()[2] == "| 10 | 80 | 70 | 96 |"
    assert drawn["unequal"].splitlines()[2] == "| Holm | 3.0 | **6.6** |"
    assert drawn["level"].splitlines()[2:] == [
        "| easy | 10 | 1 | 5.0 | 4.0 | **30.0** | 1.0 | **50.0** |",
        "| easy | 10 | 3 | 0.0 | 0.0 | 0.0 | 0.0 | – |",
    ]
    assert drawn["gaps"].splitlines()[2] == "| easy | 10 | 3 | 62 | 94.0 | **98.1** |"
    assert drawn["power"].splitlines()[2] == "| 10 | 3 | 31 |"
    assert "over 76 differences" in drawn["tests"]
    assert "standard error of a 95 % cell is 1.1" in drawn["simulations"]  # √(0.95 · 0.05 / 400)


def test_the_same_seed_gives_the_same_study_and_another_another(small):
    first, again, other = (study.study(20, seed) for seed in (0, 0, 1))
    assert str(first) == str(again)
    assert first.coverage != other.coverage


def test_a_page_is_written_between_its_marks_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- level -->\nold\n<!-- end -->\nafter\n<!-- coverage -->\n<!-- end -->\n")
    write({"level": "new", "coverage": "table"}, page)
    drawn = "before\n<!-- level -->\nnew\n<!-- end -->\nafter\n<!-- coverage -->\ntable\n<!-- end -->\n"
    assert page.read_text() == drawn
    with pytest.raises(ValueError, match="no place for 'worlds'; add the lines"):
        write({"level": "lost", "worlds": "x"}, page)
    assert page.read_text() == drawn, "a page that lacks a mark stays as it is"


NAMES = ("worlds", "coverage", "new runs", "level", "gaps", "power", "tests", "unequal", "simulations")


def test_the_command_prints_tables_or_writes_them(small, tmp_path):
    printed = CliRunner().invoke(main, ["simulate", "--simulations", "20"])
    assert printed.exit_code == 0
    assert "| scores | patients | repeats | one test |" in printed.stdout
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {name} -->\n<!-- end -->\n" for name in NAMES))
    written = CliRunner().invoke(main, ["simulate", "--simulations", "20", "--out", str(page)])
    assert written.exit_code == 0
    assert page.read_text().count("|") == printed.stdout.count("|")


def test_the_docs_have_a_place_for_every_table(tmp_path):
    page = tmp_path / "statistics.md"
    page.write_text(DOCS.read_text(encoding="utf-8"), encoding="utf-8")
    write(dict.fromkeys(NAMES, "| written |"), page)


@pytest.mark.slow
def test_the_docs_are_what_the_command_writes(tmp_path):
    page = tmp_path / "statistics.md"
    page.write_text(DOCS.read_text(encoding="utf-8"), encoding="utf-8")
    done = CliRunner().invoke(main, ["simulate", "--out", str(page)])
    assert done.exit_code == 0
    assert page.read_text(encoding="utf-8").splitlines() == DOCS.read_text(encoding="utf-8").splitlines()
