"""A clip that is read: what it is, and its pictures in the order of showing."""

import math
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any

from runtime.errors import VideoError
from runtime.video.files.decoding import (
    codec_tag,
    decoded,
    first_whole,
    is_cover,
    is_unordered,
    opened,
    video_of,
)
from runtime.video.files.picture import (
    Layout,
    VideoPicture,
    display_matrix,
    fingerprint_of,
    readable,
    side_data,
)
from runtime.video.files.pixels.colour import Colours

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream

_USUAL_RATE = Fraction(25)
# before the first picture, decoding begins: so early that no key frame is found whose picture is
# shown later, as files are sought by times of decoding, at most 16 pictures from those of showing
_BEFORE_SECONDS, _BEFORE_PICTURES = 1, 20
_MISSING_SECONDS = 1  # at a clip's end: more than a file is inaccurate by; within: a short break
_MISSING_TIMES = 3  # of the longest time between two frames so far: unlike a variable rate
_INTERLACED = "frames are interlaced from here on: faces may be spoilt; deinterlace the clip first"
_DURATION = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")  # of a stream, as Matroska has it
_HDR_LEFT_OUT = {
    "DOVI_METADATA": "Dolby Vision's metadata",
    "DYNAMIC_HDR_PLUS": "HDR10+'s metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid's metadata",
}


@dataclass(frozen=True)
class Mark:
    """The last picture that is done, as `VideoPicture` has it.

    Attributes:
        pts, duration: when it is shown.
        fingerprint: to know it again by.
        longest: the longest break up to it.
    """

    pts: int
    fingerprint: int
    duration: int = 0
    longest: int = 0


@dataclass(frozen=True)
class ClipInfo:
    """Properties of a clip, read from its file and first frame.

    Attributes:
        width, height: of the upright picture, in pixels.
        frames: how many there will be about; None where the file does not say.
        rate: frames a second, on average.
        bit_rate: bits a second of the whole file; 0 where it is not known.
        time_base: seconds of a timestamp's unit.
        codec: FFmpeg's name, such as "h264".
        codec_tag: how the container calls the codec, four letters.
        pixel_format: FFmpeg's name of the format that pictures are worked on in.
        colours: what the file says of them.
        pixel_aspect: width of a pixel by its height.
    """

    width: int
    height: int
    frames: int | None
    rate: Fraction
    bit_rate: int
    time_base: Fraction
    codec: str
    codec_tag: str
    pixel_format: str
    colours: Colours
    pixel_aspect: Fraction


