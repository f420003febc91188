"""The embedded dataset: H&E-like colon tissue generated from a seed, for trying everything without a download.

Tissue is laid out as bodies (glands, and what resembles them) and painted as amounts of haematoxylin, eosin and blood.
Only then does it become light, as in a slide scanner: absorbed along stain vectors near those of Ruifrok and Johnston
(2001), blurred, noisy, and stored as JPEG. Disease, staining and scanner belong to the patient. Sums are in double
precision and in a fixed order, so that rounding to bytes hides what differs between processors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import binary_opening, distance_transform_edt, gaussian_filter, label, map_coordinates

from benchmark.datasets.base import Dataset, Item, Record

SEED = 2023
SIDE, MARGIN = 256, 28  # glands leave the frame: they are rendered beyond it and cut
CANVAS = SIDE + 2 * MARGIN
PATIENTS, IMAGES = 36, 4
ENDS = {"train": 8, "val": 12, "test": PATIENTS}  # the patient at which each part ends
GLANDLESS = 17  # one image in so many
MALIGNANT = "malignant"  # stratum of patients with carcinoma
H, E, BLOOD = range(3)
STAINS = (0.650, 0.704, 0.286), (0.080, 0.960, 0.230), (0.100, 0.880, 0.460)
GLAND, VESSEL, FAT, FOLLICLE, HOLE, STROMA = range(6)  # only the first is in the mask
CONFUSERS = (HOLE, 2.2, 5, 80), (VESSEL, 3.5, 7, 20), (FOLLICLE, 2, 15, 48), (FAT, 0.5, 12, 20)  # how many, radii


class Disease(NamedTuple):
    """What the glands of a diagnosis look like. Sizes are in pixels at scale 1; pairs are ranges."""

    malignant: bool
    radius: tuple[float, float]
    stretch: float  # the most that glands are elongated, as a logarithm
    spacing: tuple[float, float]  # of gland centres, in diameters
    unruly: float  # how far places and sizes stray
    septum: tuple[float, float]  # stroma between neighbours
    bend: tuple[float, float]
    wall: tuple[float, float]  # from the membrane to the lumen
    ragged: float  # how far the lumen strays from that: much makes a gland cribriform
    goblets: tuple[float, float]  # share of cells full of mucin
    layers: float  # how much of the wall nuclei fill; 0 is a single row
    nucleus: tuple[float, float]  # half axes
    crowd: float  # distance of nuclei
    atypia: float  # how uneven they are


# fmt: off
NORMAL = Disease(False, (30, 40), .7, (1, 1.3), .1, (4, 12), (3, 6), (20, 34), 2, (.4, 1), 0, (3.2, 2), 4.6, 0)
ADENOMA = Disease(False, (34, 50), .8, (.95, 1.15), .16, (3, 8), (3, 7), (16, 26), 2, (0, .3), .6, (4.8, 1.7), 4.4, .2)
WELL = Disease(True, (34, 54), .8, (.95, 1.2), .2, (3, 8), (4, 8), (13, 24), 9, (0, .15), .65, (4.5, 2), 4.9, .4)
MODERATE = Disease(True, (28, 46), .6, (.9, 1.25), .28, (3, 7), (4, 9), (13, 30), 10, (0, .1), .85, (4, 2.4), 5.4, .6)
POOR = Disease(True, (13, 22), .5, (1, 1.5), .35, (3, 6), (3, 6), (10, 30), 10, (0, 0), 2, (3.9, 3.1), 6.2, .9)
# fmt: on
DIAGNOSES = NORMAL, WELL, ADENOMA, MODERATE, NORMAL, POOR, ADENOMA, MODERATE  # of the patients, in turn


class Phantom(Dataset):
    title = "Phantom: synthetic H&E-like colon tissue"
    licence = "MIT"
    source = "generated on this machine; nothing to download"
    size = f"{PATIENTS * IMAGES} images of {SIDE} × {SIDE} from {PATIENTS} patients"
    tasks = ("", "grade")
    task_classes: ClassVar[dict] = {"grade": ("background", "benign gland", "malignant gland")}
    splits: ClassVar[dict[str, str]] = {"patient": "patients disjoint and fixed"}

    def items(self, root: Path | None = None) -> list[Item]:
        """Every image by name; nothing is read from `root`."""
        return [
            Item(f"p{patient:02d}-{image}", f"p{patient:02d}", stratum=_stratum(look_of(patient).disease))
            for patient in range(PATIENTS)
            for image in range(IMAGES)
        ]

    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        parts: dict[str, list[int]] = {name: [] for name in ENDS}
        for place, record in enumerate(records):
            parts[next(name for name, end in ENDS.items() if int(record.patient[1:]) < end)].append(place)
        return parts

    def label(self, task: str, record: Record, mask: np.ndarray) -> np.ndarray:
        """`grade` divides glands by the disease of their patient: 1 benign, 2 malignant."""
        return mask * np.uint8(2) if task == "grade" and record.stratum == MALIGNANT else mask

    def read(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Draws the image, uint8 (256, 256, 3), and its gland mask, uint8 0 or 1 (256, 256)."""
        patient, image = (int(number) for number in item.name[1:].split("-"))
        rng, look = np.random.default_rng([SEED, patient, 1 + image]), look_of(patient)
        glandless = (patient * IMAGES + image) % GLANDLESS == GLANDLESS - 1
        bodies = [] if glandless else glands(rng, look)
        add_lookalikes(rng, look, bodies, often=2 if glandless else 1)
        section = Section(rng, look, *shape(rng, look, bodies))
        frame = slice(MARGIN, MARGIN + SIDE)
        return scan(rng, look, section.paint()[frame, frame]), (section.kind == GLAND)[frame, frame].astype(np.uint8)


