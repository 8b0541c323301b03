"""People without names from vectors made for it: who founds a group, joins it, or stays alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.faces.alignment import IDENTITY, TEMPLATE
from runtime.faces.finder import Face
from runtime.groups.grouping import MOST_REFERENCES, grouped, references
from runtime.groups.reading import FoundFace, turned

SHARP, SOFT = 25.0, 36.0  # dB


def vector(person: int, apart: float = 0.0, way: int = 0) -> NDArray[np.float32]:
    """1 away from all other people's, and `apart` from the person's own in the direction `way`."""
    made = np.zeros(128, np.float32)
    made[person], made[64 + way] = np.sqrt(0.5), apart
    return made


def face(
    photo: str, numbers: NDArray[np.float32], blur: float = SHARP, off: float = 0.0
) -> FoundFace:
    place = Face(np.zeros(4), 0.9, np.zeros((68, 2)), IDENTITY)
    return FoundFace(photo, 0, place, numbers, blur, off, b"")


def test_people_are_ordered_by_their_faces() -> None:
    faces = [face(f"{n}", vector(person)) for n, person in enumerate([0, 1, 1, 2, 1, 0])]
    found = grouped(faces)
    assert [(each.name, each.faces) for each in found.people] == [
        ("person-001", (1, 2, 4)),
        ("person-002", (0, 5)),
    ]
    assert (found.alone, found.blurred) == ((3,), ())
    assert found.people[0].maybe == ()


def test_a_blurred_face_founds_no_group_and_joins_the_sharp_ones() -> None:
    faces = [
        face("a", vector(0)),
        face("b", vector(0, 0.5), SOFT),  # joins: 0.5 away
        face("c", vector(1), SOFT),  # these two are equal, and nobody's
        face("d", vector(1), SOFT),
        face("e", vector(0, 0.6), SOFT),  # beyond the threshold of 0.57
    ]
    found = grouped(faces)
    assert [each.faces for each in found.people] == [(0, 1)]
    assert found.people[0].references == (0,)
    assert (found.alone, found.blurred) == ((), (2, 3, 4))


def test_a_blurred_face_between_two_people_joins_neither() -> None:
    between = np.asarray((vector(0) + vector(1)) / 2, np.float32)  # 0.5 from both
    faces = [face("a", vector(0)), face("b", vector(1)), face("c", between, SOFT)]
    found = grouped(faces)
    assert (found.people, found.alone, found.blurred) == ((), (0, 1), (2,))


def test_nobody_is_twice_in_a_photo() -> None:
    """Neither by founding a group nor by joining it."""
    twins = [face("a", vector(0)), face("a", vector(0, 0.1)), face("b", vector(0))]
    found = grouped([*twins, face("b", vector(0), SOFT)])
    assert [each.faces for each in found.people] == [(0, 2)]
    assert (found.alone, found.blurred) == ((1,), (3,))


def test_who_may_be_one_person_is_said() -> None:
    """Two groups 0.6 apart; of two that stand beside each other in a photo it is not said."""
    near = [face("a", vector(0)), face("b", vector(0)), face("c", vector(0, 0.6))]
    found = grouped([*near, face("d", vector(0, 0.6))])
    assert [each.maybe for each in found.people] == [("person-002",), ("person-001",)]
    together = grouped([*near, face("a", vector(0, 0.6))])
    assert [each.maybe for each in together.people] == [(), ()]


def test_references_are_frontal_and_of_different_moments() -> None:
    faces = [
        face("a", vector(0, 0.25, way), off=off) for way, off in enumerate((9.0, 3, 8, 2, 7, 6, 5))
    ]
    order = (3, 1, 6, 5, 4)
    assert len(order) == MOST_REFERENCES
    assert references(faces, range(7)) == order
    faces.append(face("again", vector(0, 0.26, 3), off=1.0))  # the moment of 3, and more frontal
    assert references(faces, range(8)) == (7, *order[1:])


@pytest.mark.parametrize("count", [0, 1])
def test_few_faces(count: int) -> None:
    found = grouped([face("a", vector(0))] * count)
    assert (found.people, found.alone, found.blurred) == ((), tuple(range(count)), ())


def test_how_far_a_face_is_turned() -> None:
    landmarks = np.zeros((68, 2))
    for points, place in zip(
        ([*range(36, 42)], [*range(42, 48)], [30], [48], [54]), TEMPLATE, strict=True
    ):
        landmarks[points] = place
    assert turned(landmarks, IDENTITY) == pytest.approx(0)
    landmarks[30] += (30, 40)  # the nose of a face that looks aside
    assert turned(landmarks, IDENTITY) == pytest.approx(10)
