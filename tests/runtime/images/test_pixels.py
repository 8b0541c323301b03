"""Every kind of pixels comes out as cv2 users expect it."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import PIL.Image
import pytest

from runtime import InvalidImageError
from runtime.images.files import decode_photo
from tests.conftest import ROOT
from tests.runtime.images.making import chunk, deep_png, png_with, saved, tiff

RNG = np.random.default_rng(0)
RGBA = RNG.integers(0, 256, (33, 47, 4)).astype(np.uint8)
BGRA = RGBA[:, :, [2, 1, 0, 3]]
DEEP = RNG.integers(0, 65536, (33, 47, 4)).astype(np.uint16)


def test_16_bits_of_a_png() -> None:
    rgba = decode_photo(deep_png(DEEP, 6), "x")
    assert (rgba.image == DEEP[:, :, [2, 1, 0, 3]]).all()
    rgb = decode_photo(deep_png(DEEP[:, :, :3], 2), "x")
    assert (rgb.image == DEEP[:, :, [2, 1, 0]]).all()
    gray = decode_photo(deep_png(DEEP[:, :, :1], 0), "x")
    assert (gray.image == DEEP[:, :, 0]).all()
    with_alpha = decode_photo(deep_png(DEEP[:, :, :2], 4), "x")
    assert (with_alpha.image == DEEP[:, :, [0, 0, 0, 1]]).all()
    assert rgba.notes == rgb.notes == gray.notes == with_alpha.notes == ()


@pytest.mark.parametrize("order", "<>")
def test_16_bits_of_a_tiff(order: Literal["<", ">"]) -> None:
    associated = tiff(DEEP, order, more=[(338, 1)])
    for data in (tiff(DEEP, order), tiff(DEEP, order, more=[(338, 2)]), associated):
        assert (decode_photo(data, "x").image == DEEP[:, :, [2, 1, 0, 3]]).all()
    assert (decode_photo(tiff(DEEP[:, :, :3], order), "x").image == DEEP[:, :, [2, 1, 0]]).all()
    assert (decode_photo(tiff(DEEP[:, :, :1], order), "x").image == DEEP[:, :, 0]).all()
    unknown = decode_photo(tiff(DEEP, order, more=[(338, 0)]), "x")
    assert (unknown.image == DEEP[:, :, [2, 1, 0]]).all()
    assert unknown.notes == ("a channel of unknown meaning is left out",)
    with pytest.raises(InvalidImageError, match="16 bits in separate planes are not read"):
        decode_photo(tiff(DEEP[:, :, :3], order, more=[(284, 2)]), "x")


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_16_bits_of_a_compressed_tiff(compression: int) -> None:
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    for pixels in (DEEP, DEEP[:, :, :3], DEEP[:, :, 0]):
        data = cv2.imencode(".tif", np.ascontiguousarray(pixels), options)[1].tobytes()
        assert (decode_photo(data, "x").image == pixels).all()


def test_alpha_stays() -> None:
    """That of gray pictures and of palettes, too; and a TIFF's colours are not darkened by it."""
    gray = np.stack([RGBA[:, :, 0], RGBA[:, :, 3]], axis=2)
    for kind in ("PNG", "TIFF"):
        photo = decode_photo(saved(PIL.Image.fromarray(gray, "LA"), kind), "x")
        assert (photo.image == gray[:, :, [0, 0, 0, 1]]).all()
        photo = decode_photo(saved(PIL.Image.fromarray(RGBA), kind), "x")
        assert (photo.image == BGRA).all()
    palette = PIL.Image.fromarray(RGBA[:, :, :3]).quantize(200)
    alpha = bytes(range(200))
    photo = decode_photo(saved(palette, "PNG", transparency=alpha), "x")
    assert (photo.image[:, :, 3] == np.asarray(palette)).all()
    colour = RGBA[0, 0, :3]
    with_colour = PIL.Image.fromarray(RGBA[:, :, :3])
    photo = decode_photo(saved(with_colour, "PNG", transparency=tuple(map(int, colour))), "x")
    is_clear = (RGBA[:, :, :3] == colour).all(axis=2)
    assert (photo.image[:, :, 3] == np.where(is_clear, 0, 255)).all()


