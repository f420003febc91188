"""What the precision of the arithmetic does to scores: less than another seed does."""

import dataclasses
import statistics

import pytest

from benchmark import train

SEEDS = range(4)


@pytest.mark.slow
def test_scores_at_bf16_and_float32_agree_within_the_spread_of_seeds(store, toy, tmp_path):
    """Run it with `-s` to see the scores."""

    def dice(precision: str, seed: int) -> float:
        run = dataclasses.replace(toy, steps=100, crop=48, precision=precision, seed=seed, lr=3e-3)
        scores = train.train(run, store, tmp_path, device="cpu")["scores"]
        return statistics.mean(score for image in scores["dice"] for score in image)

    found = {precision: [dice(precision, seed) for seed in SEEDS] for precision in ("float32", "bf16")}
    for precision, scores in found.items():
        print(f"\n{precision}:", *(f"{score:.3f}" for score in scores))
    apart = statistics.mean(b - a for a, b in zip(*found.values(), strict=True))
    assert min(found["float32"]) > 0.6, "scores of what has learnt nothing agree, too"
    assert found["float32"] != found["bf16"], "the precision is used"
    assert abs(apart) < max(found["float32"]) - min(found["float32"])
