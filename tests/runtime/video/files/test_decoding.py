"""The times of pictures in files that do not say when they are shown, and what is damaged."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from runtime.video.files.source import Mark, Source
from tests.runtime.video.files.clips import HEIGHT, RATE, WIDTH, Clip, ramp, shown

DIVX = b"\0\0\1\xb2DivX503b1393p\0"
"""By which an MPEG-4 says that two pictures may lie in one packet."""
NO_CHANGE = b"\0\0\1\xb6\x50\x5f"
"""A packet of MPEG-4 without a picture."""


def avi(path: Path, codec: str, options: Mapping[str, str], pictures: int = 13) -> Path:
    clip = Clip(pictures, codec, unit=Fraction(1, RATE), options=options, sound=())
    return clip.write(path / "clip.avi")


def test_an_avi_with_pictures_out_of_order(tmp_path: Path) -> None:
    """It has times of decoding only: pictures take them in the order of showing."""
    path = avi(tmp_path, "libx264", {"bf": "2", "b-adapt": "0", "g": "10"}, pictures=60)
    source = Source(str(path))
    whole = list(source.pictures())
    assert [picture.pts for picture in whole] == list(range(60))
    brightness = [shown(picture).mean() for picture in whole]
    assert brightness == sorted(brightness)
    mark = Mark(whole[49].pts, whole[49].fingerprint)
    part = [(each.pts, each.fingerprint) for each in source.pictures(50, mark)]
    assert part == [(each.pts, each.fingerprint) for each in whole[50:]]
    late = list(Source(str(path), start=Fraction(2)).pictures())
    assert [each.fingerprint for each in late] == [each.fingerprint for each in whole[50:]]
    assert source.damage == []


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "0"}),
        ("mpeg4", {"bf": "0"}),
        ("mpeg4", {"bf": "1"}),
        ("mpeg2video", {"bf": "0"}),
        ("mpeg2video", {"bf": "2"}),
        ("mpeg1video", {"bf": "2"}),
        ("libvpx", {}),
    ],
)
def test_pictures_of_an_avi_lie_where_the_sound_has_them(
    tmp_path: Path, codec: str, options: Mapping[str, str]
) -> None:
    source = Source(str(avi(tmp_path, codec, options)))
    assert [picture.pts for picture in source.pictures()] == list(range(13))
    assert source.damage == []


def test_two_pictures_in_a_packet(tmp_path: Path) -> None:
    """Old AVIs have a picture in the packet before its own, which is as good as empty."""
    first, *others = mpeg4(13)
    at = first.index(b"\0\0\1\xb6")
    packed = [first[:at] + DIVX + first[at:]]
    for earlier, later in zip(others[::2], others[1::2], strict=True):
        packed += [earlier + later, NO_CHANGE]
    source = Source(str(written(packed, tmp_path / "clip.avi")))
    whole = list(source.pictures())
    assert [picture.pts for picture in whole] == list(range(13))
    brightness = [shown(picture).mean() for picture in whole]
    assert brightness == sorted(brightness)
    assert source.damage == []


def test_packets_without_a_picture_do_not_move_those_behind(tmp_path: Path) -> None:
    coded = mpeg4(13)
    source = Source(str(written([*coded[:5], NO_CHANGE, *coded[5:]], tmp_path / "clip.avi")))
    found = [picture.pts for picture in source.pictures()]
    assert found[:5] == [0, 1, 2, 3, 4]
    assert found[-4:] == [10, 11, 12, 13]
    assert source.damage == []


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_what_is_lost_at_the_begin_is_named(tmp_path: Path, codec: str) -> None:
    path = Clip(30, codec, options={"g": "10", "bf": "0"}, sound=()).write(tmp_path / "clip.mp4")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as opened:
        hit = next(opened.demux(video=0))
        assert hit.pos is not None
        data[hit.pos : hit.pos + hit.size] = bytes(hit.size)
    path.write_bytes(data)
    source = Source(str(path))
    assert len(list(source.pictures())) == 29
    assert (0.0, "a damaged frame was left out") in source.damage


def test_a_file_may_begin_with_an_open_group(tmp_path: Path) -> None:
    """As it was cut there: the first packet's picture is not the first that is shown."""
    options = {"g": "8", "bf": "2", "b-adapt": "0", "x264-params": "open-gop=1:scenecut=0"}
    whole = Clip(40, options=options, sound=()).write(tmp_path / "whole.mp4")
    path = tmp_path / "clip.mp4"
    with av.open(str(whole)) as opened, av.open(path, "w") as output:
        video = output.add_stream_from_template(opened.streams.video[0])
        coded = [packet for packet in opened.demux(video=0) if packet.size]
        at = [number for number, packet in enumerate(coded) if packet.is_keyframe][1]
        assert min(coded[at + 1].pts or 0, coded[at + 2].pts or 0) < (coded[at].pts or 0)
        for packet in coded[at:]:
            packet.stream = video
            output.mux_one(packet)
    source = Source(str(path))
    assert len(list(source.pictures())) >= 40 - at - 2
    assert source.damage == []


def mpeg4(count: int) -> list[bytes]:
    """The packets of so many pictures, every other one out of order."""
    encoder = av.CodecContext.create("mpeg4", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    encoder.options = {"bf": "1", "g": "300"}
    found = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(ramp(number), "rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, encoder.time_base
        found += [bytes(packet) for packet in encoder.encode(frame)]
    return found + [bytes(packet) for packet in encoder.encode(None)]


def written(coded: list[bytes], path: Path) -> Path:
    """An AVI of these packets of MPEG-4."""
    with av.open(path, "w") as output:
        video = output.add_stream("mpeg4", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        output.start_encoding()
        for number, data in enumerate(coded):
            packet: av.Packet[Any] = av.Packet(data)
            packet.stream, packet.time_base = video, Fraction(1, RATE)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, number == 0
            output.mux_one(packet)
    return path
