"""A bundle's manifest: its fields, and the checks that they fit together.

The types are the format: `typed_json` checks a manifest against them, and `schema` writes
docs/manifest.schema.json from them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from runtime.bundle.layout import COMPONENTS, IMAGE_SIZE, columns_of
from runtime.bundle.typed_json import (
    Count,
    FileName,
    Precision,
    Sha256,
    Size,
    TensorName,
    Text,
    Time,
    convert,
    parse_object,
)
from runtime.bundle.weights import SYNTHETIC, WeightsRecord, kind_of

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2
"""Version of new manifests; version 1, whose weights had no `kind`, is still read."""


@dataclass(frozen=True)
class TensorSpec:
    """A graph's input or output; a dimension is a number, or a name where it is free."""

    name: TensorName
    dtype: Annotated[str, Meta(pattern=r"^(uint8|int32|float16|float32)$(?!\n)")]
    shape: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=(1 << 31) - 1)] | TensorName, ...],
        Meta(max_length=8, description="a name (faces, references) where the dimension is free"),
    ]


@dataclass(frozen=True)
class GraphSpec:
    """An ONNX file of the bundle; its weights are in files whose names begin with its name."""

    file: Annotated[FileName, Meta(description="one of `files`; its name ends in .onnx")]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class FileRecord:
    """Size and SHA-256 that a file of the bundle must have."""

    size: Size
    sha256: Sha256


@dataclass(frozen=True)
class Parity:
    """One case of the exported graphs against the PyTorch float32 network.

    Differences are in 8-bit levels, for the memorizer in 1/255 of its dictionary's range;
    `psnr_db` is None when nothing differs. `reference_peak` is the largest absolute activation of
    the float32 network's convolutions (float16 holds 65504).
    """

    case: Annotated[str, Meta(pattern=r"^(memorizer|generic|specific|mixed)$(?!\n)")]
    max_levels: float
    mean_levels: float
    psnr_db: float | None
    finite: bool
    reference_peak: float


@dataclass(frozen=True)
class Quality:
    """A region of held-out faces against the float32 graph: PSNR in dB (100: equal) and SSIM."""

    region: Annotated[str, Meta(pattern=r"^(whole|le|re|mo)$(?!\n)")]
    mean_psnr_db: float
    worst_psnr_db: float
    mean_ssim: float
    worst_ssim: float
    worst_face: Text


@dataclass(frozen=True)
class QuantizedBlock:
    """A block quantised while all else is float: PSNR in dB by region, and what became of it."""

    name: Text
    psnr_db: Mapping[str, float]
    share: Annotated[float, Meta(description="its share of the main path's multiplications")]
    integer: Annotated[bool, Meta(description="false: put back to float")]


