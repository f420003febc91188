"""The key of a run depends on every setting that decides its result; damaged run records are refused."""

import dataclasses
import hashlib
import json

import pytest
from rows import row

from benchmark import run_records
from benchmark.runs import Run

OTHER = {"method": "x", "ratio": 0.5, "settings": (("a", 1),), "norm": "batch", "decoder": "deeplabv3plus"}
OTHER |= {
    "scale": 0.5,
    "optimiser": "sgd",
    "schedule": "constant",
    "precision": "bf16",
    "dropout": 0.25,
    "views": "rgb",
    "chosen": ("a1",),
}


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Run)])
def test_every_field_changes_the_key(field):
    now = getattr(Run(), field)
    other = OTHER[field] if field in OTHER else now + ("x" if isinstance(now, str) else 1)
    assert dataclasses.replace(Run(), **{field: other}).key != Run().key


def test_a_field_that_was_added_later_changes_no_older_key():
    run = Run(method="cdma", ratio=0.05)
    later = ("tuned", "adapt", "views", "chosen", "chosen_by")
    older = {name: value for name, value in dataclasses.asdict(run).items() if name not in later}
    assert run.key.endswith(hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()[:10])


def test_only_a_run_without_variant_settings_and_other_views_is_plain():
    assert Run(method="fixmatch", ratio=0.5, lr=1).plain
    for other in (
        {"variant": "no_cutmix"},
        {"settings": (("threshold", 0.8),)},
        {"views": "stain"},
        {"chosen": ("a",)},
    ):
        assert not Run(method="fixmatch", **other).plain


def test_the_key_is_readable_and_a_file_name():
    key = Run(method="cdma", variant="no_um", dataset="ebhi-seg", task="malignant", ratio=0.05, draw=2, seed=1).key
    assert key.startswith("cdma-no_um_ebhi-seg-malignant_r0.05_d2_s1_")
    assert "/" not in key


@pytest.mark.parametrize("ratio", [0, -0.1, 1.5])
def test_a_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match=f"The ratio is {ratio:g}"):
        Run(ratio=ratio)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"labelled": 0},
        {"crop": -3},
        {"width": 0},
        {"unlabelled": -1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"dropout": 1.0},
    ],
)
def test_a_number_outside_its_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("lr", "learning rate")):
        Run(**wrong)


def test_a_misspelt_choice_offers_the_nearest():
    with pytest.raises(ValueError, match="no decoder 'deeplab'; did you mean 'deeplabv3plus'"):
        Run(decoder="deeplab")


def test_a_row_gives_its_run_back(tmp_path):
    run = Run(settings=(("attention", ["channel"]), ("weight", 0.5)), variant="v")
    saved = row("cdma", settings=run.settings, variant=run.variant)
    run_records.save(saved, tmp_path)
    (read,) = run_records.load(tmp_path, method="cdma")
    assert read == saved and read.run.key == saved.key
    assert Run.of(json.loads(json.dumps(dataclasses.asdict(run)))).key == run.key
    assert run_records.load(tmp_path, method="supervised") == []


def test_a_row_that_is_not_whole_is_named(tmp_path):
    path = run_records.save(row(), tmp_path)
    path.write_text(path.read_text()[:10])
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*delete it"):
        run_records.find(tmp_path, path.stem)


def test_a_row_of_another_format_is_refused(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "k.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        run_records.find(tmp_path, "k")
