"""The exported restorer's ONNX graph, with what quantisation needs to know of its layers."""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor

Weights = NDArray[np.floating]

_PREFIX = "network."
# Queries decide what is read from the dictionaries; ONNX Runtime reads them without unpacking only
# where no quantised layer follows (Mask.conv2 and conv3 see what was read)
_FLOAT = re.compile(r"_Q\.|_Mask\.conv[23]\.")
_BLOCKS = (  # patterns of what is one block: part and scale, a single layer, a pair
    re.compile(r"^[A-Z]{2}_\d+"),
    re.compile(r"^up4\.\d$"),
    re.compile(r"^.*(?=\.\d$)"),
    re.compile(r"^.*$"),
)
_ELEMENTWISE = ("LeakyRelu", "Add", "Mul", "Concat", "Resize")


@dataclass(frozen=True)
class Convolution:
    """A layer that may be quantised: its node, its tensors, and its arithmetic for one face.

    `block`: the name that it shares with the layers that are quantised together with it.
    """

    name: str
    block: str
    node: str
    source: str
    output: str
    weight: str
    bias: str
    multiplications: int


def is_dictionary(initializer: str) -> bool:
    """Whether an initialiser belongs to the generic dictionary, three quarters of all numbers."""
    return initializer.endswith(("_mem_key", "_mem_value"))


class Graph:
    """An ONNX model with its weights in memory; its generic dictionary stays on disk."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.model = onnx.load(path, load_external_data=False)
        graph = self.model.graph
        self.producer = {name: node for node in graph.node for name in node.output}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.consumers[name].append(node)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.shapes = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        for name in self.initializers:
            if not is_dictionary(name):
                self._load(name)
        for node in graph.node:
            if node.op_type == "Conv" and len(node.input) == 2:
                self._add_bias(node)
        layers = (_layer(node, self) for node in graph.node if node.op_type == "Conv")
        self.layers = tuple(layer for layer in layers if not _FLOAT.search(layer.name))

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the parts that can each be put back to float, in the network's order."""
        return tuple(dict.fromkeys(layer.block for layer in self.layers))

    def array(self, name: str) -> Weights:
        """An initialiser's numbers, (out, in, 3, 3) for a convolution's weight."""
        self._load(name)
        return numpy_helper.to_array(self.initializers[name])

    def replace(self, name: str, array: Weights) -> None:
        self.initializers[name].CopyFrom(numpy_helper.from_array(array, name))

    def main_path(self, blocks: Collection[str]) -> list[NodeProto]:
        """The convolutions of `blocks`, and the operators all of whose inputs come from them."""
        chosen = {layer.node for layer in self.layers if layer.block in blocks}
        path = []
        for node in self.model.graph.node:  # in topological order
            if node.op_type in _ELEMENTWISE:
                inputs = node.input[:1] if node.op_type == "Resize" else node.input
                before = [self.producer[name].name for name in inputs if name in self.producer]
                if before and chosen.issuperset(before):
                    chosen.add(node.name)
            if node.name in chosen:
                path.append(node)
        return path

    def activations(self, blocks: Collection[str]) -> list[str]:
        """The (B, C, H, W) tensors that the main path reads and writes."""
        names = (
            name
            for node in self.main_path(blocks)
            for name in (*node.input, *node.output)
            if name not in self.initializers and len(self.shapes.get(name, ())) == 4
        )
        return list(dict.fromkeys(names))

    def _add_bias(self, node: NodeProto) -> None:
        """Zeros, for a convolution whose bias the exporter left out since all of it is zero."""
        weight, name = self.array(node.input[1]), f"{node.input[1]}/bias"
        tensor = numpy_helper.from_array(np.zeros(len(weight), weight.dtype), name)
        self.model.graph.initializer.append(tensor)
        self.initializers[name] = self.model.graph.initializer[-1]
        node.input.append(name)
        self.consumers[name].append(node)

    def _load(self, name: str) -> None:
        tensor = self.initializers[name]
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            load_external_data_for_tensor(tensor, str(self.folder))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]


def _layer(node: NodeProto, graph: Graph) -> Convolution:
    weight = node.input[1]
    name = weight.removeprefix(_PREFIX).removesuffix(".weight")
    block = next(match.group() for pattern in _BLOCKS if (match := pattern.match(name)))
    height, width = graph.shapes[node.output[0]][2:]
    multiplications = int(np.prod(graph.initializers[weight].dims)) * height * width
    source, output, bias = node.input[0], node.output[0], node.input[2]
    return Convolution(name, block, node.name, source, output, weight, bias, multiplications)
