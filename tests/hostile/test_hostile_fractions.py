"""A labelled fraction means the same number of images everywhere, and a fraction that a message offers is accepted."""

import dataclasses
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.datasets.base import Record
from benchmark.datasets.splits import labelled_count
from benchmark.protocol.batches import draw
from benchmark.runs import Run


def store_of(count: int) -> SimpleNamespace:
    """What `draw` needs to know of a dataset with so many annotated training images."""
    names = [f"i{k}" for k in range(count + 1)]
    records = [Record(name, name, "", "", (), 64, 64, 0, True, name, name, "") for name in names]
    parts = {"train": list(range(count)), "val": [], "test": [count]}
    return SimpleNamespace(name="mine", records=records, used=lambda split: parts)


@pytest.mark.parametrize(
    ("ratio", "count", "expected"), [(0.3333, 3, 1), (0.5, 3, 2), (0.05, 668, 33), (0.1, 4, 0), (1, 7, 7), (0.1, 5, 0)]
)
def test_a_fraction_means_the_nearest_whole_number(ratio, count, expected):
    assert labelled_count(ratio, count) == expected


@given(count=st.integers(1, 20_000), ratio=st.floats(1e-6, 1))
def test_the_fraction_that_the_message_offers_takes_one_image(count, ratio):
    store = store_of(min(count, 300))
    run = Run(dataset="mine", ratio=ratio)
    try:
        assert len(draw(store, run).labelled) == labelled_count(ratio, min(count, 300)) >= 1
    except ValueError as error:
        (offered,) = re.findall(r"half of one; (\S+) takes one", str(error))
        assert len(draw(store, dataclasses.replace(run, ratio=float(offered))).labelled) == 1
    assert labelled_count(float(f"{1 / count:.4g}"), count) == 1
