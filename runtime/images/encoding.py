"""Encodes picture files: the pixels by OpenCV, then EXIF data and colour profile are inserted."""

import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InvalidImageError
from runtime.images.arrays import to_8_bits

KEEPS_METADATA = (".png", ".jpg", ".jpeg", ".webp")
"""Suffixes of the formats that keep EXIF data and an ICC profile."""

_KEEPS_16_BITS = (".png", ".tif", ".tiff")
_NO_ALPHA = (".jpg", ".jpeg")
_JPEG_QUALITY = 95
_LONGEST = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # side in pixels

_SEGMENT = 65_533  # bytes of a JPEG segment after its length
_EXIF_START, _ICC_START = b"Exif\0\0", b"ICC_PROFILE\0"
_PART = _SEGMENT - len(_ICC_START) - 2  # bytes of an ICC profile in a JPEG segment
_MOST_PARTS = 255  # they are counted in a byte
_PNG_PROFILE = 8_000_000  # bytes, the limit of libpng's readers


def encode(
    image: NDArray[Any], suffix: str, exif: bytes | None, icc_profile: bytes | None
) -> tuple[bytes, tuple[str, ...]]:
    """Encode a picture, as cv2 has it, in the format of `suffix`.

    16 bits become 8 where the format has no more; metadata that it cannot hold, or that is damaged,
    is left out. Returns the file's bytes, and notes for people on what was changed or left out.
    Raises `InvalidImageError` for a picture that the format cannot hold.
    """
    notes = []
    height, width = image.shape[:2]
    if max(height, width) > (longest := _LONGEST.get(suffix, max(height, width))):
        raise InvalidImageError(
            f"{width} x {height} px do not fit into a {suffix} file, whose sides are {longest} px "
            "at most; give the picture another suffix"
        )
    if image.dtype == np.uint16 and suffix not in _KEEPS_16_BITS:
        image = to_8_bits(image)
        notes.append(f"16 bits a channel were scaled to 8, which is all that {suffix} files hold")
    if image.ndim == 3 and image.shape[2] == 4 and suffix in _NO_ALPHA:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
        notes.append(f"its alpha channel is not kept in {suffix} files")
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix in (".jpg", ".jpeg") else []
    try:
        ok, encoded = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    except cv2.error as error:
        raise InvalidImageError(f"OpenCV could not encode the picture: {error.err}") from None
    if not ok:
        raise InvalidImageError("OpenCV could not encode the picture")
    data = encoded.tobytes()
    if not exif and not icc_profile:
        return data, tuple(notes)
    if suffix not in KEEPS_METADATA:
        return data, (*notes, f"EXIF and ICC profile are not kept in {suffix} files")
    if icc_profile and (fault := _profile_fault(icc_profile, suffix, image.ndim == 2)):
        icc_profile = None
        notes.append(f"its colour profile is left out: {fault}")
    if exif and (fault := _exif_fault(exif, suffix)):
        exif = None
        notes.append(f"its EXIF data is left out: {fault}")
    put = {".png": _into_png, ".webp": _into_webp}.get(suffix, _into_jpeg)
    return put(data, exif or b"", icc_profile or b""), tuple(notes)


def _profile_fault(profile: bytes, suffix: str, gray: bool) -> str | None:
    """Why a profile cannot be written, by its header (ICC.1:2022, 7.2), if so."""
    tags = int.from_bytes(profile[128:132], "big")
    end_of_table = 132 + 12 * tags
    if profile[36:40] != b"acsp" or int.from_bytes(profile[:4], "big") != len(profile):
        return "it is damaged"
    if end_of_table > len(profile) or any(
        start + size > len(profile)
        for start, size in struct.iter_unpack(">4x2I", profile[132:end_of_table])
    ):
        return "it is damaged"
    # readers of PNG refuse such a profile; elsewhere it is kept as it came
    if suffix == ".png" and profile[16:20] != (b"GRAY" if gray else b"RGB "):
        return f"it is not for {'gray' if gray else 'RGB'} pictures"
    longest = {".png": _PNG_PROFILE, ".webp": len(profile)}.get(suffix, _MOST_PARTS * _PART)
    return (
        f"{len(profile)} bytes are too long for {suffix} files" if len(profile) > longest else None
    )


def _exif_fault(exif: bytes, suffix: str) -> str | None:
    if not exif.startswith((b"II*\0", b"MM\0*")):
        return "it is damaged"
    if suffix in (".jpg", ".jpeg") and len(exif) > _SEGMENT - len(_EXIF_START):
        return f"{len(exif)} bytes are too long for {suffix} files"
    return None


def _into_jpeg(jpeg: bytes, exif: bytes, profile: bytes) -> bytes:
    """EXIF as one APP1 segment, the profile as one or more of APP2 (ICC.1:2022, annex B.4)."""
    segments = [(b"\xff\xe1", _EXIF_START + exif)] if exif else []
    parts = [profile[at : at + _PART] for at in range(0, len(profile), _PART)]
    for number, part in enumerate(parts, start=1):
        segments.append((b"\xff\xe2", _ICC_START + bytes([number, len(parts)]) + part))
    added = (kind + (2 + len(body)).to_bytes(2, "big") + body for kind, body in segments)
    # behind the JFIF segment, which comes first
    at = 4 + int.from_bytes(jpeg[4:6], "big") if jpeg[2:4] == b"\xff\xe0" else 2
    return b"".join([jpeg[:at], *added, jpeg[at:]])


def _into_png(png: bytes, exif: bytes, profile: bytes) -> bytes:
    """Chunks eXIf and iCCP, behind the header."""
    chunks = [(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))] if profile else []
    chunks += [(b"eXIf", exif)] if exif else []
    added = (
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in chunks
    )
    at = 8 + 12 + 13
    return b"".join([png[:at], *added, png[at:]])


def _into_webp(webp: bytes, exif: bytes, profile: bytes) -> bytes:
    """The extended file format: VP8X, ICCP, the picture's chunks, EXIF."""
    body = webp[12:]
    if body.startswith(b"VP8X"):
        flags, canvas, body = body[8], body[12:18], body[18:]
    else:  # OpenCV writes VP8L, lossless: a bit of 32 says alpha, two numbers of 14 bits the size
        bits = int.from_bytes(body[9:13], "little")
        flags = 0x10 if bits >> 28 & 1 else 0
        canvas = b"".join((bits >> at & 0x3FFF).to_bytes(3, "little") for at in (0, 14))
    flags |= (0x20 if profile else 0) | (0x08 if exif else 0)
    chunks = [_riff(b"VP8X", bytes([flags, 0, 0, 0]) + canvas)]
    chunks += [_riff(b"ICCP", profile)] if profile else []
    chunks += [body, *([_riff(b"EXIF", exif)] if exif else [])]
    return _riff(b"RIFF", b"WEBP" + b"".join(chunks))


def _riff(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
