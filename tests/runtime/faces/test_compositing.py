"""Crops, and what is pasted back, stay inside the photo under every transform."""

import time
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import InvalidLandmarksError
from runtime.faces import compositing
from runtime.faces.alignment import IDENTITY, Points, of_enlarged
from runtime.faces.compositing import enlarge, extract, extract_enlarged, put_back
from runtime.images.arrays import Color, rgb_view, to_rgb

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (90, 3000, 3)).astype(np.uint8)
FACE = RNG.integers(0, 256, (512, 512, 3)).astype(np.uint8)


def crop_at(x: float, y: float, side: float, angle: float = 0.3) -> Points:
    """The transform of a crop with that centre and side in the photo."""
    scale = 512 / side
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, 255.5 - turn @ [x, y]])


@pytest.mark.parametrize(
    "matrix",
    [
        crop_at(50, 50, 7),
        crop_at(50, 50, 800),
        crop_at(50, 50, 1e-9),
        crop_at(50, 50, 1e200),
        crop_at(-20, 50, 60),
        crop_at(50, 1e300, 60),
        np.full((2, 3), np.nan),
        np.full((2, 3), np.inf),
        np.full((2, 3), 1e300),
        np.zeros((2, 3)),
        np.array([[1.0, 1, 0], [1, 1, 0]]),
        np.array([[1.0, 0, np.nan], [0, 1, 0]]),
    ],
)
def test_transforms_that_no_face_has(matrix: Points) -> None:
    photo = PHOTO.copy()
    with pytest.raises(InvalidLandmarksError, match="a photo of 3000 x 90 px"):
        extract(photo, matrix)
    with pytest.raises(InvalidLandmarksError, match="a photo of 3000 x 90 px"):
        put_back(photo, FACE, matrix, "rgb")
    assert (photo == PHOTO).all()


@pytest.mark.parametrize("side", [8.1, 700])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (3000, 90), (1500, 45), (-2, -2)])
def test_the_bounds_themselves_take_no_minutes(x: float, y: float, side: float) -> None:
    start = time.monotonic()
    crop = extract(PHOTO, crop_at(x, y, side))
    put_back(PHOTO.copy(), crop, crop_at(x, y, side), "rgb")
    assert crop.shape == (512, 512, 3)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch, dtype: type) -> None:
    def blended(band: int) -> NDArray[np.generic]:
        monkeypatch.setattr(compositing, "_BAND", band)
        photo: NDArray[np.generic] = np.tile(PHOTO[:, :500], (5, 1, 1)).astype(dtype)
        put_back(photo, FACE, crop_at(240, 230, 400), "rgb")
        return photo

    whole = blended(1 << 30)
    assert (whole != np.tile(PHOTO[:, :500], (5, 1, 1))).any()
    assert (blended(1) == whole).all()


def photos() -> dict[str, NDArray[np.generic]]:
    bgra = RNG.integers(0, 256, (120, 150, 4)).astype(np.uint8)
    kinds: dict[str, NDArray[np.generic]] = {
        "gray": bgra[:, :, 0],
        "one channel": bgra[:, :, :1],
        "colour": bgra[:, :, :3],
        "alpha": bgra,
        "16 bits": RNG.integers(0, 65536, (120, 150, 3)).astype(np.uint16),
    }
    return {kind: np.ascontiguousarray(photo) for kind, photo in kinds.items()}


PLACES = [(75, 60, 80), (75, 60, 400), (3, 5, 40), (149, 119, 60), (-5, 60, 30), (70, 2, 9)]


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("kind", photos())
def test_a_view_gives_the_crop_of_a_copy(kind: str, color: Color) -> None:
    photo = photos()[kind]
    view = rgb_view(photo, color, say_scaled=False)
    copied = to_rgb(photo, color, say_scaled=False)
    for place in PLACES:
        assert (extract(view, crop_at(*place)) == extract(copied, crop_at(*place))).all()


def test_a_crop_is_not_the_photo_itself() -> None:
    whole = extract(FACE, IDENTITY)
    assert (whole == FACE).all()
    assert not np.shares_memory(whole, FACE)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("kind", photos())
def test_a_crop_of_the_enlarged_photo(kind: str, factor: int) -> None:
    """Only what the crop sees is enlarged, and to the same pixels."""
    photo = photos()[kind]
    large = to_rgb(enlarge(photo, factor), "bgr", say_scaled=False)
    for place in PLACES:
        matrix = of_enlarged(crop_at(*place), factor)
        crop = extract_enlarged(photo, matrix, factor, "bgr")
        assert (crop == extract(large, matrix)).all()
    with pytest.raises(InvalidLandmarksError, match=f"{150 * factor} x {120 * factor} px"):
        extract_enlarged(photo, of_enlarged(crop_at(-200, 60, 30), factor), factor, "bgr")


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("kind", photos())
def test_what_is_blended(kind: str, color: Color, monkeypatch: pytest.MonkeyPatch) -> None:
    """photo + mask * (face - photo) in float32, rounded half to even."""
    before = photos()[kind]
    mask = RNG.random((512, 512)).astype(np.float32)
    mask[:100], mask[-100:] = 0, 1
    photo = np.resize(before, (512, 512, *before.shape[2:]))
    expected = photo.copy()
    colours = expected[:, :, :3] if kind in ("colour", "alpha", "16 bits") else expected
    values: NDArray[Any] = FACE.astype(np.float32) * (257 if photo.dtype == np.uint16 else 1)
    if colours.ndim == 2 or colours.shape[2] == 1:
        values = np.asarray(cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)).reshape(colours.shape)
    elif color == "bgr":
        values = values[:, :, ::-1]
    weights = mask.reshape(512, 512, *[1] * (colours.ndim - 2))
    colours[...] = np.rint(colours + weights * (values - colours)).astype(photo.dtype)
    monkeypatch.setattr(compositing, "_feather", lambda: mask)
    put_back(photo, FACE, IDENTITY, color)
    assert (photo == expected).all()
    assert (photo[:100] == np.resize(before, photo.shape)[:100]).all()
