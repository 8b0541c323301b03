"""The result: the video of the segments, with all that the source has beside it."""

import heapq
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from runtime.errors import OutputError, VideoError
from runtime.storage.temporary import temporary_file
from runtime.text import squeezed
from runtime.video.files.decoding import is_cover, opened, packets, video_of
from runtime.video.files.encoding import Plan
from runtime.video.files.parts import disk_error, read_parts
from runtime.video.files.pixels.orientation import Orientation
from runtime.video.files.segments import Segments
from runtime.video.files.source import Source
from runtime.video.files.streams import Nowhere, add_copy, add_video, is_remade, refusal

if TYPE_CHECKING:
    from av import Packet, VideoStream
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream

_BUFFER = 1 << 20  # bytes that are written at a time
_SPARE = 4 << 20  # bytes of disk beside the result and the segments: of the file system's own
_NO_TEXT = b"\0\0"  # in a QuickTime file, until the next subtitle; the muxer makes its own
_USED_UP = "its segments are used up, so that the clip begins anew"
# the muxer writes these itself
_OF_CONTAINER = ("major_brand", "minor_version", "compatible_brands", "encoder")


@dataclass(frozen=True)
class _Window:
    """The part of the source that is copied, and by how many seconds it moves to the front."""

    begin: Fraction | None
    end: Fraction | None
    shift: Fraction

    def holds(self, time: Fraction) -> bool:
        return (self.begin is None or time >= self.begin) and (self.end is None or time < self.end)


def join(source: Source, segments: Segments, target: str) -> tuple[str, ...]:
    """Write the result under its name when it is whole. Returns what it lacks, a sentence each.

    First all is done without writing, so that what cannot be joined, or has no room on the disk,
    leaves the segments. Then each part of them is deleted as soon as it has been read, so that the
    disk never holds more than the result's size, a part and an index. Ctrl-C, SIGTERM and SIGHUP
    wait until it is done; a run that is killed meanwhile, or whose disk fails, has to begin anew.

    Raises `VideoError` or `OutputError`; the latter before anything is deleted, where the disk is
    too full.
    """
    if not segments.records:
        raise VideoError(f"{source.path}: there is no picture between start and end")
    path = Path(target)
    if path.is_dir():
        raise VideoError(f"{target}: is a folder; choose another target")
    try:
        with opened(source.path) as container:
            trial = Nowhere()
            _write(source, container, segments, trial, delete=False)
        _check_space(trial.size, segments, path.parent)
        with (
            opened(source.path) as container,
            temporary_file(path) as (temporary, file),
            _undisturbed(),
        ):
            segments.spend()
            notes = _write(source, container, segments, file, delete=True)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
            segments.joined()  # here: a signal that was held back may end the process
    except OSError as error:
        more = _USED_UP if segments.are_spent() else "a run with --resume goes on"
        raise disk_error(path, error, more) from None
    except VideoError as error:
        if segments.are_spent():
            raise VideoError(f"{error}; {_USED_UP}") from None
        raise
    return notes


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold the first signal to end back until the block is done: nobody could go on from within.

    Such are Ctrl-C, SIGTERM, and that the terminal is closed or its connection lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled elsewhere
        return
    held: list[int] = []
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {each: handler for each in ends if (handler := signal.getsignal(each)) is not None}

    def hold(number: int, frame: FrameType | None) -> None:
        handler = former[signal.Signals(number)]
        if held and callable(handler):
            handler(number, frame)  # somebody means it
        held.append(number)

    for each in former:
        signal.signal(each, hold)
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
        if held:
            signal.raise_signal(held[0])


