"""What is read at all, and what a file may make the decoders do."""

import io
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL.PngImagePlugin import PngImageFile

from runtime import InvalidImageError
from runtime.images.files import decode_photo
from tests.conftest import ROOT
from tests.runtime.images.making import deep_png, png_of, png_with, saved, tiff

RED = PIL.Image.new("RGB", (40, 30), (200, 10, 20))
NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 4)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "MPO"])
def test_the_content_says_what_it_is(kind: str) -> None:
    photo = decode_photo(saved(RED, kind), "x.exr")
    assert np.abs(photo.image[5, 5, :3].astype(int) - (20, 10, 200)).max() <= 3
    assert photo.notes == ()


@pytest.mark.parametrize(
    "kind",
    ["PPM", "JPEG2000", "AVIF", "ICO", "TGA", "PCX", "DDS", "SGI", "EPS", "DIB", "PDF"],
)
def test_other_formats_are_not_tried(kind: str) -> None:
    with pytest.raises(InvalidImageError, match=r"x\.jpg: not a picture in a known format \(PNG"):
        decode_photo(saved(RED, kind), "x.jpg")


def test_no_program_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript, by name a JPEG: Pillow would run Ghostscript."""
    started = []
    for function in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, function, lambda *words, **_: started.append(words))
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n%%EOF\n"
    for data in (script, b"\xc5\xd0\xd3\xc6" + bytes(28) + script):
        with pytest.raises(InvalidImageError, match="known format"):
            decode_photo(data, "photo.jpg")
    assert started == []


def test_what_follows_a_picture_is_no_picture() -> None:
    for tail in (b"\x76\x2f\x31\x01" * 9, b"%!PS-Adobe-3.0 EPSF-3.0\n", saved(RED, "JPEG2000")):
        for kind in ("PNG", "JPEG", "GIF"):
            assert decode_photo(saved(RED, kind) + tail, "x").image.shape[:2] == (30, 40)


def test_codecs_in_a_tiff() -> None:
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        photo = decode_photo(saved(RED, "TIFF", compression=compression), "x.tif")
        assert photo.image.shape == (30, 40, 3)
    for compression in ("lzma", "zstd"):
        with pytest.raises(InvalidImageError, match=rf"compressed as '{compression}' are not read"):
            decode_photo(saved(RED, "TIFF", compression=compression), "x.tif")


def test_a_jpeg_of_many_scans_is_refused() -> None:
    whole = saved(PIL.Image.fromarray(NOISE[:, :, :3]), "JPEG", progressive=True)
    assert decode_photo(whole, "x.jpg").image.shape == (30, 40, 3)
    last = whole.rindex(b"\xff\xda")
    slow = whole[:last] + whole[last:-2] * 300 + whole[-2:]
    with pytest.raises(InvalidImageError, match="more than 100 scans"):
        decode_photo(slow, "x.jpg")
    parts = b"\xff\xe1\0\x0cExif\0\0abcd" * 101
    with pytest.raises(InvalidImageError, match="100 parts of EXIF data"):
        decode_photo(whole[:2] + parts + whole[2:], "x.jpg")


def test_the_limit_holds_for_each_format() -> None:
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"):
        data = saved(RED, kind)
        assert decode_photo(data, "x", max_pixels=1200).image.shape[:2] == (30, 40)
        with pytest.raises(InvalidImageError, match=r"x: .*the limit of 1,199 pixels"):
            decode_photo(data, "x", max_pixels=1199)


def test_a_pixel_of_16_bits_counts_as_two() -> None:
    deep = np.zeros((30, 40, 4), np.uint16)
    files = [deep_png(deep[:, :, :channels], color) for channels, color in ((1, 0), (2, 4), (4, 6))]
    for data in (*files, tiff(deep), tiff(deep[:, :, :1])):
        assert decode_photo(data, "x", max_pixels=2400).image.dtype == np.uint16
        with pytest.raises(InvalidImageError, match="40 x 30 px of 16 bits, which count twice"):
            decode_photo(data, "x", max_pixels=2399)


def gif_of(width: int, height: int, disposal: int) -> bytes:
    gif = bytearray(saved(RED, "GIF", disposal=disposal))
    at = gif.index(b"\x2c\0\0\0\0")
    for start in (6, at + 5):
        gif[start : start + 4] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return bytes(gif)


@pytest.mark.parametrize(
    "data",
    [
        png_of(60_000, 60_000, 8, 6, b"\0" * 100),
        gif_of(65_535, 65_535, disposal=2),  # filled with its background while it is opened
        tiff(NOISE, more=[(322, 60_000), (323, 60_000), (324, 8), (325, 100)]),
    ],
)
def test_what_a_header_declares_is_not_allocated(data: bytes) -> None:
    with pytest.raises(InvalidImageError, match="pixels; raise it if you trust"):
        decode_photo(data, "x")


@pytest.mark.parametrize("kind", [1, 3, 5])
def test_tags_of_a_tiff_take_no_more_memory_than_the_file(kind: int) -> None:
    """Pillow makes an object of each number: 40 MB of offsets would become 10 GB."""
    size = {1: 1, 3: 2, 5: 8}[kind]
    whole = tiff(NOISE)
    at = whole.rindex(struct.pack("<HHII", 273, 4, 1, 16))
    offsets = struct.pack("<HHII", 273, kind, 1_100_000, len(whole))
    data = whole[:at] + offsets + whole[at + 12 :] + bytes(1_100_000 * size)
    with pytest.raises(InvalidImageError, match=r"x\.tif: its TIFF tags hold 110\d+ numbers"):
        decode_photo(data, "x.tif")


def test_exif_of_a_tiff() -> None:
    """Its tags say how the file is laid out, which is wrong in another."""
    empty_directory = 16  # in the pixels, all 0
    photo = decode_photo(tiff(NOISE * 0, more=[(34665, empty_directory)]), "x.tif")
    assert photo.exif is None
    assert photo.notes == ("EXIF data of a TIFF is left out",)


def test_limits_of_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture's limit is not another's, nor one of whoever else uses Pillow."""
    data = saved(RED.resize((3000, 2000)), "PNG")
    stop = threading.Event()
    opened = PngImageFile.__init__

    def slowly(*arguments: Any) -> None:
        stop.wait(0.05)
        opened(*arguments)

    def refuse() -> None:
        while not stop.is_set():
            with pytest.raises(InvalidImageError, match="the limit of 1 pixels"):
                decode_photo(data, "x", max_pixels=1)

    monkeypatch.setattr(PngImageFile, "__init__", slowly)
    other = threading.Thread(target=refuse)
    other.start()
    for _ in range(8):
        PIL.Image.new("RGB", (3000, 2000)).crop((0, 0, 2999, 2000))
        time.sleep(0.02)
    stop.set()
    other.join()


