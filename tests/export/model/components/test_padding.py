"""Mask's inner channels are padded with zeros in the graph, and the numbers stay."""

from pathlib import Path

import onnx
import pytest
import torch

from export.model.components.padding import pad_masks
from export.model.graphs import RestorerGraph
from export.model.network import DMDNet
from export.model.onnx_files import TRACED, export_onnx, network_to_trace

FULL = {256: (64, 21, 24), 128: (128, 42, 48), 64: (256, 85, 88)}


def test_channels_at_full_size() -> None:
    with torch.device("meta"):
        network = DMDNet()
    padded = pad_masks(network)
    for scale, (channels, before, after) in FULL.items():
        was, mask = (getattr(each, f"MO_{scale}_Mask") for each in (network, padded))
        assert was.conv1[0].weight.shape == (before, channels, 3, 3)
        for view in (mask.conv1, mask.conv2, mask.conv3):
            assert view[0].weight.shape == (after, channels, 3, 3)
            assert view[2].weight.shape == (after, after, 3, 3)
            assert view[0].bias.shape == view[2].bias.shape == (after,)
        assert mask.convCat[0].weight.shape == (channels, 3 * after, 3, 3)
        assert mask.convCat[0].in_channels == 3 * after


def test_the_numbers_stay_and_other_tensors_are_shared() -> None:
    network = network_to_trace(half=False)
    padded = pad_masks(network)
    torch.manual_seed(0)
    for scale, channels in ((256, 16), (128, 32), (64, 64)):
        inputs = torch.randn(3, 2, channels, 13, 13)
        was, now = (getattr(each, f"RE_{scale}_Mask") for each in (network, padded))
        torch.testing.assert_close(now(*inputs), was(*inputs), atol=1e-5, rtol=0)
        assert was.conv1[0].weight.shape[0] == channels // 3
    theirs = padded.state_dict()
    for name, tensor in network.state_dict().items():
        assert "_Mask" in name or theirs[name].data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_no_convolution_of_the_graph_has_an_odd_number_of_channels(precision: str) -> None:
    """All but the first, which reads colours, and the last, which writes them."""
    graph = onnx.load(TRACED / f"restorer-{precision}.onnx", load_external_data=False).graph
    channels = {
        tensor.name.removeprefix("network."): tuple(tensor.dims[:2])
        for tensor in graph.initializer
        if len(tensor.dims) == 4 and tensor.name.endswith(".weight")
    }
    assert channels.pop("E_lq.conv1.0.weight") == (16, 3)
    assert channels.pop("up4.4.weight") == (3, 16)
    keys = {name for name, (out, _) in channels.items() if "_256_Q." in name and out == 4}
    odd = {name for name, (out, into) in channels.items() if out % 8 or into % 8}
    assert odd == keys  # a quarter of 16 channels; at full size, of 64


def test_an_export_pads(tmp_path: Path) -> None:
    network = network_to_trace(half=False)
    export_onnx(RestorerGraph(network), tmp_path / "restorer.onnx")
    graph = onnx.load(tmp_path / "restorer.onnx").graph
    (cat,) = (i for i in graph.initializer if i.name == "network.LE_256_Mask.convCat.0.weight")
    weight = torch.unflatten(torch.from_numpy(onnx.numpy_helper.to_array(cat).copy()), 1, (3, 8))
    assert (weight[:, :, 5:] == 0).all()
    was = network.state_dict()["LE_256_Mask.convCat.0.weight"]
    assert torch.equal(weight[:, :, :5], torch.unflatten(was, 1, (3, 5)))
