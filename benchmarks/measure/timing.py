"""Times of several works in turns, so that a slower minute of the machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.report.results import Ratio

Work = Callable[[], object]

_MOST = 200  # rounds
_REST_S = 0.2  # before a turn: threads of the other engine go on spinning for a while
_RESAMPLES = 2000


@dataclass(frozen=True)
class Times:
    """Seconds of each counted run, turn by turn, and of the run before them."""

    turns: tuple[tuple[float, ...], ...]
    warm_up_s: float = 0.0

    @classmethod
    def of(cls, seconds: Iterable[float], warm_up_s: float = 0.0) -> "Times":
        """One run a turn."""
        return cls(tuple((each,) for each in seconds), warm_up_s)

    @property
    def seconds(self) -> tuple[float, ...]:
        return tuple(each for turn in self.turns for each in turn)

    @property
    def rounds(self) -> tuple[float, ...]:
        """The median of each turn."""
        return tuple(map(statistics.median, self.turns))

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def percentile(self, percent: float) -> float:
        """Such as 90 or 99."""
        return float(np.percentile(self.seconds, percent))


def race(
    works: Mapping[str, Work], duration: float, fewest: int = 5, turn_s: float = 0.0
) -> dict[str, Times]:
    """Run each work once uncounted, then all in turns, `duration` seconds for each of them.

    At least `fewest` rounds and at most 200. In a turn a work runs once, and again until `turn_s`
    seconds are over, so that a fast one is not judged by fewer seconds of the machine's time.
    """
    warm_up = {name: seconds_of(work) for name, work in works.items()}
    turns: dict[str, list[tuple[float, ...]]] = {name: [] for name in works}
    end = time.perf_counter() + duration * len(works)
    rounds = 0
    while rounds < fewest or (rounds < _MOST and time.perf_counter() < end):
        for name, work in works.items():
            time.sleep(_REST_S if len(works) > 1 else 0)
            turn = [seconds_of(work)]
            while sum(turn) < turn_s:
                turn.append(seconds_of(work))
            turns[name].append(tuple(turn))
        rounds += 1
    return {name: Times(tuple(turns[name]), warm_up[name]) for name in works}


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
