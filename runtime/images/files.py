"""Picture files and URLs: decoding them to arrays, and writing arrays in a file's format."""

import io
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InvalidImageError
from runtime.redaction import public_name
from runtime.storage import locations as storage

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of the file names that are taken for pictures, in lower case."""

KEEPS_METADATA = (".png", ".jpg", ".jpeg", ".webp")
"""Formats that take EXIF and ICC profile along."""

MAX_PIXELS = 150_000_000
"""Most pixels that a picture file may declare, unless the caller says otherwise."""

_ORIENTATION = 274  # EXIF tag
_PILLOW_LIMIT = threading.Lock()
_JPEG_QUALITY = 95


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture file: pixels upright, as cv2 has them, and what came with them.

    `image`: uint8 or uint16, (H, W) gray, (H, W, 3) BGR or (H, W, 4) BGRA. `exif`: its orientation
    is 1, since the pixels are upright. `notes`: what a reader may not expect, for people.
    """

    image: NDArray[np.generic]
    exif: bytes | None = None
    icc_profile: bytes | None = None
    notes: tuple[str, ...] = ()


def read_image(path: str | Path) -> NDArray[np.generic]:
    """The pixels of `read_photo`."""
    return read_photo(path).image


def read_photo(
    path: str | Path, max_pixels: int = MAX_PIXELS, max_bytes: int = storage.MAX_BYTES
) -> Photo:
    """`decode_photo` of a file or URL, which may also be missing, unreadable or too large."""
    return decode_photo(storage.read(str(path), max_bytes), public_name(str(path)), max_pixels)


def decode_photo(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a picture file's bytes, turned upright by its EXIF orientation.

    Of an animation the first frame is read, CMYK becomes RGB; both are noted. Raises
    `InvalidImageError` that begins with `name` when it is truncated, no picture, or declares more
    than `max_pixels`.
    """
    import PIL.Image

    notes = []
    image: NDArray[np.generic] | None = None
    # Pillow reads every byte and says what is wrong; OpenCV prints or pads over it
    try:
        with _PILLOW_LIMIT:  # Pillow's limit is a global, and cannot be raised for one file
            limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
            try:
                picture = PIL.Image.open(io.BytesIO(data))
            finally:
                PIL.Image.MAX_IMAGE_PIXELS = limit
        with picture:
            pixels = picture.width * picture.height
            if pixels > max_pixels:
                raise InvalidImageError(
                    f"{name}: {picture.width} x {picture.height} px are more than the limit of "
                    f"{max_pixels / 1e6:g} million pixels; raise it if you trust the file"
                )
            picture.load()
            frames = getattr(picture, "n_frames", 1)
            if frames > 1 and picture.format in ("GIF", "PNG", "WEBP"):
                notes.append(f"the first of {frames} frames is used")
                picture.seek(0)
            orientation, exif = _exif(picture)
            if exif is None and picture.info.get("exif"):
                notes.append("its EXIF data is damaged and left out")
            icc_profile = picture.info.get("icc_profile")
            if picture.mode == "CMYK":
                notes.append("CMYK was turned into RGB; its colour profile does not fit any more")
                image, icc_profile = np.asarray(picture.convert("RGB"))[:, :, ::-1].copy(), None
    except PIL.UnidentifiedImageError:
        raise InvalidImageError(f"{name}: not a picture in a known format") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InvalidImageError(f"{name}: damaged picture: {error}") from None
    if image is None:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise InvalidImageError(f"{name}: OpenCV refuses to decode it: {error.err}") from None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise InvalidImageError(f"{name}: a picture of a kind that OpenCV cannot decode")
    return Photo(_upright(image, orientation), exif, icc_profile, tuple(notes))


def write_image(
    path: str | Path,
    image: NDArray[np.generic],
    exif: bytes | None = None,
    icc_profile: bytes | None = None,
) -> None:
    """Write a picture as cv2 has it in the format of `path`'s suffix, whole or not at all.

    PNG, JPEG and WebP files take the metadata along. Raises `InvalidImageError` when the format is
    unknown, OSError when the disk refuses.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidImageError(f"{path}: cannot write {suffix or 'no suffix'!r} pictures")
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix in (".jpg", ".jpeg") else []
    metadata = {cv2.IMAGE_METADATA_EXIF: exif, cv2.IMAGE_METADATA_ICCP: icc_profile}
    kept = {kind: data for kind, data in metadata.items() if data and suffix in KEEPS_METADATA}
    blocks = [np.frombuffer(data, np.uint8)[None] for data in kept.values()]
    pixels = np.ascontiguousarray(image)
    ok, data = cv2.imencodeWithMetadata(suffix, pixels, list(kept), blocks, options)
    if not ok:
        raise InvalidImageError(f"{path}: OpenCV could not encode the picture")
    storage.write(str(path), data.tobytes())


def _exif(picture: "PIL.Image.Image") -> tuple[int, bytes | None]:
    """Orientation, and the EXIF data with orientation 1; None without any, or if it is damaged."""
    orientation = 1
    try:
        tags = picture.getexif()
        orientation = tags.get(_ORIENTATION, 1)
        if _ORIENTATION in tags:
            tags[_ORIENTATION] = 1
        exif = tags.tobytes().removeprefix(b"Exif\0\0") if len(tags) else None
    except (struct.error, OSError, SyntaxError, ValueError, TypeError, LookupError):
        return orientation, None
    return orientation, exif


def _upright(image: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Undo an EXIF orientation (1..8): first transpose, then mirror."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
