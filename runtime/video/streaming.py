"""Frames in, frames out: what a player, a camera or a game feeds."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from numbers import Real
from typing import Any

from numpy.typing import NDArray

from runtime.dictionary import SpecificDictionary
from runtime.errors import UsageError
from runtime.images.arrays import Color
from runtime.options import RestoreOptions
from runtime.people.matching import THRESHOLD
from runtime.restorer import Restorer
from runtime.video.frames import ArrayFrame
from runtime.video.report import Clock
from runtime.video.restoring import Wanted, check_wanted, restored_frames


def stream(
    restorer: Restorer,
    frames: Iterable[NDArray[Any]],
    *,
    identity: SpecificDictionary | None = None,
    people: Sequence[SpecificDictionary] = (),
    people_threshold: float = THRESHOLD,
    only: int | None = None,
    strength: float = 1.0,
    color: Color = "bgr",
    fps: float | Fraction = 25.0,
) -> Generator[NDArray[Any], None, None]:
    """Restore the faces of a clip's frames, of which each face is followed through the clip.

    A frame is taken when it is needed, in the thread that asks for results. The first result comes
    when some frames after it were taken, by which its faces are smoothed; how many are taken ahead
    at most is bounded. Closing the iterator, or an error, ends the work; `frames` is not closed.

    Args:
        restorer: it may do other work at the same time, also other streams.
        frames: pictures as `Restorer.restore` takes them, all of one shape.
        identity: the dictionary for every face, or for the one that `only` names.
        people: dictionaries with names: each face gets that of the person who it is, which is
            decided by many frames.
        people_threshold: the distance up to which a face is accepted as a person's.
        only: the number of the track to restore, in the order of appearance from 0; None: all.
        strength: how much of the restored faces is in the result, from 0 to 1.
        color: channel order of the frames and of the results.
        fps: frames a second, by which faces are smoothed and faded in and out.

    Returns:
        An iterator of the frames in their order, each an array of its own, of the frame's dtype.

    Raises `UsageError` or `DictionaryError` at once; the iterator raises `InvalidImageError`, what
    `frames` raises, and what the engine does.
    """
    if not (isinstance(fps, Real) and 0 < fps < math.inf):
        raise UsageError(f"fps must be a number over 0, not {fps!r}")
    options = RestoreOptions(
        only, color=color, people=people, people_threshold=people_threshold, strength=strength
    )
    wanted = Wanted(identity, options)
    check_wanted(restorer, wanted)
    return _results(restorer, _numbered(frames, color, float(fps)), wanted)


def _results(
    restorer: Restorer, frames: Iterator[ArrayFrame], wanted: Wanted
) -> Generator[NDArray[Any], None, None]:
    with closing(restored_frames(restorer, frames, wanted, Clock())) as restored:
        for done in restored:
            assert isinstance(done.frame, ArrayFrame)
            yield done.frame.image


def _numbered(frames: Iterable[NDArray[Any]], color: Color, fps: float) -> Iterator[ArrayFrame]:
    shape: tuple[int, ...] | None = None
    for index, given in enumerate(frames):
        frame = ArrayFrame(index, index / fps, given, color, shape)
        shape = frame.image.shape
        yield frame