def _stratum(disease: Disease) -> str:
    return MALIGNANT if disease.malignant else "benign"


@dataclass(frozen=True)
class Look:
    """What the images of a patient share: the disease, the staining and the scanner."""

    disease: Disease
    scale: float  # of all sizes; 1 is about a micrometre a pixel
    goblets: float
    inflamed: float  # lymphocytes in the stroma
    cellular: float  # and its own cells
    atypia: float
    cytoplasm: np.ndarray  # (2,): haematoxylin and eosin
    stains: np.ndarray  # (3, 3): optical densities of red, green, blue for each stain
    white: np.ndarray  # (3,): light through empty glass
    blur: float  # pixels
    noise: float  # grey levels
    quality: int  # of the JPEG


def look_of(patient: int) -> Look:
    rng = np.random.default_rng([SEED, patient, 0])
    disease = DIAGNOSES[patient % len(DIAGNOSES)]
    vectors = np.maximum(rng.normal(STAINS, [[0.07], [0.1], [0.07]]), 0.03)
    strength = np.array([rng.uniform(0.6, 1.45), rng.uniform(0.4, 1.2), 0.9]) * rng.uniform(0.75, 1.25)
    return Look(
        disease=disease,
        scale=rng.uniform(0.7, 1.35),
        goblets=rng.uniform(*disease.goblets),
        inflamed=rng.uniform(0.1, 1),
        cellular=rng.uniform(0.15, 0.75),
        atypia=disease.atypia + rng.uniform(0, 0.3),
        cytoplasm=rng.uniform((0.06, 0.15), (0.25, 0.5)) + np.array([0.2 * disease.atypia, 0]),
        stains=vectors / np.sqrt((vectors**2).sum(1, keepdims=True)) * strength[:, None],
        white=rng.uniform(225, 253) + rng.uniform(-10, 2, 3),
        blur=rng.uniform(0.3, 1.4),
        noise=rng.uniform(0.5, 6),
        quality=int(rng.integers(40, 93)),
    )


class Body(NamedTuple):
    """A gland, or what resembles one."""

    kind: int
    y: float
    x: float
    long: float  # half axes, pixels
    short: float
    angle: float
    wall: float  # pixels
    ragged: float
    filling: float  # of the lumen: 0 is empty
    tone: float  # of the cytoplasm


