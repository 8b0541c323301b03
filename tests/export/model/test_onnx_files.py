"""Graphs of the compact size are kept as they were traced; those of other sizes are traced."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from export.model.components.padding import pad_masks
from export.model.graphs import MemorizerGraph, RestorerGraph
from export.model.network import DMDNet
from export.model.onnx_files import TRACED, export_onnx, network_to_trace, traced_before
from tests.conftest import ROOT

PRECISIONS = ("float32", "float16")


@pytest.mark.long
def test_kept_graphs_are_what_tracing_gives(tmp_path: Path) -> None:
    """Byte for byte, but for the build of PyTorch that is named in them."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    for tool in ("torch", "onnxscript", "onnx-ir"):
        if version(tool).split("+")[0] != pins[tool]:
            pytest.skip(f"they were traced with {tool} {pins[tool]}, not {version(tool)}")
    words = [sys.executable, "-m", "export.model.onnx_files"]
    tracing = [  # side by side: the exporter uses one core
        subprocess.Popen([*words, precision, str(tmp_path)], cwd=ROOT) for precision in PRECISIONS
    ]
    assert [process.wait() for process in tracing] == [0, 0]
    for name in ("restorer", "memorizer"):
        for precision in PRECISIONS:
            file = f"{name}-{precision}.onnx"
            made, kept = (onnx.load(f / file, load_external_data=False) for f in (tmp_path, TRACED))
            made.producer_version = kept.producer_version
            assert made == kept, file
    assert len(list(TRACED.iterdir())) == 4


@pytest.mark.parametrize("half", [False, True])
def test_every_weight_is_the_network_s(half: bool, tmp_path: Path) -> None:
    """None of the weights that the graphs were traced with is left in them."""
    network = network_to_trace(half)
    for number, tensor in enumerate(network.state_dict().values()):
        tensor.fill_(number / 1024)
    seen = set()
    for graph in (RestorerGraph(network), MemorizerGraph(network)):
        path = tmp_path / f"{graph.name}.onnx"
        export_onnx(graph, path)
        weights = type(graph)(pad_masks(network)).state_dict()
        for tensor in onnx.load(path).graph.initializer:
            array = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if tensor.name in weights:
                assert torch.equal(array, weights[tensor.name]), tensor.name
                seen.add(tensor.name)
            else:  # shapes, positions and factors; the largest are the cells of a feature map
                assert array.numel() <= 256, tensor.name
    unused = "E_hq"  # has queries, as the checkpoint has them: a reference asks nothing
    assert seen == {
        f"network.{name}"
        for name in network.state_dict()
        if not (name.startswith(unused) and "_Q." in name)
    }


def test_kept_graphs_name_no_file_of_source() -> None:
    for file in TRACED.iterdir():
        assert b".py" not in file.read_bytes()


def test_other_sizes_are_traced() -> None:
    with torch.device("meta"):
        for size in ((16, 8), (8, 16), (64, 128)):
            assert traced_before(RestorerGraph(DMDNet(*size))) is None
        kept = traced_before(MemorizerGraph(DMDNet(16, 16).half()))
    assert kept == TRACED / "memorizer-float16.onnx"
