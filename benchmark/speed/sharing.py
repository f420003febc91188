"""How many runs should share a GPU: measured, by training several at the same time."""

from typing import NamedTuple

from benchmark.speed.measure import DoesNotFit, Job, together

GAIN = 1.15  # times as many steps per second, at least, for twice as many runs


class Sharing(NamedTuple):
    """The number of runs at the same time, and their speed."""

    runs: int
    slowdown: float  # how many times as long a run takes as alone
    steps_per_s: float  # of all runs together
    alone_per_s: float  # of one run alone


def sharing(job: Job, most: int) -> Sharing:
    """Doubles the number of runs while this pays and they fit into memory.

    Args:
        job: a run with its data and device, and how long the steps are counted.
        most: the largest number that is tried.

    Raises:
        DoesNotFit: if not even one run fits.
    """
    runs, alone = 1, together(job, 1)["steps_per_s"]
    rate = alone
    while 2 * runs <= most:
        try:
            twice = together(job, 2 * runs)["steps_per_s"]
        except DoesNotFit:
            break
        if twice < GAIN * rate:
            break
        runs, rate = 2 * runs, twice
    return Sharing(runs, runs * alone / rate, rate, alone)
