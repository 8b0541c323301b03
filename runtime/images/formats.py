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

FORMATS = "PNG, JPEG, WebP, BMP, TIFF and the first frame of a GIF"
"""What is read, for people."""

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
_TIFF_COMPRESSIONS = (
    *("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg"),
    *("tiff_ccitt", "group3", "group4", "tiff_raw_16"),
)
_BITS, _PLANAR, _TILE_WIDTH, _TILE_LENGTH = 258, 284, 322, 323  # TIFF tags
_MOST_SCANS = 200  # of a JPEG; encoders write about ten, and each costs a pass over all pixels
_PILLOW_LIMIT = threading.Lock()


def open_picture(data: bytes, max_pixels: int) -> ImageFile:
    """A picture file's header, read by the decoder that its first bytes name.

    Raises `InvalidImageError` for any other file and for one that declares more than `max_pixels`,
    of which one of 16 bits a channel counts as two; and a decoder's own errors for a damaged one.
    """
    kind = next((kind for kind, starts in _SIGNATURES.items() if data.startswith(starts)), None)
    if kind is None or (kind == "WEBP" and data[8:12] != b"WEBP"):
        raise InvalidImageError(f"not a picture in a known format ({FORMATS} are read)")
    if kind == "JPEG" and _scans(data) > _MOST_SCANS:
        raise InvalidImageError(f"a JPEG of more than {_MOST_SCANS} scans is refused")
    too_many = (
        f"than the limit of {max_pixels / 1e6:g} million pixels; raise it if you trust the file"
    )
    # a global, which cannot be set for one file; some decoders look at it before they take memory
    with _PILLOW_LIMIT:
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, (max_pixels + 1) // 2
        try:
            picture = _OPEN[kind](io.BytesIO(data))
        except PIL.Image.DecompressionBombError:
            raise InvalidImageError(f"it declares more {too_many}") from None
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit
    areas = {picture.size: 2 if is_deep(picture) else 1}
    if isinstance(picture, TiffImageFile):
        _check_tiff(picture)
        tile = (picture.tag_v2.get(_TILE_WIDTH, 0), picture.tag_v2.get(_TILE_LENGTH, 0))
        areas[tile] = areas[picture.size]
    for (width, height), weight in areas.items():
        if width * height * weight > max_pixels:
            deep = " of 16 bits, which count twice," if weight > 1 else ""
            raise InvalidImageError(f"{width} x {height} px{deep} are more {too_many}")
    return picture


def is_deep(picture: ImageFile) -> bool:
    """Whether a picture that is opened and not yet loaded has 16 bits a channel."""
    # BMP pictures of 16 bits a pixel end in ";16", too
    return picture.mode.startswith("I;16") or rawmode(picture).endswith((";16B", ";16L", ";16N"))


def rawmode(picture: ImageFile) -> str:
    """How its decoder is told that the bytes lie; "" where a format has no such thing."""
    args = picture.tile[0].args if picture.tile else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def without_metadata(png: bytes) -> bytes:
    """A PNG file's picture alone: text, colour profile, EXIF data and animation are left out."""
    kept = [_PNG]
    for kind, chunk in _chunks(png):
        # a capital first letter marks what a decoder must know; tRNS is the transparency
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(chunk)
    return b"".join(kept)


def _check_tiff(picture: TiffImageFile) -> None:
    compression, bits = picture.info.get("compression"), picture.tag_v2.get(_BITS, ())
    if compression not in _TIFF_COMPRESSIONS:
        raise InvalidImageError(f"TIFF pictures compressed as {compression!r} are not read")
    if picture.tag_v2.get(_PLANAR) == 2 and len(bits) > 1 and max(bits) > 8:
        raise InvalidImageError("TIFF pictures of 16 bits in separate planes are not read")


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type of each chunk of a PNG file, and its bytes with length and checksum."""
    at = len(_PNG)
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at:end]
        at = end


def _scans(jpeg: bytes) -> int:
    """How many scans the first picture of a JPEG file has, counted up to one over the limit."""
    scans, at = 0, 2
    while scans <= _MOST_SCANS:
        at = jpeg.find(b"\xff", at)
        if at < 0 or at + 4 > len(jpeg) or jpeg[at + 1] == 0xD9:
            break
        marker = jpeg[at + 1]
        scans += marker == 0xDA
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2  # without a length
        else:
            at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return scans
