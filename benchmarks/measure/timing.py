"""Time several pieces of work in turns, so that a slow minute of the machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Work = Callable[[], object]
_T = TypeVar("_T")

_MOST = 200  # rounds
_REST_S = 0.2  # before a turn: threads of the other engine go on spinning for a while
_RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """Median of the ratios to the baseline in the same rounds, and its 95 % interval."""

    baseline: str
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Times:
    """Seconds of each counted run, turn by turn, and of the first run, which is not counted."""

    turns: tuple[tuple[float, ...], ...]
    warm_up_s: float = 0.0

    @classmethod
    def of(cls, seconds: Iterable[float], warm_up_s: float = 0.0) -> "Times":
        """Make `Times` with one run in each turn."""
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

    def against(self, other: "Times", baseline: str) -> Ratio:
        """The ratio to the times of `other`, which ran in the same rounds."""
        return ratio(self.rounds, other.rounds, baseline)


def seconds_of(work: Work) -> float:
    """Seconds of one run by the wall clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def race(
    works: Mapping[str, Callable[[], _T]],
    duration: float = 0.0,
    fewest: int = 5,
    turn_s: float = 0.0,
    warm_up: int = 1,
    measured: Callable[[Callable[[], _T]], float] = seconds_of,
) -> dict[str, Times]:
    """Run each work `warm_up` times uncounted, then all of them in turns.

    Args:
        works: the functions that take turns, by name.
        duration: seconds for each work, in at most 200 rounds.
        fewest: least number of rounds, however long they take.
        turn_s: in a turn a work runs once, and again until so many seconds are over, so that a
            fast one is not judged by fewer seconds of the machine's time.
        warm_up: runs of each work before the first round, which are not counted.
        measured: runs a work and returns the seconds that count; by default those of the whole run.
    """
    first = {name: [measured(work) for _ in range(warm_up)] for name, work in works.items()}
    turns: dict[str, list[tuple[float, ...]]] = {name: [] for name in works}
    end = time.perf_counter() + duration * len(works)
    rounds = 0
    while rounds < fewest or (rounds < _MOST and time.perf_counter() < end):
        for name, work in works.items():
            time.sleep(_REST_S if len(works) > 1 else 0)
            turn = [measured(work)]
            while sum(turn) < turn_s:
                turn.append(measured(work))
            turns[name].append(tuple(turn))
        rounds += 1
    return {name: Times(tuple(turns[name]), next(iter(first[name]), 0.0)) for name in works}


def ratio(ours: Sequence[float], theirs: Sequence[float], baseline: str) -> Ratio:
    """The median ratio of two works by round, with its 95 % bootstrap interval (SciPy)."""
    from scipy.stats import bootstrap

    ratios = np.asarray(ours) / np.asarray(theirs)
    median = float(np.median(ratios))
    if np.ptp(ratios) == 0:
        return Ratio(baseline, median, median, median)
    found = bootstrap(
        (ratios,), np.median, n_resamples=_RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return Ratio(baseline, median, float(found.low), float(found.high))
