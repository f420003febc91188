"""Rows are read small and whole, compared only where that is fair, and kinds of runs are told apart by their labels."""

import dataclasses
import math

import numpy as np
import pytest
from msgspec import structs
from rows import row, suite

from benchmark import run_records
from benchmark.analysis import run_table
from benchmark.run_records import Best, RunRecord


def saved(rows: list[RunRecord], folder) -> list[RunRecord]:
    """The rows as they are read from files."""
    for one in rows:
        run_records.save(one, folder)
    return run_table.load(folder)


def listed(values):
    """Arrays as the lists of a row, nan as None."""
    if isinstance(values, np.ndarray):
        return listed(values.tolist())
    if isinstance(values, list):
        return [listed(value) for value in values]
    if isinstance(values, Best):
        return listed(structs.asdict(values))
    if isinstance(values, dict):
        return {name: listed(value) for name, value in values.items()}
    return None if isinstance(values, float) and math.isnan(values) else values


@pytest.mark.parametrize("classes", [("background", "gland"), ("background", "gland", "tumour")])
def test_what_is_read_is_what_was_written(tmp_path, classes):
    made = [row("cdma", classes=classes, empty=(1, 2), objects=True), row("cps", classes=classes, status="diverged")]
    found = {one.key: one for one in saved(made, tmp_path)}
    for one in made:
        assert listed(structs.asdict(found[one.key])) == listed(structs.asdict(one))
    assert found[made[0].key].scores["dice"].shape == (24, len(classes) - 1)


def test_rows_share_the_names_of_images_and_the_scores_of_the_last_step_if_it_was_the_best(tmp_path):
    one, other = row(), row("cdma")
    other.best = Best(step=other.run.steps, scores={name: other.scores[name] for name in ("dice", "jaccard")})
    first, second = sorted(saved([one, other], tmp_path), key=lambda r: r.run.method, reverse=True)
    assert first.scores["name"] is second.scores["name"]
    assert second.best.scores["dice"] is second.scores["dice"]
    assert first.best.scores["dice"] is not first.scores["dice"]


