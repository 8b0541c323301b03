"""Turned and mirrored pictures: upright, and parts of them back where they lie as coded."""

import numpy as np
import pytest

from runtime.video.files.pixels.orientation import Orientation, orientation_of

ONE = 1 << 16
# display matrix and what the picture [[1, 2, 3], [4, 5, 6]] looks like with it
MATRICES = {
    "upright": ((ONE, 0, 0, ONE), [[1, 2, 3], [4, 5, 6]]),
    "90 clockwise": ((0, ONE, -ONE, 0), [[4, 1], [5, 2], [6, 3]]),
    "180": ((-ONE, 0, 0, -ONE), [[6, 5, 4], [3, 2, 1]]),
    "270 clockwise": ((0, -ONE, ONE, 0), [[3, 6], [2, 5], [1, 4]]),
    "left and right": ((-ONE, 0, 0, ONE), [[3, 2, 1], [6, 5, 4]]),
    "upside down": ((ONE, 0, 0, -ONE), [[4, 5, 6], [1, 2, 3]]),
    "transposed": ((0, ONE, ONE, 0), [[1, 4], [2, 5], [3, 6]]),
    "transposed, 180": ((0, -ONE, -ONE, 0), [[6, 3], [5, 2], [4, 1]]),
}
CODED = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[:, :, None].repeat(3, axis=2)


def orientation(kind: str) -> Orientation:
    a, b, c, d = MATRICES[kind][0]
    return orientation_of(np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32))


@pytest.mark.parametrize("kind", MATRICES)
def test_pictures_become_upright(kind: str) -> None:
    _, expected = MATRICES[kind]
    turned = orientation(kind)
    upright = turned.upright(CODED)
    assert upright[:, :, 0].tolist() == expected
    assert turned.size(3, 2) == upright.shape[1::-1]


@pytest.mark.parametrize("kind", MATRICES)
def test_parts_go_back_where_they_came_from(kind: str) -> None:
    coded = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    turned = orientation(kind)
    upright = turned.upright(coded)
    size = (upright.shape[1], upright.shape[0])
    part, (x, y) = turned.coded(upright[5:12, 7:20], (7, 5), size)
    assert (part == coded[y : y + part.shape[0], x : x + part.shape[1]]).all()


def test_without_a_matrix_nothing_is_turned() -> None:
    assert orientation_of(None) == Orientation()
