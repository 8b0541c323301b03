"""Complete linkage against SciPy's, and what must hold of any result."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from runtime.groups.linkage import distances, linked

Groups = list[list[int]]


def scipys(vectors: np.ndarray, most: float) -> Groups:
    labels = fcluster(linkage(pdist(vectors), "complete"), most, "distance")
    return sorted(np.flatnonzero(labels == label).tolist() for label in set(labels))


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, 3))
    vectors = (centres[rng.integers(0, 5, 60)] + 0.3 * rng.normal(size=(60, 3))).astype(np.float32)
    found = linked(distances(vectors, range(60)), 1.0)
    assert found == scipys(vectors, 1.0)
    assert 2 < len(found) < 40


def test_no_two_of_a_group_are_far_apart() -> None:
    """A chain of near neighbours is cut, where single linkage would make one group of it."""
    line = np.arange(10, dtype=np.float32)[:, None] * 0.4
    for group in linked(distances(line, range(10)), 1.0):
        assert np.ptp(line[group]) <= 1.0


def test_equal_vectors_are_one_group_of_any_size() -> None:
    vectors = np.zeros((7, 128), np.float32)
    assert linked(distances(vectors, range(7)), 0.5) == [list(range(7))]


def test_faces_of_one_photo_are_two_people() -> None:
    vectors = np.zeros((4, 128), np.float32)
    found = linked(distances(vectors, ["a", "b", "a", "b"]), 0.5)
    assert [len(group) for group in found] == [2, 2]
    assert all({index % 2 for index in group} == {0, 1} for group in found)


def test_distances() -> None:
    vectors = np.array([[0, 0], [3, 4], [0, 0]], np.float32)
    found = distances(vectors, ["a", "b", "c"])
    assert found.dtype == np.float32
    assert found.tolist() == [[np.inf, 5, 0], [5, np.inf, 5], [0, 5, np.inf]]


@pytest.mark.parametrize("count", [0, 1])
def test_few_faces(count: int) -> None:
    vectors = np.zeros((count, 128), np.float32)
    assert linked(distances(vectors, range(count)), 0.5) == [[0]] * count
