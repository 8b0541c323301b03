from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from calibration.graph import Graph
from calibration.quantization import write_int8
from tests.calibration.test_bias_correction import CHANNELS, one_layer


def test_onnx_runtime_opens_the_file_without_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one_layer(tmp_path / "float.onnx", np.float32, np.ones((3, CHANNELS, 3, 3)))
    graph = Graph(tmp_path / "float.onnx")
    ranges = {"x": (0.0, 1.0), "convolved": (0.0, 1.0)}
    shifts = {"bias": np.zeros(3, np.float32)}
    write_int8(graph, graph.blocks, ranges, shifts, "cpu", tmp_path / "int8.onnx")
    onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    assert capfd.readouterr().err == ""
