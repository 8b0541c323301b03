"""68 facial landmarks -> the four component boxes that the network crops."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.bundle.layout import COMPONENTS, IMAGE_SIZE
from runtime.errors import InvalidLandmarksError

POINTS = 68
MIN_COMPONENT = 16
"""Smallest side of a component, in pixels: two cells of the coarsest feature map."""

_FARTHEST = 1e6  # pixels: more than the side of any picture that is read
_FRAME = (8, IMAGE_SIZE - 8)  # coordinates are clipped to this before anything is computed
_EYES = ((range(36, 42), range(17, 22)), (range(42, 48), range(22, 27)))  # eye, its brow
_NOSE = range(29, 36)
_MOUTH = range(48, 68)


def component_boxes(landmarks: ArrayLike) -> NDArray[np.int32]:
    """The boxes of left eye, right eye, nose and mouth in an aligned 512 x 512 face.

    `landmarks`: (68, 2) x, y in pixels, iBUG / 300-W order. Returns int32 (4, 4), a row
    x1, y1, x2, y2 for each component, clipped to the image. The formulas reproduce the recorded
    outputs of the authors' script.

    Raises `InvalidLandmarksError` for another shape, a point that is not finite, or a component
    of less than 16 pixels on a side; the message names the component.
    """
    points = check_landmarks(landmarks).clip(*_FRAME)
    rows = [_eye_box(points[list(eye)], points[list(brow)]) for eye, brow in _EYES]
    rows += [_nose_box(points), _mouth_box(points[list(_MOUTH)])]
    boxes = np.array(rows).astype(np.int32).clip(0, IMAGE_SIZE)
    for name, (x1, y1, x2, y2) in zip(COMPONENTS, boxes, strict=True):
        if min(x2 - x1, y2 - y1) < MIN_COMPONENT:
            raise InvalidLandmarksError(
                f"{name}: the landmarks give a box of {x2 - x1} x {y2 - y1} px in the 512 x 512 "
                f"face; at least {MIN_COMPONENT} x {MIN_COMPONENT} is needed"
            )
    return boxes


def check_landmarks(landmarks: ArrayLike) -> NDArray[np.float64]:
    """`landmarks` as float64 (68, 2); raises `InvalidLandmarksError` if they are not that."""
    try:
        given = np.asarray(landmarks)
    except Exception as error:  # the caller's own class may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise InvalidLandmarksError(f"landmarks must be {POINTS} x 2 numbers: {reason}") from None
    # float64 would also be made of text, and of complex numbers
    if given.dtype.kind not in "iuf":
        raise InvalidLandmarksError(f"landmarks must be {POINTS} x 2 numbers, not {given.dtype}")
    if given.shape != (POINTS, 2):
        raise InvalidLandmarksError(
            f"landmarks must be {POINTS} points of x and y, not an array of shape {given.shape}"
        )
    points = given.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if bad.size:
        raise InvalidLandmarksError(f"landmark {bad[0]} is not finite: {points[bad[0]]}")
    far = np.flatnonzero((np.abs(points) > _FARTHEST).any(axis=1))
    if far.size:
        raise InvalidLandmarksError(
            f"landmark {far[0]} lies {np.abs(points[far[0]]).max():.4g} px away from "
            f"the origin; at most {_FARTHEST:.0f} are allowed"
        )
    return points


def _eye_box(eye: NDArray[np.float64], brow: NDArray[np.float64]) -> tuple[float, ...]:
    x, y = eye.mean(axis=0)
    above = 1.3 * (y - min(eye[:, 1].min(), brow[:, 1].min()))
    below = above / 1.9
    half = (above + below) / 2
    return x - half + 1, y - above + 1, x + half, y + below


def _nose_box(points: NDArray[np.float64]) -> tuple[float, ...]:
    x, y = points[list(_NOSE)].mean(axis=0)
    half = 1.25 * max(x - points[31, 0], points[35, 0] - x)
    below = 1.1 * (points[33, 1] - y)
    return x - half + 1, y - (2 * half - below) + 1, x + half, y + below


def _mouth_box(mouth: NDArray[np.float64]) -> tuple[float, ...]:
    x, y = mouth.mean(axis=0)
    half = 1.1 * max(16.0, np.ptp(mouth, axis=0).max() / 2)
    return x - half + 1, y - half + 1, min(x + half, 510), min(y + half, 510)