def test_a_broken_row_is_named_with_the_remedy(tmp_path):
    saved([row()], tmp_path)
    path = next((tmp_path / "runs").iterdir())
    path.write_text(path.read_text()[:200])
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*delete it"):
        run_table.load(tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# Comparisons


def test_runs_of_other_data_or_networks_are_never_compared():
    rows = [row(), row("cdma"), row(dataset="glas"), row(encoder="resnet34"), row(tile=512), row(content="d0d0" * 8)]
    groups = run_table.comparisons(rows)
    assert {name: len(of) for name, of in groups.items()} == {
        "phantom tu-tf_efficientnet_lite0 tile 256 content c0ffee": 2,
        "phantom tu-tf_efficientnet_lite0 tile 256 content d0d0d0": 1,
        "phantom tu-tf_efficientnet_lite0 tile 512": 1,
        "phantom resnet34": 1,
        "glas": 1,
    }


def test_runs_with_an_adapted_encoder_are_compared_among_themselves():
    adapted = {"encoder": "tu-vit_small_patch14_dinov2", "adapt": "lora:8"}
    full = {**adapted, "adapt": "full"}
    groups = run_table.comparisons([row(**full), row(**adapted), row("cdma", **adapted)])
    assert {name: len(of) for name, of in groups.items()} == {"phantom": 1, "phantom adapt lora:8": 2}
    assert run_table.fingerprint(row(**adapted)) != run_table.fingerprint(row(**full))


def test_one_comparison_is_named_by_its_dataset_and_task():
    assert list(run_table.comparisons(suite(dataset="ebhi-seg", task="epithelium"))) == ["ebhi-seg epithelium"]
    assert run_table.comparisons([]) == {}


def test_a_budget_that_two_methods_have_is_a_comparison_and_that_of_one_is_a_line_of_the_largest():
    short, long = suite(draws=1, steps=100), suite(("supervised", "cdma"), draws=1, steps=400)
    alone = row("cdma", steps=800)
    groups = run_table.comparisons([*short, *long, alone])
    assert {name: [r.run.steps for r in of] for name, of in groups.items()} == {
        "phantom steps 100": [100] * 7 + [800],
        "phantom steps 400": [400] * 5,
    }
    assert list(run_table.comparisons([*short, alone])) == ["phantom"]
    many = [row(steps=800, seed=seed) for seed in range(20)]
    lines = run_table.runs_frame([*short, *many])
    assert set(lines.steps[lines.uneven]) == {800}, "the common budget is that of several methods, not of most runs"
    assert len(run_table.comparisons([*suite(draws=1, crop=64), *suite(draws=1, crop=128)])) == 2


def test_versions_of_the_protocol_and_kinds_of_devices_are_never_compared():
    on_gpu = [structs.replace(one, machine=structs.replace(one.machine, kind="cuda")) for one in suite(draws=1)]
    groups = run_table.comparisons([*suite(draws=1), *on_gpu, *suite(draws=1, protocol=3)])
    assert {name: {(r.run.protocol, r.machine.kind) for r in of} for name, of in groups.items()} == {
        "phantom protocol 2": {(2, "cpu")},
        "phantom protocol 2 kind cuda": {(2, "cuda")},
        "phantom protocol 3": {(3, "cpu")},
    }


def test_a_precision_that_two_methods_have_is_a_comparison_that_only_the_lower_one_is_named_by():
    rows = [*suite(draws=1, steps=400), *suite(draws=1, steps=1200), *suite(draws=1, steps=400, precision="bf16")]
    groups = run_table.comparisons(rows)
    assert list(groups) == ["phantom steps 1200", "phantom steps 400", "phantom steps 400 precision bf16"]
    assert {row.run.precision for row in groups["phantom steps 400 precision bf16"]} == {"bf16"}


def test_a_fingerprint_is_that_of_the_comparison_and_not_of_the_run():
    one = run_table.fingerprint(row())
    assert run_table.fingerprint(row("cdma", ratio=0.5, seed=3, steps=7)) == one
    assert run_table.fingerprint(row(width=64)) != one


# ----------------------------------------------------------------------------------------------------------------------
# Runs


def test_a_run_is_a_line_with_its_cost():
    (line,) = run_table.runs_frame([row("cdma", ratio=0.2, draw=3, seed=4)]).itertuples()
    assert (line.method, line.label, line.year, line.ratio, line.draw, line.seed) == ("cdma", "CDMA", 2023, 0.2, 3, 4)
    assert line.images == 400 * (4 + 4) or line.images == 400 * (4 + 4 + 4)
    assert line.status == "done"


def test_supervised_comes_first_and_then_the_older_methods():
    methods = run_table.runs_frame(suite(("cdma", "mean_teacher", "unimatch_v2", "supervised"), draws=1)).label
    assert list(dict.fromkeys(methods)) == ["Supervised", "Mean Teacher", "CDMA", "UniMatch V2"]


def test_what_differs_from_most_runs_is_in_the_label_so_that_it_is_not_taken_for_another_seed():
    common = [row("cdma", seed=seed) for seed in range(3)]
    more = [row("cdma", lr=0.01), row("cdma", steps=800), row("cdma", variant="no_um", settings={"temperature": 5})]
    lines = run_table.runs_frame([*common, *more]).drop_duplicates("label").set_index("label").uneven
    assert lines.to_dict() == {
        "CDMA": False,
        "CDMA (lr 0.01)": False,
        "CDMA (steps 800)": True,
        "CDMA (no_um, temperature=5)": False,
    }


def test_views_that_are_not_the_methods_own_are_a_setting_and_not_another_comparison():
    rows = [row("fixmatch"), row("fixmatch", views="stain"), row("fixmatch", views="rgb", settings={"threshold": 0.8})]
    lines = run_table.runs_frame(rows).set_index("label").settings
    assert lines.to_dict() == {
        "FixMatch": "",
        "FixMatch (stain views)": "stain views",
        "FixMatch (threshold=0.8, rgb views)": "threshold=0.8, rgb views",
    }
    assert len(run_table.comparisons(rows)) == 1


def test_two_methods_of_one_title_keep_their_names():
    rows = [row("cdma"), row("cps")]
    rows[1].title = "CDMA"
    assert list(run_table.runs_frame(rows).label) == ["CDMA [cps]", "CDMA [cdma]"]


def test_a_method_that_is_gone_comes_last():
    rows = [row("cdma"), row("mean_teacher")]
    rows[1].run = dataclasses.replace(rows[1].run, method="gone")
    rows[1].year = None
    assert list(run_table.runs_frame(rows).method) == ["cdma", "gone"]
    assert math.isnan(run_table.runs_frame(rows).year[1])


# ----------------------------------------------------------------------------------------------------------------------
# Scores


def test_a_false_alarm_scores_nothing_and_an_image_rightly_left_empty_has_no_score():
    one = row("cdma", classes=("background", "a", "b"), images=6, patients=3, empty=(0, 1))
    found = run_table.scores(one, "dice")
    assert found[0].tolist() == [0, 0], "a false alarm"
    assert np.isnan(found[1]).all(), "no object, and none predicted"
    assert found[2:].tolist() == np.asarray(one.scores["dice"][2:]).tolist()


def test_scores_at_the_step_that_was_best_on_validation_are_another_metric():
    one = row("cdma")
    assert run_table.scores(one, "best_dice").tolist() == np.asarray(one.best.scores["dice"]).tolist()


def test_a_score_of_whole_images_has_one_column():
    one = row("cdma", classes=("background", "a", "b"))
    assert run_table.scores(one, "ece")[:, 0].tolist() == one.scores["ece"]
    assert run_table.scores(one, "dice").shape == (24, 2)
