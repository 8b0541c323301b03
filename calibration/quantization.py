"""Write the INT8 graph, with explicit Q/DQ pairs (QuantizeLinear, DequantizeLinear).

For the CPU ("cpu"): uint8 activations, int8 weights by channel, and pairs around every operator of
the main path, so that ONNX Runtime keeps whole chains in integers: a float operator between two
integer convolutions costs more than it saves. For TensorRT ("tensorrt"): symmetric int8 on the
convolutions' inputs and weights alone, float biases, all else in half precision; the builder
fuses the rest.

The generic dictionary shrinks for both: values to int8, one scale a column, which ONNX Runtime and
TensorRT read as they are; keys to float16, widened before the query-key product.
"""

import io
from collections.abc import Collection
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from calibration.bias_correction import Shifts
from calibration.graph import Graph, is_dictionary
from calibration.ranges import Ranges

# ONNX Runtime's integer convolution takes ten times as long with fewer output channels
_LEAST_CHANNELS = 16


def write_int8(
    graph: Graph,
    blocks: Collection[str],
    ranges: Ranges,
    shifts: Shifts,
    target: str,
    path: Path,
) -> None:
    """Quantise `blocks` of `graph` (equalised, its dictionary shrunk) and write it to `path`.

    `shifts` are subtracted from the biases of the quantised layers. The weights go beside `path`.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    model = ModelProto()
    model.CopyFrom(graph.model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer in graph.layers:
        if layer.block in blocks:
            bias = graph.array(layer.bias)
            corrected = (bias - shifts[layer.bias]).astype(bias.dtype)
            tensors[layer.bias].CopyFrom(numpy_helper.from_array(corrected, layer.bias))
    nodes = graph.main_path(blocks)
    ranges = dict(ranges)
    if target == "cpu":
        _widen_last(model, graph, {node.name for node in nodes}, ranges)
    else:
        nodes = [node for node in nodes if node.op_type == "Conv"]
    dtype = np.float32 if target == "cpu" else np.float16
    ends = {
        name: TensorData(lowest=dtype(low), highest=dtype(high))
        for name, (low, high) in ranges.items()
    }
    # shapes are in the file already; to infer them again would copy the dictionary
    helper.set_model_props(model, {"onnx.infer": "onnxruntime.quant"})
    symmetric = target == "tensorrt"
    options = {
        "WeightSymmetric": True,
        "ActivationSymmetric": symmetric,
        "QuantizeBias": not symmetric,
        "OpTypesToExcludeOutputQuantization": ["Conv"] if symmetric else [],
    }
    quantizer = QDQQuantizer(
        model,
        True,  # weights a channel
        False,  # all 8 bits: without VNNI, AVX2 may saturate, and that is slow and rare
        QuantType.QInt8,
        QuantType.QInt8 if symmetric else QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, ends),
        [node.name for node in nodes],
        [],
        sorted({node.op_type for node in nodes}),
        options,
    )
    with redirect_stdout(io.StringIO()):
        quantizer.quantize_model()
    model = quantizer.model.model
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # it would be appended to
    onnx.save(model, path, save_as_external_data=True, location=data.name, size_threshold=1024)
    data.chmod(path.stat().st_mode)


def shrink_dictionary(graph: Graph) -> None:
    """Store the generic dictionary's values in int8 and its keys in float16.

    The 11 significant bits of float16 are enough for keys; each column of values has its own scale.
    """
    body = graph.model.graph
    for name in filter(is_dictionary, list(graph.initializers)):
        (flatten,) = graph.consumers[name]
        array = graph.array(name)
        rows = array.reshape(len(array), -1)
        flat = flatten.output[0]
        body.initializer.remove(graph.initializers.pop(name))
        body.node.remove(flatten)
        if name.endswith("_key"):
            half = numpy_helper.from_array(rows.astype(np.float16), f"{name}/half")
            body.initializer.append(half)
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            body.node.insert(0, helper.make_node("Cast", [half.name], [flat], to=kind))
        else:
            quantised, scale = _quantise_columns(rows)
            parts = {"int8": quantised, "scale": scale, "zero": np.zeros(scale.shape, np.int8)}
            body.initializer.extend(
                numpy_helper.from_array(part, f"{name}/{kind}") for kind, part in parts.items()
            )
            inputs = [f"{name}/{kind}" for kind in parts]
            body.node.insert(0, helper.make_node("DequantizeLinear", inputs, [flat], axis=1))


def _widen_last(model: ModelProto, graph: Graph, nodes: Collection[str], ranges: Ranges) -> None:
    """Give the convolution before the tanh more output channels, of zeros, and cut them off."""
    (tanh,) = (node for node in model.graph.node if node.op_type == "Tanh")
    last = next(node for node in model.graph.node if tanh.input[0] in node.output)
    if last.name not in nodes:
        return
    channels = graph.initializers[last.input[1]].dims[0]
    side = graph.shapes[last.output[0]][2]
    for name in last.input[1:]:
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        array = numpy_helper.to_array(tensor)
        wide = np.pad(array, [(0, _LEAST_CHANNELS - channels)] + [(0, 0)] * (array.ndim - 1))
        tensor.CopyFrom(numpy_helper.from_array(wide, name))
    # their shapes from before would be stale, and a session would warn of them
    shapes = [value for value in model.graph.value_info if value.name not in last.input[1:]]
    del model.graph.value_info[:]
    model.graph.value_info.extend(shapes)
    old, new = last.output[0], f"{last.output[0]}/wide"
    last.output[0] = new
    ranges[new] = ranges[old]
    ends = {"first": 0, "channels": channels, "axis": 1}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array([value]), f"{old}/{name}") for name, value in ends.items()
    )
    cut = helper.make_node("Slice", [new, *(f"{old}/{name}" for name in ends)], [old], f"{old}/cut")
    model.graph.node.insert(list(model.graph.node).index(last) + 1, cut)
    shape = ["faces", _LEAST_CHANNELS, side, side]
    model.graph.value_info.append(helper.make_tensor_value_info(new, onnx.TensorProto.FLOAT, shape))


def _quantise_columns(
    rows: NDArray[np.floating],
) -> tuple[NDArray[np.int8], NDArray[np.floating]]:
    """(M, N) -> int8 (M, N) and the scales (N,) that bring it back."""
    reach = np.abs(rows.astype(np.float32)).max(axis=0)
    scale = (np.where(reach > 0, reach, 1) / 127).astype(rows.dtype)
    levels = np.rint(rows.astype(np.float32) / scale.astype(np.float32))
    return levels.clip(-127, 127).astype(np.int8), scale
