"""Which faces of a photo are which of the known people: nobody twice, and nobody on a guess."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.57
"""The distance to a person's references up to which a face is accepted as that person's."""

GUESS = 0.63
"""Up to this distance a face may be that person's: somebody who knows them has to say so."""

MARGIN = 0.05
"""How much farther the next person must be: nearer ones are confused."""

Distances = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Person:
    """What is known of a person's face, from the vectors of sharp references.

    Args:
        name: of which no two people of a run have the same.
        mean: float64 (128,), the mean of the references' vectors.
        spread: the mean of their squared distances from it; 0 for one reference.
    """

    name: str
    mean: NDArray[np.float64] = field(repr=False)
    spread: float

    @classmethod
    def of(cls, name: str, vectors: NDArray[np.floating]) -> "Person":
        """The person whose references have these vectors (R, 128), R > 0."""
        known = vectors.astype(np.float64)
        mean = known.mean(axis=0)
        return cls(name, mean, float(((known - mean) ** 2).sum(axis=1).mean()))

    def distances(self, vectors: NDArray[np.floating]) -> Distances:
        """The distances (F,) of faces (F, 128) to the references as a whole.

        That is the root of the mean squared distance to them, so that one threshold serves for
        any number of references.
        """
        away = ((vectors.astype(np.float64) - self.mean) ** 2).sum(axis=1)
        return np.asarray(np.sqrt(away + self.spread))


@dataclass(frozen=True)
class Match:
    """Who a face is.

    Attributes:
        name: the person; None where nobody was chosen.
        distance: to the nearest person, who is `name`, `guess` or, beyond all guesses, nobody.
        runner_up: the next nearest person.
        runner_up_distance: to the runner-up.
        threshold: the distance up to which a person was accepted.
        guess: where nobody was chosen, the person who it might be: too far for the threshold,
            hardly nearer than the runner-up, or rather another face of this photo.
    """

    name: str | None
    distance: float | None
    runner_up: str | None
    runner_up_distance: float | None
    threshold: float
    guess: str | None

    @property
    def is_close(self) -> bool:
        """Whether the runner-up is too near to choose between the two."""
        if self.distance is None or self.runner_up_distance is None:
            return False
        return self.runner_up_distance < self.distance + MARGIN


def who(
    vectors: NDArray[np.floating],
    people: Sequence[Person],
    threshold: float = THRESHOLD,
    taken: Collection[str] = (),
) -> list[Match]:
    """Who the faces of one photo are, by their vectors (F, 128).

    Faces and people are paired so that the sum of their distances is least, where a face without a
    person counts as much as one at the threshold. A pair is accepted where nothing speaks against
    it: all others are farther from the face, by `MARGIN`, and no face that is nobody else is
    nearer to the person. That a person is another face of the photo, or is `taken` by one that is
    not among these, makes nobody nearer.
    """
    distances = np.empty((len(vectors), len(people)))
    for column, person in enumerate(people):
        distances[:, column] = person.distances(vectors)
    free = np.array([person.name not in taken for person in people], bool)
    names = [person.name for person in people]
    return by_distances(distances, names, threshold, np.broadcast_to(free, distances.shape))


def by_distances(
    distances: Distances,
    names: Sequence[str],
    threshold: float,
    free: NDArray[np.bool_],
    heard: NDArray[np.bool_] | None = None,
) -> list[Match]:
    """Who the faces are of which the distances (F, P) to the people are known; see `who`.

    `names` (P,): the people's; `free` (F, P): whether a face may be a person; `heard` (F, P):
    whether one that is nobody else speaks against another's being the person; None: all do.
    """
    pairs = assign(np.where(free, distances, math.inf), threshold)
    ranked = [_ranked(row, names, threshold) for row in distances]
    likely = {
        index: pair
        for index, (pair, match) in enumerate(zip(pairs, ranked, strict=True))
        if pair is not None and names[pair] == match.guess and not match.is_close
    }
    speaking = distances if heard is None else np.where(heard, distances, math.inf)
    nameless = speaking[[index for index in range(len(distances)) if index not in likely]]
    for index, pair in likely.items():
        match = ranked[index]
        distance = distances[index, pair]
        if distance <= threshold and not (nameless[:, pair] < distance).any():
            ranked[index] = replace(match, name=match.guess, guess=None)
    return ranked


def assign(costs: Distances, alone: float) -> list[int | None]:
    """The column for each row of `costs` (R, C), each at most once, of the least sum.

    A row without a column (None) costs `alone`; a pair that costs as much as none is a pair.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = costs.shape
    none = np.full((rows, rows), math.nextafter(alone, math.inf))  # a column of none for each row
    _, chosen = linear_sum_assignment(np.hstack([costs, none]))
    return [int(column) if column < columns else None for column in chosen]


def _ranked(row: Distances, people: Sequence[str], threshold: float) -> Match:
    """Whom a face is nearest to, as a guess at most, from its distances to all people."""
    order = [int(index) for index in np.argsort(row, kind="stable")[:2]]
    names: list[str | None] = [*(people[index] for index in order), None, None]
    distances: list[float | None] = [*(float(row[index]) for index in order), None, None]
    near = bool(order) and row[order[0]] <= max(threshold, GUESS)
    guess = names[0] if near else None
    return Match(None, distances[0], names[1], distances[1], threshold, guess)
