"""A photo, or a part of it, at the size at which a network sees it."""

import cv2
import numpy as np

from runtime.faces.alignment import Points, inverse, transform
from runtime.images.arrays import Image, by_cv2


def resized(image: Image, scale: float) -> Image:
    """A picture at a scale; where it shrinks, by a whole number first, as OpenCV does fast."""
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    times = int(1 / scale)
    if times > 1 and min(image.shape[:2]) >= times:
        rows, columns = (length // times for length in image.shape[:2])
        whole = image[: rows * times, : columns * times]
        image = by_cv2(
            lambda pixels: cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA), whole
        )
    if image.shape[:2] == (height, width):
        return image
    return by_cv2(
        lambda pixels: cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), image
    )


def square(image: Image, matrix: Points, side: int) -> Image:
    """The square picture (side, side, 3) that `matrix` (2, 3; image -> picture) takes out.

    Its middle must not lie far outside of the image, whose border is mirrored around it.
    """
    corners = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float64)
    around = transform(inverse(matrix), corners)
    height, width = image.shape[:2]
    left, top = np.floor(around.min(axis=0)).astype(int).clip(0, (width - 1, height - 1)) - 2
    right, bottom = np.ceil(around.max(axis=0)).astype(int).clip(1, (width, height)) + 2
    left, top = max(left, 0), max(top, 0)
    part = image[top:bottom, left:right]
    small = resized(part, min(1.0, float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))))
    # cv2.resize keeps corners, which lie half a pixel off the first centre
    x, y = (part.shape[1] / small.shape[1], part.shape[0] / small.shape[0])
    back = np.array([[x, 0, (x - 1) / 2 + left], [0, y, (y - 1) / 2 + top], [0, 0, 1]])
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
