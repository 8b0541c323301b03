"""Pictures of every kind as RGB, copied or shared."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.images.arrays import Color, by_cv2, rgb_view, to_rgb

RNG = np.random.default_rng(0)
BGRA = RNG.integers(0, 256, (40, 50, 4)).astype(np.uint8)
KINDS: dict[str, NDArray[np.generic]] = {
    "gray": BGRA[:, :, 0].copy(),
    "one channel": BGRA[:, :, :1].copy(),
    "colour": BGRA[:, :, :3].copy(),
    "alpha": BGRA,
    "turned": BGRA.swapaxes(0, 1)[:, ::-1, :3],
    "channels first": np.moveaxis(np.ascontiguousarray(np.moveaxis(BGRA, 2, 0)), 0, 2),
    "16 bits": RNG.integers(0, 65536, (40, 50, 3)).astype(np.uint16),
}


def expected(image: NDArray[np.generic], color: Color) -> NDArray[np.generic]:
    if image.dtype == np.uint16:
        image = np.rint(image.astype(float) / 257).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return image.reshape(*image.shape[:2], 1).repeat(3, axis=2)
    return image[:, :, [2, 1, 0] if color == "bgr" else [0, 1, 2]]


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_as_rgb(kind: str, color: Color) -> None:
    image = KINDS[kind]
    copied = to_rgb(image, color, say_scaled=False)
    view = rgb_view(image, color, say_scaled=False)
    assert (copied == expected(image, color)).all()
    assert (view == copied).all()
    assert copied.flags.c_contiguous
    assert not np.shares_memory(copied, image)
    has_alpha = image.ndim == 3 and image.shape[2] == 4
    assert np.shares_memory(view, image) == (image.dtype == np.uint8 and not has_alpha)
    assert not view.flags.writeable


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("kind", KINDS)
def test_work_on_a_view_is_work_on_a_copy(kind: str, color: Color) -> None:
    def half(image: NDArray[np.uint8]) -> NDArray[np.generic]:
        return np.asarray(cv2.resize(image, (25, 20), interpolation=cv2.INTER_AREA))

    view = rgb_view(KINDS[kind], color, say_scaled=False)
    made = by_cv2(half, view)
    assert (made == half(to_rgb(KINDS[kind], color, say_scaled=False))).all()
    assert made.flags.c_contiguous


@pytest.mark.parametrize("kind", ["gray", "one channel", "colour"])
def test_opencv_gets_the_pixels_as_they_lie(kind: str) -> None:
    """Else its binding copies them one by one, which takes longer than a search for faces."""
    seen = []

    def keep(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen.append(image)
        return image.copy()

    by_cv2(keep, rgb_view(KINDS[kind], "bgr"))
    assert np.shares_memory(seen[0], KINDS[kind])
    assert seen[0].flags.c_contiguous
