"""Pictures: all promised formats in many variants, what only looks like one, and their names."""

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.images.files import decode_photo, read_image, write_image
from tests.fuzz.mutations import Draw, mutated, png
from tests.fuzz.rule import Kind

LIMIT = 1_000_000
"""Pixels that a fuzzed picture may declare."""
MAGIC = (b"\x89PNG", b"\xff\xd8", b"RIFF", b"BM", b"II", b"MM", b"GIF8")
SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".tif")

_HEIGHT, _WIDTH = 30, 40
_LOSSLESS = (".png", ".bmp", ".tif")


@contextmanager
def pictures(folder: Path) -> Iterator[Kind]:
    """A picture that is decoded is written in every format, and read again."""
    whole = whole_pictures()
    inputs = st.tuples(st.sampled_from(SUFFIXES), picture_bytes())

    def attempt(given: tuple[str, bytes]) -> None:
        suffix, data = given
        pristine = next((name for name, each in whole.items() if each == data), None)
        photo = decode_photo(data, f"photo{suffix}", LIMIT)
        image = photo.image
        assert data.startswith(MAGIC), "a format that is not promised"
        assert image.dtype in (np.uint8, np.uint16), "pixels of another type"
        assert image.ndim == 2 or image.shape[2] in (3, 4), "channels of another number"
        assert image.shape[0] * image.shape[1] <= LIMIT, "more pixels than allowed"
        if pristine is not None:
            assert image.shape[:2] == (_HEIGHT, _WIDTH), "a picture of another size"
        out = folder / f"out{suffix}"
        write_image(out, image, photo.exif, photo.icc_profile)
        _check_written(image, read_image(out), suffix)

    yield Kind(inputs, attempt)


def picture_bytes() -> st.SearchStrategy[bytes]:
    """A picture file, whole or made worse, or something else."""
    whole = whole_pictures()
    pngs = [data for data in whole.values() if data.startswith(MAGIC[0])]
    others = other_files()
    seeds = list(whole.values())
    return (
        mutated(seeds, hot=_hot)
        | mutated(seeds)
        | png(pngs)
        | st.sampled_from(seeds)
        | st.sampled_from(others)
        | mutated(others)
    )


def _check_written(image: NDArray[Any], again: NDArray[Any], suffix: str) -> None:
    """What was read again is what was written, as nearly as the format can hold it."""
    assert again.shape[:2] == image.shape[:2], "written in another size"
    if suffix in _LOSSLESS and image.dtype == np.uint8 and again.shape == image.shape:
        assert np.array_equal(again, image), "written with other pixels"
    assert abs(_level(image) - _level(again)) < 32, "written with another brightness"


def _level(image: NDArray[Any]) -> float:
    """Mean of the colours, 0 to 255."""
    colours = image if image.ndim == 2 else image[:, :, :3]
    return float(colours.mean()) / (257 if image.dtype == np.uint16 else 1)


