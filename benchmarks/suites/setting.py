"""The setting in which a suite of `dmd-bench` runs, and how times become measurements."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.measure.timing import Ratio, Times, Work, race
from benchmarks.report.results import Measurement
from benchmarks.suites.runners import BundleRunner, Cases, Runner
from calibration.truth import Truth, truth_set
from export.checks.arithmetic import Cost, cost

_USUAL = 5  # references of a case that says nothing else
FEWEST = 8
"""Rounds of a race, unless a suite or `quick` says otherwise."""
_FEWEST_QUICK = 3
_TURN_S = 1.5
_VARIANTS = ("torch compile", "torch both")
_GPU_PEAKS = {"fp32": "gpu float", "fp16": "gpu half"}
"""The peak rate of a GPU for each precision; INT8 graphs mix two, of which one is not measured."""


@dataclass(frozen=True)
class Setting:
    """What a suite measures, and how; `duration`: seconds of each runner in each case."""

    runners: Sequence[Runner]
    cases: Cases
    peaks: Mapping[str, float]
    device: str = "auto"
    threads: int | None = None
    fewer_threads: tuple[int, ...] = ()
    """Other numbers of CPU threads, which `throughput` tries too."""
    batches: tuple[int, ...] = (1, 4)
    references: tuple[int, ...] = (0, 1, 5, 10, 20)
    duration: float = 10.0
    quick: bool = False
    null_engine: bool = False
    """Whether `pipeline` also measures what surrounds the network."""
    turn_s: float = _TURN_S
    """Least seconds of a runner's turn in a race."""
    warm_up: int = 1
    """Runs of each runner in each case that are not counted."""
    baseline: str | None = None
    """Name of the runner that the others are compared with."""
    truth: Truth = field(default_factory=truth_set)
    """Clean faces, by which restored ones are judged."""
    raced: dict[tuple[int, int], dict[str, Times]] = field(default_factory=dict)

    @property
    def bundles(self) -> list[BundleRunner]:
        return [runner for runner in self.runners if isinstance(runner, BundleRunner)]

    @property
    def without_variants(self) -> list[Runner]:
        """Runners without PyTorch's compile and both modes, for suites where those add nothing."""
        return [runner for runner in self.runners if runner.subject.name not in _VARIANTS]

    @property
    def usual(self) -> int:
        """The number of references nearest to 5 among those asked for."""
        return nearest_to_usual(self.references)

    def race(
        self, works: Mapping[str, Work], fewest: int = FEWEST, turn_s: float | None = None
    ) -> dict[str, Times]:
        """Race for `duration`; a quick run has 3 rounds at least, and one run a turn."""
        if self.quick:
            fewest, turn_s = _FEWEST_QUICK, 0
        turn_s = self.turn_s if turn_s is None else turn_s
        return race(works, self.duration, fewest, turn_s, self.warm_up)

    def restore(self, runners: Sequence[Runner], batch: int, references: int) -> dict[str, Times]:
        """Times of restoring, by runner; suites that ask for the same case share them."""
        names = [runner.subject.name for runner in runners]
        known = self.raced.get((batch, references), {})
        if not set(names) <= set(known):
            works = {
                name: self.restoring(runner, batch, references)
                for name, runner in zip(names, runners, strict=True)
            }
            known = self.raced[batch, references] = self.race(works)
        return {name: known[name] for name in names}

    def restoring(self, runner: Runner, batch: int, references: int) -> Work:
        """A function that restores other pictures at each call."""
        return lambda: runner.restore(self.cases.next(batch, references))

    def memorizing(self, runner: Runner, references: int) -> Work:
        """A function that memorises other pictures at each call."""
        return lambda: runner.memorize(*self.cases.pictures(references))


def nearest_to_usual(references: Sequence[int]) -> int:
    """The number of references among `references` that is nearest to 5."""
    return min(references, key=lambda count: abs(count - _USUAL))


def seconds(
    setting: Setting,
    suite: str,
    times: Mapping[str, Times],
    case: str,
    size: tuple[int, int] | None = None,
) -> Iterator[Measurement]:
    """Seconds a call, with the ratio to the baseline.

    With `size`, the faces and references of a restoration, its roofline too.
    """
    for name, each in times.items():
        gflop, share = _roofline(setting, name, each.median, size) if size else (None, None)
        against = _against(setting, name, times)
        yield measurement(suite, name, case, each, "s", against, gflop, share)


def rates(
    setting: Setting, times: Mapping[str, Times], case: str, faces: int
) -> Iterator[Measurement]:
    """Faces a second, with the ratio to the baseline."""
    found = {
        name: Times(tuple(tuple(faces / s for s in turn) for turn in each.turns), each.warm_up_s)
        for name, each in times.items()
    }
    for name, each in found.items():
        against = _against(setting, name, found)
        yield measurement("throughput", name, case, each, "faces/s", against)


def measurement(
    suite: str,
    name: str,
    case: str,
    times: Times,
    unit: str = "s",
    against: Ratio | None = None,
    gflop: float | None = None,
    share: float | None = None,
) -> Measurement:
    """A measurement from the times or rates of one subject, and from what is known beside them."""
    tail = (90, 99) if unit == "s" else (10, 1)  # the slow tail of a rate is its low end
    p90, p99 = np.percentile(times.seconds, tail).tolist()
    return Measurement(
        *(suite, name, case, unit, times.median, len(times.seconds), p90, p99),
        *(times.warm_up_s or None, against, gflop, share, times.seconds),
    )


def _against(setting: Setting, name: str, times: Mapping[str, Times]) -> Ratio | None:
    """The ratio to the baseline; where that does not take part, to the first that does."""
    baseline = setting.baseline if setting.baseline in times else next(iter(times))
    assert baseline is not None
    return None if name == baseline else times[name].against(times[baseline], baseline)


def _roofline(
    setting: Setting, name: str, seconds: float, size: tuple[int, int]
) -> tuple[float | None, float | None]:
    """GFLOP of a call, and the share of its time that they take at the machine's best rates."""
    runner = next(each for each in setting.runners if each.subject.name == name)
    # PyTorch computes what the first bundle's graph does
    graph = runner.graph or next((each.graph for each in setting.bundles), None)
    if graph is None:
        return None, None
    batch, references = size
    found = _cost(graph, batch, max(references, 1))
    peaks = setting.peaks
    if runner.on_cpu and set(found.gflop) <= set(peaks):
        least = sum(gflop / peaks[kind] for kind, gflop in found.gflop.items())
        least = max(least, found.bytes / 1e9 / peaks["copy"])
    elif not runner.on_cpu and (rate := peaks.get(_GPU_PEAKS.get(runner.subject.precision, ""))):
        least = found.total_gflop / rate
    else:
        return found.total_gflop, None
    return found.total_gflop, least / seconds


@cache
def _cost(graph: Path, faces: int, references: int) -> Cost:
    return cost(graph, {"faces": faces, "references": references})
