"""Which picture formats are read: recognised by their first bytes, opened by Pillow alone.

Only these decoders are ever given a file, whatever its name says; Pillow knows some forty others.
"""

import ctypes
import io
import logging
import threading
import warnings
from collections.abc import Iterator

import PIL._imaging
import PIL.Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from runtime.errors import InvalidImageError
from runtime.images import tiff

FORMATS = "PNG, JPEG, WebP, BMP, TIFF and the first frame of a GIF"
"""The formats that are read, as a message lists them."""

# what Pillow warns of is an error or a note here; its log is for who sets up logging
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
# Pillow leaves it to libtiff to print what is wrong with a file, beside the error that it raises
_libtiff = ctypes.CDLL(PIL._imaging.__file__)
for _setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
    if hasattr(_libtiff, _setter):  # where Pillow's module hides its libraries it cannot be told
        getattr(_libtiff, _setter)(None)

_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = {
    "PNG": (_PNG,),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "WEBP": (b"RIFF",),
}
_OPEN = {
    "PNG": PngImageFile,
    "JPEG": jpeg_factory,  # also of several pictures (MPO), of which the first is read
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
}
# of a JPEG: encoders write about ten scans, and each costs a pass over all pixels
_MOST_SCANS, _MOST_EXIF_SEGMENTS = 100, 100
_HEADER = 64 << 10  # bytes of a file that nearly always say its size
_PILLOW_DEFAULT = 89_478_485
_PILLOW_LIMIT = threading.Lock()


def open_picture(data: bytes, max_pixels: int) -> ImageFile:
    """Open a picture file with the decoder that its first bytes name; only its header is read.

    A pixel of 16 bits a channel counts as two of `max_pixels`. Raises `InvalidImageError` for any
    other file and for one that declares more pixels; the decoder's own errors for a damaged one.
    """
    kind = next((kind for kind, starts in _SIGNATURES.items() if data.startswith(starts)), None)
    if kind is None or (kind == "WEBP" and data[8:12] != b"WEBP"):
        raise InvalidImageError(f"not a picture in a known format ({FORMATS} are read)")
    if kind == "JPEG":
        _check_jpeg(data)
    elif kind == "TIFF":
        tiff.check_tags(data)
    too_many = f"than the limit of {max_pixels:,} pixels; raise it if you trust the file"
    # a global, which cannot be set for one file; some decoders look at it before they take memory
    with _PILLOW_LIMIT:
        limit = PIL.Image.MAX_IMAGE_PIXELS
        # Pillow allows twice as many; never less than else, as other threads open pictures, too
        PIL.Image.MAX_IMAGE_PIXELS = max((max_pixels + 1) // 2, limit or _PILLOW_DEFAULT)
        try:
            picture = _OPEN[kind](io.BytesIO(data))
        except PIL.Image.DecompressionBombError:
            raise InvalidImageError(f"it declares more {too_many}") from None
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit
    areas = {picture.size: 2 if is_deep(picture) else 1}
    if isinstance(picture, TiffImageFile):
        tiff.check_coding(picture)
        areas[tiff.tile_size(picture)] = areas[picture.size]
    for (width, height), weight in areas.items():
        if width * height * weight > max_pixels:
            deep = " of 16 bits, which count twice," if weight > 1 else ""
            raise InvalidImageError(f"{width} x {height} px{deep} are more {too_many}")
    return picture


def is_deep(picture: ImageFile) -> bool:
    """Whether a picture that is opened, but not yet loaded, has 16 bits a channel."""
    # BMP pictures of 16 bits a pixel end in ";16", too
    return picture.mode.startswith("I;16") or rawmode(picture).endswith((";16B", ";16L", ";16N"))


def declared_pixels(data: bytes, max_pixels: int) -> int:
    """The pixels that a picture file declares, those of 16 bits twice; 0 if it is damaged.

    Its beginning is tried first: to look through a large JPEG would take a tenth of decoding it.
    """
    for part in (data[:_HEADER], data):
        try:
            with open_picture(part, max_pixels) as picture:
                return picture.width * picture.height * (2 if is_deep(picture) else 1)
        except Exception:  # decoding says what is wrong
            continue
    return 0


def rawmode(picture: ImageFile) -> str:
    """Pillow's raw mode, which tells the decoder the order of the bytes; "" where there is none."""
    args = picture.tile[0].args if picture.tile else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def without_metadata(png: bytes) -> bytes:
    """A PNG file without its text, colour profile, EXIF data and animation."""
    kept = [_PNG]
    for kind, chunk in _chunks(png):
        # a capital first letter marks what a decoder must know; tRNS is the transparency
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(chunk)
    return b"".join(kept)


def _check_jpeg(jpeg: bytes) -> None:
    """Raise `InvalidImageError` for one that would keep its decoder busy for minutes."""
    scans = sum(jpeg.count(b"\xff\xda\0" + bytes([6 + 2 * n, n])) for n in (1, 2, 3, 4))
    if scans > _MOST_SCANS or jpeg.count(b"Exif\0\0") > _MOST_EXIF_SEGMENTS:
        raise InvalidImageError(
            f"a JPEG of more than {_MOST_SCANS} scans or {_MOST_EXIF_SEGMENTS} parts of EXIF data "
            "is refused"
        )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type of each chunk of a PNG file, and its bytes with length and checksum."""
    at = len(_PNG)
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at:end]
        at = end
