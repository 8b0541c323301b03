"""Pictures as arrays: checked and converted to what the network takes, resized, compared."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.errors import DmdnetWarning, InvalidImageError

Color = Literal["bgr", "rgb"]
Image = NDArray[np.uint8]

MIN_SIDE = 16
"""Smallest side of a face that is accepted, in pixels."""

_CAPTION = 28  # height of the line above a comparison, in pixels


def to_rgb(image: NDArray[np.generic], color: Color, say_scaled: bool = True) -> Image:
    """Any accepted picture as uint8 (H, W, 3) RGB, in an array of its own.

    Accepts (H, W), (H, W, 1), (H, W, 3) and (H, W, 4) arrays of uint8 or uint16 in the channel
    order `color`; alpha is dropped, 16 bits become 8 (with a `DmdnetWarning` if `say_scaled`).
    Raises `InvalidImageError` for anything else.
    """
    image = _checked(image, color, say_scaled)
    if (channels := image.shape[2]) == 3 and color == "rgb":
        return np.array(image, order="C")
    code = {
        1: cv2.COLOR_GRAY2RGB,
        3: cv2.COLOR_BGR2RGB,
        4: cv2.COLOR_BGRA2RGB if color == "bgr" else cv2.COLOR_RGBA2RGB,
    }[channels]
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def rgb_view(image: NDArray[np.generic], color: Color, say_scaled: bool = True) -> Image:
    """As `to_rgb`, but to be read only: it shares the pixels of a picture of 8 bits without alpha.

    Its channels may lie in another order, or be one; `by_cv2` works on it without copying it.
    """
    image = _checked(image, color, say_scaled)
    if image.shape[2] == 1:
        return np.broadcast_to(image, (*image.shape[:2], 3))
    if image.shape[2] == 4:  # OpenCV would copy what it takes out of them, slowly
        view = to_rgb(image, color)
    else:
        view = image[:, :, ::-1] if color == "bgr" else image[:]
    view.flags.writeable = False
    return view


def by_cv2(work: Callable[[Image], NDArray[Any]], image: Image) -> Image:
    """What `work` makes of an RGB picture, as RGB of its own; `work` treats all channels alike.

    OpenCV would copy an `rgb_view` first, slowly: `work` gets its channels as they lie in memory.
    """
    if image.strides[2] == 0:
        code, made = cv2.COLOR_GRAY2RGB, work(image[:, :, 0])
    elif image.strides[2] < 0:
        code, made = cv2.COLOR_BGR2RGB, work(image[:, :, ::-1])
    else:
        return np.asarray(work(image), np.uint8)
    return np.asarray(cv2.cvtColor(made, code), np.uint8)


def _checked(image: NDArray[np.generic], color: Color, say_scaled: bool) -> Image:
    """A picture that `to_rgb` accepts as uint8 (H, W, 1, 3 or 4)."""
    if color not in ("bgr", "rgb"):
        raise InvalidImageError(f'color must be "bgr" or "rgb", not {color!r}')
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16):
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidImageError(f"an image must be a numpy array of uint8 or uint16, not {kind}")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise InvalidImageError(
            f"an image must be H x W with 1, 3 or 4 channels, not of shape {image.shape}"
        )
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise InvalidImageError(
            f"the image is {width} x {height} px; a face needs {MIN_SIDE} x {MIN_SIDE} at least"
        )
    if image.dtype == np.uint16:
        if say_scaled:
            warnings.warn("the 16-bit image was scaled to 8 bits", DmdnetWarning, stacklevel=3)
        image = to_8_bits(image)
    return np.asarray(image, np.uint8)


def to_8_bits(image: NDArray[np.generic]) -> Image:
    """A uint16 picture of 1 to 4 channels as uint8, rounded: 65535 becomes 255."""
    # by OpenCV without a copy in float; no multiple of 1 / 257 lies near a half
    scaled = cv2.convertScaleAbs(np.ascontiguousarray(image), alpha=1 / 257)
    return np.asarray(scaled, np.uint8).reshape(image.shape)


def fit(image: Image) -> Image:
    """Resize an aligned face (H, W, 3) to 512 x 512: area averaging down, cubic up."""
    height, width = image.shape[:2]
    if (height, width) == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    if max(height, width) > 1.1 * min(height, width):
        warnings.warn(
            f"the face is {width} x {height} px, not square: it will be squeezed to 512 x 512; "
            "is it an aligned crop?",
            DmdnetWarning,
            stacklevel=2,
        )
    shrinks = min(height, width) >= IMAGE_SIZE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=method), np.uint8)


def side_by_side(pictures: dict[str, Image]) -> Image:
    """Pictures of one height beside each other, (H + 28, sum W, 3), each under its caption."""
    columns = []
    for caption, picture in pictures.items():
        line = np.full((_CAPTION, picture.shape[1], 3), 255, np.uint8)
        font, width = cv2.FONT_HERSHEY_SIMPLEX, picture.shape[1]
        size = cv2.getTextSize(caption, font, 0.6, 1)[0][0]
        scale = 0.6 * min(1.0, (width - 16) / size)
        cv2.putText(line, caption, (8, 20), font, scale, (0, 0, 0), 1, cv2.LINE_AA)
        columns.append(np.vstack([line, picture]))
    return np.hstack(columns)
