"""A build that shows how far it is, says what is left, and stops at Ctrl-C."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

_STEPS = 1000
_EVERY = 30.0  # seconds between lines where there is no terminal for a bar


class Progress:
    """TensorRT's nested phases as one bar; `monitor` goes into the builder's configuration."""

    def __init__(self, trt: Any, title: str, report: Callable[[str], None]) -> None:
        self.monitor = _monitor(trt, self)
        self.cancelled = False
        self._title, self._report = title, report
        self._phases: dict[str, list[int]] = {}  # outermost first: steps done, steps
        self._start = self._said = time.monotonic()
        self._bar = tqdm(
            total=_STEPS,
            desc=title,
            disable=None,
            leave=False,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left",
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def run(self, build: Callable[[], T]) -> T:
        """Build in a thread, so that Ctrl-C reaches this one, which cancels the build."""
        results: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(build())
            except BaseException as error:  # raised again below, in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=work, name="engine build")
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.2)
                self._show()
        except BaseException:
            self.cancelled = True
            thread.join()  # TensorRT asks at its next step
            raise
        if errors:
            raise errors[0]
        return results[0]

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

    def _show(self) -> None:
        fraction, now = self.fraction, time.monotonic()
        self._bar.n = max(self._bar.n, int(fraction * _STEPS))
        self._bar.refresh()
        if self._bar.disable and now - self._said >= _EVERY:
            self._said = now
            gone = now - self._start
            left = f", about {gone / fraction - gone:.0f} s left" if fraction > 0.02 else ""
            self._report(f"{self._title}: {100 * fraction:.0f} %{left}")
            sys.stderr.flush()


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            progress.begin(name, steps)

        def step_complete(self, name: str, step: int) -> bool:
            progress.step(name, step)
            return not progress.cancelled

        def phase_finish(self, name: str) -> None:
            progress.end(name)

    return Monitor()
