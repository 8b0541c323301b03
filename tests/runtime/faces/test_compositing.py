"""Crops, and what is pasted back, stay inside the photo under every transform."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import InvalidLandmarksError
from runtime.faces import compositing
from runtime.faces.alignment import Points
from runtime.faces.compositing import extract, put_back

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
