"""The CUDA provider's options, raced: which search for convolutions, and NHWC or not.

All take turns in one race, so that a slow minute of the machine slows all alike.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.load import difference
from benchmarks.measure.timing import race, seconds_of
from benchmarks.suites.runners import Cases
from runtime.backends.selection import Choice, open_backend
from runtime.bundle.opening import Bundle, open_bundle
from runtime.machine.onnx_session import on_device, open_session, run_bound

_SEARCHES = ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")
_DURATION_S, _TURN_S, _WARM_UP = 2.0, 0.15, 5


@dataclass(frozen=True)
class Searched:
    """Times of calls with one set of provider options.

    `levels`: largest difference from the result of the first set, in levels of 255.
    """

    options: dict[str, str]
    faces: int
    references: int
    first_s: float  # the first call of this shape, in which the search is made
    median_s: float
    samples: tuple[float, ...]
    levels: int


def searches(
    path: Path, device: str, batches: Sequence[int], references: int
) -> Iterator[Searched]:
    """Race every combination on the device; on a CPU, which has no such options, two of them."""
    bundle = open_bundle(path)
    every = [
        {"cudnn_conv_algo_search": search, "prefer_nhwc": nhwc}
        for search, nhwc in itertools.product(_SEARCHES, "01")
    ]
    if device == "cpu":
        every = every[:2]
    backend = open_backend(bundle, Choice(device))
    cases = Cases(backend.memorize, references)
    backend.close()
    limits = (_DURATION_S, 8, _TURN_S, _WARM_UP) if device == "cuda" else (0.0, 1, 0.0, 1)
    for batch in batches:
        case = cases.next(batch, references)
        rows = case.rows.astype(bundle.manifest.dictionary_dtype)
        inputs = {
            "image": case.image,
            "boxes": case.boxes,
            "membership": case.membership,
            "dictionary": on_device(np.ascontiguousarray(rows), device),
        }
        # the sessions, and their memory, go after the case
        works = {
            str(number): partial(run_bound, _open(bundle, device, options), inputs)
            for number, options in enumerate(every)
        }
        first_s = {name: seconds_of(work) for name, work in works.items()}
        pictures = {name: work() for name, work in works.items()}
        times = race(works, *limits)
        del works
        for (name, each), options in zip(times.items(), every, strict=True):
            yield Searched(
                *(options, batch, references, first_s[name], each.median, each.seconds),
                difference(pictures[name], pictures["0"]),
            )


def _open(bundle: Bundle, device: str, options: dict[str, str]) -> Any:
    with bundle.unaltered("restorer") as path:
        return open_session(path, device=device, options=options if device == "cuda" else {})
