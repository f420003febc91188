"""Options with which no network can learn end in one sentence, and leave a record that says so."""

import dataclasses

import pytest
from click.testing import CliRunner
from conftest import TOY

from benchmark import run_records
from benchmark.cli import main
from benchmark.protocol import train


def bench(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["supervised", "mean_teacher", "cdma"])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_learning_rate_that_destroys_the_network_is_said_with_what_to_try(data, tmp_path, method, optimiser):
    toy = [f"--{name}={value}" for name, value in TOY.items()]
    words = ["--method", method, "--optimiser", optimiser, "--lr", "1e30", "--data", data, "--results", tmp_path]
    code, said = bench("run", *toy, *words)
    assert code == 1 and "The loss is not finite at step" in said and "try a smaller --lr" in said
    (record,) = run_records.load(tmp_path)
    assert record.status == "diverged" and not record.scores
    assert not list(tmp_path.glob("weights/*"))


def test_where_nothing_validates_it_is_noticed_too(few, toy, tmp_path):
    run = dataclasses.replace(toy, split="halves", ratio=1.0, lr=1e30)
    assert train.train(run, few, tmp_path).status == "diverged"


@pytest.mark.parametrize("images", [{"labelled": 1}, {"unlabelled": 1}])
def test_live_batch_norm_of_one_image_is_refused_before_training(store, toy, tmp_path, images):
    with pytest.raises(ValueError, match="at least two images; give --labelled and --unlabelled of 2 or more, or"):
        train.train(dataclasses.replace(toy, norm="batch", **images), store, tmp_path)
    assert not list(tmp_path.iterdir())


def test_live_batch_norm_without_unlabelled_images_is_allowed(store, toy, tmp_path):
    run = dataclasses.replace(toy, norm="batch", unlabelled=0)
    assert train.train(run, store, tmp_path).status == "done"