def test_colours_that_are_turned_into_rgb() -> None:
    smooth = cv2.resize(RGBA[:5, :5, :3], (47, 33), interpolation=cv2.INTER_CUBIC)
    picture = PIL.Image.fromarray(smooth)
    for mode, error in (("CMYK", 0), ("LAB", 5)):
        photo = decode_photo(saved(picture.convert(mode), "TIFF", icc_profile=b"it"), "x")
        assert np.abs(photo.image.astype(int) - smooth[:, :, ::-1]).mean() <= error
        assert photo.icc_profile is None
        assert photo.notes == (
            f"{mode} was turned into RGB; its colour profile does not fit any more",
        )


@pytest.mark.parametrize("mode", ["F", "I"])
def test_floats_are_refused(mode: str) -> None:
    data = saved(PIL.Image.new(mode, (40, 30)), "TIFF")
    with pytest.raises(InvalidImageError, match=f"pixels of the kind {mode} are not supported"):
        decode_photo(data, "x")


def test_gray_of_few_bits() -> None:
    black_and_white = PIL.Image.fromarray(RGBA[:, :, 0]).convert("1")
    expected = np.asarray(black_and_white) * np.uint8(255)
    for kind, options in (("PNG", {}), ("BMP", {}), ("TIFF", {"compression": "group4"})):
        photo = decode_photo(saved(black_and_white, kind, **options), "x")
        assert (photo.image.reshape(33, 47, -1) == expected[:, :, None]).all(), kind
    transparent = decode_photo(saved(black_and_white, "PNG", transparency=0), "x")
    assert transparent.notes == ("its transparent colour is left out",)


def test_a_bitmap_of_16_bits_a_pixel_is_not_deep() -> None:
    header = b"BM" + bytes(8) + (54).to_bytes(4, "little")
    header += b"".join(
        value.to_bytes(size, "little")
        for value, size in ((40, 4), (4, 4), (2, 4), (1, 2), (16, 2), (0, 4), (0, 4))
    ) + bytes(16)
    photo = decode_photo(header + (31 << 10).to_bytes(2, "little") * 8, "x.bmp")
    assert photo.image.dtype == np.uint8
    assert (photo.image == (0, 0, 255)).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_tiff_is_turned_once(turn: int) -> None:
    """Pillow does it while it decodes, for compressed and plain ones."""
    expected = decode_photo(png_turned(turn), "x").image
    for options in ({}, {"compression": "tiff_lzw"}):
        data = saved(PIL.Image.fromarray(RGBA), "TIFF", exif=orientation(turn), **options)
        assert (decode_photo(data, "x").image == expected).all()
    deep = decode_photo(tiff(RGBA.astype(np.uint16) * 257, more=[(274, turn)]), "x").image
    assert (deep == expected.astype(np.uint16) * 257).all()


def orientation(turn: int) -> PIL.Image.Exif:
    tags = PIL.Image.Exif()
    tags[274] = turn
    return tags


def png_turned(turn: int) -> bytes:
    return saved(PIL.Image.fromarray(RGBA), "PNG", exif=orientation(turn))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["gray", "BGR", "BGRA", "16 bits", "deep gray"])
def test_every_kind_of_pixels_is_turned(kind: str, turn: int) -> None:
    """As EXIF has it: 2 to 4 mirror and turn, 5 to 8 do it after rows became columns."""
    deep = DEEP if "16" in kind or "deep" in kind else BGRA
    pixels = deep[:, :, 0] if "gray" in kind else deep[:, :, : len(kind) if kind[0] == "B" else 3]
    data = turned(cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes(), turn)
    expected = pixels.swapaxes(0, 1) if turn > 4 else pixels
    expected = expected[:, ::-1] if turn in (2, 3, 6, 7) else expected
    expected = expected[::-1] if turn in (3, 4, 7, 8) else expected
    photo = decode_photo(data, "x")
    assert photo.image.dtype == pixels.dtype
    assert photo.image.shape == expected.shape
    assert (photo.image == expected).all()
    assert photo.image.flags.c_contiguous


