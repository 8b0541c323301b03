"""Pictures of people who move on known paths, and the truth about each: who is where.

The built-in faces are the people. Points are in pixels of the picture, x to the right and y down,
with pixel centres at whole numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.bundle.layout import IMAGE_SIZE
from runtime.faces.alignment import Points, inverse, transform
from runtime.images.arrays import Image
from runtime.samples.faces import Sample, samples

ASTRONAUT, HOPPER = "astronaut", "grace_hopper"
"""The people, by the names of their samples."""

_MIDDLE = (IMAGE_SIZE - 1) / 2
_SPOT = 80  # pixels of the background between its random colours
_GRAIN = 64  # pixels by which the field of noise is larger than the picture


@dataclass(frozen=True)
class Pose:
    """Where a person's aligned crop lies: its middle (x, y), its side, and its turn.

    `size`: of the actor's side, at most 1; `turn`: degrees, clockwise.
    """

    x: float
    y: float
    size: float = 1.0
    turn: float = 0.0


Path = Callable[[float], Pose]
"""Where a person is, by the seconds since the shot began."""


@dataclass(frozen=True)
class Actor:
    """A person on a path; `side`: of the aligned crop where it is largest, in pixels."""

    person: str
    side: int
    path: Path


@dataclass(frozen=True)
class Shot:
    """What is seen between two cuts: people, the first behind the others, for some seconds."""

    actors: tuple[Actor, ...]
    seconds: float
    seed: int = 0


@dataclass(frozen=True)
class Scene:
    """Shots of one size (width, height); `noise`: standard deviation of their grain, in levels."""

    size: tuple[int, int]
    shots: tuple[Shot, ...]
    noise: float = 2.0

    @property
    def seconds(self) -> float:
        return sum(shot.seconds for shot in self.shots)


@dataclass(frozen=True, eq=False)
class Present:
    """The truth about a person who is in a picture.

    Attributes:
        person: the name of the sample.
        transform: (2, 3) matrix that takes x, y, 1 of the picture to x, y in the aligned crop.
        landmarks: (68, 2) x, y, in iBUG order.
        box: (4,) x1, y1, x2, y2 around them.
        hidden: the share of them that others cover, or that lie outside of the picture.
    """

    person: str
    transform: Points
    landmarks: NDArray[np.float64]
    box: NDArray[np.float64]
    hidden: float


def swaying(x: float, y: float, reach: float, seconds: float = 2.0) -> Path:
    """Around a place and back in so many seconds: pan, zoom and turn, none of the same period."""

    def path(time: float) -> Pose:
        angle = 2 * math.pi * time / seconds
        return Pose(
            x + reach * math.sin(angle),
            y + reach / 3 * math.sin(1.6 * angle + 1),
            0.875 + 0.125 * math.cos(0.6 * angle),
            8 * math.sin(0.8 * angle),
        )

    return path


def walking(*stations: tuple[float, float, float]) -> Path:
    """From station to station, each a second and its x, y; steadily, and none beyond the last."""
    times, xs, ys = zip(*stations, strict=True)

    def path(time: float) -> Pose:
        return Pose(float(np.interp(time, times, xs)), float(np.interp(time, times, ys)))

    return path


def shot_at(scene: Scene, time: float) -> tuple[Shot, float]:
    """The shot that is seen so many seconds after the scene's begin, and the seconds since its."""
    for shot in scene.shots[:-1]:
        # a frame that is to begin with the shot may begin a rounding error before it
        if time < shot.seconds - 1e-6:
            return shot, time
        time = max(0.0, time - shot.seconds)
    return scene.shots[-1], time


