"""Identity and landmark distance: nothing for the same picture, more the worse it gets."""

import cv2
import numpy as np
import pytest

from calibration.degradation import Recipe, worsened
from calibration.likeness import LikenessNetworks, caveat
from runtime.bundle.weights import TRAINED_FOR
from runtime.images.arrays import Image
from runtime.restorer import Restorer
from runtime.samples.faces import samples


@pytest.fixture(scope="module")
def judge() -> LikenessNetworks:
    return LikenessNetworks()


@pytest.fixture(scope="module")
def face() -> Image:
    return samples()[0].rgb


def test_the_same_picture_is_no_distance_away(judge: LikenessNetworks, face: Image) -> None:
    found = judge.likeness(face, judge.features(face))
    assert (found.identity, found.landmarks_px) == (0.0, 0.0)


def test_the_worse_the_farther(judge: LikenessNetworks, face: Image) -> None:
    clean = judge.features(face)
    recipes = [Recipe(times, 2.75, 6, 67) for times in (2, 6, 16)]
    worse = [worsened(face, each, np.random.default_rng(0)) for each in recipes]
    mild, bad, worst = (judge.likeness(each, clean) for each in worse)
    assert 0.05 < mild.identity < bad.identity < worst.identity < 1.1
    assert 0.2 < mild.landmarks_px < worst.landmarks_px < 60


def test_two_people_are_far_apart(judge: LikenessNetworks, face: Image) -> None:
    other = samples()[1].rgb
    assert judge.likeness(other, judge.features(face)).identity > 0.63


def test_features_that_moved_by_known_pixels(judge: LikenessNetworks, face: Image) -> None:
    """A face that was moved by 6 px of 512, 3 to the side and 5.2 down."""
    moved = cv2.warpAffine(
        face, np.array([[1, 0, 3], [0, 1, 5.2]]), (512, 512), borderMode=cv2.BORDER_REPLICATE
    )
    found = judge.likeness(np.asarray(moved, np.uint8), judge.features(face))
    assert found.landmarks_px == pytest.approx(6.0, abs=1.5)
    assert found.identity < 0.25


def test_the_caveat_is_of_compact_weights(restorer: Restorer) -> None:
    assert caveat([restorer.manifest]) == TRAINED_FOR
    assert caveat([]) is None
