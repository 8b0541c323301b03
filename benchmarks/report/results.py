"""The result of a run of `dmd-bench`, and its JSON file (docs/benchmark.schema.json)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measure.timing import Ratio
from runtime.bundle.weights import COMPACT_REMARK, TRAINED_FOR
from runtime.errors import BenchmarkError
from runtime.storage.local import write_atomically

SCHEMA_VERSION = 1
UNSTABLE = 1.3
"""A measurement is marked unstable if its 90th percentile is over so many times its median."""


@dataclass(frozen=True)
class Measurement:
    """One number of one subject: `value` is the median of `runs`, in `unit`."""

    suite: str
    subject: str  # a bundle's folder name, "torch eager", "null engine"
    case: str  # "1 face, 5 references"
    unit: str  # "s", "faces/s", "photos/s", "bytes", "dB", "SSIM", "distance", "px"
    value: float
    runs: int = 1
    p90: float | None = None
    p99: float | None = None
    warm_up_s: float | None = None  # the first run, which is not counted
    ratio: Ratio | None = None
    gflop: float | None = None  # of the case, from the graph
    share_of_peak: float | None = None  # of the machine's measured rate for such arithmetic
    samples: tuple[float, ...] = ()

    @property
    def unstable(self) -> bool:
        if self.p90 is None or not self.p90:
            return False
        return max(self.p90 / self.value, self.value / self.p90) > UNSTABLE  # of a rate: lower


@dataclass(frozen=True)
class Subject:
    """What was measured: a bundle, or the PyTorch module."""

    name: str
    precision: str
    backend: str  # engine, version, device
    sha256: str  # of the restorer's graph, or of the weights
    remark: str | None = None  # what readers of its results must know of its weights


@dataclass(frozen=True)
class Picture:
    """A face to look at, as PNG in base64: as given, and as each subject restores it."""

    name: str
    before: str
    after: dict[str, str]  # by subject


@dataclass(frozen=True)
class Result:
    """The result of a run of `dmd-bench`; `errors`: by suite, why it failed."""

    date: str  # UTC, ISO 8601
    machine: dict[str, Any]
    versions: dict[str, str]
    revision: str | None  # of git
    options: dict[str, Any]
    peaks: dict[str, float]  # GFLOP/s of a large product, by precision; GB/s of a copy
    subjects: tuple[Subject, ...]
    measurements: tuple[Measurement, ...]
    pictures: tuple[Picture, ...]
    errors: dict[str, str]
    seconds: float

    @property
    def suites(self) -> list[str]:
        """The names of the suites that have measurements, in order."""
        return list(dict.fromkeys(each.suite for each in self.measurements))

    @property
    def remarks(self) -> list[str]:
        """The remarks that the subjects' weights, and identities of theirs, require; each once."""
        found = list(dict.fromkeys(each.remark for each in self.subjects if each.remark))
        identities = any(each.unit == "distance" for each in self.measurements)
        return [*found, TRAINED_FOR] if identities and COMPACT_REMARK in found else found

    def of(self, suite: str) -> list[Measurement]:
        """The measurements of one suite, in order."""
        return [each for each in self.measurements if each.suite == suite]

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all. Raises OSError."""
        content = {"schema_version": SCHEMA_VERSION} | asdict(self)
        for row, each in zip(content["measurements"], self.measurements, strict=True):
            row["unstable"] = each.unstable
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def read_result(path: Path) -> Result:
    """Read a file of `Result.write`. Raises `BenchmarkError` for any other file or version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise BenchmarkError(f"{path}: not a result of dmd-bench: not a JSON object")
        version = content.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise BenchmarkError(
                f"{path}: schema version {str(version)[:20]}, this program reads version "
                f"{SCHEMA_VERSION}; measure again"
            )
        return msgspec.convert(content, Result)  # `unstable` of a measurement follows from others
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BenchmarkError(f"{path}: not a result of dmd-bench: {error}") from None
    except RecursionError:
        raise BenchmarkError(f"{path}: not a result of dmd-bench: nested too deeply") from None
