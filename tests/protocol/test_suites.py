"""Suites: which runs make up a table, in which order, and what the command line changes of them."""

import dataclasses
from pathlib import Path

import pytest

import methods
from benchmark.protocol import suites
from benchmark.protocol.suites import SUITES, Setting, Suite, planned

SMALL = Suite("for tests", ("mean_teacher", "cdma"), (Setting((0.1, 0.5)),), bounds=(1.0,), draws=(0, 1))


def told(runs) -> list[str]:
    return [f"{run.method} {run.ratio:g} {run.draw} {run.seed}" for run in runs]


def test_bounds_come_first_and_draws_one_after_the_other():
    assert told(planned(SMALL))[:8] == [
        "supervised 0.1 0 0", "supervised 0.5 0 0", "supervised 1 0 0", "mean_teacher 0.1 0 0", "cdma 0.1 0 0",
        "mean_teacher 0.5 0 0", "cdma 0.5 0 0", "supervised 0.1 1 0",
    ]  # fmt: skip
    assert len(planned(SMALL)) == 2 * (3 + 2 * 2)


def test_no_run_is_planned_twice():
    twice = dataclasses.replace(SMALL, methods=("supervised", "cdma", "cdma"), settings=(Setting((0.1, 1.0, 0.1)),))
    found = [run.key for run in planned(twice)]
    assert len(found) == len(set(found)) == 2 * (2 + 2)


def test_a_repeat_has_a_draw_and_a_seed_of_its_own():
    found = planned(dataclasses.replace(SMALL, draws=None, repeats=3))
    assert list(dict.fromkeys((run.draw, run.seed) for run in found)) == [(0, 0), (1, 1), (2, 2)]


def test_one_setting_and_repeat_is_finished_before_the_next():
    settings = (Setting((0.1,), {"task": "grade"}), Setting((0.2, 0.5), {"scale": 0.5, "steps": 7}))
    found = planned(dataclasses.replace(SMALL, settings=settings, draws=None, repeats=2))
    order = list(dict.fromkeys((run.task, run.scale, run.steps, run.seed) for run in found))
    assert order == [("grade", 1, 400, 0), ("grade", 1, 400, 1), ("", 0.5, 7, 0), ("", 0.5, 7, 1)]
    assert {run.ratio for run in found if run.task} == {0.1, 1} and {run.ratio for run in found if not run.task} == {
        0.2, 0.5, 1,
    }  # fmt: skip


def test_on_a_dataset_a_suite_has_its_own_settings_there_or_the_fractions_of_its_first():
    suite = dataclasses.replace(SMALL, settings=(Setting((0.1,), {"dataset": "a", "scale": 0.5}), Setting((0.2,))))
    assert {(run.dataset, run.scale) for run in planned(suite.on("a"))} == {("a", 0.5)}
    assert {run.dataset for run in planned(suite.on("phantom"))} == {"phantom"}
    assert {(run.dataset, run.scale, run.ratio) for run in planned(suite.on("mine"))} == {
        ("mine", 1, 0.1), ("mine", 1, 1),
    }  # fmt: skip


def test_all_is_every_method_at_every_ratio_and_supervised_with_all_labels():
    found = planned(SUITES["all"])
    assert {run.method for run in found} == set(methods.names())
    assert len(found) == 3 * (4 * len(methods.names()) + 1)
    assert {run.method for run in found if run.ratio == 1} == {"supervised"}


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_can_be_planned(name):
    assert planned(SUITES[name])
    assert "supervised" in {run.method for run in planned(SUITES[name])}


def test_an_ablation_is_the_method_its_variants_and_supervised():
    found = planned(dataclasses.replace(SUITES["ablation"], methods=("mean_teacher",), draws=(0,), seeds=(0,)))
    assert [(run.method, run.variant) for run in found] == [
        ("supervised", ""), ("mean_teacher", ""), *(("mean_teacher", v) for v in methods.variants("mean_teacher")),
    ]  # fmt: skip


