"""Numbers in people's sentences are those of the tables."""

import statistics

import numpy as np
import pytest
from click.testing import CliRunner
from rows import row, suite

from benchmark import run_records
from benchmark.analysis import power, run_table
from benchmark.analysis.comparison import Comparison, Options
from benchmark.cli import main
from benchmark.report import prose
from benchmark.report.tables import all_tables

ROWS = suite(("supervised", "mean_teacher", "cdma"), draws=3, patients=12)


def said(sentence: str, rows=ROWS) -> str:
    return prose.read("{% set c = comparison('phantom') %}" + sentence, rows).strip()


def cell(name: str, method: str, column: int, rows=ROWS) -> str:
    """What a table of claims has in a column of a method's line at 10 %."""
    lines = all_tables.table_of(name, rows).lines
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
    assert prose.read(alone + asked, ROWS).strip() == ", ".join(told)


def test_a_claim_that_is_false_is_an_error_and_names_the_words():
    assert said("{{ holds(c.runs('cdma', 0.1) == 3, 'three runs') }}") == "three runs"
    with pytest.raises(ValueError, match="'four runs' in reading.md no longer holds"):
        said("{{ holds(c.runs('cdma', 0.1) == 4, 'four runs') }}")


def far() -> list:
    """One method far above supervised and one far below, three draws."""
    better = {"supervised": 0.0, "cdma": 2.0, "mean_teacher": -2.0}
    return [
        *(row(method, draw=draw, better=by, patients=12) for method, by in better.items() for draw in range(3)),
        *(row("supervised", ratio=1.0, draw=draw, patients=12) for draw in range(3)),
    ]


def test_lists_name_who_is_bold_and_who_differs_from_supervised_with_the_adjusted_p():
    lists = "{{ c.tied(0.1) }}; {{ c.place('mean_teacher', 0.1) }}"
    assert said(lists, far()) == "CDMA; 3 of 3"
    p = [cell("paired", method, 2, far()) for method in ("CDMA", "Mean Teacher")]
    assert said("{{ c.above(0.1) }}; {{ c.below(0.1) }}", far()) == f"CDMA (p {p[0]}); Mean Teacher (p {p[1]})"
    assert said("{{ c.tests() }}", far()) == "2"
    worst, best = (cell("comparison", method, 1, far()).split()[0] for method in ("Mean Teacher", "CDMA"))
    assert said("{{ c.extremes(0.1) }}", far()) == f"{worst} (Mean Teacher) to {best} (CDMA)"
    assert said("{{ c.draws(0.1) }}", far()) == "3"
    assert said("{{ c.draws(0.1) }}", [*far(), row("cps", draw=0, patients=12)]) == "1 to 3"
    more = [*(one for one in far() if one.run.draw == 0 or one.run.method == "supervised")]
    assert said("{{ c.extremes(0.1) }}", more).endswith("(CDMA)"), "the baseline alone has three draws"
    assert prose._listed(["A", "B", "C"]) == "A, B and C"
    assert prose._listed([]) == "none"


def test_a_claim_is_made_in_the_words_that_its_p_allows():
    delta, p = cell("paired", "CDMA", 1, far()), cell("paired", "CDMA", 2, far())
    assert said("{{ c.claim('cdma', 0.1) }}", far()) == f"CDMA is better than supervised ({delta}, p (family) {p})"
    assert said("{{ c.claim('mean_teacher', 0.1) }}", far()).startswith("Mean Teacher is worse than supervised (")
    noisy = said("{{ c.claim('mean_teacher', 0.1) }}")
    assert noisy.startswith("these runs cannot tell whether Mean Teacher differs from supervised (")
    found = cell("paired", "Mean Teacher", 5)
    assert noisy.endswith(f"; a difference of {found} would have been found)")
    wide = prose.read("{{ comparison('phantom').claim('mean_teacher', 0.1) }}", ROWS, Options(margin=40)).strip()
    assert wide.startswith("Mean Teacher is within 40 points of supervised (") and "p (family) of more <0.001" in wide
    with pytest.raises(ValueError, match="is not compared with supervised; claim nothing of it"):
        said("{{ c.claim('supervised', 0.1) }}")


