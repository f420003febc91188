"""Suites: which runs make up a table, in which order, and what the command line changes of them."""

import dataclasses
from pathlib import Path

import pytest

import methods
from benchmark import suites
from benchmark.suites import SUITES, Suite, planned

SMALL = Suite("for tests", ("mean_teacher", "cdma"), (0.1, 0.5), bounds=(1.0,), draws=(0, 1))


def told(runs) -> list[str]:
    return [f"{run.method} {run.ratio:g} {run.draw} {run.seed}" for run in runs]


def test_bounds_come_first_and_draws_one_after_the_other():
    assert told(planned(SMALL))[:8] == [
        "supervised 0.1 0 0", "supervised 0.5 0 0", "supervised 1 0 0", "mean_teacher 0.1 0 0", "cdma 0.1 0 0",
        "mean_teacher 0.5 0 0", "cdma 0.5 0 0", "supervised 0.1 1 0",
    ]  # fmt: skip
    assert len(planned(SMALL)) == 2 * (3 + 2 * 2)


def test_no_run_is_planned_twice():
    twice = dataclasses.replace(SMALL, methods=("supervised", "cdma", "cdma"), ratios=(0.1, 1.0, 0.1))
    found = [run.key for run in planned(twice)]
    assert len(found) == len(set(found)) == 2 * (2 + 2)


def test_main_is_every_method_at_every_ratio_and_supervised_with_all_labels():
    found = planned(SUITES["main"])
    repeats = len(SUITES["main"].draws) * len(SUITES["main"].seeds)
    assert repeats >= 9, "a claim rests on three draws and three seeds"
    assert {run.method for run in found} == set(methods.names())
    assert len(found) == repeats * (4 * len(methods.names()) + 1)
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
    few = dataclasses.replace(SMALL, methods=("hce", "supervised"), ratios=(0.1,), bounds=(), draws=(0,), seeds=(0,))
    found = planned(dataclasses.replace(few, ablated=("labels_only",)))
    assert [(run.method, run.variant) for run in found] == [("supervised", ""), ("hce", ""), ("hce", "labels_only")]
    assert methods.variants("hce")["labels_only"] == {"weight_learnable": 0.0, "weight_self": 0.0}
    assert methods.variants("supervised") == {}


def test_no_variant_of_a_methods_own_is_itself_on_labels_alone():
    own = {name: methods.get(name).variants.values() for name in methods.names()}
    assert [name for name, sets in own.items() if methods.variants(name).get("labels_only") in sets] == []


def test_chosen_variants_are_the_only_ones():
    found = planned(dataclasses.replace(SMALL, methods=("cdma",), ablated=("no_um",), ratios=(0.1,), draws=(0,)))
    assert [run.variant for run in found if run.method == "cdma"] == ["", "no_um"]


def test_an_ablation_shares_its_baseline_with_other_suites():
    ablation = planned(dataclasses.replace(SUITES["ablation"], draws=(0,), seeds=(0,)))
    assert planned(SUITES["quick"])[0] == ablation[0]


def test_settings_are_for_the_methods_and_not_for_their_baseline():
    given = dataclasses.replace(SMALL, methods=("cdma",), fields={"settings": (("temperature", 5.0),), "steps": 7})
    for run in planned(given):
        assert run.settings == ((("temperature", 5.0),) if run.method == "cdma" else ())
        assert run.steps == 7


def test_fields_override_the_recipe_and_the_recipe_the_defaults():
    run = planned(dataclasses.replace(SMALL, recipe="full", fields={"crop": 224}))[0]
    assert (run.encoder, run.crop) == (suites.RECIPES["full"]["encoder"], 224)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"methods": ("men_teacher",)}, "did you mean 'mean_teacher'"),
        ({"recipe": "quik"}, "did you mean 'quick'"),
        ({"ablated": ("no_umm",), "methods": ("cdma",)}, "did you mean 'no_um'"),
        ({"seeds": ()}, "no seeds.*--seeds"),
        ({"ratios": (1.5,)}, "ratio is 1.5"),
    ],
)
def test_what_does_not_exist_is_named_with_the_nearest_that_does(wrong, said):
    with pytest.raises(ValueError, match=said):
        planned(dataclasses.replace(SMALL, **wrong))


def test_a_method_of_another_package_is_part_of_all(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "outside"))
    assert "self_teaching" in {run.method for run in planned(SUITES["main"])}
