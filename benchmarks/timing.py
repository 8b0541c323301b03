"""Times of several works in turns, so that a slower minute of the machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.results import Ratio

Work = Callable[[], object]

_MOST = 200  # rounds
_REST_S = 0.2  # before a turn: threads of the other engine go on spinning for a while
_RESAMPLES = 2000


@dataclass(frozen=True)
class Times:
    """Seconds of each counted run, in the order of the rounds, and of the run before them."""

    seconds: tuple[float, ...]
    warm_up_s: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def percentile(self, percent: float) -> float:
        """Such as 90 or 99."""
        return float(np.percentile(self.seconds, percent))


def race(works: Mapping[str, Work], duration: float, fewest: int = 5) -> dict[str, Times]:
    """Run each work once uncounted, then all in turns, `duration` seconds for each of them.

    At least `fewest` rounds and at most 200.
    """
    warm_up = {name: seconds_of(work) for name, work in works.items()}
    runs: dict[str, list[float]] = {name: [] for name in works}
    end = time.perf_counter() + duration * len(works)
    rounds = 0
    while rounds < fewest or (rounds < _MOST and time.perf_counter() < end):
        for name, work in works.items():
            time.sleep(_REST_S if len(works) > 1 else 0)
            runs[name].append(seconds_of(work))
        rounds += 1
    return {name: Times(tuple(runs[name]), warm_up[name]) for name in works}


def ratio(ours: Sequence[float], theirs: Sequence[float], baseline: str) -> Ratio:
    """Of runs of the same rounds; the interval is the bootstrap's (SciPy), 95 %."""
    from scipy.stats import bootstrap

    ratios = np.asarray(ours) / np.asarray(theirs)
    median = float(np.median(ratios))
    if np.ptp(ratios) == 0:
        return Ratio(baseline, median, median, median)
    found = bootstrap(
        (ratios,), np.median, n_resamples=_RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return Ratio(baseline, median, float(found.low), float(found.high))


def seconds_of(work: Work) -> float:
    """By the wall clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
