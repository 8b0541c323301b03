"""An engine's receipt: the precisions that its ONNX graph asks for, and those that TensorRT uses.

An exporter that leaves the choice to the builder can write a float32 engine that calls itself fp16.
Here the graph states the precision of each layer, and this module counts what TensorRT makes of it.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from export.checks.arithmetic import layers_of
from runtime.bundle.engine_record import Layers, Receipt
from runtime.errors import ExportError

_PARSED_KINDS = {
    "CONVOLUTION": "convolution",
    "DECONVOLUTION": "convolution",
    "MATRIX_MULTIPLY": "matrix product",
    "SOFTMAX": "softmax",
}
_PARSED_PRECISIONS = {"FLOAT": "float", "HALF": "half"}
Sizes = Mapping[str, Sequence[int]]


def receipt(path: Path, trt: Any, network: Any, sizes: Sizes) -> Receipt:
    """Compare the ONNX file with the network that the edition's parser `trt` made of it.

    `sizes`: a shape for each input, of which the arithmetic is counted.
    Raises `ExportError` if a layer is not in the precision that the graph asks for.
    """
    asked = _table((layer.kind, layer.precision) for layer in layers_of(path))
    layers = list(_parsed(trt, network, sizes))
    parsed = _table((kind, precision) for kind, precision, _ in layers)
    if parsed != asked:
        raise ExportError(
            f"{path.name}: TensorRT does not take the precisions that the graph asks for: "
            f"asked {_words(asked)}; read {_words(parsed)}"
        )
    products: Counter[str] = Counter()
    for _, precision, multiplications in layers:
        products[precision] += multiplications
    total = products.total()
    shares = {precision: round(count / total, 4) for precision, count in products.items() if count}
    return Receipt(asked, parsed, shares, round(2 * total / 1e9, 1), None)


def finished_convolutions(information: str, asked: Layers) -> dict[str, int]:
    """Number of convolutions of a finished engine by their weights, from its inspector's JSON.

    Kernels that fuse a convolution with its neighbours may not call themselves one: then there are
    fewer here than in the graph, and `unclear` says so. Raises `ExportError` if more run in
    float32 than the graph asks for.
    """
    found = Counter(
        _precision(layer)
        for layer in json.loads(information)["Layers"]
        if isinstance(layer, dict) and layer.get("ParameterType") == "Convolution"
    )
    most = asked.get("convolution", {}).get("float", 0)
    if found["float"] > most:
        raise ExportError(
            f"the engine runs {found['float']} convolutions in float32, the graph asks for {most}"
        )
    return dict(sorted(found.items()))


def unclear(found: Mapping[str, int], asked: Layers) -> str | None:
    """What the engine's inspector leaves open, in a line; None if it names every convolution."""
    named = sum(count for precision, count in found.items() if precision != "unknown")
    total = sum(asked.get("convolution", {}).values())
    if named >= total:
        return None
    return (
        f"TensorRT's inspector tells the precision of {named} of {total} convolutions; strong "
        "typing and the parity above vouch for the others"
    )


def _parsed(trt: Any, network: Any, sizes: Sizes) -> Iterator[tuple[str, str, int]]:
    """(kind, precision, multiplications) of each layer, with the inputs of these sizes."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    free = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    for tensor in inputs:
        tensor.shape = tuple(sizes[tensor.name])
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    quantised = {
        layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE
    }
    for layer in layers:
        kind = _PARSED_KINDS.get(layer.type.name)
        if kind is None:
            continue
        operands = [layer.get_input(index) for index in range(layer.num_inputs)]
        output = layer.get_output(0)
        integer = len(operands) > 1 and quantised.issuperset(t.name for t in operands[:2])
        precision = "int8" if integer else _PARSED_PRECISIONS[output.dtype.name]
        count = 0
        if kind == "convolution":
            layer.__class__ = trt.IConvolutionLayer  # the binding gives the base class
            channels = operands[0].shape[1] // layer.num_groups
            count = math.prod(output.shape) * channels * math.prod(layer.kernel_size_nd)
        elif kind == "matrix product":
            layer.__class__ = trt.IMatrixMultiplyLayer
            transposed = layer.op0 == trt.MatrixOperation.TRANSPOSE
            count = math.prod(output.shape) * operands[0].shape[-2 if transposed else -1]
        yield kind, precision, count
    for tensor in inputs:
        tensor.shape = free[tensor.name]


def _table(layers: Iterator[tuple[str, str]]) -> Layers:
    table: dict[str, dict[str, int]] = {}
    for (kind, precision), count in sorted(Counter(layers).items()):
        table.setdefault(kind, {})[precision] = count
    return table


def _words(layers: Layers) -> str:
    return ", ".join(
        f"{count} {precision} {kind}s"
        for kind, counts in layers.items()
        for precision, count in counts.items()
    )


def _precision(layer: Mapping[str, Any]) -> str:
    """Of a convolution, by its weights; "unknown" where the inspector does not say."""
    weights = layer.get("Weights")
    words = str(weights.get("Type")) if isinstance(weights, dict) else ""
    return {"Int8": "int8", "Half": "half", "Float": "float"}.get(words, "unknown")
