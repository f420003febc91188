"""The style of figures: sizes, colours for every kind of colour vision, labels that do not overlap, stable files."""

import functools
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from jaxtyping import Float
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.path import Path as Line
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from benchmark.analysis.family import LEVEL, Claim
from benchmark.files import write_whole

COLUMN, TEXT = 3.4, 7.0  # inches: the width of a column and of a page's text
SIZE, SMALL = 8.0, 7.0  # points
DPI = 200
# Okabe and Ito, Color Universal Design, 2008, from dark to pale, each with a marker and a line of its own
BLACK, GREY, PALE = "#000000", "#767676", "#C8C8C8"
ACCENT, BOUND = "#0072B2", "#D55E00"
SERIES = (
    (ACCENT, "o", "-"),
    ("#009E73", "^", (0, (5, 1.5))),
    ("#CC79A7", "D", (0, (5, 1.5, 1, 1.5))),
    ("#E69F00", "v", (0, (2.5, 1))),
    ("#56B4E9", "P", (0, (7, 1.5, 1, 1.5, 1, 1.5))),
    (BOUND, "s", (0, (1, 1))),
)
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that files are the same everywhere
    "font.size": SIZE,
    "axes.labelsize": SIZE,
    "axes.titlesize": SIZE,
    "axes.titlelocation": "left",
    "axes.titlepad": 3.0,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "legend.fontsize": SIZE,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.edgecolor": "#404040",
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "pdf.fonttype": 42,  # TrueType, so that text stays text
    "text.parse_math": False,  # names of settings and images are no formulas
}
HOVER = "hover: "  # begins the names of points with a text
EMPTY = dict.fromkeys(("CreationDate", "ModDate", "Creator", "Producer"))

P, R = ParamSpec("P"), TypeVar("R")


def in_style(draw: Callable[P, R]) -> Callable[P, R]:
    """A function that draws in this style, whatever the user's own settings are."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return styled


@in_style
def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes `stem`.png and `stem`.pdf, each whole; the same figure gives the same bytes on any day."""
    png, pdf = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "pdf"))
    # through the canvas, as `Figure.savefig` draws everything twice
    write_whole(png, lambda temporary: FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None}))
    write_whole(pdf, lambda temporary: FigureCanvasPdf(figure).print_pdf(temporary, metadata=EMPTY))
    return [png, pdf]


def page(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def finished(figure: Figure, caption: str) -> Figure:
    """The figure with its caption as its label (`figure.get_label()`), and everything where it will stay."""
    figure.set_label(caption)
    settle(figure)
    figure.set_layout_engine("none")
    return figure


def settle(figure: Figure) -> None:
    """Lets the layout find its sizes, if there is one."""
    figure.get_layout_engine().execute(figure)


def colour_of(claim: Claim | None, difference: float) -> str:
    """Grey where a claim is not significant; else blue for a higher score and orange for a lower one."""
    if claim is None or not claim.p < LEVEL:
        return GREY
    return ACCENT if difference > 0 else BOUND


def interval_mark(
    axes: Axes, y: float, bounds: Sequence[float], colour: str, *, hollow: bool = False, label: str = "",
    halo: bool = False,
) -> None:  # fmt: skip
    """A mean as a dot on its interval, at a height; `hollow` means one draw; a white `halo` sets it off from points."""
    mean, low, high = bounds
    if halo:
        axes.hlines(y, low, high, color="white", linewidth=3.4)
        axes.plot(mean, y, "o", color="white", markersize=5.8)
    axes.hlines(y, low, high, color=colour, linewidth=1.4)
    axes.plot(
        mean, y, "o", color=colour, markersize=4, markerfacecolor="white" if hollow else colour, markeredgewidth=0.9,
        label=label,
    )  # fmt: skip
    hover(axes, mean, y, f"{label}: {_number(mean)} [{_number(low)}, {_number(high)}]")


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}".replace("-", "−")


def hover(axes: Axes, x: float, y: float, text: str) -> None:
    """Adds a text that the page shows at a point (data coordinates) of a figure."""
    if np.isfinite(x) and np.isfinite(y):
        axes.plot([x], [y], linestyle="none", gid=f"{HOVER}{text}", scalex=False, scaley=False)


def hovers(figure: Figure) -> list[tuple[float, float, str]]:
    """The texts of `hover`, each with its place as shares of width and height, from the upper left corner."""
    found = []
    for axes in figure.axes:
        for line in axes.lines:
            if (line.get_gid() or "").startswith(HOVER):
                pixels = axes.transData.transform(line.get_xydata())[0]
                x, y = figure.transFigure.inverted().transform(pixels)
                found.append((float(x), float(1 - y), line.get_gid().removeprefix(HOVER)))
    return found


