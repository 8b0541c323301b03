"""Which face of a frame belongs to which track."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtime.people.matching import Person
from runtime.video.tracks.seen import SeenFace
from runtime.video.tracks.votes import Ballot

GAP, GAP_SECONDS = 10, 0.5
"""Frames and seconds from one sight of a face to the next at most, so that it was just missed."""

_MEMORY = 2.0  # seconds for which a track waits for who went behind somebody, or turned away

_FAR, _FARTHEST = 1.3, 2.2
"""Costs up to which a face may be the track's, and where nobody knows yet how fast it is.

They are the share by which the boxes do not overlap, and the distance of the landmarks over the
face's size. 1.3 is a step of 0.6 of that size beyond what was predicted, 2.2 one of 1.2. Vectors
make a cost up to 0.4 less or more.
"""

_ALIKE = 0.57  # distance of two vectors: nearer ones are rather one person
_VOICE, _LOUDEST = 2.0, 0.2  # cost of a distance of 1 from that, and the distance that counts most
_AWAY = 0.1  # cost of a track without a face in the last look: who passes behind takes no other's
_NEVER = 1e6  # cost of what is not allowed
_LASTING = 0.25  # seconds over which the velocity is averaged: landmarks of covered faces slide
_ANOTHER = 3  # looks in a row that show somebody else; so many a track needs before they can
_TOUCH = 0.1  # part of a face in another's head, from which on it may be covered
_HAIR = 0.2  # of a face's box, on each side


@dataclass(frozen=True, eq=False)
class Track:
    """One face through the frames of a scene.

    Attributes:
        number: in the order in which tracks begin.
        last: the frame in which it was seen last, and `seen` its time.
        time, box, landmarks: of the last sight that was certainly its own.
        velocity: (2,) pixels a second; None before there were two of these.
        ballot: who it is.
        doubt: that it still is; None where the last vector was like those before.
    """

    number: int
    last: int
    seen: float
    time: float
    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    velocity: NDArray[np.float64] | None
    ballot: Ballot
    doubt: "Doubt | None" = None

    @property
    def proof(self) -> "Doubt | None":
        """That its last looks show somebody else: enough of them, and not just blurred ones."""
        if self.doubt is None or self.doubt.ballot.votes < _ANOTHER:
            return None
        usual = self.ballot.weight / self.ballot.votes
        return self.doubt if self.doubt.ballot.weight > (_ANOTHER - 1) * usual else None

    def wants(self, time: float) -> bool:
        """Whether another vote would help."""
        return self.doubt is not None or self.ballot.wants(time)

    def is_fresh(self, index: int, time: float) -> bool:
        """Whether its face was seen just before a frame."""
        return index - self.last <= GAP and time - self.seen <= GAP_SECONDS

    def is_alive(self, index: int, time: float, looked: int | None) -> bool:
        """Whether a face of a frame of its scene may be its next one.

        `looked`: the frame of the last look.
        """
        waits = self.velocity is not None and time - self.seen <= _MEMORY
        return self.last == looked or self.is_fresh(index, time) or waits


@dataclass(frozen=True, eq=False)
class Doubt:
    """Votes in a row that are far from the track's, and near to each other.

    Attributes:
        first: the frame of the first of them.
        before: the track before that.
        ballot: the votes; those of the track do not hold them.
    """

    first: int
    before: Track
    ballot: Ballot


@dataclass(frozen=True)
class Pair:
    """The track that a face was assigned to.

    Attributes:
        track: an index into the tracks; None: a new one's.
        doubtful: whether more than one track could go on here, if the vector says so.
        hides: whether one of these has just lost its face, so that this may be its, or cover it;
            unless the vector says whose it is.
    """

    track: int | None
    doubtful: bool
    hides: bool


def pair(tracks: Sequence[Track], faces: Sequence[SeenFace], index: int, time: float) -> list[Pair]:
    """The track of each face: the assignment of the least cost, where vectors have a voice."""
    from scipy.optimize import linear_sum_assignment

    shape = len(tracks), len(faces)
    latest = max((track.last for track in tracks), default=index)
    costs = np.array(
        [
            _cost(track, face, time) + (_AWAY if track.last < latest else 0.0)
            for track in tracks
            for face in faces
        ]
    )
    voices = np.array([_voice(track, face) for track in tracks for face in faces])
    limits = np.array([_FAR if track.velocity is not None else _FARTHEST for track in tracks])
    costs, voices, limits = costs.reshape(shape), voices.reshape(shape), limits.reshape(-1, 1)
    near = costs + voices <= limits
    # the last columns stand for no face, which costs as much as the farthest one allowed
    table = np.hstack(
        [
            np.where(near, costs + voices, _NEVER),
            np.broadcast_to(limits, (len(tracks), len(tracks))),
        ]
    )
    rows, columns = linear_sum_assignment(table)
    owner = {
        int(column): int(row)
        for row, column in zip(rows, columns, strict=True)
        if column < len(faces) and near[row, column]
    }
    lonely = np.array(
        [
            row not in owner.values() and track.is_fresh(index, time)
            for row, track in enumerate(tracks)
        ],
        bool,
    )
    possible = costs - _VOICE * _LOUDEST <= limits  # if its vector says so
    rivals, hides = possible.sum(axis=0), (near & lonely[:, None]).any(axis=0)
    found = []
    for face in range(len(faces)):
        track = owner.get(face)
        is_known = track is not None and voices[track, face] < 0
        found.append(Pair(track, bool(rivals[face] > 1), bool(hides[face]) and not is_known))
    return found


def begun(number: int, index: int, time: float, face: SeenFace) -> Track:
    """The track of a face that is new."""
    return Track(number, index, time, time, face.box, face.landmarks, None, Ballot(time=time))


def continued(
    track: Track, index: int, time: float, face: SeenFace, hides: bool, touched: bool
) -> Track:
    """The track after a look that saw its face.

    A face that may be another's (`hides`) says nothing of where this track will be, and one that
    is `touched` by another not how fast it is: so two people who cross go on as they came.
    """
    if hides:
        return replace(track, last=index, seen=time)
    velocity, passed = track.velocity, max(1e-3, time - track.time)
    if not touched:
        step = (face.landmarks.mean(axis=0) - track.landmarks.mean(axis=0)) / passed
        part = 1 - math.exp(-passed / _LASTING)
        velocity = step if velocity is None else velocity + part * (step - velocity)
    return replace(
        track,
        last=index,
        seen=time,
        time=time,
        box=face.box,
        landmarks=face.landmarks,
        velocity=velocity,
    )


def voted(track: Track, before: Track, face: SeenFace, people: Sequence[Person]) -> Track:
    """The track with the vote of the look which made it of `before`.

    A vote that is far from the others waits for the next ones: they show whether somebody else is
    there, or whether it was a bad look, which counts like all others.
    """
    if face.vector is None:
        return track
    ballot, doubt, time = track.ballot, track.doubt, track.seen
    far = ballot.votes >= _ANOTHER and ballot.is_far(face.vector)
    if doubt is not None and (not far or doubt.ballot.is_far(face.vector)):
        ballot, doubt = ballot.with_votes(doubt.ballot), None
    if not far:
        return replace(track, ballot=ballot.with_vote(face, time, people), doubt=None)
    if doubt is None:
        doubt = Doubt(track.last, replace(before, doubt=None), Ballot())
    doubt = replace(doubt, ballot=doubt.ballot.with_vote(face, time, people))
    return replace(track, ballot=ballot, doubt=doubt)


def parted(track: Track, proof: Doubt, number: int) -> tuple[Track, Track]:
    """A track as it was before others took its place, and a new one, which has the looks since."""
    before = replace(proof.before, ballot=track.ballot)
    return before, replace(track, number=number, ballot=proof.ballot, doubt=None)


def is_touched(track: Track, time: float, face: SeenFace, faces: Sequence[SeenFace]) -> bool:
    """Whether another of the faces may cover a part of this one, which is the track's.

    Heads are wider than the boxes of faces, and the box of a face that is covered may be that of
    the part which is seen: so it counts, too, where the track's should be.
    """
    boxes = face.box, track.box + np.tile(_way(track, time), 2)
    others = [_head(each.box) for each in faces if each is not face]
    return any(covered(box, other) > _TOUCH for box in boxes for other in others)


def covered(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The share of `box` that lies in the other box."""
    return _shared(box, other) / _area(box)


