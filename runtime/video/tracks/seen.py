"""What goes into the tracks of a clip, frame by frame, and what comes out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.faces.finder import Face

REACH = 15
"""Frames before and after a frame that its result depends on, beside the look behind them."""


@dataclass(frozen=True, eq=False)
class SeenFace:
    """A face that was found in a frame.

    Attributes:
        box: float64 (4,) x1, y1, x2, y2 in pixels of the upright frame.
        score: how certain the detector is, from 0 to 1.
        landmarks: float64 (68, 2) x, y in pixels of the upright frame, iBUG order.
        vector: float32 (128,), who it is (`Recognizer.describe`); None where nobody asked.
        blur: of the crop that the vector was made of (`runtime.people.recognition.blur`): the
            vectors of blurred crops count less. 0 counts in full.
    """

    box: NDArray[np.float64]
    score: float
    landmarks: NDArray[np.float64]
    vector: NDArray[np.float32] | None = None
    blur: float = 0.0


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame of a clip.

    Attributes:
        index: the frame's number; each frame has the number after that of the one before.
        time: seconds from any begin; it grows from frame to frame.
        faces: best first, as `FaceFinder.find` gives them; None: they were not looked for.
        thumbnail: what `cuts.thumbnail_of` makes of the frame.
    """

    index: int
    time: float
    faces: tuple[SeenFace, ...] | None
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face in a frame, as a part of its track.

    Attributes:
        track: the track's number, from 0, in the order in which tracks were noticed.
        face: box, landmarks and transform without jitter; name, distance and the like by the votes
            of the whole track. Its crop may lie partly outside of the frame.
        person: who it is, as an index into the people; None for nobody.
        opacity: over 0 and up to 1, less where the face fades in or out.
    """

    track: int
    face: Face
    person: int | None
    opacity: float


@dataclass(frozen=True, eq=False)
class Tracked:
    """A frame whose faces are known.

    Attributes:
        index: the frame's number.
        faces: by their tracks' numbers, which gives neighbours the same order in all frames.
        cut: whether the frame is the first after a cut.
    """

    index: int
    faces: tuple[TrackedFace, ...]
    cut: bool
