"""What a frame shows, once the frames after it are known: where faces are, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtime.faces.alignment import TEMPLATE, five_points, similarity
from runtime.faces.finder import Face
from runtime.people.naming import matched
from runtime.video.tracks.following import Kept, Sight, State
from runtime.video.tracks.seen import REACH, Tracked, TrackedFace
from runtime.video.tracks.smoothing import between, smoothed
from runtime.video.tracks.tracking import GAP, GAP_SECONDS, Track, covered
from runtime.video.tracks.votes import elect

_FADE = 5
"""Frames in which a face fades in or out. With `tracking.GAP` they are within REACH, so that it is
known that a face goes before it begins to fade."""

_HIDDEN = 0.4  # part of a face that was not seen, in another's box: it is behind that

_Sights = list[tuple[Kept, Sight]]


@dataclass(frozen=True, eq=False)
class _Scene:
    """The frames around one that belong to its scene.

    `ends`: whether the scene is over after them. `at`: the frame's number.
    """

    frames: tuple[Kept, ...]
    ends: bool
    at: int

    def sights(self, track: int) -> _Sights:
        return [(each, one) for each in self.frames for one in each.sights if one.track == track]


def decided(
    state: State, over: bool, names: Sequence[str], threshold: float, steady: bool
) -> tuple[State, Tracked]:
    """The result of the first frame that has none yet, and what is known then.

    `over`: whether the clip ends with the last frame that is known.
    """
    at = state.undecided
    place = next(index for index, frame in enumerate(state.frames) if frame.index == at)
    frame, scene = state.frames[place], _scene(state.frames, place, over)
    shown: list[tuple[Track, float, _Sights]] = []
    for track in state.tracks:
        sights = scene.sights(track.number)
        if (opacity := _opacity(sights, scene)) > 0:
            shown.append((track, opacity, sights))
    elected = elect([track.ballot for track, _, _ in shown], names, threshold)
    faces, tracks = [], {track.number: track for track in state.tracks}
    for (track, opacity, sights), (ballot, match) in zip(shown, elected, strict=True):
        tracks[track.number] = replace(track, ballot=ballot)
        face = _face(sights, frame.time, steady)
        if match is not None:
            face = matched(face, match)
        faces.append(TrackedFace(track.number, face, ballot.person, opacity))
    oldest = at + 1 - REACH
    state = replace(
        state,
        undecided=at + 1,
        tracks=tuple(tracks.values()),
        frames=tuple(each for each in state.frames if each.index >= oldest),
    )
    return state, Tracked(at, tuple(faces), frame.cut)


def _scene(frames: tuple[Kept, ...], place: int, over: bool) -> _Scene:
    first, last = place, place + 1
    while first > 0 and not frames[first].cut:
        first -= 1
    while last < len(frames) and not frames[last].cut:
        last += 1
    return _Scene(frames[first:last], over or last < len(frames), frames[place].index)


def _opacity(sights: _Sights, scene: _Scene) -> float:
    """How much of a track's face is shown in the scene's frame; 0 where it is not there.

    It is there from a sight to the next one, if it was just missed in between, and fades before
    and after other pauses. At the beginning and the end of the scene there is no fade.
    """
    looks = [frame.index for frame in scene.frames if frame.looked]
    for stretch in _stretches(sights, scene):
        begin, end = stretch[0][0].index, stretch[-1][0].index
        lasts = scene.ends and end == looks[-1]
        if begin <= scene.at and (scene.at <= end or lasts):
            since = _FADE if begin == looks[0] else scene.at - begin
            until = _FADE if lasts else end - scene.at
            return min(1.0, (1 + min(since, until)) / (1 + _FADE))
    return 0.0


def _stretches(sights: _Sights, scene: _Scene) -> list[_Sights]:
    """The sights, split where the face was away or hidden."""
    found: list[_Sights] = []
    for sight in sights:
        if found and _is_bridged(found[-1][-1], sight, scene):
            found[-1].append(sight)
        else:
            found.append([sight])
    return found


def _is_bridged(before: tuple[Kept, Sight], after: tuple[Kept, Sight], scene: _Scene) -> bool:
    """Whether a face is shown between two sights.

    Not where it is behind another's: two crops of one place would be pasted over each other.
    """
    (first, one), (last, other) = before, after
    missed = [
        frame for frame in scene.frames if first.index < frame.index < last.index and frame.looked
    ]
    if last.index - first.index > GAP or (missed and last.time - first.time > GAP_SECONDS):
        return False
    times, boxes = np.array([first.time, last.time]), np.array([one.box, other.box])
    return not any(
        covered(between(times, boxes, frame.time), face.box) > _HIDDEN
        for frame in missed
        for face in frame.sights
    )


def _face(sights: _Sights, at: float, steady: bool) -> Face:
    """Where a track's face is at a time."""
    times = np.array([frame.time for frame, _ in sights])
    points = np.array([_points(sight) for _, sight in sights])
    nearest = sights[int(np.abs(times - at).argmin())][1]
    if steady:
        width, height = nearest.box[2:] - nearest.box[:2]
        size = max(1.0, float(np.sqrt(width * height)))
        placed = smoothed(times, points, at, size)
    else:
        placed = between(times, points, at)
    landmarks = placed[2:]
    matrix = similarity(five_points(landmarks), TEMPLATE)
    return Face(placed[:2].ravel(), nearest.score, landmarks, matrix)


def _points(sight: Sight) -> NDArray[np.float64]:
    """The box's corners and the landmarks (70, 2)."""
    return np.vstack([sight.box.reshape(2, 2), sight.landmarks])
