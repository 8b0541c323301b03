"""Cross-layer equalisation: give the channels of an activation equal ranges, exactly.

One scale serves all channels of an 8-bit activation, so a channel whose numbers are small beside
its neighbours' is left with few of the 256 levels. Where only operators that commute with a
positive scale (LeakyReLU, addition, bilinear resizing) lie between convolutions, a channel can be
multiplied in the convolutions that write it and divided in those that read it, and the network
computes what it did. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv 1906.04721, section 4.1; the ranges here are measured ones.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from calibration.graph import Graph
from calibration.statistics import Statistics

Array = NDArray[np.float32]

_MOST = 1000.0  # times that a channel may be scaled: a dead channel's range is no measure

# weight or bias -> factors of its output channels, or of its input channels
Factors = dict[str, NDArray[np.floating]]


def equalize(graph: Graph, statistics: Statistics) -> tuple[Factors, Statistics]:
    """Return factors for the weights and biases of `graph`, and the statistics that follow."""
    groups = _Groups(graph)
    scales: dict[str, Array] = {}
    for members in groups.free():
        seen = [statistics[name] for name in members if name in statistics]
        reach = np.max([np.maximum(-a.low, a.high) for a in seen], axis=0) if seen else np.zeros(1)
        if reach.max() > 0:
            scale = reach.max() / np.maximum(reach, reach.max() / _MOST)
            scales.update(dict.fromkeys(members, scale.astype(np.float32)))
    for node in groups.concatenations:
        parts = [
            scales.get(name, np.ones(graph.shapes[name][1], np.float32)) for name in node.input
        ]
        scales[node.output[0]] = np.concatenate(parts)

    factors: Factors = {}
    for layer in graph.layers:
        out, source = scales.get(layer.output), scales.get(layer.source)
        factor = np.ones((*graph.initializers[layer.weight].dims[:2], 1, 1), np.float32)
        if out is not None:
            factor = factor * out[:, None, None, None]
            factors[layer.bias] = out
        if source is not None:
            factor = factor / source[None, :, None, None]
        factors[layer.weight] = factor
    scaled = {
        name: activation.scaled(scales[name]) if name in scales else activation
        for name, activation in statistics.items()
    }
    return factors, scaled


def apply(graph: Graph, factors: Factors) -> None:
    """Multiply the weights and biases of `graph`, in its own precision."""
    for name, factor in factors.items():
        array = graph.array(name)
        graph.replace(name, (array.astype(np.float32) * factor).astype(array.dtype))


class _Groups:
    """Activations that share their channels' scales, since operators between them keep them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parent: dict[str, str] = {}
        self._main = {layer.node for layer in graph.layers}
        path = graph.main_path(graph.blocks)
        self.concatenations = [node for node in path if node.op_type == "Concat"]
        self._path = {node.name for node in path}
        for node in path:
            if node.op_type in ("LeakyRelu", "Resize", "Mul"):
                # of a product, the second factor keeps its scale
                self._join(node.input[0], node.output[0])
            elif node.op_type == "Add":
                self._join(node.input[0], node.output[0])
                self._join(node.input[1], node.output[0])

    def free(self) -> list[list[str]]:
        """The groups that only convolutions write and read from outside."""
        members: dict[str, list[str]] = defaultdict(list)
        for name in self._graph.activations(self._graph.blocks):
            members[self._root(name)].append(name)
        return [group for group in members.values() if all(map(self._is_free, group))]

    def _is_free(self, name: str) -> bool:
        producer = self._graph.producer.get(name)
        if producer is None or producer.name not in self._path or producer.op_type == "Concat":
            return False
        return all(self._takes_scale(node, name) for node in self._graph.consumers[name])

    def _takes_scale(self, node: NodeProto, name: str) -> bool:
        if node.op_type == "Conv":
            return node.name in self._main
        if node.op_type == "Mul":
            return node.name in self._path and node.input[0] == name
        if node.op_type == "Concat":
            readers = self._graph.consumers[node.output[0]]
            return node.name in self._path and all(r.name in self._main for r in readers)
        return node.name in self._path

    def _join(self, one: str, other: str) -> None:
        self._parent[self._root(one)] = self._root(other)

    def _root(self, name: str) -> str:
        while name in self._parent and self._parent[name] != name:
            name = self._parent[name]
        return name