def _cost(track: Track, face: SeenFace, time: float) -> float:
    """How far a face lies from where the track's should be."""
    way = _way(track, time)
    box = track.box + np.tile(way, 2)
    shared = _shared(box, face.box)
    overlap = shared / (_area(box) + _area(face.box) - shared)
    size = (_area(box) * _area(face.box)) ** 0.25
    away = np.linalg.norm(track.landmarks + way - face.landmarks, axis=1).mean()
    return float(1 - overlap + away / size)


def _way(track: Track, time: float) -> NDArray[np.float64]:
    """How far a track's face goes to a time, if it goes on as before: x, y."""
    velocity = np.zeros(2) if track.velocity is None else track.velocity
    return velocity * (time - track.time)


def _voice(track: Track, face: SeenFace) -> float:
    """What vectors say for (below 0) or against a face; 0 where there are none."""
    if track.ballot.mean is None or face.vector is None:
        return 0.0
    away = float(np.sqrt(((face.vector - track.ballot.mean) ** 2).sum()))
    return _VOICE * min(_LOUDEST, max(-_LOUDEST, away - _ALIKE))


def _head(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """A face's box with the hair around it."""
    around = _HAIR * (box[2:] - box[:2])
    return np.concatenate([box[:2] - around, box[2:] + around])


def _area(box: NDArray[np.float64]) -> float:
    return max(1.0, float((box[2] - box[0]) * (box[3] - box[1])))


def _shared(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(sides.clip(0).prod())
