"""Engine files of a bundle: what each was built from and for, and the one that fits this machine.

`engines/NAME.engine` is plain, as any TensorRT tool reads it; `NAME.engine.json` beside it is its
record. An engine whose record does not fit the machine is never given to TensorRT.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.cuda import Gpu
from runtime.editions import EXTRAS, TITLES, Edition
from runtime.errors import EngineError
from runtime.files import fault

FOLDER = "engines"
ANY = "any"
"""Compute capability of an engine that TensorRT for RTX finishes on the GPU that runs it."""

_ANY_NEEDS = (8, 0)  # its documentation: 8.0, 8.6, 8.9, 12.0 and later; 7.5 must be asked for
_RECORD_VERSION = 1


@dataclass(frozen=True)
class Profile:
    """Sizes an engine takes: faces a call, rows of all dictionaries in it; `opt_`: fastest at."""

    max_batch: int = 8
    max_references: int = 32
    opt_batch: int = 1
    opt_references: int = 10

    def __str__(self) -> str:
        return (
            f"{self.max_batch} faces (best at {self.opt_batch}) and {self.max_references} "
            f"references (best at {self.opt_references})"
        )


Layers = Mapping[str, Mapping[str, int]]
"""Layers by kind ("convolution", "matrix product", "softmax"), then by precision."""


@dataclass(frozen=True)
class Receipt:
    """What precision an engine computes in: "int8", "half" or "float"."""

    asked: Layers  # by the ONNX graph
    parsed: Layers  # by the network that TensorRT read from it
    arithmetic: Mapping[str, float]  # share of the multiplications of parsed convolutions, products
    gflop: float  # of one call as the profile is best at it
    engine: Mapping[str, int] | None  # convolutions of the finished engine; None: no GPU to ask


@dataclass(frozen=True)
class EngineParity:
    """An engine against its ONNX graph, run by ONNX Runtime when the bundle was made.

    One face, or the memorizer; differences are in 8-bit levels.
    """

    case: str
    region: str  # "whole", "le", "re" or "mo"; "dictionary" for the memorizer
    max_levels: float
    psnr_db: float  # 100: equal


@dataclass(frozen=True)
class EngineRecord:
    """All that is known of an engine file; the first block is its fingerprint."""

    graph: str  # "restorer" or "memorizer"
    graph_sha256: str
    precision: str
    edition: str
    version: str
    capability: str  # compute capability "9.0", or "any"
    gpu: str | None  # it was built on; None: without a GPU
    driver: str | None  # newest CUDA of the driver it was built with
    profile: Profile

    file: str
    size: int
    sha256: str
    built: str  # UTC, ISO 8601
    seconds: float
    receipt: Receipt
    parity: tuple[EngineParity, ...]  # empty: no GPU to run it

    def to_json(self) -> str:
        return json.dumps({"record_version": _RECORD_VERSION} | asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "EngineRecord":
        """Raises ValueError, KeyError or TypeError for anything unexpected."""
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        found = content.pop("record_version", None)
        if found != _RECORD_VERSION:
            raise ValueError(f"version {found}, this program reads version {_RECORD_VERSION}")
        return cls.from_dict(content)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "EngineRecord":
        fields = dict(content)
        fields["profile"] = Profile(**fields["profile"])
        fields["receipt"] = Receipt(**fields["receipt"])
        fields["parity"] = tuple(EngineParity(**row) for row in fields["parity"])
        return cls(**fields)


@dataclass(frozen=True)
class Wanted:
    """The engine that this machine can run: a graph, an edition, and the GPU if there is one."""

    graph: str
    graph_sha256: str
    precision: str
    edition: Edition
    gpu: Gpu | None

    @property
    def capability(self) -> str:
        if self.edition.name == "tensorrt_rtx":
            return ANY
        return self.gpu.capability if self.gpu else ANY

    @property
    def file(self) -> str:
        short = ".".join(self.edition.version.split(".")[:3])
        name = f"{self.edition.name}-{short}-{self.capability}-{self.precision}"
        return f"{name}.engine" if self.graph == "restorer" else f"{name}-{self.graph}.engine"

    def differences(self, record: EngineRecord) -> list[str]:
        """What of `record` does not fit; empty: it may be loaded."""
        pairs = [
            ("graph", record.graph_sha256[:12], self.graph_sha256[:12]),
            ("precision", record.precision, self.precision),
            (TITLES[self.edition.name], record.version, self.edition.version),
        ]
        if record.capability != ANY:
            pairs.append(("compute capability", record.capability, self.capability))
            if self.gpu is not None:
                pairs.append(("GPU", record.gpu or "none", self.gpu.name))
        found = [f"{what} {theirs}, here {ours}" for what, theirs, ours in pairs if theirs != ours]
        if self.gpu is not None:
            if record.capability == ANY and _numbers(self.gpu.capability) < _ANY_NEEDS:
                found.append(f"any GPU from compute capability 8.0, here {self.gpu.capability}")
            if record.driver and _numbers(self.gpu.driver) < _numbers(record.driver):
                found.append(f"a driver for CUDA {record.driver}, here {self.gpu.driver}")
        return found


def find_engine(folder: Path, wanted: Wanted, verify: bool = True) -> EngineRecord:
    """The record of the engine in the bundle `folder` that fits; `verify` checks its SHA-256.

    Raises `EngineError` that says what is missing, altered, or differs, and what to do.
    """
    title = TITLES[wanted.edition.name]
    build = f"dmd-build-engine {folder} --engine {EXTRAS[wanted.edition.name]}"
    refusals = []
    for record in read_records(folder, wanted.edition.name):
        if record.graph != wanted.graph:
            continue
        differences = wanted.differences(record)
        if not differences:
            check_engine(folder, record, verify, build)
            return record
        refusals.append(f"{record.file} was built for {', '.join(differences)}")
    if refusals:
        raise EngineError(f"{folder}: {'; '.join(refusals)}; rebuild with `{build} --rebuild`")
    raise EngineError(f"{folder} holds no {title} engine of the {wanted.graph}; run `{build}`")


def read_records(folder: Path, edition: str) -> list[EngineRecord]:
    """The records of an edition's engines in the bundle `folder`. Raises `EngineError`."""
    paths = sorted((folder / FOLDER).glob(f"{edition}-*.engine.json"))
    return [read_record(path) for path in paths]


def read_record(path: Path) -> EngineRecord:
    """Read an engine's record. Raises `EngineError`."""
    try:
        record = EngineRecord.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(
            f"{path}: not an engine's record: {error}; build again with --rebuild"
        ) from None
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from None
    if f"{record.file}.json" != path.name:
        raise EngineError(f"{path}: it is the record of {record.file}; build again with --rebuild")
    return record


def check_engine(folder: Path, record: EngineRecord, verify: bool, build: str) -> None:
    """Raise `EngineError` unless the file is what its record says; `build` is what builds it."""
    path = folder / FOLDER / record.file
    wrong = fault(path, record.size, record.sha256 if verify else None)
    if wrong:
        raise EngineError(f"{path}: {wrong}; build it again with `{build} --rebuild`")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
