"""The list of the suites of `dmd-bench`, light to import, so that `--help` is quick."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from benchmarks.report.results import Measurement
    from benchmarks.suites.setting import Setting

Suite = Callable[["Setting"], "Iterator[Measurement]"]
"""Yields measurements of every runner, which take turns."""

SUITES = {
    "latency": "engine",
    "throughput": "engine",
    "pipeline": "processes",
    "memorize": "engine",
    "cold": "processes",
    "memory": "processes",
    "quality": "engine",
    "scaling": "engine",
}
"""For each suite the module beside this one that has a function of its name."""


def load(name: str) -> Suite:
    """The function that measures the suite `name`, which is a key of `SUITES`."""
    return cast(Suite, getattr(import_module(f"benchmarks.suites.{SUITES[name]}"), name))
