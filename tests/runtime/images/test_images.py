import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from runtime import DmdnetWarning, InvalidImageError
from runtime.images.arrays import fit, side_by_side, to_rgb
from runtime.images.files import decode_photo, read_image, read_photo, write_image
from tests.conftest import SAMPLES, picture
from tests.runtime.images.making import chunk, png_with, saved

PIXEL = np.full((32, 32, 3), (10, 20, 30), np.uint8)


def test_channel_orders() -> None:
    assert to_rgb(PIXEL, "bgr")[0, 0].tolist() == [30, 20, 10]
    assert to_rgb(PIXEL, "rgb")[0, 0].tolist() == [10, 20, 30]


def test_gray_and_alpha() -> None:
    assert to_rgb(PIXEL[:, :, 0], "bgr")[0, 0].tolist() == [10, 10, 10]
    assert to_rgb(PIXEL[:, :, :1], "bgr").shape == (32, 32, 3)
    rgba = np.dstack([PIXEL, np.zeros((32, 32), np.uint8)])
    assert to_rgb(rgba, "rgb")[0, 0].tolist() == [10, 20, 30]


def test_16_bits_are_scaled() -> None:
    image = np.full((32, 32), 65535, np.uint16)
    image[0, 0] = 257 * 7 + 100
    with pytest.warns(DmdnetWarning, match="16-bit"):
        rgb = to_rgb(image, "bgr")
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    scaled = to_rgb(every, "bgr", say_scaled=False)[:, :, 0]
    assert (scaled == np.rint(every / 257)).all()
    assert rgb[0, 0, 0] == 7
    assert rgb[1, 1, 0] == 255


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (PIXEL.astype(np.float32), "float32"),
        (PIXEL.tolist(), "list"),
        (np.zeros((32, 32, 2), np.uint8), "channels"),
        (np.zeros((32,), np.uint8), "channels"),
        (np.zeros((1, 1, 3), np.uint8), "1 x 1"),
    ],
)
def test_wrong_images(image: object, says: str) -> None:
    with pytest.raises(InvalidImageError, match=says):
        to_rgb(image, "bgr")  # type: ignore[arg-type]


def test_wrong_color() -> None:
    with pytest.raises(InvalidImageError, match="cmyk"):
        to_rgb(PIXEL, "cmyk")  # type: ignore[arg-type]


def test_fit_averages_down_and_leaves_512_alone() -> None:
    checks = np.indices((1024, 1024)).sum(axis=0) % 2 * 200
    image = np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8)
    assert (fit(image) == 100).all()  # a cubic filter would not give the mean exactly
    assert fit(image[:512, :512]).shape == (512, 512, 3)
    assert (fit(image[:512, :512]) == image[:512, :512]).all()
    assert fit(image[:100, :100]).shape == (512, 512, 3)


def test_fit_warns_of_squeezing() -> None:
    with pytest.warns(DmdnetWarning, match="not square"):
        assert fit(np.zeros((100, 200, 3), np.uint8)).shape == (512, 512, 3)


def test_read_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidImageError, match="no such file"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(InvalidImageError, match=r"text\.png: not a picture"):
        read_image(tmp_path / "text.png")
    whole = (SAMPLES / "astronaut.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidImageError, match=r"half\.png: damaged"):
        read_image(tmp_path / "half.png")
    whole = cv2.imencode(".jpg", picture(SAMPLES / "astronaut.png"))[1].tobytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidImageError, match=r"half\.jpg: damaged"):
        read_image(tmp_path / "half.jpg")
    with pytest.raises(InvalidImageError, match="cannot be read"):
        read_image(tmp_path)


def test_16_bit_files_stay_16_bit(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((20, 20, 3), 1000, np.uint16))
    image = read_image(tmp_path / "deep.png")
    assert image.dtype == np.uint16
    assert image.max() == 1000


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    """As Pillow turns them."""
    tags = PIL.Image.Exif()
    tags[274] = orientation
    PIL.Image.fromarray(np.arange(24 * 20, dtype=np.uint16).astype(np.uint8).reshape(24, 20)).save(
        tmp_path / "x.png", exif=tags
    )
    with PIL.Image.open(tmp_path / "x.png") as picture:
        expected = np.asarray(PIL.ImageOps.exif_transpose(picture))
    photo = read_photo(tmp_path / "x.png")
    assert (photo.image == expected).all()
    assert photo.exif is not None
    write_image(tmp_path / "y.png", photo.image.astype(np.uint8), photo.exif)
    assert (read_photo(tmp_path / "y.png").image == expected).all()


