"""The suites of `dmd-bench`, once, and light to import: `--help` lists them."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from benchmarks.report.results import Measurement
    from benchmarks.suites.setting import Setting

Suite = Callable[["Setting"], "Iterator[Measurement]"]
"""Gives measurements of every runner, taken in turns."""

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
"""The module beside this one that holds the function of that name."""


def load(name: str) -> Suite:
    """The function that measures the suite `name`, which is a key of `SUITES`."""
    return cast(Suite, getattr(import_module(f"benchmarks.suites.{SUITES[name]}"), name))
