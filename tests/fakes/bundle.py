"""A bundle, made in milliseconds, whose restorer returns each face unchanged."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from runtime.bundle.layout import dictionary_layout, layout_text
from tests.fakes import bundles

WIDTH = 4
COLUMNS = dictionary_layout(WIDTH)[-1].stop
LAYOUT = layout_text(dictionary_layout(WIDTH))
WEIGHTS = "1" * 64

_TYPES = {"uint8": TensorProto.UINT8, "int32": TensorProto.INT32, "float32": TensorProto.FLOAT}


def write_bundle(folder: Path) -> dict[str, Any]:
    """Write it to a new folder; returns the content of its manifest."""
    folder.mkdir(parents=True)
    names = ("memorizer.onnx", "restorer.onnx")
    specs = bundles.content(dict.fromkeys(names, b""), WIDTH)
    one = helper.make_tensor("columns", TensorProto.INT64, (2,), (1, COLUMNS))
    axes = helper.make_tensor("axes", TensorProto.INT64, (2,), (1, 2))
    first = helper.make_tensor("first", TensorProto.INT64, (1,), (0,))
    echo = [helper.make_node("Identity", ["image"], ["restored"])]
    _write_graph(folder, specs["restorer"], echo, [])
    _write_graph(
        folder,
        specs["memorizer"],
        [
            helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["numbers", "axes"], ["mean"], keepdims=0),
            helper.make_node("Gather", ["mean", "first"], ["channel"], axis=1),
            helper.make_node("Expand", ["channel", "columns"], ["dictionary"]),
        ],
        [one, axes, first],
    )
    content = bundles.content({name: (folder / name).read_bytes() for name in names}, WIDTH)
    content["weights"]["sha256"] = WEIGHTS
    content["parity"][0]["psnr_db"] = 141.7
    content["isolates_people"] = True
    (folder / "manifest.json").write_text(signed(json.dumps(content)))
    return content


def as_int8(content: dict[str, Any]) -> dict[str, Any]:
    """The content of an INT8 bundle's manifest, with everything that such a one has."""
    blocks = [{"name": "decoder", "psnr_db": {"whole": 72.4}, "share": 0.1, "integer": True}]
    quality = {
        "region": "whole",
        "mean_psnr_db": 42.7,
        "worst_psnr_db": 41.2,
        "mean_ssim": 0.98,
        "worst_ssim": 0.97,
        "worst_face": "astronaut 6",
    }
    quantization = {
        "target": "cpu",
        "method": "percentile",
        "seed": 0,
        "source": "built-in samples",
        "source_sha256": "",
        "calibration_faces": 8,
        "held_out_faces": 2,
        "min_psnr_db": 35.0,
        "quality": [quality],
        "blocks": blocks,
        "warnings": ["calibrated with few faces"],
    }
    return copy.deepcopy(content) | {"precision": "int8", "quantization": quantization}


def signed(text: str) -> str:
    """A manifest's text, with the hash of itself where it can be computed."""
    try:
        content = json.loads(text)
        content.pop("manifest_sha256", None)
        plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError, AttributeError, TypeError):
        return text
    own = hashlib.sha256(plain.encode()).hexdigest()
    comma = "," if content else ""
    return text.rstrip().removesuffix("}") + f'{comma}"manifest_sha256": "{own}"}}'


def _write_graph(
    folder: Path,
    spec: dict[str, Any],
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
) -> None:
    inputs, outputs = (
        [
            helper.make_tensor_value_info(each["name"], _TYPES[each["dtype"]], each["shape"])
            for each in spec[side]
        ]
        for side in ("inputs", "outputs")
    )
    graph = helper.make_graph(nodes, "echo", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    (folder / spec["file"]).write_bytes(model.SerializeToString())