def test_damaged_exif_is_left_out(tmp_path: Path) -> None:
    wrong = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    PIL.Image.new("RGB", (30, 20), "red").save(tmp_path / "x.jpg", exif=wrong)
    photo = read_photo(tmp_path / "x.jpg")
    assert photo.image.shape == (20, 30, 3)
    assert photo.exif is None
    assert photo.notes == ("its EXIF data is damaged and left out",)


def test_metadata_that_swells(tmp_path: Path) -> None:
    """Bombs and damage in what stands before and behind the pixels cost a note."""
    whole = saved(PIL.Image.new("RGB", (30, 20), "red"), "PNG")
    zeros = zlib.compress(bytes(100 << 20), 9)
    behind = whole[:-12] + chunk(b"zTXt", b"a\0\0" + zeros) + whole[-12:]
    for data in (
        png_with(whole, chunk(b"zTXt", b"a\0\0" + zeros)),
        png_with(whole, chunk(b"iTXt", b"a\0\1\0\0\0" + zeros)),
        png_with(whole, chunk(b"iCCP", b"a\0\0" + zeros)),
        behind,
    ):
        photo = decode_photo(data, "x.png")
        assert photo.notes == ("its metadata is damaged or too large, and left out",)
        assert (photo.image == (0, 0, 255)).all()
    photo = decode_photo(png_with(whole, chunk(b"eXIf", b"II*\0" + bytes(5 << 20))), "x.png")
    assert photo.notes == (
        f"its EXIF data of {6 + 4 + (5 << 20)} bytes are too long, and left out",
    )
    assert photo.exif is None


@pytest.mark.parametrize(
    "raised", [TypeError, IndexError, NotImplementedError, AttributeError, struct.error, KeyError]
)
def test_what_a_decoder_raises_names_the_picture(
    monkeypatch: pytest.MonkeyPatch, raised: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise raised("of its own")

    data = saved(PIL.Image.new("RGB", (30, 20)), "BMP")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    says = rf"a\.bmp: damaged picture: {raised.__name__}: .*of its own"
    with pytest.raises(InvalidImageError, match=says):
        decode_photo(data, "a.bmp")


def test_too_little_memory_for_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    data = saved(PIL.Image.new("RGB", (30, 20)), "JPEG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(InvalidImageError, match=r"a\.jpg: there is not enough memory"):
        decode_photo(data, "a.jpg")


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [PIL.Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / "x.gif")
    assert photo.notes == ("only the first of its frames is used",)
    assert photo.image[5, 5, :3].tolist() == [0, 0, 255]


def test_cmyk(tmp_path: Path) -> None:
    PIL.Image.new("CMYK", (30, 20), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=95)
    photo = read_photo(tmp_path / "x.jpg")
    assert "CMYK" in photo.notes[0]
    assert np.abs(photo.image[5, 5].astype(int) - (0, 0, 255)).max() < 5


def test_alpha_and_gray_are_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 20, 4), 9, np.uint8))
    cv2.imwrite(str(tmp_path / "g.png"), np.full((20, 20), 9, np.uint8))
    assert read_photo(tmp_path / "a.png").image.shape == (20, 20, 4)
    assert read_photo(tmp_path / "g.png").image.shape == (20, 20)


def test_write_is_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", PIXEL)
    assert (read_image(tmp_path / "a.png") == PIXEL).all()
    with pytest.raises(InvalidImageError, match="suffix"):
        write_image(tmp_path / "a", PIXEL)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_image(tmp_path / "a.png", PIXEL * 0)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (read_image(tmp_path / "a.png") == PIXEL).all()


def test_side_by_side() -> None:
    both = side_by_side({"before": PIXEL, "after": PIXEL * 2})
    assert both.shape == (60, 64, 3)
    assert both[40, 10].tolist() == [10, 20, 30]
    assert both[40, 40].tolist() == [20, 40, 60]
