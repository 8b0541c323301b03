"""How a clip is turned and mirrored for showing it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.images.arrays import Image


@dataclass(frozen=True)
class Orientation:
    """From the picture as it is coded to the upright one: transposed first, then mirrored.

    Attributes:
        transposed: rows become columns.
        left_right: mirrored so that left and right change places.
        upside_down: mirrored so that top and bottom change places.
    """

    transposed: bool = False
    left_right: bool = False
    upside_down: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the upright picture, or of the coded one where those are given."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, coded: Image) -> Image:
        """The upright picture, in an array of its own unless nothing is to be done."""
        picture = coded.swapaxes(0, 1) if self.transposed else coded
        return np.ascontiguousarray(self._mirrored(picture))

    def coded(
        self, patch: Image, corner: tuple[int, int], size: tuple[int, int]
    ) -> tuple[Image, tuple[int, int]]:
        """A part of the upright picture as a part of the coded one, and where it lies there.

        `corner`: x, y of the part in the upright picture, which has the `size` width, height.
        """
        x, y = corner
        height, width = patch.shape[:2]
        if self.left_right:
            x = size[0] - x - width
        if self.upside_down:
            y = size[1] - y - height
        patch = self._mirrored(patch)
        if self.transposed:
            patch, x, y = patch.swapaxes(0, 1), y, x
        return np.ascontiguousarray(patch), (x, y)

    def _mirrored(self, picture: Image) -> Image:
        rows, columns = slice(None, None, -1), slice(None, None, -1)
        return picture[
            rows if self.upside_down else slice(None), columns if self.left_right else slice(None)
        ]


def orientation_of(matrix: NDArray[np.int32] | None) -> Orientation:
    """What a display matrix, nine numbers in FFmpeg's order, does; turns are rounded to 90 degrees.

    It takes the point x, y of the coded picture to a x + c y, b x + d y.
    """
    if matrix is None:
        return Orientation()
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
