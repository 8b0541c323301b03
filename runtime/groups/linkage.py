"""Complete linkage: groups of which every two members are near to each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def distances(vectors: NDArray[np.float32], photos: Sequence[object]) -> NDArray[np.float32]:
    """Euclidean distances (N, N) of vectors (N, D), infinite within a photo and to itself.

    `photos`: what each vector's photo is called. Two faces of one photo are two people.
    """
    squares = (vectors**2).sum(axis=1)
    # in place: of ten thousand faces the matrix has 400 MB
    found = vectors @ vectors.T
    found *= -2
    found += squares
    found += squares[:, None]
    np.sqrt(found.clip(0, out=found), out=found)
    places: dict[object, list[int]] = {}
    for index, photo in enumerate(photos):
        places.setdefault(photo, []).append(index)
    for same in places.values():
        found[np.ix_(same, same)] = np.inf
    return np.asarray(found, np.float32)


def linked(matrix: NDArray[np.float32], most: float) -> list[list[int]]:
    """Groups of complete linkage, cut where two of a group would be farther apart than `most`.

    `matrix` (N, N): distances, infinite on the diagonal; it is used up. Returns sorted indices in
    groups, by their first one, each index in one of them. By chains of nearest neighbours
    (Murtagh 1983), which gives what joining the nearest two again and again gives, in N^2 steps.
    """
    members = {index: [index] for index in range(len(matrix))}
    done: list[list[int]] = []
    chain: list[int] = []
    while members:
        if not chain:
            chain = [next(iter(members))]
        last = chain[-1]
        near = int(matrix[last].argmin())
        if len(chain) > 1 and matrix[last, chain[-2]] <= matrix[last, near]:
            near = chain[-2]  # of equally near ones the last, else the chain would run in a circle
        if not matrix[last, near] <= most:  # it only gets farther when others are joined
            done.append(sorted(members.pop(last)))
            matrix[last] = matrix[:, last] = np.inf
            chain = []
        elif len(chain) > 1 and near == chain[-2]:
            joined = np.maximum(matrix[last], matrix[near])
            matrix[near] = matrix[:, near] = joined
            matrix[last] = matrix[:, last] = np.inf
            members[near] += members.pop(last)
            del chain[-2:]
        else:
            chain.append(near)
    return sorted(done)
