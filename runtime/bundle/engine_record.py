"""Engine files of a bundle: what each was built from and for, and the one that fits this machine.

`engines/NAME.engine` is plain, as any TensorRT tool reads it; `NAME.engine.json` beside it is its
record. An engine whose record does not fit the machine is never given to TensorRT.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

FOLDER = "engines"
ANY = "any"
"""Compute capability of an engine that TensorRT for RTX finishes on the GPU that runs it."""

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
        content["profile"] = Profile(**content["profile"])
        content["receipt"] = Receipt(**content["receipt"])
        content["parity"] = tuple(EngineParity(**row) for row in content["parity"])
        return cls(**content)
