"""Pictures of images with the outlines of masks: contact sheets, a run's best and worst, overlays of any size."""

import os
import stat
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from benchmark.datasets.base import IGNORE
from benchmark.datasets.store import Store
from benchmark.files import write_whole
from benchmark.protocol.scores import MEAN
from benchmark.words import some

# Okabe and Ito, Color Universal Design, 2008: different for every kind of colour vision; those that tissue is not
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#F0E442", "#56B4E9", "#D55E00", "#000000")
TRUTH, PREDICTION = "#0072B2", "#E69F00"
IGNORED, IGNORED_NAME = "#808080", "ignored"  # a veil over pixels with the ignore label, which are no class
DPI = 200
PANEL_PIXELS, SHEET_PIXELS = 1000, 400  # a side of an image in a picture and on a contact sheet; more is not seen
WRITER = b"Software\0bench predict"  # a text in the PNG files that `save_png` writes
BAND_ROWS = 512  # of an image that are worked on at a time


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def contact_sheet(store: Store, split: str, path: Path, per_part: int = 8) -> None:
    """Writes a PNG with images of every part of a split, with the outlines of masks."""
    parts = {part: places for part, places in store.used(split).items() if places}
    picked = {part: _picked(store, places, per_part) for part, places in parts.items()}
    figure = Figure(figsize=(2 * per_part, 2.1 * len(parts) + 0.5), dpi=DPI, layout="constrained")
    figure.suptitle(
        f"{store.name}, split {split or next(iter(store.dataset.splits))}", x=0.01, ha="left", size=11, parse_math=False
    )
    for block, (part, places) in zip(figure.subfigures(len(parts), 1, squeeze=False).flat, picked.items(), strict=True):
        patients = {store.records[i].patient for i in parts[part]}
        block.suptitle(
            f"{part}: {some(len(parts[part]), 'image')}, {some(len(patients), store.unit)}", x=0.01, ha="left", size=10
        )
        for axes, i in zip(block.subplots(1, per_part, squeeze=False).flat, places + [None] * per_part, strict=False):
            axes.set_axis_off()
            if i is None:
                continue
            record = store.records[i]
            show(axes, store.image(i), SHEET_PIXELS)
            said = "no mask"
            if record.annotated:
                mask = store.label(i)
                outline(axes, mask, COLOURS, SHEET_PIXELS)
                decided = mask != IGNORE if store.ignores else np.ones_like(mask, bool)
                said = f"{(mask[decided] > 0).mean():.0%} foreground" if decided.any() else "ignored"
            axes.set_title(f"{store.unit} {record.patient}\n{said}", size=7, parse_math=False)
    shown = [store.label(i) for places in picked.values() for i in places if store.records[i].annotated]
    _legend(figure, dict(zip(store.classes()[1:], COLOURS, strict=False)) | ignored_colour(shown))
    _save_figure(figure, path)


