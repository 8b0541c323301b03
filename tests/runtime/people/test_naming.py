"""Faces get the dictionary of the person who they are; what is given by hand goes before."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.dictionary import SpecificDictionary
from runtime.faces.finder import Face, Likeness
from runtime.images.arrays import Image
from runtime.people.matching import Match
from runtime.people.naming import NOBODY, Known, doubt, likeness_of, loss, name_faces
from tests.runtime.people.making import crops_of, described, face_near, known_person

ALICE, BOB = known_person(0, "alice"), known_person(1, "bob")
FACE = Face(np.zeros(4), 1.0, np.zeros((68, 2)), np.eye(2, 3))


def test_each_face_gets_its_persons_dictionary() -> None:
    crops = crops_of(face_near(1, 0.5), face_near(5, 0.1), face_near(0, 0.4))
    known = name_faces(crops, {}, [ALICE, BOB], 0.57, described)
    assert [known[index].dictionary for index in range(3)] == [BOB, None, ALICE]
    named = [known[index].named(FACE) for index in range(3)]
    assert [face.name for face in named] == ["bob", None, "alice"]
    assert named[0].distance == pytest.approx(0.5)
    assert (named[0].runner_up, named[0].threshold) == ("alice", 0.57)
    assert named[0].runner_up_distance == pytest.approx(1.5)
    assert [face.guess for face in named] == [None] * 3


def test_what_is_given_by_hand_goes_before() -> None:
    """Nor is a person who was given for one face another one."""
    crops = crops_of(face_near(0, 0.2), face_near(0, 0.5))
    known = name_faces(crops, {1: ALICE}, [ALICE, BOB], 0.57, described)
    assert (known[1].dictionary, known[1].match) == (ALICE, None)
    assert known[1].named(FACE).name == "alice"
    assert known[1].distance == pytest.approx(0.5)
    assert known[0].dictionary is None
    assert known[0].named(FACE).guess == "alice"
    assert str(doubt(0, known[0], {"alice"})).endswith("another face of this photo is that person")
    everyone = name_faces(crops, {0: BOB, 1: BOB}, [ALICE, BOB], 0.57, described)
    assert [everyone[index].dictionary for index in range(2)] == [BOB, BOB]


def test_nothing_is_described_that_nobody_asks_for() -> None:
    def never(_: Sequence[Image]) -> NDArray[np.float32]:
        raise AssertionError

    crops = crops_of(face_near(0, 0.2))
    assert name_faces(crops, {}, [], 0.57, never) == {}
    unknown = SpecificDictionary(ALICE.rows, ALICE.layout, ALICE.weights_sha256, "alice")
    known = name_faces(crops, {0: unknown}, [], 0.57, never)
    assert known[0].dictionary is unknown
    assert likeness_of(known[0], crops[0], never, None) is None
    assert name_faces({}, {}, [ALICE], 0.57, never) == {}


def test_doubts() -> None:
    def said(match: Match, *present: str) -> str | None:
        return doubt(3, Known(None, None, match.distance, match), present)

    assert said(Match(None, 0.6, "bob", 0.9, 0.57, "alice")) == (
        "face 3 may be alice (0.60), but nobody was chosen: the threshold is 0.57"
    )
    assert said(Match(None, 0.41, "bob", 0.43, 0.57, "alice")) == (
        "face 3: nobody was chosen between alice (0.41) and bob (0.43)"
    )
    assert said(Match(None, 0.6, "bob", 0.9, 0.57, "alice"), "alice") == (
        "face 3 looks like alice (0.60), but nobody was chosen: another face of this photo is that "
        "person"
    ), "another threshold would not help"
    assert said(Match(None, 0.4, "bob", 0.9, 0.57, "alice")) == (
        "face 3 looks like alice (0.40), but nobody was chosen: another face of this photo may be "
        "that person"
    )
    assert said(Match("alice", 0.4, "bob", 0.9, 0.57, None)) is None
    assert said(Match(None, 0.8, "bob", 0.9, 0.57, None)) is None
    assert doubt(3, NOBODY, ()) is None


def test_likeness_before_and_after() -> None:
    before = crops_of(face_near(0, 0.3))
    (known,) = name_faces(before, {}, [ALICE], 0.57, described).values()
    nearer, farther = crops_of(face_near(0, 0.2), face_near(0, 0.36)).values()
    better = likeness_of(known, nearer, described, "compact weights")
    worse = likeness_of(known, farther, described, None)
    assert better is not None
    assert worse is not None
    assert (better.before, better.after) == pytest.approx((0.3, 0.2))
    assert (worse.before, worse.after) == pytest.approx((0.3, 0.36))
    assert (better.remark, worse.remark) == ("compact weights", None)
    named = replace(FACE, name="alice")
    assert loss(0, replace(named, likeness=better)) is None
    assert loss(0, replace(named, likeness=worse)) == (
        "face 0 looks less like alice than before: distance 0.36 in place of 0.30"
    )
    assert str(loss(0, replace(named, likeness=Likeness(0.3, 0.36, "few words")))).endswith(
        "0.36 in place of 0.30 (few words)"
    )
    assert loss(0, replace(named, likeness=Likeness(0.3, 0.34, None))) is None
    assert loss(0, named) is None