def whole_files() -> dict[str, bytes]:
    smooth = cv2.resize(RGBA[:5, :6], (47, 33), interpolation=cv2.INTER_CUBIC)
    rgba, rgb = PIL.Image.fromarray(smooth), PIL.Image.fromarray(smooth[:, :, :3])
    return {
        "PNG": saved(rgb, "PNG"),
        "PNG with alpha": saved(rgba, "PNG"),
        "gray PNG": saved(rgb.convert("L"), "PNG"),
        "16-bit PNG": deep_png(DEEP[:, :, :3], 2),
        "palette PNG": saved(rgb.quantize(99), "PNG"),
        "JPEG": saved(rgb, "JPEG"),
        "gray JPEG": saved(rgb.convert("L"), "JPEG"),
        "CMYK JPEG": saved(rgb.convert("CMYK"), "JPEG"),
        "progressive JPEG": saved(rgb, "JPEG", progressive=True, subsampling=0),
        "turned JPEG": saved(rgb, "JPEG", exif=orientation(6)),
        "BMP": saved(rgb, "BMP"),
        "WebP": saved(rgb, "WEBP", lossless=True),
        "TIFF": saved(rgb, "TIFF"),
        "LZW TIFF": saved(rgb, "TIFF", compression="tiff_lzw"),
        "GIF": saved(rgb.quantize(99), "GIF"),
    }


@pytest.mark.parametrize("kind", whole_files())
def test_a_truncated_picture_is_an_error_wherever_it_ends(kind: str) -> None:
    """Also before its first pixel, but not in check sums, padding and marks of the end."""
    whole = whole_files()[kind]
    assert decode_photo(whole, "x").image.shape[0] in (33, 47)
    ends = {"PNG": 22, "BMP": 3, "JPEG": 2, "GIF": 2}
    most = len(whole) - next((ends[each] for each in ends if each in kind), 0)
    for end in {*range(0, most, 1 + most // 400), *range(most - 40, most)}:
        with pytest.raises(InvalidImageError):
            decode_photo(whole[:end], "x")


def test_the_first_frame_of_an_animated_png() -> None:
    first, second = (PIL.Image.fromarray(RGBA[:, ::step]) for step in (1, -1))
    for more in ({}, {"blend": 1}, {"default_image": True}):
        data = saved(first, "PNG", save_all=True, append_images=[second], **more)
        assert (decode_photo(data, "x").image == BGRA).all()


PEAK = """
import sys
from pathlib import Path
from typing import Literal
from PIL import ImageCms
from runtime.images.files import decode_photo


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


data = Path(sys.argv[1]).read_bytes()
before = peak()
photo = decode_photo(data, "x")
print((peak() - before) / (photo.image.shape[0] * photo.image.shape[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("16-bit PNG", 8, 14),
        ("turned 16-bit PNG", 8, 18),
        ("PNG", 4, 10),
        ("gray PNG", 1, 1.7),  # not twice: Pillow decodes into the array that is returned
        ("JPEG", 3, 8),
        ("progressive JPEG", 3, 12),
        ("WebP", 3, 18),
    ],
)
def test_bytes_of_memory_a_pixel(tmp_path: Path, kind: str, least: float, most: float) -> None:
    """What `decode_photo` promises: 16 a pixel, 24 of 16 bits; in a process of its own."""
    flat = PIL.Image.new("RGBA", (4000, 3000), (9, 99, 200, 255))
    deep = np.full((3000, 4000, 4), 2000, np.uint16)
    data = {
        "16-bit PNG": lambda: cv2.imencode(".png", deep)[1].tobytes(),
        "turned 16-bit PNG": lambda: turned(cv2.imencode(".png", deep)[1].tobytes()),
        "PNG": lambda: saved(flat, "PNG", compress_level=1),
        "gray PNG": lambda: saved(flat.convert("L"), "PNG", compress_level=1),
        "JPEG": lambda: saved(flat.convert("RGB"), "JPEG"),
        "progressive JPEG": lambda: saved(
            flat.convert("RGB"), "JPEG", progressive=True, subsampling=0
        ),
        "WebP": lambda: saved(flat, "WEBP", lossless=True, method=0),
    }[kind]()
    (tmp_path / "x").write_bytes(data)
    assert len(data) < 1_000_000
    words = [sys.executable, "-c", PEAK, str(tmp_path / "x")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    assert 0.95 * least < float(done.stdout) < most


def turned(png: bytes, turn: int = 6) -> bytes:
    with PIL.Image.open(io.BytesIO(png_turned(turn))) as small:
        exif = small.info["exif"].removeprefix(b"Exif\0\0")
    return png_with(png, chunk(b"eXIf", exif))
