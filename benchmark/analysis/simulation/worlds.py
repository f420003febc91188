"""Simulated benchmarks: how scores come about, and the true means that intervals should cover."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, ndtri

COLLAPSE = 5.0  # a Dice of 0.9 becomes 0.06
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    """How scores come about: standard deviations of normal effects; their sum, through 1/(1 + e^−x), is a Dice.

    What is named `own` differs between methods; the rest is shared by all that see the same patient, draw or seed.
    """

    centre: float
    patient: float
    image: float
    draw: float = 0.15
    seed: float = 0.1
    own_patient: float = 0.1
    own_image: float = 0.15
    own_draw: float = 0.08
    own_seed: float = 0.08
    own_patient_of_run: float = 0.1
    own_image_of_run: float = 0.2
    collapse: float = 0.0  # the chance that a run of a method collapses: its effects sum to COLLAPSE less
    uneven: bool = False  # a few patients have most of the images

    @property
    def variance(self) -> float:
        """Of the sum of all effects of an image in a new run."""
        other = ("centre", "collapse", "uneven")
        return float(sum(value**2 for name, value in vars(self).items() if name not in other))


WORLDS = {
    "easy": World(centre=2.6, patient=0.65, image=0.75),
    "lopsided": World(centre=3.0, patient=1.2, image=1.2),
    "hard": World(centre=-1.0, patient=1.5, image=1.0, own_patient=0.3, own_image=0.3),
    "uneven": World(centre=2.6, patient=0.65, image=0.75, uneven=True),
    "collapses": World(centre=2.6, patient=0.65, image=0.75, collapse=0.1),
}


class Design(NamedTuple):
    """How many test patients, draws of the labelled subset, and seeds in each draw."""

    patients: int
    draws: int
    seeds: int


class Scores(NamedTuple):
    """Scores of k methods in s simulations on n images of runs, and their labels; true means, and for a new run."""

    values: Float[np.ndarray, "n k s"]
    patients: Int[np.ndarray, "n"]
    draws: Int[np.ndarray, "n"]
    seeds: Int[np.ndarray, "n"]
    true: Float[np.ndarray, "k s"]
    true_for_new_runs: Float[np.ndarray, "k"]

    @property
    def labels(self) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """Patient, draw and seed of each score."""
        return self.patients, self.draws, self.seeds


def images_of_patients(patients: int, uneven: bool = False) -> Int[np.ndarray, "p"]:
    """Numbers of images, unequal as in clinics: the quantiles of an exponential distribution, rounded up.

    With `uneven` they are those of a log-normal distribution (σ = 1.5): a tenth of the patients has half of the images.
    """
    shares = (np.arange(patients) + 0.5) / patients
    sizes = np.exp(1.5 * ndtri(shares)) if uneven else -3 * np.log(1 - shares)
    return np.ceil(sizes).astype(np.int64)


def simulate(
    world: World, design: Design, gains: Float[np.ndarray, "k"], simulations: int, random: np.random.Generator,
    apart: Sequence[int] = (),
) -> Scores:  # fmt: skip
    """Scores of methods that differ by `gains` on the scale of the effects.

    The true mean of a method is over all patients, and over all draws and seeds that the design varies: with one draw,
    for this draw; with one run, for this run. Methods `apart`, such as the upper bound, have other labelled images: the
    effects of draws and seeds are their own.
    """
    sizes = images_of_patients(design.patients, world.uneven)
    patient = np.repeat(np.arange(design.patients), sizes)
    images, methods, runs = len(patient), len(gains), design.draws * design.seeds
    draw = np.repeat(np.arange(design.draws), design.seeds)

    def normal(deviation: float, *shape: int) -> Float[np.ndarray, "..."]:
        return deviation * random.standard_normal((*shape, simulations))

    # axes: run, image, method, simulation
    of_draw = normal(world.draw, design.draws, 1, 1) + normal(world.own_draw, design.draws, 1, methods)
    of_seed = normal(world.seed, runs, 1, 1) + normal(world.own_seed, runs, 1, methods)
    for k in apart:
        of_draw[:, :, k] = normal(np.hypot(world.draw, world.own_draw), design.draws, 1)
        of_seed[:, :, k] = normal(np.hypot(world.seed, world.own_seed), runs, 1)
    of_patient = normal(world.patient, 1, design.patients, 1) + normal(world.own_patient, 1, design.patients, methods)
    of_image = normal(world.image, 1, images, 1) + normal(world.own_image, 1, images, methods)
    latent = normal(world.own_image_of_run, runs, images, methods)
    latent += normal(world.own_patient_of_run, runs, design.patients, methods)[:, patient]
    latent += of_image + of_patient[:, patient]
    latent += of_draw[draw] + of_seed + np.reshape(gains, (-1, 1))
    collapsed = random.random((runs, 1, methods, simulations)) < world.collapse
    latent -= COLLAPSE * collapsed

    known = np.reshape(gains, (-1, 1)) + np.zeros((methods, simulations))
    varied = world.variance
    new = mean_score(world, world.centre + gains, varied)
    if design.draws == 1:
        known = known + of_draw[0, 0]
        varied -= world.draw**2 + world.own_draw**2
        if design.seeds == 1:
            known = known + of_seed[0, 0] - COLLAPSE * collapsed[0, 0]
            varied -= world.seed**2 + world.own_seed**2
            world = replace(world, collapse=0.0)
    return Scores(
        values=expit(world.centre + latent).reshape(runs * images, methods, simulations),
        patients=np.tile(patient, runs),
        draws=np.repeat(draw, images),
        seeds=np.repeat(np.tile(np.arange(design.seeds), design.draws), images),
        true=mean_score(world, world.centre + known, varied),
        true_for_new_runs=new,
    )


def mean_score(world: World, centre: Float[np.ndarray, "..."], variance: float) -> Float[np.ndarray, "..."]:
    """The mean of 1/(1 + e^−x) over normal x of this variance, by Gauss–Hermite quadrature, collapsed runs among it."""
    x = np.asarray(centre)[..., None] + np.sqrt(variance) * NODES
    mean = expit(x) @ WEIGHTS
    if world.collapse == 0:
        return mean
    return (1 - world.collapse) * mean + world.collapse * (expit(x - COLLAPSE) @ WEIGHTS)