class Source:
    """A clip's file, which is open only while pictures are read.

    Attributes:
        path: of the file.
        start, end: seconds from the clip's beginning, between which pictures are given; None for
            all.
        info: what the clip is.
        layout: of its pictures.
        begin: the first frame's timestamp, in seconds: that of the whole clip, not of the part.
        display_matrix, mastering, light: rotation and static HDR metadata as the first frame has
            them, the latter two as FFmpeg's structures; None where there is none.
        is_dolby_vision: whether the first frame says how Dolby Vision shows it.
        is_cut: whether pictures were left out that come at `end` or later.
        notes: what the result will lack; a sentence each.
    """

    def __init__(
        self,
        path: str,
        start: Fraction | None = None,
        end: Fraction | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Open a clip, decode its first frame, and close it again.

        `check`: called for each frame on the way to the pictures, also where it is passed over;
        what it raises ends them.

        Raises `VideoError` for a file that is no video, cannot be decoded, or begins interlaced.
        """
        self.path, self.start, self.end, self._check = path, start, end, check
        self._damage: dict[tuple[float, str], None] = {}
        self.is_cut = False
        with opened(path) as container:
            stream = video_of(container, path)
            with closing(decoded(container, stream, lambda pts, what: None)) as frames:
                first = next(frames, None)
            if first is None or stream.time_base is None:
                raise VideoError(f"{path}: no frame of its video can be decoded")
            if first.interlaced_frame:
                raise VideoError(f"{path}: interlaced video is not supported; deinterlace it first")
            first = readable(first)
            self._time_base = stream.time_base
            self.begin = Fraction(first.pts or 0) * self._time_base
            colours = Colours(
                first.color_range, first.color_primaries, first.color_trc, first.colorspace
            )
            try:
                self.layout = Layout(first, colours)
            except VideoError as error:
                raise VideoError(f"{path}: {error}") from None
            self.display_matrix = display_matrix(first)
            self.mastering = side_data(first, "MASTERING_DISPLAY_METADATA")
            self.light = side_data(first, "CONTENT_LIGHT_LEVEL")
            self.is_dolby_vision = side_data(first, "DOVI_METADATA") is not None
            self._can_seek = not is_unordered(container, stream)
            # the others have no index of their frames, and their readers pass over what is damaged
            self._is_indexed = container.format.name.startswith("mov")
            self._length = _length(stream)
            self.info = self._info(container, stream, colours)
            self.notes = tuple(_notes(container, stream, first))

    @property
    def is_part(self) -> bool:
        """Whether something of the clip is left out."""
        return bool(self.start) or self.end is not None

    @property
    def is_full(self) -> bool:
        """Whether the name of its format says that its luma and chroma have the full range."""
        return self.info.pixel_format.startswith("yuvj")

    @property
    def damage(self) -> list[tuple[float, str]]:
        """What was damaged so far: seconds from the clip's beginning, and what became of it."""
        return sorted(self._damage)

    def remember(self, damage: list[tuple[float, str]]) -> None:
        """Add what an earlier run found damaged."""
        self._damage.update(dict.fromkeys(damage))

    def pictures(
        self, first: int = 0, mark: Mark | None = None
    ) -> Generator[VideoPicture, None, None]:
        """The pictures of the part, in the order of showing, from this number on.

        `mark`: the picture before the first one, as an earlier run saw it. With it, decoding begins
        shortly before; without it, or where the decoder comes to something else, at the beginning
        of the part. Numbers and timestamps are the same in all cases.

        Raises `VideoError` where the size of pictures changes.
        """
        if first and mark is not None:
            known = self._damage.copy()
            with closing(self._from(mark.pts)) as frames:
                if self._is_at(frames, mark):
                    yield from self._numbered(frames, first, mark)
                    return
            self._damage = known
        begin = self._units(self.begin + self.start) if self.start else None
        with closing(self._frames(None) if begin is None else self._from(begin)) as frames:
            yield from islice(self._numbered(frames, 0, None), first, None)

    def _is_at(self, frames: Iterator["VideoFrame"], mark: Mark) -> bool:
        """Read up to the marked frame. Whether it came, and is what it was."""
        for frame in frames:
            if frame.pts is not None and frame.pts >= mark.pts:
                fits = frame.pts == mark.pts and self.layout.fits(frame)
                return fits and fingerprint_of(self.layout.unpacked(frame)) == mark.fingerprint
        return False

    def _numbered(
        self, frames: Iterator["VideoFrame"], index: int, mark: Mark | None
    ) -> Iterator[VideoPicture]:
        """The frames of the part, or those behind the mark, as pictures, each later than before."""
        step = max(1, self._units(1 / self.info.rate))
        last = None if mark is None else mark.pts
        duration = step if mark is None else max(step, mark.duration)
        longest = step if mark is None else max(step, mark.longest)
        for frame in frames:
            pts = frame.pts
            if pts is None:
                pts = self._units(self.begin) if last is None else last + step
            if last is not None and pts <= last:
                pts = last + 1  # a broken file: no two frames are shown at one time
            before, gap = last, 0 if last is None else pts - last - duration
            last, duration = pts, max(step, frame.duration or 0)
            time = pts * self._time_base - self.begin
            if self.start is not None and time < self.start:
                continue
            if self.end is not None and time >= self.end:
                self.is_cut = True
                return
            if gap <= max(self._units(Fraction(_MISSING_SECONDS)), _MISSING_TIMES * longest):
                longest = max(longest, gap)
            elif before is not None and not self._is_indexed:
                self._note_gap(before * self._time_base - self.begin, gap * self._time_base)
            if not self.layout.fits(frame):
                raise VideoError(
                    f"{self.path}: size or format of the picture changes after {float(time):.2f} "
                    "s, which is not supported; cut the clip there"
                )
            if frame.interlaced_frame and _INTERLACED not in {what for _, what in self._damage}:
                self._damage[(round(float(time), 3), _INTERLACED)] = None
            yield VideoPicture(
                index=index,
                pts=pts,
                time_base=self._time_base,
                time=time,
                duration=frame.duration,
                frame=self.layout.unpacked(frame),
                layout=self.layout,
                longest=longest,
            )
            index += 1
        if last is not None:
            time = last * self._time_base - self.begin
            self._note_end(time, time + duration * self._time_base)

    def _note_gap(self, time: Fraction, gap: Fraction) -> None:
        """Note that the frame of a time is followed by nothing for so long."""
        what = f"no frame comes for {float(gap):.1f} s, perhaps as the file is damaged here"
        self._damage[(max(0.0, round(float(time), 3)), what)] = None

    def _note_end(self, time: Fraction, end: Fraction) -> None:
        """Note that the last frame is that of a time, where the file says that more should come."""
        wanted = self._length if self.end is None else min(self.end, self._length)
        if wanted - end > _MISSING_SECONDS:
            length = f"{float(self._length):.2f} s"
            what = f"the video ends here, and the file says that it lasts {length}"
            self._damage[(round(float(time), 3), what)] = None

    def _from(self, since: int) -> "Generator[VideoFrame, None, None]":
        """The frames from shortly before a timestamp on, by which one is not later than that."""
        early = max(Fraction(_BEFORE_SECONDS), _BEFORE_PICTURES / self.info.rate)
        at = since - self._units(early)
        if self._can_seek and at > self._units(self.begin):
            known = self._damage.copy()
            with closing(self._frames(since, at)) as frames:
                first = first_whole(frames)
                if first is not None and first.pts is not None and first.pts <= since:
                    yield first
                    yield from frames
                    return
            self._damage = known
        yield from self._frames(since)

    def _frames(
        self, since: int | None, at: int | None = None
    ) -> "Generator[VideoFrame, None, None]":
        """All frames from the beginning on, or from the key frame before the timestamp `at`.

        `since`: from when on damage counts, as frames that need earlier ones are broken, too.
        """
        import av

        def damaged(pts: int | None, what: str) -> None:
            if pts is None or since is None or pts >= since:
                seconds = 0.0 if pts is None else float(pts * self._time_base - self.begin)
                self._damage[(max(0.0, round(seconds, 3)), what)] = None

        with opened(self.path) as container:
            stream = video_of(container, self.path)
            if at is not None:
                try:
                    container.seek(at, stream=stream)
                except av.error.FFmpegError:
                    return  # this file cannot be sought in
            for frame in decoded(container, stream, damaged):
                self._check()
                yield frame

    def _units(self, seconds: Fraction) -> int:
        return math.floor(seconds / self._time_base)

    def _info(self, container: Any, stream: "VideoStream", colours: Colours) -> ClipInfo:
        whole = Fraction(stream.duration or 0) * self._time_base
        if not whole:
            whole = Fraction(container.duration or 0, 1_000_000)
        rate = stream.average_rate or stream.guessed_rate or _USUAL_RATE
        start = min(self.start or Fraction(0), whole)
        seconds = max(Fraction(0), (whole if self.end is None else min(self.end, whole)) - start)
        count = Fraction(stream.frames) or whole * rate
        return ClipInfo(
            width=self.layout.width,
            height=self.layout.height,
            frames=round(count * seconds / whole) if whole else stream.frames or None,
            rate=rate,
            bit_rate=container.bit_rate or 0,
            time_base=self._time_base,
            codec=stream.codec_context.codec.canonical_name,
            codec_tag=codec_tag(stream.codec_context),
            pixel_format=self.layout.pixel_format,
            colours=colours,
            pixel_aspect=stream.sample_aspect_ratio or Fraction(0),
        )


def _length(stream: "VideoStream") -> Fraction:
    """How long a video is by its file; 0 where only the whole file's length is known."""
    if stream.duration:
        return stream.duration * (stream.time_base or Fraction(0))
    made = _DURATION.fullmatch(stream.metadata.get("DURATION", ""))
    return sum(Fraction(made[at + 1]) * 60 ** (2 - at) for at in range(3)) if made else Fraction(0)


def _notes(container: Any, stream: "VideoStream", first: "VideoFrame") -> Iterator[str]:
    for name, what in _HDR_LEFT_OUT.items():
        if side_data(first, name) is not None:
            yield f"{what} are not kept"
    if stream.metadata.get("alpha_mode") == "1":
        yield "its transparency is not kept"
    if sum(not is_cover(each) for each in container.streams.video) > 1:
        yield "only its first video is restored; others are copied"
