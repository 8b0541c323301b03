"""Which frames are looked at, by their times and by what moves."""

import numpy as np

from runtime.video.tracks.looks import Looks


def looked(thumbnails: list[np.ndarray], rate: float) -> list[int]:
    looks, found = Looks(), []
    for index, thumbnail in enumerate(thumbnails):
        ahead = thumbnails[index + 1] if index + 1 < len(thumbnails) else None
        wants, looks = looks.asked(index, index / rate, thumbnail, ahead)
        if wants:
            found.append(index)
    return found


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (36, 64), np.uint8)


def test_every_third_frame_and_ten_a_second_at_least() -> None:
    same = [picture(1)] * 12
    for rate in (24, 25, 30, 50, 60, 120):
        assert looked(same, rate) == [0, 3, 6, 9, 11]
    assert looked(same, 15) == [0, 2, 4, 6, 8, 10, 11]
    assert looked(same, 10) == list(range(12))


def test_the_first_and_the_last_frame_of_a_scene() -> None:
    assert looked([picture(1)] * 6 + [picture(2)] * 7, 25) == [0, 3, 5, 6, 9, 12]
    assert looked([picture(1), picture(2), picture(3)], 25) == [0, 1, 2]


def test_a_picture_that_moves() -> None:
    ramp = np.tile(np.arange(64) * 3, (36, 1))
    slow = [(ramp + index).astype(np.uint8) for index in range(9)]
    fast = [(ramp + 5 * index).astype(np.uint8) for index in range(9)]
    faster = [(ramp + 9 * index % 60).astype(np.uint8) for index in range(6)]
    assert looked(slow, 25) == [0, 3, 6, 8]
    assert looked(fast, 25) == [0, 2, 4, 6, 8]
    assert looked(faster, 25) == list(range(6))
