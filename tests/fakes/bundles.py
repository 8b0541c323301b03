"""Bundles made without an export: files with the right names, and a manifest about them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from runtime.bundle.layout import dictionary_layout, layout_text

LAYOUT = layout_text(dictionary_layout(8))
COLUMNS = dictionary_layout(8)[-1].stop


def tensor(name: str, dtype: str, *shape: int | str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def content(files: Mapping[str, bytes], width: int = 8) -> dict[str, Any]:
    """A manifest of these files and a network of this width, without its own hash."""
    layout = dictionary_layout(width)
    rows = "dictionary", "float32", "references", layout[-1].stop

    def face(count: str) -> list[dict[str, Any]]:
        return [tensor("image", "uint8", count, 512, 512, 3), tensor("boxes", "int32", count, 4, 4)]

    membership = tensor("membership", "float32", "faces", "references")
    restored = tensor("restored", "uint8", "faces", 512, 512, 3)
    return {
        "manifest_version": 2,
        "created": "2026-11-24T18:02:19+00:00",
        "precision": "fp32",
        "restorer": {
            "file": "restorer.onnx",
            "inputs": [*face("faces"), tensor(*rows), membership],
            "outputs": [restored],
        },
        "memorizer": {
            "file": "memorizer.onnx",
            "inputs": face("references"),
            "outputs": [tensor(*rows)],
        },
        "dictionary_layout": layout_text(layout),
        "weights": {"source": "synthetic, seed 0", "sha256": "0" * 64, "kind": "synthetic"},
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
        "parity": [
            {
                "case": "memorizer",
                "max_levels": 0.5,
                "mean_levels": 0.25,
                "psnr_db": None,
                "finite": True,
                "reference_peak": 10.0,
            }
        ],
        "tools": {"onnx": "1.23.2"},
    }


def sealed(content: Mapping[str, Any]) -> str:
    """A manifest's text with the hash of itself that fits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()})


def graph(*locations: str) -> bytes:
    """An ONNX file whose weights lie in files of these names."""
    tensors = []
    for number, location in enumerate(locations):
        weights = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[1])
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)
        tensors.append(weights)
    made = helper.make_model(helper.make_graph([], "empty", [], [], tensors))
    return bytes(made.SerializeToString())


def files() -> dict[str, bytes]:
    """The files of a bundle that opens, but does not run."""
    return {
        "memorizer.onnx": graph("memorizer.onnx.data"),
        "memorizer.onnx.data": b"1234",
        "restorer.onnx": graph("restorer.onnx.data"),
        "restorer.onnx.data": b"5678",
    }


def write_bundle(folder: Path, files: Mapping[str, bytes], manifest: str | None = None) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_text(manifest or sealed(content(files)))
    return folder
