"""Whole photos of known people and strangers, by the faces that cannot be published."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import Restorer
from tests.conftest import Face, picture

PEOPLE = ("00005", "00121")
ENROLLED = 5  # references of each; the photo has another one

pytestmark = pytest.mark.shared


def square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An aligned face, 400 px wide."""
    return np.asarray(cv2.resize(image, (400, 400), interpolation=cv2.INTER_AREA), np.uint8)


def test_two_known_people_and_two_strangers(
    restorer: Restorer, shared: Path, faces: list[Face]
) -> None:
    """Right dictionaries, and the result is that of `identities=` by hand, byte for byte."""
    people, shown = [], {}
    for name in PEOPLE:
        files = sorted((shared / "faces" / "references" / name).iterdir())
        references = [picture(file) for file in files[:ENROLLED]]
        people.append(restorer.memorize(references, name=name))
        assert len(people[-1].vectors)
        shown[name] = picture(files[ENROLLED])
    stranger = picture(shared / "faces" / "real" / "0001.png")
    row = [shown[PEOPLE[0]], stranger, shown[PEOPLE[1]], faces[1][0]]
    photo = np.hstack([square(image) for image in row])

    result = restorer.restore(photo, people=people)
    order = sorted(range(len(result.faces)), key=lambda index: result.faces[index].box[0])
    assert [result.faces[index].name for index in order] == [PEOPLE[0], None, PEOPLE[1], None]
    by_hand = {order[0]: people[0], order[2]: people[1]}
    assert (restorer.restore(photo, identities=by_hand).image == result.image).all()
    assert (restorer.restore(photo).image != result.image).any()
    likeness = [result.faces[index].likeness for index in order]
    assert [each is None for each in likeness] == [False, True, False, True]
    assert all(each.before <= 0.57 and each.remark for each in likeness if each is not None)
