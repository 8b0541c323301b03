"""Complete linkage: groups of which every two members are near to each other."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

_NEVER = 1e6  # a distance that joins nobody; SciPy takes finite ones only


def linked(vectors: NDArray[np.float32], photos: Sequence[object], most: float) -> list[list[int]]:
    """Groups of vectors (N, D), cut where two of a group would be farther apart than `most`.

    `photos`: what each vector's photo is called; two faces of one photo are never one person.
    Returns sorted indices in groups, by their first one, each index in one of them.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    if len(vectors) < 2:
        return [[index] for index in range(len(vectors))]
    apart = pdist(vectors)  # of each two, in the order of `combinations`
    places: dict[object, list[int]] = {}
    for index, photo in enumerate(photos):
        places.setdefault(photo, []).append(index)
    count = len(vectors)
    for same in places.values():
        for one, other in combinations(same, 2):
            apart[count * one - one * (one + 1) // 2 + other - one - 1] = _NEVER
    labels = fcluster(linkage(apart, "complete"), most, "distance")
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(int(label), []).append(index)
    return list(groups.values())
