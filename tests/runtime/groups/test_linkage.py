"""What must hold of complete linkage over an archive's faces."""

from itertools import combinations

import numpy as np
import pytest

from runtime.groups.linkage import linked


@pytest.mark.parametrize("seed", range(5))
def test_people_who_are_apart_are_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    persons = rng.integers(0, 5, 60)
    vectors = (4 * np.eye(5, 128)[persons] + 0.02 * rng.normal(size=(60, 128))).astype(np.float32)
    found = linked(vectors, range(60), 1.0)
    assert found == sorted(np.flatnonzero(persons == person).tolist() for person in set(persons))


def test_no_two_of_a_group_are_far_apart() -> None:
    """A chain of near neighbours is cut, where single linkage would make one group of it."""
    line = np.arange(10, dtype=np.float32)[:, None] * 0.4
    found = linked(line, range(10), 1.0)
    assert sorted(index for group in found for index in group) == list(range(10))
    for group in found:
        assert np.ptp(line[group]) <= 1.0
    for one, other in combinations(found, 2):
        assert np.ptp(line[one + other]) > 1.0, "these two could be joined"


def test_equal_vectors_are_one_group_of_any_size() -> None:
    assert linked(np.zeros((7, 128), np.float32), range(7), 0.5) == [list(range(7))]


def test_faces_of_one_photo_are_two_people() -> None:
    photos = ["a", "b", "a", "c", "b", "a"]
    found = linked(np.zeros((6, 128), np.float32), photos, 0.5)
    assert len(found) == 3
    for group in found:
        names = [photos[index] for index in group]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("count", [0, 1])
def test_few_faces(count: int) -> None:
    assert linked(np.zeros((count, 128), np.float32), range(count), 0.5) == [[0]] * count
