"""What is known of a method: its idea, what it needs and costs, and a new method's file to start from."""

import datetime
import importlib
import inspect
import keyword
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import methods
from benchmark.protocol import flops
from benchmark.protocol.suites import BASELINE
from benchmark.runs import Run
from benchmark.speed import measure
from methods.base import Batch, Method
from methods.parts.nets import Arch, Encoder
from methods.parts.teacher import Teacher
from methods.testing.parity import compare

COPIED = "entropy_min"  # the shortest method that looks at unlabelled images: a new one starts as its copy


def listing() -> Iterator[dict[str, Any]]:
    """A line for each method, by year: name, title, year, venue, idea, needs, and its cost beside supervised.

    Methods that cannot be used come last; their lines have `name` and `broken`, a sentence that says why.
    """
    kinds, broken = {}, []
    for name in methods.names():
        try:
            kinds[name] = methods.get(name)
        except methods.Broken as error:
            broken.append({"name": name, "broken": str(error)})
    baseline = _counted(BASELINE, 64)[1]["flops"]
    for name, kind in sorted(kinds.items(), key=lambda pair: (pair[1].year, pair[0])):
        try:
            built, counted = _counted(name, 64)
        except Exception as error:  # whatever the file of a method does
            broken.append({"name": name, "broken": f"A step of '{name}' fails: {methods.described(error)}"})
            continue
        yield {
            "name": name,
            "title": kind.title,
            "year": kind.year,
            "venue": getattr(kind, "venue", ""),
            "idea": idea(kind),
            "needs": needs(built),
            "cost": counted["flops"] / baseline,
        }
    yield from broken


def idea(kind: type[Method]) -> str:
    """The idea in a line: the first sentence of the method's file, after its name; "" where the file has none."""
    return text(kind).partition("\n")[0].partition(": ")[2].rstrip(".")


def text(kind: type[Method]) -> str:
    """What a method's file says of it."""
    return (inspect.getmodule(kind).__doc__ or "").strip()


def needs(method: Method) -> str:
    """What a method is built of."""
    teachers = [module for module in method.modules() if isinstance(module, Teacher)]
    taught = {id(module) for teacher in teachers for module in teacher.modules()}
    own = [module for module in method.modules() if id(module) not in taught]
    encoders = sum(isinstance(module, Encoder) for module in own)
    decoders = sum(hasattr(module, "head") and not isinstance(module, Encoder) for module in own)
    parts = [f"{encoders} encoder{'s' * (encoders > 1)}", f"{decoders} decoder{'s' * (decoders > 1)}"]
    return ", ".join(parts + ["a teacher"] * bool(teachers))


def measured(name: str, repeats: int = 7) -> dict[str, Any]:
    """A step of the quick recipe, counted and timed beside supervised: images, FLOPs, and the ratio of seconds."""
    size = Run.crop
    (one, counted), (other, baseline) = _counted(name, size), _counted(BASELINE, size)
    times = measure.step_seconds({"one": one, "other": other}, _batch(size), repeats=repeats)
    seconds = {who: statistics.median(times[who]) for who in times}
    return {
        "images": counted["images"],
        "flops_ratio": counted["flops"] / baseline["flops"],
        "parameters": counted["parameters"],
        "seconds": seconds["one"],
        "seconds_ratio": seconds["one"] / seconds["other"],
    }


def parity(name: str) -> dict[int, tuple[float, float]] | None:
    """For 2 and 5 classes how far terms and gradients are from the derivation in `tests/parity`, at most.

    None where there is no derivation: for a method of another package, or outside the source tree.
    """
    tests = Path(methods.__file__).parent.parent / "tests"
    if not (tests / "parity" / f"{name}.py").exists():
        return None
    if str(tests) not in sys.path:
        sys.path.append(str(tests))
    by_hand = importlib.import_module(f"parity.{name}")
    dropout = getattr(by_hand, "DROPOUT", Arch.dropout)
    found = {}
    for classes in (2, 5):
        lines = list(compare(lambda arch: methods.build(name, arch), by_hand.derived, classes, dropout))
        found[classes] = max(line.difference for line in lines), max(line.gradient_difference for line in lines)
    return found


def settings(kind: type[Method]) -> dict[str, Any]:
    """The settings of a method with their defaults."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def new_method(name: str, folder: Path) -> Path:
    """Writes `folder/name.py`, a method that passes the contract and runs, as a starting point for its author."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ValueError(
            f"'{name}' cannot name a method; use small letters, digits and underscores, such as my_method."
        )
    path = folder / f"{name}.py"
    if name in methods.names() or name in ("base", "parts", "testing") or path.exists():
        raise ValueError(f"There is a '{name}' already; choose another name.")
    kind = methods.get(COPIED)
    source = inspect.getsource(inspect.getmodule(kind))
    body = source[source.index('"""', 3) + 3 :]
    title = name.replace("_", " ").title()
    head = f'''"""{title} ({_this_year()}): the idea in one line.

Authors, "title", venue, https://link-to-the-paper

L = L_sup + the terms of `losses` as formulas, with means, sums and stop-gradients.

Settings: each setting with its published value.

Differences from the paper and the released code:
- Each difference, with its reason.
"""'''
    body = body.replace(f"class {kind.__name__}(", f"class {title.replace(' ', '')}(")
    body = re.sub(
        r"(    title, year, venue, paper = ).*", rf'\1"{title}", {_this_year()}, "", "https://example.org"', body
    )
    path.write_text(head + body, encoding="utf-8")
    return path


def _this_year() -> int:
    return datetime.date.today().year


def _counted(name: str, size: int) -> tuple[Method, dict[str, Any]]:
    """A method on the quick recipe's network, untrained, and what its step costs on images of this size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = methods.build(name, Arch(Run.encoder, Run.decoder, width=Run.width, load=False)).to(
            memory_format=torch.channels_last
        )
        return built, flops.count(built, _batch(size))


def _batch(size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(Run.labelled + Run.unlabelled, 3, size, size, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    masks = torch.randint(0, 2, (Run.labelled, size, size), generator=generator)
    return Batch(images[: Run.labelled], masks, images[Run.labelled :])
