import json
from pathlib import Path

import pytest

from export.tensorrt.receipt import finished_convolutions, receipt, unclear
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


def layer(weights: str, reads: str = "Float", **changes: object) -> dict[str, object]:
    """A convolution as the inspector lists it; `reads`: the type of its inputs."""
    return {
        "LayerType": "CaskConvolution",
        "ParameterType": "Convolution",
        "Weights": {"Type": weights, "Count": 9},
        "Inputs": [{"Format/Datatype": reads}],
    } | changes


def counted(*layers: object, asked: dict[str, int]) -> dict[str, int]:
    text = json.dumps({"Layers": layers})
    return finished_convolutions(text, {"convolution": asked})


def test_finished_convolutions() -> None:
    """By their weights, whatever they read."""
    layers = [
        layer("Half", "Channel major FP16 format where channel % 8 == 0"),
        layer("Half", "UInt8"),
        layer("Int8", "Thirty-two wide channel vectorized row major Int8 format"),
        layer("Float", LayerType="Reformat", ParameterType="Reformat"),
        "only a name",
    ]
    asked = {"half": 2, "int8": 1}
    assert counted(*layers, asked=asked) == asked
    with pytest.raises(ExportError, match="runs 1 convolutions in float32, the graph asks fo"):
        counted(layer("Float", "UInt8"), *layers, asked=asked)
    assert counted(layer("Float", "UInt8"), asked={"float": 1}) == {"float": 1}


def test_a_fused_kernel_does_not_throw_the_engine_away() -> None:
    """It names a convolution among what it fuses, and reads the float32 of something else."""
    fused = {
        "LayerType": "kgen",
        "ParameterType": "Kgen",
        "Metadata": "[ONNX Layer: node_conv2d_3]",
        "Inputs": [{"Format/Datatype": "Float"}],
    }
    asked = {"half": 2}
    assert counted(fused, layer("Half"), asked=asked) == {"half": 1}


def test_what_the_inspector_leaves_open() -> None:
    asked = {"convolution": {"half": 2}, "softmax": {"float": 9}}
    assert unclear({"half": 2}, asked) is None
    assert unclear({"half": 2}, {"softmax": {"float": 9}}) is None
    nameless = layer("Half")
    del nameless["Weights"]
    found = counted(nameless, layer("Half"), asked={"half": 2})
    assert found == {"half": 1, "unknown": 1}
    told = unclear(found, asked)
    assert told is not None
    assert told.startswith("TensorRT's inspector tells the precision of 1 of 2 convolutions")
