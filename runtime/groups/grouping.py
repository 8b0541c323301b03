"""From faces to people without names: who is alike, and which faces serve as references."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from runtime.groups.linkage import linked
from runtime.groups.reading import FoundFace
from runtime.people.matching import GUESS, THRESHOLD, Person, who
from runtime.people.recognition import SHARP

MOST_REFERENCES = 5
_DIFFERENT = 0.2  # two pictures of one person are nearer in 1 % of cases only: the same moment


@dataclass(frozen=True)
class Group:
    """A person of whom an archive has several faces.

    Attributes:
        name: "person-001" has the most faces.
        faces: indices of its faces, the sharp ones in the order of their photos, then the blurred.
        references: those of `faces` that are good references, the best first.
        maybe: names of the people that may be the same one; never one beside it in a photo.
    """

    name: str
    faces: tuple[int, ...]
    references: tuple[int, ...]
    maybe: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """All faces of an archive, each in one place, as indices.

    `alone`: sharp faces that are like no other; `blurred`: those that are too blurred to found a
    group, and are like nobody, or like two people.
    """

    people: tuple[Group, ...]
    alone: tuple[int, ...]
    blurred: tuple[int, ...]


def grouped(faces: Sequence[FoundFace]) -> Grouping:
    """Group the faces of an archive.

    Blurred faces look alike whoever they are. So only the sharp ones found groups, of which no two
    are farther apart than `THRESHOLD`; a blurred one joins the person that it is by `who`.
    """
    sharp = [index for index, face in enumerate(faces) if face.blur <= SHARP]
    founders: list[list[int]] = []
    if sharp:
        vectors = np.stack([faces[index].vector for index in sharp])
        photos = [faces[index].photo for index in sharp]
        founders = [[sharp[each] for each in group] for group in linked(vectors, photos, THRESHOLD)]
    joined = _join(faces, founders)
    everyone = [[*group, *more] for group, more in zip(founders, joined, strict=True)]
    several = [index for index, members in enumerate(everyone) if len(members) > 1]
    several.sort(key=lambda index: (-len(everyone[index]), everyone[index]))
    names = {index: f"person-{number:03d}" for number, index in enumerate(several, 1)}
    maybe = _maybe(faces, {names[index]: everyone[index] for index in several})
    people = tuple(
        Group(
            names[index],
            tuple(everyone[index]),
            references(faces, founders[index]),
            tuple(sorted(maybe[names[index]])),
        )
        for index in several
    )
    placed = {index for members in everyone for index in members}
    alone = sorted(members[0] for members in everyone if len(members) == 1)
    blurred = [index for index in range(len(faces)) if index not in placed]
    return Grouping(people, tuple(alone), tuple(blurred))


def references(faces: Sequence[FoundFace], chosen: Sequence[int]) -> tuple[int, ...]:
    """The best of sharp faces of one person: frontal ones first, no two of the same moment."""
    kept: list[int] = []
    for index in sorted(chosen, key=lambda each: faces[each].turned):
        apart = [np.linalg.norm(faces[index].vector - faces[each].vector) for each in kept]
        if len(kept) < MOST_REFERENCES and min(apart, default=1.0) >= _DIFFERENT:
            kept.append(index)
    return tuple(kept)


def _join(faces: Sequence[FoundFace], founders: Sequence[Sequence[int]]) -> list[list[int]]:
    """The blurred faces that join each group."""
    joined: list[list[int]] = [[] for _ in founders]
    if not founders:
        return joined
    from scipy.spatial.distance import cdist

    people = [_person(faces, str(number), group) for number, group in enumerate(founders)]
    means = np.stack([person.mean for person in people])
    spreads = np.array([person.spread for person in people])
    in_photo: dict[str, set[str]] = {}
    for number, group in enumerate(founders):
        for index in group:
            in_photo.setdefault(faces[index].photo, set()).add(str(number))
    blurred: dict[str, list[int]] = {}
    for index, face in enumerate(faces):
        if face.blur > SHARP:
            blurred.setdefault(face.photo, []).append(index)
    for photo, indices in blurred.items():
        vectors = np.stack([faces[index].vector for index in indices])
        # of thousands of people only those count that are near enough to be taken or confused
        away = cdist(means, vectors, "sqeuclidean").min(axis=1) + spreads
        near = [person for person, one in zip(people, away, strict=True) if one <= GUESS**2]
        matches = who(vectors, near, taken=in_photo.get(photo, ()))
        for index, match in zip(indices, matches, strict=True):
            if match.name is not None:
                joined[int(match.name)].append(index)
    return joined


def _maybe(faces: Sequence[FoundFace], people: dict[str, list[int]]) -> dict[str, set[str]]:
    """For each person the others that may be the same: near, and in no photo beside it."""
    found: dict[str, set[str]] = {name: set() for name in people}
    if len(people) < 2:
        return found
    from scipy.spatial.distance import pdist

    persons = [
        _person(faces, name, [index for index in group if faces[index].blur <= SHARP])
        for name, group in people.items()
    ]
    spreads = [one.spread + other.spread for one, other in combinations(persons, 2)]
    # the mean squared distance between the faces of two people
    apart = pdist(np.stack([person.mean for person in persons]), "sqeuclidean") + spreads
    photos = {name: {faces[index].photo for index in group} for name, group in people.items()}
    for (one, other), squared in zip(combinations(people, 2), apart, strict=True):
        if squared <= GUESS**2 and photos[one].isdisjoint(photos[other]):
            found[one].add(other)
            found[other].add(one)
    return found


def _person(faces: Sequence[FoundFace], name: str, group: Sequence[int]) -> Person:
    return Person.of(name, np.stack([faces[index].vector for index in group]))
