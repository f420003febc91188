"""The figures of variants and settings: differences to the full method, and scores over the values of a setting."""

import inspect
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

import methods
from benchmark.analysis import family
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.run_table import TRAINING
from benchmark.analysis.stats import Difference
from benchmark.report.figures.captions import Records
from benchmark.report.figures.style import (
    ACCENT,
    BLACK,
    COLUMN,
    SMALL,
    TEXT,
    beside_zero,
    colour_of,
    finished,
    in_style,
    interval_mark,
    page,
    percent,
    settle,
)
from benchmark.runs import Run


class Effect(NamedTuple):
    """What one variant of a method does."""

    method: str  # the label of the full method
    variant: str
    difference: Difference  # variant − full method
    claim: family.Claim | None  # adjusted by Holm over all variants that are published together
    draws: int  # that both have


def effects(c: Comparison, ratio: float) -> list[Effect]:
    """Every variant and every other setting against the method as published, on the same images, draws and seeds."""
    found: list[Effect] = []
    for full, changed in _families(c, ratio):
        differences = {label: d for label in changed if (d := c.difference(label, full, ratio)) is not None}
        claims = family.against_whole(c)
        for label, difference in differences.items():
            line = c.at(label, ratio).iloc[0]
            name = ", ".join(filter(None, (line.variant, line.settings)))
            draws = {draw for draw, _ in {*c.places(label, ratio)} & {*c.places(full, ratio)}}
            found.append(Effect(full, name, difference, claims.get((ratio, label, full)), len(draws)))
    return found


def _families(c: Comparison, ratio: float) -> list[tuple[str, dict[str, Run]]]:
    """The label of each method as published, and by label its runs with a variant or settings, trained the same way."""
    groups: dict[tuple, dict[str, Run]] = {}
    for label in c.finished(c.labels, ratio):
        if not c.uneven(label, ratio):
            run = c.records[c.keys(label, ratio)[0]].run
            groups.setdefault((run.method, *(getattr(run, name) for name in TRAINING)), {})[label] = run
    families = []
    for group in groups.values():
        full = [label for label, run in group.items() if run.plain]
        if full:
            families.append((full[0], {label: run for label, run in group.items() if label != full[0]}))
    return families


@in_style
def ablation(records: Records, ratio: float | None = None) -> Figure | None:
    """The difference of every variant to the full method with its interval; None without variants."""
    c = Comparison.of(records)
    ratios = c.ratios(c.labels)
    most = {ratio: len(effects(c, ratio)) for ratio in ratios}
    ratio = max(most, key=lambda r: (most[r], -r), default=None) if ratio is None else ratio
    found = effects(c, ratio) if ratio is not None else []
    if not found:
        return None
    full = list(dict.fromkeys(effect.method for effect in found))
    of_method = {name: sorted((e for e in found if e.method == name), key=lambda e: e.difference.mean) for name in full}
    heights = [len(of) + 0.6 for of in of_method.values()]
    figure = page(COLUMN * 1.3, 0.17 * sum(heights) + 0.22 * len(full) + 0.5)
    grid = figure.subplots(len(full), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, of) in zip(grid, of_method.items(), strict=True):
        for y, effect in enumerate(of):
            bounds = c.options.score.scale * np.array(effect.difference[:3])
            colour = colour_of(effect.claim, bounds[0])
            interval_mark(axes, y, bounds, colour, hollow=effect.draws < 2, label=effect.variant)
        axes.set_yticks(range(len(of)), [effect.variant for effect in of])
        axes.set_ylim(-0.6, len(of) - 0.4)
        axes.set_title(f"{name}, full method = 0")
        beside_zero(axes)
    grid[-1].set_xlabel(f"Difference at {percent(ratio)} % labels ({c.options.score.points})")
    caption = (
        f"Difference in mean {c.options.score.title} of each variant to the full method at a labelled fraction of "
        f"{percent(ratio)} %, on the same test images after the same draws and seeds, with its 95 % interval. In "
        "colour: significant at 5 % after Holm's correction over all variants that are published together (blue: "
        "higher, orange: lower)."
    )
    if any(effect.draws < 2 for effect in found):
        caption += " Hollow: one draw, for this labelled subset only."
    return finished(figure, caption)


# ----------------------------------------------------------------------------------------------------------------------
# Sensitivity


