"""Packets and frames of a clip's file, with what is damaged noted and left out."""

import errno
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from runtime.errors import VideoError
from runtime.text import squeezed
from runtime.video.files.kinds import demuxer_of

if TYPE_CHECKING:
    from av import Packet, VideoCodecContext, VideoFrame, VideoStream
    from av.container import InputContainer
    from av.stream import Stream

Damaged = Callable[[int | None, str], None]
"""Called with the timestamp of what is damaged, where it is known, and what it is."""

# in these some packets are never shown, so that a missing frame is no damage
_HIDING = ("vp8", "vp9", "av1")
# of these FFmpeg guesses a wrong time of showing for every picture of an AVI
_GUESSED = ("h264", "hevc")
# the disk or the network is gone, and nothing of the file is damaged
_GONE = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT)
_MOST_FAULTS = 100  # unreadable places of a file, after which it counts as ended


@contextmanager
def opened(path: str) -> "Iterator[InputContainer]":
    """A clip's file, opened for reading. Raises `VideoError`."""
    demuxer = demuxer_of(path)
    try:
        import av
    except ImportError:
        raise VideoError(
            "videos need PyAV; install dmdnet-runtime[video], which brings it"
        ) from None
    try:
        # "file:", or a colon in the path would make it a URL
        container = av.open(
            f"file:{path}",
            "r",
            format=demuxer,
            metadata_errors="surrogateescape",
            container_options={"protocol_whitelist": "file"},
        )
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: cannot be opened: {squeezed(error.strerror or '')}") from None
    with container:
        yield container


def video_of(container: "InputContainer", path: str) -> "VideoStream":
    """The video that is restored: the file's best. Raises `VideoError` where there is none."""
    from av import VideoStream

    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or is_cover(stream):
        raise VideoError(f"{path}: there is no video in this file")
    if stream.codec_context is None:
        raise VideoError(f"{path}: PyAV has no decoder for its video")
    return stream


def first_whole(frames: Iterator["VideoFrame"]) -> "VideoFrame | None":
    """The first frame behind a place that was sought that needs nothing from before it.

    None where the picture is refreshed little by little (intra-refresh): decoders say too early
    that all of it is new.
    """
    first = next(frames, None)
    if first is None or not first.is_corrupt:
        return first
    # an open group: some are shown before its key frame that need the group before
    first = next((frame for frame in frames if not frame.is_corrupt), None)
    return first if first is not None and first.key_frame else None


def codec_tag(context: "VideoCodecContext") -> str:
    """The four letters by which a container names a codec; "" for none."""
    try:
        return context.codec_tag.strip("\0")
    except UnicodeDecodeError:  # four bytes that are no letters
        return ""


def is_unordered(container: "InputContainer", stream: "VideoStream") -> bool:
    """Whether a file has times of decoding only, which do not say when its pictures are shown.

    An AVI numbers its packets, and FFmpeg guesses the rest wrong wherever pictures may be out of
    order. They take those times in their order, so that such a file is decoded from its beginning
    only.
    """
    context = stream.codec_context
    guessed = context.codec.canonical_name in _GUESSED or bool(context.has_b_frames)
    return guessed and container.format.name == "avi"


def is_cover(stream: object) -> bool:
    """Whether a stream is a single picture that belongs to the file, not a video."""
    from av.stream import Disposition

    return bool(getattr(stream, "disposition", 0) & Disposition.attached_pic)


def decoded(
    container: "InputContainer", stream: "VideoStream", damaged: Damaged
) -> "Generator[VideoFrame, None, None]":
    """The frames from where the container stands, in the order of showing.

    What cannot be decoded is left out and noted, and so is a frame that was mended.
    """
    import av

    context = stream.codec_context
    context.thread_type = "AUTO"
    context.flags |= av.codec.context.Flags.output_corrupt  # mended frames are better than none
    hides = context.codec.canonical_name in _HIDING
    expected: set[int] = set()  # timestamps whose frames have not come
    begin: int | None = None  # the frames before the first packet's may need what was not read
    times = _Times(context) if is_unordered(container, stream) else None
    for packet in packets(container, [stream], damaged):
        counted = packet.pts is not None and not hides and times is None
        if times is not None and packet.size:
            times.add(packet)
        if packet.pts is not None and counted and packet.size:
            begin = packet.pts if begin is None else begin
            if packet.pts >= begin and not packet.is_discard:
                expected.add(packet.pts)
        try:
            frames = cast("list[VideoFrame]", packet.decode())
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            if times is not None:
                times.leave_out(packet.dts)
            if not counted:
                known = packet.pts if packet.pts is not None else packet.dts
                damaged(known, "a damaged packet")
            continue
        for frame in frames:
            if times is not None:
                frame.pts = times.take(frame)
            if frame.pts is None:
                frame.pts = frame.dts
            if frame.pts is not None:
                lost = {pts for pts in expected if pts < frame.pts}
                for pts in sorted(lost):
                    damaged(pts, "a damaged frame was left out")
                expected -= lost | {frame.pts}
            if frame.is_corrupt:
                damaged(frame.pts, "a damaged frame was mended by the decoder")
            yield frame
    for pts in sorted(expected):
        damaged(pts, "a damaged frame was left out")


class _Times:
    """The times of decoding of an unordered file, which its pictures take in their order."""

    def __init__(self, context: "VideoCodecContext") -> None:
        self._times: deque[int] = deque()
        self._waiting: set[int] = set()  # packets whose pictures have not come
        self._is_plain = context.codec.canonical_name not in _GUESSED

    def add(self, packet: "Packet[Any]") -> None:
        """Before a packet is decoded; its picture will bring its time of decoding along."""
        packet.pts = packet.dts
        if packet.dts is not None:
            self._times.append(packet.dts)
            self._waiting.add(packet.dts)

    def leave_out(self, time: int | None) -> None:
        """The packet of this time has no picture."""
        if time in self._waiting:
            self._waiting.remove(time)
            # a picture that came too early may have taken it
            self._times.remove(time if time in self._times else self._times[0])

    def take(self, frame: "VideoFrame") -> int | None:
        """When a picture is shown."""
        from av.video.frame import PictureType

        # MPEG-4 has packets that say only that nothing changes: pictures of which others are made
        # come in the order of their packets, so that those before will not come any more
        if frame.pts is not None and frame.pict_type != PictureType.B and self._is_plain:
            for time in sorted(each for each in self._waiting if each < frame.pts):
                self.leave_out(time)
        self._waiting.discard(cast(int, frame.pts))
        return self._times.popleft() if self._times else None


def packets(
    container: "InputContainer", streams: "Sequence[Stream]", damaged: Damaged
) -> "Iterator[Packet[Stream]]":
    """The streams' packets to the file's end; an unreadable place is noted and passed over.

    The last packet of each is empty, for the decoder. Raises `VideoError` where the disk does not
    give the file any more: a result that ends there would look whole.
    """
    import av

    last: int | None = None
    for _ in range(_MOST_FAULTS):
        try:
            for packet in container.demux(list(streams)):
                last = packet.pts if packet.pts is not None else last
                yield packet
            return
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            what = f"the file cannot be read here: {squeezed(error.strerror or '')}"
            if error.errno in _GONE:
                raise VideoError(f"{container.name.removeprefix('file:')}: {what}") from None
            damaged(last, what)
    for stream in streams:
        end: Packet[Stream] = av.Packet()
        end.stream = stream
        yield end
