"""Taking aligned crops out of a photo, and putting restored ones back into it.

Blending is done in sRGB values: where it happens, crop and photo show the same face, so that linear
light would make no visible difference.
"""

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.faces.alignment import IDENTITY, Points, check_crop, inverse, transform
from runtime.images.arrays import Color, Image, by_cv2, rgb_view

_CORNERS = np.array([(0, 0), (IMAGE_SIZE, 0), (IMAGE_SIZE, IMAGE_SIZE), (0, IMAGE_SIZE)]) - 0.5
_MARGIN, _FADE = 8, 56  # pixels of the crop that stay the photo's, and over which it fades in
_BAND = 1 << 14  # pixels that are blended at a time: their floats stay in a core's cache
_MUCH = 0.5  # above it cubic alone is nearer to what is ideal, from 0.6 on by 3 dB and more
_SUPPORT = 8  # pixels around a part of a photo that Lanczos looks at, and more


def extract(photo: Image, matrix: Points) -> Image:
    """The aligned crop (512, 512, 3) that `matrix` (photo -> crop) takes out of an RGB photo.

    The crop shares no memory with the photo. Raises `InvalidLandmarksError` where it is not the
    crop of a face in this photo.
    """
    if photo.shape[:2] == (IMAGE_SIZE, IMAGE_SIZE) and np.array_equal(matrix, IDENTITY):
        return np.array(photo, order="C")
    check_crop(matrix, photo.shape)
    left, top, right, bottom = reach(matrix, photo.shape)
    return _cut(photo[top:bottom, left:right], left, top, matrix)


def extract_enlarged(photo: NDArray[Any], matrix: Points, factor: int, color: Color) -> Image:
    """The crop that `matrix` (enlarged photo -> crop) takes out of what `enlarge` would make.

    `photo` is as in `put_back`, not enlarged: only what the crop sees of it is. Raises
    `InvalidLandmarksError` as `extract`.
    """
    shape = (photo.shape[0] * factor, photo.shape[1] * factor)
    check_crop(matrix, shape)
    left, top, right, bottom = reach(matrix, shape)
    x, y = max(0, left // factor - _SUPPORT), max(0, top // factor - _SUPPORT)
    part = photo[y : bottom // factor + _SUPPORT, x : right // factor + _SUPPORT]
    large = rgb_view(enlarge(part, factor), color, say_scaled=False)
    seen = large[top - y * factor : bottom - y * factor, left - x * factor : right - x * factor]
    return _cut(seen, left, top, matrix)


def put_back(
    photo: NDArray[Any], face: Image, matrix: Points, color: Color, strength: float = 1.0
) -> None:
    """Blend the RGB `face` (512, 512, 3) into `photo` in place; `matrix` is photo -> crop.

    `strength`: how much of the face there is in its middle, from 0 to 1.

    `photo` is uint8 or uint16, (H, W) gray or (H, W, 3 or 4) in the order `color`; alpha stays.
    Pixels that the feathered mask does not reach are not touched. Raises `InvalidLandmarksError`
    where `matrix` is not the transform of a face in this photo.
    """
    check_crop(matrix, photo.shape)
    left, top, right, bottom = reach(matrix, photo.shape)
    region = photo[top:bottom, left:right]
    size = (right - left, bottom - top)
    back = _shift(-left, -top) @ _homogeneous(inverse(matrix))
    feather = _feather() * np.float32(strength) if strength < 1 else _feather()
    mask = _warp(feather, back, size, cv2.BORDER_CONSTANT, cv2.INTER_LINEAR)
    pasted = _warp(_ordered(face, photo, color), back, size, cv2.BORDER_REPLICATE)
    _blend(region, np.asarray(pasted, np.uint8), mask)


def replace(photo: NDArray[Any], face: Image, color: Color, strength: float = 1.0) -> None:
    """Replace a 512 x 512 `photo` by the RGB `face`, in place; its alpha stays.

    `strength`: how much of the face there is in the result, from 0 to 1.
    """
    mask = np.full(face.shape[:2], strength, np.float32)
    _blend(photo, _ordered(face, photo, color), mask)


def enlarge(photo: NDArray[Any], factor: int) -> NDArray[Any]:
    """A copy of the photo that is `factor` times as large, by Lanczos, alpha too."""
    if factor == 1:
        return photo.copy()
    large = cv2.resize(
        np.ascontiguousarray(photo), None, fx=factor, fy=factor, interpolation=cv2.INTER_LANCZOS4
    )
    return np.asarray(large).reshape(*large.shape[:2], *photo.shape[2:])


def _ordered(face: Image, photo: NDArray[Any], color: Color) -> Image:
    """The RGB face in the channel order of the photo; RGB still where the photo is gray."""
    if color == "rgb" or _is_gray(photo):
        return face
    return np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2BGR), np.uint8)


