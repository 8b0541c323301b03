"""Kinds that break the rule on purpose, to test that it is seen."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from runtime import InvalidImageError
from tests.fuzz.rule import MEMORY, Kind


@contextmanager
def faulty(folder: Path) -> Iterator[Kind]:
    """Inputs that are the names of misdeeds."""

    def foreign() -> None:
        json.loads("{}")["missing"]

    def wrong() -> None:
        raise AssertionError("wrong")

    def silent() -> None:
        raise InvalidImageError("")

    def refused() -> None:
        raise InvalidImageError("no picture")

    def outside() -> None:
        (folder.parents[1] / "outside").write_bytes(b"")

    def elsewhere() -> None:
        Path("here").write_bytes(b"")

    def left() -> None:
        (folder / ".picture.tmp").write_bytes(b"")

    def chatter() -> None:
        os.write(2, b"libtiff: hm\n")

    deeds: Mapping[str, Callable[[], object]] = {
        each.__name__: each
        for each in (foreign, wrong, silent, refused, outside, elsewhere, left, chatter)
    } | {
        "memory": lambda: b"1" * (MEMORY + 50 << 20),
        "program": lambda: subprocess.run([sys.executable, "-V"], stdout=subprocess.DEVNULL),
        "warning": lambda: warnings.warn("odd", RuntimeWarning, stacklevel=2),
        "fine": lambda: None,
    }

    def attempt(deed: str) -> None:
        for file in (Path("here"), folder / ".picture.tmp"):
            file.unlink(missing_ok=True)
        deeds[deed]()

    yield Kind(st.sampled_from(sorted(deeds)), attempt)


@contextmanager
def deadly(folder: Path) -> Iterator[Kind]:
    """The process dies of an input."""
    yield Kind(st.just("x"), lambda _: os.kill(os.getpid(), signal.SIGSEGV))


@contextmanager
def hanging(folder: Path) -> Iterator[Kind]:
    """An input has no end."""
    yield Kind(st.just("x"), lambda _: time.sleep(3600))
