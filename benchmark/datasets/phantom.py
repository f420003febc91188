"""The embedded dataset: H&E-like colon tissue drawn from a seed, so that everything can be tried without a download.

Tissue is laid out as bodies (glands, and what resembles them), then painted as amounts of haematoxylin, eosin and blood,
and only at the end turned into light, as a slide scanner does it: Beer-Lambert with the stain vectors of Ruifrok and
Johnston (2001), blur, noise and JPEG. Staining, scanner and disease belong to the patient. Arithmetic is double precision
or free of library functions, so that rounding to bytes hides what differs between processors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_opening, distance_transform_edt, gaussian_filter, map_coordinates

from benchmark.datasets.base import Dataset, Item, Record

SEED = 20230
SIDE, MARGIN = 256, 28  # glands leave the frame: they are drawn beyond it and cut
CANVAS = SIDE + 2 * MARGIN
PATIENTS, IMAGES = 40, 4
LAST = {"train": 24, "val": 28, "test": PATIENTS}  # patients are numbered through the parts

NORMAL, ADENOMA, WELL, MODERATE, POOR = range(5)  # the last three are malignant
GLAND, VESSEL, FAT, FOLLICLE, HOLE = range(5)  # only the first is in the mask

HAEMATOXYLIN, EOSIN, BLOOD = (0.650, 0.704, 0.286), (0.080, 0.960, 0.230), (0.10, 0.88, 0.46)


class Phantom(Dataset):
    title = "Phantom: drawn H&E-like colon tissue"
    licence = "MIT, as this project"
    source = "drawn on the spot; nothing to download"
    size = f"{PATIENTS * IMAGES} images of {SIDE} × {SIDE} from {PATIENTS} patients"
    splits = {"patient": "patients disjoint, fixed"}  # noqa: RUF012

    def items(self, root: Path | None = None) -> list[Item]:
        """Every image by name; `root` is not looked at."""
        return [
            Item(f"p{p:02d}-{i}", f"p{p:02d}", stratum="malignant" if grade(p) >= WELL else "benign")
            for p in range(PATIENTS)
            for i in range(IMAGES)
        ]

    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        parts: dict[str, list[int]] = {name: [] for name in LAST}
        for place, record in enumerate(records):
            parts[next(name for name, last in LAST.items() if int(record.patient[1:]) < last)].append(place)
        return parts

    def read(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Draws an image, uint8 (256, 256, 3), and its gland mask, uint8 0/1 (256, 256)."""
        patient, image = (int(number) for number in item.name[1:].split("-"))
        return draw(patient, image)


def grade(patient: int) -> int:
    """Benign and malignant patients alternate; four of five benign ones are not quite normal."""
    return (ADENOMA, WELL, NORMAL, MODERATE, NORMAL, POOR, ADENOMA, MODERATE)[patient % 8]


