"""Who the face of a track is, by the votes of its frames: none of them decides alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtime.people.matching import GUESS, MARGIN, Match, Person, by_distances
from runtime.people.recognition import SHARP
from runtime.video.tracks.seen import SeenFace

_TENTH = 5.0  # dB of `blur` beyond SHARP for which a vote counts a tenth: it errs, but not always

_ENOUGH, _AGAIN = 8, 1.0
"""So many of a track's first looks vote; after that one every so many seconds."""


@dataclass(frozen=True, eq=False)
class Ballot:
    """What the vectors of a track say, and who was chosen by them.

    Attributes:
        votes: how many vectors there were.
        time: of the last one.
        weight: the sum of their weights.
        squares: for each of the people, the weighted sum of the squared distances.
        mean: their weighted mean (128,); None before the first.
        person: who was chosen, as an index into the people.
        left: people against whom the votes were, once they were chosen: they are not any more.
    """

    votes: int = 0
    time: float = 0.0
    weight: float = 0.0
    squares: tuple[float, ...] = ()
    mean: NDArray[np.float64] | None = None
    person: int | None = None
    left: tuple[int, ...] = ()

    def wants(self, time: float) -> bool:
        """Whether another vote would help."""
        return self.votes < _ENOUGH or time - self.time >= _AGAIN

    def with_vote(self, face: SeenFace, time: float, people: Sequence[Person]) -> "Ballot":
        """The ballot after a look that saw `face`."""
        if face.vector is None:
            return self
        vector = face.vector.astype(np.float64)
        weight = 10 ** (-max(0.0, face.blur - SHARP) / _TENTH)
        whole = self.weight + weight
        mean = vector if self.mean is None else self.mean + weight / whole * (vector - self.mean)
        before = self.squares or (0.0,) * len(people)
        squares = tuple(
            square + weight * float(person.distances(vector[None])[0]) ** 2
            for square, person in zip(before, people, strict=True)
        )
        return replace(
            self, votes=self.votes + 1, time=time, weight=whole, squares=squares, mean=mean
        )

    def is_far(self, vector: NDArray[np.floating]) -> bool:
        """Whether these votes are somebody else's: not even a guess would take them for one."""
        return self.mean is not None and float(np.linalg.norm(vector - self.mean)) > GUESS

    def with_votes(self, other: "Ballot") -> "Ballot":
        """The ballot with those of another one, too."""
        assert self.mean is not None
        assert other.mean is not None
        weight = self.weight + other.weight
        return replace(
            self,
            votes=self.votes + other.votes,
            time=other.time,
            weight=weight,
            squares=tuple(sum(pair) for pair in zip(self.squares, other.squares, strict=True)),
            mean=self.mean + other.weight / weight * (other.mean - self.mean),
        )

    def distances(self) -> NDArray[np.float64]:
        """To each of the people, in the measure of `Person.distances`: that of all votes together.

        It is the root of the mean squared distance, and so has the thresholds of a single vector.
        """
        return np.sqrt(np.array(self.squares) / self.weight)


def elect(
    ballots: Sequence[Ballot], names: Sequence[str], threshold: float
) -> list[tuple[Ballot, Match | None]]:
    """Who the faces of one frame are; the ballots come back with who was chosen.

    The rule is that of a photo's faces (`matching.who`), by the distances of their tracks, with two
    differences. Who was chosen before counts as `MARGIN` nearer: others must be clearly better to
    take the place, and nobody loses it to noise. And a track of few votes neither takes the person
    of one that has more, nor speaks against it. A person against whom a track's own votes speak
    does not come back to it: there is no to and fro. A track without votes has no match.
    """
    now = list(ballots)
    matches: list[Match | None] = [None] * len(ballots)
    voters = [index for index, ballot in enumerate(ballots) if ballot.votes and names]
    held = {index: person for index in voters if (person := ballots[index].person) is not None}
    while voters:
        distances = np.array([now[index].distances() for index in voters])
        fitting, heard = np.ones(distances.shape, bool), np.ones(distances.shape, bool)
        for row, index in enumerate(voters):
            fitting[row, list(now[index].left)] = False
            if (person := now[index].person) is not None:
                distances[row, person] = max(0.0, distances[row, person] - MARGIN)
            for holder, person in held.items():
                if now[index].votes < min(_ENOUGH, now[holder].votes):
                    heard[row, person] = False
        found = by_distances(distances, names, threshold, fitting & heard, heard)
        lost = [
            (row, person)
            for row, match in enumerate(found)
            if (person := now[voters[row]].person) is not None and match.name != names[person]
        ]
        if not lost:
            for index, match in zip(voters, found, strict=True):
                now[index], matches[index] = _chosen(now[index], match, names)
            break
        for row, person in lost:
            index, one = voters[row], slice(row, row + 1)
            now[index] = replace(now[index], person=None)
            (alone,) = by_distances(distances[one], names, threshold, fitting[one])
            if alone.name != names[person]:  # its own votes say so, and not another track's
                now[index] = replace(now[index], left=(*now[index].left, person))
                del held[index]
    return list(zip(now, matches, strict=True))


def _chosen(ballot: Ballot, match: Match, names: Sequence[str]) -> tuple[Ballot, Match]:
    if match.name is None:
        return ballot, match
    person = names.index(match.name)
    # without the advantage that the person may have had
    true = replace(match, distance=float(ballot.distances()[person]))
    return replace(ballot, person=person), true
