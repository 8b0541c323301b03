"""Engine files of a bundle: what each was built from and for, and the one that fits this machine.

`engines/NAME.engine` is plain, as any TensorRT tool reads it; `NAME.engine.json` beside it is its
record. An engine whose record does not fit the machine is never given to TensorRT.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

from msgspec import Meta

from runtime.bundle.typed_json import (
    FileName,
    Precision,
    Sha256,
    Size,
    Text,
    Time,
    convert,
    parse_object,
)

FOLDER = "engines"
ANY = "any"
"""Compute capability of an engine that TensorRT for RTX finishes on the GPU that runs it."""

RECORD_VERSION = 1

Rows = Annotated[int, Meta(ge=1, le=1 << 16)]
Arithmetic = Annotated[str, Meta(pattern=r"^(int8|half|float)$(?!\n)")]
Kind = Annotated[str, Meta(pattern=r"^(convolution|matrix product|softmax)$(?!\n)")]
Layer = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Profile:
    """The largest call that an engine takes, and (`opt_`) the one that it is fastest at.

    A batch is the faces of a call, references are the rows of all dictionaries in it.
    """

    max_batch: Rows = 8
    max_references: Rows = 32
    opt_batch: Rows = 1
    opt_references: Rows = 10

    def __str__(self) -> str:
        return (
            f"{self.max_batch} faces (best at {self.opt_batch}) and {self.max_references} "
            f"references (best at {self.opt_references})"
        )


Layers = Mapping[Kind, Mapping[Arithmetic, Layer]]
"""Layers by kind ("convolution", "matrix product", "softmax"), then by precision."""


@dataclass(frozen=True)
class Receipt:
    """What precision an engine computes in: "int8", "half" or "float"."""

    asked: Annotated[Layers, Meta(description="what the ONNX graph asks for")]
    parsed: Annotated[Layers, Meta(description="what TensorRT's parser made of that")]
    arithmetic: Annotated[
        Mapping[Arithmetic, float],
        Meta(description="share of the multiplications of parsed convolutions and matrix products"),
    ]
    gflop: Annotated[
        float, Meta(description="10^9 operations of one call of the profile's `opt_` size")
    ]
    engine: Annotated[
        Mapping[str, int] | None,
        Meta(description="convolutions of the finished engine; null: no GPU to ask"),
    ]


@dataclass(frozen=True)
class EngineParity:
    """An engine against its ONNX graph, run by ONNX Runtime when the bundle was made.

    One face, or the memorizer; differences are in 8-bit levels.
    """

    case: Text
    region: Annotated[str, Meta(pattern=r"^(whole|le|re|mo|dictionary)$(?!\n)")]
    max_levels: float
    psnr_db: Annotated[float, Meta(description="100: equal")]


@dataclass(frozen=True)
class EngineRecord:
    """All that is known of an engine file; the fields up to `profile` say what it was built for."""

    graph: Annotated[str, Meta(pattern=r"^(restorer|memorizer)$(?!\n)")]
    graph_sha256: Annotated[
        Sha256,
        Meta(
            description="of the SHA-256 of the graph's files, in order of name, with a space "
            "between"
        ),
    ]
    precision: Precision
    edition: Annotated[str, Meta(pattern=r"^(tensorrt|tensorrt_rtx)$(?!\n)")]
    version: Annotated[
        str,
        Meta(
            pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,39}$(?!\n)",
            description="full version of the edition",
        ),
    ]
    capability: Annotated[
        str,
        Meta(
            pattern=r"^(any|[0-9]{1,3}\.[0-9]{1,3})$(?!\n)",
            description="compute capability of the GPU it is for; any: what TensorRT for RTX knows",
        ),
    ]
    gpu: Annotated[Text | None, Meta(description="GPU that it was built on; null: without one")]
    driver: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){0,3}$(?!\n)")] | None,
        Meta(description="newest CUDA that the driver could run where it was built"),
    ]
    profile: Profile

    file: Annotated[FileName, Meta(description="in the folder engines")]
    size: Size
    sha256: Sha256
    built: Time
    seconds: Annotated[float, Meta(description="duration of the build")]
    receipt: Receipt
    parity: Annotated[
        tuple[EngineParity, ...],
        Meta(description="against ONNX Runtime on the same graph; empty: no GPU to run it"),
    ]

    def to_json(self) -> str:
        return json.dumps({"record_version": RECORD_VERSION} | asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "EngineRecord":
        """Parse and check; raises ValueError that says what is wrong."""
        content = parse_object(text)
        found = content.pop("record_version", None)
        if type(found) is not int or found != RECORD_VERSION:
            raise ValueError(
                f"version {str(found)[:20]}, this program reads version {RECORD_VERSION}"
            )
        return convert(content, cls)
