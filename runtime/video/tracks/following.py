"""From look to look: what is known of a clip after each of its frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from runtime.people.matching import Person
from runtime.video.tracks.cuts import Watch
from runtime.video.tracks.seen import REACH, Seen, SeenFace
from runtime.video.tracks.tracking import (
    Pair,
    Track,
    begun,
    continued,
    is_touched,
    pair,
    parted,
    voted,
)

Place = NDArray[np.float64]
"""The middle of a face's landmarks: x, y."""

_STRAY = 0.06  # of a face's size: so far from where it should be, motion is not steady
_LIKE = 0.9  # of the time between two looks: motion is known from a time as long as that


@dataclass(frozen=True, eq=False)
class Sight:
    """A face as it was seen in a frame, and the number of its track."""

    track: int
    score: float
    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Kept:
    """A frame whose neighbours need it: `cut`: it begins a scene; `looked`: faces were sought."""

    index: int
    time: float
    cut: bool
    looked: bool
    sights: tuple[Sight, ...]


@dataclass(frozen=True, eq=False)
class State:
    """All that is known before a frame.

    Attributes:
        following: the number of the frame that comes next; None before the first.
        undecided: that of the first frame whose result was not given yet.
        watch: for cuts.
        looked: the last frame of this scene in which faces were looked for; None: there is none.
        scene: the first frame of this scene.
        count: of the tracks so far.
        tracks: those that may go on, or that undecided frames need, by their numbers.
        frames: those around the ones which are not decided.
    """

    following: int | None = None
    undecided: int = 0
    watch: Watch = field(default_factory=Watch)
    looked: int | None = None
    scene: int = 0
    count: int = 0
    tracks: tuple[Track, ...] = ()
    frames: tuple[Kept, ...] = ()


@dataclass(frozen=True, eq=False)
class _Meeting:
    """A frame's faces and the tracks: `alive`: those that may go on; `pairs`: of each face."""

    cut: bool
    watch: Watch
    scene: int
    looked: int | None
    alive: tuple[Track, ...]
    pairs: tuple[Pair, ...]


def advanced(state: State, seen: Seen, people: Sequence[Person]) -> State:
    """What is known after the next frame."""
    if state.following is None:
        state = replace(state, following=seen.index, undecided=seen.index, scene=seen.index)
    if seen.index != state.following:
        raise ValueError(f"frame {seen.index} where {state.following} should be")
    met = _meet(state, seen)
    oldest = state.undecided - REACH
    tracks = {
        track.number: track for track in state.tracks if track.last >= oldest or track in met.alive
    }
    sights, count, frames = [], state.count, state.frames
    faces = [_plain(face) for face in seen.faces or ()]
    for face, place in zip(faces, met.pairs, strict=True):
        if place.track is None:
            before = track = begun(count, seen.index, seen.time, face)
            count += 1
        else:
            before = met.alive[place.track]
            touched = is_touched(before, seen.time, face, faces)
            track = continued(before, seen.index, seen.time, face, place.hides, touched)
        track = voted(track, before, face, people)
        if (proof := track.proof) is not None:
            first = max(proof.first, state.undecided)
            old, track = parted(track, proof, count)
            count += 1
            tracks[old.number] = old
            frames = tuple(_renumbered(each, first, old.number, track.number) for each in frames)
        tracks[track.number] = track
        sights.append(Sight(track.number, face.score, face.box, face.landmarks))
    looks = seen.faces is not None
    frame = Kept(seen.index, seen.time, met.cut, looks, tuple(sights))
    return State(
        following=seen.index + 1,
        undecided=state.undecided,
        watch=met.watch,
        looked=seen.index if looks else met.looked,
        scene=met.scene,
        count=count,
        tracks=tuple(tracks.values()),
        frames=(*frames, frame),
    )


def wanted(state: State, seen: Seen) -> tuple[int, ...]:
    """Which faces of the next frame should have vectors.

    New ones, those that were away or lie where more than one track could go on, and some more.
    """
    plain = tuple(replace(face, vector=None) for face in seen.faces or ())
    met = _meet(state, replace(seen, faces=plain))

    def is_wanted(place: Pair) -> bool:
        if place.track is None or place.doubtful:
            return True
        track = met.alive[place.track]
        return track.last != met.looked or track.wants(seen.time)

    return tuple(index for index, place in enumerate(met.pairs) if is_wanted(place))


def is_surprising(state: State, look: Seen) -> bool:
    """Whether the middle of a face of the last look is not where it should be in the next one.

    Then it does not move steadily from the one to the other, nor does it gather speed steadily. A
    face that was seen once may be anywhere.
    """
    last = next((frame for frame in reversed(state.frames) if frame.looked), None)
    found = [face.landmarks.mean(axis=0) for face in look.faces or ()]

    def is_lost(sight: Sight) -> bool:
        size = np.sqrt((sight.box[2:] - sight.box[:2]).clip(1).prod())
        goals = _goals(state.frames, sight.track, look.time)
        return bool(goals) and all(
            np.linalg.norm(goal - each) > _STRAY * size for goal in goals for each in found
        )

    return last is not None and any(is_lost(sight) for sight in last.sights)


def _goals(frames: Sequence[Kept], track: int, at: float) -> list[Place]:
    """Where a track's face may be at a time, by its last two and its last three looks.

    They are as far apart as the time is from the last one: else noise would look like motion.
    """
    times, places, before = list[float](), list[Place](), float("inf")
    for frame in reversed(frames):
        for sight in frame.sights:
            if sight.track == track and frame.time < before and len(times) < 3:
                times.append(frame.time - at)
                places.append(sight.landmarks.mean(axis=0))
                before = frame.time + _LIKE * times[0]  # which is under 0
    return [_at_zero(times[:count], places[:count]) for count in range(2, len(times) + 1)]


def _at_zero(times: Sequence[float], places: Sequence[Place]) -> Place:
    """Where a polynomial through all places is at time 0 (Lagrange)."""
    shares = (
        math.prod(other / (other - time) for other in times if other != time) for time in times
    )
    return np.asarray(sum(share * place for share, place in zip(shares, places, strict=True)))


def _meet(state: State, seen: Seen) -> _Meeting:
    cut, watch = state.watch.after(seen.thumbnail)
    scene, looked = (seen.index, None) if cut else (state.scene, state.looked)
    alive = tuple(
        track
        for track in state.tracks
        if track.last >= scene and track.is_alive(seen.index, seen.time, looked)
    )
    pairs = tuple(pair(alive, seen.faces or (), seen.index, seen.time))
    return _Meeting(cut, watch, scene, looked, alive, pairs)


def _renumbered(frame: Kept, first: int, old: int, new: int) -> Kept:
    """The frame, from the first one on with a face of one track as that of another."""
    if frame.index < first:
        return frame
    sights = (replace(each, track=new) if each.track == old else each for each in frame.sights)
    return replace(frame, sights=tuple(sights))


def _plain(face: SeenFace) -> SeenFace:
    """The face with arrays in memory as JSON gives them back, so that sums are the same."""
    box = np.array(face.box, np.float64, order="C")
    return replace(face, box=box, landmarks=np.array(face.landmarks, np.float64, order="C"))
