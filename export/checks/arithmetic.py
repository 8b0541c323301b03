"""What an ONNX graph computes: its convolutions, matrix products and softmaxes, and their cost."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

Sizes = Mapping[str, int]
"""A number for each free dimension of a graph: "faces", "references"."""

_KINDS = {
    "Conv": "convolution",
    "ConvTranspose": "convolution",
    "MatMul": "matrix product",
    "Gemm": "matrix product",
    "Softmax": "softmax",
}
_PRECISIONS = {onnx.TensorProto.FLOAT: "float", onnx.TensorProto.FLOAT16: "half"}


@dataclass(frozen=True)
class Layer:
    """A node that does arithmetic. `precision`: "int8" if both operands are dequantised integers,
    else "half" or "float"; `multiplications`: in one call."""

    kind: str  # "convolution", "matrix product" or "softmax"
    precision: str
    multiplications: int


@dataclass(frozen=True)
class Cost:
    """The cost of one call of a graph.

    `gflop`: 1e9 operations by precision; a multiplication and an addition count as 2. `bytes`:
    weights, inputs and outputs once each, which is the least that must be moved.
    """

    gflop: Mapping[str, float]
    bytes: int

    @property
    def total_gflop(self) -> float:
        return sum(self.gflop.values())


def layers_of(path: Path, sizes: Sizes | None = None) -> list[Layer]:
    """The layers of an ONNX file that do arithmetic; without `sizes`, `multiplications` are 0."""
    return list(_layers(_inferred(path), sizes))


def cost(path: Path, sizes: Sizes) -> Cost:
    """The cost of one call of the ONNX file at `path` with these sizes."""
    model = _inferred(path)
    products: Counter[str] = Counter()
    for layer in _layers(model, sizes):
        products[layer.precision] += layer.multiplications
    graph = model.graph
    weights = sum(_nbytes(tensor.data_type, tensor.dims) for tensor in graph.initializer)
    ends = sum(
        _nbytes(value.type.tensor_type.elem_type, _shape(value, sizes))
        for value in (*graph.input, *graph.output)
    )
    gflop = {name: 2 * count / 1e9 for name, count in sorted(products.items()) if count}
    return Cost(gflop, weights + ends)


def _inferred(path: Path) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False))


def _layers(model: onnx.ModelProto, sizes: Sizes | None) -> Iterator[Layer]:
    graph = model.graph
    values = {v.name: v for v in (*graph.input, *graph.value_info, *graph.output)}
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    quantised = {
        name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }

    def shape(name: str) -> list[int]:
        return weights[name] if name in weights else _shape(values[name], sizes or {})

    for node in graph.node:
        kind = _KINDS.get(node.op_type)
        if kind is None:
            continue
        integer = len(node.input) > 1 and quantised.issuperset(node.input[:2])
        elem = values[node.output[0]].type.tensor_type.elem_type
        count = 0
        if sizes is not None and kind == "convolution":
            count = math.prod(shape(node.output[0])) * math.prod(shape(node.input[1])[1:])
        elif sizes is not None and kind == "matrix product":
            count = math.prod(shape(node.output[0])) * shape(node.input[0])[-1]
        yield Layer(kind, "int8" if integer else _PRECISIONS[elem], count)


def _shape(value: onnx.ValueInfoProto, sizes: Sizes) -> list[int]:
    return [
        sizes[dim.dim_param] if dim.dim_param else dim.dim_value
        for dim in value.type.tensor_type.shape.dim
    ]


def _nbytes(elem: int, shape: Sequence[int]) -> int:
    return math.prod(shape) * onnx.helper.tensor_dtype_to_np_dtype(elem).itemsize
