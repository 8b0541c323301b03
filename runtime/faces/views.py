"""A photo, or a part of it, at the size at which a network sees it."""

from functools import partial

import cv2
import numpy as np

from runtime.faces.alignment import Points, inverse, transform
from runtime.images.arrays import Image, by_cv2

Region = tuple[int, int, int, int]
"""Of a photo: left, top, right, bottom, in pixels."""


class Views:
    """What networks see of an RGB photo (H, W, 3), for one thread.

    The whole photo is kept at each size at which it was seen, so that later views are quick.
    """

    def __init__(self, photo: Image) -> None:
        self.photo = photo
        self._wholes = [photo]  # the largest first

    def whole(self, scale: float) -> Image:
        """The photo at a scale of at most 1."""
        longest = scale * max(self.photo.shape[:2])
        larger = [each for each in self._wholes if max(each.shape[:2]) >= longest]
        picture = _resized(larger[-1], scale * self.photo.shape[1] / larger[-1].shape[1])
        self._wholes = sorted([*self._wholes, picture], key=lambda each: -each.size)
        return picture

    def part(self, region: Region, scale: float) -> Image:
        """A region of the photo at a scale."""
        left, top, right, bottom = region
        return _resized(self.photo[top:bottom, left:right], scale)

    def square(self, matrix: Points, side: int) -> Image:
        """The square picture (side, side, 3) that `matrix` (2, 3; photo -> picture) takes out.

        Its middle must not lie far outside of the photo, whose border is mirrored around it.
        """
        scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        whole = next(each for each in reversed(self._wholes) if self._is_enough(each, scale))
        return _square(whole, matrix @ _enlarging(whole, self.photo), side)

    def _is_enough(self, whole: Image, scale: float) -> bool:
        return whole is self.photo or whole.shape[1] >= scale * self.photo.shape[1]


def _resized(image: Image, scale: float) -> Image:
    """A picture at a scale. Where it shrinks much, by halves: so each pixel counts, and fast."""
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    while image.shape[:2] != (height, width):
        half_height, half_width, _ = (-(-length // 2) for length in image.shape)
        size = (max(width, half_width), max(height, half_height))
        image = by_cv2(partial(cv2.resize, dsize=size, interpolation=cv2.INTER_LINEAR), image)
    return image


def _enlarging(small: Image, large: Image) -> Points:
    """Matrix (3, 3) that takes x, y, 1 of `small` to those of `large`, the same picture.

    cv2.resize keeps corners, which lie half a pixel off the first centre.
    """
    x, y = (large.shape[axis] / small.shape[axis] for axis in (1, 0))
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _square(image: Image, matrix: Points, side: int) -> Image:
    corners = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float64)
    around = transform(inverse(matrix), corners)
    height, width = image.shape[:2]
    left, top = np.floor(around.min(axis=0)).astype(int).clip(0, (width - 1, height - 1)) - 2
    right, bottom = np.ceil(around.max(axis=0)).astype(int).clip(1, (width, height)) + 2
    left, top = max(left, 0), max(top, 0)
    part = image[top:bottom, left:right]
    small = _resized(part, min(1.0, float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))))
    back = _enlarging(small, part)
    back[:2, 2] += left, top
    matrix = matrix @ back
    return by_cv2(
        lambda pixels: cv2.warpAffine(
            pixels,
            matrix,
            (side, side),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        ),
        small,
    )
