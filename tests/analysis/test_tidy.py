"""The tidy table of run records: one line for each run, image, class and score, in the units of tables."""

import numpy as np
from rows import suite

from benchmark.analysis.tidy import COLUMNS, tidy

CLASSES = ("background", "benign gland", "malignant gland")


def test_every_image_class_and_score_has_one_line():
    table = tidy(suite(("supervised", "cdma"), draws=2, ratios=(0.1,), bounds=False, classes=CLASSES))
    assert list(table.columns) == list(COLUMNS)
    dice = table[table.score == "dice"]
    assert not dice.duplicated(["key", "image", "class"]).any()
    assert len(dice) == dice.key.nunique() * dice.image.nunique() * (len(CLASSES) - 1)
    assert set(dice["class"]) == set(CLASSES[1:])


def test_values_are_those_of_the_record_in_printed_units():
    records = suite(("supervised",), draws=1, ratios=(0.1,), bounds=False, classes=("background", "gland"))
    table = tidy(records)
    for score, scale in (("dice", 100), ("hd95", 1)):
        stored = np.asarray(records[0].scores[score], dtype=float).ravel()
        np.testing.assert_allclose(table[table.score == score].value, scale * stored)
    assert set(table[table.score == "dice"].unit) == {"points of 100"}
    assert set(table[table.score == "hd95"].unit) == {"pixels"}


def test_scores_of_the_whole_image_have_no_class_and_means_over_classes_are_left_out():
    table = tidy(suite(("supervised",), draws=1, ratios=(0.1,), bounds=False, classes=CLASSES))
    assert set(table[table.score == "background_dice"]["class"]) == {""}
    assert not [name for name in table.score.unique() if name.startswith("mean_")]


def test_without_finished_runs_the_table_is_empty_but_has_its_columns():
    assert tidy([]).empty and list(tidy([]).columns) == list(COLUMNS)
