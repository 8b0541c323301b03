"""What enrolling makes of a person's references, beside the rows that the network reads."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from runtime.dictionary import SpecificDictionary
from runtime.errors import DmdnetWarning
from runtime.faces.finder import Crop
from runtime.people.matching import THRESHOLD
from runtime.people.recognition import SHARP, Recognizer, blur


class ReferenceWarning(DmdnetWarning):
    """A reference is kept that is doubtful, for whoever shall know the person by it."""


def recognisable(
    person: SpecificDictionary, crops: Mapping[str, Crop], recognizer: Recognizer
) -> SpecificDictionary:
    """The dictionary with a vector of each sharp reference; warns of those that are doubtful.

    `crops`: the references by their names, in the order of the dictionary's rows.
    """
    images = [crop.image for crop in crops.values()]
    sharp = tuple(index for index, image in enumerate(images) if blur(image) <= SHARP)
    vectors = recognizer.describe([images[index] for index in sharp])
    for line in doubts(vectors, sharp, list(crops)):
        warnings.warn(line, ReferenceWarning, stacklevel=3)
    return replace(person, vectors=vectors, vector_rows=sharp)


def doubts(vectors: NDArray[np.float32], sharp: Sequence[int], names: Sequence[str]) -> list[str]:
    """What is doubtful in a person's references, a sentence each.

    Args:
        vectors: (R, 128), those of the sharp references.
        sharp: the indices of the sharp references.
        names: what to call each reference, the blurred ones too.
    """
    blurred = [name for index, name in enumerate(names) if index not in sharp]
    said = [f"{name}: too blurred to recognise the person by; all else is kept" for name in blurred]
    if not sharp:
        said.append("no reference is sharp: nobody can be recognised by this dictionary")
    return said + _unlike(vectors, [names[index] for index in sharp])


def _unlike(vectors: NDArray[np.float32], names: Sequence[str]) -> list[str]:
    """Names the reference farthest from all others, until those that are left look alike.

    One at a time, because somebody else among the others makes every reference look far from them.
    The distance is the root of the mean squared distance to each of the others: over that up to
    which a face is taken for a person's, it may show somebody else.
    """
    exact = vectors.astype(np.float64)
    squares = np.array([((exact - one) ** 2).sum(axis=1) for one in exact])
    left = list(range(len(names)))
    said: list[str] = []
    while len(left) > 1:
        among = squares[np.ix_(left, left)]
        distances = np.sqrt(among.sum(axis=1) / (len(left) - 1))
        worst = int(distances.argmax())
        if distances[worst] <= THRESHOLD:
            break
        distance = f"distance {distances[worst]:.2f}, over {THRESHOLD}"
        if len(left) == 2:
            first, second = (names[index] for index in left)
            said.append(
                f"{first} and {second} do not look alike ({distance}): do they show one person? "
                "Both are kept"
            )
            break
        said.append(
            f"{names[left.pop(worst)]}: does not look like the others ({distance}): is it the "
            "same person? It is kept"
        )
    return said