def _is_gray(photo: NDArray[Any]) -> bool:
    return photo.ndim == 2 or photo.shape[2] == 1


def _blend(photo: NDArray[Any], face: Image, mask: NDArray[np.float32]) -> None:
    """photo + mask * (face - photo), in the photo's depth; `face` is as `_ordered` has it."""
    height = max(1, _BAND // photo.shape[1])
    for top in range(0, photo.shape[0], height):
        rows = slice(top, top + height)
        _blend_band(photo[rows], face[rows], mask[rows])


def _blend_band(photo: NDArray[Any], face: Image, mask: NDArray[np.float32]) -> None:
    deep = photo.dtype == np.uint16
    values: NDArray[Any] = face * np.uint16(257) if deep else face
    if _is_gray(photo):
        channels = photo if photo.ndim == 2 else photo[:, :, 0]
        values = np.asarray(cv2.cvtColor(values.astype(np.float32), cv2.COLOR_RGB2GRAY))
    else:
        channels = photo[:, :, :3]
        mask = np.asarray(cv2.merge([mask] * 3), np.float32)
    change = cv2.multiply(cv2.subtract(values, channels, dtype=cv2.CV_32F), mask)
    # cv2.add would round a half now up and now down, by where in a row it lies
    mixed = cv2.add(channels, change, dtype=cv2.CV_32F)
    channels[...] = np.rint(mixed)


def _cut(part: Image, left: int, top: int, matrix: Points) -> Image:
    """The crop out of the part of an RGB photo that starts at `left`, `top`."""
    moved = matrix @ _homogeneous(_shift(left, top))
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return by_cv2(lambda pixels: _warp(pixels, moved, size, cv2.BORDER_REFLECT_101), part)


def _warp(
    image: NDArray[Any],
    matrix: Points,
    size: tuple[int, int],
    border: int,
    method: int = cv2.INTER_CUBIC,
) -> NDArray[Any]:
    """Warp by a method; where it shrinks much, by area first, so that nothing aliases."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < _MUCH:
        height, width = image.shape[:2]
        smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA))
        # cv2.resize keeps corners, which lie half a pixel off the first centre
        x, y = width / smaller[0], height / smaller[1]
        matrix = matrix @ np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=method, borderMode=border))


@cache
def _feather() -> NDArray[np.float32]:
    """(512, 512): 0 at the border of the crop, 1 inside, a smooth step between."""
    centre = np.arange(IMAGE_SIZE)
    depth = np.minimum(centre, IMAGE_SIZE - 1 - centre).astype(np.float32)
    depth = ((np.minimum.outer(depth, depth) - _MARGIN) / _FADE).clip(0, 1)
    return np.asarray(depth * depth * (3 - 2 * depth), np.float32)


def reach(matrix: Points, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the photo's part that the crop can see, never empty.

    `put_back` changes nothing outside of it. `matrix`: photo -> crop; `shape`: the photo's.
    """
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
