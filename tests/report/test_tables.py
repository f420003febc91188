"""Tables say what the rows say: means, intervals, who is tied, what is missing, and what all of it rests on."""

import dataclasses
import io
import re
import shutil
import subprocess

import msgspec
import numpy as np
import pandas as pd
import pytest
from msgspec import structs
from rows import row, suite

import methods
from benchmark import run_records
from benchmark.analysis import family, run_table, stats
from benchmark.analysis.comparison import Comparison, Options
from benchmark.report import bibliography
from benchmark.report.tables import all_tables
from benchmark.report.tables.formats import rendered
from benchmark.report.tables.latex import latex, to_latex
from benchmark.report.tables.table import TIDY, Cell, Column, Line, Table, to_csv, to_markdown
from benchmark.run_records import Measured, RunRecord

LEVELS = {"p0": 0.9, "p1": 0.8, "p2": 0.7, "p3": 0.6}
MANY = {f"p{k:02}": 0.6 + 0.03 * k for k in range(10)}  # as many patients as ranks need


def scored(method: str, dice: dict[str, float], **fields) -> dict:
    """A row with one image for each patient, and this Dice."""
    one = row(method, images=len(dice), patients=len(dice), **fields)
    for name in ("dice", "jaccard", "boundary_f1"):
        one.scores[name] = [[value] for value in dice.values()]
    one.scores["hd95"] = [[100 * (1 - value)] for value in dice.values()]
    one.scores["assd"] = [[10 * (1 - value)] for value in dice.values()]
    one.best.scores |= {"dice": one.scores["dice"], "jaccard": one.scores["jaccard"]}
    return one


def of_dataset(one: RunRecord, dataset: str) -> RunRecord:
    """The same record, as if its run were on another dataset."""
    return msgspec.structs.replace(one, run=dataclasses.replace(one.run, dataset=dataset))


def shifted(by: float, wobble: float = 0.0, levels: dict[str, float] = LEVELS) -> dict[str, float]:
    return {patient: dice + by + wobble * (-1) ** k for k, (patient, dice) in enumerate(levels.items())}


def bound(by: float = 0.1, levels: dict[str, float] = MANY) -> dict:
    """Supervised with all labels."""
    return scored("supervised", shifted(by, 0.005, levels), ratio=1.0)


def place(table: Table, line: str, column: str, block: str = "") -> Cell:
    """The cell at a line and a column of a table."""
    heads = [c.full for c in table.columns]
    for of in table.lines:
        if of.cells[0].text == line and block in ("", of.block):
            return of.cells[heads.index(column)]
    raise KeyError((line, column, block))


def notes(table: Table) -> str:
    return " ".join(table.notes)


# ----------------------------------------------------------------------------------------------------------------------
# Methods × ratios × metrics


def test_a_cell_is_the_mean_its_interval_and_the_runs_behind_it():
    one = scored("cdma", LEVELS)
    cell = place(all_tables.table_of("comparison", [one]), "CDMA", "Dice ↑")
    mean, low, high = stats.hierarchical_interval(list(LEVELS.values()), list(LEVELS), [0] * 4, [0] * 4)
    assert mean == pytest.approx(0.75)
    assert (cell.mean, cell.low, cell.high) == pytest.approx((100 * mean, 100 * low, 100 * high))
    assert cell.text == f"75.0 [{100 * low:.1f}, {100 * high:.1f}]"
    assert cell.runs == (one.key,)


def test_runs_are_averaged_and_counted_as_draws_and_seeds():
    rows = [
        scored("cdma", shifted(0.01 * (draw + 2 * seed)), draw=draw, seed=seed) for draw in (0, 1) for seed in (0, 1)
    ]
    table = all_tables.table_of("comparison", rows)
    assert place(table, "CDMA", "Dice ↑").mean == pytest.approx(76.5)
    assert place(table, "CDMA", "Runs").text == "2 × 2"
    assert place(all_tables.table_of("comparison", rows[:3]), "CDMA", "Runs").text == "3 in 2 draws"


def test_bold_are_the_best_and_those_not_significantly_worse():
    rows = [scored(name, shifted(0.05, wobble, MANY)) for name, wobble in (("cdma", 0.001), ("cps", -0.001))]
    rows += [scored("supervised", MANY), bound()]
    table = all_tables.table_of("comparison", rows)
    assert [place(table, name, "Dice ↑").bold for name in ("CDMA", "CPS", "Supervised")] == [True, True, False]
    assert [place(table, name, "HD95 ↓").bold for name in ("CDMA", "CPS", "Supervised")] == [True, True, False]


CANNOT = "At 10 % labels this comparison cannot tell what unlabelled images are worth, because "


