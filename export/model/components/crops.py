"""Cutting the nine crops (three components at three scales) out of feature maps, and pasting them.

Both are products with small interpolation matrices, so that shapes are static. The matrices of all
nine crops are made in one go: they lie side by side, and a scale, or a crop, is a slice of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from runtime.bundle.layout import BOX_ROW, CROP_SIZE, IMAGE_SIZE, PARTS, SCALES

_CROPS = tuple((scale, part) for scale in SCALES for part in PARTS)
_SIZES = [CROP_SIZE[part, scale] for scale, part in _CROPS]
_SIDE = max(SCALES)


@dataclass(frozen=True)
class Crops:
    """The interpolation matrices of the three crops at one scale.

    S is the map's side, Z the sum of the crops' sides `sizes`, in the order of `PARTS`. Of each
    pair of matrices the first is for columns, the second for rows: `to_crop` and `to_map` are
    (2, B, 1, Z, S), `to_map` zero outside a crop's box, and `inside` (2, B, 3, S) is 1 in it.
    """

    sizes: list[int]
    to_crop: Tensor
    to_map: Tensor
    inside: Tensor

    def cut(self, feature: Tensor) -> list[Tensor]:
        """Each crop out of `feature` (B, C, S, S), resized bilinearly: (B, C, size, size)."""
        columns, rows = self.to_crop
        strips = (rows @ feature).split(self.sizes, dim=2)
        each = zip(strips, columns.split(self.sizes, dim=2), strict=True)
        return [strip @ matrix.transpose(2, 3) for strip, matrix in each]

    def paste(self, patches: list[Tensor], feature: Tensor) -> Tensor:
        """Lay the `patches`, like the crops, resized over their boxes in `feature`, in turn."""
        columns, rows = (matrices.split(self.sizes, dim=2) for matrices in self.to_map)
        x, y = self.inside
        for part, patch in enumerate(patches):
            outside = 1 - y[:, part, None, :, None] * x[:, part, None, None, :]
            # a sum, since ONNX Runtime's Where takes three times as long
            feature = feature * outside + rows[part].transpose(2, 3) @ patch @ columns[part]
        return feature


def all_crops(boxes: Tensor, dtype: torch.dtype) -> dict[int, Crops]:
    """The matrices of every scale, in `dtype`, for `boxes` int32 (B, 4, 4) on the image."""
    start, stop = _corners(boxes).chunk(2)  # (2, B, 9, 1): x and y
    length = stop - start
    size = torch.tensor(_SIZES, dtype=torch.float32, device=boxes.device).unsqueeze(1)
    cell = torch.cat([_numbers(size, boxes) for size in _SIZES]).unsqueeze(1)  # (Z, 1), Z of all
    crop = [number for number, size in enumerate(_SIZES) for _ in range(size)]
    of_cell = torch.tensor(crop, device=boxes.device)
    on_map = _numbers(_SIDE, boxes)

    position = ((cell + 0.5) * (length / size).index_select(2, of_cell) - 0.5).clamp(min=0)
    position = torch.minimum(position, (length - 1).index_select(2, of_cell))
    position = position + start.index_select(2, of_cell)
    to_crop = _weights(position, on_map).to(dtype).unsqueeze(2)

    centre = on_map + 0.5
    inside = (centre > start) & (centre < stop)
    position = ((centre - start) * (size / length) - 0.5).clamp(min=0)
    position = torch.where(inside, torch.minimum(position, size - 1), -1)  # far from every cell
    to_map = _weights(position.index_select(2, of_cell), cell).to(dtype).unsqueeze(2)

    three = len(PARTS)
    sizes = [_SIZES[at : at + three] for at in range(0, len(_SIZES), three)]
    together = [sum(of_scale) for of_scale in sizes]
    return {
        scale: Crops(of_scale, cut[..., :scale], paste[..., :scale], within[..., :scale])
        for scale, of_scale, cut, paste, within in zip(
            SCALES,
            sizes,
            torch.split(to_crop, together, dim=3),
            torch.split(to_map, together, dim=3),
            torch.split(inside.to(dtype), three, dim=2),
            strict=True,
        )
    }


def _corners(boxes: Tensor) -> Tensor:
    """x1, y1, x2, y2 of all crops on their maps, float32 (4, B, 9, 1).

    A box edge is integer-divided by 512 / scale; in float32 that is exact, and exports as Floor.
    """
    rows = torch.tensor([BOX_ROW[part] for _, part in _CROPS], device=boxes.device)
    factors = [scale / IMAGE_SIZE for scale, _ in _CROPS]
    factor = torch.tensor(factors, dtype=torch.float32, device=boxes.device)
    edges = boxes.float().index_select(1, rows).permute(2, 0, 1)
    return (edges * factor).floor().unsqueeze(3)


def _numbers(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device, dtype=torch.float32)


def _weights(position: Tensor, cell: Tensor) -> Tensor:
    """How much each cell counts, bilinearly, at a position between them."""
    weights: Tensor = (1 - (position - cell).abs()).clamp(min=0)
    return weights