def test_headroom_and_the_gap_are_those_of_the_table():
    lines = [line for line in all_tables.table_of("headroom", far()).lines if line.block == "10 %"]
    bound, method = lines[0].cells, next(line.cells for line in lines if line.cells[0].text == "CDMA")
    assert said("{{ c.headroom(0.1) }}", far()) == f"{bound[1].text}, p (family) {bound[2].text}"
    assert said("{{ c.gap_closed('cdma', 0.1) }}", far()) == method[3].text.replace(" [", " % [", 1)


@pytest.mark.parametrize("asked", ["c.tied(0.1)", "c.place('cdma', 0.1)", "c.gap_closed('cdma', 0.1)"])
def test_sentences_rank_nothing_where_the_comparison_cannot_tell(asked):
    without = [one for one in far() if one.run.ratio < 1]
    with pytest.raises(ValueError, match="ranks methods at 10 %; leave it out. At 10 % labels this comparison cannot"):
        said(f"{{{{ {asked} }}}}", without)


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        ("CDMA is significantly above the rest.", "significantly"),
        ("Unlabelled images help little.", "help"),
        ("CDMA is {{ c.score('cdma', 0.1) }}, better than others.", "better"),
        ("It makes no difference.", "no difference"),
        ("{{ holds(1 < 2, 'CDMA outperforms URPC') }}", "outperforms"),
        ("Of all methods {{ c.claim('cdma', 0.1) }}, which improves on it.", "improves"),
    ],
)
def test_a_sentence_that_claims_in_its_own_words_is_refused(sentence, word):
    with pytest.raises(ValueError, match=f"claims '{word}' in its own words; let claim"):
        said(f"Runs have three draws. {sentence}", far())


def test_a_sentence_that_states_what_was_done_may_stand():
    plain = "Runs have three draws, `better` is a name, and {{ c.claim('cdma', 0.1) }}."
    assert said(plain, far()).startswith("Runs have three draws, `better` is a name, and CDMA is better than")
    assert prose.OPEN not in said(plain, far())


def test_the_report_refuses_a_claim_in_free_words(tmp_path):
    for one in far():
        run_records.save(one, tmp_path)
    (tmp_path / "reading.md").write_text("CDMA wins.\n")
    done = CliRunner().invoke(main, ["report", "--results", str(tmp_path), "--no-panels"])
    assert done.exit_code != 0
    assert "'CDMA wins.' in reading.md claims 'wins' in its own words" in done.output
    assert not (tmp_path / "tables").exists(), "nothing is published"


def test_a_deviation_is_that_of_runs_and_false_alarms_are_counted_over_them():
    comparison = Comparison([row("cdma", draw=draw, empty=(1, 2)) for draw in range(3)])
    means = [float(np.nanmean(run_table.scores(found, "dice"))) for found in comparison.records.values()]
    expected = statistics.stdev(means)
    assert prose.Reading(comparison).deviation("cdma", 0.1) == f"{100 * expected:.1f}"
    assert prose.Reading(comparison).each("cdma", 0.1) == "{:.1f}, {:.1f} and {:.1f}".format(*(100 * m for m in means))
    assert prose.Reading(comparison).missed("cdma", 0.1) == (3, 0)


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
    _, pairs = power.pairs(Comparison(ROWS), 0.1)
    assert said("{{ c.detectable(0.1) }}") == f"{100 * power.detectable(power.components(pairs), 3, 1):.1f}"


def test_two_splits_are_compared_on_the_images_that_both_test():
    rows = suite(draws=2, split="patient")
    other = suite(draws=2, split="random", better=1.0)
    for found in other:
        scores = found.scores
        found.scores = {column: values[:10] for column, values in scores.items()}
    sentence = "{% set a, b = comparison('phantom random'), comparison('phantom patient') %}"
    found = prose.read(sentence + "{{ a.common(b) }}: {{ a.beside(b, 'cdma', 0.1) }}", [*rows, *other])
    ours, theirs = (
        np.mean([run_table.scores(r, "dice")[:10] for r in of if (r.run.method, r.run.ratio) == ("cdma", 0.1)])
        for of in (other, rows)
    )
    assert found.startswith(f"10 images of 8 patients: {100 * (ours - theirs):+.1f} [".replace("-", "−"))