@pytest.mark.parametrize(
    ("levels", "bounds", "why"),
    [
        (MANY, [], CANNOT + "supervised training with all labels (the upper bound) was not run with the same steps"),
        (MANY, [0.0], CANNOT + "supervised training with all labels (the upper bound) is not significantly better"),
        (MANY, [-0.05], CANNOT + "supervised training with all labels (the upper bound) is not significantly better"),
        (LEVELS, [0.05], "The test images are of 4 patients; with fewer than 10 nothing is bold or ranked."),
    ],
)
def test_nothing_is_ranked_where_the_comparison_cannot_tell(levels, bounds, why):
    methods = (("supervised", 0.0), ("cdma", 0.05), ("cps", 0.02))
    rows = [scored(method, shifted(by, 0.001, levels)) for method, by in methods]
    rows += [bound(by, levels) for by in bounds]
    drawn = all_tables.tables(rows)
    assert {"ratios", "comparison", "headroom", "paired"} <= {*drawn}
    for table in drawn.values():
        assert why in notes(table), table.name
        assert not any(cell.bold for line in table.lines for cell in line.cells), table.name
    assert {place(drawn["paired"], method, "against the best: Δ", "10 %").text for method in ("CDMA", "CPS")} == {"–"}
    able = all_tables.table_of(
        "ratios", [scored(method, shifted(by, 0.001, MANY)) for method, by in methods] + [bound()]
    )
    assert "cannot tell" not in notes(able) and place(able, "CDMA", "Dice ↑: 10 %").bold
    assert "Bold:" in notes(able) and "Bold:" not in notes(drawn["ratios"]), "nothing is bold, so nothing explains it"


def test_the_gap_that_a_method_closes_stands_beside_the_headroom():
    rows = [scored("supervised", MANY), scored("cdma", shifted(0.05, 0.001, MANY)), bound()]
    table = all_tables.table_of("headroom", rows)
    assert [line.cells[0].text for line in table.lines] == ["Upper bound (all labels)", "CDMA"]
    assert place(table, "Upper bound (all labels)", "Δ to supervised").mean == pytest.approx(10)
    closed = place(table, "CDMA", "Gap closed (%)")
    assert closed.mean == pytest.approx(50) and closed.low < 50 < closed.high
    assert len(closed.runs) == 3
    far = all_tables.table_of("headroom", rows, Options("hd95"))
    assert place(far, "CDMA", "Gap closed (%)").mean == pytest.approx(50), "of distances, of which less is better"
    alike = all_tables.table_of("headroom", [*rows[:2], bound(0.0)])
    assert place(alike, "CDMA", "Gap closed (%)").text == "–"


def test_claims_are_adjusted_over_every_situation_that_is_published():
    """Two methods at two fractions, of which one difference is certain: its p is four times that of one test."""
    better = {"supervised": 0.0, "cdma": 0.0, "cps": 0.3}
    rows = [
        row(method, ratio=ratio, patients=12, better=by * (ratio < 0.15))
        for ratio in (0.1, 0.2)
        for method, by in better.items()
    ]
    comparison = Comparison(rows)
    claims = family.against_supervised(comparison)
    assert {claim.tests for claim in claims.values()} == {4}
    raw = sorted(claim.difference.p for claim in claims.values())
    assert sorted(claim.p for claim in claims.values()) == pytest.approx(stats.holm(raw))
    strongest = min(claims.values(), key=lambda claim: claim.p)
    assert strongest.p == pytest.approx(min(1, 4 * strongest.difference.p))
    apart = family.together({"one": rows, "two": [of_dataset(one, "glas") for one in rows]})
    both = family.against_supervised(apart["one"])
    assert min(claim.p for claim in both.values()) == pytest.approx(min(1, 8 * strongest.difference.p))
    assert place(all_tables.table_of("paired", apart["one"]), "CPS", "against supervised: p (family)", "10 %").mean == (
        pytest.approx(both[0.1, "CPS"].p)
    )


def test_classes_and_their_mean_are_one_family_of_claims():
    rows = suite(("supervised", "cdma"), ratios=(0.1,), draws=2, patients=12, classes=("background", "gland", "tumour"))
    table = all_tables.table_of("paired", rows)
    blocks = list(dict.fromkeys(line.block for line in table.lines))
    assert blocks == ["mean over classes, 10 %", "gland, 10 %", "tumour, 10 %"]
    assert "over all 3 differences to supervised" in notes(table)
    mean, *classes = (place(table, "CDMA", "against supervised: Δ", block).mean for block in blocks)
    assert mean == pytest.approx(np.mean(classes))


def test_a_negative_claim_needs_a_bound():
    def verdict(wobble: float, by: float = 0.0, **options) -> str:
        rows = [scored("supervised", MANY), scored("cdma", shifted(by, wobble, MANY))]
        return place(
            all_tables.table_of("paired", rows, Options(**options)), "CDMA", "against supervised: Verdict"
        ).text

    assert verdict(0.002) == "equivalent"
    assert verdict(0.05) == "cannot tell"
    assert verdict(0.05, margin=10) == "equivalent"
    assert verdict(0.002, 0.05) == "better"
    assert verdict(0.002, -0.05) == "worse"
    assert verdict(0.001, 0.005) == "better, within the margin"
    assert verdict(0.002, -0.05, metric="hd95") == "worse", "of distances, of which less is better"


def test_nothing_is_bold_where_nothing_can_be_tested():
    one_patient = [scored(name, {"p0": dice}) for name, dice in (("cdma", 0.9), ("cps", 0.8))]
    table = all_tables.table_of("comparison", one_patient)
    assert place(table, "CDMA", "Dice ↑").text == "90.0 [–]"
    assert not any(cell.bold for line in table.lines for cell in line.cells)
    alone = all_tables.table_of("comparison", [scored("cdma", LEVELS)])
    assert not any(cell.bold for line in alone.lines for cell in line.cells)


