"""Tiles must not show in the result, memory must not grow with the image, and scores must be those of the metrics."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.protocol import evaluate as module
from benchmark.protocol import metrics
from benchmark.protocol.evaluate import bands, evaluate, segment
from benchmark.protocol.scores import COMPUTED, SCORES
from methods.base import IGNORE


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """A small convolutional network of three classes, whose output at a border depends on where the border is."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 3, 5, padding=2)).eval()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assembled(predict, image, **options) -> np.ndarray:
    """The probabilities of a whole image, and a check that its rows come once and in order."""
    pieces = []
    for top, rows in bands(predict, image, **options):
        assert top == sum(piece.shape[1] for piece in pieces)
        pieces.append(rows)
    whole = np.concatenate(pieces, axis=1)
    assert whole.shape[1:] == image.shape[:2]
    return whole


def in_one_piece(predict, image) -> np.ndarray:
    with torch.inference_mode():
        return predict(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255).softmax(1)[0].numpy()


@pytest.mark.parametrize("size", [(20, 31), (32, 32), (7, 32)])
def test_an_image_within_one_tile_is_one_forward_pass(net, size):
    image = picture(*size)
    assert np.array_equal(assembled(net, image, tile=32), in_one_piece(net, image))
    assert np.array_equal(segment(net, image, tile=32), in_one_piece(net, image).argmax(0))


@pytest.mark.parametrize(("size", "overlap", "batch"), [((75, 90), 0.25, 4), ((33, 100), 0.5, 1), ((90, 20), 0.0, 3)])
def test_bands_equal_tiles_added_up_over_the_whole_image(net, size, overlap, batch):
    image = picture(*size)
    total, weight = np.zeros((3, *size)), np.zeros(size)
    height, width = (min(32, side) for side in size)
    for top in starts(size[0], height, overlap):
        for left in starts(size[1], width, overlap):
            window = np.outer(bell(height, size[0], overlap), bell(width, size[1], overlap))
            here = np.s_[top : top + height, left : left + width]
            total[:, *here] += window * in_one_piece(net, image[here])
            weight[here] += window
    result = assembled(net, image, tile=32, overlap=overlap, batch=batch)
    assert result == pytest.approx(total / weight, abs=1e-6)


def starts(length: int, tile: int, overlap: float) -> list[int]:
    """Of as few tiles as can share so much, evenly spread."""
    count = int(np.ceil((length - tile) / int(tile * (1 - overlap)))) + 1
    return np.round(np.linspace(0, length - tile, count)).astype(int).tolist()


def bell(tile: int, length: int, overlap: float) -> np.ndarray:
    fade = max(1, tile - max(np.diff(starts(length, tile, overlap)), default=0))
    from_end = np.minimum(np.arange(tile), tile - 1 - np.arange(tile)) + 0.5
    return np.where(from_end < fade, np.sin(np.pi / 2 * from_end / fade) ** 2, 1.0)


def test_probabilities_sum_to_one_and_are_float32(net):
    result = assembled(net, picture(50, 61), tile=16)
    assert result.dtype == np.float32
    assert result.sum(0) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_network_that_knows_its_place_in_the_tile_leaves_no_seam(axis):
    def ramp(x):  # from 0 to 1 across the tile, in probability
        side = x.shape[2 + axis]
        probability = torch.linspace(0.01, 0.99, side).reshape((-1, 1) if axis == 0 else (1, -1)).expand(x.shape[2:])
        logit = probability.logit().expand(len(x), 1, *x.shape[2:])
        return torch.cat([-logit / 2, logit / 2], 1)

    image = picture(192, 192)
    jumps = {o: np.abs(np.diff(assembled(ramp, image, tile=64, overlap=o)[1], axis=axis)).max() for o in (0.0, 0.25)}
    assert jumps[0.0] > 0.9  # hard edges, for comparison
    assert jumps[0.25] < 0.1  # a squared sine over 21 pixels falls by no more than π/42 a pixel


def test_bfloat16_stays_close_and_an_unknown_precision_is_named(net):
    image = picture(40, 40)
    low, high = (assembled(net, image, tile=32, precision=p) for p in ("bf16", "float32"))
    assert low.dtype == np.float32
    assert 0 < np.abs(low - high).max() < 0.02
    with pytest.raises(ValueError, match="no precision 'bf61'.*'bf16'"):
        segment(net, image, tile=32, precision="bf61")


def test_logits_of_another_size_are_refused():
    with pytest.raises(ValueError, match="must have their size"):
        segment(lambda x: x[:, :2, ::2, ::2], picture(16, 16), tile=16)


def test_tiles_without_a_pixel_or_without_an_end_are_refused(net):
    for options in ({"tile": 0}, {"tile": 8, "overlap": 1.0}):
        with pytest.raises(ValueError, match="at least 1 pixel"):
            segment(net, picture(16, 16), **options)


