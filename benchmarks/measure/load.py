"""Load: call from many threads for a while, and record each call's time and error."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.errors import DmdnetError
from runtime.images.arrays import Image

Worker = Callable[[int], int]
"""Makes the call with this number; returns the largest error of its result, in levels of 255."""


@dataclass(frozen=True)
class Load:
    """The calls of all threads: `answers` of those that returned, `errors` of those that raised."""

    answers: tuple[tuple[float, int], ...]  # seconds, and largest error in levels of 255
    errors: Counter[str]  # as one line each

    def summary(self) -> dict[str, Any]:
        """The figures as fields of a JSON result; times are None if no call returned."""
        seconds, levels = zip(*self.answers, strict=True) if self.answers else ((), ())
        p50, p99 = np.percentile(seconds, (50, 99)).tolist() if seconds else (None, None)
        return {
            "answers": len(levels),
            "mismatches": len(levels) - levels.count(0),
            "largest difference (levels of 255)": max(levels, default=None),
            "p50_s": p50,
            "p99_s": p99,
            "errors of ours": self.errors.total(),
            "messages": dict(self.errors.most_common(5)),
        }


def under_load(
    workers: Sequence[Worker], seconds: float, watch: Callable[[], object] = lambda: None
) -> Load:
    """Call each worker again and again in a thread of its own, and `watch` twice a second."""
    answers: list[tuple[float, int]] = []
    errors: list[str] = []
    end = time.monotonic() + seconds

    def work(first: int) -> None:
        for number in itertools.count(first):
            start = time.monotonic()
            if start >= end:
                return
            try:
                levels = workers[first](number)
                answers.append((time.monotonic() - start, levels))
            except Exception as error:  # any error is a result of the measurement
                errors.append(line_of(error))

    with ThreadPoolExecutor(len(workers)) as pool:
        running = [pool.submit(work, number) for number in range(len(workers))]
        while wait(running, timeout=0.5).not_done:
            watch()
    return Load(tuple(answers), Counter(errors))


def difference(one: Image, other: Image) -> int:
    """The largest difference between two pictures, in levels of 255."""
    return int(np.abs(one.astype(int) - other).max())


def line_of(error: Exception) -> str:
    """An error as one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, DmdnetError) else f"{type(error).__name__}: {text}"
