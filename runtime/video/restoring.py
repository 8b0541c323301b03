"""Frames on their way through the network: followed, cut, restored and pasted, side by side.

    frames -> follower: find, follow -> cutters -> engine: full calls -> pasters -> frames

Threads find, cut, call the engine and paste. The caller's thread takes frames from their source,
follows and recognises faces, and has the results; both ends are in order.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from runtime.dictionary import SpecificDictionary
from runtime.errors import InvalidLandmarksError, UsageError
from runtime.faces.alignment import transform
from runtime.faces.compositing import extract
from runtime.faces.finder import Crop
from runtime.faces.landmarks import component_boxes
from runtime.images.arrays import Image
from runtime.options import RestoreOptions, strength_of
from runtime.people.naming import Known
from runtime.photo import CutFace
from runtime.restorer import Restorer, steps_of
from runtime.scheduling.stages import Limits, Work, stream
from runtime.steps import RestoredFace
from runtime.video.following import Followed, Follower
from runtime.video.frames import Frame
from runtime.video.report import Clock
from runtime.video.tracks.seen import TrackedFace
from runtime.video.tracks.tracks import Tracks

_THREADS = 4  # that cut, and as many that paste: each takes some 10 ms for a face
_ROOM = 100_000_000  # pixels of frames between cutting and the result: 108 of 1280 x 720

State = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is done with the faces of a clip; `options` is checked by `check_wanted`."""

    identity: SpecificDictionary | None
    options: RestoreOptions


@dataclass(frozen=True, eq=False)
class Done:
    """A frame with the faces that were restored pasted into it.

    `restored`: the numbers of their tracks. `state`: see `Followed`.
    """

    frame: Frame
    faces: tuple[TrackedFace, ...]
    restored: tuple[int, ...]
    state: State | None


@dataclass(frozen=True, eq=False)
class _Cut:
    followed: Followed
    cuts: tuple[CutFace, ...]


def check_wanted(restorer: Restorer, wanted: Wanted) -> None:
    """Raise `UsageError` for what goes with photos only, `DictionaryError` for people."""
    only, strength = wanted.options.only, wanted.options.strength
    if only is not None and (not isinstance(only, int) or only < 0):
        raise UsageError(
            f"only must be the number of a track, which the report has, for a clip, not {only!r}"
        )
    if isinstance(strength, Mapping):
        raise UsageError("strength must be a number for a clip, and none for single faces")
    if wanted.options.upscale != 1:
        raise UsageError("a clip is not enlarged: upscale must be 1")
    for person in (wanted.identity, *wanted.options.people):
        if person is not None:
            restorer.check(person)


def restored_frames(
    restorer: Restorer,
    frames: Iterable[Frame],
    wanted: Wanted,
    clock: Clock,
    state: State | None = None,
    begins: Callable[[Frame], bool] = lambda frame: False,
) -> Generator[Done, None, None]:
    """Restore the faces of frames, in order.

    A frame is taken from `frames`, in the caller's thread, when there is room for it. What ends the
    work is raised when the frames that were done before have been given; only searches for
    faces and decoding that have begun are waited for.

    Args:
        restorer: it may do other work at the same time.
        frames: with rising numbers.
        wanted: what to do with their faces.
        clock: to which the seconds of each stage are added.
        state: of the tracks before the first of the frames, where an earlier run got so far.
        begins: see `Follower`.
    """
    steps = steps_of(restorer)
    options = wanted.options
    # also where a dictionary is given by hand: vectors have a voice in which face is which, and
    # tracks are to have the numbers that they had when somebody looked at them
    tracks = Tracks(options.people, options.people_threshold, state=state)
    follower = Follower(steps, tracks, begins, clock)
    cutting = _Cutting(wanted, clock)

    def run(cuts: Sequence[CutFace]) -> list[RestoredFace]:
        with clock.stage("network"):
            return steps.run(cuts)

    work: Work[Followed, _Cut, CutFace, RestoredFace, Done] = Work(
        cutting.cut, lambda cut: cut.cuts, run, cutting.paste, _raise, lambda error: True
    )
    batch = restorer.max_batch
    limits = Limits(_THREADS, batch, 2 if batch > 1 else 1, _ROOM)
    with (
        closing(follower.followed(frames)) as followed,
        closing(stream(work, limits, followed)) as done,
    ):
        yield from done


class _Cutting:
    """What comes before the network and behind it, for each frame."""

    def __init__(self, wanted: Wanted, clock: Clock) -> None:
        self._wanted, self._clock = wanted, clock

    def cut(self, followed: Followed, take_room: Callable[[int], None]) -> _Cut:
        rgb = followed.frame.rgb()
        take_room(rgb.shape[0] * rgb.shape[1])
        with self._clock.stage("cut"):
            cuts = (self._cut_face(rgb, face) for face in followed.faces if self._is_meant(face))
            return _Cut(followed, tuple(cut for cut in cuts if cut is not None))

    def paste(self, followed: Followed, cut: _Cut, faces: Sequence[RestoredFace]) -> Done:
        with self._clock.stage("paste"):
            # the face that was there first lies over its neighbours, in every frame
            for (image, _), one in sorted(
                zip(faces, cut.cuts, strict=True), key=lambda pair: -pair[1].index
            ):
                followed.frame.put(image, one.matrix, one.strength)
            followed.frame.settle()
        restored = tuple(one.index for one in cut.cuts)
        return Done(followed.frame, followed.faces, restored, followed.state)

    def _is_meant(self, face: TrackedFace) -> bool:
        only = self._wanted.options.only
        return face.opacity > 0 and only in (None, face.track)

    def _cut_face(self, rgb: Image, one: TrackedFace) -> CutFace | None:
        """The face for the network; None where it lies so that it cannot be restored."""
        face, person = one.face, self._wanted.identity
        try:
            crop = extract(rgb, face.transform)
            boxes = component_boxes(transform(face.transform, face.landmarks))
        except InvalidLandmarksError:
            return None
        if person is None and one.person is not None:
            person = self._wanted.options.people[one.person]
        strength = strength_of(self._wanted.options, one.track) * one.opacity
        known = Known(person, None, None, None)
        return CutFace(one.track, Crop(crop, boxes), face.transform, known, strength)


def _raise(followed: Followed, error: Exception) -> Done:
    raise error
