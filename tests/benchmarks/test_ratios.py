"""The trainer beside what the field does, and beside the least that it could do; `docs/speed.md` says how to run it."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from slide_files import save_slide, tissue

from benchmark import machine
from benchmark.datasets.store import Store
from benchmark.datasets.wsi import Slide
from benchmark.protocol import checkpoint, setup, train
from benchmark.protocol.batches import Batches, draw
from benchmark.protocol.distributed import Team
from benchmark.protocol.evaluate import bands
from benchmark.protocol.step import Step, optimiser
from benchmark.protocol.suites import RECIPES
from benchmark.protocol.whole_slides import predict_slide
from benchmark.runs import Run
from benchmarks.conftest import CPU
from benchmarks.field import apart, endless, loader, usual_memory
from methods.base import Batch

QUICK = Run(method="cdma", dataset="patches", ratio=0.5)
FULL = dataclasses.replace(Run(method="cdma", dataset="patches", ratio=0.5), **RECIPES["full"])


def batches_of(run: Run, store, device: torch.device = CPU) -> Batches:
    return Batches(run, store, draw(store, run), device)


def stepping(run: Run, batches: Batches | Batch) -> Callable[[], None]:
    """The trainer's own step, on one batch or on each in its turn."""
    device = batches.x.device if isinstance(batches, Batch) else batches.device
    method = setup.build(run, 2).to(device, memory_format=torch.channels_last).train()
    take, steps = Step(method, optimiser(method, run), run.precision), itertools.count()

    def step() -> None:
        batch = batches if isinstance(batches, Batch) else batches.at(next(steps))
        with setup.exact(device, deterministic=False):
            take(batch, 1.0, run.lr)

    return step


def test_batches_come_twenty_times_as_fast_as_through_the_fields_pipeline(patches, patch_store, times_faster):
    """The same images and masks, whole patches, in two processes each: here those of two runs, as a sweep has them."""
    turn, run = 24, dataclasses.replace(QUICK, crop=256, labelled=8, unlabelled=0)
    theirs, steps = loader(patches, batch=8, batches=2 * turn), itertools.count()
    torch.set_num_threads(1)  # as in each of the processes, whatever --threads says, so that the row tells it

    def pipeline() -> None:
        assert sum(len(found["image"]) for found in theirs) == 16 * turn

    with ProcessPoolExecutor(2, get_context("spawn"), _prepare, (run, patch_store.folder)) as processes:

        def cut() -> None:
            first = turn * next(steps)
            assert sum(processes.map(_cut, [range(first, first + turn)] * 2)) == 16 * turn

        times_faster(
            cut, pipeline, turns=9, name="batches", least=20,
            what="Batches of 256-pixel patches with weak views, beside MONAI's transforms of JPEG files",
        )  # fmt: skip


def _prepare(run: Run, folder: Path) -> None:
    """For a process of its own: what `_cut` cuts from."""
    global BATCHES
    torch.set_num_threads(1)
    machine.keep_memory()
    BATCHES = batches_of(run, Store(folder))


def _cut(steps: range) -> int:
    """How many images the batches of these steps have."""
    return sum(len(BATCHES.at(step).x) for step in steps)


def test_data_take_a_hundredth_of_a_quick_step(patch_store, times_faster):
    batches, steps = batches_of(QUICK, patch_store), itertools.count()
    times_faster(
        lambda: batches.at(next(steps)), stepping(QUICK, batches.at(0)), turns=11, name="data", least=100,
        what="A batch of the quick recipe, beside CDMA's step with it",
    )  # fmt: skip


def test_the_trainer_adds_little_to_a_bare_loop(patch_store, times_faster, tmp_path, monkeypatch):
    """The bare loop has its batch already there, makes no seeds, counts nothing and says nothing."""
    steps = 3  # few, so that each leaves a line of history, which is more than in a run
    run = dataclasses.replace(QUICK, steps=steps)
    fixed = train.Setup(run, patch_store, tmp_path, CPU, Team(), train.Options(checkpoint_s=float("inf")))
    batch, methods = fixed.batches.at(0), [setup.build(run, 2).to(memory_format=torch.channels_last) for _ in range(2)]
    optimisers = [optimiser(method, run) for method in methods]

    step = Step(methods[0], optimisers[0], run.precision)
    monkeypatch.setattr(train, "validate", lambda *_: True)
    monkeypatch.setattr(checkpoint, "save", lambda *_: None)

    def trainer() -> None:
        assert train.loop(fixed, checkpoint.State(methods[0], optimisers[0]), step)

    def bare() -> None:
        methods[1].train()
        for _ in range(steps):
            sum(methods[1].losses(batch, torch.tensor(1.0)).values()).backward()
            optimisers[1].step()
            optimisers[1].zero_grad()

    with setup.exact(CPU, deterministic=False):
        times_faster(
            trainer, bare, turns=15, name="trainer", least=1 / 1.03,
            what="The trainer's loop, beside a bare loop on a batch that is there",
        )  # fmt: skip


def encoder_file(folder: Path, run: Run) -> str:
    """Weights for an encoder whose own are on a hub, so that its batch norms keep statistics as in a run."""
    from safetensors.torch import save_file
    from segmentation_models_pytorch.encoders import get_encoder

    save_file(get_encoder(run.encoder, weights=None).state_dict(), path := folder / "encoder.safetensors")
    return str(path)


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="measured on a GPU")


