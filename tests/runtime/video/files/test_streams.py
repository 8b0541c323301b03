"""The streams of a result: what they promise beside their packets."""

import struct
from pathlib import Path

import av
import pytest

from runtime.video.files.encoding import Encoding, plan_for
from runtime.video.files.joining import join
from runtime.video.files.segments import Segments
from runtime.video.files.source import Source
from tests.runtime.video.files.clips import X265_SOURCE, Clip, in_segments, times
from tests.runtime.video.files.test_joining import MASTERING, MILLI, restore

RECORD = (
    bytes([1, 0]) + struct.pack(">H", (8 << 9) | (3 << 3) | 0b101) + bytes([1 << 4]) + bytes(19)
)
"""Dolby Vision of profile 8, level 3, whose base is HDR10."""

COLR = b"colrnclx" + struct.pack(">HHHB", 1, 1, 1, 0)
"""Primaries, transfer and matrix in an MP4, and that the range is limited."""

MKV = [bytes([0x55, 0xB1, 0x81, 1]), bytes([0x55, 0xB9, 0x81, 1])]
"""Matrix and range in Matroska."""


def promising(folder: Path) -> Path:
    """An HEVC clip in Matroska that says it is Dolby Vision; its frames have nothing of it."""
    options = {"x265-params": X265_SOURCE}
    plain = Clip(codec="libx265", options=options).write(folder / "plain.mp4")
    data = bytearray(plain.read_bytes())
    box = struct.pack(">I", 8 + len(RECORD)) + b"dvvC" + RECORD
    at = data.find(b"hvcC") - 4
    behind = at + struct.unpack_from(">I", data, at)[0]
    boxes = ("moov", "trak", "mdia", "minf", "stbl", "stsd", "hev1")
    for name in boxes:  # which hold it, so that they grow
        start = data.find(name.encode(), data.find(b"moov")) - 4
        struct.pack_into(">I", data, start, struct.unpack_from(">I", data, start)[0] + len(box))
    data[behind:behind] = box
    plain.write_bytes(data)
    clip = folder / "clip.mkv"
    with av.open(plain) as source, av.open(clip, "w") as output:
        made = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = made
                output.mux_one(packet)
    return clip


@pytest.mark.parametrize("is_dolby_vision", [False, True])
def test_nobody_promises_dolby_vision_without_it(is_dolby_vision: bool, tmp_path: Path) -> None:
    """The encoder drops what the frames say of it: televisions would wait for that in vain."""
    clip, target = promising(tmp_path), tmp_path / "result.mkv"
    assert b"dvvC" in clip.read_bytes()
    source = Source(str(clip))
    assert not source.is_dolby_vision
    source.is_dolby_vision = is_dolby_vision  # no encoder here writes such frames
    plan = plan_for(source, Encoding(), str(target))
    with Segments(str(target), source, plan, {}, resume=False) as made:
        for picture in in_segments(made, source.pictures()):
            made.add(picture)
        join(source, made, str(target))
    assert (b"dvvC" in target.read_bytes()) != is_dolby_vision
    assert times(target) == times(clip)


@pytest.mark.parametrize(
    ("clip", "name", "encoding", "marks"),
    [
        # red, green and blue, as OBS records them: limited range and BT.709 after that
        (
            Clip(4, "libx264rgb", "bgr0", sound=(), colours=(2, 1, 1, 0)),
            "clip.mp4",
            Encoding(),
            [COLR],
        ),
        (Clip(4, "libx264rgb", "bgr0", unit=MILLI, sound=()), "clip.mkv", Encoding(), MKV),
        (
            Clip(4, "ffv1", "bgr0", unit=MILLI, sound=()),
            "clip.mkv",
            Encoding(pixel_format="yuv444p"),
            MKV,
        ),
        # of version 1, profile 0
        (
            Clip(4, "libvpx-vp9", "yuv444p", sound=()),
            "clip.mp4",
            Encoding(pixel_format="yuv420p"),
            [b"vpcC\x01\0\0\0\0"],
        ),
    ],
)
def test_tags_are_those_of_the_new_format(
    clip: Clip, name: str, encoding: Encoding, marks: list[bytes], tmp_path: Path
) -> None:
    source, target = clip.write(tmp_path / name), tmp_path / "out" / name
    restore(source, target, encoding)
    assert not any(mark in source.read_bytes() for mark in marks)
    assert all(mark in target.read_bytes() for mark in marks)


def test_another_format_keeps_turn_and_light(tmp_path: Path) -> None:
    options = {"x265-params": f"{X265_SOURCE}:{MASTERING}"}
    clip = Clip(4, "libx265", "yuv422p10le", options=options, rotation=90, colours=(1, 9, 16, 9))
    source, target = clip.write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    restore(source, target, Encoding(pixel_format="yuv420p10le"))
    before, after = Source(str(source)), Source(str(target))
    assert after.info.pixel_format == "yuv420p10le"
    assert after.info.colours == before.info.colours
    assert after.layout.orientation == before.layout.orientation
    assert after.mastering == before.mastering is not None


@pytest.mark.parametrize("key", ["encoder", "ENCODER", "Encoder_options"])
def test_an_encoder_signs_its_own_work_only(key: str, tmp_path: Path) -> None:
    plain, clip, target = (tmp_path / f"{name}.mkv" for name in ("plain", "clip", "out"))
    Clip(4, unit=MILLI, sound=()).write(plain)
    with av.open(plain) as source, av.open(clip, "w") as output:
        made = output.add_stream_from_template(source.streams.video[0], opaque=True)
        made.metadata.update({key: "Lavc of old", "title": "Us"})
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = made
                output.mux_one(packet)
    assert b"Lavc of old" in clip.read_bytes()
    restore(clip, target)
    assert b"Lavc of old" not in target.read_bytes()
    with av.open(target) as result:
        assert result.streams.video[0].metadata["title"] == "Us"
