"""Cutting and pasting against what slicing and PyTorch's interpolation give."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from export.model.components.crops import all_crops
from export.model.onnx_files import TRACED
from runtime.bundle.layout import BOX_ROW, CROP_SIZE, PARTS, SCALES

APART = torch.tensor(
    [[[101, 183, 234, 271], [285, 180, 390, 263], [200, 250, 310, 340], [170, 331, 352, 467]]],
    dtype=torch.int32,
)
OVER_EACH_OTHER = torch.tensor(
    [[[101, 183, 300, 271], [285, 180, 390, 363], [0, 0, 0, 0], [170, 231, 352, 467]]],
    dtype=torch.int32,
)
AT_THE_BORDER = torch.tensor(
    [[[0, 0, 512, 512], [8, 8, 24, 504], [0, 0, 0, 0], [495, 500, 512, 512]]], dtype=torch.int32
)
BOXES = [APART, OVER_EACH_OTHER, AT_THE_BORDER]


def edges(boxes: Tensor, part: str, scale: int) -> tuple[slice, slice]:
    """Rows and columns of the first face's box on a map."""
    x1, y1, x2, y2 = (boxes[0, BOX_ROW[part]] // (512 // scale)).tolist()
    return slice(y1, y2), slice(x1, x2)


def resized(feature: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(feature, size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("scale", SCALES)
def test_cut_is_slicing_and_bilinear_resizing(scale: int, boxes: Tensor) -> None:
    feature = torch.randn(1, 3, scale, scale)
    crops = all_crops(boxes, torch.float32)[scale].cut(feature)
    for part, crop in zip(PARTS, crops, strict=True):
        rows, columns = edges(boxes, part, scale)
        size = CROP_SIZE[part, scale]
        expected = resized(feature[:, :, rows, columns], (size, size))
        torch.testing.assert_close(crop, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("scale", SCALES)
def test_paste_is_resizing_and_slice_assignment(scale: int, boxes: Tensor) -> None:
    """A later part overwrites an earlier one; outside of all boxes, the bits are equal."""
    feature = torch.randn(1, 3, scale, scale)
    patches = [torch.randn(1, 3, *[CROP_SIZE[part, scale]] * 2) for part in PARTS]
    expected, outside = feature.clone(), torch.ones(scale, scale, dtype=torch.bool)
    for part, patch in zip(PARTS, patches, strict=True):
        rows, columns = edges(boxes, part, scale)
        size = rows.stop - rows.start, columns.stop - columns.start
        expected[:, :, rows, columns] = resized(patch, size)
        outside[rows, columns] = False
    result = all_crops(boxes, torch.float32)[scale].paste(patches, feature)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)
    assert (result[:, :, outside] == feature[:, :, outside]).all()


def test_a_box_of_the_crops_size_is_cut_and_pasted_as_it_is() -> None:
    """No cell is mixed with its neighbours."""
    eyes, mouth = [[96, 160, 176, 240], [256, 160, 336, 240]], [96, 288, 206, 398]
    boxes = torch.tensor([[*eyes, [0] * 4, mouth]])
    feature = torch.randn(1, 2, 256, 256)
    crops = all_crops(boxes.int(), torch.float32)[256]
    cut = crops.cut(feature)
    assert torch.equal(cut[0], feature[:, :, 80:120, 48:88])
    assert torch.equal(crops.paste(cut, feature), feature)


def test_a_batch_of_different_boxes() -> None:
    feature = torch.randn(3, 2, 64, 64)
    together = all_crops(torch.cat(BOXES), torch.float32)[64]
    cut = together.cut(feature)
    pasted = together.paste(cut, feature)
    for i, boxes in enumerate(BOXES):
        alone = all_crops(boxes, torch.float32)[64]
        for mine, one in zip(cut, alone.cut(feature[i : i + 1]), strict=True):
            np.testing.assert_allclose(mine[i : i + 1], one, atol=1e-5)
        expected = alone.paste([crop[i : i + 1] for crop in cut], feature[i : i + 1])
        np.testing.assert_allclose(pasted[i : i + 1], expected, atol=1e-5)


def test_the_positions_are_float32_and_the_matrices_what_is_asked_for() -> None:
    """Float16 has no number between 256.25 and 256.5, so positions in it would be off."""
    half, single = (all_crops(APART, dtype)[256] for dtype in (torch.float16, torch.float32))
    assert half.inside.dtype == half.to_map.dtype == half.to_crop.dtype == torch.float16
    assert torch.equal(half.to_crop, single.to_crop.half())
    assert torch.equal(half.to_map, single.to_map.half())


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_graph_makes_the_matrices_of_all_crops_in_one_go(precision: str) -> None:
    """Made one by one, the nine crops had nine Floor and nine Min; all nodes were 1416 and 1517."""
    count = {"float32": 1087, "float16": 1172}[precision]
    model = onnx.load(TRACED / f"restorer-{precision}.onnx", load_external_data=False)
    nodes = Counter(node.op_type for node in model.graph.node)
    assert (nodes["Floor"], nodes["Min"]) == (1, 2)
    assert nodes.total() == count