def test_pillow_keeps_its_own_limit() -> None:
    limit = PIL.Image.MAX_IMAGE_PIXELS
    decode_photo(saved(RED, "PNG"), "x")
    with pytest.raises(InvalidImageError):
        decode_photo(b"BM", "x")
    assert limit == PIL.Image.MAX_IMAGE_PIXELS


NOISY = """
import sys
import threading
import time
from pathlib import Path
from typing import Any
from runtime import InvalidImageError
from runtime.images.files import decode_photo
refused = 0
for file in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode_photo(file.read_bytes(), file.name)
    except InvalidImageError:
        refused += 1
print(refused)
"""


def test_decoders_do_not_chatter(tmp_path: Path) -> None:
    """On stderr, of damaged files: what is wrong is an error or a note of ours."""
    picture = PIL.Image.fromarray(NOISE[:, :, :3]).resize((200, 150))
    bad_exif = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    files = {
        "lzw.tif": saved(picture, "TIFF", compression="tiff_lzw"),
        "deflate.tif": saved(picture, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": saved(picture, "TIFF", compression="jpeg"),
        "x.png": saved(picture, "PNG"),
        "x.jpg": saved(picture, "JPEG", exif=bad_exif),
        "x.webp": saved(picture, "WEBP"),
        "x.gif": saved(picture, "GIF"),
        "deep.png": deep_png(np.zeros((99, 99, 3), np.uint16), 2),
    }
    for name, data in files.items():
        for index, at in enumerate(range(40, len(data), max(1, len(data) // 12))):
            broken = bytearray(data)
            broken[at : at + 3] = b"\xa5\x5a\xff"
            (tmp_path / f"{index}.{name}").write_bytes(broken)
            (tmp_path / f"cut{index}.{name}").write_bytes(data[:at])
    words = [sys.executable, "-c", NOISY, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    assert int(done.stdout) > 60


def test_second_pictures_are_noted_and_not_read() -> None:
    other = PIL.Image.new("RGB", (40, 30), "blue")
    for kind, parts in (
        ("TIFF", "pages"),
        ("GIF", "frames"),
        ("PNG", "frames"),
        ("WEBP", "frames"),
    ):
        data = saved(RED, kind, save_all=True, append_images=[other])
        photo = decode_photo(data, "x")
        assert photo.notes == (f"only the first of its {parts} is used",)
        assert photo.image[5, 5, 2] > 190
    # a page that is none, and one that is itself
    for page in (5_000_000, 8):
        assert decode_photo(tiff(NOISE, next_page=page), "x").notes == (
            "only the first of its pages is used",
        )
    both = saved(RED, "MPO", save_all=True, append_images=[other])
    assert PIL.Image.open(io.BytesIO(both)).format == "MPO"
    assert decode_photo(both, "x.jpg").image[5, 5, 2] > 190


def test_a_png_is_read_without_metadata_that_is_damaged() -> None:
    whole = saved(PIL.Image.fromarray(NOISE), "PNG")
    broken_text = b"\0\0\0\4tEXtoh\0nCRC!"
    photo = decode_photo(png_with(whole, broken_text), "x.png")
    assert photo.notes == ("its metadata is damaged or too large, and left out",)
    assert (photo.image == NOISE[:, :, [2, 1, 0, 3]]).all()
    with pytest.raises(InvalidImageError, match=r"x\.png: damaged picture"):
        decode_photo(png_with(whole, broken_text)[:-400], "x.png")
