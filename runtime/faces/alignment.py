"""The place of a face in an aligned 512 x 512 crop, and the transform that brings it there."""

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.errors import InvalidLandmarksError

Points = NDArray[np.float64]

IDENTITY: Points = np.eye(2, 3)
"""The transform of a picture that is an aligned crop already."""

TEMPLATE = np.array(
    [(192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15)]
)
"""Left eye, right eye, nose tip, mouth corners in an FFHQ crop, as face-restoration tools use."""

_SMALLEST_CROP = 8.0  # pixels of the photo: a face in it is 5 wide, and none under 20 is found
_LARGEST_CROP = 8.0  # shorter sides of the photo
_OUTSIDE = 0.25  # of the crop's side: how far its centre may lie outside of the photo


def five_points(landmarks: Points) -> Points:
    """The five points of `TEMPLATE` (5, 2), from 68 landmarks (68, 2)."""
    left, right = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    return np.stack([left, right, landmarks[30], landmarks[48], landmarks[54]])


def similarity(source: Points, target: Points) -> Points:
    """Rotation, scale and shift (2, 3) that bring `source` (N, 2) closest to `target`.

    Least squares in closed form (Umeyama 1991, in two dimensions, without reflection). Raises
    `InvalidLandmarksError` where all of `source` is one point.
    """
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - centre).T
    u, v = (target - goal).T
    spread = (x * x + y * y).sum()
    if not spread > 0:
        raise InvalidLandmarksError("the landmarks lie on one point")
    a, b = (x * u + y * v).sum() / spread, (x * v - y * u).sum() / spread
    turn = np.array([[a, -b], [b, a]])
    return np.column_stack([turn, goal - turn @ centre])


def check_crop(matrix: Points, shape: tuple[int, ...]) -> None:
    """Raise `InvalidLandmarksError` unless `matrix` cuts a face's crop out of a photo.

    `matrix` (2, 3): photo -> crop; `shape`: the photo's, (H, W, ...). A crop that is too small, too
    large or too far outside shows next to nothing of the photo, and may cost OpenCV minutes.
    """
    height, width = shape[:2]
    with np.errstate(all="ignore"):
        side = float(IMAGE_SIZE / np.sqrt(np.linalg.det(matrix[:, :2])))
        x, y = transform(inverse(matrix), np.full((1, 2), (IMAGE_SIZE - 1) / 2))[0]
    slack = _OUTSIDE * side
    # what is not a number is on neither side of a bound
    if not (
        _SMALLEST_CROP <= side <= _LARGEST_CROP * min(height, width)
        and -slack <= x <= width + slack
        and -slack <= y <= height + slack
    ):
        raise InvalidLandmarksError(
            f"the landmarks do not lie as those of a face in a photo of {width} x {height} px: its "
            f"crop would be {side:.4g} px wide, with its centre at {x:.4g}, {y:.4g}"
        )


def transform(matrix: Points, points: Points) -> Points:
    """Apply a (2, 3) transform to (N, 2) points."""
    return np.asarray(cv2.transform(points[None], matrix)[0])


def inverse(matrix: Points) -> Points:
    """The (2, 3) transform that undoes `matrix`."""
    return np.asarray(cv2.invertAffineTransform(matrix))


def of_enlarged(matrix: Points, factor: int) -> Points:
    """`matrix` (photo -> crop) as the transform from the photo enlarged `factor` times.

    Pixel centres lie at whole numbers, so that x of the photo is (x + 0.5) * factor - 0.5 there.
    """
    turn = matrix[:, :2] / factor
    return np.column_stack([turn, matrix[:, 2] + turn.sum(axis=1) * 0.5 * (1 - factor)])