def picture(scene: Scene, time: float, number: int) -> Image:
    """What is seen so many seconds after the beginning: uint8 RGB; `number` is for its grain."""
    shot, since = shot_at(scene, time)
    seen = _background(shot.seed, scene.size).astype(np.float32)
    for actor in shot.actors:
        face, mask = _cast(actor.person, actor.side)
        matrix = _to_picture(actor.path(since), actor.side, len(face))
        laid = cv2.warpAffine(face, matrix, scene.size, flags=cv2.INTER_CUBIC)
        cover = cv2.warpAffine(mask, matrix, scene.size, flags=cv2.INTER_LINEAR)[:, :, None]
        seen += cover * (laid.astype(np.float32) - seen)
    x, y = np.random.default_rng(number).integers(0, _GRAIN, 2)
    width, height = scene.size
    grain = _grain(scene.size)[y : y + height, x : x + width, None]
    return np.asarray(np.rint(seen + scene.noise * grain).clip(0, 255), np.uint8)


def present(scene: Scene, time: float) -> tuple[Present, ...]:
    """Who is in that picture, in the order of its actors: all of whom a landmark is to be seen."""
    shot, since = shot_at(scene, time)
    matrices = [_to_picture(actor.path(since), actor.side, IMAGE_SIZE) for actor in shot.actors]
    found = []
    for index, (actor, matrix) in enumerate(zip(shot.actors, matrices, strict=True)):
        landmarks = transform(matrix, _sample(actor.person).landmarks)
        width, height = scene.size
        outside = (landmarks < 0) | (landmarks > np.array([width - 1, height - 1]))
        hidden = outside.any(axis=1)
        for other in matrices[index + 1 :]:
            hidden |= _covered(transform(inverse(other), landmarks))
        if hidden.all():
            continue
        box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
        share = float(hidden.mean())
        found.append(Present(actor.person, inverse(matrix), landmarks, box, share))
    return tuple(found)


def _to_picture(pose: Pose, side: int, pixels: int) -> Points:
    """The transform from a person's crop of so many pixels a side to the picture."""
    scale = pose.size * side / pixels
    turn = math.radians(pose.turn)
    a, b = scale * math.cos(turn), scale * math.sin(turn)
    middle = (pixels - 1) / 2
    return np.array(
        [
            [a, -b, pose.x - a * middle + b * middle],
            [b, a, pose.y - b * middle - a * middle],
        ]
    )


def _covered(points: Points) -> NDArray[np.bool_]:
    """Which points of an aligned crop lie in the person's outline."""
    return _away(points[:, 0], points[:, 1]) < 1


def _away(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far points of an aligned crop lie from its middle; the person's outline is at 1."""
    x, y = (x - _MIDDLE) / (0.47 * IMAGE_SIZE), (y - _MIDDLE) / (0.49 * IMAGE_SIZE)
    return np.asarray(np.sqrt(np.sqrt(x**4 + y**4)))


@cache
def _sample(person: str) -> Sample:
    return next(sample for sample in samples() if sample.name == person)


@cache
def _cast(person: str, side: int) -> tuple[Image, NDArray[np.float32]]:
    """A person's crop, `side` pixels wide, and how much of it covers what is behind: 0 to 1."""
    x, y = np.meshgrid(*[np.arange(IMAGE_SIZE, dtype=np.float64)] * 2)
    soft = ((1 - _away(x, y)) / 0.06).clip(0, 1).astype(np.float32)
    face, mask = (
        cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA)
        for each in (_sample(person).rgb, soft)
    )
    return np.asarray(face, np.uint8), np.asarray(mask, np.float32)


@cache
def _background(seed: int, size: tuple[int, int]) -> Image:
    """A smooth picture of random colours."""
    width, height = size
    spots = (height // _SPOT + 2, width // _SPOT + 2, 3)
    coarse = np.random.default_rng(seed).integers(40, 200, spots).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)


@cache
def _grain(size: tuple[int, int]) -> NDArray[np.float32]:
    """Noise of standard deviation 1, larger than a picture of this size."""
    width, height = size
    rng = np.random.default_rng(0)
    return rng.standard_normal((height + _GRAIN, width + _GRAIN), np.float32)