@cache
def whole_pictures() -> Mapping[str, bytes]:
    """Pictures of 40 x 30 px that a user may well have, by what they are."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 5, 4), np.uint8)
    smooth = np.asarray(cv2.resize(coarse, (_WIDTH, _HEIGHT)), np.uint8)
    rgba = PIL.Image.fromarray(smooth)
    modes = {mode: rgba.convert("RGB").convert(mode) for mode in ("RGB", "L", "1", "P", "CMYK")}
    modes |= {"RGBA": rgba, "LA": rgba.convert("LA"), "I;16": _deep(smooth)}
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    exif = PIL.Image.Exif()
    exif[274], exif[271] = 6, "maker"
    turned = PIL.Image.Exif()
    turned[274] = 1
    made: dict[str, bytes] = {}

    def add(name: str, mode: str, **options: Any) -> None:
        stream = io.BytesIO()
        modes[mode].copy().save(stream, name.split()[0], **options)
        made[f"{name} {mode}"] = stream.getvalue()

    def two() -> dict[str, Any]:  # anew for each: Pillow leaves a format's options in an image
        return {"save_all": True, "append_images": [modes["RGB"].rotate(180)]}

    for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "I;16"):
        add("PNG", mode)
        add("TIFF", mode)
    for mode in ("RGB", "L", "1", "P", "RGBA"):
        add("BMP", mode)
    for mode in ("RGB", "L", "CMYK"):
        add("JPEG", mode)
    for mode in ("RGB", "RGBA"):
        add("WEBP", mode)
        add("WEBP lossless", mode, lossless=True)
    for mode in ("L", "P"):
        add("GIF", mode)
    add("PNG exif", "RGB", exif=turned, icc_profile=profile)
    add("PNG transparent", "P", transparency=3)
    add("PNG animated", "RGB", **two())
    add("JPEG exif", "RGB", exif=turned, icc_profile=profile)
    add("JPEG progressive", "RGB", progressive=True, subsampling=0)
    add("WEBP exif", "RGB", exif=turned, icc_profile=profile)
    add("WEBP animated", "RGB", **two())
    add("GIF animated", "P", **two())
    add("MPO", "RGB", **two())
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        add(f"TIFF {compression}", "RGB", compression=compression)
    add("TIFF group4", "1", compression="group4")
    add("TIFF pages", "RGB", exif=turned, **two())
    for name, deep in {"rgb": _three(smooth), "rgba": smooth.astype(np.uint16) * 257}.items():
        for suffix in (".png", ".tif"):
            made[f"deep {name}{suffix}"] = _encoded(suffix, deep)
    return made


@cache
def other_files() -> Sequence[bytes]:
    """What is no picture of ours, under whatever name: formats that other programs read."""
    rgb = PIL.Image.new("RGB", (_WIDTH, _HEIGHT), (200, 30, 30))
    found = [b"", b"\0" * 64, b"not a picture\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
    found += [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n"]
    for name, mode in (
        ("EPS", "RGB"),
        ("DDS", "RGBA"),
        ("SPIDER", "F"),
        ("PPM", "RGB"),
        ("PCX", "RGB"),
        ("TGA", "RGB"),
        ("SGI", "RGB"),
        ("ICO", "RGBA"),
        ("ICNS", "RGBA"),
        ("JPEG2000", "RGB"),
        ("IM", "RGB"),
        ("MSP", "1"),
        ("XBM", "1"),
        ("PDF", "RGB"),
        ("AVIF", "RGB"),
        ("DIB", "RGB"),
    ):
        stream = io.BytesIO()
        rgb.convert(mode).save(stream, name)
        found.append(stream.getvalue())
    pixels = np.asarray(rgb, np.uint8)
    for suffix in (".ras", ".ppm", ".pam"):
        found.append(_encoded(suffix, pixels))
    for suffix in (".hdr", ".pfm"):
        found.append(_encoded(suffix, pixels.astype(np.float32)))
    floats = io.BytesIO()
    rgb.convert("F").save(floats, "TIFF")
    found += [floats.getvalue(), b"ZZ" + found[-1], b"PK\3\4" + bytes(60)]
    # a BMP and a PNG that declare far more than they hold
    found.append(
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6)
    )
    found.append(b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";")
    return found


def _encoded(suffix: str, pixels: NDArray[Any]) -> bytes:
    ok, data = cv2.imencode(suffix, pixels)
    assert ok, suffix
    return np.asarray(data).tobytes()


def _deep(smooth: NDArray[np.uint8]) -> PIL.Image.Image:
    return PIL.Image.fromarray(smooth[:, :, 0].astype(np.uint16) * 257)


def _three(smooth: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.ascontiguousarray(smooth[:, :, :3]).astype(np.uint16) * 257


def _hot(data: bytes) -> Sequence[int]:
    """Where a picture's header, markers and directory lie."""
    places = list(range(min(60, len(data))))
    if data[:2] in (b"II", b"MM") and len(data) > 8:
        (at,) = struct.unpack(f"{'<' if data[:2] == b'II' else '>'}I", data[4:8])
        places += range(at, min(at + 200, len(data)))
    if data[:2] == b"\xff\xd8":
        places += [
            at + 2 for at in range(len(data) - 4) if data[at] == 0xFF and data[at + 1] >= 0xC0
        ]
    if data[:4] == b"RIFF":
        for kind in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP"):
            at = data.find(kind)
            places += range(at, at + 24) if at >= 0 else ()
    return places


@st.composite
def named_picture(draw: Draw) -> tuple[str, bytes]:
    """A file name that a user, or an attacker, may give, and content."""
    stem = draw(st.sampled_from(NAMES))
    suffix = draw(st.sampled_from((*SUFFIXES, ".JPG", ".gif", ".jpeg", ".tiff")))
    return f"{stem}{suffix}", draw(picture_bytes())


# fmt: off
NAMES = (
    "a", "b c", "-rf", "--out", "#1", "50%25", "%00", "a\nb", "a\rb",
    "\x1b]0;title\x07", "\x7f", "caf\u00e9", "\u202egnp", "\udcff\udcfe", "\U0001f600",
    "http:", "a.png.compare", "a?b", "*", "[x]", "~", "$(id)", "`id`", "x" * 240,
    "\u2028line", "file:", "...", " ", "a\tb", "\\\\host",
)
# fmt: on