def beside_zero(axes: Axes) -> None:
    """Dresses the axes of differences: a line at 0, vertical grid lines, no left side."""
    axes.axvline(0, color=BLACK, linewidth=0.8, zorder=1)
    axes.grid(axis="x")
    axes.spines.left.set_visible(False)
    axes.tick_params(axis="y", length=0)


def wrapped(label: str, characters: int) -> str:
    return "\n".join(textwrap.wrap(label, characters, break_long_words=False))


def percent(ratio: float) -> str:
    return f"{100 * ratio:.3g}"


# ----------------------------------------------------------------------------------------------------------------------
# Labels


def apart(wanted: Sequence[float], gap: float, low: float = -np.inf, high: float = np.inf) -> Float[np.ndarray, "n"]:
    """Places at least `gap` from each other, in the order of the wanted ones and as near to them as can be.

    Nearest in the sum of squares: isotonic regression of the places less their share of gaps. Within [low, high] if
    there is room.
    """
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(order))
    pushed = isotonic_regression(np.asarray(wanted, dtype=np.float64)[order] - steps).x if len(order) else steps
    placed = np.empty(len(order))
    placed[order] = np.maximum(np.minimum(pushed, high - steps[-1:]), low) + steps
    return placed


def name_points(
    axes: Axes, points: Float[np.ndarray, "n 2"], names: Sequence[str], lines: Sequence[Float[np.ndarray, "m 2"]] = (),
    **text,
) -> list[Annotation]:  # fmt: skip
    """Writes a name beside each point (data coordinates), where it covers no name, no point and no line.

    Tries places around the point from near to far; a name that went far has a thin line to its point. The layout must
    not change afterwards.
    """
    settle(axes.figure)
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    pixel = axes.figure.dpi / 72
    at = axes.transData.transform(points)
    frame = axes.get_window_extent(renderer)
    marks = [Bbox.from_bounds(x - 2.5 * pixel, y - 2.5 * pixel, 5 * pixel, 5 * pixel) for x, y in at]
    boxes: list[Bbox] = []
    leads = [Line(axes.transData.transform(line)) for line in lines]
    written: dict[int, Annotation] = {}
    crowded = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1))
    for i in np.argsort(np.sort(crowded, axis=1)[:, : 1 + min(4, len(at) - 1)].sum(1), kind="stable"):
        name = axes.annotate(names[i], points[i], xytext=(0, 0), textcoords="offset points", va="center", **text)
        size = name.get_window_extent(renderer)
        best = None
        for radius in (5, 8, 12, 17, 23, 30, 38, 47, 57, 68, 80):
            for angle in np.deg2rad([0, 180, 35, -35, 145, -145, 90, -90, 60, -60, 120, -120]):
                dx, dy = np.cos(angle), np.sin(angle)
                x = at[i, 0] + pixel * radius * dx - size.width * (1 - dx) / 2
                y = at[i, 1] + pixel * (radius * dy) - size.height * (1 - dy) / 2
                box = Bbox.from_bounds(x, y, size.width, size.height)
                near = (np.clip(at[i, 0], box.x0, box.x1), np.clip(at[i, 1], box.y0, box.y1))
                lead = Line([at[i], near])
                faults = (
                    100 * sum(box.overlaps(other) for other in boxes)
                    + 100 * (frame.x0 > box.x0 or box.x1 > frame.x1 or frame.y0 > box.y0 or box.y1 > frame.y1)
                    + 10 * sum(box.overlaps(mark) for mark in marks)
                    + 3 * sum(lead.intersects_bbox(other, filled=False) for other in boxes)
                    + sum(line.intersects_bbox(box, filled=False) for line in leads)
                )
                if best is None or faults < best[0]:
                    best = (faults, radius, box, lead)
            if best[0] == 0:
                break
        _, radius, box, lead = best
        boxes.append(box)
        name.set_position(((box.x0 - at[i, 0]) / pixel, ((box.y0 + box.y1) / 2 - at[i, 1]) / pixel))
        if radius > 8:
            leads.append(lead)
            axes.plot(*axes.transData.inverted().transform(lead.vertices).T, color=GREY, linewidth=0.4, zorder=1)
        written[i] = name
    return [written[i] for i in range(len(names))]