def test_another_budget_carries_a_dagger_and_is_not_ranked_unless_asked():
    rows = [
        scored("supervised", MANY),
        scored("cps", shifted(0.001, 0.002, MANY)),
        scored("cdma", shifted(0.09, 0, MANY), steps=800),
        bound(),
    ]
    table = all_tables.table_of("comparison", rows)
    assert place(table, "CDMA (steps 800)", "Method").dagger
    assert not place(table, "CDMA (steps 800)", "Dice ↑").bold
    assert place(table, "Supervised", "Dice ↑").bold
    assert "for that reason not ranked" in notes(table)
    asked = all_tables.table_of("comparison", rows, Options(uneven=True))
    assert place(asked, "CDMA (steps 800)", "Dice ↑").bold
    assert not place(asked, "Supervised", "Dice ↑").bold
    assert "unequal budgets ranked together" in notes(asked)
    assert "CDMA (steps 800)†" in to_markdown(asked)


def test_all_labels_are_a_bound_in_a_block_of_their_own():
    table = all_tables.table_of("comparison", suite(("supervised", "cdma"), draws=2))
    assert [(line.block, line.cells[0].text) for line in table.lines][-1] == ("100 %", "Supervised, all labels")
    assert not any(cell.bold for cell in table.lines[-1].cells)


def test_what_was_not_run_is_a_dash():
    rows = [*suite(("supervised", "cdma"), ratios=(0.1, 0.2)), row("cps", ratio=0.2)]
    table = all_tables.table_of("ratios", rows)
    assert place(table, "CPS", "Dice ↑: 10 %") == Cell("–")
    assert place(table, "CPS", "Dice ↑: 20 %").mean > 0
    assert place(table, "CDMA", "Dice ↑: 100 %").text == "–"


def test_runs_that_supervised_has_none_beside_are_named():
    rows = [scored(name, LEVELS, draw=draw, seed=draw) for name in ("supervised", "cdma", "cps") for draw in (0, 1)]
    assert "leave out" not in notes(all_tables.table_of("comparison", rows))
    other = [*rows[:4], *(scored("cps", LEVELS, draw=draw, seed=0) for draw in (0, 1, 2))]
    said = "At 10 % differences to Supervised leave out runs of 1 method that it has no run beside: "
    assert said + "draw 1 with seed 0, draw 2 with seed 0." in notes(all_tables.table_of("comparison", other))
    assert "leave out" not in notes(all_tables.table_of("comparison", other[2:])), (
        "no method is compared with supervised"
    )


def test_a_diverged_run_is_named_and_in_no_mean():
    rows = [scored("cdma", LEVELS), row("cdma", draw=1, status="diverged"), row("cps", status="diverged")]
    table = all_tables.table_of("comparison", rows)
    assert place(table, "CDMA", "Dice ↑").mean == pytest.approx(75)
    assert place(table, "CPS", "Dice ↑").text == "–"
    assert "Diverged, and in no mean: CDMA at 10 %, draw 1, seed 0." in table.notes
    assert "Diverged, and in no mean: CPS at 10 %, draw 0, seed 0." in table.notes


def test_every_class_has_a_column_of_its_own_beside_their_mean():
    rows = suite(("supervised", "cdma"), ratios=(0.1,), draws=1, classes=("background", "gland", "tumour"))
    table = all_tables.table_of("comparison", rows)
    of = np.array(rows[1].scores["dice"])
    assert place(table, "CDMA", "Dice ↑: gland").mean == pytest.approx(100 * of[:, 0].mean())
    assert place(table, "CDMA", "Dice ↑: tumour").mean == pytest.approx(100 * of[:, 1].mean())
    assert place(table, "CDMA", "Dice ↑: mean over classes").mean == pytest.approx(100 * of.mean())
    ratios = all_tables.table_of("ratios", rows)
    assert place(ratios, "CDMA", "Dice ↑: 10 %", "mean over classes").mean == pytest.approx(100 * of.mean())
    assert place(ratios, "CDMA", "Dice ↑: 10 %", "tumour").mean == pytest.approx(100 * of[:, 1].mean())
    far = np.array(rows[1].scores["hd95"])
    further = all_tables.table_of("further", rows)
    assert place(further, "CDMA", "HD95 ↓", "gland, 10 %").mean == pytest.approx(far[:, 0].mean())
    assert place(further, "CDMA", "HD95 ↓", "mean over classes, 10 %").mean == pytest.approx(far.mean())


def test_tasks_have_tables_of_their_own():
    rows = suite(dataset="ebhi-seg", task="benign") + suite(dataset="ebhi-seg", task="malignant")
    titles = [all_tables.table_of("ratios", of).title for of in run_table.comparisons(rows).values()]
    said = "Dice by labelled fraction: ebhi-seg {}, 400 steps"
    assert titles == [said.format("benign"), said.format("malignant")]


def test_costs_stand_beside_supervised():
    rows = [row("supervised"), row("cdma")]
    rows[1].budget.flops = 3 * rows[0].budget.flops
    rows[1].measured = Measured(seconds=61.4, peak_memory=int(2.26e9))
    table = all_tables.table_of("comparison", rows)
    assert [place(table, "CDMA", head).text for head in ("FLOPs ×", "Seconds", "GB")] == ["3.00", "61", "2.3"]
    assert place(table, "Supervised", "FLOPs ×").text == "1.00"
    assert place(all_tables.table_of("comparison", rows[1:]), "CDMA", "FLOPs ×").text == "–"


def test_another_metric_is_printed_in_its_unit():
    table = all_tables.table_of("ratios", [scored("cdma", LEVELS)], Options("assd"))
    assert place(table, "CDMA", "ASSD ↓: 10 %").text.startswith("2.50 [")
    assert "ASSD in pixels." in table.notes
    with pytest.raises(ValueError, match="no metric 'asd'; did you mean 'assd'"):
        Options("asd")


