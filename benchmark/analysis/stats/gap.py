"""Headroom and the share of it that a method closes."""

import numpy as np
from jaxtyping import Float, Int

from benchmark.analysis.stats.intervals import Interval, half_width
from benchmark.analysis.stats.moderation import pooled_runs
from benchmark.analysis.stats.variance import Spread

ANGLES = np.linspace(-np.pi / 2, np.pi / 2, 721)  # a quarter of a degree: ends of shares near 1 are exact to 0.0001


def gap_closed(gain: Spread, headroom: Spread, short: Spread, over: Int[np.ndarray, "k"] | None = None) -> Interval:
    """The share of the headroom that each of k methods closes, with its 95 % interval by Fieller's theorem.

    The share is (m − s) / (u − s) for the means m of the method, s of supervised training with few labels and u of the
    upper bound. A share θ lies in the interval if the contrast (m − s) − θ (u − s) does not differ significantly from
    0, with the same variances by patients and by runs, and the same test, as any other difference. So what numerator
    and denominator share (patients, supervised's runs) is taken into account, and the interval need not be symmetric.

    Args:
        gain: `spread` of the methods less supervised, on the runs that method, supervised and upper bound share.
        headroom: of the upper bound less supervised, on the same runs.
        short: of the methods less the upper bound, on the same runs. The variance of a contrast follows from the three.
        over: the number of runs of each, see `pooled_runs`; None does not moderate variances by runs.

    Returns:
        Shares as fractions (1: the method is as good as all labels). nan where the headroom is not significantly above
        0, since no share is then excluded.

    Source: Fieller, J. R. Stat. Soc. B 16, 1954.
    """
    c, s = np.cos(ANGLES), np.sin(ANGLES)  # the contrast c · gain − s · headroom has the share tan(angle)

    def quadratic(a: Float[np.ndarray, "k"], b: Float[np.ndarray, "k"], ab: Float[np.ndarray, "k"]) -> np.ndarray:
        a, b, ab = a[:, None], b[:, None], ab[:, None]
        return np.maximum(c**2 * a + s**2 * b - c * s * (a + b - ab), 0)

    contrasts = Spread(
        mean=c * gain.mean[:, None] - s * headroom.mean[:, None],
        **{
            name: quadratic(*(getattr(parts, name) for parts in (gain, headroom, short)))
            for name in ("patients", "runs", "both")
        },
        patients_freedom=np.repeat(gain.patients_freedom[:, None], len(ANGLES), axis=1),
        runs_freedom=np.repeat(gain.runs_freedom[:, None], len(ANGLES), axis=1),
        estimable=np.repeat((gain.estimable & headroom.estimable)[:, None], len(ANGLES), axis=1),
    )
    if over is not None:
        contrasts = pooled_runs(contrasts, np.repeat(over[:, None], len(ANGLES), axis=1))
    outside = np.abs(contrasts.mean) - half_width(contrasts)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = gain.mean / headroom.mean
    known = (headroom.mean > 0) & (outside[:, 0] > 0)
    centre = np.searchsorted(ANGLES, np.arctan(share))
    low, high = (
        np.array([_end(outside[k], centre[k], side) if known[k] else np.nan for k in range(len(share))])
        for side in (-1, 1)
    )
    return Interval(np.where(known, share, np.nan), low, high)


def _end(outside: Float[np.ndarray, "a"], centre: int, side: int) -> float:
    """The share at which a contrast becomes significant, on one side of the angle where it is 0."""
    path = np.arange(centre, len(ANGLES)) if side > 0 else np.arange(min(centre, len(ANGLES) - 1), -1, -1)
    first = path[np.argmax(outside[path] > 0)]
    before = first - side
    if not 0 <= before < len(ANGLES) or outside[before] > 0:
        return float(np.tan(ANGLES[first]))
    step = outside[before] / (outside[before] - outside[first])
    return float(np.tan(ANGLES[before] + step * (ANGLES[first] - ANGLES[before])))