def _write(
    source: Source,
    container: "InputContainer",
    segments: Segments,
    file: IO[bytes] | Nowhere,
    delete: bool,
) -> tuple[str, ...]:
    import av

    plan, notes = segments.plan, list[str]()
    try:
        output = av.open(
            file,
            "w",
            format=plan.container,
            metadata_errors="surrogateescape",
            buffer_size=_BUFFER,
            container_options=_options(plan, source, container),
        )
        video = video_of(container, source.path)
        copies: dict[int, Stream] = {}
        for stream in container.streams:
            if stream.index == video.index:
                made = add_video(output, video, source, plan, segments.records[0])
            elif (why := refusal(plan.container, stream)) is None:
                copies[stream.index] = add_copy(output, stream, source.is_part)
            elif not is_remade(stream, plan, container):
                notes.append(f"{stream.type} stream {stream.index} is left out: {why}")
        window = _window(source, segments)
        length = _length(source, container, video, window)
        notes += _describe(output, container, window)
        if plan.container == "avi" and source.layout.orientation != Orientation():
            notes.append("the picture's rotation is left out: avi files cannot hold it")
        output.start_encoding()
        video.discard = av.stream.Discard.all  # its bytes need not be read
        everything = heapq.merge(
            _encoded(source, segments, made, window, length, delete),
            _others(container, copies, window, notes),
            key=_time,
        )
        for packet in everything:
            output.mux_one(packet)
        output.close()
    except av.error.MemoryError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        what = squeezed(getattr(error, "strerror", None) or str(error))
        raise VideoError(f"{plan.container} files cannot hold this clip: {what}") from None
    return tuple(dict.fromkeys(notes))


def _encoded(
    source: Source,
    segments: Segments,
    stream: "Stream",
    window: _Window,
    length: int | None,
    delete: bool,
) -> "Iterator[Packet[Any]]":
    """The segments' packets with their pictures' own times.

    A packet is decoded when, of all pictures, as many are shown as came before it, less the depth
    of reordering: so times of decoding rise over the segments' borders, too. `length`: as `_length`
    has it; the last picture of a part is shown until then, and not shorter than others.
    """
    import av

    records, time_base = segments.records, source.info.time_base
    pts = np.concatenate([record.pts for record in records])
    durations = np.concatenate([record.durations for record in records])
    order = np.concatenate([record.first + record.packets[:, 0] for record in records])
    depth = int(max(np.arange(len(order)) - order))
    gaps = np.diff(pts)
    step = int(min(gaps, default=max(1, round(1 / source.info.rate / time_base))))
    decoded = np.concatenate([pts[0] - step * np.arange(depth, 0, -1), pts])
    ends = None
    if length is not None:  # durations are those between times of decoding
        span, own = int(pts[-1] - pts[0]), int(durations[-1])
        last = max(length - span if length else own, min(step, own or step))
        durations = np.append(gaps, last)
        if source.is_part or not length:
            length = span + last
        ends = max(length - int(decoded[len(pts) - 1] - decoded[0]), 1)
    shift = round(window.shift / time_base)
    place = 0
    for record in records:
        rows = record.packets.tolist()
        sizes = [size for _, size, _ in rows]
        payloads = read_parts(segments.folder, record.stem, record.parts, sizes, delete)
        for data, (number, _, is_key) in zip(payloads, rows, strict=True):
            packet: Packet[Any] = av.Packet(data)
            shown = record.first + number
            packet.stream, packet.time_base = stream, time_base
            packet.pts, packet.dts = int(pts[shown]) - shift, int(decoded[place]) - shift
            packet.duration = int(durations[shown] or (gaps[shown] if shown < len(gaps) else step))
            packet.is_keyframe = bool(is_key)
            place += 1
            if ends is not None and place == len(pts):
                packet.duration = ends
            yield packet


