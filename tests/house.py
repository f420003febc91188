"""The map of the code: modules, wings, and which wing imports which; `python tests/house.py` writes it to the docs."""

import ast
import builtins
import graphlib
import symtable
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("benchmark", "methods")
GROUND = {"runs", "files", "names", "run_records", "proofs", "machine", "progress", "words"}  # outside of wings

_METHODS = ("methods", "methods.parts")
# Each wing with the wings that it may import, besides itself. The order is that of the layers, top first.
ARROWS: dict[str, tuple[str, ...]] = {
    "package": ("analysis",),
    "cli": ("report", "sweep", "speed", "analysis", "protocol", "datasets", "ground", *_METHODS, "methods.testing"),
    "report": ("analysis", "protocol", "datasets", "ground", *_METHODS),
    "sweep": ("analysis", "protocol", "datasets", "ground", *_METHODS),
    "speed": ("analysis", "protocol", "datasets", "ground", *_METHODS, "methods.testing"),
    "analysis": ("protocol", "datasets", "ground", *_METHODS),
    "protocol": ("datasets", "ground", *_METHODS),
    "datasets": ("ground",),
    "ground": (),
    "methods.testing": _METHODS,
    "methods": ("methods.parts",),
    "methods.parts": (),
}
ABOUT = {
    "package": "what `import benchmark` offers",
    "ground": "the run and its key, run records, files, progress, words",
    "methods": "the methods, one file each; needs torch and segmentation-models-pytorch, nothing of `benchmark`",
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the two packages."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def wing(module: str) -> str:
    """The wing of a module.

    Raises:
        ValueError: if the module is on no map.
    """
    package, *rest = module.split(".")
    if package == "methods":
        room = f"methods.{rest[0]}" if rest else "methods"
        return room if room in ARROWS else "methods.parts" if module == "methods.base" else "methods"
    if not rest:
        return "package"
    if rest[0] in GROUND:
        return "ground"
    if rest[0] in ARROWS and (ROOT / package / rest[0]).is_dir():
        return rest[0]
    raise ValueError(f"{module} is in no wing; move it into one, or name it in GROUND.")


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, as modules where they are ours; imports for type checking only do not count."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else node.module for name in inside}
    return frozenset(found)


def ours(module: str) -> list[str]:
    """Which of our own modules a module imports."""
    return sorted(other for other in imports(module) if other in modules() and other != module)


def undefined(module: str) -> set[str]:
    """Names that a module uses but nothing defines; the dimensions of jaxtyping's annotations are no names."""
    path = modules()[module]
    top = symtable.symtable(path.read_text(encoding="utf-8"), str(path), "exec")
    defined = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    tables, used = [top], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    return used - defined - set(dir(builtins)) - {"__file__", "__name__", "__doc__", "__path__"}


def upward() -> list[str]:
    """Imports that no arrow allows, each as a sentence."""
    return [
        f"{module} ({wing(module)}) imports {other} ({wing(other)})"
        for module in modules()
        for other in ours(module)
        if wing(other) != wing(module) and wing(other) not in ARROWS[wing(module)]
    ]


def circle() -> list[str]:
    """The modules of an import circle, inside wings too; empty if there is none. Packages' own files do not count."""
    graph = {module: [other for other in ours(module) if other not in PACKAGES] for module in modules()}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def _sentence(module: str) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(modules()[module].read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def _path(module: str) -> str:
    return str(modules()[module].relative_to(ROOT)).replace("\\", "/")


def page() -> str:
    """The map as Markdown."""
    arrows = Counter(
        (wing(module), wing(other)) for module in modules() for other in ours(module) if wing(other) != wing(module)
    )
    names = {name: name.replace(".", "_") for name in ARROWS}
    chart = [f"    {names[a]} --> {names[b]}" for a in ARROWS for b in ARROWS if arrows[a, b]]
    lines = [
        "# Architecture",
        "",
        "Written by `python tests/house.py`; `tests/test_house.py` fails if it is out of date, if a module is missing,",
        "if an import points upward, or if imports form a circle.",
        "",
        "A wing imports only the wings that its arrows point to. Only `report` uses matplotlib and seaborn, only `cli`",
        "uses click.",
        "",
        "```mermaid",
        "graph TD",
        *[f'    {names[name]}["{name}"]' for name in ARROWS],
        *chart,
        "```",
    ]
    for name in ARROWS:
        here = sorted((module for module in modules() if wing(module) == name), key=_path)
        package = {"methods.parts": "methods.parts", "methods": "methods"}.get(name, f"benchmark.{name}")
        about = ABOUT.get(name) or _sentence(package if package in modules() else name).rstrip(".")
        lines += [
            "",
            f"## {name}",
            "",
            about[:1].upper() + about[1:] + ".",
            "",
            "| module | what it does |",
            "|---|---|",
        ]
        lines += [f"| [{_path(m)}](../{_path(m)}) | {_sentence(m).replace('|', chr(92) + '|')} |" for m in here]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
