"""Who is who, by distances that the tests make up."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.people.matching import Match, Person, assign, who

NAMES = ("alice", "bob", "carol", "dave")


def people(count: int) -> list[Person]:
    """Each in a corner of their own, one reference."""
    return [
        Person.of(name, 9 * np.eye(128)[index : index + 1])
        for index, name in enumerate(NAMES[:count])
    ]


def faces(*distances: tuple[float, ...]) -> tuple[NDArray[np.float64], list[Person]]:
    """Vectors of faces that have these distances to people, one row a face."""
    return np.array(distances), [
        Fixed(name, column) for column, name in enumerate(NAMES[: len(distances[0])])
    ]


class Fixed(Person):
    """A person to whom the faces' distances are given: one column of the vectors."""

    def __init__(self, name: str, column: int) -> None:
        super().__init__(name, np.zeros(1), 0.0)
        object.__setattr__(self, "_column", column)

    def distances(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(vectors[:, vars(self)["_column"]], np.float64)


def names(*distances: tuple[float, ...], threshold: float = 0.57) -> list[str | None]:
    return [match.name for match in who(*faces(*distances), threshold)]


def test_the_distance_is_the_root_of_the_mean_square_to_the_references() -> None:
    noise = np.random.default_rng(0)
    references = noise.normal(size=(5, 128)).astype(np.float32)
    face = noise.normal(size=(1, 128)).astype(np.float32)
    person = Person.of("alice", references)
    squares = ((references.astype(np.float64) - face) ** 2).sum(axis=1)
    assert person.distances(face)[0] == pytest.approx(np.sqrt(squares.mean()), abs=1e-12)
    alone = Person.of("alice", references[:1])
    assert alone.spread == 0
    assert alone.distances(face)[0] == pytest.approx(np.sqrt(squares[0]), abs=1e-12)


def test_accepted_a_guess_or_nobody() -> None:
    near, at, over, guess, beyond = who(
        *faces((0.4, 0.8), (0.9, 0.57), (0.58, 0.9), (0.8, 0.63), (0.7, 0.9))
    )
    assert near == Match("alice", 0.4, "bob", 0.8, 0.57, None)
    assert at == Match("bob", 0.57, "alice", 0.9, 0.57, None)
    assert over == Match(None, 0.58, "bob", 0.9, 0.57, "alice")
    assert guess == Match(None, 0.63, "alice", 0.8, 0.57, "bob")
    assert beyond == Match(None, 0.7, "bob", 0.9, 0.57, None)


def test_a_guess_is_accepted_by_another_threshold() -> None:
    assert names((0.6, 0.9)) == [None]
    assert names((0.6, 0.9), threshold=0.6) == ["alice"]
    assert names((0.2, 0.9), threshold=0.1) == [None]


def test_the_next_person_must_be_farther() -> None:
    (match,) = who(*faces((0.4, 0.44, 0.9)))
    assert match == Match(None, 0.4, "bob", 0.44, 0.57, "alice")
    assert match.is_close
    assert names((0.4, 0.46, 0.9)) == ["alice"]
    assert names((0.56, 0.6)) == [None], "also where the next is over the threshold"


def test_one_person_once() -> None:
    assert names((0.35, 0.9), (0.3, 0.9)) == [None, "alice"]
    first, _ = who(*faces((0.35, 0.9), (0.3, 0.9)))
    assert (first.guess, first.is_close) == ("alice", False)


def test_whole_photos_and_not_face_by_face() -> None:
    """Alone the first would be Alice; with the second beside it, it is most likely Bob."""
    assert names((0.3, 0.4)) == ["alice"]
    together = ((0.3, 0.4), (0.35, 0.6))
    assert assign(np.array(together), 0.57) == [1, 0]
    assert names(*together) == [None, None], "and where the two ways disagree it is nobody"


def test_whoever_is_left_is_not_therefore_that_person() -> None:
    """A sister of Alice and Bob: Alice is another face, and so only Bob is left for her."""
    assert names((0.3, 0.6), (0.45, 0.5)) == ["alice", None]
    assert names((0.3, 0.6), (0.4, 0.52)) == ["alice", None]
    assert names((0.3, 0.6), (0.6, 0.4)) == ["alice", "bob"]


def test_people_that_are_taken() -> None:
    vectors, known = faces((0.3, 0.9), (0.9, 0.3))
    first, second = who(vectors, known, taken={"alice"})
    assert (first.name, first.guess, second.name) == (None, "alice", "bob")


def test_nobody_known_and_nobody_there() -> None:
    assert who(np.zeros((2, 128)), []) == [Match(None, None, None, None, 0.57, None)] * 2
    assert who(np.zeros((0, 128)), people(2)) == []
    (one,) = who(9 * np.eye(128)[:1], people(1))
    assert one == Match("alice", 0.0, None, None, 0.57, None)


def test_the_assignment_is_the_best_one() -> None:
    """Compared with all there are, also where there are fewer people than faces."""
    noise = np.random.default_rng(1)
    for rows, columns in product(range(1, 5), range(4)):
        for _ in range(10):
            costs = noise.uniform(0.2, 1.0, (rows, columns)).round(2)
            chosen = assign(costs, 0.57)
            used = [column for column in chosen if column is not None]
            assert len(used) == len(set(used))
            best = min(
                total(costs, way)
                for way in product((None, *range(columns)), repeat=rows)
                if len([c for c in way if c is not None]) == len({c for c in way if c is not None})
            )
            assert total(costs, chosen) == pytest.approx(best, abs=1e-9)


def total(costs: NDArray[np.float64], way: "tuple[int | None, ...] | list[int | None]") -> float:
    return sum(
        0.57 if column is None else float(costs[row, column]) for row, column in enumerate(way)
    )