def _others(
    container: "InputContainer",
    copies: "Mapping[int, Stream]",
    window: _Window,
    notes: list[str],
) -> "Iterator[Packet[Any]]":
    """The packets of all other streams, with the same bytes, moved as far as the video."""
    if not copies:
        return
    last: dict[int, int] = {}
    read = [stream for stream in container.streams if stream.index in copies]
    for packet in packets(container, read, lambda _, what: notes.append(what)):
        times = [time for time in (packet.pts, packet.dts) if time is not None]
        if not times and packet.size == 0:
            continue  # for decoders: the stream's end
        if is_cover(packet.stream):
            packet.stream = copies[packet.stream_index]
            yield packet  # whatever its time, it belongs to the file
            continue
        if times and not window.holds(times[0] * packet.time_base):
            continue
        if bytes(packet) == _NO_TEXT and copies[packet.stream_index].name == "mov_text":
            continue
        index, shift = packet.stream_index, round(window.shift / packet.time_base)
        if packet.pts is not None:
            packet.pts -= shift
        if packet.dts is not None:
            # a broken file: muxers take no time twice, but of subtitles and data
            step = 0 if packet.stream.type in ("subtitle", "data") else 1
            packet.dts = max(packet.dts - shift, last.get(index, packet.dts - shift - step) + step)
            packet.pts = packet.pts if packet.pts is None else max(packet.pts, packet.dts)
            last[index] = packet.dts
        packet.stream = copies[index]
        yield packet


def _time(packet: "Packet[Any]") -> Fraction:
    """By which packets of several streams are put in order."""
    time = packet.dts if packet.dts is not None else packet.pts
    return (time or 0) * packet.time_base


def _window(source: Source, segments: Segments) -> _Window:
    end = None if source.end is None else source.begin + source.end
    if not source.start:
        return _Window(None, end, Fraction(0))
    begin = int(segments.records[0].pts[0]) * source.info.time_base
    return _Window(begin, end, begin)


def _length(
    source: Source, container: "InputContainer", video: "VideoStream", window: _Window
) -> int | None:
    """How long the video of a QuickTime file lasts, or its part; 0 where the file does not say.

    There, durations are those between times of decoding. None for other containers.
    """
    if not container.format.name.startswith("mov"):
        return None
    length = video.duration or 0
    if not source.is_part:
        return length
    end = source.begin + length * source.info.time_base
    if source.is_cut and window.end is not None:
        end = window.end
    begin = source.begin if window.begin is None else window.begin
    return max(0, int((end - begin) / source.info.time_base))


def _options(plan: Plan, source: Source, container: "InputContainer") -> dict[str, str]:
    """Of a QuickTime file: that times keep their unit, and Apple's metadata their names."""
    if plan.container not in ("mp4", "mov"):
        return {}
    options = {}
    own = source.info.time_base
    units = {each.time_base for each in container.streams.video if not is_cover(each)}
    if units == {own} and own.numerator == 1:  # else the muxer refines those over 1/10,000
        options["video_track_timescale"] = str(own.denominator)
    if any(key.startswith("com.") for key in container.metadata):
        options["movflags"] = "use_metadata_tags"
    return options


def _describe(
    output: "OutputContainer", container: "InputContainer", window: _Window
) -> tuple[str, ...]:
    """Copy the file's metadata and its chapters. Returns what is left out, a sentence each."""
    metadata = {key: value for key, value in container.metadata.items() if key not in _OF_CONTAINER}
    output.metadata.update(metadata)
    chapters = []
    for chapter in container.chapters():
        unit = chapter["time_base"] or Fraction(1, 1000)
        shift = round(window.shift / unit)
        end = chapter["end"] if window.end is None else min(chapter["end"], int(window.end / unit))
        start, end = max(0, chapter["start"] - shift), end - shift
        if start < end:
            chapters.append({**chapter, "start": start, "end": end})
    if chapters and output.format.name == "avi":
        return ("chapters are left out: avi files cannot hold them",)
    if chapters:
        output.set_chapters(chapters)  # type: ignore[arg-type]  # they are what chapters() gave
    return ()


def _check_space(size: int, segments: Segments, folder: Path) -> None:
    """Raise OutputError if the disk has no room for a result of `size` bytes.

    The segments make room as they are read, each part when it has been read to its end.
    """
    parts = [part.size for record in segments.records for part in record.parts]
    needed = size - sum(parts) + max(parts) + _SPARE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder}: the disk has {free >> 20} MiB left, and joining the clip needs "
            f"{needed >> 20}; make room, and --resume goes on"
        )
