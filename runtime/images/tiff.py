"""Limits on what a TIFF file may ask of its decoder: on its tags, its codec, its tiles."""

import struct

from PIL.TiffImagePlugin import TiffImageFile

from runtime.errors import InvalidImageError

_COMPRESSIONS = (
    *("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg"),
    *("tiff_ccitt", "group3", "group4", "tiff_raw_16"),
)
_BITS, _PLANAR, _TILE_WIDTH, _TILE_LENGTH = 258, 284, 322, 323
_STRIPS, _TILES = 273, 324  # where they are
_DIRECTORIES = (34665, 34853, 40965)  # EXIF, GPS, interoperability
_BYTES = (1, 2, 6, 7)  # types of tags that are kept as they are
_MOST_NUMBERS = 1_000_000  # Pillow makes up to half a kilobyte of each


def check_tags(data: bytes) -> None:
    """Raise `InvalidImageError` for tags that would take much more memory than the file."""
    order = "<" if data.startswith(b"II") else ">"
    big = 43 in data[2:4]
    count, entry, first = ("Q", "HHQQ", 8) if big else ("H", "HHII", 4)
    size, numbers = struct.calcsize(order + entry), 0
    places = [int.from_bytes(data[first : 2 * first], "little" if order == "<" else "big")]
    for at in places:
        start = at + struct.calcsize(order + count)
        if start > len(data) or len(places) > 1 + len(_DIRECTORIES):
            continue
        (entries,) = struct.unpack_from(order + count, data, at)
        entries = min(entries, (len(data) - start) // size)
        table = memoryview(data)[start : start + entries * size]
        for tag, kind, length, value in struct.iter_unpack(order + entry, table):
            if kind not in _BYTES or tag in (_STRIPS, _TILES):
                numbers += length
            if tag in _DIRECTORIES:
                places.append(value)
    if numbers > _MOST_NUMBERS:
        raise InvalidImageError(f"its TIFF tags hold {numbers} numbers, more than {_MOST_NUMBERS}")


def check_coding(picture: TiffImageFile) -> None:
    """Raise `InvalidImageError` for codecs other than TIFF's own and JPEG, and 16-bit planes."""
    compression, bits = picture.info.get("compression"), picture.tag_v2.get(_BITS, ())
    if compression not in _COMPRESSIONS:
        raise InvalidImageError(f"TIFF pictures compressed as {compression!r} are not read")
    if picture.tag_v2.get(_PLANAR) == 2 and len(bits) > 1 and max(bits) > 8:
        raise InvalidImageError("TIFF pictures of 16 bits in separate planes are not read")


def tile_size(picture: TiffImageFile) -> tuple[int, int]:
    """Width and height of a picture's tiles, which may exceed its own; 0 where it has none."""
    return picture.tag_v2.get(_TILE_WIDTH, 0), picture.tag_v2.get(_TILE_LENGTH, 0)
