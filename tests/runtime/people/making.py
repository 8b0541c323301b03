"""People, and vectors of faces at given distances from them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.dictionary import SpecificDictionary
from runtime.images.arrays import Image


def face_near(person: int, distance: float) -> NDArray[np.float32]:
    """The vector of a face so far from this person of `person_of`, and 1.4 from the others."""
    vector = np.zeros(128, np.float32)
    vector[person], vector[127] = 1, distance
    return vector


def known_person(person: int, name: str) -> SpecificDictionary:
    """A person who has one reference, a corner of their own, and a row that is theirs."""
    rows = np.full((1, 1), person, np.float32)
    vectors = face_near(person, 0)[None]
    return SpecificDictionary(rows, "256.le.key:1x1x1", "0" * 64, name=name, vectors=vectors)


def crops_of(*vectors: NDArray[np.float32]) -> dict[int, Image]:
    """Crops that `described` gives these vectors, by the faces' indices."""
    crops = {index: np.zeros((512, 512, 3), np.uint8) for index in range(len(vectors))}
    for crop, vector in zip(crops.values(), vectors, strict=True):
        crop[0, :171] = np.frombuffer(vector.tobytes() + b"\0", np.uint8).reshape(171, 3)
    return crops


def described(crops: Sequence[Image]) -> NDArray[np.float32]:
    """The vectors that lie in the first bytes of crops of `crops_of`."""
    read = [np.frombuffer(crop[0, :171].tobytes()[:512], np.float32) for crop in crops]
    return np.stack(read)