def test_the_step_that_was_best_on_validation_has_a_table_beside_the_score():
    one = row("cdma")
    cell = place(all_tables.table_of("further", [one]), "CDMA", "Dice, best on validation ↑")
    assert cell.mean == pytest.approx(100 * np.mean(one.best.scores["dice"]))


def test_where_nothing_validates_there_is_no_best_on_validation():
    one = row("cdma")
    one.certificate.images["val"], one.validation = 0, {}
    table = all_tables.table_of("further", [one])
    assert not [column.full for column in table.columns if "best on validation" in column.full]
    assert "est on validation" not in notes(table) and "validation no image." in notes(table)


def test_objects_have_a_table_where_they_are_numbered():
    one = row("cdma", objects=True)
    found = place(all_tables.table_of("objects", [one]), "CDMA", "Object Hausdorff ↓")
    assert found.mean == pytest.approx(np.mean(one.scores["object_hausdorff"]))
    assert "Object" not in str(all_tables.table_of("objects", [row("cdma")]).columns)


def test_no_rows_have_no_tables_and_only_diverged_ones_have_dashes():
    assert all_tables.tables([]) == {}
    only = all_tables.tables([row("cdma", status="diverged")])
    assert place(only["comparison"], "CDMA", "Dice ↑").text == "–"


def test_runs_with_other_test_images_are_refused():
    rows = [row("cdma"), row("cps")]
    rows[1].scores["name"][3] = "another"
    with pytest.raises(ValueError, match="different test images"):
        all_tables.table_of("comparison", rows)


# ----------------------------------------------------------------------------------------------------------------------
# Claims


def test_a_paired_difference_comes_with_its_adjusted_p_and_the_risk_of_its_claim():
    a, b = shifted(0.03, 0.02, MANY), shifted(-0.01, 0.004, MANY)
    rows = [scored("supervised", MANY), scored("cdma", a), scored("cps", b), bound()]
    table = all_tables.table_of("paired", rows)
    same = (list(MANY), [0] * 10, [0] * 10)
    a, b, base = (np.array(list(of.values())) for of in (a, b, MANY))
    found = stats.paired_difference(a, base, *same)
    cell = place(table, "CDMA", "against supervised: Δ")
    assert (cell.mean, cell.low, cell.high) == pytest.approx((3.0, 100 * found.low, 100 * found.high))
    assert cell.text == f"+3.0 [{100 * found.low:.1f}, {100 * found.high:.1f}]".replace("-", "−")
    adjusted = stats.holm([found.p, stats.paired_difference(b, base, *same).p])
    assert place(table, "CDMA", "against supervised: p (family)").mean == pytest.approx(adjusted[0])
    assert place(table, "CPS", "against supervised: p (family)").mean == pytest.approx(adjusted[1])
    risk = place(table, "CPS", "against supervised: P(false claim)").mean
    assert risk == pytest.approx(stats.false_claim(stats.paired_difference(b, base, *same)))
    assert risk > 0.5, "it scores lower"
    worse = stats.worse_than_best([stats.paired_difference(one, a, *same) for one in (base, a, b)])
    assert place(table, "CPS", "against the best: p (range)").mean == pytest.approx(worse[2])
    assert place(table, "CDMA", "against the best: Δ").text == "–"


