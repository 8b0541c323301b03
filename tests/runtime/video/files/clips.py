"""Tiny clips of moving colour ramps, with all kinds of streams beside the video."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from runtime.images.arrays import Image
from runtime.video.files.picture import VideoPicture
from runtime.video.files.segments import Segments

WIDTH, HEIGHT, RATE = 96, 64, 25
UNEVEN = (0, 20, 60, 101, 201, 534, 554, 594, 635, 675, 1008, 1028)
"""Times of pictures of a variable rate, in milliseconds."""

X265 = "log-level=error"
"""Keeps x265 from printing."""

X265_SOURCE = f"{X265}:bframes=0"
"""For clips of a few pictures, to which x265 gives wild times of decoding else."""


@dataclass(frozen=True)
class Clip:
    """What is written; times of pictures are in units of `unit`."""

    pictures: int = 12
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    unit: Fraction = Fraction(1, 12800)
    times: Sequence[int] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    colours: tuple[int, int, int, int] | None = None  # range, primaries, transfer, matrix
    sound: Sequence[str] = ("aac",)
    subtitles: str | None = None
    chapters: bool = False
    attachment: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    rotation: int | None = None
    container_options: Mapping[str, str] = field(default_factory=dict)

    def time(self, number: int) -> int:
        """When a picture is shown."""
        if self.times is not None:
            return self.times[number]
        return round(Fraction(number, RATE) / self.unit)

    def write(self, path: Path) -> Path:
        with av.open(path, "w", container_options=dict(self.container_options)) as output:
            video = output.add_stream(self.codec, rate=RATE, options=dict(self.options))
            assert isinstance(video, av.VideoStream)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, self.pixel_format
            video.codec_context.time_base = self.unit
            if self.colours is not None:
                context = video.codec_context
                context.color_range, context.color_primaries = self.colours[:2]
                context.color_trc, context.colorspace = self.colours[2:]
            if self.rotation is not None:
                video.set_display_rotation(self.rotation)
            sound: list[Any] = [output.add_stream(codec, rate=48_000) for codec in self.sound]
            for stream, language in zip(sound, ("eng", "deu"), strict=False):
                stream.metadata["language"] = language
            texts = output.add_mux_stream(self.subtitles) if self.subtitles else None
            if texts is not None:
                texts.time_base = Fraction(1, 1000)
            if self.attachment:
                output.add_attachment("font.ttf", "font/ttf", b"letters" * 9)
            if self.chapters:
                output.set_chapters([_chapter(1, 0, 200, "one"), _chapter(2, 200, 480, "two")])
            output.metadata.update(self.metadata)
            for number in range(self.pictures):
                frame = av.VideoFrame.from_ndarray(ramp(number), "rgb24")
                frame = frame.reformat(format=self.pixel_format, dst_colorspace="itu709")
                frame.pts, frame.time_base = self.time(number), self.unit
                output.mux(video.encode(frame))
                for place, stream in enumerate(sound):
                    for tone in _tones(number, place, stream):
                        output.mux(stream.encode(tone))
                if texts is not None and number % 5 == 0:
                    output.mux(_text(texts, number, self.subtitles == "mov_text"))
            output.mux(video.encode(None))
            for stream in sound:
                output.mux(stream.encode(None))
        return path


def ramp(number: int) -> NDArray[np.uint8]:
    """One picture, uint8 RGB."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    channels = (60 + x + number, 50 + 2 * y + number, 40 + x // 2 + y + 2 * number)
    return np.stack(channels, axis=-1).astype(np.uint8)


def shown(picture: VideoPicture) -> Image:
    """The picture as the network sees it."""
    return picture.layout.shown(picture.frame)


def values(frame: av.VideoFrame) -> list[NDArray[Any]]:
    """A copy of each plane's values, without what pads its rows."""
    found = []
    for plane, component in zip(frame.planes, frame.format.components, strict=False):
        dtype = np.uint8 if component.bits == 8 else np.uint16
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        found.append(rows.copy().view(dtype)[:, : plane.width])
    return found


def pictures(path: Path) -> list[tuple[Any, ...]]:
    """Of each picture its timestamp and a hash of its values."""
    with av.open(path) as clip:
        frames = list(clip.decode(video=0))
    return [(frame.pts, sha256(frame.to_ndarray().tobytes()).hexdigest()) for frame in frames]


def in_segments(made: Segments, pictures: Iterable[VideoPicture]) -> Iterator[VideoPicture]:
    """The pictures, each with its segment begun: of four pictures at the usual rate."""
    began: Fraction | None = None
    for picture in pictures:
        if began is None or picture.time - began >= Fraction("0.16"):
            if began is not None:
                made.end()
            made.begin(picture.index, {"before": picture.index})
            began = picture.time
        yield picture
    if began is not None:
        made.end()


def times(path: Path) -> list[int | None]:
    return [pts for pts, _ in pictures(path)]


def packets(path: Path) -> dict[int, list[tuple[int | None, bytes]]]:
    """Timestamp and bytes of each packet, by the stream's number."""
    found: dict[int, list[tuple[int | None, bytes]]] = {}
    with av.open(path) as clip:
        for packet in clip.demux():
            if packet.size:
                found.setdefault(packet.stream_index, []).append((packet.pts, bytes(packet)))
    return found


def _tones(number: int, place: int, stream: Any) -> list[av.AudioFrame]:
    wave = np.sin(np.arange(1920) * 0.05 * (place + 1) + number).astype(np.float32) / 3
    tone = av.AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
    tone.sample_rate, tone.pts, tone.time_base = 48_000, number * 1920, Fraction(1, 48_000)
    form = stream.codec_context.format.name
    return [tone] if form == "fltp" else AudioResampler(form, "stereo", 48_000).resample(tone)


def _text(stream: Any, number: int, sized: bool) -> "av.Packet[Any]":
    text = f"line {number}".encode()
    packet: av.Packet[Any] = av.Packet((len(text).to_bytes(2, "big") if sized else b"") + text)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = number * 40
    packet.duration = 100
    return packet


def _chapter(number: int, start: int, end: int, title: str) -> Any:
    unit = Fraction(1, 1000)
    metadata = {"title": title}
    return {"id": number, "start": start, "end": end, "time_base": unit, "metadata": metadata}
