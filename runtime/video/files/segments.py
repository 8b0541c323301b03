"""A clip's finished segments, in a folder beside the target, from which a later run goes on.

A segment has an encoder of its own, so that it needs nothing of the others. Its packets lie in
parts, and a record beside them says what they are; it is written last. Before each segment comes
the state of whoever makes the pictures.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from runtime.errors import VideoError
from runtime.storage.local import write_atomically
from runtime.text import squeezed
from runtime.video.files.decoding import codec_tag
from runtime.video.files.encoding import Plan
from runtime.video.files.parts import PartWriter, disk_error, part_file
from runtime.video.files.picture import VideoPicture
from runtime.video.files.records import (
    KEY,
    LOCK,
    Record,
    finished,
    is_first,
    is_ours,
    key_of,
    packed,
    packed_record,
    record_file,
    segments_of,
    state_file,
    stem,
)
from runtime.video.files.source import Mark, Source
from runtime.video.files.streams import no_place

if TYPE_CHECKING:
    from av import VideoCodecContext


class Segments:
    """The segments of one clip; a context manager, which is for one thread at a time.

    Leaving it keeps the finished segments and drops an unfinished one.

    Attributes:
        folder: where they lie: the target's name with ".segments" after it.
        plan: how they are encoded.
        records: the finished segments, in their order.
        notes: what became of an earlier run's; a sentence each.
    """

    def __init__(
        self,
        target: str,
        source: Source,
        plan: Plan,
        options: Mapping[str, Any],
        resume: bool,
        anew: bool = False,
    ) -> None:
        """Describe them; nothing is touched yet.

        `options`: what else the pictures depend on, as JSON has it. `resume`: whether an earlier
        run's segments are kept; where they were made of another source or with other settings,
        they are refused, or with `anew` dropped.
        """
        self._target = Path(target)
        self.folder = segments_of(self._target)
        self.plan = plan
        self.records: list[Record] = []
        self.notes: list[str] = []
        self._source, self._resume, self._anew = source, resume, anew
        self._options = options
        self._lock: int | None = None
        self._context: VideoCodecContext | None = None
        self._state: dict[str, Any] | None = None
        self._spent = self._joined = False

    def __enter__(self) -> Self:
        """Make the folder, or find what lies there.

        Raises `VideoError` where another run works in it, it is not ours, or it was made with other
        settings than those to go on with; `OutputError` where the disk cannot be written to.
        """
        if self._target.is_dir():
            raise VideoError(f"{self._target}: is a folder; choose another target")
        with self._disk():
            self._take()
            try:
                self._find()
            except BaseException:
                self._release()
                raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            with self._disk():
                self._drop()
                if not self._joined and (not self.records or self.are_spent()):
                    self._clear()
        finally:
            self._release()

    def done(self) -> tuple[int, dict[str, Any] | None]:
        """The first picture that no earlier run has finished, and the state before it, if any.

        It is for the time before the first segment is begun.
        """
        return (self.records[-1].after if self.records else 0), self._state

    @property
    def mark(self) -> Mark | None:
        """The last picture that is done, for `Source.pictures`."""
        if not self.records:
            return None
        last = self.records[-1]
        return Mark(int(last.pts[-1]), last.fingerprint, int(last.durations[-1]), last.longest)

    def begin(self, first: int, state: Mapping[str, Any]) -> None:
        """Begin a segment with the picture of this number, before which `state` holds.

        Raises `OutputError` or `VideoError`.
        """
        from av.video.reformatter import VideoReformatter

        with self._disk():
            # two are kept, for the case that the last segment is damaged; all may be large together
            needed = (first, *(record.first for record in self.records[-1:]))
            self._clear_states([state_file(self.folder, each) for each in needed])
            write_atomically(state_file(self.folder, first), packed(state))
            size = sum(part.size for record in self.records for part in record.parts)
            self._writer = PartWriter(self.folder, stem(first), size)
            self._context = self.plan.open(self._source)
        self._first = first
        self._pts: list[int] = []
        self._durations: list[int] = []
        self._packets: list[tuple[int, int, bool]] = []
        self._reformatter = VideoReformatter()

    def add(self, picture: VideoPicture) -> None:
        """Encode a picture; nobody may change it afterwards. Raises as `begin`."""
        from av.video.frame import PictureType

        assert self._context is not None
        if self.plan.container == "avi":
            self._check_place(picture)
        frame = self.plan.fitted(picture.frame, self._source, self._reformatter)
        # encoders differ in what they do with times, so each picture's time is its number
        frame.pts, frame.time_base = len(self._pts), self.plan.time_base
        frame.duration, frame.pict_type = 1, PictureType.NONE
        self._pts.append(picture.pts)
        self._durations.append(picture.duration)
        self._fingerprint, self._longest = picture.fingerprint, picture.longest
        with self._disk():
            for packet in self._context.encode(frame):
                self._store(packet)

    def end(self) -> None:
        """Finish the segment; one without pictures is none. Raises as `begin`."""
        assert self._context is not None
        if not self._pts:
            self._drop()
            return
        with self._disk():
            for packet in self._context.encode(None):
                self._store(packet)
            if sorted(number for number, _, _ in self._packets) != list(range(len(self._pts))):
                raise VideoError(
                    f"{self.plan.encoder} made {len(self._packets)} of {len(self._pts)} pictures"
                )
            record = Record(
                first=self._first,
                pts=np.array(self._pts, np.int64),
                durations=np.array(self._durations, np.int64),
                packets=np.array(self._packets, np.int64),
                parts=list(self._writer.finish()),
                extradata=(self._context.extradata or b"").hex(),
                tag=codec_tag(self._context),
                fingerprint=self._fingerprint,
                longest=self._longest,
                damage=self._source.damage,
            )
            if self.records and record.extradata != self.records[0].extradata:
                raise VideoError(
                    f"{self.plan.encoder} begins two segments in ways that no file can hold "
                    "together; choose another codec"
                )
            write_atomically(record_file(self.folder, self._first), packed_record(record))
        self._context = None
        self.records.append(record)

    def spend(self) -> None:
        """Delete the states; from here on parts are deleted, too, so that nobody can go on."""
        self._clear_states([])
        self._spent = True

    def joined(self) -> None:
        """The result is there: delete the segments, of which nothing is needed any more.

        Where that fails, a note says so, as the result is whole all the same.
        """
        self._joined = True
        try:
            self._clear()
        except OSError as error:
            self.notes.append(f"{self.folder} could not be deleted: {error.strerror}")

    def are_spent(self) -> bool:
        """Whether parts are gone that a result was being made of, so that nobody can go on."""
        return self._spent or not all(
            part_file(self.folder, record.stem, number).exists()
            for record in self.records
            for number in range(len(record.parts))
        )

    def _check_place(self, picture: VideoPicture) -> None:
        """Raise `VideoError` where the picture has no place of its own in the result."""
        known = [record.pts for record in self.records[:1] + self.records[-1:]] + [self._pts]
        ends = [int(each[at]) for each in known if len(each) for at in (0, -1)]
        if ends and (why := no_place(picture, ends[0], ends[-1], self._source, self.plan)):
            raise VideoError(f"{self._target}: {why}")

    def _store(self, packet: Any) -> None:
        data = bytes(packet)
        self._packets.append((packet.pts, len(data), packet.is_keyframe))
        self._writer.add(data)

    def _drop(self) -> None:
        if self._context is not None:
            self._context = None
            self._writer.discard()

    def _find(self) -> None:
        """Read an earlier run's records, or remove what it left."""
        key = key_of(self._source, self.plan, self._options)
        try:
            earlier = json.loads((self.folder / KEY).read_bytes())
        except (OSError, ValueError):
            earlier = None
        if self._resume and earlier == key:
            self._read()
            return
        if self._resume and not self._anew and any(self.folder.glob("*.record")):
            raise VideoError(
                f"{self.folder}: its segments were made with other settings, of another source or "
                "by another version; go on with those, or delete this folder to begin the clip anew"
            )
        if (file := self._other_than(is_ours)) is not None:
            raise self._not_ours(file)
        self._clear(keep=(LOCK,))
        write_atomically(self.folder / KEY, json.dumps(key).encode())

    def _read(self) -> None:
        """Take over the finished segments, and delete what else an earlier run left."""
        self.records, self._state = finished(self.folder)
        if self.records:
            self._source.remember(self.records[-1].damage)
        elif any(self.folder.glob("*.record")):
            self.notes.append(
                "the segments of an earlier run are damaged or used up: the clip begins anew"
            )
        keep = {KEY, LOCK}
        for record in self.records:
            keep.add(record_file(self.folder, record.first).name)
            keep.add(state_file(self.folder, record.after).name)
        parts = tuple(f"{record.stem}-" for record in self.records)
        for file in self.folder.iterdir():
            if is_ours(file) and file.name not in keep and not file.name.startswith(parts):
                file.unlink()

    def _take(self) -> None:
        """Make the folder, and lock it for this run; the kernel unlocks it when the process ends.

        A run that ends may delete folder and lock at any time until this one holds the lock.
        """
        lock = self.folder / LOCK
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                # the key is written before what others would take for theirs, and deleted after it
                file = self._other_than(is_first)
                if file is not None and not (self.folder / KEY).exists() and file.exists():
                    raise self._not_ours(file)
                self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._release()
                    raise VideoError(
                        f"{self.folder}: another run is working on this clip"
                    ) from None
                except OSError:
                    return  # this disk has no locks: nothing guards against a second run
                if os.path.samestat(lock.stat(), os.fstat(self._lock)):
                    return
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _other_than(self, is_known: Callable[[Path], bool]) -> Path | None:
        return next((file for file in self.folder.iterdir() if not is_known(file)), None)

    def _not_ours(self, file: Path) -> VideoError:
        return VideoError(f"{self.folder}: {file.name} is not ours; move the folder away")

    def _clear_states(self, keep: Sequence[Path]) -> None:
        for file in self.folder.glob("*.state"):
            if file not in keep:
                file.unlink()

    def _clear(self, keep: tuple[str, ...] = ()) -> None:
        """Delete what is ours, and the folder, if it is empty then."""
        ours = [file for file in self.folder.iterdir() if is_ours(file) and file.name not in keep]
        # without a key nobody takes the others for ours, and without the lock another run begins
        for file in sorted(ours, key=lambda file: (file.name == LOCK, file.name == KEY)):
            file.unlink(missing_ok=True)
        if not keep:
            with suppress(OSError):  # somebody else put something into it
                self.folder.rmdir()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Errors of the disk and of the encoder become ours."""
        import av

        try:
            yield
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            what = squeezed(error.strerror or str(error))
            raise VideoError(f"{self.plan.encoder} failed: {what}") from None
        except OSError as error:
            raise disk_error(self.folder, error, "a run with --resume goes on") from None