def chosen_sheet(store: Store, places: Sequence[int], title: str, path: Path, columns: int = 8) -> None:
    """Writes a PNG with images of a store in their order, each with its number, name and patient."""
    lines = -(-len(places) // columns)
    figure = Figure(figsize=(2 * columns, 2.2 * lines + 0.5), dpi=DPI, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", size=11, parse_math=False)
    every = figure.subplots(lines, columns, squeeze=False).flat
    for number, axes in enumerate(every):
        axes.set_axis_off()
        if number < len(places):
            record = store.records[places[number]]
            show(axes, store.image(places[number]), SHEET_PIXELS)
            said = f"{number + 1}  {record.name}\n{store.unit} {record.patient}"
            axes.set_title(said, size=7, parse_math=False)
    _save_figure(figure, path)


def _picked(store: Store, places: Sequence[int], most: int) -> list[int]:
    """Evenly from a list, and those with masks before those without, as outlines are what is to be looked at."""
    picked: list[int] = []
    for annotated in (True, False):
        these = [i for i in places if store.records[i].annotated == annotated]
        count = min(most - len(picked), len(these))
        picked += [these[k] for k in np.linspace(0, len(these) - 1, count).round().astype(int)]
    return picked


def run_picture(
    panels: Sequence[tuple[str, float, np.ndarray, np.ndarray, np.ndarray]],
    path: Path,
    title: str,
    classes: Sequence[str] = ("background", "foreground"),
) -> None:
    """Writes a PNG with a line for each panel: the image, the outlines of the truth, and those of the prediction.

    A panel is (name, Dice, image uint8 (H, W, 3), truth uint8 (H, W), prediction uint8 (H, W)). With one foreground
    class the prediction's outline lies over the truth's; with several, colours tell the classes, and the Dice is the
    mean over the classes that are there or predicted.
    """
    binary = len(classes) <= 2
    shapes = [image.shape for _, _, image, _, _ in panels]
    heights = [3.2 * height / width for height, width, _ in shapes]
    figure = Figure(figsize=(9.6, sum(heights) + 0.25 * len(panels) + 0.7), dpi=DPI, layout="constrained")
    figure.suptitle(title, size=11, parse_math=False)
    grid = figure.subplots(len(panels), 3, squeeze=False, height_ratios=heights)
    for (plain, true, guessed), (name, dice, image, truth, prediction) in zip(grid, panels, strict=True):
        for axes in (plain, true, guessed):
            axes.set_axis_off()
            show(axes, image, PANEL_PIXELS)
        outline(true, truth, (TRUTH,) if binary else COLOURS, PANEL_PIXELS)
        if binary:
            outline(guessed, truth, (TRUTH,), PANEL_PIXELS)
        outline(guessed, prediction, (PREDICTION,) if binary else COLOURS, PANEL_PIXELS)
        plain.set_title(name, size=9, loc="left", parse_math=False)
        true.set_title("truth" if ((truth > 0) & (truth != IGNORE)).any() else "truth: none there", size=9)
        guessed.set_title(f"prediction, Dice {dice:.3f}{'' if binary else f', {MEAN}'}", size=9)
    colours = {"truth": TRUTH, "prediction": PREDICTION} if binary else dict(zip(classes[1:], COLOURS, strict=False))
    _legend(figure, colours | ignored_colour(truth for _, _, _, truth, _ in panels))
    _save_figure(figure, path)


def ignored_colour(truths: Iterable[UInt8[np.ndarray, "h w"]]) -> dict[str, str]:
    """The entry of a legend for pixels with the ignore label, if there are any."""
    return {IGNORED_NAME: IGNORED} if any((truth == IGNORE).any() for truth in truths) else {}


def show(axes: Axes, image: UInt8[np.ndarray, "h w 3"], pixels: int) -> None:
    """The image, with its longer side reduced to `pixels` or fewer."""
    small = Image.fromarray(np.asarray(image)).reduce(-(-max(image.shape) // pixels))
    axes.imshow(small, extent=(0, image.shape[1], image.shape[0], 0), interpolation="antialiased")


def outline(
    axes: Axes, labels: UInt8[np.ndarray, "h w"], colours: Sequence[str], pixels: int, points: float = 1.0
) -> None:
    """Lines around every class, white beneath so that they stand out from dark and pale tissue; a veil over `IGNORE`.

    The image's own edge closes a line, so that one sees which side of it is inside.
    """
    every = -(-max(labels.shape) // pixels)
    labels = np.pad(np.asarray(labels)[::every, ::every], 1)
    x, y = (every * (np.arange(-1, side - 1) + 0.5) for side in labels.shape[::-1])
    for places in (x, y):
        places[[0, -1]] = places[[1, -2]]  # no pixel is added: the line along an edge lies on the outermost ones
    if (ignored := labels == IGNORE).any():
        axes.contourf(x, y, ignored.astype(np.float32), levels=[0.5, 1.5], colors=[IGNORED], alpha=0.6)
    for c in np.unique(labels[(labels > 0) & ~ignored]):
        colour = colours[(c - 1) % len(colours)]
        lines = axes.contour(x, y, labels == c, levels=[0.5], colors=[colour], linewidths=points)
        lines.set_path_effects([patheffects.withStroke(linewidth=2 * points, foreground="white")])


def _legend(figure: Figure, colours: dict[str, str]) -> None:
    lines = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False, fontsize=9)


def _save_figure(figure: Figure, path: Path) -> None:
    write_whole(path, lambda temporary: figure.savefig(temporary, format="png"))


# ----------------------------------------------------------------------------------------------------------------------
# Predictions for new images, of any size


def overlay(image: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of the image in which every class is framed, from inside, in its colour and then in white.

    Over pixels with the ignore label lies a grey veil.
    The image's own edge closes a frame, so that one sees which side of a line is inside.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"The image has {image.shape[:2]} pixels and its labels {labels.shape}; they must agree.")
    colours = np.array([[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in COLOURS], np.uint8)
    thick = max(1, round(np.sqrt(min(labels.shape)) / 12))  # seen in the whole image, and not in the way close by
    framed = np.array(image)
    for top in range(0, len(labels), BAND_ROWS):
        here = slice(top, top + BAND_ROWS)
        ignored = labels[here] == IGNORE
        framed[here][ignored] = framed[here][ignored] // 2 + 64
        for reach, frame in ((2 * thick, None), (thick, colours)):
            above = min(reach, top)
            band = labels[top - above : top + BAND_ROWS + reach]
            if not band.any():
                continue
            around = 2 * reach + 1
            edge = maximum_filter(band, around) != minimum_filter(band, around, mode="constant")
            edge = edge[above : above + BAND_ROWS] & (labels[here] > 0) & (labels[here] != IGNORE)
            framed[here][edge] = 255 if frame is None else frame[(labels[here][edge] - 1) % len(frame)]
    return framed


def save_png(pixels: UInt8[np.ndarray, "h w *rgb"], path: Path) -> None:
    """Writes a grey (H, W) or RGB (H, W, 3) PNG band by band, so that the largest image needs no second copy.

    The file says who wrote it, so that nothing else is ever replaced: a file of another origin is a ValueError.
    """
    check_replaceable(path)
    write_whole(path, lambda temporary: _write_png(pixels, temporary))


def check_replaceable(path: Path) -> None:
    """Refuses to replace what `save_png` did not write. Only regular files are opened, and links are not followed."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISREG(path.lstat().st_mode) or not is_prediction(path):
        raise ValueError(f"{path} was not written by `bench predict`, so it is kept; give another folder with --out.")


def is_prediction(path: Path) -> bool:
    """Whether `save_png` wrote this regular file."""
    with open(path, "rb") as file:
        return WRITER in file.read(200)


def _write_png(pixels: UInt8[np.ndarray, "h w *rgb"], path: Path) -> None:
    height, width, *channels = pixels.shape
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2 if channels else 0, 0, 0, 0))
        _chunk(file, b"tEXt", WRITER)
        deflate = zlib.compressobj()
        above = np.zeros((1, *pixels.shape[1:]), np.uint8)
        for top in range(0, height, BAND_ROWS):
            band = np.concatenate([above, pixels[top : top + BAND_ROWS]])
            above = band[-1:]
            lines = np.diff(band, axis=0).reshape(
                len(band) - 1, -1
            )  # what changed since the line above: PNG's filter 2
            _chunk(file, b"IDAT", deflate.compress(np.insert(lines, 0, 2, axis=1).tobytes()))
        _chunk(file, b"IDAT", deflate.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