def test_a_memory_map_will_do_and_progress_counts_rows(net, tmp_path):
    image = picture(70, 40)
    mapped = np.memmap(tmp_path / "image", np.uint8, "w+", shape=image.shape)
    mapped[:] = image
    heard = []
    found = segment(net, mapped, tile=32, progress=lambda done, total: heard.append((done, total)))
    assert np.array_equal(found, segment(net, image, tile=32))
    assert heard[-1] == (70, 70)
    assert heard == sorted(heard)


# ----------------------------------------------------------------------------------------------------------------------
# Scores


class Shelf:
    """What `evaluate` needs of a store: images of two sizes, numbered objects or classes, and one without an object."""

    def __init__(self, instances: bool = False, classes: tuple[str, ...] = ("background", "gland", "tumour")):
        self.classes, self.dataset = lambda task: classes, SimpleNamespace(instances=instances)
        sizes = [(40, 50), (30, 30), (40, 50), (30, 30)]
        self.images = [picture(*size, seed) for seed, size in enumerate(sizes)]
        self.masks = [np.random.default_rng(9 + k).integers(0, len(classes), size) for k, size in enumerate(sizes)]
        self.masks[1][:] = 0
        if instances:
            self.masks = [metrics.components(mask).astype(np.uint16) for mask in self.masks]
        self.records = [
            SimpleNamespace(name=f"n{k}", patient=f"p{k // 2}", stratum="", height=size[0], width=size[1])
            for k, size in enumerate(sizes)
        ]
        self.asked = []

    def image(self, i):
        return self.images[i]

    def mask(self, i):
        return self.masks[i]

    def label(self, i, task=""):
        self.asked.append((i, task))
        return (self.masks[i] > 0 if self.dataset.instances else self.masks[i]).astype(np.uint8)


def test_scores_are_those_of_the_metrics_in_the_order_asked_for(net):
    store, heard = Shelf(), []
    found = evaluate(
        net, store, [2, 1, 0], task="both", tile=32, progress=lambda done, total: heard.append((done, total))
    )
    assert [(image["name"], image["patient"]) for image in found] == [("n2", "p1"), ("n1", "p0"), ("n0", "p0")]
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert sorted(store.asked) == [(0, "both"), (1, "both"), (2, "both")]
    truth, guess = store.masks[0], segment(net, store.images[0], tile=32)
    image = found[2]
    for c in (1, 2):
        surface = metrics.surface(truth == c, guess == c)
        assert image["dice"][c - 1] == round(metrics.dice(truth == c, guess == c), 4)
        assert image["jaccard"][c - 1] == round(metrics.jaccard(truth == c, guess == c), 4)
        assert image["hd95"][c - 1] == round(metrics.hd95(surface), 2)
        assert image["assd"][c - 1] == round(metrics.assd(surface), 2)
        assert image["boundary_f1"][c - 1] == round(metrics.boundary_f1(surface), 4)
        assert image["predicted"][c - 1] == (guess == c).any()
    assert image["present"] == [True, True]
    assert image["background_dice"] == round(metrics.dice(truth == 0, guess == 0), 4)
    foreground = 1 - assembled(net, store.images[0], tile=32)[0]
    bins = metrics.calibration_bins(foreground, truth > 0)
    assert image["ece"] == pytest.approx(metrics.calibration_error(bins), abs=1e-4)
    assert found[1]["present"] == [False, False]
    json.dumps(found, allow_nan=False)


def test_several_processes_compute_the_same_scores_in_the_same_order(net, monkeypatch):
    store = Shelf(instances=True, classes=("background", "gland"))
    two = lambda x: net(x)[:, :2]  # noqa: E731
    here = evaluate(two, store, [3, 0, 2, 1], tile=16)
    heard, wanted = [], []
    monkeypatch.setattr(module, "scorers", lambda device, images: wanted.append(images) or 2)
    monkeypatch.setattr(module, "WAITING", 1)
    there = evaluate(two, store, [3, 0, 2, 1], tile=16, progress=lambda done, total: heard.append(done))
    assert json.dumps(there) == json.dumps(here) and wanted == [4]
    assert heard[-1] == 4 and heard == sorted(heard)


def test_processes_that_score_are_for_a_gpu_with_many_images():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert module.scorers(cpu, 10**6) == 0 and module.scorers(gpu, module.MANY - 1) == 0
    assert module.scorers(gpu, module.MANY) == torch.get_num_threads()


