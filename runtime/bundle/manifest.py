"""A bundle on disk: its manifest, and the check that every file is what the manifest says."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
PRECISIONS = ("fp32", "fp16", "int8")
PUBLISHED_SHA256 = "70daeb4b1fd10f241043b587d892a941f2651d7322db02f06ff64b166537f65c"
"""Of the authors' weights; whatever is made from them is under their licence."""


@dataclass(frozen=True)
class TensorSpec:
    """A graph's input or output; a dimension is a number, or a name where it is free."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphSpec:
    """An ONNX file of the bundle."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class FileRecord:
    """What a file must be, byte for byte."""

    size: int
    sha256: str


@dataclass(frozen=True)
class WeightsRecord:
    """Where the weights came from; `synthetic` ones restore nothing."""

    source: str
    sha256: str
    synthetic: bool

    @property
    def notice(self) -> str | None:
        """What whoever makes something from these weights must know."""
        if self.synthetic:
            return "warning: synthetic weights: they restore nothing"
        if self.sha256 == PUBLISHED_SHA256:
            return "the published weights are CC BY-NC-SA 4.0: for non-commercial use only"
        return None


@dataclass(frozen=True)
class Parity:
    """One case of the exported graphs against the PyTorch float32 network.

    Differences are in 8-bit levels; `psnr_db` is None when nothing differs. `reference_peak` is
    the largest absolute activation of the float32 network's convolutions (float16 holds 65504).
    """

    case: str
    max_levels: float
    mean_levels: float
    psnr_db: float | None
    finite: bool
    reference_peak: float


@dataclass(frozen=True)
class Quality:
    """A region of held-out faces against the float32 graph: PSNR in dB (100: equal) and SSIM."""

    region: str  # "whole", "le", "re" or "mo"
    mean_psnr_db: float
    worst_psnr_db: float
    mean_ssim: float
    worst_ssim: float
    worst_face: str


@dataclass(frozen=True)
class QuantizedBlock:
    """A block quantised while all else is float: PSNR in dB by region, and what became of it."""

    name: str
    psnr_db: Mapping[str, float]
    share: float  # of the main path's multiplications
    integer: bool  # False: put back to float


@dataclass(frozen=True)
class Quantization:
    """How an int8 bundle was made, and how near it comes to float32."""

    target: str  # "cpu" or "tensorrt": the other cannot run it well
    method: str
    seed: int
    source: str
    source_sha256: str
    calibration_faces: int
    held_out_faces: int
    min_psnr_db: float
    quality: tuple[Quality, ...]
    blocks: tuple[QuantizedBlock, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`; its JSON schema is docs/manifest.schema.json."""

    manifest_version: int
    created: str  # UTC, ISO 8601
    precision: str
    restorer: GraphSpec
    memorizer: GraphSpec
    dictionary_layout: str
    weights: WeightsRecord
    files: Mapping[str, FileRecord]
    parity: tuple[Parity, ...]
    tools: Mapping[str, str]
    quantization: Quantization | None = None
    isolates_people: bool = False
    """Whether no face can be changed by what other people's dictionaries in its call hold."""

    def graph_sha256(self, graph: str) -> str:
        """One hash for the "restorer" or "memorizer": of its file's and its weights' hashes."""
        spec = self.restorer if graph == "restorer" else self.memorizer
        hashes = [
            record.sha256
            for name, record in sorted(self.files.items())
            if name == spec.file or name.startswith(f"{spec.file}.")
        ]
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    @property
    def dictionary_dtype(self) -> np.dtype:
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
        """Parse and check; raises ValueError, KeyError or TypeError for anything unexpected."""
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        version = content.get("manifest_version")
        if version != MANIFEST_VERSION:
            raise ValueError(f"version {version}, this program reads version {MANIFEST_VERSION}")
        if content.pop("manifest_sha256", None) != _own_hash(content):
            raise ValueError("it was altered: its hash does not fit its content")
        if content["precision"] not in PRECISIONS:
            raise ValueError(f"unknown precision {content['precision']!r}")
        content["restorer"] = _graph(content["restorer"])
        content["memorizer"] = _graph(content["memorizer"])
        content["weights"] = WeightsRecord(**content["weights"])
        content["files"] = {name: FileRecord(**f) for name, f in content["files"].items()}
        content["parity"] = tuple(Parity(**case) for case in content["parity"])
        if (content["precision"] == "int8") != ("quantization" in content):
            raise ValueError("`quantization` goes with int8, and with nothing else")
        if "quantization" in content:
            quantization = content["quantization"]
            quantization["quality"] = tuple(Quality(**row) for row in quantization["quality"])
            quantization["blocks"] = tuple(QuantizedBlock(**row) for row in quantization["blocks"])
            quantization["warnings"] = tuple(quantization["warnings"])
            content["quantization"] = Quantization(**quantization)
        content.pop("engines", None)  # older bundles copied the engines' records here
        return cls(**content)


def _graph(content: dict[str, Any]) -> GraphSpec:
    inputs, outputs = (
        tuple(TensorSpec(t["name"], t["dtype"], tuple(t["shape"])) for t in content[side])
        for side in ("inputs", "outputs")
    )
    return GraphSpec(content["file"], inputs, outputs)


def _own_hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
