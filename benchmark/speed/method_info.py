"""Computes the card of a method, and writes the file of a new method; as a program, writes the stored cards."""

import datetime
import inspect
import keyword
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import torch

import methods
from benchmark import progress
from benchmark.files import write_text
from benchmark.protocol import flops
from benchmark.protocol.suites import BASELINE
from benchmark.runs import Run
from benchmark.speed import cards
from benchmark.speed.cards import Card
from benchmark.words import some
from methods.base import Batch, Method
from methods.parts.nets import Arch, Encoder
from methods.parts.teacher import Teacher

COPIED = "entropy_min"  # the shortest method that uses unlabelled images: a new one starts as its copy
SIDE = 64  # pixels of the images on which operations are counted
PACKAGE = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{distribution}"
version = "0.1.0"
description = "A method for pathology-ssl-bench"
dependencies = ["pathology-ssl-bench"]

[project.entry-points."bench.methods"]
{name} = "{name}:{kind}"

[tool.setuptools]
py-modules = ["{name}"]
"""


def computed(name: str) -> Card:
    """The card of a method, from its class and a counted training step.

    Raises:
        ValueError: if there is no such method.
        methods.Broken: if it cannot be used.
    """
    kind = methods.get(name)
    built, counted = _counted(name)
    baseline = counted if name == BASELINE else _counted(BASELINE)[1]
    parameters = inspect.signature(kind.__init__).parameters.values()
    return Card(
        name=name,
        source=cards.source_hash(name),
        title=kind.title,
        year=kind.year,
        venue=getattr(kind, "venue", ""),
        text=(inspect.getmodule(kind).__doc__ or "").strip(),
        settings={p.name: repr(p.default) for p in parameters if p.kind is p.KEYWORD_ONLY},
        variants={
            variant: {setting: repr(value) for setting, value in changed.items()}
            for variant, changed in methods.variants(name).items()
        },
        needs=needs(built),
        flops=counted["flops"],
        relative_flops=counted["flops"] / baseline["flops"],
        with_gradient=counted["images"]["with_gradient"],
        without_gradient=counted["images"]["without_gradient"],
        parameters=counted["parameters"],
    )


def needs(method: Method) -> str:
    """What a method is built of."""
    teachers = [module for module in method.modules() if isinstance(module, Teacher)]
    of_teachers = {id(module) for teacher in teachers for module in teacher.modules()}
    own = [module for module in method.modules() if id(module) not in of_teachers]
    encoders = sum(isinstance(module, Encoder) for module in own)
    decoders = sum(hasattr(module, "head") and not isinstance(module, Encoder) for module in own)
    parts = [
        some(encoders, "encoder"),
        some(decoders, "decoder"),
        *([some(len(teachers), "teacher")] if teachers else []),
    ]
    return ", ".join(parts)


def in_checkout() -> bool:
    """Whether the methods are in a checkout of this project, where a new method can be added to them."""
    root = Path(methods.__file__).parent.parent
    return (root / "pyproject.toml").exists() and (root / "tests" / "parity").is_dir()


def new_method(name: str, folder: Path) -> Path:
    """Writes `folder/name.py`, a method that passes the contract and runs, as a starting point.

    Raises:
        ValueError: if the name cannot name a method, or is in use.
    """
    path = folder / f"{name}.py"
    _check_new(name, path)
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
    body = body.replace(f"class {kind.__name__}(", f"class {_class_name(name)}(")
    body = re.sub(
        r"(    title, year, venue, paper = ).*", rf'\1"{title}", {_this_year()}, "", "https://example.org"', body
    )
    write_text(path, head + body)
    return path


def new_package(name: str, folder: Path) -> Path:
    """Writes `folder/bench-name`, a package that provides a new method once it is installed.

    Raises:
        ValueError: if the name cannot name a method, or is in use.
    """
    package = folder / f"bench-{name.replace('_', '-')}"
    _check_new(name, package)
    new_method(name, package)
    text = PACKAGE.format(distribution=package.name, name=name, kind=_class_name(name))
    write_text(package / "pyproject.toml", text)
    return package


def _check_new(name: str, path: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ValueError(
            f"'{name}' cannot name a method; use small letters, digits and underscores, such as my_method."
        )
    if name in methods.names() or name in ("base", "parts", "testing") or path.exists():
        raise ValueError(f"There is a '{name}' already; choose another name.")


def _class_name(name: str) -> str:
    return name.replace("_", " ").title().replace(" ", "")


def _this_year() -> int:
    return datetime.date.today().year


def _counted(name: str) -> tuple[Method, dict[str, Any]]:
    """A method on the network of the recipe quick, untrained, and the cost of a training step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = methods.build(name, Arch(Run.encoder, Run.decoder, width=Run.width, load=False)).to(
            memory_format=torch.channels_last
        )
        return built, flops.count(built, _batch())


def _batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(Run.labelled + Run.unlabelled, 3, SIDE, SIDE, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    masks = torch.randint(0, 2, (Run.labelled, SIDE, SIDE), generator=generator)
    return Batch(images[: Run.labelled], masks, images[Run.labelled :])


def main() -> None:
    """Writes the stored cards; computes those of new and changed methods, and of the methods named as arguments."""
    files = Path(methods.__file__).parent.glob("*.py")
    names = sorted(path.stem for path in files if path.stem not in ("__init__", "base"))
    current = {name: card for name in names if name not in sys.argv[1:] and (card := cards.stored_card(name))}
    with progress.watching("Computing cards", len(names)) as tell:
        for done, name in enumerate(names, 1):
            current[name] = current.get(name) or computed(name)
            tell(done, name)
    lines = ",\n".join(msgspec.json.encode(current[name]).decode() for name in names)
    write_text(cards.PATH, f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
