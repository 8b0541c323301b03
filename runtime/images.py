"""Pictures: reading, writing, and turning what callers have into what the network takes."""

import io
import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime import storage
from runtime.errors import DmdnetWarning, InvalidImageError
from runtime.layout import IMAGE_SIZE

if TYPE_CHECKING:
    import PIL.Image

Color = Literal["bgr", "rgb"]
Image = NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of the file names that are taken for pictures, in lower case."""

KEEPS_METADATA = (".png", ".jpg", ".jpeg", ".webp")
"""Formats that take EXIF and ICC profile along."""

MAX_PIXELS = 150_000_000
"""Most pixels that a picture file may declare, unless the caller says otherwise."""

MIN_SIDE = 16
"""Smallest side of a face that is accepted, in pixels."""

_ORIENTATION = 274  # EXIF tag
_PILLOW_LIMIT = threading.Lock()
_JPEG_QUALITY = 95
_CAPTION = 28  # height of the line above a comparison, in pixels


def to_rgb(image: NDArray[np.generic], color: Color, say_scaled: bool = True) -> Image:
    """Any accepted picture as uint8 (H, W, 3) RGB.

    Accepts (H, W), (H, W, 1), (H, W, 3) and (H, W, 4) arrays of uint8 or uint16 in the channel
    order `color`; alpha is dropped, 16 bits become 8 (with a `DmdnetWarning` if `say_scaled`).
    Raises `InvalidImageError` for anything else.
    """
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
            warnings.warn("16-bit image: scaled to 8 bits", DmdnetWarning, stacklevel=2)
        image = np.rint(image.astype(np.float32) / 257).astype(np.uint8)
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2).astype(np.uint8)
    order = [2, 1, 0] if color == "bgr" else [0, 1, 2]
    return np.ascontiguousarray(image[:, :, order], dtype=np.uint8)


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


def read_photo(path: str | Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """`decode_photo` of a file or URL, which may also be missing or unreadable."""
    return decode_photo(storage.read(str(path)), str(path), max_pixels)


def decode_photo(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a picture file's bytes, turned upright by its EXIF orientation.

    Of an animation the first frame is read, CMYK becomes RGB; both are noted. Raises
    `InvalidImageError` that begins with `name` when it is truncated, no picture, or declares more
    than `max_pixels`.
    """
    import PIL.Image

    notes = []
    cmyk = None
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
                cmyk, icc_profile = np.asarray(picture.convert("RGB"))[:, :, ::-1].copy(), None
    except PIL.UnidentifiedImageError:
        raise InvalidImageError(f"{name}: not a picture in a known format") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InvalidImageError(f"{name}: damaged picture: {error}") from None
    image = cmyk
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
    given = {cv2.IMAGE_METADATA_EXIF: exif, cv2.IMAGE_METADATA_ICCP: icc_profile}
    kinds = [kind for kind, data in given.items() if data and suffix in KEEPS_METADATA]
    blocks = [np.frombuffer(given[kind] or b"", np.uint8)[None] for kind in kinds]
    pixels = np.ascontiguousarray(image)
    ok, data = cv2.imencodeWithMetadata(suffix, pixels, kinds, blocks, options)
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
