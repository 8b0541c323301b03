"""The streams of a result: its video, and copies of all others."""

import io
import math
import os
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING

from runtime.text import squeezed
from runtime.video.files.encoding import Plan
from runtime.video.files.kinds import demuxer_of
from runtime.video.files.picture import VideoPicture
from runtime.video.files.records import Record
from runtime.video.files.source import Source

if TYPE_CHECKING:
    from av import VideoStream
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream

_QUICKTIME = ("mp4", "mov")
# names of codecs in QuickTime files that fit what our encoders make; Dolby Vision's do not
_TAGS = {"h264": ("avc1",), "hevc": ("hvc1", "hev1")}
_HALF = Fraction(1, 2)
_STATISTICS = ("bps", "number_of_", "_statistics_")  # tags of Matroska, of all a stream's packets


def add_video(
    output: "OutputContainer", video: "VideoStream", source: Source, plan: Plan, record: Record
) -> "VideoStream":
    """The stream for the segments' packets, with the source's tags, side data and metadata.

    `record`: of any segment.
    """
    if plan.codec == source.info.codec and not source.is_dolby_vision:
        # only a copy of the source's stream brings all its side data along: also what promises
        # Dolby Vision, which each frame would have to go on with
        made = output.add_stream_from_template(video, opaque=True)
        made.codec_context.extradata = bytes.fromhex(record.extradata) or None
        made.codec_context.bit_rate = 0
        if plan.pixel_format != source.info.pixel_format:
            plan.tag(made.codec_context, source)
            if plan.codec == "vp9":  # of other codecs, the encoder's own header says it
                made.codec_context.profile = f"Profile {0 if '420' in plan.pixel_format else 1}"
    else:
        made = plan.add_stream(output, source)
    if (matrix := source.display_matrix) is not None:
        made.set_display_matrix([int(number) for number in matrix])
    made.time_base = unit_of(source, plan)
    tag = record.tag if plan.container == "avi" or plan.codec == "prores" else ""
    if plan.container in _QUICKTIME and (tags := _TAGS.get(plan.codec)):
        tag = source.info.codec_tag if source.info.codec_tag in tags else tags[0]
    if len(tag) == 4:
        made.codec_context.codec_tag = tag
    _describe(made, video, source.is_part)
    return made


def unit_of(source: Source, plan: Plan) -> Fraction:
    """Seconds of a unit of the result's times: the source's own; in an AVI that is a frame."""
    own = plan.container != "avi" or demuxer_of(source.path) == "avi"
    return source.info.time_base if own else plan.time_base


def no_place(
    picture: VideoPicture, first: int, before: int, source: Source, plan: Plan
) -> str | None:
    """Why the result has no place for a picture: it would be in the unit of the one before.

    `first`, `before`: timestamps of the result's first picture, and of the one before this.
    """
    begin = first if source.start else 0  # a part moves to time 0
    unit = unit_of(source, plan)
    one, other = (
        math.floor((pts - begin) * picture.time_base / unit + _HALF)
        for pts in (before, picture.pts)
    )
    if one != other:
        return None
    return (
        f"an AVI has one place for each frame at {float(1 / unit):.2f} a second, and the picture "
        f"at {float(picture.time):.2f} s has none; choose .mkv"
    )


def add_copy(output: "OutputContainer", stream: "Stream", is_part: bool) -> "Stream":
    """A stream for another one's packets, or a part of them. Raises ValueError or PyAV's errors."""
    made = output.add_stream_from_template(stream, opaque=True)
    made.time_base = stream.time_base
    _describe(made, stream, is_part)
    return made


def refusal(container: str, stream: "Stream") -> str | None:
    """Why a container takes no copy of a stream; None where it does."""
    import av

    trial = av.open(io.BytesIO(), "w", format=container, metadata_errors="surrogateescape")
    try:
        add_copy(trial, stream, is_part=False)
        trial.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        return squeezed(f"{container} files cannot hold it ({what})")
    finally:
        with suppress(av.error.FFmpegError, ValueError):
            trial.close()
    return None


def is_remade(stream: "Stream", plan: Plan, container: "InputContainer") -> bool:
    """Whether a refused stream of a QuickTime file comes back all the same.

    The muxer makes such streams of the metadata: of a time code, and of the chapters' names.
    """
    from av.stream import Discard

    if stream.type != "data" or not container.format.name.startswith("mov"):
        return False
    if "timecode" in stream.metadata:
        return plan.container in ("mp4", "mov")
    # the demuxer reads the chapters' names itself, and gives nobody their packets
    is_names = stream.name == "bin_data" and stream.discard == Discard.all
    return is_names and bool(container.chapters()) and plan.container != "avi"


class Nowhere:
    """A file for a muxer's trial, to which nothing is written.

    Attributes:
        size: bytes that it would have.
    """

    def __init__(self) -> None:
        self._at = self.size = 0

    def write(self, data: bytes) -> int:
        self._at += len(data)
        self.size = max(self.size, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        since = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}
        self._at = since[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _describe(made: "Stream", stream: "Stream", is_part: bool) -> None:
    """Copy what a stream says of itself, and what it is for, but for what is not true of `made`."""
    false: tuple[str, ...] = ("encoder", *_STATISTICS) if stream.type == "video" else ()
    if is_part:
        false += (*_STATISTICS, "duration")
    for key, value in stream.metadata.items():
        if not key.lower().startswith(false):
            made.metadata[key] = value
    made.disposition = stream.disposition