def test_processes_that_score_end_with_the_one_that_uses_them():
    script = """
import os, signal, sys
from benchmark.protocol import scoring
print(scoring.pool(1).submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    worker = int(done.stdout)
    for _ in range(200):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the process still runs")


def test_an_image_without_object_or_alarm_has_none_and_is_counted():
    silent = evaluate(lambda x: torch.cat([x[:, :1] + 9, 0 * x[:, :2]], 1), Shelf(), [1], tile=32)[0]
    assert silent["dice"] == silent["jaccard"] == silent["hd95"] == silent["assd"] == [None, None]
    assert silent["present"] == silent["predicted"] == [False, False]
    assert silent["background_dice"] == 1.0


def test_numbered_objects_get_the_object_scores(net):
    store = Shelf(instances=True, classes=("background", "gland"))
    two = lambda x: net(x)[:, :2]  # noqa: E731
    image = evaluate(two, store, [0], tile=32)[0]
    guess = segment(two, store.images[0], tile=32)
    expected = metrics.object_scores(store.masks[0], metrics.components(guess))
    found = (*image["object_f1"], *image["object_dice"], *image["object_hausdorff"])
    assert found == pytest.approx(expected, abs=0.005)
    assert "object_f1" not in evaluate(two, Shelf(classes=("background", "gland")), [0], tile=32)[0]


def test_only_the_scores_that_are_wanted_are_computed(net, monkeypatch):
    def refuse(*masks):
        raise AssertionError("validation has no use for distances")

    all_ = evaluate(net, Shelf(), [0], tile=32)[0]
    monkeypatch.setattr(metrics, "surface", refuse)
    (found,) = evaluate(net, Shelf(), [0], tile=32, scores=[SCORES["dice"]])
    assert found["dice"] == all_["dice"] and "hd95" not in found


class Margin(Shelf):
    """The same images with and without a margin that is ignored, on each side of another width."""

    around = ((3, 2), (0, 5))

    def __init__(self, ignored: bool):
        super().__init__(classes=("background", "gland", "tumour"))
        if ignored:
            self.images = [np.pad(image, (*self.around, (0, 0)), mode="reflect") for image in self.images]
            self.masks = [np.pad(mask, self.around, constant_values=IGNORE) for mask in self.masks]
            for record, mask in zip(self.records, self.masks, strict=True):
                record.height, record.width = mask.shape


def test_an_ignored_margin_scores_as_if_it_was_cut_off():
    pixelwise = nn.Conv2d(3, 3, 1).eval()  # sees no context, so that only the scores could know of the margin
    cut, ignored = (evaluate(pixelwise, Margin(margin), [0, 1, 2, 3], tile=64) for margin in (False, True))
    assert ignored == cut
    assert cut[0]["hd95"] != [None, None] and cut[1]["present"] == [False, False]


def test_an_image_that_is_all_ignored_has_no_score():
    store = Margin(False)
    store.masks[0][:] = IGNORE
    (found,) = evaluate(nn.Conv2d(3, 3, 1).eval(), store, [0], tile=64)
    assert found["present"] == found["predicted"] == [False, False]
    numbers = [found[score.name] for score in COMPUTED if score.name in found]
    assert {None} == {value for number in numbers for value in (number if isinstance(number, list) else [number])}


def test_small_images_of_one_size_share_a_forward_pass(net):
    sizes = []

    def predict(x):
        sizes.append(tuple(x.shape))
        return net(x)

    together = evaluate(predict, Shelf(), [0, 1, 2, 3], tile=64, batch=8)
    assert sorted(sizes) == [(2, 3, 30, 30), (2, 3, 40, 50)]
    assert together == evaluate(net, Shelf(), [0, 1, 2, 3], tile=64, batch=1)


def test_no_gradient_is_recorded_and_the_mode_is_left_alone(net):
    layer = nn.Conv2d(3, 2, 1)

    def predict(x):
        assert torch.is_inference_mode_enabled()
        assert layer.training
        return layer(x)

    layer.train()
    for _ in bands(predict, picture(20, 20), tile=8):
        assert not torch.is_inference_mode_enabled()


# ----------------------------------------------------------------------------------------------------------------------
# Memory

HUGE = """
import resource, sys
import numpy as np
from torch import nn
from benchmark.evaluate import segment

side, path = int(sys.argv[1]), sys.argv[2]
rows = np.random.default_rng(0).integers(0, 256, (100, side, 3), dtype=np.uint8).tobytes()
with open(path, "wb") as file:
    for _ in range(side // 100):
        file.write(rows)
image = np.memmap(path, np.uint8, "r", shape=(side, side, 3))
net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
segment(net, image[:600, :600], tile=512)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
classes = segment(net, image, tile=512)
assert classes.shape == (side, side) and classes.max() <= 1
print(before // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_an_image_of_20000_pixels_a_side_needs_less_than_two_gigabytes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HUGE, "20000", str(tmp_path / "image")], capture_output=True, text=True, check=True
    )
    before, peak = map(int, done.stdout.split())
    assert peak - before < 2000  # MB, of which 1145 are pages of the mapped image and 381 the answer
