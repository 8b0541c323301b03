"""Strength, and people in whole photos: what is found, cut, likened and pasted."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.dictionary import SpecificDictionary
from runtime.faces.alignment import TEMPLATE, five_points, similarity
from runtime.faces.finder import Face, FaceFinder
from runtime.images.arrays import Image
from runtime.options import RestoreOptions
from runtime.photo import Found, find_and_crop, liken, paste, take_aligned
from runtime.samples.faces import samples
from tests.runtime.people.making import face_near, known_person

POINTS = next(iter(samples())).landmarks
ALICE, BOB = known_person(0, "alice"), known_person(1, "bob")
WHITE = np.full((512, 512, 3), 255, np.uint8)
PHOTO = np.full((400, 900, 3), 100, np.uint8)


class TwoFaces:
    """A finder that knows of two faces of 100 px, beside each other."""

    def find(self, _: Image) -> list[Face]:
        return [self._at(x) for x in (200, 700)]

    def _at(self, x: float) -> Face:
        points = (POINTS - 256) / 3 + (x, 200)
        matrix = similarity(five_points(points), TEMPLATE)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        return Face(box, 1.0, points, matrix)

    def landmarks(self, _: Image) -> NDArray[np.float64]:
        return POINTS


FINDER = cast(FaceFinder, TwoFaces())


def bob_and_alice(crops: Sequence[Image]) -> NDArray[np.float32]:
    """Two crops are Bob and Alice; one is what the network made, and a little farther off."""
    near = [face_near(1, 0.3), face_near(0, 0.4)] if len(crops) == 2 else [face_near(0, 0.5)]
    return np.stack(near)


def find(
    options: RestoreOptions, identities: Mapping[int, SpecificDictionary] | None = None
) -> Found:
    return find_and_crop(PHOTO, FINDER, None, identities or {}, options, bob_and_alice)


def test_faces_get_the_dictionaries_of_their_people() -> None:
    found = find(RestoreOptions(people=[ALICE, BOB]))
    assert [cut.known.dictionary for cut in found.cuts] == [BOB, ALICE]
    assert [face.name for face in found.faces] == ["bob", "alice"]
    assert "recognize" in found.seconds
    assert "recognize" not in find(RestoreOptions()).seconds
    by_hand = find(RestoreOptions(people=[ALICE, BOB]), {0: ALICE})
    assert [cut.known.dictionary for cut in by_hand.cuts] == [ALICE, None]
    assert "face 1 looks like alice" in by_hand.notes[0]


def test_a_face_that_is_not_restored_may_be_somebody() -> None:
    """It keeps another from being taken for that person, and the report names it."""
    found = find(RestoreOptions(people=[ALICE, BOB], only=1))
    assert [cut.known.dictionary for cut in found.cuts] == [ALICE]
    assert [face.name for face in found.faces] == ["bob", "alice"]


def test_likeness_before_and_after() -> None:
    found = find(RestoreOptions(people=[ALICE]))
    after = liken(found, [WHITE, WHITE], bob_and_alice, "compact weights")
    assert after.faces[0].likeness is None
    likeness = after.faces[1].likeness
    assert likeness is not None
    assert (likeness.before, likeness.after) == pytest.approx((0.4, 0.5))
    assert likeness.remark == "compact weights"
    assert "face 1 looks less like alice than before" in after.notes[-1]
    assert "likeness" in after.seconds
    assert found.faces[1].likeness is None, "what was found stays as it was"


def test_likeness_is_of_what_is_in_the_result() -> None:
    seen: list[Image] = []

    def watching(crops: Sequence[Image]) -> NDArray[np.float32]:
        seen.extend(crops)
        return bob_and_alice(crops)

    found = find(RestoreOptions(people=[ALICE], strength=0.5))
    liken(found, [WHITE, WHITE], watching, None)
    assert len(seen) == 1
    assert abs(float(seen[0].mean()) - (255 + found.cuts[1].crop.image.mean()) / 2) < 1


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_blends_the_face_with_the_photo(strength: float) -> None:
    found = find(RestoreOptions(strength=strength))
    result = paste(found, [WHITE, WHITE], 0.0).image
    middles = result[200, [200, 700]]
    assert np.abs(middles - (100 + 155 * strength)).max() <= 1
    whole = paste(find(RestoreOptions()), [WHITE, WHITE], 0.0).image
    changed = whole.astype(float) - PHOTO
    assert np.abs(result - (PHOTO + strength * changed)).max() <= 1
    if strength in (0, 1):
        np.testing.assert_array_equal(result, PHOTO if strength == 0 else whole)


def test_strength_of_single_faces() -> None:
    found = find(RestoreOptions(strength={1: 0, 7: 0.5}))
    result = paste(found, [WHITE, WHITE], 0.0).image
    assert (result[200, 200] == 255).all()
    np.testing.assert_array_equal(result[:, 500:], PHOTO[:, 500:])
    assert found.notes == ("strengths for faces that were not found: [7]",)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_aligned_faces_too(color: str) -> None:
    picture = np.zeros((512, 512, 3), np.uint8)
    options = RestoreOptions(color=color, people=[ALICE], strength=0.2)  # type: ignore[arg-type]

    def alice(crops: Sequence[Image]) -> NDArray[np.float32]:
        return np.stack([face_near(0, 0.3)] * len(crops))

    found = take_aligned(picture, POINTS, FINDER, None, options, alice)
    assert (found.faces[0].name, found.cuts[0].known.dictionary) == ("alice", ALICE)
    after = liken(found, [WHITE], alice, None)
    assert after.faces[0].likeness is not None
    assert (paste(after, [WHITE], 0.0).image == 51).all()
    by_hand = take_aligned(picture, POINTS, FINDER, BOB, options, alice)
    assert by_hand.cuts[0].known.dictionary is BOB