@pytest.mark.parametrize(
    ("device", "run", "least"), [("cpu", QUICK, 1.3), pytest.param("cuda", FULL, 4.0, marks=GPU)], ids=["cpu", "cuda"]
)
def test_a_step_of_cdma_beside_its_plain_form(device, run, least, patches, patch_store, times_faster, tmp_path):
    """Plain: float32 without TF32, contiguous, eager, labelled and unlabelled images apart, through a DataLoader."""
    where = torch.device(device)
    run = dataclasses.replace(run, weights=encoder_file(tmp_path, run)) if device == "cuda" else run
    batches, still = batches_of(run, patch_store, where), dataclasses.replace(run, dropout=0.0)
    images = endless(loader(patches, run.labelled + run.unlabelled, 40, run.crop), run.labelled, where)
    method = setup.build(run, 2).to(where).train()
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], run.lr)
    step = stepping(run, batches)

    def ours() -> None:
        for _ in range(3):
            step()
        _wait(where)

    def plain() -> None:
        with _without_tf32(), usual_memory():
            for _ in range(3):
                sum(apart(method, next(images)).values()).backward()
                optimiser.step()
                optimiser.zero_grad()
            _wait(where)

    with _without_tf32(), torch.no_grad():
        same, batch = setup.build(still, 2).to(where).train(), batches.at(0)
        together = same.losses(batch, torch.tensor(1.0))
        for name, term in apart(same, batch).items():
            assert term.item() == pytest.approx(together[name].item(), rel=1e-4), "the two forms are of one method"
    times_faster(
        ours, plain, turns=9, name="plain", least=least, device=where,
        what="CDMA's step, beside its plain form: float32, contiguous, eager, images apart, a DataLoader",
    )  # fmt: skip


def test_memory_that_is_kept_makes_a_method_with_large_arrays_faster(patch_store, times_faster):
    run = dataclasses.replace(QUICK, method="ua_mt")
    step = stepping(run, batches_of(run, patch_store).at(0))

    def fetched() -> None:
        with usual_memory():
            step()

    times_faster(
        step, fetched, turns=15, name="memory", least=1,
        what="UA-MT's step with memory that the process keeps, beside one with memory that it fetches anew",
    )  # fmt: skip


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def _without_tf32():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_tiles_beside_a_sliding_window(times_faster):
    """The same windows, weights and batch; the field's network is contiguous, as MONAI's own are."""
    tile, shared, count = 256, 64, 4
    side = count * (tile - shared) + shared  # so that evenly spread windows are those of a fixed stride
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    fade = torch.sin(torch.pi / 2 * ((torch.arange(tile) + 0.5).clamp(max=shared) / shared).clamp(max=1)) ** 2
    bell = torch.minimum(fade, fade.flip(0))
    run = dataclasses.replace(QUICK, method="supervised")
    plain, ours = setup.build(run, 2).eval(), setup.build(run, 2).to(memory_format=torch.channels_last).eval()

    def tiled() -> np.ndarray:
        return np.concatenate([rows for _, rows in bands(ours.predict, image, tile=tile, batch=8)], 1)

    def sliding(method=plain, layout=torch.contiguous_format) -> np.ndarray:
        with torch.no_grad(), usual_memory():
            x = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255).contiguous(memory_format=layout)
            return sliding_window_inference(
                x, (tile, tile), 8, lambda windows: method.predict(windows).softmax(1),
                overlap=shared / tile, roi_weight_map=bell[:, None] * bell,
            )[0].numpy()  # fmt: skip

    assert np.abs(tiled() - sliding(ours, torch.channels_last)).max() < 1e-5
    assert np.abs(tiled() - sliding()).max() < 1e-4, "another layout adds in another order"
    times_faster(
        tiled, sliding, turns=7, name="tiles", least=1.3,
        what="Prediction of a large image, beside MONAI's sliding window",
    )  # fmt: skip


def test_a_slide_is_predicted_faster_than_by_a_loop_over_its_tiles(tmp_path, times_faster):
    """A pyramid with tissue on a third of it. The loop reads every tile at full resolution, as scripts do."""
    image, um, tile = tissue(size=(4096, 2048)), 0.25, 256
    image[:, 4096 // 3 :] = 245
    slide = Slide(save_slide(tmp_path / "slide.tif", image, um))
    method = setup.build(Run(method="supervised", encoder="tu-test_efficientnet", weights="none", width=32), 2).eval()
    width, height, step = *slide.size(2 * um), tile * 3 // 4

    @torch.inference_mode()
    def loop() -> None:
        classes = np.zeros((height, width), np.uint8)
        for top, left in itertools.product(range(0, height, step), range(0, width, step)):
            pixels = slide._file.read_region((2 * left, 2 * top), 0, (2 * tile, 2 * tile)).convert("RGB")
            x = torch.from_numpy(np.array(pixels.resize((tile, tile)))).permute(2, 0, 1)[None].float() / 255
            found = method.predict(x).softmax(1).argmax(1)[0].numpy()
            part = classes[top : top + tile, left : left + tile]
            part[:] = found[: part.shape[0], : part.shape[1]]

    def ours() -> None:
        predict_slide([method.predict], slide, 2 * um, tmp_path / "raster.tif", tile=tile)

    times_faster(
        ours, loop, turns=5, name="slide", least=1.5,
        what="Prediction of a slide with tissue on a third of it, beside a loop over its tiles at full resolution",
    )  # fmt: skip
