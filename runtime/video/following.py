"""Finds the faces of frames and follows them, ahead of the network."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from runtime.errors import InvalidLandmarksError
from runtime.faces.alignment import TEMPLATE, check_crop, five_points, similarity, transform
from runtime.faces.compositing import extract
from runtime.faces.finder import Face
from runtime.faces.landmarks import MIN_COMPONENT, component_boxes
from runtime.one_by_one import put_name
from runtime.people.recognition import blur
from runtime.scheduling.background import Background
from runtime.steps import Steps
from runtime.video.frames import Frame
from runtime.video.report import Clock
from runtime.video.tracks.cuts import Thumbnail, thumbnail_of
from runtime.video.tracks.seen import Seen, SeenFace, Tracked, TrackedFace
from runtime.video.tracks.tracks import Tracks

_THREADS = 2  # that look for faces
_AHEAD = 12  # frames that wait for them, beside two that are held: each thread has two looks
_SPARE = 2  # pixels of a crop by which a box may shrink when its landmarks are smoothed


_Look = Future[tuple[SeenFace, ...]]


@dataclass(frozen=True, eq=False)
class Followed:
    """A frame whose faces are known.

    `state`: of the tracks before this frame, from which another run can go on; only where a segment
    of the result begins with it.
    """

    frame: Frame
    faces: tuple[TrackedFace, ...]
    state: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A frame that waits to be decided; `faces`: its search, or None where there is none."""

    frame: Frame
    thumbnail: Thumbnail
    faces: _Look | None


class Follower:
    """Follows faces through the frames of one clip.

    `begins`: whether a segment of the result begins with a frame; it is asked in order.
    """

    def __init__(
        self, steps: Steps, tracks: Tracks, begins: Callable[[Frame], bool], clock: Clock
    ) -> None:
        self._steps, self._tracks, self._begins, self._clock = steps, tracks, begins, clock
        self._held: deque[_Waiting] = deque()  # until the next look is known
        self._undecided: deque[Frame] = deque()
        self._looks: list[_Look] = []  # that have not ended
        self._left = False  # whether nobody asks for more

    def followed(self, frames: Iterable[Frame]) -> Generator[Followed, None, None]:
        """All frames in their order, each when those that come after have decided who is in it.

        Threads look for faces; who is where is decided in the caller's thread, frame by frame.
        """
        waiting: deque[_Waiting] = deque()
        with Background("finder", _THREADS) as finders:
            try:
                for one in self._begun(frames, finders):
                    waiting.append(one)
                    del one  # else it would stay in memory while its results are used
                    while waiting and (len(waiting) > _AHEAD or _is_ready(waiting[0])):
                        yield from self._decided(waiting.popleft(), finders)
                while waiting:
                    yield from self._decided(waiting.popleft(), finders)
            finally:
                # a process that ends while a thread is in a network would be aborted
                self._left = True
                for look in self._looks:
                    look.exception()  # waits for it
        yield from map(self._followed, self._tracks.finish())

    def _begun(self, frames: Iterable[Frame], finders: Background) -> Iterator[_Waiting]:
        """The frames, each of which is looked at if the tracks want it, when the next is known."""
        last: tuple[Frame, Thumbnail] | None = None
        for frame in frames:
            small = thumbnail_of(frame.rgb())
            if last is not None:
                yield self._begin(*last, small, finders)
            last = frame, small
        if last is not None:
            yield self._begin(*last, None, finders)

    def _begin(
        self, frame: Frame, small: Thumbnail, ahead: Thumbnail | None, finders: Background
    ) -> _Waiting:
        wanted = self._tracks.wants_look(frame.index, frame.time, small, ahead)
        return _Waiting(frame, small, self._submit(frame, finders) if wanted else None)

    def _submit(self, frame: Frame, finders: Background) -> _Look:
        self._looks = [each for each in self._looks if not each.done()]
        self._looks.append(finders.submit(self._look, frame))
        return self._looks[-1]

    def _look(self, frame: Frame) -> tuple[SeenFace, ...]:
        """The faces that can be restored; others count as missed, so that tracks bridge them.

        What a landmark detector of the caller's own raises says in which frame it did.
        """
        if self._left:
            return ()
        rgb = frame.rgb()
        with self._clock.stage("find"):
            try:
                faces = self._steps.faces(rgb)
            except Exception as error:
                put_name(error, f"frame {frame.index}, at {frame.time:.2f} s")
                raise
            return tuple(
                SeenFace(face.box, face.score, face.landmarks)
                for face in faces
                if _can_be_cut(face, rgb.shape)
            )

    def _decided(self, one: _Waiting, finders: Background) -> Iterator[Followed]:
        """Those frames that are decided when this one is.

        One without a look is held until the next look says whether it needs one after all: the
        last frame of a clip is always looked at.
        """
        if one.faces is None:
            self._held.append(one)
            return
        look = _seen(one, one.faces.result())
        looks: dict[int, _Look] = {}
        while self._held:
            with self._clock.stage("follow"):
                wanted = self._tracks.wants_look_after_all(look)
            if wanted and not looks:  # side by side, though one may turn out not to be wanted
                looks = {each.frame.index: self._submit(each.frame, finders) for each in self._held}
            held = self._held.popleft()
            faces = looks[held.frame.index].result() if wanted else None
            yield from self._pushed(held.frame, _seen(held, faces))
        yield from self._pushed(one.frame, look)

    def _pushed(self, frame: Frame, seen: Seen) -> list[Followed]:
        with self._clock.stage("follow"):
            self._undecided.append(frame)
            return [
                self._followed(each) for each in self._tracks.push(self._recognised(seen, frame))
            ]

    def _recognised(self, seen: Seen, frame: Frame) -> Seen:
        """The same with vectors of those faces of which the tracks want to know who they are."""
        faces = list(seen.faces or ())
        for index in self._tracks.wants_vector(seen):
            face = faces[index]
            try:
                matrix = similarity(five_points(face.landmarks), TEMPLATE)
                crop = extract(frame.rgb(), matrix)
            except InvalidLandmarksError:
                continue
            vector = self._steps.describe([crop])[0]
            faces[index] = replace(face, vector=vector, blur=blur(crop))
        return seen if seen.faces is None else replace(seen, faces=tuple(faces))

    def _followed(self, tracked: Tracked) -> Followed:
        frame = self._undecided.popleft()
        state = self._tracks.state(frame.index) if self._begins(frame) else None
        return Followed(frame, tracked.faces, state)


def _seen(one: _Waiting, faces: tuple[SeenFace, ...] | None) -> Seen:
    return Seen(one.frame.index, one.frame.time, faces, one.thumbnail)


def _can_be_cut(face: Face, shape: tuple[int, ...]) -> bool:
    """Whether the network can take a face: not in profile, nor for the most part outside."""
    try:
        check_crop(face.transform, shape)
        boxes = component_boxes(transform(face.transform, face.landmarks))
    except InvalidLandmarksError:
        return False
    return bool((boxes[:, 2:] - boxes[:, :2]).min() >= MIN_COMPONENT + _SPARE)


def _is_ready(one: _Waiting) -> bool:
    return one.faces is None or one.faces.done()