def test_every_method_with_unsupervised_terms_has_itself_on_labels_alone():
    few = dataclasses.replace(
        SMALL, methods=("hce", "supervised"), settings=(Setting((0.1,)),), bounds=(), draws=(0,), seeds=(0,)
    )
    found = planned(dataclasses.replace(few, ablated=("labels_only",)))
    assert [(run.method, run.variant) for run in found] == [("supervised", ""), ("hce", ""), ("hce", "labels_only")]
    assert methods.variants("hce")["labels_only"] == {"weight_learnable": 0.0, "weight_self": 0.0}
    assert methods.variants("supervised") == {}


def test_no_variant_of_a_methods_own_is_itself_on_labels_alone():
    own = {name: methods.get(name).variants.values() for name in methods.names()}
    assert [name for name, sets in own.items() if methods.variants(name).get("labels_only") in sets] == []


def test_chosen_variants_are_the_only_ones():
    found = planned(
        dataclasses.replace(SMALL, methods=("cdma",), ablated=("no_um",), settings=(Setting((0.1,)),), draws=(0,))
    )
    assert [run.variant for run in found if run.method == "cdma"] == ["", "no_um"]


def test_a_chosen_variant_runs_only_for_the_methods_that_have_it():
    """`bench sweep main --variants labels_only` was refused, because supervised_strong has no unsupervised term."""
    few = dataclasses.replace(SMALL, methods=("supervised_strong", "fixmatch", "cdma"), settings=(Setting((0.1,)),))
    found = planned(dataclasses.replace(few, bounds=(), draws=(0,), ablated=("labels_only", "threshold_85")))
    assert [(run.method, run.variant) for run in found] == [
        ("supervised", ""), ("supervised_strong", ""), ("fixmatch", ""), ("fixmatch", "labels_only"),
        ("fixmatch", "threshold_85"), ("cdma", ""), ("cdma", "labels_only"),
    ]  # fmt: skip


def test_the_controls_have_the_labels_alone_of_every_method_and_the_threshold_of_corrmatch():
    found = {(run.method, run.variant) for run in planned(SUITES["controls"])}
    published = {run.method for run in planned(SUITES["main"])} - {"supervised", "supervised_strong"}
    assert {method for method, variant in found if variant == "labels_only"} == published
    assert ("fixmatch", "threshold_85") in found


def test_an_ablation_shares_its_baseline_with_other_suites():
    ablation = planned(dataclasses.replace(SUITES["ablation"], draws=(0,), seeds=(0,)))
    assert planned(SUITES["quick"])[0] == ablation[0]


def test_settings_are_for_the_methods_and_not_for_their_baseline():
    given = dataclasses.replace(SMALL, methods=("cdma",), fields={"settings": (("temperature", 5.0),), "steps": 7})
    for run in planned(given):
        assert run.settings == ((("temperature", 5.0),) if run.method == "cdma" else ())
        assert run.steps == 7


def test_views_are_those_of_methods_with_strong_views_and_change_no_other_run():
    suite = dataclasses.replace(SMALL, methods=("mean_teacher", "fixmatch", "augseg"))
    usual, changed = planned(suite), planned(dataclasses.replace(suite, fields={"views": "stain"}))
    assert {run.method for run in changed if run.views == "stain"} == {"fixmatch", "augseg"}
    assert {run.key for run in changed} & {run.key for run in usual} == {
        run.key for run in usual if run.method in ("supervised", "mean_teacher")
    }


def test_fields_override_the_recipe_and_the_recipe_the_defaults():
    run = planned(dataclasses.replace(SMALL, recipe="full", fields={"crop": 224}))[0]
    assert (run.encoder, run.crop) == (suites.RECIPES["full"]["encoder"], 224)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"methods": ("men_teacher",)}, "did you mean 'mean_teacher'"),
        ({"recipe": "quik"}, "did you mean 'quick'"),
        ({"ablated": ("no_umm",), "methods": ("cdma",)}, "did you mean 'no_um'"),
        ({"repeats": 0, "draws": None}, "no repeats.*--repeats"),
        ({"settings": (Setting((1.5,)),)}, "ratio is 1.5"),
    ],
)
def test_what_does_not_exist_is_named_with_the_nearest_that_does(wrong, said):
    with pytest.raises(ValueError, match=said):
        planned(dataclasses.replace(SMALL, **wrong))


def test_a_method_of_another_package_is_part_of_all(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "outside"))
    assert "self_teaching" in {run.method for run in planned(SUITES["all"])}
