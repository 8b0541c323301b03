"""Clips whose faces move on known paths, as they are seen with noise, gaps and cuts."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtime.faces.alignment import TEMPLATE
from runtime.video.tracks.seen import Seen, SeenFace, Tracked
from runtime.video.tracks.tracks import Tracks

Points = NDArray[np.float64]
Path = Callable[[float], tuple[float, float] | None]
"""Where a face's middle is at a time; None where it is not in the picture."""

_OVERLAP = 0.3  # of two boxes: the face behind is not found

BOX = np.array([-0.5, -0.6, 0.5, 0.6])


def _shape() -> Points:
    """68 points of a face whose middle is 0, 0 and whose size is 1, at the template's places."""
    places = np.array([(256.0, 300.0)] * 36 + [TEMPLATE[0]] * 6 + [TEMPLATE[1]] * 6)
    places = np.vstack([places, [TEMPLATE[3]], [TEMPLATE[3:].mean(axis=0)] * 5])
    places = np.vstack([places, [TEMPLATE[4]], [TEMPLATE[3:].mean(axis=0)] * 13])
    places[30] = TEMPLATE[2]
    fixed = [30, 48, 54]
    around = np.random.default_rng(68).normal(0, 12, (68, 2))
    around[fixed] = 0
    for eye in (slice(36, 42), slice(42, 48)):
        around[eye] -= around[eye].mean(axis=0)
    return (places + around - 256) / 300


SHAPE = _shape()


def landmarks(x: float, y: float, size: float) -> Points:
    return SHAPE * size + (x, y)


def matrix(x: float, y: float, size: float) -> Points:
    """The transform of a face at this place, without noise."""
    scale = 300 / size
    return np.array([[scale, 0, 256 - scale * x], [0, scale, 256 - scale * y]])


@dataclass(frozen=True, eq=False)
class Actor:
    """Somebody on a path; `unseen`: frames in which the face is there and not found."""

    path: Path
    size: float = 150.0
    vector: NDArray[np.float64] | None = None
    unseen: Collection[int] = ()
    spread: float = 0.0  # of the vectors: their distance from `vector`


@dataclass(frozen=True, eq=False)
class Clip:
    """Actors, the first in front of the others.

    `times`: of the frames. `cuts`: the first frames of scenes. `noise`: of boxes and landmarks, in
    pixels.
    """

    actors: tuple[Actor, ...]
    times: tuple[float, ...]
    cuts: Collection[int] = ()
    noise: float = 0.0
    seed: int = 0

    def thumbnail(self, index: int) -> NDArray[np.uint8]:
        scene = sum(cut <= index for cut in self.cuts)
        return np.random.default_rng((self.seed, scene)).integers(0, 256, (36, 64), np.uint8)

    def faces(self, index: int) -> tuple[SeenFace, ...]:
        noise = np.random.default_rng((self.seed, 1, index))
        found: list[SeenFace] = []
        for actor in self.actors:
            place = actor.path(self.times[index])
            if place is None or index in actor.unseen:
                continue
            box = BOX * actor.size + np.tile(place, 2)
            if any(overlap(box, other.box) > _OVERLAP for other in found):
                continue
            points = landmarks(*place, actor.size) + noise.normal(0, 1, (68, 2)) * self.noise
            box = box + noise.normal(0, 1, 4) * self.noise
            vector = None
            if actor.vector is not None:
                away = noise.normal(size=128)
                away *= actor.spread / np.linalg.norm(away)
                vector = (actor.vector + away).astype(np.float32)
            found.append(SeenFace(box, 0.9, points, vector))
        # a finder gives the best first, which is now the one and now the other
        return tuple(found[index] for index in noise.permutation(len(found)))

    def asks(self, tracks: Tracks, index: int) -> bool:
        ahead = self.thumbnail(index + 1) if index + 1 < len(self.times) else None
        return tracks.wants_look(index, self.times[index], self.thumbnail(index), ahead)

    def push(
        self, tracks: Tracks, index: int, faces: tuple[SeenFace, ...] | None
    ) -> tuple[tuple[int, ...], list[Tracked]]:
        """Which faces got their vectors, because they were wanted, and the results."""
        seen = Seen(index, self.times[index], faces, self.thumbnail(index))
        wanted = tracks.wants_vector(seen)
        if faces is not None:
            kept = tuple(
                face if each in wanted else replace(face, vector=None)
                for each, face in enumerate(faces)
            )
            seen = replace(seen, faces=kept)
        return wanted, tracks.push(seen)

    def play(
        self, tracks: Tracks, start: int = 0, stop: int | None = None, always: bool = False
    ) -> list[Tracked]:
        """The results of frames from `start` on, to the end where `stop` is None.

        `always`: look at each frame.
        """
        results: list[Tracked] = []
        held: list[int] = []
        for index in range(start, len(self.times) if stop is None else stop):
            if not (self.asks(tracks, index) or always):
                held.append(index)
                continue
            look = Seen(index, self.times[index], self.faces(index), self.thumbnail(index))
            for each in held:
                faces = self.faces(each) if tracks.wants_look_after_all(look) else None
                results += self.push(tracks, each, faces)[1]
            held = []
            results += self.push(tracks, index, look.faces)[1]
        return results if stop is not None else results + tracks.finish()


def overlap(box: Points, other: Points) -> float:
    """What two boxes share, over what they cover together."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    shared = sides.clip(0).prod()
    areas = [(each[2:] - each[:2]).prod() for each in (box, other)]
    return float(shared / (sum(areas) - shared))


def steadily(count: int, rate: float = 25.0) -> tuple[float, ...]:
    """The times of so many frames."""
    return tuple(index / rate for index in range(count))


def still(x: float = 300.0, y: float = 300.0) -> Path:
    return lambda time: (x, y)


def errors(results: list[Tracked], actor: Actor, clip: Clip, track: int = 0) -> Points:
    """By how much the track's landmarks are off in each frame (N, 68, 2)."""
    found = []
    for result in results:
        (face,) = [each.face for each in result.faces if each.track == track]
        place = actor.path(clip.times[result.index])
        assert place is not None
        found.append(face.landmarks - landmarks(*place, actor.size))
    return np.array(found)
