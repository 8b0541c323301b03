"""How far a build is: TensorRT's nested phases as one fraction, shown as a bar or as lines."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm

_STEPS = 1000
_EVERY = 30.0  # seconds between lines where there is no terminal for a bar


class Phases:
    """TensorRT's phases, outermost first, as its progress monitor tells of them."""

    def __init__(self) -> None:
        self._phases: dict[str, list[int]] = {}  # steps done, steps

    @property
    def fraction(self) -> float:
        """Of the outermost phase, with what the phases inside have done of its present step."""
        fraction, share = 0.0, 1.0
        for done, steps in list(self._phases.values()):
            fraction += share * min(done / steps, 1.0)
            share /= steps
        return min(fraction, 1.0)

    def begin(self, phase: str, steps: int) -> None:
        self._phases[phase] = [0, max(steps, 1)]

    def step(self, phase: str, number: int) -> None:
        if phase in self._phases:
            self._phases[phase][0] = number + 1

    def end(self, phase: str) -> None:
        if len(self._phases) > 1:
            self._phases.pop(phase, None)


class Bar:
    """A bar on a terminal; elsewhere a line every half minute that says what is left."""

    def __init__(self, title: str, report: Callable[[str], None]) -> None:
        self._title, self._report = title, report
        self._start = self._said = time.monotonic()
        self._bar = tqdm(
            total=_STEPS,
            desc=title,
            disable=None,
            leave=False,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left",
        )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def show(self, fraction: float) -> None:
        """To be called several times a second, so that the clock in the bar goes on."""
        now = time.monotonic()
        self._bar.n = max(self._bar.n, int(fraction * _STEPS))
        self._bar.refresh()
        if self._bar.disable and now - self._said >= _EVERY:
            self._said = now
            gone = now - self._start
            left = f", about {gone / fraction - gone:.0f} s left" if fraction > 0.02 else ""
            self._report(f"{self._title}: {100 * fraction:.0f} %{left}")
            sys.stderr.flush()
