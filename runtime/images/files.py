"""Picture files and URLs: decoding them to arrays, and writing arrays in a file's format."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from runtime.errors import InvalidImageError
from runtime.images.encoding import encode
from runtime.images.formats import open_picture, without_metadata
from runtime.images.pixels import pixels_of
from runtime.redaction import public_name
from runtime.storage import locations as storage

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of the file names that are taken for pictures, in lower case."""

MAX_PIXELS = 150_000_000
"""Most pixels that a picture file may declare, unless the caller sets another limit.

A pixel of 16 bits a channel counts as two.
"""

_ORIENTATION, _EXIF = 274, 34665  # tags
_MOST_EXIF = 4 << 20  # bytes that are parsed, to many times as much memory


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture file: pixels upright, as cv2 has them, and what came with them.

    `image`: uint8 or uint16, (H, W) gray, (H, W, 3) BGR or (H, W, 4) BGRA. `exif`: its orientation
    is 1, since the pixels are upright. `notes`: for people, on what was changed or left out.
    """

    image: NDArray[np.generic]
    exif: bytes | None = None
    icc_profile: bytes | None = None
    notes: tuple[str, ...] = ()


def read_image(path: str | Path) -> NDArray[np.generic]:
    """Read a picture file or URL, as `read_photo`, but return its pixels alone."""
    return read_photo(path).image


def read_photo(
    path: str | Path, max_pixels: int = MAX_PIXELS, max_bytes: int = storage.MAX_BYTES
) -> Photo:
    """Read a picture file or URL, and decode it; see `decode_photo`.

    Raises `InvalidImageError` also where it is missing, unreadable, or larger than `max_bytes`.
    """
    return decode_photo(storage.read(str(path), max_bytes), public_name(str(path)), max_pixels)


def decode_photo(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a picture file's bytes, turned upright by its EXIF orientation.

    Of an animation the first frame is read and of a TIFF the first page, CMYK and LAB become RGB;
    these are noted, and so is metadata that is damaged and left out.

    Decoding takes at most 16 bytes of memory for a pixel, 24 for one of 16 bits a channel, beside
    the file itself. Raises `InvalidImageError` that begins with `name` when it is
    truncated, not in one of the formats that are read, or declares more than `max_pixels`.
    """
    try:
        return _decode_with_metadata(data, max_pixels)
    except InvalidImageError as error:
        raise InvalidImageError(f"{name}: {error}") from None
    except MemoryError as error:
        raise InvalidImageError(f"{name}: there is not enough memory to decode it") from error
    except Exception as error:  # decoders raise what they come across, on files made to hurt them
        kind = "" if isinstance(error, OSError | SyntaxError) else f"{type(error).__name__}: "
        raise InvalidImageError(f"{name}: damaged picture: {kind}{error}") from error


def write_image(
    path: str | Path,
    image: NDArray[np.generic],
    exif: bytes | None = None,
    icc_profile: bytes | None = None,
) -> tuple[str, ...]:
    """Write a picture as cv2 has it in the format of `path`'s suffix, whole or not at all.

    PNG, JPEG and WebP files take the metadata along. Returns notes for people on what the format
    leaves out: 16 bits, alpha, metadata that is damaged or too long for it. Raises
    `InvalidImageError` when the format is unknown or the picture does not fit into it, OSError when
    the disk refuses.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        what = f"{suffix} pictures" if suffix else "a picture without a suffix"
        raise InvalidImageError(f"{path}: cannot write {what}; use one of {', '.join(SUFFIXES)}")
    try:
        data, notes = encode(image, suffix, exif, icc_profile)
    except InvalidImageError as error:
        raise InvalidImageError(f"{path}: {error}") from None
    storage.write(str(path), data)
    return notes


def _decode_with_metadata(data: bytes, max_pixels: int) -> Photo:
    """Decode with the metadata; without it, where only the metadata of a PNG is damaged."""
    try:
        return _decode(data, max_pixels, ())
    except InvalidImageError:
        raise
    except Exception:
        bare = without_metadata(data) if data.startswith(b"\x89PNG") else data
        if len(bare) == len(data):
            raise
    return _decode(bare, max_pixels, ("its metadata is damaged or too large, and left out",))


def _decode(data: bytes, max_pixels: int, notes: tuple[str, ...]) -> Photo:
    read, orientation = _read(data, max_pixels)
    # after the decoder's own pixels are freed: turning needs a second copy
    image = _upright(read.image, orientation)
    return replace(read, image=image, notes=(*notes, *read.notes))


def _read(data: bytes, max_pixels: int) -> tuple[Photo, int]:
    """The picture as it lies in the file, and its orientation."""
    with open_picture(data, max_pixels) as picture:
        parts = {"TIFF": "pages", "GIF": "frames", "PNG": "frames", "WEBP": "frames"}
        notes = []
        if getattr(picture, "is_animated", False) and picture.format in parts:
            notes.append(f"only the first of its {parts[picture.format]} is used")
        image, more = pixels_of(picture, partial(open_picture, data, max_pixels))
        orientation, exif, fault = _exif(picture)
        profile = picture.info.get("icc_profile")
        if profile is not None and not isinstance(profile, bytes):
            profile, fault = None, (*fault, "its colour profile is damaged and left out")
        if picture.mode in ("CMYK", "LAB"):
            profile = None
    return Photo(image, exif, profile, (*notes, *more, *fault)), orientation


def _exif(picture: ImageFile) -> tuple[int, bytes | None, tuple[str, ...]]:
    """Orientation, the EXIF data with orientation 1, and notes; None without any."""
    if isinstance(
        picture, TiffImageFile
    ):  # turned by Pillow; the tags are those of its layout, too
        notes = ("EXIF data of a TIFF is left out",) if _EXIF in picture.tag_v2 else ()
        return 1, None, notes
    raw = picture.info.get("exif", b"")
    if len(raw) > _MOST_EXIF:
        return 1, None, (f"its EXIF data of {len(raw)} bytes are too long, and left out",)
    orientation = 1
    try:
        tags = picture.getexif()
        orientation = tags.get(_ORIENTATION, 1)
        if _ORIENTATION in tags:
            tags[_ORIENTATION] = 1
        exif = tags.tobytes().removeprefix(b"Exif\0\0") if len(tags) else None
    except Exception:  # whatever Pillow stumbles over: the picture itself is decoded
        exif, raw = None, b"damaged"
    damaged = ("its EXIF data is damaged and left out",) if raw and exif is None else ()
    return orientation, exif, damaged


def _upright(image: NDArray[Any], orientation: int) -> NDArray[np.generic]:
    """Undo an EXIF orientation; others than 2 to 8 mean that there is nothing to undo."""
    turns = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if orientation in turns:
        return cv2.rotate(image, turns[orientation])
    if orientation in (5, 7):
        image = cv2.transpose(image)
    mirrored = {2: 1, 4: 0, 7: -1}  # 1: left and right, 0: top and bottom, -1: both
    return cv2.flip(image, mirrored[orientation]) if orientation in mirrored else image
