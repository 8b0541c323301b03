from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.checks.arithmetic import cost, layers_of

RESTORER = "restorer.onnx"


def test_layers(half_bundle: Path, int8_bundle: Path) -> None:
    half = Counter((layer.kind, layer.precision) for layer in layers_of(half_bundle / RESTORER))
    assert half == {
        ("convolution", "half"): 171,
        ("matrix product", "half"): 48,
        ("matrix product", "float"): 18,
        ("softmax", "float"): 18,
    }
    int8 = Counter((layer.kind, layer.precision) for layer in layers_of(int8_bundle / RESTORER))
    assert int8["convolution", "int8"] == 117
    assert int8["convolution", "float"] == 54


def test_large_weights_of_a_half_graph_are_half(half_bundle: Path) -> None:
    """But for a narrow network's small keys (at most 4 x 2 x 55 x 55), cast by the exporter."""
    graph = onnx.load(half_bundle / RESTORER, load_external_data=False).graph
    large = {i.data_type for i in graph.initializer if np.prod(i.dims) > 24_200}
    assert large == {TensorProto.FLOAT16}


def test_cost_of_one_convolution(tmp_path: Path) -> None:
    """3 x 3, 8 to 16 channels on 32 x 32 pixels of N faces, in float16."""
    weight = numpy_helper.from_array(np.zeros((16, 8, 3, 3), np.float16), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ("faces", 8, 32, 32))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ("faces", 16, 32, 32))],
        [weight],
    )
    path = tmp_path / "one.onnx"
    onnx.save(helper.make_model(graph), path)
    found = cost(path, {"faces": 2})
    assert found.gflop == {"half": 2 * 2 * 16 * 32 * 32 * 8 * 9 / 1e9}
    assert found.bytes == 2 * (16 * 8 * 9 + 2 * 8 * 32 * 32 + 2 * 16 * 32 * 32)


@pytest.mark.long
def test_full_size_agrees_with_the_measured_arithmetic(full_bundle: Path) -> None:
    """382 GFLOP a specific face, 111 a reference (the facts given with the goldens)."""
    face = cost(full_bundle / RESTORER, {"faces": 1, "references": 10})
    assert face.total_gflop == pytest.approx(382, rel=0.02)
    assert face.gflop == {"float": face.total_gflop}
    four = cost(full_bundle / RESTORER, {"faces": 4, "references": 10})
    assert four.total_gflop == pytest.approx(4 * face.total_gflop, rel=1e-3)
    reference = cost(full_bundle / "memorizer.onnx", {"references": 1})
    assert reference.total_gflop == pytest.approx(111, rel=0.02)
