"""Progress of a build: TensorRT's nested phases as one fraction, shown as a bar or as lines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_EVERY = 30.0  # seconds between lines where there is no terminal for a bar


class Phases:
    """TensorRT's nested phases, outermost first, as its progress monitor reports them."""

    def __init__(self) -> None:
        self._phases: dict[str, list[int]] = {}  # steps done, steps

    @property
    def fraction(self) -> float:
        """Done share of the outermost phase, including that of the phases in its current step."""
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


@contextmanager
def shown(title: str, report: Callable[[str], None]) -> Iterator[Callable[[float], None]]:
    """Show progress: a bar on a terminal, elsewhere a line to `report` every half minute.

    Yields the function that shows a fraction; it must be called several times a second, so that the
    clock in the bar goes on.
    """
    start = said = time.monotonic()
    with tqdm(
        total=1.0,
        desc=title,
        disable=None,
        leave=False,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left",
    ) as bar:

        def show(fraction: float) -> None:
            nonlocal said
            now = time.monotonic()
            bar.n = max(bar.n, fraction)
            bar.refresh()
            if bar.disable and now - said >= _EVERY:
                said, gone = now, now - start
                left = f", about {gone / fraction - gone:.0f} s left" if fraction > 0.02 else ""
                report(f"{title}: {100 * fraction:.0f} %{left}")

        yield show
