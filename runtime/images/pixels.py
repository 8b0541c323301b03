"""From an opened picture to the array that cv2 users expect, with few copies and little memory."""

import sys
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageCms
from PIL.Image import Image as Picture
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from runtime.errors import InvalidImageError
from runtime.images.formats import is_deep, rawmode

_BAND = 1 << 18  # pixels that are turned at a time
_TARGETS = {
    **dict.fromkeys(("1", "L"), "L"),
    **dict.fromkeys(("P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB"), "RGB"),
    **dict.fromkeys(("LA", "PA", "RGBA", "RGBa"), "RGBA"),
}
"""Pillow's modes, and the mode that each is converted to."""
_DECODES_INTO = {"L": "L", "RGB": "RGBX", "RGBA": "RGBA"}
"""Modes whose pixels lie in Pillow's memory as in an array of bytes, and the mode to say so."""
_INTO_ARRAYS = ("JPEG", "MPO", "PNG", "BMP")
"""Formats whose first picture Pillow decodes into whatever memory its image has."""
_AS_CV2 = {"L": "L", "RGB": "BGR", "RGBA": "BGRA"}
_NO_TRANSPARENT_COLOUR = "its transparent colour is left out"
_EXTRA_SAMPLES = 338  # TIFF tag


def pixels_of(
    picture: ImageFile, again: Callable[[], ImageFile]
) -> tuple[NDArray[np.generic], list[str]]:
    """Load the pixels of a picture that is opened, but not yet loaded.

    `again` opens the picture once more. Returns uint8 or uint16 (H, W) gray, (H, W, 3) BGR or
    (H, W, 4) BGRA, and notes for people on what was changed or left out. Raises
    `InvalidImageError` for a kind of pixels that is not supported, and what the decoder raises.
    """
    notes = []
    if isinstance(picture, TiffImageFile) and 0 in picture.tag_v2.get(_EXTRA_SAMPLES, ()):
        notes.append("a channel of unknown meaning is left out")
    if not is_deep(picture) or picture.mode == "CMYK":
        return _of_8_bits(picture, notes), notes
    if "transparency" in picture.info:
        notes.append(_NO_TRANSPARENT_COLOUR)
    if picture.mode.startswith("I;16"):
        picture.load()
        return _joined(picture, lambda band: np.asarray(band)[:, :, None], 1, np.uint16), notes
    return _of_16_bits(picture, again), notes