@dataclass(frozen=True)
class Quantization:
    """How an int8 bundle was made, and how near it comes to float32."""

    target: Annotated[
        str,
        Meta(
            pattern=r"^(cpu|tensorrt)$(?!\n)",
            description="cpu: uint8 activations, Q/DQ around whole chains, for ONNX Runtime; "
            "tensorrt: symmetric int8, float16 else; the other cannot run it well",
        ),
    ]
    method: Annotated[
        str,
        Meta(
            pattern=r"^(entropy|percentile|minmax)$(?!\n)",
            description="how activations' ranges were chosen",
        ),
    ]
    seed: int
    source: Annotated[Text, Meta(description="name of the folder or file of faces")]
    source_sha256: Annotated[
        str,
        Meta(
            pattern=r"^([0-9a-f]{64})?$(?!\n)",
            description="of the calibration file, or of the hashes of the folder's files; empty: "
            "the built-in faces",
        ),
    ]
    calibration_faces: Count
    held_out_faces: Count
    min_psnr_db: Annotated[
        float,
        Meta(description="the gate: least mean PSNR on the whole; 3 dB less on each component"),
    ]
    quality: Annotated[
        tuple[Quality, ...],
        Meta(description="held-out faces against the float32 graph, a row a region"),
    ]
    blocks: Annotated[
        tuple[QuantizedBlock, ...],
        Meta(description="each block quantised alone, on one held-out face"),
    ]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`; its JSON schema is docs/manifest.schema.json.

    Raises ValueError for parts that do not fit together.
    """

    manifest_version: Annotated[int, Meta(ge=MANIFEST_VERSION, le=MANIFEST_VERSION)]
    created: Time
    precision: Annotated[
        Precision,
        Meta(
            description="fp16: convolutions and values half, logits, softmax and AdaIN float32; "
            "int8: see quantization"
        ),
    ]
    restorer: GraphSpec
    memorizer: GraphSpec
    dictionary_layout: Annotated[
        str,
        Meta(
            max_length=4000,
            description="Columns of a dictionary row: SCALE.PART.KIND:CHANNELSxSIZExSIZE, in order",
        ),
    ]
    weights: WeightsRecord
    files: Annotated[
        Mapping[FileName, FileRecord],
        Meta(description="every other file of the bundle, by name; nothing else is ever read"),
    ]
    parity: Annotated[
        tuple[Parity, ...],
        Meta(
            description="exported graphs against the PyTorch float32 network on built-in inputs; "
            "int8: the memorizer, and the float32 restorer that was quantised"
        ),
    ]
    tools: Annotated[Mapping[str, Text], Meta(description="versions of what made the bundle")]
    quantization: Annotated[
        Quantization | None,
        Meta(
            description="int8 bundles only: how the restorer was quantised, and how near it comes "
            "to the float32 graph"
        ),
    ] = None
    isolates_people: Annotated[
        bool,
        Meta(
            description="true: no face can be changed by what other people's dictionaries in its "
            "engine call hold; absent: an earlier version's graph, which does not promise that"
        ),
    ] = False

    def __post_init__(self) -> None:
        for graph in (self.restorer, self.memorizer):
            if not graph.file.endswith(".onnx"):
                raise ValueError(f"{graph.file!r} is not the name of an ONNX file")
            if graph.file not in self.files:
                raise ValueError(f"{graph.file!r} is not listed in `files`")
        if self.restorer.file == self.memorizer.file:
            raise ValueError("restorer and memorizer are the same file")
        if (self.precision == "int8") != (self.quantization is not None):
            raise ValueError("`quantization` goes with int8, and with nothing else")
        columns = columns_of(self.dictionary_layout)
        dtypes = {tensor.dtype for tensor in self.memorizer.outputs}
        dtype = "float16" if dtypes == {"float16"} else "float32"
        for name, graph, expected in (
            ("restorer", self.restorer, _graph("faces", dtype, columns, restores=True)),
            ("memorizer", self.memorizer, _graph("references", dtype, columns, restores=False)),
        ):
            if (graph.inputs, graph.outputs) != expected:
                raise ValueError(
                    f"the {name}'s inputs and outputs are not those that the runtime calls"
                )

    def files_of(self, graph: str) -> Mapping[str, FileRecord]:
        """The files of the "restorer" or "memorizer": its ONNX file, then those of its weights."""
        first = (self.restorer if graph == "restorer" else self.memorizer).file
        names = [first, *sorted(name for name in self.files if name.startswith(f"{first}."))]
        return {name: self.files[name] for name in names}

    def graph_sha256(self, graph: str) -> str:
        """One hash for the "restorer" or "memorizer": of its file's and its weights' hashes."""
        hashes = [record.sha256 for record in self.files_of(graph).values()]
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    @property
    def dictionary_dtype(self) -> np.dtype:
        """The type of a dictionary's numbers, float16 or float32."""
        return np.dtype(self.memorizer.outputs[0].dtype)

    def to_json(self) -> str:
        """The manifest as text, with a hash of itself."""
        content = asdict(self)
        if self.quantization is None:
            del content["quantization"]
        content["manifest_sha256"] = _own_hash(content)
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse and check; raises ValueError that says what is wrong."""
        content = parse_object(text)
        version = content.get("manifest_version")
        if type(version) is int and not 1 <= version <= MANIFEST_VERSION:
            raise ValueError(
                f"version {str(version)[:20]}, this program reads versions 1 to {MANIFEST_VERSION}"
            )
        if content.pop("manifest_sha256", None) != _own_hash(content):
            raise ValueError("it was altered: its hash does not fit its content")
        content.pop("engines", None)  # older bundles copied the engines' records here
        if type(version) is int and version == 1:
            content = _from_version_1(content)
        return convert(content, cls)


def _graph(
    count: str, dtype: str, columns: int, *, restores: bool
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a graph as the backends call it; `count` names its first dimension."""
    side = (IMAGE_SIZE, IMAGE_SIZE, 3)
    image = TensorSpec("image", "uint8", (count, *side))
    boxes = TensorSpec("boxes", "int32", (count, len(COMPONENTS), 4))
    rows = TensorSpec("dictionary", dtype, ("references", columns))
    if not restores:
        return (image, boxes), (rows,)
    membership = TensorSpec("membership", "float32", (count, "references"))
    return (image, boxes, rows, membership), (TensorSpec("restored", "uint8", (count, *side)),)


def _from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """The same manifest in the present version. Raises ValueError."""
    weights = content.get("weights")
    if not isinstance(weights, dict) or not isinstance(weights.get("synthetic"), bool):
        raise ValueError("`synthetic` of `weights` is neither true nor false")
    if "kind" in weights:
        raise ValueError("unknown field 'kind' in weights")
    kind = SYNTHETIC if weights["synthetic"] else kind_of(str(weights.get("sha256")))
    others = {name: value for name, value in weights.items() if name != "synthetic"}
    return {**content, "manifest_version": MANIFEST_VERSION, "weights": {**others, "kind": kind}}


def _own_hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