class Sweep(NamedTuple):
    """The runs of a method that differ in one number: its values, the labels of their runs, and the published value."""

    method: str  # the label of the published method
    setting: str
    labels: dict[float, str]
    published: float


def sweeps(c: Comparison, ratio: float) -> list[Sweep]:
    """Every number with three values or more, all else as published.

    Settings that are published with one value and were changed to one other value count as one, "weight_a = weight_b".
    A method that is no longer here, or cannot be imported, is left out: its published settings are not known.
    """
    found = []
    for full, runs in _families(c, ratio):
        if not all(_here(run.method) for run in runs.values()):
            continue
        values: dict[tuple[str, ...], dict[float, str]] = {}
        for label, run in runs.items():
            published = _defaults(run.method)
            settings = published | methods.variants(run.method).get(run.variant, {}) | dict(run.settings)
            changed = tuple(name for name, value in settings.items() if value != published.get(name))
            numbers = run.views == Run.views and all(
                type(of.get(name)) in (int, float) for name in changed for of in (published, settings)
            )
            if numbers and len({(published[name], settings[name]) for name in changed}) == 1:
                of = values.setdefault(changed, {float(published[changed[0]]): full})
                of[float(settings[changed[0]])] = label
        for names, of in values.items():
            usual = float(_defaults(next(iter(runs.values())).method)[names[0]])
            if len(of) > 2:
                found.append(Sweep(full, " = ".join(names), dict(sorted(of.items())), usual))
    return found


def _here(method: str) -> bool:
    try:
        methods.get(method)
    except ValueError:
        return False
    return True


def _defaults(method: str) -> dict[str, Any]:
    parameters = inspect.signature(methods.get(method).__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


@in_style
def sensitivity(records: Records, ratio: float | None = None) -> Figure | None:
    """Mean Dice over the values of a numeric setting, all else as published; None if no setting has three values."""
    c = Comparison.of(records)
    most = {r: len(sweeps(c, r)) for r in c.ratios(c.labels)}
    ratio = max(most, key=lambda r: (most[r], -r), default=None) if ratio is None else ratio
    found = sweeps(c, ratio) if ratio is not None else []
    if not found:
        return None
    columns = min(len(found), 3)
    lines = -(-len(found) // columns)
    figure = page(COLUMN if columns == 1 else TEXT, 1.7 * lines + 0.3)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for sweep, axes in zip(found, grid.flat, strict=False):
        values = np.array(list(sweep.labels))
        places = _on_log_axis(values)
        mean, low, high = (
            c.options.score.scale * np.array([c.interval(label, ratio) for label in sweep.labels.values()])
        ).T
        above = values > 0
        axes.errorbar(places, mean, [mean - low, high - mean], fmt="none", ecolor=ACCENT, elinewidth=0.9)
        axes.plot(places[above], mean[above], color=ACCENT, linewidth=0.9)
        at = values == sweep.published
        axes.plot(places[~at], mean[~at], "o", color=ACCENT, label=sweep.setting)
        axes.plot(places[at], mean[at], "D", color=BLACK, markersize=4.5)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(places))
        written = dict(zip(places, values, strict=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _, written=written: f"{written.get(x, x):g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.grid(axis="y")
        axes.tick_params(axis="x", labelsize=SMALL)
        axes.set_title(sweep.method)
        axes.set_xlabel(sweep.setting)
    for axes in grid.flat[len(found) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(c.options.score.axis)
    settle(figure)
    for axes in grid.flat[: len(found)]:
        _thin(axes)
    return finished(
        figure,
        f"{c.options.score.title} over the values of one setting at a labelled fraction of {percent(ratio)} %, all "
        "else as published, with 95 % intervals. A black diamond is the published value. The value 0 stands apart, "
        "left of the logarithmic axis.",
    )


def _thin(axes: Axes) -> None:
    """Hides the numbers on the x axis that would touch the one before them."""
    end = -np.inf
    for tick in axes.xaxis.get_major_ticks():
        box = tick.label1.get_window_extent()
        if box.x0 < end + 2:
            tick.label1.set_visible(False)
        else:
            end = box.x1


def _on_log_axis(values: np.ndarray) -> np.ndarray:
    """Where values stand on a logarithmic axis: themselves, and 0 a step below the least of the others."""
    above = np.sort(values[values > 0])
    step = max(2.0, above[1] / above[0]) if len(above) > 1 else 2.0
    return np.where(values > 0, values, above[0] / step)
