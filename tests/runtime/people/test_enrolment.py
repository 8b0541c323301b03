"""Which references are doubted, and what enrolling stores of a person."""

import warnings

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import DictionaryError, DmdnetWarning, Restorer
from runtime.people.enrolment import doubts
from runtime.people.matching import THRESHOLD
from tests.conftest import Face

NAMES = ["a.png", "b.png", "c.png", "d.png", "e.png"]


def people(*places: float) -> NDArray[np.float32]:
    """Vectors so far along a line from the first."""
    vectors = np.zeros((len(places), 128), np.float32)
    vectors[:, 5] = places
    return vectors


def blurred(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_references_that_look_alike_are_not_doubted() -> None:
    assert doubts(people(0, 0.3, 0.1, 0.2, 0.4), range(5), NAMES) == []
    assert doubts(people(0), [0], NAMES[:1]) == []
    assert doubts(people(0, THRESHOLD - 1e-3), [0, 1], NAMES[:2]) == []


def test_somebody_else_among_the_references_is_named_alone() -> None:
    """Though the others, too, are over the threshold while the stranger is among them."""
    (line,) = doubts(people(0, 0.9, 0.1), range(3), NAMES[:3])
    assert line.startswith("b.png: does not look like the others (distance 0.85, over 0.57)")
    two = doubts(people(0, 0.9, 0.1, 0.05, -1.2), range(5), NAMES)
    assert [line[:5] for line in two] == ["e.png", "b.png"]


def test_of_two_that_differ_it_is_not_known_which_is_wrong() -> None:
    (line,) = doubts(people(0, 0.6), [0, 2], NAMES[:3])[1:]
    assert line.startswith("a.png and c.png do not look alike (distance 0.60, over 0.57)")


def test_blurred_references_are_named() -> None:
    lines = doubts(people(0, 0.1), [1, 2], NAMES[:4])
    assert [line[:18] for line in lines] == ["a.png: too blurred", "d.png: too blurred"]
    lines = doubts(people(), [], NAMES[:2])
    assert len(lines) == 3
    assert lines[2].startswith("no reference is sharp")


def test_memorize_stores_who_a_person_is(restorer: Restorer, faces: list[Face]) -> None:
    """One vector a sharp reference; the blurred one stays, and a stranger is named."""
    (face, points), (other, others_points) = faces
    darker = np.asarray(cv2.convertScaleAbs(face, alpha=0.8), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alice = restorer.memorize([face, darker], [points, points], name="Alice")
    assert (alice.name, alice.vector_rows) == ("Alice", (0, 1))
    assert alice.vectors[0, 0] == pytest.approx(-0.0813, abs=3e-3)
    assert np.linalg.norm(alice.vectors[0] - alice.vectors[1]) < 0.1

    rgb = np.ascontiguousarray(face[:, :, ::-1])
    again = restorer.memorize([rgb], [points], color="rgb", name="Alice")
    assert (again.vectors[0] == alice.vectors[0]).all()

    with pytest.warns(DmdnetWarning) as heard:
        mixed = restorer.memorize(
            [face, blurred(face), other, darker], [points, points, others_points, points]
        )
    said = [str(each.message) for each in heard]
    assert [line[:22] for line in said] == ["reference 1: too blurr", "reference 2: does not "]
    assert (len(mixed), mixed.vector_rows) == (4, (0, 2, 3))
    assert (mixed.vectors[0] == alice.vectors[0]).all()


def test_memorize_without_recognition(restorer: Restorer, faces: list[Face]) -> None:
    face, points = faces[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alice = restorer.memorize([blurred(face)], [points], name="Alice", recognition=False)
    assert (alice.name, alice.vectors.shape, len(alice)) == ("Alice", (0, 128), 1)
    with pytest.warns(DmdnetWarning, match="no reference is sharp"):
        assert len(restorer.memorize([blurred(face)], [points]).vectors) == 0
    with pytest.raises(DictionaryError, match="one line of 255 characters"):
        restorer.memorize([face], [points], name="two\nlines")


def test_left_out_references_do_not_shift_the_numbers(
    restorer: Restorer, faces: list[Face]
) -> None:
    face, points = faces[0]
    bad = np.zeros((4, 4, 3), np.uint8)
    with pytest.warns(DmdnetWarning) as heard:
        alice = restorer.memorize(
            [bad, blurred(face), face], [points, points, points], skip_bad=True
        )
    said = [str(each.message) for each in heard]
    assert said[0].startswith("left out: reference 0: ")
    assert said[1].startswith("reference 1: too blurred")
    assert (len(alice), alice.vector_rows) == (2, (1,))
