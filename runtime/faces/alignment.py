"""Where a face lies in an aligned 512 x 512 crop, and the transform that puts it there."""

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InvalidLandmarksError

Points = NDArray[np.float64]

TEMPLATE = np.array(
    [(192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15)]
)
"""Left eye, right eye, nose tip, mouth corners in an FFHQ crop, as face-restoration tools use."""


def five_points(landmarks: Points) -> Points:
    """(68, 2) -> (5, 2): the points of `TEMPLATE`."""
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


def transform(matrix: Points, points: Points) -> Points:
    """Apply a (2, 3) transform to (N, 2) points."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix: Points) -> Points:
    """The (2, 3) transform that undoes `matrix`."""
    turn = np.linalg.inv(matrix[:, :2])
    return np.column_stack([turn, -turn @ matrix[:, 2]])
