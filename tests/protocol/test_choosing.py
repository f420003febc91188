"""Which images to annotate next: every strategy chooses training images, and a sweep compares what they chose."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import TOY

from benchmark.analysis.run_table import comparisons, runs_frame
from benchmark.cli import main
from benchmark.protocol import choosing, selection, train
from benchmark.protocol.batches import draw
from benchmark.protocol.choosing import Pool
from benchmark.protocol.choosing.k_centre import KCentre
from benchmark.runs import Run


def pool(store, networks=(), annotated=()) -> Pool:
    training = store.split()["train"]
    return Pool(store, [place for place in training if place not in annotated], annotated, networks, tile=64)


def brightness(sign: float):
    """A network that is uncertain where an image is dark, and sees the object or not by its sign."""

    def predict(images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((1, 2, 3), keepdim=True).expand(-1, 1, *images.shape[2:])
        return torch.cat([torch.zeros_like(bright), sign * 10 * bright.square()], 1)

    return predict


def test_random_images_are_of_as_many_patients_as_possible(store):
    strategy = choosing.get("random_patients")
    patients = {store.records[place].patient for place in pool(store).candidates}
    chosen = strategy.choose(pool(store), len(patients), 0)
    assert {store.records[place].patient for place in chosen} == patients
    assert chosen != strategy.choose(pool(store), len(patients), 1)
    assert strategy.choose(pool(store), 3, 0) == chosen[:3], "a longer list begins with the shorter one"


def test_k_centre_takes_the_farthest_image_each_time(store, monkeypatch):
    training = pool(store).candidates
    line = dict(zip(training, np.linspace(0, 1, len(training))[:, None], strict=True))
    monkeypatch.setattr(
        "benchmark.protocol.choosing.k_centre._features", lambda places, _: np.stack([line[p] for p in places])
    )
    chosen = KCentre().choose(pool(store, annotated=training[:1]), 2, 0)
    assert chosen[0] == training[-1] and chosen[1] in training[len(training) // 2 - 1 : len(training) // 2 + 1]


def test_k_centre_sees_features_of_the_encoder(store, monkeypatch):
    monkeypatch.setattr(Run, "encoder", TOY["encoder"])
    monkeypatch.setattr(Run, "weights", "none")
    chosen = KCentre().choose(pool(store), 4, 0)
    assert len(set(chosen)) == 4 and set(chosen) <= set(pool(store).candidates)


def test_the_darkest_images_are_the_most_uncertain(store):
    chosen = choosing.get("uncertainty").choose(pool(store, [brightness(1)]), 3, 0)
    means = {place: store.image(place).mean() for place in pool(store).candidates}
    assert chosen == sorted(means, key=means.get)[:3]


def test_networks_that_always_disagree_choose_by_order_and_equal_ones_too(store):
    both = [brightness(1), brightness(1), brightness(-0.5)]
    assert choosing.get("disagreement").choose(pool(store, both), 2, 0) == pool(store).candidates[:2]


def test_an_unknown_strategy_is_an_error_that_offers_the_nearest():
    with pytest.raises(ValueError, match=r"no strategy 'k_center'; did you mean 'k_centre'"):
        choosing.get("k_center")


def test_a_run_trains_on_the_images_of_its_list_and_has_a_key_of_its_own(store):
    plain = Run(method="supervised", **TOY)
    training = [place for place in store.split()["train"] if store.records[place].annotated]
    names = tuple(store.records[place].name for place in training[:3])
    chosen = dataclasses.replace(plain, chosen=names, chosen_by="k_centre")
    assert draw(store, chosen).labelled == sorted(training[:3])
    assert not set(draw(store, chosen).unlabelled) & set(training[:3])
    assert chosen.key != plain.key and Run.of(json.loads(json.dumps(dataclasses.asdict(chosen)))) == chosen
    with pytest.raises(ValueError, match="names 'x', which is not an annotated training image of 'toy'"):
        draw(store, dataclasses.replace(plain, chosen=("x",)))


@pytest.fixture
def chosen(data, tmp_path):
    """Calls `bench choose` on the blobs and gives exit status and output."""

    def call(*words) -> tuple[int, str]:
        given = [
            "choose",
            "--dataset",
            "toy",
            "--data",
            data,
            "--out",
            tmp_path,
            "--results",
            tmp_path / "results",
            *words,
        ]
        done = CliRunner().invoke(main, list(map(str, given)))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done.exit_code, done.output

    return call


def test_unannotated_images_are_listed_and_shown(chosen, tmp_path, store):
    code, said = chosen("--count", 2, "--strategy", "random_patients")
    found = selection.read(tmp_path / "toy_random_patients_2.json")
    assert code == 0 and found.draws[0][0] in said and (tmp_path / "toy_random_patients_2.png").stat().st_size > 1000
    bare = {record.name for record in store.records if not record.annotated}
    assert set(found.draws[0]) <= bare and len(found.draws) == 1


def test_a_sweep_compares_strategies_in_one_table(chosen, tmp_path, data, store):
    code, _ = chosen("--count", 3, "--strategy", "random_patients", "--among", "annotated", "--draws", 2)
    path = tmp_path / "toy_random_patients_3.json"
    words = ["sweep", "quick", "--labelled-list", path, "--methods", "supervised", "--draws", 2, "--data", data,
             "--results", tmp_path / "results", "--recipe", "rehearsal", "--dry-run"]  # fmt: skip
    done = CliRunner().invoke(main, list(map(str, words)))
    assert code == 0 and done.exit_code == 0, done.output
    assert "6 runs" in done.output.replace("runs:", "runs"), "two draws: random, chosen, and with all labels"
    names = selection.read(path).names(1)
    annotated = sum(store.records[place].annotated for place in store.split()["train"])
    plain = Run(method="supervised", **{**TOY, "steps": 1, "ratio": 3 / annotated})
    results = tmp_path / "results"
    rows = [train.train(run, store, results)
            for run in (plain, dataclasses.replace(plain, chosen=names, chosen_by="random_patients"))]  # fmt: skip
    (together,) = comparisons(rows).values()
    assert list(runs_frame(together).label) == ["Supervised", "Supervised (chosen by random_patients)"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--count", 99], "'toy' has 3 unannotated training images; give --count 3 or less."),
        (
            ["--count", 1, "--strategy", "uncertainty"],
            "The strategy 'uncertainty' needs a trained network; give --run KEY.",
        ),
        (["--count", 1, "--strategy", "best"], "There is no strategy 'best'"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(chosen, words, sentence):
    code, said = chosen(*words)
    assert code == 1 and sentence in " ".join(said.split())


def test_a_file_that_is_no_list_is_one_sentence(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.json is not a list of `bench choose`"):
        selection.read(tmp_path / "a.json")
