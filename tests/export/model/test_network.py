from pathlib import Path

import pytest
import torch

from export.model.network import DMDNet, adain, checkpoint_shapes
from runtime.bundle.layout import dictionary_layout, layout_text

BOX = torch.tensor([[101, 183, 234, 271]], dtype=torch.int32)


def test_adain_takes_the_crops_statistics() -> None:
    crop = torch.randn(2, 3, 10, 10) * 5 + 2
    out = adain(torch.randn(2, 3, 10, 10) * 0.3 - 7, crop)
    torch.testing.assert_close(out.mean((2, 3)), crop.mean((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((2, 3)), crop.std((2, 3)), atol=1e-2, rtol=0)


def test_reading_a_dictionary() -> None:
    """One row that belongs is read whole, whatever the others hold; equal rows are averaged."""
    network = DMDNet(8, 4).eval()
    torch.manual_seed(0)
    image, boxes = torch.rand(1, 3, 512, 512), BOX.repeat(1, 4, 1)
    mine, other = torch.randn(2, 1, network.layout[-1].stop)
    with torch.inference_mode():
        alone = network(image, boxes, mine, torch.ones(1, 1))
        both = network(image, boxes, torch.cat([other, mine]), torch.tensor([[0.0, 1.0]]))
        twice = network(image, boxes, torch.cat([mine, mine]), torch.ones(1, 2))
        nobody = network(image, boxes, mine, torch.zeros(1, 1))
    torch.testing.assert_close(both, alone)
    torch.testing.assert_close(twice, alone)
    assert not torch.equal(nobody, alone)


def test_a_face_without_rows_is_the_generic_one_whatever_the_others_hold() -> None:
    network = DMDNet(8, 4).eval()
    torch.manual_seed(0)
    image, boxes = torch.rand(1, 3, 512, 512), BOX.repeat(1, 4, 1)
    zeros = torch.zeros(2, network.layout[-1].stop)
    with torch.inference_mode():
        generic = network(image, boxes, zeros, torch.zeros(1, 2))
        for number in (1e4, 3e38, -3e38, torch.inf, -torch.inf, torch.nan):
            others = torch.full_like(zeros, number)
            assert torch.equal(network(image, boxes, others, torch.zeros(1, 2)), generic)


def test_layout() -> None:
    layout = dictionary_layout()
    assert layout[-1].stop == 860_720
    assert layout_text(layout).startswith(
        "256.le.key:16x40x40 256.le.value:64x40x40 256.re.key:16x40x40 256.re.value:64x40x40 "
        "256.mo.key:16x55x55 256.mo.value:64x55x55 128.le.key:32x20x20"
    )
    assert layout_text(layout).endswith("64.mo.key:64x13x13 64.mo.value:256x13x13")


def test_sizes() -> None:
    with torch.device("meta"):
        network = DMDNet()
    dictionary = sum(b.numel() for b in network.buffers())
    assert dictionary == 128 * 860_720
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 40.36


@pytest.mark.shared
def test_names_and_shapes_are_the_published_ones(shared: Path) -> None:
    with torch.device("meta"):
        shapes = checkpoint_shapes(DMDNet())
    lines = (shared / "reference/state_dict.tsv").read_text().splitlines()[1:]
    published = dict(line.split("\t") for line in lines)
    assert len(published) == 1014
    assert {name: "x".join(map(str, shape)) for name, shape in shapes.items()} == published
