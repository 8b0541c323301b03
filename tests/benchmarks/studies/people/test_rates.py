"""Counting who faces are taken for, by vectors made for it."""

import numpy as np

from benchmarks.studies.people.rates import Clean, Rates, Seen, known, names, rates, shortfalls

IMAGE = np.zeros((1, 1, 3), np.uint8)


def vector(person: int, apart: float = 0.0) -> np.ndarray:
    """1 away from all other people's, and `apart` from the person's own."""
    made = np.zeros(128, np.float32)
    made[person], made[64] = np.sqrt(0.5), apart
    return made


def clean(name: str, person: str | None, number: int, sharp: bool = True) -> Clean:
    return Clean(name, person, IMAGE, vector(number), sharp)


FACES = [
    clean("a0", "alice", 0),
    clean("a1", "alice", 0),
    clean("a2", "alice", 5, sharp=False),  # would spoil alice's mean
    clean("b0", "bob", 1),
    clean("b1", "bob", 1),
    clean("x", None, 2),
]


def test_a_face_is_not_asked_for_with_itself() -> None:
    assert names(FACES) == ["alice", "bob"]
    lone = [clean("a", "alice", 0), clean("b", "bob", 1)]
    assert [each.name for each in known(lone, lone[0])] == ["bob"]
    assert [each.name for each in known(FACES, FACES[3], left_out="alice")] == ["bob"]


def test_blurred_photographs_are_no_references() -> None:
    alice, _ = known(FACES, FACES[5])
    assert np.allclose(alice.mean, vector(0))
    assert alice.spread < 1e-6


def test_rates() -> None:
    seen = [
        Seen(FACES[0], vector(0, 0.3), 33.0),  # right
        Seen(FACES[1], vector(1, 0.3), 33.0),  # taken for bob
        Seen(FACES[3], vector(1, 0.6), 33.0),  # too far
        Seen(FACES[5], vector(0, 0.2), 33.0),  # a stranger who is taken for alice
    ]
    found = rates("x8", seen, FACES, 5, 6)
    assert found == Rates("x8", 5, 3, 1, 1, 6, 4, 2)


def test_goals() -> None:
    good = [
        Rates("clean", 26, 26, 26, 0, 30, 30, 0),
        Rates("x4", 100, 100, 99, 0, 100, 100, 0),
        Rates("x8", 100, 100, 92, 0, 100, 100, 0),
        Rates("x12", 100, 90, 10, 0, 100, 100, 2),
    ]
    assert shortfalls(good) == []
    bad = [
        Rates("x4", 100, 100, 98, 1, 100, 100, 1),
        Rates("x16", 100, 90, 10, 0, 100, 100, 3),
    ]
    assert shortfalls(bad) == [
        "x4: 1 of 100 are somebody else",
        "x4: 98 of 100 right, under 99%",
        "x4: 1 of 100 strangers accepted",
        "x16: 3 of 100 strangers accepted",
    ]
