"""Names for the faces of a photo before it is restored, and how alike they are afterwards."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtime.dictionary import SpecificDictionary
from runtime.faces.finder import Face, Likeness
from runtime.images.arrays import Image
from runtime.people.known import person_of
from runtime.people.matching import Match, Person, who

LESS_ALIKE = 0.05
"""How much farther from its person a restored face may be before this is noted."""

Describe = Callable[[Sequence[Image]], NDArray[np.float32]]
"""Vectors (N, 128) of aligned RGB crops, uint8 (512, 512, 3): `Recognizer.describe`."""


@dataclass(frozen=True, eq=False)
class Known:
    """Who a face is: the person whose `dictionary` it is restored with, and how near it is.

    `person` and `distance`: to measure likeness with; None where nobody is known, or the dictionary
    has no vectors. `match`: None where the dictionary was given by hand.
    """

    dictionary: SpecificDictionary | None
    person: Person | None
    distance: float | None
    match: Match | None

    def named(self, face: Face) -> Face:
        """The face with what is known of it."""
        match = self.match
        if match is None:
            name = None if self.dictionary is None else self.dictionary.name or None
            return replace(face, name=name, distance=self.distance)
        return matched(face, match)


def matched(face: Face, match: Match) -> Face:
    """The face with what its match says of who it is."""
    return replace(
        face,
        name=match.name,
        distance=match.distance,
        runner_up=match.runner_up,
        runner_up_distance=match.runner_up_distance,
        threshold=match.threshold,
        guess=match.guess,
    )


NOBODY = Known(None, None, None, None)
"""A face that was compared with nobody, and has no dictionary."""


def name_faces(
    crops: Mapping[int, Image],
    given: Mapping[int, SpecificDictionary],
    people: Sequence[SpecificDictionary],
    threshold: float,
    describe: Describe,
) -> dict[int, Known]:
    """Who the faces are of which these are the crops, by their indices in the photo.

    `given`: the dictionaries of faces whose person is known; these people are no other face.
    """
    persons = {index: person_of(dictionary) for index, dictionary in given.items()}
    asked = [index for index in crops if people or persons.get(index) is not None]
    found = describe([crops[index] for index in asked]) if asked else np.empty((0, 128))
    vectors = {index: vector[None] for index, vector in zip(asked, found, strict=True)}

    known: dict[int, Known] = {}
    for index in crops.keys() & given.keys():
        person = persons[index]
        distance = None if person is None else float(person.distances(vectors[index])[0])
        known[index] = Known(given[index], person, distance, None)
    others = [index for index in crops if index not in given]
    if people and others:
        candidates = [Person.of(each.name, each.vectors) for each in people]
        by_name = {each.name: (each, one) for each, one in zip(people, candidates, strict=True)}
        taken = {each.name for each in given.values()}
        matches = who(
            np.concatenate([vectors[index] for index in others]), candidates, threshold, taken
        )
        for index, match in zip(others, matches, strict=True):
            dictionary, person = by_name[match.name] if match.name else (None, None)
            known[index] = Known(dictionary, person, match.distance, match)
    return known


def doubt(index: int, known: Known, present: Collection[str]) -> str | None:
    """Why nobody was chosen for a face that may be somebody; None where there is no doubt.

    `present`: the people that faces of the photo are.
    """
    match = known.match
    if match is None or match.guess is None:
        return None
    nearest = f"{match.guess} ({match.distance:.2f})"
    if match.is_close:
        return (
            f"face {index}: nobody was chosen between {nearest} and {match.runner_up} "
            f"({match.runner_up_distance:.2f})"
        )
    elsewhere = match.guess in present
    if not elsewhere and match.distance is not None and match.distance > match.threshold:
        return (
            f"face {index} may be {nearest}, but nobody was chosen: the threshold is "
            f"{match.threshold:g}"
        )
    return (
        f"face {index} looks like {nearest}, but nobody was chosen: another face of this photo "
        f"{'is' if elsewhere else 'may be'} that person"
    )


def likeness_of(
    known: Known, restored: Image, describe: Describe, remark: str | None
) -> Likeness | None:
    """How near the face is to its person before and after; None where there is no telling.

    `remark`: what the reader should know of the weights.
    """
    if known.person is None or known.distance is None:
        return None
    after = float(known.person.distances(describe([restored]))[0])
    return Likeness(known.distance, after, remark)


def loss(index: int, face: Face) -> str | None:
    """A note where a restored face looks less like its person than before; else None."""
    likeness = face.likeness
    if likeness is None or likeness.after <= likeness.before + LESS_ALIKE:
        return None
    remark = f" ({likeness.remark})" if likeness.remark else ""
    return (
        f"face {index} looks less like {face.name or 'its person'} than before: distance "
        f"{likeness.after:.2f} in place of {likeness.before:.2f}{remark}"
    )
