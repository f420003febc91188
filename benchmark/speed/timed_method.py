"""A method with all it needs to train and to predict, each as a call that can be timed."""

import itertools
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

import methods
from benchmark.datasets import store as stores
from benchmark.datasets.store import Store
from benchmark.protocol.batches import Batches, draw
from benchmark.protocol.evaluate import MANY, evaluate, scorers, segment
from benchmark.protocol.flops import autocast, count, count_prediction
from benchmark.protocol.setup import build
from benchmark.protocol.step import CAPTURES, Step, captured, optimiser
from benchmark.protocol.train import VALIDATIONS
from benchmark.runs import Run
from benchmark.speed import monitor, roofline
from benchmark.speed.interleave import wait
from methods.base import Batch

MORE_CALLS = 3  # after the first, until memory has reached its peak
SCORED = {"cpu": 8, "cuda": 2 * MANY}  # images that are scored to measure how long it takes


class Subject:
    """The method of a run: untrained, because its weights do not decide how long it takes.

    Its learning rate is 0: a step does the same arithmetic, and the next one starts where it did. `step` is the step
    that a run would take: on a GPU it is captured, if possible.
    """

    def __init__(self, run: Run, store: Store, device: torch.device):
        store = stores.at_resolution(store, run)
        self.run, self.device, self.store = run, device, store
        subset = self.subset = draw(store, run)
        self.batches = Batches(run, store, subset, device, methods.get(run.method).uses_unlabelled)
        self.batch, self.place, self.taken = self.batches.at(0), 0, 0
        self.image, self.classes = store.image(subset.test[0]), len(store.classes(run.task))
        self.startup: dict[str, float] = {}
        self.memory: dict[str, int] = {}
        used = monitor.in_use(device)
        self.startup["build_s"] = self._seconds(self._build)
        self.memory["predict"] = monitor.peak_of(device, lambda: self._first("first_predict_s", self.predict), used)
        self.memory["train"] = monitor.peak_of(device, lambda: self._first("first_step_s", self.train), used)
        self.step: Step = self.eager
        if device.type in CAPTURES:
            self.memory["captured"] = monitor.peak_of(device, self._capture, used)

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Of each mode the images a call, and the pixels where they are not those of the crops."""
        trained = {"images": len(self.batch.x) + len(self.batch.u)}
        height, width = self.image.shape[:2]
        return {
            "train": trained,
            "train_captured": trained,
            "train_data": trained,
            "train_compiled": trained,
            "predict": {"images": len(self.batch.x)},
            "segment": {"images": 1, "pixels": height * width},
        }

    def train(self) -> None:
        """An eager step on a batch that is already on the device."""
        self._take(self.eager, self.batch)

    def train_as_run(self) -> None:
        """The step that a run would take, on a batch that is already on the device."""
        self._take(self.step, self.batch)

    def train_data(self) -> None:
        """The step that a run would take, on the next batch, cut from the store."""
        self.place += 1
        self._take(self.step, self.batches.at(self.place))

    @torch.inference_mode()
    def predict(self) -> None:
        """The network on the labelled half of the batch."""
        self._mode(training=False)
        with autocast(self.device, self.run.precision):
            self.method.predict(self.batch.x)

    def segment(self) -> None:
        """A whole image of the store, tile by tile."""
        self._mode(training=False)
        segment(
            self.method.predict, self.image, tile=self.run.tile, batch=self.run.labelled, device=self.device,
            precision=self.run.precision,
        )  # fmt: skip

    def compiled(self) -> Callable[[], None]:
        """A step with compiled losses; `startup` learns how long that takes without any cache.

        The compiler's folder is this process's own from then on.
        """
        self.kernels = tempfile.TemporaryDirectory(prefix="kernels-")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = self.kernels.name
        eager = self.method.losses
        fast = torch.compile(eager)

        def train() -> None:
            self.method.losses = fast
            try:
                self.train()
            finally:
                self.method.losses = eager

        self.startup["compile_s"] = self._seconds(lambda: [train() for _ in range(MORE_CALLS)])
        return train

    def scoring(self) -> dict[str, float]:
        """See `scoring` of a speed record in `benchmark.analysis.timing`."""
        self._mode(training=False)
        run = self.run
        few = list(itertools.islice(itertools.cycle(self.subset.test), SCORED[self.device.type]))

        def score() -> None:
            evaluate(
                self.method.predict, self.store, few, task=run.task, tile=run.tile, device=self.device,
                precision=run.precision,
            )  # fmt: skip

        if scorers(self.device, len(few)):
            score()  # starts the processes
        seconds = self._seconds(score)
        asked = VALIDATIONS * self._pixels(self.subset.val) + 2 * self._pixels(self.subset.test)
        return {"pixels": asked, "pixels_per_s": round(self._pixels(few) / max(seconds, 1e-3))}

    def cost(self) -> dict[str, Any]:
        """See `cost` of a speed record in `benchmark.analysis.timing`."""
        self._mode(training=True)
        training = count(self.method, self.batch, self.run.precision)
        return {
            "train": {name: training[name] for name in ("flops", "counted", "images")}
            | {"bytes": roofline.moved_bytes(self.method, self.batch, self.run.precision)},
            "predict": count_prediction(self.method, self.batch.x, self.run.precision),
            "parameters": training["parameters"],
        }

    def _pixels(self, places: list[int]) -> int:
        return sum(self.store.records[i].height * self.store.records[i].width for i in places)

    def _build(self) -> None:
        method = build(self.run, self.classes, pretrained=False)
        self.method = method.to(self.device).to(memory_format=torch.channels_last)
        self.eager = Step(self.method, optimiser(self.method, self.run), self.run.precision)

    def _capture(self) -> None:
        self._mode(training=True)
        self.step = captured(self.eager, self.batch)

    def _take(self, step: Step, batch: Batch) -> None:
        self._mode(training=True)
        self.taken += 1
        t = 1 - 1e-6 * (self.taken % 1000)  # the full price, and never twice the same, as in training
        step(batch, t, 0.0)

    def _mode(self, training: bool) -> None:
        if self.method.training != training:
            self.method.train(training)

    def _first(self, name: str, call: Callable[[], None]) -> None:
        self.startup[name] = self._seconds(call)
        for _ in range(MORE_CALLS):
            call()
        wait(self.device)

    def _seconds(self, call: Callable[[], Any]) -> float:
        wait(self.device)
        start = time.perf_counter()
        call()
        wait(self.device)
        return round(time.perf_counter() - start, 3)
