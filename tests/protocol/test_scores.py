"""One declaration is enough: every score of the catalogue reaches records, tables, commands and docs."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rows import row, suite
from test_evaluate import Shelf

from benchmark.analysis import run_table, standing
from benchmark.analysis.comparison import Comparison, Options
from benchmark.cli import main, options
from benchmark.protocol import metrics, scores
from benchmark.protocol.class_mean import class_mean
from benchmark.protocol.scores import COMPUTED, FINDING, MEAN, SCORES
from benchmark.protocol.scoring import Predicted, scores_of
from benchmark.report.tables import all_tables
from methods.base import IGNORE

DOCS = Path(__file__).parents[2] / "docs" / "definitions.md"
CLASSES = ("background", "gland", "tumour")


def of_an_image(label: np.ndarray, prediction: np.ndarray, classes: int = 3, objects=None) -> dict:
    valid = label != IGNORE
    bins = metrics.calibration_bins((prediction[valid] > 0).astype(float), label[valid] > 0)
    return scores_of(Predicted(label, prediction, classes, objects, []), bins)


@pytest.mark.parametrize("score", COMPUTED, ids=lambda score: score.name)
def test_every_score_is_in_the_record_of_a_scored_image(score):
    shelf = Shelf(instances=True)
    found = of_an_image(shelf.label(0), np.roll(shelf.label(0), 1, 0), 2, shelf.mask(0))
    value = found[score.name]
    assert isinstance(value, list) == score.per_class
    (number,) = value if score.per_class else [value]
    assert number == score.rounded(number), "it is stored with as many digits as it has"
    assert 0 <= number <= score.most


@pytest.mark.parametrize("classes", [("background", "gland"), CLASSES])
@pytest.mark.parametrize("score", [*COMPUTED, *FINDING], ids=lambda score: score.name)
def test_every_score_is_in_a_table_under_its_title(score, classes):
    rows = suite(draws=1, ratios=(0.1,), bounds=False, objects=True, classes=classes, empty=(0, 1))
    heads = [head for table in all_tables.tables(rows).values() for column in table.columns for head in (column.full,)]
    assert any(head.startswith(score.head) for head in heads)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_offered_and_accepted_as_a_metric(name):
    rows = suite(("supervised", "cdma"), draws=1, ratios=(0.1,), bounds=False, objects=True)
    assert name in [item.value for item in options.METRIC.shell_complete(None, None, "")]
    table = all_tables.table_of("paired", rows, Options(name))
    assert table is not None and SCORES[scores.for_classes(name, 1)].title in table.title


def test_an_unknown_metric_is_refused_with_the_nearest_name(tmp_path):
    answer = CliRunner().invoke(main, ["report", "--metric", "dise", "--results", str(tmp_path)])
    assert answer.exit_code == 1 and "did you mean 'dice'" in answer.output


def test_the_table_of_the_docs_is_that_of_the_catalogue():
    assert scores.definitions() in DOCS.read_text(encoding="utf-8"), (
        f"replace the table of scores in {DOCS.name} by\n\n{scores.definitions()}"
    )


def test_a_new_score_is_named_nowhere_else():
    """NSD came as one declaration; what names it beside the catalogue would have to be changed for the next score."""
    sources = [path for path in (DOCS.parents[1] / "benchmark").rglob("*.py") if path.name != "scores.py"]
    assert len(sources) > 50
    assert [path.name for path in sources if re.search(r"[\"']nsd[\"']", path.read_text(encoding="utf-8"))] == []


def test_a_record_without_a_score_has_a_dash_and_the_others_keep_theirs():
    rows = suite(("supervised", "mean_teacher", "cdma"), draws=2, ratios=(0.1,), bounds=False)
    old = next(one for one in rows if one.run.method == "cdma")
    del old.scores["boundary_f1"]
    assert np.isnan(run_table.scores(old, "boundary_f1")).all()
    table = all_tables.table_of("further", rows)
    cells = {line.cells[0].text: line.cells[1].text for line in table.lines}
    assert cells["CDMA"] == "–", "one of its two runs lacks the score, and a mean over the other is not that of two"
    assert cells["Supervised"] != "–" and cells["Mean Teacher"] != "–"
    differences = all_tables.table_of("paired", rows, Options("boundary_f1"))
    assert next(line for line in differences.lines if line.cells[0].text == "CDMA").cells[1].text == "–"


def test_no_record_with_a_score_no_column():
    rows = suite(("supervised", "cdma"), draws=1, ratios=(0.1,), bounds=False)
    for one in rows:
        del one.scores["boundary_f1"]
    table = all_tables.table_of("further", rows)
    assert table is None or SCORES["boundary_f1"].head not in [column.name for column in table.columns]


# ----------------------------------------------------------------------------------------------------------------------
# Ignored pixels

labels = arrays(np.uint8, (8, 9), elements=st.integers(0, 2))


def test_ignored_pixels_by_hand():
    label = np.array([[1, 1, 0, IGNORE, IGNORE]] * 4, np.uint8)
    prediction = np.array([[1, 0, 0, 1, 2]] * 4, np.uint8)
    found = of_an_image(label, prediction)
    assert found["present"] == [True, False] and found["predicted"] == [True, False]
    assert found["dice"] == [round(2 * 4 / (8 + 4), 4), None], "the pixels called 1 and 2 there are no false alarms"
    assert found["background_dice"] == round(2 * 4 / (4 + 8), 4)
    missed = of_an_image(label, np.where(label == IGNORE, prediction, 0).astype(np.uint8))
    assert missed["hd95"] == [5.0, None], "the diagonal of the 4 × 3 pixels that are not ignored"


@settings(max_examples=40, deadline=None)
@given(labels, labels, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_an_ignored_band_changes_no_score_whatever_is_predicted_there(label, prediction, above, left, predicted):
    around = ((above, 2), (left, 1))
    objects = metrics.components(label)
    framed = np.pad(label, around, constant_values=IGNORE), np.pad(prediction, around, constant_values=predicted)
    plain = of_an_image(label, prediction, objects=objects)
    assert of_an_image(*framed, objects=np.pad(objects, around, constant_values=7)) == plain


# ----------------------------------------------------------------------------------------------------------------------
# Several classes


def test_the_mean_over_classes_of_an_image_is_over_those_that_have_a_score_there():
    one = row("cdma", classes=("background", "a", "b"), images=3, patients=3)
    one.scores["dice"] = [[0.4, 0.8], [0.6, None], [None, None]]
    means = run_table.scores(one, "mean_dice")
    assert means[:2, 0] == pytest.approx([0.6, 0.6]) and np.isnan(means[2, 0]) and means.shape == (3, 1)


def test_the_mean_over_classes_of_a_run_is_the_mean_of_the_classes_however_rare_one_is():
    one = row("cdma", classes=("background", "a", "b"), images=4, patients=4)
    one.scores["dice"] = [[0.9, None], [0.8, None], [0.7, None], [None, 0.2]]
    assert SCORES["mean_dice"].of_run(one.scores) == pytest.approx((0.8 + 0.2) / 2)
    table = all_tables.table_of("comparison", [one])
    means = {column.name: cell.mean for column, cell in zip(table.columns[1:4], table.lines[0].cells[1:4], strict=True)}
    assert means == pytest.approx({MEAN: 50, "a": 80, "b": 20})


def test_an_image_that_scores_as_its_class_does_adds_nothing_to_the_variance():
    """Pooled, patients of the rare class would look like outliers."""
    alike = np.array([[0.9, np.nan]] * 8 + [[np.nan, 0.2]] * 2)
    assert class_mean(alike) == pytest.approx(0.55)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (7, 3), elements=st.one_of(st.just(np.nan), st.floats(0, 1))))
def test_linearised_values_have_the_mean_of_the_classes_and_are_the_scores_of_one_class(values):
    found, scored = class_mean(values), ~np.isnan(values)
    assert (np.isnan(found) == ~scored.any(1)).all()
    if scored.any():
        means = [values[scored[:, c], c].mean() for c in range(3) if scored[:, c].any()]
        assert np.nanmean(found) == pytest.approx(np.mean(means))
    assert class_mean(values[:, :1]) == pytest.approx(values[:, 0], nan_ok=True)


def test_objects_are_found_in_every_class_of_its_own():
    label, objects = np.zeros((2, 20, 30), np.uint8)
    label[2:8, 2:8], label[2:8, 8:14], label[12:18, 2:8] = 1, 2, 2  # two objects of class 2, one of them beside class 1
    objects[2:8, 2:8], objects[2:8, 8:14], objects[12:18, 2:8] = 1, 2, 3
    prediction = label.copy()
    prediction[12:18, 2:8] = 0  # one object of class 2 is missed
    found = of_an_image(label, prediction, objects=objects)
    assert found["object_f1"] == [1.0, round(2 / 3, 4)], "class 1: one of one; class 2: 2 · 1 / (2 + 1)"
    swapped = of_an_image(label, np.where(label > 0, 3 - label, 0).astype(np.uint8), objects=objects)
    assert swapped["object_f1"] == [0.0, 0.0], "the right objects with the wrong classes"


def test_a_comparison_never_averages_classes_without_a_name():
    comparison = Comparison(suite(draws=1, ratios=(0.1,), bounds=False, classes=CLASSES))
    with pytest.raises(ValueError, match="mean_NAME"):
        comparison.values("CDMA", 0.1, "dice")
    means = np.mean([comparison.values("CDMA", 0.1, "dice", c) for c in (0, 1)], axis=0)
    assert comparison.values("CDMA", 0.1, "mean_dice") == pytest.approx(means)
    assert comparison.samples("CDMA", 0.1, "mean_dice") == pytest.approx(means), "where every image has both classes"


def test_the_main_table_has_a_column_for_each_class_beside_the_named_mean():
    table = all_tables.table_of("comparison", suite(draws=1, ratios=(0.1,), bounds=False, classes=CLASSES))
    heads = [column.full for column in table.columns]
    assert heads[1:4] == [f"Dice ↑: {MEAN}", "Dice ↑: gland", "Dice ↑: tumour"]
    assert f"Jaccard ↑: {MEAN}" in heads
    ratios = all_tables.table_of("ratios", suite(classes=CLASSES))
    assert list(dict.fromkeys(line.block for line in ratios.lines)) == [MEAN, "gland", "tumour"]
    assert ratios.blocks == "Class"


def test_the_columns_of_a_score_are_one_family():
    """What is barely worse than the best in one column stays bold, as three columns are tested."""
    few = suite(("supervised", "cdma"), draws=1, ratios=(0.1,), bounds=False, classes=("background", "gland"))
    comparison = Comparison(few)
    p = comparison.differences(["Supervised"], "CDMA", 0.1, "dice")["Supervised"].p
    assert np.isfinite(p)
    several = Comparison(suite(("supervised", "cdma"), draws=1, ratios=(0.1,), bounds=False, classes=CLASSES))
    assert standing.columns(several, "dice") == standing.columns(several, "mean_hd95") == 3
    assert standing.columns(several, "ece") == standing.columns(comparison, "dice") == 1
