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

RECORD = (
    bytes([1, 0]) + struct.pack(">H", (8 << 9) | (3 << 3) | 0b101) + bytes([1 << 4]) + bytes(19)
)
"""Dolby Vision of profile 8, level 3, whose base is HDR10."""


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
