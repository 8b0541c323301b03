"""Taking aligned crops out of a photo, and putting restored ones back into it.

Blending is done in sRGB values: where it happens, crop and photo show the same face, so that linear
light would make no visible difference.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.faces.alignment import IDENTITY, Points, check_crop, inverse, transform
from runtime.images.arrays import Color, Image

_CORNERS = np.array([(0, 0), (IMAGE_SIZE, 0), (IMAGE_SIZE, IMAGE_SIZE), (0, IMAGE_SIZE)]) - 0.5
_MARGIN, _FADE = 8, 56  # pixels of the crop that stay the photo's, and over which it fades in
_BAND = 1 << 19  # pixels that are blended at a time


def extract(photo: Image, matrix: Points) -> Image:
    """The aligned crop (512, 512, 3) that `matrix` (photo -> crop) takes out of an RGB photo.

    Raises `InvalidLandmarksError` where it is not the crop of a face in this photo.
    """
    size = (IMAGE_SIZE, IMAGE_SIZE)
    if photo.shape[:2] == size and np.array_equal(matrix, IDENTITY):
        return photo
    check_crop(matrix, photo.shape)
    left, top, right, bottom = _reach(matrix, photo.shape)
    part = photo[top:bottom, left:right]
    moved = matrix @ _homogeneous(_shift(left, top))
    return np.asarray(_warp(part, moved, size, cv2.BORDER_REFLECT_101), np.uint8)


def put_back(photo: NDArray[Any], face: Image, matrix: Points, color: Color) -> None:
    """Blend the RGB `face` (512, 512, 3) into `photo` in place; `matrix` is photo -> crop.

    `photo` is uint8 or uint16, (H, W) gray or (H, W, 3 or 4) in the order `color`; alpha stays.
    Pixels that the feathered mask does not reach are not touched. Raises `InvalidLandmarksError`
    where `matrix` is not the transform of a face in this photo.
    """
    check_crop(matrix, photo.shape)
    left, top, right, bottom = _reach(matrix, photo.shape)
    region = photo[top:bottom, left:right]
    size = (right - left, bottom - top)
    back = _shift(-left, -top) @ _homogeneous(inverse(matrix))
    mask = _warp(_feather(), back, size, cv2.BORDER_CONSTANT)
    pasted = _warp(face, back, size, cv2.BORDER_REPLICATE)
    _blend(region, np.asarray(pasted, np.uint8), mask.clip(0, 1), color)


def replace(photo: NDArray[Any], face: Image, color: Color) -> None:
    """Replace a 512 x 512 `photo` by the RGB `face`, in place; its alpha stays."""
    _blend(photo, face, np.ones(face.shape[:2], np.float32), color)


def enlarge(photo: NDArray[Any], factor: int) -> NDArray[Any]:
    """The photo `factor` times as large, by Lanczos, alpha too; itself where the factor is 1."""
    if factor == 1:
        return photo
    large = cv2.resize(
        np.ascontiguousarray(photo), None, fx=factor, fy=factor, interpolation=cv2.INTER_LANCZOS4
    )
    return np.asarray(large).reshape(*large.shape[:2], *photo.shape[2:])


def _blend(photo: NDArray[Any], face: Image, mask: NDArray[np.float32], color: Color) -> None:
    """photo + mask * (face - photo) where the mask is not 0, in the photo's depth and channels.

    By bands of rows, so that floats take little memory beside a large photo.
    """
    height = max(1, _BAND // photo.shape[1])
    for top in range(0, photo.shape[0], height):
        rows = slice(top, top + height)
        _blend_band(photo[rows], face[rows], mask[rows], color)


def _blend_band(photo: NDArray[Any], face: Image, mask: NDArray[np.float32], color: Color) -> None:
    face_values = face.astype(np.float32) * (257 if photo.dtype == np.uint16 else 1)
    if photo.ndim == 2 or photo.shape[2] == 1:
        channels = photo if photo.ndim == 2 else photo[:, :, 0]
        values = np.asarray(cv2.cvtColor(face_values, cv2.COLOR_RGB2GRAY))
    else:
        channels = photo[:, :, :3]
        values = face_values[:, :, :: -1 if color == "bgr" else 1]
        mask = mask[:, :, None]
    mixed = channels + mask * (values - channels)
    np.copyto(channels, np.rint(mixed).astype(photo.dtype), where=mask > 0)


def _warp(image: NDArray[Any], matrix: Points, size: tuple[int, int], border: int) -> NDArray[Any]:
    """Cubic warp; where it shrinks, by area first, so that nothing aliases."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 1:
        height, width = image.shape[:2]
        smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA))
        # cv2.resize keeps corners, which lie half a pixel off the first centre
        x, y = width / smaller[0], height / smaller[1]
        matrix = matrix @ np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=border))


def _feather() -> NDArray[np.float32]:
    """(512, 512): 0 at the border of the crop, 1 inside, a smooth step between."""
    centre = np.arange(IMAGE_SIZE)
    depth = np.minimum(centre, IMAGE_SIZE - 1 - centre).astype(np.float32)
    depth = ((np.minimum.outer(depth, depth) - _MARGIN) / _FADE).clip(0, 1)
    return np.asarray(depth * depth * (3 - 2 * depth), np.float32)


def _reach(matrix: Points, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the photo's part that the crop can see, never empty."""
    corners = transform(inverse(matrix), _CORNERS)
    left, top = np.floor(corners.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 3
    height, width = shape[:2]
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, max(min(right, width), left + 1), max(min(bottom, height), top + 1)


def _shift(x: int, y: int) -> Points:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def _homogeneous(matrix: Points) -> Points:
    return np.vstack([matrix, [0.0, 0.0, 1.0]])