def turned(y: np.ndarray, x: np.ndarray, angle: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along a direction, and across it."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def glands(rng: np.random.Generator, look: Look) -> list[Body]:
    """On a stretched, jittered lattice, on one side of a border."""
    disease = look.disease
    radius, stretch = look.scale * rng.uniform(*disease.radius), np.exp(rng.uniform(0, disease.stretch) / 2)
    turn, border = rng.uniform(0, 2 * np.pi, 2)
    row, column = np.mgrid[-24:25, -24:25].reshape(2, -1)
    lattice = np.stack([0.87 * row / stretch, (column + row % 2 / 2) * stretch])
    lattice = (lattice + rng.normal(0, disease.unruly, lattice.shape)) * 2 * radius * rng.uniform(*disease.spacing)
    xs, ys = turned(*lattice, -turn)
    kept = turned(ys, xs, border)[0] < rng.uniform(0, 0.6) * CANVAS
    kept &= (np.maximum(np.abs(ys), np.abs(xs)) < CANVAS / 2 + radius) & (rng.random(len(ys)) > disease.unruly / 2)
    bodies = []
    for y, x in np.stack([ys, xs])[:, kept].T + CANVAS / 2:
        size, long = radius * rng.lognormal(0, disease.unruly), stretch * rng.lognormal(0, disease.unruly)
        angle, wall = rng.normal(turn, 1.2 * disease.unruly), look.scale * rng.uniform(*disease.wall)
        ragged, filling = rng.uniform(0.5, disease.ragged), rng.random() ** 2
        bodies.append(Body(GLAND, y, x, size * long, size / long, angle, wall, ragged, filling, rng.normal(0, 0.1)))
    return bodies


def add_lookalikes(rng: np.random.Generator, look: Look, bodies: list[Body], often: float) -> None:
    """Where there is room; fat cells come in clusters."""
    for kind, usual, least, most in CONFUSERS:
        for place in rng.uniform(0, CANVAS, (rng.poisson(usual * often), 2)):
            size, long = look.scale * (least + (most - least) * rng.random() ** 2), rng.lognormal(0, 0.3)
            companions = rng.normal(place, 2 * size, (rng.integers(3, 12) if kind == FAT else 0, 2))
            for y, x in [place, *companions]:
                angle, wall, filling = rng.uniform(0, np.pi), size * rng.uniform(0.2, 0.6), rng.random()
                if all(np.hypot(y - b.y, x - b.x) > 0.4 * (b.long + b.short) + 0.8 * size for b in bodies):
                    bodies.append(Body(kind, y, x, size * long, size / long, angle, wall, 0, filling, 0))


@lru_cache(maxsize=1)
def textures() -> dict[str, np.ndarray]:
    """Noise (640, 640) with mean 0 and deviation 1 that joins its own edges; "fibre" runs along the second axis."""
    rng = np.random.default_rng([SEED, PATIENTS, 0])
    sigmas = {"fine": 1, "cell": 3, "fold": 9, "broad": 32, "fibre": (1, 9)}
    noises = {name: gaussian_filter(rng.normal(size=(640, 640)), sigma, mode="wrap") for name, sigma in sigmas.items()}
    return {name: (noise - noise.mean()) / noise.std() for name, noise in noises.items()}


def grain(rng: np.random.Generator, name: str) -> np.ndarray:
    """A random piece of a texture, as large as the canvas."""
    top, left = rng.integers(0, 640 - CANVAS, 2)
    return textures()[name][top : top + CANVAS, left : left + CANVAS][:: rng.choice([-1, 1])]


def shape(rng: np.random.Generator, look: Look, bodies: list[Body]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Bends the bodies and presses them against each other, with a septum between.

    Returns what the nearest body is like at every pixel, the kind being STROMA outside; and how far it is, about.
    """
    bend, septum = look.scale * rng.uniform(*look.disease.bend), look.scale * rng.uniform(*look.disease.septum)
    bent = [bend * grain(rng, "fold") + 0.6 * look.scale * grain(rng, "cell") for _ in range(2)]
    rows, columns = np.mgrid[:CANVAS, :CANVAS] + np.stack(bent)
    nearest, second = np.full((2, CANVAS, CANVAS), 1e3)
    which = np.zeros((CANVAS, CANVAS), int)
    for number, body in enumerate(bodies):
        reach = max(body.long, body.short) + 50
        box = tuple(slice(max(0, int(c - reach)), max(0, int(c + reach))) for c in (body.y, body.x))
        along, across = turned(rows[box] - body.y, columns[box] - body.x, body.angle)
        off = (along / body.long) ** 2 + (across / body.short) ** 2
        distance = (np.sqrt(off) - 1) * np.sqrt(body.long * body.short)
        which[box][distance < nearest[box]] = number
        second[box] = np.minimum(second[box], np.maximum(nearest[box], distance))
        nearest[box] = np.minimum(nearest[box], distance)
    inside = binary_opening((nearest < 0) & (second - nearest > septum), iterations=4)
    pieces, _ = label(inside)
    inside &= np.bincount(pieces.ravel())[pieces] > 100  # no crumbs
    near = {name: np.array(values)[which] for name, values in zip(Body._fields, zip(*bodies, strict=True), strict=True)}
    near["kind"] = np.where(inside, near["kind"], STROMA)
    return near, np.maximum(nearest, 0)


class Section:
    """A stained section, painted from the stroma up: the amounts of haematoxylin, eosin and blood (h, w, 3)."""

    def __init__(self, rng: np.random.Generator, look: Look, near: dict[str, np.ndarray], outwards: np.ndarray):
        self.rng, self.look, self.near, self.outwards = rng, look, near, outwards
        self.kind, self.wall, self.gland = near["kind"], near["wall"], near["kind"] == GLAND
        # pixels inwards from the edge of a body, and the nearest point of that edge
        self.depth, self.foot = distance_transform_edt(self.kind != STROMA, return_indices=True)
        self.upright = np.arctan2(*np.gradient(gaussian_filter(self.depth, 1.5, truncate=2)))  # how cells stand on it
        self.stain = np.zeros((CANVAS, CANVAS, 3))

    def paint(self) -> np.ndarray:
        slope = self.stroma()
        lumen = self.epithelium()
        self.lumens(lumen)
        self.lookalikes()
        crowd = np.maximum(self.look.inflamed * grain(self.rng, "fold") - 0.2, 0.03) * (self.kind == STROMA)
        self.nuclei(5.2, crowd + 0.9 * (self.kind == FOLLICLE), (2.3, 2.1), slope, dark=0.95, uneven=0.1)
        self.nuclei(8, self.look.cellular * (self.kind == STROMA), (5.2, 1.4), slope, dark=0.75, uneven=0.25)
        uneven = 1 + 0.1 * grain(self.rng, "fine") + 0.06 * grain(self.rng, "broad")
        return np.maximum(self.stain * uneven[..., None], 0)

    def stroma(self) -> np.ndarray:
        """Collagen that runs one way and round the bodies, with clefts; returns its direction."""
        rng, (rows, columns) = self.rng, np.mgrid[:CANVAS, :CANVAS].astype(float)
        turn, fold = rng.uniform(0, np.pi), grain(rng, "fold")
        along, across = turned(rows, columns, turn)
        across += rng.uniform(5, 14) * grain(rng, "broad") + 2 * fold + 15 * np.exp(-self.outwards / 12)
        fibre = map_coordinates(textures()["fibre"], [across / self.look.scale, along], order=1, mode="grid-wrap")
        cleft = np.clip(2 * (rng.uniform(-3.2, -1.6) - fibre - 0.4 * fold), 0, 1)
        shrunk = np.clip(rng.normal(-0.5, 1.5) + fold - np.abs(self.outwards - 2.5), 0, 1) * (self.outwards > 0)
        firm = 1 - 0.9 * np.maximum(cleft, shrunk)
        self.stain[..., H] = (rng.uniform(0.07, 0.15) + 0.03 * fibre) * firm
        self.stain[..., E] = (rng.normal(0.4, 0.06) + 0.1 * fold + 0.08 * fibre) * firm
        slope_y, slope_x = np.gradient(across)
        return np.arctan2(slope_x, -slope_y)

    def epithelium(self) -> np.ndarray:
        """Cells that stand on the membrane, nuclei at the foot or in layers, mucin above; returns the lumen."""
        rng, look, depth, disease = self.rng, self.look, self.depth, self.look.disease
        inward = depth - self.wall + self.near["ragged"] * grain(rng, "cell")
        streak = grain(rng, "fine")[tuple(self.foot)]  # the same along a cell, another for its neighbour
        tone = 1 + self.near["tone"] + 0.18 * streak + 0.1 * grain(rng, "cell")
        cells = look.cytoplasm * tone[..., None]
        cells[..., E] += 0.2 * (depth < 1.5) + 0.15 * (np.abs(inward + 1.5) < 1.5)  # membrane and brush border
        self.stain[self.gland, :BLOOD] = cells[self.gland]

        full = look.goblets * self.gland * (depth > 7 * look.scale) * (inward < -1)
        goblet = self.ellipses(self.scatter(6.5, full), (4.8, 3.5), self.upright, 1, 0.15)
        self.stain[..., :BLOOD] *= 1 - 0.8 * goblet[..., None]
        self.stain[..., H] += goblet * (0.1 + 0.05 * streak)

        top = disease.layers * self.wall if disease.layers else 8 * look.scale
        standing = 0.92 * self.gland * (depth > 1.5) * (depth < top) * (inward < -1.5)
        dark, uneven, lean = 0.8 - 0.15 * look.atypia, 0.12 + 0.16 * look.atypia, 0.1 + 0.4 * look.atypia
        self.nuclei(disease.crowd, standing, disease.nucleus, self.upright, dark, uneven, lean, row=not disease.layers)
        return np.clip(inward / 2 + 0.5, 0, 1) * self.gland * (depth > 3)

    def lumens(self, lumen: np.ndarray) -> None:
        """Empty, or filled with mucin; in some malignant images with dead cells."""
        rng, debris = self.rng, self.look.disease.malignant and self.rng.random() < 0.6
        filled = self.near["filling"] * np.clip(1 + 0.6 * grain(rng, "cell"), 0, 2)
        self.stain *= 1 - lumen[..., None]
        self.stain[..., H] += lumen * filled * (0.16 + 0.1 * debris * np.maximum(grain(rng, "fine"), 0))
        self.stain[..., E] += lumen * filled * (0.4 if debris else 0.06)
        self.nuclei(6, 0.5 * debris * filled * (lumen > 0.9), (1.7, 1.3), self.upright, dark=0.9, uneven=0.4)

    def lookalikes(self) -> None:
        """Vessels, fat, tears and pools of mucin: round or hollow or pale, and no glands; and spilt blood."""
        rng, depth, kind, vessel = self.rng, self.depth, self.kind, self.kind == VESSEL
        pool = (
            0.1 * (self.near["filling"] > 0.6) * np.clip(1 + 0.6 * grain(rng, "fold") + 0.3 * grain(rng, "cell"), 0, 2)
        )
        for hollow, rind in ((HOLE, 0), (FAT, 0.5), (VESSEL, self.wall)):
            empty = (kind == hollow) * np.clip(depth / 2, 0, 1) * np.clip(depth - rind, 0, 1)
            self.stain *= 1 - empty[..., None]
            self.stain[..., H] += pool * empty * (hollow == HOLE)
        self.stain[..., E] += 0.1 * vessel * (depth <= self.wall)
        flowing = vessel * (depth > self.wall + 1) * (self.near["filling"] > 0.4)
        spilt = (kind == STROMA) * np.clip(grain(rng, "fold") - 2, 0, 0.8)
        red = self.ellipses(self.scatter(4.5, flowing + spilt), (2.8, 2.4), self.upright, 0.6, 0.1)
        self.stain *= 1 - np.minimum(red, 1)[..., None]
        self.stain[..., BLOOD] += red
        lining = 0.8 * vessel * (np.abs(depth - self.wall + 1.5) < 2)
        self.nuclei(6, lining, (4, 1.3), self.upright + np.pi / 2, dark=0.85, uneven=0.2)

    def nuclei(
        self,
        spacing: float,
        chance: np.ndarray,
        axes: tuple[float, float],
        angle: np.ndarray,
        dark: float,
        uneven: float,
        lean: float = 0.25,
        row: bool = False,
    ) -> None:
        """Scatters nuclei, which push eosin aside; a `row` stands at the foot of its cells."""
        points = self.scatter(spacing, chance)
        if row:
            place = points.astype(int)
            lift = self.rng.normal(3.8 * self.look.scale, 0.8, points.shape[1]) - self.depth[tuple(place)]
            points = points + lift * np.stack([np.sin(angle[tuple(place)]), np.cos(angle[tuple(place)])])
            points = np.clip(points, 0, CANVAS - 1)
        chromatin = self.ellipses(points, axes, angle, dark, uneven, lean)
        self.stain[..., E] *= 1 - 0.6 * np.minimum(chromatin, 1)
        self.stain[..., H] = np.maximum(self.stain[..., H], chromatin)

    def scatter(self, spacing: float, chance: np.ndarray) -> np.ndarray:
        """Points (2, n) about `spacing` apart, kept with the chance of where they fall."""
        spacing *= self.look.scale
        grid = np.mgrid[: CANVAS - spacing : spacing, : CANVAS - spacing : spacing].reshape(2, -1)
        points = grid + self.rng.uniform(0, 0.9 * spacing, grid.shape)
        return points[:, self.rng.random(points.shape[1]) < chance[tuple(points.astype(int))]]

    def ellipses(
        self,
        points: np.ndarray,
        axes: tuple[float, float],
        angle: np.ndarray,
        value: float,
        uneven: float,
        lean: float = 0,
    ) -> np.ndarray:
        """Soft-edged ellipses on an empty canvas, of about these half axes, at the angle of the place, give or take."""
        rng, canvas, n = self.rng, np.zeros((CANVAS, CANVAS)), points.shape[1]
        long, short = (self.look.scale * axis * rng.lognormal(0, uneven, (n, 1, 1)) for axis in axes)
        angle = (angle[tuple(points.astype(int))] + rng.normal(0, lean, n))[:, None, None]
        value = value * rng.lognormal(0, 0.15 + uneven / 2, (n, 1, 1))
        reach = int(1.2 * max(long.max(initial=0), short.max(initial=0))) + 1
        near = np.arange(-reach, reach + 1)
        rows, columns = points.astype(int)[:, :, None, None] + np.stack(np.meshgrid(near, near, indexing="ij"))[:, None]
        along, across = turned(rows - points[0][:, None, None], columns - points[1][:, None, None], angle)
        off = (along / long) ** 2 + (across / short) ** 2
        seen = (off < 1.45) & (np.minimum(rows, columns) >= 0) & (np.maximum(rows, columns) < CANVAS)
        np.maximum.at(canvas, (rows[seen], columns[seen]), (value * np.clip((1.45 - off) / 0.7, 0, 1))[seen])
        return canvas


def scan(rng: np.random.Generator, look: Look, amounts: np.ndarray) -> np.ndarray:
    """Light through the section, as the patient's scanner stores it: uint8 (h, w, 3)."""
    thickness, blur = rng.lognormal(0, 0.08), look.blur * rng.lognormal(0, 0.15)
    density = sum(amounts[..., i, None] * look.stains[i] for i in (H, E, BLOOD))
    light = gaussian_filter(look.white * 10 ** (-thickness * density), (blur, blur, 0))
    light += rng.normal(0, look.noise, light.shape)
    file = BytesIO()
    Image.fromarray(np.clip(np.rint(light), 0, 255).astype(np.uint8)).save(file, "JPEG", quality=look.quality)
    return np.array(Image.open(file, formats=["JPEG"]))
