"""Another scene is a cut; a camera that moves, light and noise are none."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.images.arrays import Image
from runtime.video.tracks.cuts import Watch, change, moved, thumbnail_of


def scenery(seed: int) -> Image:
    """A large picture (500, 800, 3) with as much detail as a photograph, and less in small."""
    noise = np.random.default_rng(seed)
    picture = np.full((500, 800, 3), 128.0)
    for size, strength in ((4, 40), (12, 25), (40, 15), (120, 8)):
        few = noise.normal(0, strength, (size, size * 8 // 5, 3)).astype(np.float32)
        picture += cv2.resize(few, (800, 500), interpolation=cv2.INTER_CUBIC)
    return picture.clip(0, 255).astype(np.uint8)


def view(picture: Image, x: float = 0.0, y: float = 0.0, scale: float = 1.0) -> Image:
    """A frame (360, 640, 3) of it."""
    matrix = np.array([[scale, 0, -40 - x], [0, scale, -40 - y]])
    return np.asarray(
        cv2.warpAffine(picture, matrix, (640, 360), borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def cuts(frames: list[Image]) -> list[int]:
    watch, found = Watch(), []
    for index, frame in enumerate(frames):
        cut, watch = watch.after(thumbnail_of(frame))
        if cut:
            found.append(index)
    return found


@pytest.mark.parametrize("shape", [(720, 1280), (2160, 3840), (1280, 720), (36, 64), (2, 3)])
def test_a_thumbnail_has_one_size(shape: tuple[int, int]) -> None:
    frame = np.zeros((*shape, 3), np.uint8)
    frame[:] = (10, 100, 200)
    small = thumbnail_of(frame)
    assert small.shape == (36, 64)
    assert small.dtype == np.uint8
    assert np.unique(small).tolist() == [round(0.299 * 10 + 0.587 * 100 + 0.114 * 200)]


def test_scenes_one_after_the_other() -> None:
    frames = [view(scenery(seed), 2 * index) for seed in range(4) for index in range(5)]
    assert cuts(frames) == [5, 10, 15]


def test_a_cut_to_black_and_back() -> None:
    black = np.zeros((360, 640, 3), np.uint8)
    frames = [view(scenery(1))] * 3 + [black] * 3 + [view(scenery(1))] * 3
    assert cuts(frames) == [3, 6]
    assert cuts([black] * 4) == []


def test_what_is_no_cut() -> None:
    picture = scenery(2)
    pan = [view(picture, 25 * index) for index in range(5)]
    suddenly = [view(picture)] * 4 + [view(picture, 28, 14)] * 4
    zoom = [view(picture, scale=1.03**index) for index in range(8)]
    light = [(view(picture) * share).astype(np.uint8) for share in (1, 0.6, 1, 0.3, 1)]
    noise = np.random.default_rng(9)
    grains = [noise.integers(0, 60, (360, 640, 3), np.uint8) for _ in range(4)]
    grain = [np.asarray(cv2.add(view(picture), each), np.uint8) for each in grains]
    for frames in (pan, suddenly, zoom, light, grain):
        assert cuts(frames) == []


def test_flashing_scenes_are_not_cut_for_ever() -> None:
    picture = view(scenery(1))
    assert cuts([picture, 255 - picture] * 20) == [1, 2]


def test_change_is_that_of_the_contrast() -> None:
    noise = np.random.default_rng(1)

    def random(spread: float) -> NDArray[np.uint8]:
        return noise.normal(128, spread, (36, 64)).clip(0, 255).astype(np.uint8)

    one, other = random(30), random(30)
    assert change(one, one) == pytest.approx(0, abs=1e-3)
    assert change(one, other) == pytest.approx(30, abs=2)
    assert change(one, np.roll(one, (2, -3), (0, 1))) == pytest.approx(0, abs=1e-3)
    assert moved(one, (one // 2).astype(np.uint8)) == pytest.approx(64, abs=2)
