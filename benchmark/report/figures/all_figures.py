"""The figures of a comparison: each a pure function of its rows, or None where the rows do not suffice."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from benchmark.analysis import family, stats
from benchmark.analysis.board import Place
from benchmark.analysis.stats import Difference
from benchmark.records import RunRecord
from benchmark.report.figures.comparison import DAGGER, Comparison
from benchmark.report.figures.curves import Curve, losses, multiples, validation
from benchmark.report.figures.effects import ablation, sensitivity
from benchmark.report.figures.gap import gap
from benchmark.report.figures.style import (
    ACCENT,
    BLACK,
    BOUND,
    COLUMN,
    GREY,
    SERIES,
    SIZE,
    SMALL,
    TEXT,
    apart,
    finished,
    in_style,
    name_points,
    page,
    percent,
    save,
    settle,
)
from benchmark.report.tables import formatting

__all__ = ["FIGURES", "save"]

Rows = Sequence[RunRecord] | Comparison  # of one comparison; who draws several figures of it gives a Comparison

FEW = 3  # methods besides supervised that one panel can show with their bands
APART = 0.16  # of the axis, between two numbers at it
WIDE = 3  # times the usual width, an interval may leave the axis
FAR = 2  # times as far as most differences, one may leave the axis


# ----------------------------------------------------------------------------------------------------------------------
# Scores


@in_style
def score_against_ratio(rows: Rows) -> Figure | None:
    """Mean Dice over the labelled share with its interval; a panel for each method where there are many.

    Supervised training with all labels is a line across. None for fewer than two ratios below 1.
    """
    c = Comparison.of(rows)
    labels = c.labels()
    semi = [label for label in labels if label != c.reference]
    ratios = [ratio for ratio in c.ratios(labels) if ratio < 1 or ratio in c.ratios(semi)]
    if len(ratios) < 2:
        return None
    curves = {label: _curve(c, label, of) for label in labels if (of := [r for r in ratios if len(c.at(label, r))])}
    full = c.interval(c.reference, 1.0).mean if c.reference else np.nan
    bound = None if np.isnan(full) or not any(ratio < 1 for ratio in ratios) else 100 * full

    shares = [100 * ratio for ratio in ratios]
    numbered = _spaced(shares)

    def dress(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(shares))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}" if value in numbered else ""))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))

    up, whole = _within(list(curves.values()), bound)
    caption = (
        f"{c.score.title} over the labelled share of the training images: mean over images and runs, and its 95 % "
        "interval for new patients, draws and seeds."
        + (" The dotted line is supervised training with all labels." if bound else "")
        + ("" if whole else f" Intervals more than {WIDE} times as wide as usual go on beyond the axis.")
    )
    axis = ("Labelled share (%)", c.score.axis)
    if len(semi) > FEW:
        return finished(multiples(curves, c.reference, axis, dress, bound, up=up), caption)
    figure = page(COLUMN, 2.4)
    axes = figure.subplots()
    dress(axes)
    axes.grid(axis="y")
    axes.set(xlabel=axis[0], ylabel=axis[1], ylim=up)
    shown = list(curves)
    looks = dict(zip([label for label in shown if label != c.reference], SERIES, strict=False))
    looks[c.reference] = (BLACK, "x", "-")
    for label in shown:
        colour, marker, line = looks[label]
        curve = curves[label]
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(curve.x, curve.mean, color=colour, marker=marker, linestyle=line, label=label)
    ends = {label: (curves[label].mean[~np.isnan(curves[label].mean)][-1], looks[label][0]) for label in shown}
    if bound is not None:
        axes.axhline(bound, color=BOUND, linestyle=":", linewidth=1.2, label="Supervised, all labels")
        ends["Supervised, all labels"] = (bound, BOUND)
    _name_ends(axes, ends)
    return finished(figure, caption)


def _spaced(shares: Sequence[float]) -> list[float]:
    """Those whose numbers do not touch on a small logarithmic axis, the largest first."""
    kept: list[float] = []
    for share in sorted(shares, reverse=True):
        if not kept or np.log(kept[-1] / share) >= APART * np.log(max(shares) / min(shares)):
            kept.append(share)
    return kept


def _within(curves: Sequence[Curve], bound: float | None) -> tuple[tuple[float, float], bool]:
    """The ends of an axis for all means and for intervals of usual width, and whether that is all."""
    mean, low, high = (np.concatenate([getattr(curve, name) for curve in curves]) for name in ("mean", "low", "high"))
    width = np.nan_to_num(high - low)
    usual = width <= WIDE * np.median(width[width > 0]) if (width > 0).any() else width == 0
    shown = np.concatenate([mean, low[usual], high[usual], [] if bound is None else [bound]])
    least, most = np.nanmin(shown), np.nanmax(shown)
    margin = 0.04 * (most - least)
    return (least - margin, most + margin), bool(usual.all())


def _curve(c: Comparison, label: str, ratios: Sequence[float]) -> Curve:
    """Through the ratios at which the label has runs."""
    bounds = 100 * np.array([c.interval(label, ratio) for ratio in ratios])
    return Curve(100 * np.array(ratios), *bounds.T)


def _name_ends(axes: Axes, ends: dict[str, tuple[float, str]]) -> None:
    """Names lines right of where they end, moved apart."""
    settle(axes.figure)
    low, high = axes.get_ylim()
    height = (SMALL + 2.5) / 72 / axes.get_position().height / axes.figure.get_figheight() * (high - low)
    for (label, (end, colour)), place in zip(
        ends.items(), apart([end for end, _ in ends.values()], height, low, high), strict=True
    ):
        axes.annotate(
            label, (1, end), (12, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="center",
            size=SMALL, color=colour, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": colour, "shrinkA": 0, "shrinkB": 1},
        ).set_position((12, (place - end) / height * (SMALL + 2.5)))  # fmt: skip


COSTS = {"flops": "Training FLOPs", "seconds": "Training time"}


@in_style
def score_against_cost(rows: Rows, cost: str = "flops", ratio: float | None = None) -> Figure | None:
    """Mean Dice of each method over what its training costs, relative to supervised; a line joins the Pareto front.

    None for fewer than two methods, and for seconds where runs come from different machines.
    """
    c = Comparison.of(rows)
    ratio = c.main_ratio() if ratio is None else ratio
    labels = c.labels(ratio)
    if len(labels) < 2 or (cost == "seconds" and len(_machines(c)) > 1):
        return None
    unit = c.reference if c.reference in labels else labels[0]
    paid = {label: float(np.median(c.runs[cost].to_numpy()[c.at(label, ratio)])) for label in labels}
    x = np.array([paid[label] / paid[unit] for label in labels])
    mean, low, high = (100 * np.array([c.interval(label, ratio) for label in labels])).T
    whole = formatting.whole(c.board, [label.removesuffix(DAGGER) for label in labels], ratio)
    few = np.array([label.removesuffix(DAGGER) not in whole for label in labels])
    able = c.ranked(ratio)
    front = pareto(x, np.where(few, np.nan, mean)) if able else []
    figure = page(TEXT, 3.6) if len(labels) > 8 else page(COLUMN, 2.6)
    axes = figure.subplots()
    axes.grid(axis="y")
    barred = front if front and len(labels) > 8 else range(len(labels))
    for i in barred:
        axes.vlines(x[i], low[i], high[i], color=ACCENT if i in front else GREY, alpha=0.3, linewidth=1.2, zorder=1)
    (line,) = axes.step(x[front], mean[front], where="post", color=ACCENT, linewidth=0.9, zorder=2)
    corners = _corners(line.get_path().interpolated(1).vertices) if front else np.empty((0, 2))
    uneven = np.array([label not in c.labels(uneven=False) for label in labels])
    on = np.isin(np.arange(len(x)), front)
    for picked, colour, marker in ((~on, GREY, "o"), (on, ACCENT, "D")):
        axes.scatter(
            x[picked], mean[picked], 14, np.where(uneven, "white", colour)[picked], marker, edgecolors=colour,
            linewidths=0.9, zorder=3,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(x.min() / 1.25, x.max() * 1.25)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if x.min() / 1.01 <= tick <= x.max() * 1.25]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"{COSTS[cost]}, relative to {unit}")
    axes.set_ylabel(f"{c.score.axis},\n{c.fraction(ratio)}")
    bars = [np.array([[x[i], low[i]], [x[i], high[i]]]) for i in barred if np.isfinite(low[i])]
    lines = [corners, *bars] if front else bars
    names = name_points(axes, np.stack([x, mean], 1), labels, lines, size=SMALL)
    for name, best in zip(names, on, strict=True):
        name.set_color(ACCENT if best else BLACK)
    return finished(
        figure,
        f"{c.score.title} at {percent(ratio)} % labels over the cost of training. Bars are 95 % intervals."
        + " Blue diamonds are on the Pareto front: nothing cheaper scores higher." * able
        + " Hollow: another budget (†)." * bool(uneven.any())
        + " Methods with fewer draws than others are not compared for the front." * bool(able and few.any()),
    )


def _corners(steps: np.ndarray) -> np.ndarray:
    """The corners of a line of steps through these points."""
    return np.stack([np.repeat(steps[:, 0], 2)[1:], np.repeat(steps[:, 1], 2)[:-1]], 1)


TICKS = [a * 10.0**b for b in range(-3, 4) for a in (1, 1.5, 2, 3, 4, 6, 8)]


def pareto(cost: np.ndarray, score: np.ndarray) -> list[int]:
    """The points than which none is as cheap and better, or cheaper and as good, from cheap to dear."""
    front: list[int] = []
    for i in sorted(range(len(cost)), key=lambda i: (cost[i], -score[i])):
        if not np.isnan(score[i]) and (not front or score[i] > score[front[-1]]):
            front.append(i)
    return front


def _machines(c: Comparison) -> set[tuple]:
    machines = [c.by_key[key].machine for key in c.runs.key]
    return {(machine.device, machine.threads) for machine in machines}


# ----------------------------------------------------------------------------------------------------------------------
# Ranks


@in_style
def ranks(rows: Rows, ratio: float | None = None) -> Figure | None:
    """Average ranks over patients and runs; bars join methods of which no two have means that differ significantly.

    Methods are ranked within each patient and each draw and seed (by the mean over the patient's images), so that only
    runs on the same labelled images meet. Methods with fewer draws than most, and uneven budgets, are left out. The
    bars are by the tests of the tables, in which draws vary, too: tests of the ranks themselves (Friedman, Nemenyi)
    would call networks different that another labelled subset orders the other way round. None where methods may not
    be ranked, for fewer than three methods, and where no draw and seed is shared by all.
    """
    c = Comparison.of(rows)
    ratio = c.main_ratio() if ratio is None else ratio
    every = c.labels(ratio, uneven=False)
    labels = formatting.whole(c.board, every, ratio)
    shared = c.board.shared(labels, ratio)
    common = all(set(shared) <= set(c.board.places(label, ratio)) for label in labels)
    if len(labels) < 3 or not common or not c.ranked(ratio):
        return None
    found, blocks = stats.average_ranks(_block_scores(c, labels, ratio, shared))
    patients = blocks // len(shared)
    k, order = len(labels), np.argsort(found, kind="stable")
    places, names = found[order], [labels[i] for i in order]
    bars = cliques(_apart(c, names, ratio))
    levels = _levels(places, bars)
    left = -(-k // 2)
    step, top = 1.15, 1.6 + 0.55 * (max(levels, default=-1) + 1)  # lines of text
    depth = top + step * left
    figure = page(TEXT, 0.155 * (depth + 1.5) + 0.1)
    axes = figure.subplots()
    reach = 0.42 * (k - 1)  # room for names on both sides
    axes.set_xlim(1 - reach, k + reach)
    axes.set_ylim(depth - step + 0.7, -1.7)
    axes.set_axis_off()
    axes.hlines(0, 1, k, color=BLACK, linewidth=0.8)
    ticks = np.arange(1, k + 1) if k <= 12 else np.unique([1, *range(5, k, 5), k])
    axes.vlines(np.arange(1, k + 1), -0.18, 0, color=BLACK, linewidth=0.6)
    axes.vlines(ticks, -0.35, 0, color=BLACK, linewidth=0.8)
    for tick in ticks:
        axes.text(tick, -0.5, f"{tick}", ha="center", va="bottom")
    axes.text(1 - 0.03 * k, -0.5, "better", ha="right", va="bottom", style="italic", color=GREY)
    axes.text(k + 0.03 * k, -0.5, "worse", ha="left", va="bottom", style="italic", color=GREY)
    for (first, last), level in zip(bars, levels, strict=True):
        y, ends = 0.75 + 0.55 * level, [places[first] - 0.06, places[last] + 0.06]
        axes.plot(ends, [y, y], color=BLACK, linewidth=2.2, solid_capstyle="butt")
    for i, (rank, name) in enumerate(zip(places, names, strict=True)):
        on_left = i < left
        y = top + step * (i if on_left else k - 1 - i)
        edge = 1 - 0.02 * k if on_left else k + 0.02 * k
        axes.plot([rank, rank, edge], [0, y, y], color=GREY, linewidth=0.5, zorder=1)
        axes.plot(rank, 0, "o", color=BLACK, markersize=2.5, clip_on=False)
        said = f"{name}  {rank:.1f}" if on_left else f"{rank:.1f}  {name}"
        axes.text(edge, y, f" {said} ", ha="right" if on_left else "left", va="center")
    runs = f"{len(shared)} run{'s' * (len(shared) != 1)} of each method"
    alone = " With one draw, they are for new patients only." * all(_draws(c, label, ratio) < 2 for label in labels)
    fewer = [label for label in every if label not in labels]
    left_out = f" Left out, because they have fewer draws: {', '.join(fewer)}." if fewer else ""
    return finished(
        figure,
        f"Average ranks by {c.score.title} at {percent(ratio)} % labels, within each of {patients} patients "
        "and each draw and "
        f"seed, from {runs}. Bars join methods of which no two differ significantly in its mean (paired, 5 % after "
        f"Holm's correction over all pairs)." + alone + left_out,
    )


def _block_scores(c: Comparison, labels: Sequence[str], ratio: float, shared: Sequence[Place]) -> np.ndarray:
    """(runs × patients, labels): mean scores over a patient's images in the runs of these draws and seeds, or nan."""
    patients = c.board.patients
    count = patients.max() + 1
    means = np.full((len(shared), count, len(labels)), np.nan)
    for k, label in enumerate(labels):
        for run, values in enumerate(c.values(label, ratio, shared)):
            there = ~np.isnan(values)
            counts = np.bincount(patients, there, count)
            sums = np.bincount(patients, np.where(there, values, 0), count)
            means[run, counts > 0, k] = sums[counts > 0] / counts[counts > 0]
    return means.reshape(-1, len(labels))


def _apart(c: Comparison, labels: Sequence[str], ratio: float) -> np.ndarray:
    """Which two labels differ significantly after Holm's correction over all pairs."""
    k = len(labels)
    p = np.full((k, k), np.nan)
    for i, other in enumerate(labels):
        others = [label for label in labels if label != other]
        found = c.board.differences(others, other, ratio, c.score.name)
        p[[labels.index(label) for label in others], i] = [found[label].p for label in others]
    pairs = np.triu_indices(k, 1)
    apart = np.zeros((k, k), dtype=bool)
    # of the two families that a pair is pooled with, the one that says less
    apart[pairs] = stats.holm(np.maximum(p, p.T)[pairs]) < 0.05
    return apart | apart.T


def cliques(apart: np.ndarray) -> list[tuple[int, int]]:
    """First and last of every longest stretch of methods, in the order of ranks, of which no two are apart."""
    found: list[tuple[int, int]] = []
    for first in range(len(apart)):
        last = first
        while last + 1 < len(apart) and not apart[first : last + 1, last + 1].any():
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _levels(places: np.ndarray, bars: Sequence[tuple[int, int]]) -> list[int]:
    """The highest line on which each bar does not touch another."""
    ends: list[float] = []
    levels = []
    for first, last in bars:
        free = [level for level, end in enumerate(ends) if end + 0.25 < places[first]]
        level = free[0] if free else len(ends)
        ends[level : level + 1] = [places[last]]
        levels.append(level)
    return levels


# ----------------------------------------------------------------------------------------------------------------------
# Differences to supervised


@in_style
def image_differences(rows: Rows, ratio: float | None = None) -> Figure | None:
    """How much better than supervised each method is on every image, and the mean with its interval.

    A point is an image, averaged over the draws and seeds that both have. None without a method beside supervised.
    """
    c = Comparison.of(rows)
    ratio = c.main_ratio() if ratio is None else ratio
    differences = {label: 100 * np.array(d[:3]) for label, d in _differences(c, ratio).items()}
    if not differences:
        return None
    clouds = {label: _by_image(c, label, ratio) for label in differences}
    order = list(differences)[::-1]
    if c.ranked(ratio):
        order.sort(key=lambda label: differences[label][0])
    every = np.concatenate(list(clouds.values()))
    ends = [0.0, *np.quantile(every, [0.01, 0.99]), *np.concatenate(list(differences.values()))]
    margin = 0.03 * (np.nanmax(ends) - np.nanmin(ends))
    low, high = np.nanmin(ends) - margin, np.nanmax(ends) + margin
    beyond = int(((every < low) | (every > high)).sum())
    figure = page(COLUMN if len(order) <= 6 else TEXT * 0.75, 0.2 * len(order) + 0.75)
    axes = figure.subplots()
    axes.axvline(0, color=BLACK, linewidth=0.8)
    scatter = np.random.default_rng(0)
    for y, label in enumerate(order):
        cloud = clouds[label][(clouds[label] >= low) & (clouds[label] <= high)]
        height = 0.32 * np.clip(scatter.normal(0, 0.4, len(cloud)), -1, 1)
        axes.scatter(
            cloud, y + height, 2.5, ACCENT, alpha=0.25 if len(cloud) > 60 else 0.5, linewidths=0, rasterized=True
        )
        mean, *ends = differences[label]
        axes.hlines(y, *ends, color="white", linewidth=3.4)
        axes.plot(mean, y, "o", color="white", markersize=5.4)
        axes.hlines(y, *ends, color=BLACK, linewidth=1.6)
        axes.plot(mean, y, "o", color=BLACK, markersize=3.6, label=label)
    axes.set_yticks(range(len(order)), order)
    axes.tick_params(axis="y", length=0)
    axes.spines.left.set_visible(False)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.grid(axis="x")
    figure.supxlabel(f"Difference to {c.reference} at {c.fraction(ratio)}\n({c.score.points})", size=SIZE)
    return finished(
        figure,
        f"Difference in {c.score.title} to {c.reference} on the same test images at {percent(ratio)} % labels. "
        "A blue point is an image that both have a score of; black, the difference of means and its 95 % interval."
        + (f" {beyond} of {len(every)} points lie beyond the frame." if beyond else ""),
    )


def _by_image(c: Comparison, label: str, ratio: float) -> np.ndarray:
    """The difference to supervised in Dice points, of each image that has one."""
    shared = sorted({*c.drawn(label, ratio)} & {*c.drawn(c.reference, ratio)})
    differences = 100 * (c.values(label, ratio, shared) - c.values(c.reference, ratio, shared))
    there = ~np.isnan(differences)
    scored = there.any(0)
    return np.where(there, differences, 0).sum(0)[scored] / there.sum(0)[scored]


@in_style
def forest(rows: Rows) -> Figure | None:
    """The mean difference of each method to supervised with its interval, a column for each ratio.

    Coloured where it is significant after Holm's correction over everything that is published together, and filled if
    some of them have several draws: after one draw, only patients vary in a test. Sorted by the mean where methods may
    be ranked. Uneven budgets are left out.
    """
    c = Comparison.of(rows)
    found = {ratio: of for ratio in c.ratios() if (of := _differences(c, ratio))}
    if not found:
        return None
    labels = [label for label in c.labels(uneven=False) if any(label in of for of in found.values())]
    means = {label: np.mean([of[label].mean for of in found.values() if label in of]) for label in labels}
    labels.reverse()
    if all(c.ranked(ratio) for ratio in found if ratio < 1):
        labels.sort(key=means.__getitem__)
    figure = page(TEXT if len(found) > 1 else COLUMN, 0.155 * len(labels) + (0.85 if len(found) > 1 else 0.65))
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    reach, cut = _reach([one for of in found.values() for one in of.values()])
    alone = {ratio for ratio in found if all(_draws(c, label, ratio) < 2 for label in found[ratio])}
    for axes, (ratio, of) in zip(panels, found.items(), strict=True):
        axes.axvline(0, color=BLACK, linewidth=0.8)
        for y, label in enumerate(labels):
            if label not in of:
                axes.annotate("–", (0, y), (6, 0), textcoords="offset points", va="center")
                continue
            mean, low, high = (100 * value for value in of[label][:3])
            claim = c.claim(label, ratio)
            significant = claim is not None and claim.p < family.LEVEL
            colour = GREY if not significant else ACCENT if mean > 0 else BOUND
            axes.hlines(y, max(low, -reach), min(high, reach), color=colour, linewidth=1.2)
            for end, mark in ((low, "<"), (high, ">")):
                if abs(end) > reach:
                    axes.plot(np.sign(end) * reach, y, mark, color=colour, markersize=3, clip_on=False)
            if abs(mean) > reach:
                inwards = (6, "left") if mean < 0 else (-6, "right")
                axes.annotate(
                    f"{mean:.1f}".replace("-", "−"), (np.sign(mean) * reach, y), (inwards[0], 3),
                    textcoords="offset points", ha=inwards[1], va="bottom", size=SMALL, color=colour,
                )  # fmt: skip
                continue
            axes.plot(
                mean, y, "o" if mean >= 0 or not significant else "s", color=colour, markersize=4,
                markerfacecolor=colour if significant and ratio not in alone else "white", markeredgewidth=0.9,
                label=label,
            )  # fmt: skip
        cannot = "\nno headroom" if ratio < 1 and not c.has_headroom(ratio) else ""
        axes.set_title(f"{percent(ratio)} % labels" + ", 1 draw" * (ratio in alone) + cannot)
        axes.grid(axis="x")
        axes.spines.left.set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.set_xlim(-1.04 * reach, 1.04 * reach)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(-0.6, len(labels) - 0.4)
    figure.supxlabel(f"Difference to {c.reference}\n({c.score.points})", size=SIZE)
    return finished(
        figure,
        f"Difference in mean {c.score.title} to {c.reference} on the same test images after the same draws and seeds, "
        "with its "
        "95 % interval. In colour: significant at 5 % after Holm's correction over all that is published together."
        + " No headroom: all labels are not significantly better than few there, or were not run."
        * any(ratio < 1 and not c.has_headroom(ratio) for ratio in found)
        + " 1 draw, hollow: for these labelled images; another labelled subset may change them by any amount."
        * bool(alone)
        + " Arrows: what is beyond the scale, a mean with its number." * cut,
    )


def _reach(found: Sequence[Difference]) -> tuple[float, bool]:
    """How far from 0 the scale goes, in points: to the farthest bound, or where few are much farther, to most of them.

    And whether any is beyond.
    """
    farthest = 100 * np.array([max(abs(bound) for bound in one[:3] if not np.isnan(bound)) for one in found])
    reach = min(farthest.max(), FAR * np.quantile(farthest, 0.75))
    return 1.02 * reach, bool(reach < farthest.max())


def _draws(c: Comparison, label: str, ratio: float) -> int:
    return len({draw for draw, _ in c.drawn(label, ratio)})


def _differences(c: Comparison, ratio: float | None) -> dict[str, Difference]:
    """Label -> its difference to supervised, under the common budget."""
    if c.reference is None or ratio is None:
        return {}
    others = [label for label in c.labels(ratio, uneven=False) if label != c.reference]
    return {label: d for label in others if (d := c.difference(label, c.reference, ratio)) is not None}


FIGURES: dict[str, Callable[[Rows], Figure | None]] = {
    "score-ratio": score_against_ratio,
    "score-flops": score_against_cost,
    "score-seconds": functools.partial(score_against_cost, cost="seconds"),
    "ranks": ranks,
    "gap": gap,
    "differences": forest,
    "differences-images": image_differences,
    "ablation": ablation,
    "sensitivity": sensitivity,
    "losses": losses,
    "validation": validation,
}
