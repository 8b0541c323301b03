import json
from pathlib import Path

import pytest

from export.tensorrt.receipt import finished_convolutions, receipt
from runtime.errors import ExportError
from runtime.machine.tensorrt_editions import load_edition


def test_a_network_of_another_precision(bundle: Path, half_bundle: Path) -> None:
    """What a builder of float32 engines for fp16 graphs would be caught by."""
    trt = load_edition("tensorrt_rtx").module
    network = trt.Builder(trt.Logger(trt.Logger.ERROR)).create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse_from_file(str(bundle / "memorizer.onnx"))
    sizes = {"image": (1, 512, 512, 3), "boxes": (1, 4, 4)}
    with pytest.raises(ExportError, match=r"asked 60 half conv.*; read .*float conv"):
        receipt(half_bundle / "memorizer.onnx", trt, network, sizes)


def test_finished_convolutions() -> None:
    layers = [
        {"LayerType": "CaskConvolution", "ParameterType": "Convolution", "Inputs": [
            {"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
        {"LayerType": "kgen", "Metadata": "[ONNX Layer: node_conv2d_3]", "Inputs": [
            {"Format/Datatype": "Half"}]},
        {"LayerType": "CaskConvolution", "ParameterType": "Convolution", "Inputs": [
            {"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]},
        {"LayerType": "Reformat", "Metadata": "[ONNX Layer: node_conv2d_3]", "Inputs": [
            {"Format/Datatype": "Float"}]},
        "only a name",
    ]  # fmt: skip
    asked = {"convolution": {"half": 2, "int8": 1}}
    text = json.dumps({"Layers": layers})
    assert finished_convolutions(text, asked) == {"half": 2, "int8": 1}
    layers[1]["Inputs"][0]["Format/Datatype"] = "Float"  # type: ignore[index]
    text = json.dumps({"Layers": layers})
    with pytest.raises(ExportError, match="runs 1 convolutions in float32, the graph asks fo"):
        finished_convolutions(text, asked)
    assert finished_convolutions(text, {"convolution": {"float": 1}})["float"] == 1
