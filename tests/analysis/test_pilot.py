"""The pilot: headroom against numbers by hand, what can answer, budgets, and a command that leaves ordinary records."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from rows import row

from benchmark import run_records
from benchmark.analysis import pilot
from benchmark.analysis.pilot import ALL, FEW, LONG, Setting
from benchmark.cli import main
from benchmark.protocol import suites, train
from benchmark.report.tables import pilot as report
from benchmark.report.tables.formats import rendered
from benchmark.report.verify import verify
from benchmark.runs import Run

BASE = Run(method="supervised", dataset="toy")
NEAR, FAR = Setting(0.01, 400, 0.5, 96), Setting(0.01, 1200, 0.5, 96)


def record(setting: Setting, part: str, k: int, dice: float, patients: int = 12, flops: int = 10**12):
    """A record in which every image has this Dice, but for a difference between patients that all runs share."""
    run = setting.runs(BASE, k + 1)[part][k]
    fields = {name: getattr(run, name) for name in ("dataset", "ratio", "steps", "scale", "crop", "draw", "seed")}
    found = row("supervised", images=24, patients=patients, **fields)
    wave = np.sin(np.arange(24)) / 100 * (part != ALL)  # what a run's images differ from those of others
    found.scores["dice"] = [[float(dice + wave[i])] for i in range(24)]
    found.budget.flops = flops * setting.steps
    return found


def parts(setting: Setting, few: float, upper: float, longer: float, repeats: int = 1) -> dict:
    dice = {FEW: few, ALL: upper, LONG: longer}
    return {part: [record(setting, part, k, value) for k in range(repeats)] for part, value in dice.items()}


def test_every_setting_has_runs_with_few_labels_all_labels_and_longer():
    of = FAR.runs(BASE, 2)
    assert [(run.ratio, run.steps, run.draw, run.seed) for run in of[FEW]] == [(0.01, 1200, 0, 0), (0.01, 1200, 1, 1)]
    assert [(run.ratio, run.steps) for run in of[ALL]] == [(1.0, 1200)] * 2
    assert [(run.ratio, run.steps) for run in of[LONG]] == [(1.0, 1800)] * 2
    assert {(run.scale, run.crop, run.method) for part in of.values() for run in part} == {(0.5, 96, "supervised")}


def test_the_grid_has_the_least_work_first_and_crops_that_fit():
    found = pilot.grid([0.05, 0.01], [400, 800], [1.0, 0.5], 128, {1.0: 224, 0.5: 96})
    assert [str(one) for one in found[:3]] == [
        "1 % labelled, 400 steps of 96, scale 0.5", "5 % labelled, 400 steps of 96, scale 0.5",
        "1 % labelled, 400 steps of 128",
    ]  # fmt: skip
    assert len(found) == 8
    with pytest.raises(ValueError, match="upper bound has all labels already; give --ratios below 1"):
        pilot.grid([1.0], [400], [1.0], 128, {1.0: 224})


def test_headroom_and_levelling_off_equal_numbers_by_hand():
    (one,) = pilot.outcomes({NEAR: parts(NEAR, 0.80, 0.90, 0.92)})
    shift = np.sin(np.arange(24)).mean() / 100
    assert one.headroom.mean == pytest.approx(0.1 - shift)
    assert one.change == pytest.approx(0.02 + shift)
    assert one.few == pytest.approx(0.8 + shift) and one.upper == pytest.approx(0.9)
    assert one.p == one.headroom.p < 0.05
    assert one.levelled and one.answers
    (one,) = pilot.outcomes({NEAR: parts(NEAR, 0.80, 0.90, 0.93)})
    assert one.gained and not one.levelled and not one.answers, "three points are more than a quarter of ten"


def test_p_is_adjusted_over_the_settings_of_the_pilot():
    both = pilot.outcomes({NEAR: parts(NEAR, 0.80, 0.90, 0.90), FAR: parts(FAR, 0.89, 0.90, 0.90)})
    assert [one.p for one in both] == pytest.approx([2 * both[0].headroom.p, both[1].headroom.p])


def test_the_cheapest_setting_that_can_answer_is_proposed_or_none():
    cheap, dear = parts(NEAR, 0.80, 0.90, 0.90), parts(FAR, 0.70, 0.90, 0.90)
    assert pilot.proposed(pilot.outcomes({FAR: dear, NEAR: cheap})).setting == NEAR
    assert pilot.proposed(pilot.outcomes({FAR: dear, NEAR: parts(NEAR, 0.90, 0.90, 0.90)})).setting == FAR
    none = pilot.outcomes({NEAR: parts(NEAR, 0.91, 0.90, 0.90), FAR: parts(FAR, 0.80, 0.90, 0.95)})
    assert pilot.proposed(none) is None
    said = report.verdict(none, [Setting(0.05, 9600, 1.0, 128)])
    assert said == (
        "None of the settings (2) can answer: the headroom of 1 is not significantly above 0, the upper bound of 1 has "
        "not levelled off. Not run, as the budget does not allow it: 5 % labelled, 9,600 steps of 128."
    )


def test_several_classes_count_as_the_mean_over_classes_a_rare_one_as_much_as_another():
    found = parts(NEAR, 0.5, 0.5, 0.5)
    for of in found.values():
        of[0].classes = ["background", "benign", "malignant"]
        of[0].scores["dice"] = [[0.8, None], [0.2, 0.6]] + [[None, None]] * 22
    (one,) = pilot.outcomes({NEAR: found})
    assert one.few == pytest.approx(((0.8 + 0.2) / 2 + 0.6) / 2)


def test_a_setting_with_a_run_that_diverged_is_left_out_and_named():
    broken = parts(FAR, 0.8, 0.9, 0.9)
    broken[LONG][0].status = "diverged"
    table = report.table({NEAR: parts(NEAR, 0.8, 0.9, 0.9), FAR: broken})
    assert len(table.lines) == 1
    assert f"Left out, because a run diverged: {FAR}." in table.notes
    assert report.table({FAR: broken}) is None


def test_runs_of_a_cpu_are_never_compared_with_runs_of_a_gpu():
    found = parts(NEAR, 0.8, 0.9, 0.9)
    found[ALL][0].machine.kind = "cuda"
    with pytest.raises(ValueError, match="trained on cpu and cuda, which are never compared; give another --results"):
        pilot.outcomes({NEAR: found})


def test_the_table_names_protocol_processors_and_commits():
    table = report.table({NEAR: parts(NEAR, 0.8, 0.9, 0.9)})
    assert "Protocol 2; trained on CPU (1 thread), at commit 0123456789ab." in table.notes


def test_the_table_is_verified_against_its_records(tmp_path):
    found = {NEAR: parts(NEAR, 0.8, 0.9, 0.9, 2), FAR: parts(FAR, 0.85, 0.9, 0.9, 2)}
    rows = [one for of in found.values() for part in of.values() for one in part]
    for ending, text in rendered(report.table(found, [Setting(0.05, 4800, 1.0, 96)])).items():
        path = tmp_path / f"pilot.{ending}"
        path.write_text(text, encoding="utf-8")
        verdict = verify(path, rows)
        assert (verdict.tables, verdict.findings) == (1, [])
        path.write_text(text.replace("90.0", "91.0"), encoding="utf-8")
        assert ending == "csv" or verify(path, rows).findings
    assert report.again(json.loads(json.dumps(report.table(found).source)), rows[1:]) is None


def test_patients_are_called_by_the_unit_of_the_split():
    found = parts(NEAR, 0.8, 0.9, 0.9)
    for of in found.values():
        of[0].unit = "tile"
    assert not any("patient" in note for note in report.table({NEAR: found}).notes)


# ----------------------------------------------------------------------------------------------------------------------
# The command


def bench(*words: object) -> tuple[int, str]:
    outcome = CliRunner().invoke(main, [str(word) for word in words])
    return outcome.exit_code, outcome.output


@pytest.fixture
def options(data, tmp_path) -> list:
    small = ["--recipe", "rehearsal", "--crop", 32, "--steps", 2, "--ratios", 0.5, "--scales", "1,0.5"]
    return ["pilot", "toy", *small, "--workers", 1, "--data", data, "--results", tmp_path]


def test_a_plan_trains_nothing(options, tmp_path):
    code, said = bench(*options, "--plan")
    assert code == 0, said
    said = " ".join(said.split())
    assert "50 % labelled, 2 steps of 32" in said and "2 steps of 24, scale 0.5" in said, "a crop that fits"
    assert "6 runs left" in said
    assert not list(tmp_path.glob("runs/*.json"))


def test_runs_that_are_there_already_are_used_and_become_a_table(options, store, tmp_path):
    recipe = {**suites.RECIPES["rehearsal"], "dataset": "toy", "crop": 32}
    for setting in (Setting(0.5, 2, 1.0, 32), Setting(0.5, 2, 0.5, 24)):
        for (run,) in setting.runs(Run(method="supervised", **{**recipe, "steps": 2}), 1).values():
            train.train(run, store, tmp_path, train.Options(device="cpu"))
    code, said = bench(*options)
    assert code == 0, said
    assert len(list(tmp_path.glob("runs/*.json"))) == 6, "no other runs than these"
    text = (tmp_path / "tables" / "pilot" / "toy.md").read_text(encoding="utf-8")
    assert "None of the settings (2) can answer" in text or "The cheapest setting that can answer" in text
    code, said = bench("verify", tmp_path / "tables" / "pilot" / "toy.csv", "--results", tmp_path)
    assert code == 0, said


@pytest.mark.slow
def test_a_pilot_leaves_ordinary_records(options, tmp_path):
    code, said = bench(*options)
    assert code == 0, said
    found = run_records.load(tmp_path)
    assert sorted((one.run.ratio, one.run.steps, one.run.scale) for one in found) == sorted(
        (ratio, steps, scale) for scale in (0.5, 1.0) for ratio, steps in ((0.5, 2), (1.0, 2), (1.0, 3))
    )
    assert {one.run.method for one in found} == {"supervised"}


def test_a_budget_leaves_out_what_takes_too_long(options, tmp_path):
    code, said = bench(*options, "--budget-minutes", 0.00001, "--plan")
    assert code == 0, said
    assert " yes " not in said
