"""What a format cannot hold is left out with a note, and the picture is written."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageCms

from runtime import InvalidImageError
from runtime.images.files import SUFFIXES, read_photo, write_image

BGRA = np.random.default_rng(0).integers(1, 256, (33, 47, 4)).astype(np.uint8)
BGR = np.ascontiguousarray(BGRA[:, :, :3])
EXIF = b"II*\0\x08\0\0\0\1\0\x0f\1\2\0\4\0\0\0abc\0\0\0\0\0"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def padded(profile: bytes, size: int) -> bytes:
    """The profile with zeros behind its tags."""
    return size.to_bytes(4, "big") + profile[4:] + bytes(size - len(profile))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_16_bits(tmp_path: Path, suffix: str) -> None:
    deep = np.full((40, 40, 3), (1000, 30000, 65535), np.uint16)
    notes = write_image(tmp_path / f"x{suffix}", deep)
    back = read_photo(tmp_path / f"x{suffix}").image
    if suffix in (".png", ".tif", ".tiff"):
        assert (back == deep).all()
        assert notes == ()
    else:
        assert np.abs(back.astype(int) - (4, 117, 255)).max() <= 2
        text = f"16 bits a channel were scaled to 8, which is all that {suffix} files hold"
        assert notes == (text,)


def test_alpha(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        notes = write_image(tmp_path / f"x{suffix}", BGRA)
        back = read_photo(tmp_path / f"x{suffix}").image
        if suffix in (".jpg", ".jpeg"):
            assert notes == (f"its alpha channel is not kept in {suffix} files",)
            assert back.shape == (33, 47, 3)
        else:
            assert notes == ()
            assert (back == BGRA).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
@pytest.mark.parametrize("image", [BGR, BGRA, np.ascontiguousarray(BGR[:20, :21])])
def test_metadata_is_kept(tmp_path: Path, suffix: str, image: NDArray[np.uint8]) -> None:
    file = tmp_path / f"x{suffix}"
    for exif, profile in ((EXIF, SRGB), (EXIF, None), (None, SRGB), (EXIF, padded(SRGB, 200_001))):
        notes = write_image(file, image, exif, profile)
        assert [note for note in notes if "alpha" not in note] == []
        photo = read_photo(file)
        assert photo.icc_profile == profile
        assert (photo.exif is None) == (exif is None)
        assert photo.exif is None or b"abc" in photo.exif
        assert photo.image.shape[:2] == image.shape[:2]
        if suffix in (".png", ".webp"):
            assert (photo.image == image).all()


BROKEN = [
    b"junk",
    SRGB[:300],
    SRGB + b"more",
    SRGB[:36] + b"nops" + SRGB[40:],
    SRGB[:128] + b"\xff\xff\xff\xff" + SRGB[132:],  # so many tags
    SRGB[:136] + b"\xff\xff\xff\0" + SRGB[140:],  # the first of them lies there
]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("profile", BROKEN)
def test_a_damaged_profile(tmp_path: Path, suffix: str, profile: bytes) -> None:
    notes = write_image(tmp_path / f"x{suffix}", BGR, EXIF, profile)
    assert notes == ("its colour profile is left out: it is damaged",)
    photo = read_photo(tmp_path / f"x{suffix}")
    assert photo.icc_profile is None
    assert photo.exif is not None
    assert photo.notes == ()


def test_a_profile_that_does_not_fit(tmp_path: Path) -> None:
    notes = write_image(tmp_path / "x.png", BGR[:, :, 0], None, SRGB)
    assert notes == ("its colour profile is left out: it is not for gray pictures",)
    notes = write_image(tmp_path / "x.jpg", BGR, None, padded(SRGB, 17_000_000))
    assert notes == ("its colour profile is left out: 17000000 bytes are too long for .jpg files",)
    notes = write_image(tmp_path / "x.png", BGR, None, padded(SRGB, 17_000_000))
    assert notes == ("its colour profile is left out: 17000000 bytes are too long for .png files",)
    assert read_photo(tmp_path / "x.png").notes == ()


def test_exif_that_does_not_fit(tmp_path: Path) -> None:
    long = EXIF + bytes(70_000)
    notes = write_image(tmp_path / "x.jpg", BGR, long, SRGB)
    assert notes == (f"its EXIF data is left out: {len(long)} bytes are too long for .jpg files",)
    assert read_photo(tmp_path / "x.jpg").icc_profile == SRGB
    for suffix in (".png", ".webp"):
        assert write_image(tmp_path / f"x{suffix}", BGR, long, SRGB) == ()
        assert read_photo(tmp_path / f"x{suffix}").exif is not None
    for suffix in (".png", ".jpg", ".webp"):
        notes = write_image(tmp_path / f"x{suffix}", BGR, b"no TIFF header", None)
        assert notes == ("its EXIF data is left out: it is damaged",)


def test_formats_without_metadata_say_so(tmp_path: Path) -> None:
    for suffix in (".bmp", ".tif", ".tiff"):
        text = f"EXIF and ICC profile are not kept in {suffix} files"
        assert write_image(tmp_path / f"x{suffix}", BGR, EXIF, None) == (text,)
        assert write_image(tmp_path / f"x{suffix}", BGR) == ()


def test_sides_that_do_not_fit(tmp_path: Path) -> None:
    wide = np.zeros((2, 70_000, 3), np.uint8)
    for suffix, longest in ((".jpg", 65_500), (".webp", 16_383)):
        with pytest.raises(InvalidImageError, match=f"70000 x 2 px do not fit .* {longest} px"):
            write_image(tmp_path / f"x{suffix}", wide)
    assert list(tmp_path.iterdir()) == []
    assert write_image(tmp_path / "x.png", wide) == ()