def draw(patient: int, image: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([SEED, patient, 1 + image])
    look = look_of(patient)
    bodies = compose(rng, look, glandless=(3 * patient + image) % 13 == 0)
    ground = shape(rng, look, bodies)
    amounts = paint(rng, look, ground)
    frame = slice(MARGIN, MARGIN + SIDE)
    return scan(rng, look, amounts[frame, frame]), ground.gland[frame, frame].astype(np.uint8)


@dataclass(frozen=True)
class Look:
    """What the images of a patient share: the disease, the staining and the scanner."""

    grade: int
    scale: float  # sizes, relative to about a micrometre a pixel
    goblets: float  # share of cells filled with mucin
    inflamed: float  # lymphocytes in the stroma
    atypia: float  # how large and uneven the nuclei are
    cytoplasm: tuple[float, float]  # haematoxylin and eosin
    stains: np.ndarray  # (3, 3): optical density of red, green, blue for each of haematoxylin, eosin, blood
    white: np.ndarray  # (3,): light through empty glass
    blur: float  # pixels
    noise: float  # grey levels
    quality: int  # of the JPEG


def look_of(patient: int) -> Look:
    rng = np.random.default_rng([SEED, patient, 0])
    level = grade(patient)
    vectors = np.array([HAEMATOXYLIN, EOSIN, BLOOD]) + rng.normal(0, 0.07, (3, 3))
    vectors = np.maximum(vectors, 0.03)
    vectors /= np.sqrt((vectors**2).sum(1, keepdims=True))
    strength = np.array([rng.uniform(0.65, 1.35), rng.uniform(0.45, 1.1), 0.9]) * rng.uniform(0.75, 1.2)
    return Look(
        grade=level,
        scale=rng.uniform(0.8, 1.25),
        goblets=rng.uniform(*((0.4, 1.0), (0.0, 0.3), (0.0, 0.15), (0.0, 0.1), (0.0, 0.0))[level]),
        inflamed=rng.uniform(0.1, 0.9),
        atypia=rng.uniform(0, 0.3) + (0.0, 0.2, 0.4, 0.6, 0.9)[level],
        cytoplasm=(rng.uniform(0.08, 0.22) + 0.04 * level, rng.uniform(0.2, 0.45)),
        stains=vectors * strength[:, None],
        white=rng.uniform(225, 253) + rng.uniform(-10, 2, 3),
        blur=rng.uniform(0.3, 1.1),
        noise=rng.uniform(0.5, 5.0),
        quality=int(rng.integers(45, 93)),
    )


@dataclass(frozen=True)
class Body:
    kind: int
    y: float
    x: float
    long: float  # half axes, pixels
    short: float
    angle: float
    wall: float  # pixels from the membrane to the lumen
    ragged: float  # how far the lumen strays from that: large makes it cribriform
    filling: float  # of the lumen: 0 empty, 1 full of mucin or debris
    tone: float  # deviation of its staining


def compose(rng: np.random.Generator, look: Look, glandless: bool) -> list[Body]:
    """Glands on a jittered, stretched lattice that covers part of the canvas; then what only looks like them."""
    malignant = look.grade >= WELL
    radius = look.scale * rng.uniform(*((30, 40), (34, 50), (34, 54), (28, 46), (13, 22))[look.grade])
    stretch, turn = np.exp(rng.uniform(0, (0.7, 0.8, 0.8, 0.6, 0.5)[look.grade])), rng.uniform(0, np.pi)
    spacing = 2 * radius * rng.uniform(*((1.0, 1.3), (0.95, 1.15), (0.95, 1.2), (0.9, 1.25), (1.0, 1.5))[look.grade])
    unruly = (0.1, 0.16, 0.2, 0.28, 0.35)[look.grade]
    steps = np.arange(-14, 15)
    row, column = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    lattice = np.stack([(column + 0.5 * (row % 2)) * stretch, row * 0.87], 1) + rng.normal(0, unruly, (len(row), 2))
    lattice *= spacing / np.sqrt(stretch)
    cos, sin = np.cos(turn), np.sin(turn)
    centres = lattice @ np.array([[sin, cos], [cos, -sin]]) + rng.uniform(0.3, 0.7, 2) * CANVAS
    edge, cover = rng.uniform(0, 2 * np.pi), CANVAS * rng.uniform(*((0, 0.6), (-0.9, -0.8))[glandless])
    bodies: list[Body] = []
    for y, x in centres:
        away = (y - CANVAS / 2) * np.sin(edge) + (x - CANVAS / 2) * np.cos(edge)
        size = radius * np.exp(rng.normal(0, unruly))
        kept = away < cover and rng.random() > (0.06, 0.04, 0.12, 0.15, 0.3)[look.grade]
        if kept and -1.5 * size < min(y, x) and max(y, x) < CANVAS + 1.5 * size:
            long = size * np.sqrt(stretch) * np.exp(rng.normal(0, unruly))
            wall = look.scale * rng.uniform(*((20, 34), (16, 26), (13, 24), (13, 30), (10, 30))[look.grade])
            bodies.append(
                Body(GLAND, y, x, long, size**2 / long, turn + rng.normal(0, 1.2 * unruly), wall,
                     ragged=rng.uniform(0.5, 2) + malignant * rng.uniform(0, 9), filling=rng.random() ** 2,
                     tone=rng.normal(0, 0.1))
            )  # fmt: skip
    for kind, often, sizes in (
        (HOLE, 2.2, (5, 80)), (VESSEL, 3.5, (7, 20)), (FOLLICLE, 1.3, (18, 48)), (FAT, 0.5, (12, 20))
    ):  # fmt: skip
        for _ in range(rng.poisson(often * (1 + glandless))):
            y, x = rng.uniform(0, CANVAS, 2)
            size, long = (
                look.scale * (sizes[0] + (sizes[1] - sizes[0]) * rng.random() ** 2),
                np.exp(rng.uniform(0, 0.9 if kind in (HOLE, VESSEL) else 0.3)),
            )
            group = [(y, x)]
            if kind == FAT:  # fat cells come in clusters
                group += [tuple((y, x) + 1.7 * size * rng.normal(0, 1.1, 2)) for _ in range(rng.integers(3, 12))]
            for at in group:
                if all(np.hypot(at[0] - b.y, at[1] - b.x) > 0.8 * (b.long + b.short) / 2 + 0.8 * size for b in bodies):
                    bodies.append(
                        Body(kind, *at, size * long, size / long, rng.uniform(0, np.pi), size * rng.uniform(0.2, 0.6),
                             ragged=0.6, filling=rng.random(), tone=rng.normal(0, 0.1))
                    )  # fmt: skip
    return bodies


@lru_cache(maxsize=1)
def textures() -> dict[str, np.ndarray]:
    """Seamless noise with mean 0 and deviation 1, (640, 640); "fibre" runs along the second axis."""
    rng = np.random.default_rng([SEED, PATIENTS, 0])
    grains = {"white": 0, "fine": 1, "cell": 3, "fold": 9, "broad": 32, "fibre": (1, 9)}
    drawn = {name: gaussian_filter(rng.normal(size=(640, 640)), sigma, mode="wrap") for name, sigma in grains.items()}
    return {name: (noise - noise.mean()) / noise.std() for name, noise in drawn.items()}


def grain(rng: np.random.Generator, name: str) -> np.ndarray:
    """A random piece of a texture, as large as the canvas."""
    top, left = rng.integers(0, 640 - CANVAS, 2)
    return textures()[name][top : top + CANVAS, left : left + CANVAS][:: rng.choice([-1, 1])]


@dataclass(frozen=True)
class Ground:
    """Where everything is: maps of the canvas."""

    bodies: list[Body]
    which: np.ndarray  # the nearest body's number
    inside: np.ndarray  # bool: in that body; else stroma
    depth: np.ndarray  # pixels from the body's edge, inwards
    outwards: np.ndarray  # in stroma: pixels to the nearest body, about
    foot: np.ndarray  # (2, h, w): the nearest point of the edge
    upright: np.ndarray  # (2, h, w): the direction away from it

    def of(self, name: str) -> np.ndarray:
        """A property of the nearest body, at every pixel."""
        return np.array([getattr(body, name) for body in self.bodies])[self.which]

    @property
    def gland(self) -> np.ndarray:
        return self.inside & (self.of("kind") == GLAND)


def shape(rng: np.random.Generator, look: Look, bodies: list[Body]) -> Ground:
    """Bodies as bent ellipses that press against each other and leave a septum between."""
    bend = look.scale * rng.uniform(*((3, 6), (3, 7), (4, 8), (4, 9), (3, 6))[look.grade])
    rough = look.scale * (0.5, 0.5, 0.6, 0.7, 0.6)[look.grade]
    septum = look.scale * rng.uniform(*((4, 12), (3, 8), (2, 8), (1.5, 6), (2, 5))[look.grade])
    rows, columns = np.mgrid[:CANVAS, :CANVAS].astype(float)
    rows += bend * grain(rng, "fold") + rough * grain(rng, "cell")
    columns += bend * grain(rng, "fold") + rough * grain(rng, "cell")
    first, second = np.full((2, CANVAS, CANVAS), 1e3)
    which = np.zeros((CANVAS, CANVAS), int)
    for number, body in enumerate(bodies):
        reach = max(body.long, body.short) + 50
        box = tuple(slice(max(0, int(c - reach)), max(0, int(c + reach))) for c in (body.y, body.x))
        dy, dx = rows[box] - body.y, columns[box] - body.x
        cos, sin = np.cos(body.angle), np.sin(body.angle)
        along, across = (dx * cos + dy * sin) / body.long, (dy * cos - dx * sin) / body.short
        distance = (np.sqrt(along**2 + across**2) - 1) * np.sqrt(body.long * body.short)
        nearer = distance < first[box]
        second[box] = np.minimum(second[box], np.maximum(first[box], distance))
        first[box] = np.minimum(first[box], distance)
        which[box][nearer] = number
    inside = binary_opening((first < 0) & (second - first > septum), iterations=4)
    depth, foot = distance_transform_edt(inside, return_indices=True)
    upright = np.stack(np.gradient(gaussian_filter(depth, 1.5, truncate=2)))
    return Ground(bodies, which, inside, depth, np.maximum(first, 0), foot, upright)


def paint(rng: np.random.Generator, look: Look, ground: Ground) -> np.ndarray:
    """Amounts of haematoxylin, eosin and blood, (h, w, 3)."""
    kind = np.where(ground.inside, ground.of("kind"), -1)
    stain = np.zeros((CANVAS, CANVAS, 3))
    slope = paint_stroma(rng, look, ground, stain)
    paint_epithelium(rng, look, ground, stain)
    paint_lookalikes(rng, look, ground, kind, stain)
    crowd = np.maximum(look.inflamed * grain(rng, "fold") - 0.2, 0.03) * (kind < 0) + 0.9 * (kind == FOLLICLE)
    size = look.scale * np.array([2.3, 2.1])
    put_nuclei(stain, *scatter(rng, 5.2 * look.scale, crowd), rng, size, rng.uniform(0, np.pi, CANVAS**2), 0.95, 0.1)
    y, x = scatter(rng, 9 * look.scale, 0.5 * (kind < 0))
    along = slope[y.astype(int), x.astype(int)] + rng.normal(0, 0.25, len(y))
    put_nuclei(stain, y, x, rng, look.scale * np.array([5.2, 1.4]), along, 0.75, 0.25)
    stain *= 1 + 0.1 * grain(rng, "fine")[..., None] + 0.06 * grain(rng, "broad")[..., None]
    return np.maximum(stain, 0)


def paint_stroma(rng: np.random.Generator, look: Look, ground: Ground, stain: np.ndarray) -> np.ndarray:
    """Collagen that runs one way and round the glands, with clefts; returns its direction (h, w)."""
    rows, columns = np.mgrid[:CANVAS, :CANVAS].astype(float)
    turn, wave = rng.uniform(0, np.pi), rng.uniform(5, 14)
    across = rows * np.cos(turn) - columns * np.sin(turn) + wave * grain(rng, "broad") + 2 * grain(rng, "fold")
    across += 15 * np.exp(-ground.outwards / 12)  # wraps round the bodies
    along = rows * np.sin(turn) + columns * np.cos(turn)
    fibre = map_coordinates(textures()["fibre"], [across / look.scale, along], order=1, mode="grid-wrap")
    dense, open_ = 0.4 + rng.normal(0, 0.06) + 0.1 * grain(rng, "fold"), rng.uniform(-3.2, -1.6)
    cleft = np.clip((open_ - fibre - 0.4 * grain(rng, "fold")) / 0.5, 0, 1)
    retracted = np.clip(rng.normal(-0.5, 1.5) + grain(rng, "fold") - np.abs(ground.outwards - 2.5), 0, 1)
    firm = 1 - 0.9 * np.maximum(cleft, retracted * (ground.outwards > 0))
    stain[..., 0] = (0.07 + 0.03 * fibre + 0.08 * rng.random()) * firm
    stain[..., 1] = (dense + 0.08 * fibre) * firm
    slope_y, slope_x = np.gradient(across)
    return np.arctan2(slope_x, -slope_y)


def paint_epithelium(rng: np.random.Generator, look: Look, ground: Ground, stain: np.ndarray) -> None:
    """Cells that stand on the membrane: nuclei at the foot or in layers, mucin above, a lumen that may hold debris."""
    level, wall, scale, depth = look.grade, ground.of("wall"), look.scale, ground.depth
    gland = ground.gland
    inward = depth - wall + ground.of("ragged") * grain(rng, "cell")
    lumen = np.clip(inward / 2 + 0.5, 0, 1) * gland * (depth > 3)
    streak = grain(rng, "fine")[tuple(ground.foot)]  # the same along a cell, another for its neighbour
    cytoplasm = np.array(look.cytoplasm)[:, None, None] * (
        1 + ground.of("tone") + 0.18 * streak + 0.1 * grain(rng, "cell")
    )
    cytoplasm[1] += 0.2 * (depth < 1.5) + 0.15 * (np.abs(inward + 1.5) < 1.5)  # membrane and brush border
    for channel in (0, 1):
        stain[..., channel] = np.where(gland, cytoplasm[channel], stain[..., channel])

    full = look.goblets * gland * (depth > 7 * scale) * (inward < -1)
    y, x = scatter(rng, 6.5 * scale, full)
    goblet = np.zeros(gland.shape)
    stamp(
        goblet,
        y,
        x,
        scale * rng.uniform(3.5, 6.5, len(y)),
        scale * rng.uniform(2.8, 4.2, len(y)),
        upright(ground, y, x),
        np.ones(len(y)),
    )
    stain[..., :2] *= 1 - 0.8 * goblet[..., None]
    stain[..., 0] += goblet * (0.1 + 0.05 * streak)

    wisp, speck = grain(rng, "cell"), grain(rng, "fine")
    filled = ground.of("filling") * np.clip(1 + wisp, 0, 2)
    debris = level >= WELL and rng.random() < 0.6
    stain[..., 0] = stain[..., 0] * (1 - lumen) + lumen * filled * (0.16 + 0.1 * debris * np.maximum(speck, 0))
    stain[..., 1] = stain[..., 1] * (1 - lumen) + lumen * filled * (0.06, 0.4)[debris]
    flakes = scatter(rng, 6 * scale, 0.5 * debris * filled * (lumen > 0.9))
    put_nuclei(stain, *flakes, rng, scale * np.array([1.7, 1.3]), np.zeros(CANVAS**2), 0.9, 0.4)

    top = (np.full(gland.shape, 8 * scale), 0.6 * wall, 0.65 * wall, 0.85 * wall, 2 * wall)[level]
    standing = gland * (depth > 1.5) * (depth < top) * (inward < -1.5) * (0.96, 0.95, 0.92, 0.88, 0.75)[level]
    y, x = scatter(rng, scale * (4.6, 4.4, 4.9, 5.4, 6.4)[level], standing)
    angle = upright(ground, y, x)
    if level == NORMAL:  # one row, at the foot
        lift = 3.8 * scale + rng.normal(0, 0.8, len(y)) - depth[y.astype(int), x.astype(int)]
        y, x = y + lift * np.sin(angle), x + lift * np.cos(angle)
    size = scale * np.array(((3.2, 2.0), (4.8, 1.7), (4.5, 2.0), (4.0, 2.4), (3.9, 3.1))[level])
    angle = angle + rng.normal(0, 0.1 + 0.4 * look.atypia, len(y))
    put_nuclei(stain, y, x, rng, size, angle, 0.8 - 0.15 * look.atypia, 0.12 + 0.16 * look.atypia)


def paint_lookalikes(rng: np.random.Generator, look: Look, ground: Ground, kind: np.ndarray, stain: np.ndarray) -> None:
    """Vessels, fat, lymphoid follicles, tears and pools of mucin: round or pale or crowded, and no glands."""
    depth, wall, speck = ground.depth, ground.of("wall"), grain(rng, "fine")
    soft = np.clip(depth / 2, 0, 1)
    pool = 0.12 * (ground.of("filling") > 0.6) * np.clip(1 + grain(rng, "cell"), 0, 2)
    for hollow, thick in ((HOLE, 0), (FAT, 0.5), (VESSEL, wall)):
        empty = soft * (kind == hollow) * np.clip(depth - thick, 0, 1)
        stain *= 1 - empty[..., None]
        stain[..., 0] += pool * empty * (hollow == HOLE)
    inside_vessel = (kind == VESSEL) * (depth > wall + 1)
    stain[..., 1] += 0.1 * (kind == VESSEL) * (depth <= wall)
    y, x = scatter(
        rng,
        4.5 * look.scale,
        np.where(kind < 0, np.clip(grain(rng, "fold") - 2, 0, 0.8), inside_vessel * (ground.of("filling") > 0.4)),
    )
    red = np.zeros(kind.shape)
    stamp(
        red,
        y,
        x,
        np.full(len(y), 2.8 * look.scale),
        np.full(len(y), 2.4 * look.scale),
        y,
        rng.uniform(0.4, 0.8, len(y)),
    )
    stain *= 1 - red[..., None]
    stain[..., 2] += red * (1 + 0.1 * speck)
    y, x = scatter(rng, 6 * look.scale, 0.8 * (kind == VESSEL) * (np.abs(depth - wall + 1.5) < 2))
    put_nuclei(stain, y, x, rng, look.scale * np.array([4.0, 1.3]), upright(ground, y, x) + np.pi / 2, 0.85, 0.2)


def scatter(rng: np.random.Generator, spacing: float, chance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of points about `spacing` apart, kept with the chance (h, w) of where they fall."""
    steps = np.arange(0, CANVAS - 1, spacing)
    y, x = np.stack(np.meshgrid(steps, steps, indexing="ij")).reshape(2, -1) + rng.uniform(
        0, 0.9 * spacing, (2, len(steps) ** 2)
    )
    y, x = np.minimum(y, CANVAS - 1), np.minimum(x, CANVAS - 1)
    kept = rng.random(len(y)) < chance[y.astype(int), x.astype(int)]
    return y[kept], x[kept]


def upright(ground: Ground, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The direction away from the membrane at these points, in radians."""
    return np.arctan2(*ground.upright[:, y.astype(int), x.astype(int)])


def put_nuclei(stain, y, x, rng, size, angle, dark, spread) -> None:
    """Nuclei of about `size` (half axes), uneven by `spread`, that push eosin aside."""
    uneven = np.exp(rng.normal(0, spread, (2, len(y))))
    chromatin = np.zeros(stain.shape[:2])
    stamp(
        chromatin,
        y,
        x,
        size[0] * uneven[0],
        size[1] * uneven[1],
        angle[: len(y)],
        dark * np.exp(rng.normal(0, 0.15 + spread / 2, len(y))),
    )
    stain[..., 1] *= 1 - 0.6 * np.minimum(chromatin, 1)
    stain[..., 0] = np.maximum(stain[..., 0], chromatin)


def stamp(canvas, y, x, long, short, angle, value) -> None:
    """Raises the canvas to `value` in soft-edged ellipses."""
    if not len(y):
        return
    reach = int(max(long.max(), short.max()) * 1.2) + 1
    offset = np.arange(-reach, reach + 1)
    rows, columns = y.astype(int)[:, None, None] + offset[:, None], x.astype(int)[:, None, None] + offset
    dy, dx = rows - y[:, None, None], columns - x[:, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    radius = ((dx * cos + dy * sin) / long[:, None, None]) ** 2 + ((dy * cos - dx * sin) / short[:, None, None]) ** 2
    drawn = np.clip((1.45 - radius) / 0.7, 0, 1) * value[:, None, None]
    rows, columns = np.broadcast_arrays(rows, columns)
    seen = (drawn > 0) & (rows >= 0) & (rows < CANVAS) & (columns >= 0) & (columns < CANVAS)
    np.maximum.at(canvas, (rows[seen], columns[seen]), drawn[seen])


def scan(rng: np.random.Generator, look: Look, amounts: np.ndarray) -> np.ndarray:
    """Light through the stained section, as the patient's scanner stores it: uint8 (h, w, 3)."""
    thickness, blur = np.exp(rng.normal(0, 0.08)), look.blur * np.exp(rng.normal(0, 0.15))
    density = sum(amounts[..., i, None] * look.stains[i] for i in range(3))
    light = look.white * 10 ** (-thickness * density)
    light = gaussian_filter(light, (blur, blur, 0)) + rng.normal(0, look.noise, light.shape)
    file = BytesIO()
    Image.fromarray(np.clip(np.rint(light), 0, 255).astype(np.uint8)).save(file, "JPEG", quality=look.quality)
    return np.array(Image.open(file))
