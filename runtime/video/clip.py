"""A clip from its file to the result's: segments of restored frames, joined with all the rest."""

import hashlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from numbers import Rational
from pathlib import Path
from typing import Any

from runtime.dictionary import SpecificDictionary
from runtime.errors import CancelledError, InvalidImageError, NoFaceError, UsageError
from runtime.images.files import MAX_PIXELS
from runtime.options import RestoreOptions, strength_of
from runtime.people.matching import THRESHOLD
from runtime.redaction import public_name
from runtime.restorer import Restorer, steps_of
from runtime.scheduling.ahead import ahead
from runtime.storage import locations as storage
from runtime.video.files.encoding import Encoding, plan_for
from runtime.video.files.joining import join
from runtime.video.files.segments import Segments
from runtime.video.files.source import Source
from runtime.video.frames import ClipFrame, Frame
from runtime.video.options import ClipOptions
from runtime.video.report import Clock, Log, VideoReport, VideoTrack
from runtime.video.restoring import Done, Wanted, check_wanted, restored_frames

Progress = Callable[[int, int | None, float], None]
"""Called with the frames that are done, how many there are in all, and frames a second."""

_SEGMENT = 5  # seconds: as one and the frames on their way may be lost, half of 10
_DECODED = 4  # frames that are decoded before they are asked for
_DAMAGE = 20  # damaged places that are listed
_SHOWN = 8  # tracks that are listed


