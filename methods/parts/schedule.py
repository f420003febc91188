"""Averages and warm-ups of short runs: one rule, the same for every method.

Published settings are for runs of 6,000 to 180,000 steps. In a run of 400 steps, an average with decay 0.99 would cover
a quarter of the run (published: 0.04 to 1.9 %), and a warm-up of 10 % would end after 40 steps, when a decoder has
learnt very little. At published lengths both functions return the published value.
"""


def adapted_decay(published: float, steps: int, adapt: bool = True) -> float:
    """The decay of an average over optimiser steps: its horizon 1 / (1 − a) is at most 1 % of the run, or 10 steps.

    Args:
        published: published decay a, in [0, 1].
        steps: optimiser steps of the run.
        adapt: False keeps the published decay at any length.

    Returns:
        min(published, 1 − 1 / max(10, 0.01 · steps)).

    >>> adapted_decay(0.99, 400), adapted_decay(0.999, 2_000), adapted_decay(0.99, 30_000)
    (0.9, 0.95, 0.99)
    """
    return min(published, 1 - 1 / max(10, 0.01 * steps)) if adapt else published


def adapted_share(published: float, steps: int) -> float:
    """The length of a ramp or warm-up as a fraction of training: at least 200 steps or 20 %, whichever is shorter.

    Args:
        published: published fraction, in [0, 1]; 0 means no ramp or warm-up, and stays 0.
        steps: optimiser steps of the run.

    Returns:
        max(published, min(200 / steps, 0.2)), or 0.

    >>> adapted_share(0.1, 400), adapted_share(0.1, 1_000), adapted_share(0.1, 4_000), adapted_share(1.0, 400)
    (0.2, 0.2, 0.1, 1.0)
    """
    return max(published, min(200 / steps, 0.2)) if published else 0.0
