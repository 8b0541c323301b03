"""Picture files for tests, whole and hostile."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray

PNG = b"\x89PNG\r\n\x1a\n"


def saved(picture: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    """The file that Pillow makes of it."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One of a PNG file."""
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def png_with(png: bytes, *chunks: bytes) -> bytes:
    """The PNG file with more chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def png_of(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """A PNG file of unfiltered rows, each with its filter's byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return PNG + b"".join(chunk(kind, body) for kind, body in chunks)


def deep_png(pixels: NDArray[np.uint16], color: int) -> bytes:
    """A PNG file of 16 bits a channel; `color` 0 is gray, 2 RGB, 4 gray with alpha, 6 RGBA."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png_of(pixels.shape[1], pixels.shape[0], 16, color, rows)


def tiff(
    pixels: NDArray[np.generic],
    order: Literal["<", ">"] = "<",
    more: Sequence[tuple[int, int]] = (),
    next_page: int = 0,
) -> bytes:
    """An uncompressed TIFF file, (H, W, C), with more tags of one number each."""
    height, width, channels = pixels.shape
    bits = [8 * pixels.itemsize] * channels
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    packed = struct.pack(f"{order}{channels}H", *bits)
    at_bits, at_body = 8, 8 + len(packed)
    tags = {256: [width], 257: [height], 258: bits, 259: [1], 262: [2 if channels > 2 else 1]}
    tags |= {273: [at_body], 277: [channels], 278: [height], 279: [len(body)]}
    tags |= {tag: [value] for tag, value in more}
    entries = []
    for tag, values in sorted(tags.items()):
        if len(values) * 2 > 4:
            entries.append(struct.pack(f"{order}HHII", tag, 3, len(values), at_bits))
        elif len(values) == 1:
            entries.append(struct.pack(f"{order}HHII", tag, 4, 1, values[0]))
        else:
            entries.append(struct.pack(f"{order}HHI2H", tag, 3, 2, *values))
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries)
    directory += struct.pack(f"{order}I", next_page)
    start = struct.pack(f"{order}HI", 42, at_body + len(body))
    return (b"II" if order == "<" else b"MM") + start + packed + body + directory