def test_a_difference_is_the_same_whoever_asks_and_whoever_else_is_asked_for():
    rows = suite(("supervised", "mean_teacher", "cps", "cct", "cdma"), (0.1,), draws=3, bounds=False)
    labels = list(Comparison(rows).labels)
    every = Comparison(rows).differences(labels, "Supervised", 0.1, "dice")
    assert Comparison(rows).differences(["CDMA"], "Supervised", 0.1, "dice")["CDMA"] == every["CDMA"]
    assert Comparison(rows).difference("CDMA", "Supervised", 0.1) == pytest.approx(every["CDMA"]), "in figures"
    a, b = (np.concatenate([r.scores["dice"] for r in rows if r.run.method == m]) for m in ("cdma", "supervised"))
    runs = [r for r in rows if r.run.method == "cdma"]
    patients = np.concatenate([r.scores["patient"] for r in runs])
    draws = np.repeat([r.run.draw for r in runs], len(patients) // 3)
    alone = stats.paired_difference(a.ravel(), b.ravel(), patients, draws, 0 * draws)
    assert every["CDMA"].mean == pytest.approx(alone.mean)
    assert every["CDMA"].high != pytest.approx(alone.high), "methods tell each other how much runs vary"


def in_several_draws(*names: str) -> list[dict]:
    """Rows of three draws, by which methods differ as much as by anything else."""
    better = np.random.default_rng(0).normal(0, 0.3, (len(names), 3))
    return [row(name, draw=draw, better=better[i, draw]) for i, name in enumerate(names) for draw in range(3)]


def test_a_single_run_is_told_how_much_draws_vary_by_methods_that_have_several():
    several, alone = in_several_draws("supervised", "mean_teacher", "cps", "cct"), row("cdma", better=0.5)
    comparison = Comparison([*several, alone])
    labels = [label for label in comparison.labels if label != "Supervised"]
    found = comparison.differences(labels, "Supervised", 0.1, "dice")
    one_draw = [r for r in several if r.run.draw == 0]
    unaware = Comparison([*one_draw, alone]).differences(["CDMA"], "Supervised", 0.1, "dice")["CDMA"]
    assert found["CDMA"].mean == pytest.approx(unaware.mean)
    assert found["CDMA"].p > unaware.p, "what a draw may change is in its error"
    widths = {label: difference.high - difference.low for label, difference in found.items()}
    assert widths["CDMA"] > np.median([width for label, width in widths.items() if label != "CDMA"])
    expected = Comparison(several).differences(labels[:-1], "Supervised", 0.1, "dice")
    assert {label: found[label] for label in expected} == expected, "and it tells the others nothing"


def test_differences_to_a_single_run_are_told_by_those_to_the_method_with_most():
    several, alone = in_several_draws("supervised", "mean_teacher", "cps", "cct"), row("cdma", better=0.5)
    found = Comparison([*several, alone]).differences(["CPS", "CDMA"], "CDMA", 0.1, "dice")
    unaware = Comparison([r for r in [*several, alone] if r.run.draw == 0]).differences(["CPS"], "CDMA", 0.1, "dice")
    assert found["CPS"].mean == pytest.approx(unaware["CPS"].mean)
    assert found["CPS"].high - found["CPS"].low > 1.5 * (unaware["CPS"].high - unaware["CPS"].low)
    assert found["CDMA"] == (0, 0, 0, 1), "nothing from itself"


def test_a_variant_is_told_by_methods_where_compared_with_one_and_by_its_own_kind_where_with_its_method():
    several = in_several_draws("supervised", "mean_teacher", "cps", "cct", "cdma")
    variant = row("cdma", variant="no_um", better=0.2)
    comparison, name = Comparison([*several, variant]), "CDMA (no_um)"
    own = [r for r in several if r.run.method in ("supervised", "cdma")]

    def width(comparison: Comparison, other: str) -> float:
        found = comparison.differences([name], other, 0.1, "dice")[name]
        return found.high - found.low

    alone = Comparison([*own, variant])
    assert width(comparison, "CDMA") == pytest.approx(width(alone, "CDMA"))
    assert width(comparison, "Supervised") > width(alone, "Supervised")
    published = Comparison(several).differences(["CPS"], "Supervised", 0.1, "dice")
    assert comparison.differences([name, "CPS"], "Supervised", 0.1, "dice")["CPS"] == published["CPS"]


def test_only_runs_of_the_same_draw_and_seed_are_paired():
    rows = [scored("supervised", LEVELS, draw=0), scored("supervised", shifted(0.1), draw=1)]
    rows += [scored("cdma", shifted(0.02, 0.01), draw=0), scored("cdma", shifted(0.05), draw=7)]
    table = all_tables.table_of("paired", rows)
    assert place(table, "CDMA", "against supervised: Δ").mean == pytest.approx(2.0)
    assert place(table, "CDMA", "Pairs").text == "1"


def test_labels_saved_are_where_supervised_reaches_the_method():
    curve = {0.05: 0.0, 0.1: 0.02, 0.2: 0.04, 1.0: 0.08}
    rows = [scored("supervised", shifted(gain, 0.001 * k), ratio=r) for k, (r, gain) in enumerate(curve.items())]
    rows += [scored("cdma", shifted(0.04, 0.002), ratio=0.1), scored("cps", shifted(-0.2), ratio=0.1)]
    table = all_tables.table_of("labels_saved", rows)
    assert place(table, "CDMA", "Labels that supervised needs (%): 10 %").mean == pytest.approx(20)
    assert place(table, "CPS", "Labels that supervised needs (%): 10 %").text.startswith("<5 [")
    assert all_tables.table_of("labels_saved", rows[-2:]) is None


def test_at_equal_cost_a_dear_method_is_read_where_it_had_spent_as_much():
    rows = [row("supervised"), row("cdma")]
    for one, flops in zip(rows, (1e12, 4e12), strict=True):
        one.budget.flops = flops
        one.measured.seconds = 10.0
        one.validation = {"step": [100, 200, 400], "dice": [0.5, 0.6, 0.7 + flops / 1e14]}
    table = all_tables.table_of("equal_cost", rows)
    head = "Validation Dice ↑ after: "
    assert place(table, "CDMA", head + "400 steps").text == "74.0"
    assert place(table, "CDMA", head + "1 TFLOPs").text == "50.0", "a quarter of its steps"
    assert place(table, "Supervised", head + "1 TFLOPs").text == "71.0"
    for one in rows:
        one.classes = ["background", "gland", "tumour"]
    assert all_tables.table_of("equal_cost", rows).title.startswith("Validation Dice, mean over classes at equal cost")
    assert place(table, "CDMA", head + "10 s").text == "74.0"


# ----------------------------------------------------------------------------------------------------------------------
# Patients, strata, ablations


def test_patients_have_the_worst_the_usual_and_the_best_and_who_is_better_than_supervised():
    rows = [scored("supervised", LEVELS), scored("cdma", {"p0": 0.95, "p1": 0.5, "p2": 0.8, "p3": 0.61})]
    table = all_tables.table_of("patients", rows)
    assert place(table, "CDMA", "Worst is").text == "p1"
    assert [place(table, "CDMA", head).text for head in ("Worst", "Median", "Best")] == ["50.0", "70.5", "95.0"]
    assert place(table, "CDMA", "Better than supervised").text == "3 of 4"
    far = all_tables.table_of("patients", rows, Options("hd95"))
    assert [place(far, "CDMA", head).text for head in ("Worst is", "Worst", "Best")] == ["p1", "50.0", "5.0"]


def test_a_patient_of_whom_nothing_is_to_be_found_is_lost_by_a_false_alarm():
    dice = {"supervised": [np.nan, 0.8, np.nan, 0.6], "cdma": [0.9, np.nan, np.nan, 0.6]}
    rows = [scored(method, dict(zip(LEVELS, values, strict=True))) for method, values in dice.items()]
    won = place(all_tables.table_of("patients", rows), "CDMA", "Better than supervised").text
    assert won == "1 of 3", "p1, as nothing was found; p0 is lost, p3 is equal, and p2 has no score of either"


def test_a_patient_is_the_mean_of_its_images_and_the_hardest_comes_first():
    one = row("cdma", images=4, patients=2)
    one.scores["dice"] = [[0.9], [0.2], [0.7], [None]]
    table = all_tables.table_of("per_patient", [one])
    assert [[cell.text for cell in line.cells] for line in table.lines] == [["p1", "2", "20.0"], ["p0", "2", "80.0"]]


def test_a_page_has_room_for_seven_methods_and_says_which_they_are():
    names = ("supervised", "cdma", "cps", "bcp", "cct", "ict", "urpc", "dtc", "augseg")
    rows = [row(name, better=0.1 * k, patients=12) for k, name in enumerate(names)]
    rows[0] = row("supervised", better=-1.0, patients=12)
    plain = all_tables.table_of("per_patient", rows)
    assert "Of 9 methods the 7 that come first in other tables, supervised among them." in plain.notes
    rows.append(row("supervised", ratio=1.0, patients=12))
    table = all_tables.table_of("per_patient", rows)
    heads = {column.name for column in table.columns[2:]}
    assert len(heads) == 7
    assert "Supervised" in heads
    assert "Of 9 methods the 7 with the best mean, supervised among them." in table.notes


def test_strata_are_scored_apart():
    one = row("cdma")
    dice, strata = np.ravel(one.scores["dice"]), np.array(one.scores["stratum"])
    table = all_tables.table_of("strata", [one])
    cell = place(table, "CDMA", "Dice ↑ by stratum (images): malignant (12)")
    assert cell.mean == pytest.approx(100 * dice[strata == "malignant"].mean())
    one.scores["stratum"] = [""] * 24
    assert all_tables.table_of("strata", [one]) is None


def test_an_ablation_stands_beside_the_whole_method_and_supervised():
    rows = [scored("supervised", LEVELS), scored("cdma", shifted(0.03, 0.01)), scored("mean_teacher", LEVELS)]
    rows += [scored("cdma", shifted(0.01, 0.01), variant="no_um"), scored("cdma", LEVELS, settings={"temperature": 5})]
    found = all_tables.tables(rows)
    table = found["ablation_cdma"]
    lines = [line.cells[0].text for line in table.lines]
    assert lines == ["Supervised", "CDMA", "CDMA (no_um)", "CDMA (temperature=5)"]
    assert place(table, "CDMA (no_um)", "against the whole method: Δ").mean == pytest.approx(-2)
    assert place(table, "CDMA (no_um)", "against supervised: Δ").mean == pytest.approx(1)
    assert [line.cells[0].text for line in found["comparison"].lines] == ["Supervised", "Mean Teacher", "CDMA"]
    assert "ablation_mean_teacher" not in found


def test_a_method_stands_beside_itself_on_labels_alone_and_beside_strong_views():
    rows = [scored("supervised", LEVELS), scored("cdma", shifted(0.03, 0.01)), scored("cps", shifted(0.02, 0.01))]
    rows.append(scored("cdma", shifted(0.02, 0.005), variant="labels_only"))
    rows += [scored(method, LEVELS, ratio=0.2) for method in ("supervised", "cdma")]
    table = all_tables.table_of("controls", rows)
    assert [(line.block, line.cells[0].text) for line in table.lines] == [("10 %", "CDMA")]
    gained = [place(table, "CDMA", f"labels only: {head}") for head in ("− supervised", "method − it")]
    assert [cell.mean for cell in gained] == pytest.approx([2, 1])
    assert [len(cell.runs) for cell in gained] == [2, 2] and gained[1].low < 1 < gained[1].high
    assert 0 < place(table, "CDMA", "labels only: p (family)").mean < 1
    assert place(table, "CDMA", "supervised, strong views: method − it").text == "–"
    assert all_tables.table_of("controls", rows[:3]) is None


# ----------------------------------------------------------------------------------------------------------------------
# What a table rests on


def test_the_certificate_of_the_split_stands_under_every_table():
    for table in all_tables.tables(suite(objects=True)).values():
        said = notes(table)
        assert "test 24 images of 8 patients (list 000000)" in said, table.name
        assert "At 10 %: labelled 10 images of 3 patients (" in said
        assert "; 90 unlabelled; validation " in said
        assert "Audit: no patient, slide, duplicate or near-duplicate is shared between parts." in table.notes
        assert "400 steps of 4 labelled and 4 unlabelled crops of 128 pixels" in said


def test_parts_that_change_with_the_draw_are_told_by_labelled_share():
    rows = [row("cdma", draw=draw) for draw in (0, 1)]
    for one, patients, list_ in zip(rows, (3, 4), ("aaaaaaaa", "bbbbbbbb"), strict=True):
        one.certificate.patients["val"], one.certificate.lists["val"] = patients, list_
    assert "validation 10 images of 3 to 4 patients (lists aaaaaa, bbbbbb)." in notes(
        all_tables.table_of("comparison", rows)
    )


def test_what_the_audit_found_and_a_leak_are_said():
    one = row("cdma")
    one.certificate.audit["train-test"] |= {"patients": 11, "near": 3}
    one.certificate.leak = "11 of 12 test patients also train"
    table = all_tables.table_of("comparison", [one])
    assert "Audit: train and test share 11 patients, 3 near-duplicate images." in table.notes
    assert "This split leaks: 11 of 12 test patients also train." in table.notes


def test_settings_are_called_published_only_where_all_are():
    from benchmark.report.tables.notes import settings as said

    long = said([row("supervised", steps=100_000).run, row("mean_teacher", steps=100_000).run])
    assert long == "Settings: published defaults, none tuned."
    short = said([row("supervised").run, row("mean_teacher").run, row("cps").run])
    assert short.startswith("Settings: defaults of this suite, none tuned. Not as published")
    assert "cps weight, ramp; mean_teacher decay." in short
    assert "cps weight, ramp." in said([row("cps", steps=100_000).run])


def test_protocol_processors_and_commits_stand_under_every_table():
    rows = suite(draws=1)
    rows[1].machine = structs.replace(rows[1].machine, device="Another CPU", threads=2, commit="fedcba987654")
    found = all_tables.tables(rows)["comparison"].notes
    devices = "Another CPU (2 threads) and CPU (1 thread)"
    assert f"Protocol 2; trained on {devices}, at commit 0123456789ab, fedcba987654." in found


def test_few_test_patients_are_warned_of_under_every_table():
    for patients, warned in ((2, True), (10, False)):
        for table in all_tables.tables(suite(patients=patients, objects=True)).values():
            assert ("only 2 patients. A difference is significant only if" in notes(table)) is warned, table.name


def test_supervised_is_a_bound_only_where_the_others_have_less_labels():
    bound = "Supervised at 100 % shows what all labels are worth at this budget."
    assert bound in all_tables.table_of("ratios", suite()).notes
    assert bound not in all_tables.table_of("ratios", suite(ratios=(1.0,))).notes


def test_bounds_that_cannot_be_are_not_printed():
    """Two patients: a lead of 10 points on one and none on the other has an interval of far over a hundred."""
    rows = [scored("supervised", {"p0": 0.5, "p1": 0.5}), scored("cdma", {"p0": 0.6, "p1": 0.5})]
    assert place(all_tables.table_of("paired", rows), "CDMA", "against supervised: Δ").text == "+5.0 [−58.5, 68.5]"
    rows = [scored("supervised", {"p0": 0.5, "p1": 0.5}), scored("cdma", {"p0": 0.9, "p1": 0.5})]
    assert place(all_tables.table_of("paired", rows), "CDMA", "against supervised: Δ").text == "+20.0 [−100.0, 100.0]"
    assert place(all_tables.table_of("comparison", rows), "CDMA", "HD95 ↓").text == "30.0 [0.0, ∞]"


def test_runs_that_collapsed_are_named():
    rows = [row("supervised"), *(row("cdma", draw=draw) for draw in range(2))]
    assert "Collapsed" not in notes(all_tables.table_of("comparison", rows))
    images = len(rows[1].scores["name"])
    rows[1].scores["background_dice"] = [0.01] * images
    rows[0].scores["predicted"] = [[k < 10] for k in range(images)]
    said = notes(all_tables.table_of("paired", rows))
    assert "Supervised at 10 % (1 of 1 run: nothing found), CDMA at 10 % (1 of 2 runs: everything foreground)" in said


def test_empty_masks_are_counted():
    rows = [row("cdma", empty=(0, 1, 2)), row("supervised", empty=(0, 1, 2))]
    said = notes(all_tables.table_of("comparison", rows))
    assert "22 of 24 images are scored in a run" in said
    assert "A missed object (0 in all runs) or a false alarm (2) has Dice 0" in said


def test_a_single_run_is_said_to_be_one():
    warning = "Cells of a single run: the interval is for new patients, not for new draws and seeds."
    assert warning in notes(all_tables.table_of("comparison", [row("cdma")]))
    assert warning not in notes(all_tables.table_of("comparison", [row("cdma"), row("cdma", draw=1)]))


# ----------------------------------------------------------------------------------------------------------------------
# CSV, Markdown, LaTeX


NASTY = Table(
    "nasty", "50 % of \\all_ & {these} #1: ~ ^ $x$ < µ → ü 中",
    (Column("A|B", "text"), Column("Dice ↑", "ranked", "x_1 & y"), Column("Δ", "number", "x_1 & y")),
    (Line((Cell("a_b & c%"), Cell("−1.5 [−2.0, –]", -1.5, -2.0, bold=True), Cell("<0.001", 0.0004)), "5 %"),
     Line((Cell("[x]", dagger=True), Cell(), Cell()), "5 %")),
    ("Costs 5 $ & more_than #2 [sic].",), {"table": "nasty"}, "Labelled",
)  # fmt: skip


def test_a_csv_file_has_one_value_in_a_line_and_is_read_by_pandas_as_numbers():
    read = pd.read_csv(io.StringIO(to_csv(NASTY)), comment="#")
    assert list(read.columns) == ["labelled", "a|b", *TIDY]
    assert len(read) == 4, "two lines with two values each"
    scored = read[read.quantity == "x_1 & y: Dice ↑"]
    assert scored.value.tolist()[0] == -1.5 and scored.low.tolist()[0] == -2.0
    assert scored.value.isna().tolist() == [False, True]
    assert scored.tied_with_best.tolist()[0] is True
    assert read["a|b"].tolist() == ["a_b & c%", "a_b & c%", "[x]†", "[x]†"]


def test_a_csv_file_names_units_and_has_no_json_in_a_cell():
    rows = suite(("supervised", "cdma"), ratios=(0.1,), draws=2, patients=12)
    read = pd.read_csv(io.StringIO(to_csv(all_tables.table_of("comparison", rows))), comment="#")
    units = dict(zip(read.quantity, read.unit, strict=True))
    assert units["Dice ↑"] == "points of 100" and units["HD95 ↓"] == "pixels"
    assert not read.astype(str).apply(lambda column: column.str.contains("{", regex=False)).any(axis=None)


def test_a_markdown_table_has_as_many_cells_in_every_line():
    lines = [line for line in to_markdown(NASTY).splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {5}
    assert "| 5 % | a_b & c% | **−1.5** [−2.0, –] | &lt;0.001 |" in lines


def test_signs_that_mean_something_to_latex_are_escaped():
    assert latex("50 % & a_b #1 {x} ~^\\") == (
        "50 \\% \\& a\\_b \\#1 \\{x\\} \\textasciitilde{}\\textasciicircum{}\\textbackslash{}"
    )
    assert latex("−1 ± 2 × [3] ↑") == "$-$1 $\\pm$ 2 $\\times$ {[}3{]} $\\uparrow$"
    assert latex("中 ü") == "U+4E2D ü"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_with_nothing_but_booktabs_and_no_line_is_too_wide(tmp_path):
    many = suite(
        ("supervised", "cdma", "cps", "mean_teacher"), ratios=(0.05, 0.1, 0.2, 0.5), objects=True, empty=(1, 2)
    )
    many += [row("cdma", variant="no_um", objects=True), row("cps", steps=800, objects=True)]
    body = "".join(map(to_latex, [NASTY, *all_tables.tables(many).values()]))
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (tmp_path / "paper.tex").write_text(head + body + "\\end{document}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout
    assert "Missing character" not in (tmp_path / "paper.log").read_text(errors="replace")


def test_a_long_table_goes_on_in_another_float_and_blocks_stay_whole():
    lines = tuple(Line((Cell(f"m{k}"), Cell(str(k), k)), f"{k // 20} %") for k in range(100))
    text = to_latex(Table("long", "Long", (Column("Method", "text"), Column("x")), lines, ("Note.",), {}, "Labelled"))
    floats = text.split("\\begin{table}")[1:]
    assert [part.count("\nm") for part in floats] == [20] * 5
    assert ["(continued)" in part for part in floats] == [False] + [True] * 4
    assert ["textit{2 \\%}" in part for part in floats] == [False, False, True, False, False]
    assert [part.count("Note.") for part in floats] == [1, 0, 0, 0, 0]
    assert text.count("\\label{tab:long}") == 1


def test_labels_are_unique_across_comparisons_and_methods_and_datasets_are_cited():
    rows = [
        row(name, dataset=of, draw=draw)
        for name in ("supervised", "cdma")
        for of in ("phantom", "glas")
        for draw in (0, 1)
    ]
    together = family.together(run_table.comparisons(rows))
    texts = [to_latex(all_tables.table_of(name, one)) for one in together.values() for name in ("comparison", "ratios")]
    labels = [label for text in texts for label in re.findall(r"\\label{([^}]*)}", text)]
    assert len(labels) == len(set(labels)) and "tab:glas-ratios" in labels
    cited = {key for text in texts for key in re.findall(r"\\cite{([^}]*)}", text)}
    known = set(re.findall(r"@\w+{([^,]+),", bibliography.bibtex({"supervised", "cdma"}, {"phantom", "glas"})))
    assert cited == known == {"supervised", "cdma", "glas"}


def test_every_method_with_a_publication_has_an_entry_with_names_of_people():
    for name, publication in bibliography.of_methods().items():
        assert re.fullmatch(r"[A-ZÀ-Ž][^.]*", publication.authors), name
        assert publication.year >= 2015 and publication.title and publication.venue, name
    assert set(bibliography.of_methods()) == set(methods.names())


def test_the_order_of_rows_and_whether_they_are_lists_or_arrays_changes_nothing(tmp_path):

    rows = suite(empty=(1, 2), objects=True)
    for one in rows:
        run_records.save(one, tmp_path)
    drawn = {name: rendered(table) for name, table in all_tables.tables(rows).items()}
    assert {name: rendered(table) for name, table in all_tables.tables(rows[::-1]).items()} == drawn
    assert {name: rendered(table) for name, table in all_tables.tables(run_table.load(tmp_path)).items()} == drawn


def test_where_images_have_nothing_to_find_a_table_says_who_finds_what():
    one = row("cdma", images=8, empty=(0, 1, 2, 3))
    one.scores["predicted"][7] = [False]
    one.scores["dice"][7] = [0.0]
    table = all_tables.table_of("further", [one])
    assert place(table, "CDMA", "False alarms ↓").text.startswith("25.0 ["), "the first of four"
    assert place(table, "CDMA", "Missed ↓").text.startswith("25.0 ["), "the last of four"
    hits = np.mean([one.scores["hd95"][i][0] for i in (4, 5, 6)])
    assert place(table, "CDMA", "HD95 of hits ↓").mean == pytest.approx(hits)
    assert not any("hits" in column.name for column in all_tables.table_of("further", [row("cdma")]).columns)