def _of_8_bits(picture: ImageFile, notes: list[str]) -> NDArray[np.generic]:
    array = _loaded(picture)
    mode = picture.mode
    if mode not in _TARGETS:
        raise InvalidImageError(f"pixels of the kind {mode} are not supported")
    target = _TARGETS[mode]
    if "transparency" in picture.info and mode in ("P", "RGB"):
        target = "RGBA"
    elif "transparency" in picture.info:
        notes.append(_NO_TRANSPARENT_COLOUR)
    if array is not None and target == mode:
        return _as_cv2(array, mode)
    if mode in ("CMYK", "LAB"):
        notes.append(f"{mode} was turned into RGB; its colour profile does not fit any more")
    if mode == "LAB":
        spaces = (ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"))
        to_rgb = ImageCms.buildTransform(*spaces, "LAB", "RGB")

    def converted(band: Picture) -> NDArray[np.generic]:
        if mode == "LAB":
            band = ImageCms.applyTransform(band, to_rgb) or band
        elif mode != target:
            band = band.convert(target)
        return _values(band)

    return _joined(picture, converted, len(target), np.uint8)


def _loaded(picture: ImageFile) -> NDArray[np.uint8] | None:
    """Load a picture, if possible into an array (H, W, 1 or 4) of Pillow's bytes, else None."""
    # one without tiles has no pixels, which Pillow no longer notices once it has memory for them
    fits = picture.mode in _DECODES_INTO and picture.format in _INTO_ARRAYS
    # Pillow looks for a transparent colour in its own memory of an RGB picture alone
    if not fits or not picture.tile or "transparency" in picture.info:
        picture.load()
        return None
    mode = _DECODES_INTO[picture.mode]
    # zeros, as Pillow's own: what a decoder leaves out must not show old memory
    array = np.zeros((picture.height, picture.width, len(mode)), np.uint8)
    memory = PIL.Image.frombuffer(mode, picture.size, array, "raw", mode, 0, 1).im
    picture.im = memory
    picture.load()
    return array if picture.im is memory else None  # an animation may be put together elsewhere


def _as_cv2(array: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    """Pillow's bytes (H, W, 1 or 4) of mode L, RGB or RGBA as gray, BGR or BGRA."""
    if mode == "L":
        return array[:, :, 0]
    code = cv2.COLOR_RGBA2BGR if mode == "RGB" else cv2.COLOR_RGBA2BGRA
    return np.asarray(cv2.cvtColor(array, code), np.uint8)


def _of_16_bits(picture: ImageFile, again: Callable[[], ImageFile]) -> NDArray[np.generic]:
    """Pixels of 16 bits a channel in colour or with alpha.

    Pillow keeps the upper byte of each such number alone. Told that the bytes lie the other way
    round, it keeps the lower one, so that two readings give both.
    """
    if rawmode(picture) == "LA;16B":
        _set_rawmode(picture, lambda _: "RGBA")  # all four bytes of gray and alpha
        picture.load()

        def joined(band: Picture) -> NDArray[np.generic]:
            return np.asarray(band).view(">u2")[:, :, [0, 0, 0, 1]]

        return _joined(picture, joined, 4, np.uint16)
    if picture.mode not in ("RGB", "RGBA"):
        raise InvalidImageError(f"pixels of the kind {rawmode(picture)} are not supported")
    image = _lower_bytes(again)
    _set_rawmode(picture, lambda raw: raw.replace("a", "A"))
    picture.load()
    for rows, band in _bands(picture):
        image[rows] |= _values(band).astype(np.uint16) << 8
    return image


def _lower_bytes(again: Callable[[], ImageFile]) -> NDArray[np.uint8 | np.uint16]:
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    with again() as picture:
        # RGBa: else Pillow would divide these bytes by the alpha's
        _set_rawmode(picture, lambda raw: raw[:-1].replace("a", "A") + swapped[raw[-1]])
        picture.load()
        return _joined(picture, _values, len(picture.mode), np.uint16)


def _values(band: Picture) -> NDArray[np.uint8]:
    """Gray, BGR or BGRA, (H, W, 1, 3 or 4)."""
    values = np.frombuffer(band.tobytes("raw", _AS_CV2[band.mode]), np.uint8)
    return values.reshape(band.height, band.width, -1)


def _joined(
    picture: Picture,
    converted: Callable[[Picture], NDArray[np.generic]],
    channels: int,
    dtype: type[np.uint8 | np.uint16],
) -> NDArray[np.uint8 | np.uint16]:
    """The bands of a loaded picture as one array, (H, W) where it has one channel."""
    image = np.empty((picture.height, picture.width, channels), dtype)
    for rows, band in _bands(picture):
        image[rows] = converted(band)
    return image[:, :, 0] if channels == 1 else image


def _bands(picture: Picture) -> Iterator[tuple[slice, Picture]]:
    """Bands of rows of a loaded picture: a copy of it as a whole would cost its size again."""
    height = max(1, _BAND // picture.width)
    for top in range(0, picture.height, height):
        bottom = min(picture.height, top + height)
        yield slice(top, bottom), picture.crop((0, top, picture.width, bottom))


def _set_rawmode(picture: ImageFile, change: Callable[[str], str]) -> None:
    new = change(rawmode(picture))
    picture.tile = [
        tile._replace(args=(new, *tile.args[1:]) if isinstance(tile.args, tuple) else new)
        for tile in picture.tile
    ]
