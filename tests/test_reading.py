"""Numbers in people's sentences are those of the tables."""

import statistics

import numpy as np
import pytest
from rows import row, suite

from benchmark import planning, reading
from benchmark.report import frame, tables
from benchmark.report.board import Board

ROWS = suite(("supervised", "mean_teacher", "cdma"), draws=3)


def said(sentence: str, rows=ROWS) -> str:
    return reading.read("{% set c = comparison('phantom') %}" + sentence, rows).strip()


def cell(name: str, method: str, column: int, rows=ROWS) -> str:
    """What a table of claims has in a column of a method's line at 10 %."""
    lines = tables.draw(name, rows).lines
    return next(line.cells[column].text for line in lines if line.block == "10 %" and line.cells[0].text == method)


def test_scores_and_differences_are_the_cells_of_the_tables():
    assert said("{{ c.score('cdma', 0.1) }}") == cell("comparison", "CDMA", 1)
    assert said("{{ c.difference('cdma', 'supervised', 0.1) }}") == cell("paired", "CDMA", 1)
    assert said("{{ c.score('CDMA', 0.1) }}") == cell("comparison", "CDMA", 1), "a label of the tables will do, too"
    assert said("{{ c.part('test', 0.1) }}").startswith("24 images of ")
    assert said("{{ c.cost('cdma', 0.1) }}, {{ c.runs('cdma', 0.1) }}, {{ c.methods(0.1) }}").endswith(", 3, 3")


def test_a_draw_is_read_as_if_there_were_no_other():
    one = [found for found in ROWS if found.run.draw == 1]
    alone = "{% set c = comparison('phantom', draw=1) %}"
    asked = "{{ c.score('cdma', 0.1) }}, {{ c.difference('cdma', 'supervised', 0.1) }}"
    told = (cell(name, "CDMA", 1, one) for name in ("comparison", "paired"))
    assert reading.read(alone + asked, ROWS).strip() == ", ".join(told)


def test_a_claim_that_is_false_is_an_error_and_names_the_words():
    assert said("{{ holds(c.runs('cdma', 0.1) == 3, 'three runs') }}") == "three runs"
    with pytest.raises(ValueError, match="'four runs' in reading.md no longer holds"):
        said("{{ holds(c.runs('cdma', 0.1) == 4, 'four runs') }}")


def test_lists_name_who_is_bold_and_who_differs_from_supervised():
    far = [
        row(method, draw=draw, better=better, patients=12)
        for method, better in (("supervised", 0.0), ("cdma", 2.0), ("mean_teacher", -2.0))
        for draw in range(3)
    ]
    lists = "{{ c.tied(0.1) }}; {{ c.above(0.1) }}; {{ c.below(0.1) }}; {{ c.place('mean_teacher', 0.1) }}"
    assert said(lists, far) == "CDMA; CDMA; Mean Teacher; 3 of 3"
    worst, best = (cell("comparison", method, 1, far).split()[0] for method in ("Mean Teacher", "CDMA"))
    assert said("{{ c.extremes(0.1) }}", far) == f"{worst} (Mean Teacher) to {best} (CDMA)"
    assert said("{{ c.draws(0.1) }}", far) == "3"
    assert said("{{ c.draws(0.1) }}", [*far, row("cps", draw=0, patients=12)]) == "1 to 3"
    more = [*(one for one in far if one.run.draw == 0 or one.run.method == "supervised")]
    assert said("{{ c.extremes(0.1) }}", more).endswith("(CDMA)"), "the baseline alone has three draws"
    assert reading._listed(["A", "B", "C"]) == "A, B and C"
    assert reading._listed([]) == "none"


def test_a_deviation_is_that_of_runs_and_false_alarms_are_counted_over_them():
    board = Board([row("cdma", draw=draw, empty=(1, 2)) for draw in range(3)])
    means = [float(np.nanmean(frame.scores(found, "dice"))) for found in board.rows.values()]
    expected = statistics.stdev(means)
    assert reading.Reading(board).deviation("cdma", 0.1) == f"{100 * expected:.1f}"
    assert reading.Reading(board).each("cdma", 0.1) == "{:.1f}, {:.1f} and {:.1f}".format(*(100 * m for m in means))
    assert reading.Reading(board).missed("cdma", 0.1) == (3, 0)


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("{{ comparison('phantm') }}", "did you mean 'phantom'"),
        ("{{ c.score('cmda', 0.1) }}", "did you mean 'cdma'"),
        ("{{ c.score('cdma', 0.3) }}", "at 30 %"),
        ("{{ c.scroe('cdma', 0.1) }}", "cannot be read"),
        ("{{ c.score('cdma', 0.1) }", "cannot be read"),
    ],
)
def test_a_sentence_about_what_is_not_there_is_refused(sentence, why):
    with pytest.raises(ValueError, match=why):
        said(sentence)


def test_agreement_is_that_of_the_orders_after_two_draws_and_power_is_that_of_the_plan():
    """In draw 1 the order of the first two is turned around: ρ = 1 − 6 · 2 / (3 · 8)."""
    better = {("supervised", 0): 0.0, ("cdma", 0): 1.0, ("mean_teacher", 0): 2.0}
    better |= {("supervised", 1): 1.0, ("cdma", 1): 0.0, ("mean_teacher", 1): 2.0}
    rows = [row(method, draw=draw, better=by) for (method, draw), by in better.items()]
    assert said("{{ c.agreement(0.1) }}", rows) == "0.50"
    of_seeds = [
        row(method, draw=draw, seed=draw * (method == "cdma"), better=by) for (method, draw), by in better.items()
    ]
    assert said("{{ c.agreement(0.1) }}", of_seeds) == "0.50", "whatever the seed of a draw"
    assert said("{{ c.agreement(0.1) }} {{ c.detectable(0.1) }}", suite(draws=1)) == "– –"
    _, pairs = planning.pairs(Board(ROWS), 0.1)
    assert said("{{ c.detectable(0.1) }}") == f"{100 * planning.detectable(planning.components(pairs), 3, 1):.1f}"


def test_two_splits_are_compared_on_the_images_that_both_test():
    rows = suite(draws=2, split="patient")
    other = suite(draws=2, split="random", better=1.0)
    for found in other:
        scores = found.scores
        found.scores = {column: values[:10] for column, values in scores.items()}
    sentence = "{% set a, b = comparison('phantom random'), comparison('phantom patient') %}"
    found = reading.read(sentence + "{{ a.common(b) }}: {{ a.beside(b, 'cdma', 0.1) }}", [*rows, *other])
    ours, theirs = (
        np.mean([frame.scores(r, "dice")[:10] for r in of if (r.run.method, r.run.ratio) == ("cdma", 0.1)])
        for of in (other, rows)
    )
    assert found.startswith(f"10 images of 8 patients: {100 * (ours - theirs):+.1f} [".replace("-", "−"))
