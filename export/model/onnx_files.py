"""A graph of a bundle as an ONNX file with its weights beside it.

PyTorch needs about a minute to trace the two graphs, whatever the network's width: what counts is
that they have 2,000 operators. The graphs of a network of the compact weights' size have therefore
been traced in advance: they are kept in `traced` without weights, and an export fills in those of
its network; its parity check then compares them with PyTorch. A test compares them with a new
trace. After a change of the network, or of the pinned exporter, write them again:

    python -m export.model.onnx_files float32 export/model/traced
    python -m export.model.onnx_files float16 export/model/traced
"""

import logging
import sys
import warnings
from pathlib import Path

import onnx
import onnx_ir
import torch

from export.model.components.padding import pad_masks
from export.model.graphs import MemorizerGraph, RestorerGraph
from export.model.network import DMDNet

OPSET = 20
TRACED = Path(__file__).with_name("traced")
TRACED_SIZE = (16, 16)  # width and dictionary entries of the networks whose graphs are in `TRACED`

BundleGraph = RestorerGraph | MemorizerGraph


def export_onnx(graph: BundleGraph, path: Path) -> None:
    """Write `graph` to `path` and its weights to `path` + `.data`, checked by ONNX.

    Mask's inner channels are padded on the way.
    """
    graph = type(graph)(pad_masks(graph.network))
    kept = traced_before(graph)
    model = trace(graph) if kept is None else onnx_ir.load(kept)
    weights = graph.state_dict()
    for name, value in model.graph.initializers.items():
        if name in weights:
            value.const_value = onnx_ir.tensor(weights[name].numpy(), name=name)
    onnx_ir.save(model, path, external_data=f"{path.name}.data")
    onnx.checker.check_model(path)


def traced_before(graph: BundleGraph) -> Path | None:
    """The file that holds `graph` without its weights; None for a network of another size."""
    network = graph.network
    if (network.width, network.entries) != TRACED_SIZE:
        return None
    precision = str(network.MSDilate.convi.weight.dtype).removeprefix("torch.")
    return TRACED / f"{graph.name}-{precision}.onnx"


def trace(graph: BundleGraph) -> onnx_ir.Model:
    """Trace `graph` with PyTorch's exporter; its notes on source files and lines are left out."""
    dynamic = tuple(
        dict(enumerate(torch.export.Dim(name, min=1) for name in names)) for names in graph.free
    )
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)  # else: that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch, nothing of the caller's
            program = torch.onnx.export(
                graph.eval(),
                graph.example(),
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=graph.inputs,
                output_names=(graph.output,),
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        exporter_log.setLevel(level)
    assert program is not None
    # the exporter's notes are nine tenths of the file and name folders of this machine
    return onnx_ir.passes.common.ClearMetadataAndDocStringPass()(program.model).model


def write_without_weights(model: onnx_ir.Model, graph: BundleGraph, path: Path) -> None:
    """Write `model`, a trace of `graph`, whose weights refer to a file that does not exist."""
    weights = graph.state_dict()
    for name, value in model.graph.initializers.items():
        if name in weights:
            tensor = value.const_value
            assert tensor is not None
            shape = onnx_ir.Shape(weights[name].shape)
            value.const_value = onnx_ir.ExternalTensor(
                "weights", 0, tensor.nbytes, tensor.dtype, shape=shape, name=name
            )
    onnx_ir.save(model, path)


def network_to_trace(half: bool) -> DMDNet:
    """A network of `TRACED_SIZE` with random weights, for the exporter drops zeros."""
    network = DMDNet(*TRACED_SIZE).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        tensor.normal_(0, 0.05, generator=generator)
    return network.half() if half else network


def _main() -> None:
    precision, folder = sys.argv[1], Path(sys.argv[2])
    network = pad_masks(network_to_trace(half=precision == "float16"))
    for graph in (RestorerGraph(network), MemorizerGraph(network)):
        write_without_weights(trace(graph), graph, folder / f"{graph.name}-{precision}.onnx")


if __name__ == "__main__":
    _main()