def restore_video(
    restorer: Restorer,
    source: str | Path,
    target: str | Path,
    *,
    identity: SpecificDictionary | None = None,
    people: Sequence[SpecificDictionary] = (),
    people_threshold: float = THRESHOLD,
    only: int | None = None,
    strength: float = 1.0,
    start: float | Fraction | None = None,
    end: float | Fraction | None = None,
    codec: str | None = None,
    crf: int | None = None,
    pixel_format: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> VideoReport:
    """Restore the faces of a clip, and write it whole or not at all, with all that it holds.

    Args:
        restorer: it may do other work at the same time.
        source: the clip's file.
        target: the result's, which is replaced; finished segments lie beside it until it is whole.
        identity: the dictionary for every face, or for the one that `only` names.
        people: dictionaries with names: each face gets that of the person who it is, which is
            decided by many frames.
        people_threshold: the distance up to which a face is accepted as a person's.
        only: the number of the track to restore; None: all.
        strength: how much of the restored faces is in the result, from 0 to 1.
        start: seconds of the clip from which on it is restored; None: its beginning.
        end: seconds up to which it is restored; None: its end.
        codec: encoder of the result, by FFmpeg's name; None: the source's codec, or H.264.
        crf: constant quality as the encoder understands it; None: its default.
        pixel_format: by FFmpeg's name; None: the source's.
        resume: go on behind the segments that an earlier run has finished; refused where they were
            made with other settings, or of another source. False begins anew.
        progress: called after each frame; what it raises ends the work.
        cancel: ends the work with `CancelledError` when it is set.

    Raises `VideoError` where the clip cannot be read or written as asked, `OutputError` where the
    disk is full or protected, `InvalidImageError` where a frame has too many pixels,
    `CancelledError`, `UsageError` or `DictionaryError`; what the engine or a landmark detector of
    your own raises comes as it is, the latter with the frame's number and time.
    """
    options = RestoreOptions(
        only, people=people, people_threshold=people_threshold, strength=strength
    )
    encoding = Encoding(codec, crf, pixel_format)
    clip = ClipOptions(_exact("start", start), _exact("end", end), encoding)
    return restore_clip(
        restorer,
        storage.local(str(source)),
        storage.local(str(target)),
        Wanted(identity, options),
        clip,
        resume=resume,
        progress=progress,
        cancel=cancel,
    )


def restore_clip(
    restorer: Restorer,
    source: str,
    target: str,
    wanted: Wanted,
    clip: ClipOptions,
    *,
    max_pixels: int = MAX_PIXELS,
    resume: bool = False,
    anew: bool = False,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> VideoReport:
    """What `restore_video` does; a clip of more than `max_pixels` a frame is refused.

    `anew`: begin anew where `resume` would refuse an earlier run's segments.

    Raises `NoFaceError`, too, where the options require a face.
    """
    check_wanted(restorer, wanted)
    if storage.is_url(source):
        raise UsageError(f"{public_name(source)}: a clip is read from a file: download it first")
    if storage.is_url(target):
        raise UsageError(
            f"{public_name(target)}: a clip is written to a file; dmd-restore sends clips to URLs"
        )
    if storage.same(source, target):
        raise UsageError(f"{source} would be overwritten: choose another target")
    left = threading.Event()

    def check() -> None:
        if cancel is not None and cancel.is_set():
            raise CancelledError(f"{source}: cancelled; resume goes on from its finished segments")

    def check_reading() -> None:
        check()
        if left.is_set():
            raise CancelledError(f"{source}: left")  # the thread that reads ends by it

    clock = Clock()
    opened = Source(source, clip.start, clip.end, check_reading)
    info = opened.info
    if info.width * info.height > max_pixels:
        raise InvalidImageError(
            f"{source}: its frames of {info.width} x {info.height} px are over the limit of "
            f"{max_pixels} pixels"
        )
    plan = plan_for(opened, clip.encoding, target)
    settings = _settings(restorer, wanted)
    with Segments(target, opened, plan, settings, resume, anew) as segments:
        run = _Run(restorer, opened, segments, wanted, clock, left)
        with closing(run.frames()) as frames:
            for done in frames:
                if progress is not None:
                    progress(done, info.frames, (done - run.first) / clock.elapsed)
                check()
        tracks = run.log.tracks(wanted.identity)
        changes = () if wanted.identity is not None else run.log.changes()
        missed = _missed(wanted.options.only, tracks)
        if wanted.options.require_face and not any(track.frames for track in tracks):
            segments.joined()  # nothing of them is needed
            raise NoFaceError(f"{source}: {missed or 'no face of the clip can be restored'}")
        with clock.stage("join"):
            left_out = join(opened, segments, target)
    notes = (*opened.notes, *plan.notes, *segments.notes, *left_out, *changes)
    notes += tuple(_damage(opened))
    if missed and wanted.options.only is not None:
        notes += (missed,)
    return VideoReport(run.done, run.first, tracks, clock.elapsed, clock.seconds, notes)


class _Run:
    """The frames of a clip on their way into its segments.

    Attributes:
        first: frames that an earlier run has done.
        done: frames that are done.
        log: of the tracks so far.
    """

    def __init__(
        self,
        restorer: Restorer,
        source: Source,
        segments: Segments,
        wanted: Wanted,
        clock: Clock,
        left: threading.Event,
    ) -> None:
        """`left`: set when nobody asks for more frames."""
        self._restorer, self._source, self._segments = restorer, source, segments
        self._wanted, self._clock, self._left = wanted, clock, left
        self.first, state = segments.done()
        self.done = self.first
        self._tracks = None if state is None else state["tracks"]
        self.log = Log([] if state is None else state["log"])
        self._began: float | None = None

    def frames(self) -> Generator[int, None, None]:
        """Restore and encode the frames, one after the other; yields how many are done.

        When it is closed, nothing reads from the source any more, and its file is closed.
        """
        with (
            closing(self._decoded()) as pictures,
            closing(ahead(pictures, _DECODED, self._left)) as decoded,
            closing(
                restored_frames(
                    self._restorer, decoded, self._wanted, self._clock, self._tracks, self._begins
                )
            ) as restored,
        ):
            for each in restored:
                with self._clock.stage("encode"):
                    self._encode(each)
                self.done += 1
                yield self.done
        if self.done > self.first:
            with self._clock.stage("encode"):
                self._segments.end()

    def _decoded(self) -> Generator[ClipFrame, None, None]:
        """The frames that no earlier run has done, ready to be looked at."""
        with closing(self._source.pictures(self.first, self._segments.mark)) as pictures:
            while True:
                with self._clock.stage("decode"):
                    picture = next(pictures, None)
                    if picture is None:
                        return
                    frame = ClipFrame(picture)
                    frame.rgb()  # which is kept
                yield frame

    def _begins(self, frame: Frame) -> bool:
        """Whether a segment begins with a frame: the first does, and one every few seconds."""
        begins = self._began is None or frame.time - self._began >= _SEGMENT
        if begins:
            self._began = frame.time
        return begins

    def _encode(self, each: Done) -> None:
        if each.state is not None:
            if self.done > self.first:
                self._segments.end()
            state = {"tracks": each.state, "log": self.log.state()}
            self._segments.begin(each.frame.index, state)
        self.log.add(each.frame.time, each.faces, each.restored)
        assert isinstance(each.frame, ClipFrame)
        self._segments.add(each.frame.picture)


def _settings(restorer: Restorer, wanted: Wanted) -> dict[str, Any]:
    """Settings that a resumed run must share, apart from the source and the encoder."""
    options = wanted.options
    people = (wanted.identity, *options.people)
    return {
        "manifest": hashlib.sha256(repr(restorer.manifest).encode()).hexdigest(),
        "backend": restorer.backend,
        "own_landmarks": steps_of(restorer).own_landmarks,
        "min_face": steps_of(restorer).min_face,
        "people": [None if person is None else _mark(person) for person in people],
        "threshold": float(options.people_threshold),
        "only": options.only,
        "strength": float(strength_of(options, 0)),
    }


def _mark(person: SpecificDictionary) -> str:
    """A hash that identifies a dictionary."""
    made = hashlib.sha256(person.name.encode())
    made.update(person.rows.tobytes())
    made.update(person.vectors.tobytes())
    return made.hexdigest()


def _damage(source: Source) -> Iterator[str]:
    """A line for each damaged place, as far as they can be listed."""
    found = source.damage
    for seconds, what in found[:_DAMAGE]:
        yield f"at {seconds:.2f} s: {what}"
    if len(found) > _DAMAGE:
        yield f"and {len(found) - _DAMAGE} more places are damaged"


def _missed(only: object, tracks: Sequence[VideoTrack]) -> str | None:
    """Why no face of the clip was meant; None where one was. `only`: the track that is wanted."""
    if not tracks:
        return "no face was found in the clip"
    if only is None or any(track.number == only for track in tracks):
        return None
    there = ", ".join(str(track.number) for track in tracks[:_SHOWN])
    more = f" and {len(tracks) - _SHOWN} more" if len(tracks) > _SHOWN else ""
    return f"there is no track {only}, so no face was restored; there are {there}{more}"


def _exact(name: str, seconds: float | Fraction | None) -> Fraction | None:
    try:
        if seconds is None:
            return None
        # by its digits, 0.2 is a fifth, so that a frame of that very time is not missed
        return Fraction(seconds if isinstance(seconds, Rational) else str(seconds))
    except (TypeError, ValueError, OverflowError):  # also of what is infinite, or no number
        raise UsageError(f"{name} must be seconds of the clip, or None, not {seconds!r}") from None
