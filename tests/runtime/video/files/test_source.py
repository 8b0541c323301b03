"""Reading a clip: every picture with its own time, from any number on, and what is damaged."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from runtime.errors import VideoError
from runtime.video.files import decoding
from runtime.video.files import source as module
from runtime.video.files.pixels.orientation import Orientation
from runtime.video.files.source import Mark, Source
from tests.runtime.video.files.clips import HEIGHT, UNEVEN, WIDTH, Clip, shown, times


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture every 40 ms, a key frame every ten pictures."""
    path = tmp_path_factory.mktemp("clips") / "even.mp4"
    return Clip(pictures=30, options={"g": "10"}, rotation=-90).write(path)


def test_what_a_clip_is(clip: Path) -> None:
    source = Source(str(clip))
    info = source.info
    assert source.layout.orientation == Orientation(transposed=True, left_right=True)
    assert (info.width, info.height) == (HEIGHT, WIDTH)
    assert (info.frames, info.rate) == (30, Fraction(25))
    assert (info.codec, info.codec_tag, info.pixel_format) == ("h264", "avc1", "yuv420p")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_with_exif_of_a_camera(orientation: int, tmp_path: Path) -> None:
    """PyAV does not know EXIF in frames, and then tells nothing else that they bring along."""
    exif, jpeg = Image.Exif(), BytesIO()
    exif[0x0112] = orientation
    photo = Image.new("RGB", (96, 64))
    photo.paste("white", (0, 0, 48, 32))  # one corner
    photo.save(jpeg, "JPEG", exif=exif)
    path = tmp_path / "camera.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number in range(3):
            packet = av.Packet(jpeg.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), stream
            output.mux(packet)
    source = Source(str(path))
    pictures = list(source.pictures())
    assert len(pictures) == 3
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(jpeg))).astype(int)
    got = shown(pictures[0])
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).mean() < 3  # levels, of a picture black and white


def test_pictures_come_in_the_order_of_showing(clip: Path) -> None:
    source = Source(str(clip))
    found = list(source.pictures())
    assert [picture.index for picture in found] == list(range(30))
    assert [picture.pts for picture in found] == [512 * number for number in range(30)]
    assert [picture.time for picture in found] == [Fraction(number, 25) for number in range(30)]
    assert shown(found[0]).shape == (WIDTH, HEIGHT, 3)
    assert source.damage == []


def test_variable_rates_keep_their_times(tmp_path: Path) -> None:
    path = Clip(unit=Fraction(1, 1000), times=UNEVEN).write(tmp_path / "clip.mkv")
    assert [picture.pts for picture in Source(str(path)).pictures()] == list(UNEVEN)


@pytest.mark.parametrize("first", [1, 9, 10, 11, 29])
def test_pictures_from_a_number_on_are_those_of_the_whole(clip: Path, first: int) -> None:
    source = Source(str(clip))
    whole = list(source.pictures())
    mark = Mark(whole[first - 1].pts, whole[first - 1].fingerprint)
    for given in (mark, None, Mark(mark.pts, mark.fingerprint ^ 1), Mark(mark.pts + 1, 0)):
        part = list(source.pictures(first, given))
        expected = [(each.index, each.pts, each.fingerprint) for each in whole[first:]]
        assert [(each.index, each.pts, each.fingerprint) for each in part] == expected


def test_a_mark_saves_decoding_what_lies_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Clip(pictures=60, options={"g": "10", "bf": "0"}).write(tmp_path / "clip.mp4")
    source = Source(str(path))
    last = list(source.pictures())[-1]
    seen: list[int | None] = []

    def watched(*arguments: Any) -> Iterator[av.VideoFrame]:
        for frame in decoding.decoded(*arguments):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(module, "decoded", watched)
    assert list(source.pictures(60, Mark(last.pts, last.fingerprint))) == []
    first = 60 - len(seen)
    assert 20 < first <= 34  # the key frame that lies more than a second before
    assert seen == [512 * number for number in range(first, 60)]


def test_changes_do_not_reach_what_the_decoder_keeps(tmp_path: Path) -> None:
    """It predicts later frames from frames that it has given away."""
    path = Clip(60, options={"g": "100", "bf": "0"}).write(tmp_path / "clip.mp4")
    source = Source(str(path))
    expected = [picture.fingerprint for picture in source.pictures()]
    found = []
    for picture in source.pictures():
        found.append(picture.fingerprint)
        before = shown(picture)
        picture.change(before, 255 - before, (0, 0))
    assert found == expected


def test_start_and_end(clip: Path) -> None:
    source = Source(str(clip), Fraction(1, 2), Fraction("0.8"))
    found = list(source.pictures())
    assert [picture.pts // 512 for picture in found] == list(range(13, 20))
    assert [picture.index for picture in found] == list(range(7))
    assert source.info.frames == 8  # about


def test_a_damaged_packet_is_named_with_its_time(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as opened:
        hit = next(each for each in opened.demux(video=0) if each.pts == 512 * 14)
        assert hit.pos is not None
        data[hit.pos : hit.pos + hit.size] = bytes(hit.size)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    source = Source(str(path))
    found = [picture.pts for picture in source.pictures()]
    assert found == [512 * number for number in range(30) if number != 14]
    assert source.damage == [(0.56, "a damaged frame was left out")]


def test_open_groups_of_pictures_are_no_damage(tmp_path: Path) -> None:
    """Behind a place that was sought, pictures come that need what was not read."""
    options = {"g": "8", "x264-params": "open-gop=1:bframes=3:scenecut=0"}
    path = Clip(pictures=60, options=options).write(tmp_path / "clip.mp4")
    source = Source(str(path))
    whole = list(source.pictures())
    for last in whole[25:50:3]:
        part = source.pictures(last.index + 1, Mark(last.pts, last.fingerprint))
        expected = [(each.pts, each.fingerprint) for each in whole[last.index + 1 :]]
        assert [(each.pts, each.fingerprint) for each in part] == expected
    assert source.damage == []


def test_intra_refresh_is_read_from_its_begin(tmp_path: Path) -> None:
    """Its only key frame is the first one: behind others the picture gets whole bit by bit."""
    options = {"preset": "ultrafast", "x264-params": "intra-refresh=1:keyint=40"}
    path = Clip(pictures=115, options=options, sound=()).write(tmp_path / "clip.mp4")
    whole = [(each.pts, each.fingerprint) for each in Source(str(path)).pictures()]
    part = Source(str(path), start=Fraction("4.2"))
    assert [(each.pts, each.fingerprint) for each in part.pictures()] == whole[105:]
    assert part.damage == []


def test_a_file_that_ends_early_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = Clip(pictures=60, options={"bf": "0"}).write(tmp_path / "clip.mkv")
    os.truncate(path, path.stat().st_size // 2)
    source = Source(str(path))
    found = [picture.time for picture in source.pictures()]
    assert 10 < len(found) < 34
    assert {later - earlier for earlier, later in pairwise(found)} == {Fraction(1, 25)}
    last = float(found[-1])
    what = "the video ends here, and the file says that it lasts 2.40 s"
    assert source.damage == [(round(last, 3), what)]


def test_an_end_is_missed_only_where_it_was_wanted(tmp_path: Path) -> None:
    path = Clip(60, container_options={"movflags": "faststart"}).write(tmp_path / "clip.mp4")
    whole = Source(str(path))
    assert len(list(whole.pictures())) == 60
    assert whole.damage == []
    os.truncate(path, path.stat().st_size // 2)
    part = Source(str(path), end=Fraction(1, 2))
    assert len(list(part.pictures())) == 13
    assert part.damage == []


@pytest.mark.parametrize(
    ("name", "unit"), [("clip.mkv", Fraction(1, 1000)), ("clip.avi", Fraction(1, 25))]
)
def test_frames_that_a_reader_passes_over_are_missed(
    tmp_path: Path, name: str, unit: Fraction
) -> None:
    """The readers of these containers look for the next place that they know, and say nothing."""
    times = [number for number in range(150) if not (40 <= number < 90 or 110 <= number < 115)]
    shown = tuple(number * round(Fraction(1, 25) / unit) for number in times)
    clip = Clip(len(times), "mpeg4", unit=unit, times=shown, sound=(), options={"g": "10"})
    source = Source(str(clip.write(tmp_path / name)))
    assert [picture.pts for picture in source.pictures()] == list(shown)
    what = "no frame comes for 2.0 s, perhaps as the file is damaged here"
    assert source.damage == [(1.56, what)]
    part = Source(str(tmp_path / name), start=Fraction(4))
    assert len(list(part.pictures())) == len([number for number in times if number >= 100])
    assert part.damage == []


def test_long_pictures_are_no_damage(tmp_path: Path) -> None:
    """The index of an MP4 passes over nothing; others may have had such breaks before."""
    times = (0, 40, 80, 5000, 5040, 5080)
    clip = Clip(6, unit=Fraction(1, 1000), times=times, sound=(), options={"bf": "2"})
    path = clip.write(tmp_path / "clip.mp4")
    source = Source(str(path))
    assert len(list(source.pictures())) == 6
    assert source.damage == []
    times = (0, 900, 1800, 4000, 4900, 5800)
    path = Clip(6, unit=Fraction(1, 1000), times=times, sound=()).write(tmp_path / "clip.mkv")
    source = Source(str(path))
    assert [picture.pts for picture in source.pictures()] == list(times)
    assert source.damage == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT])
def test_a_disk_that_is_gone_is_no_end(number: int) -> None:
    """A network disk may go away in the middle of a clip."""
    fails = SimpleNamespace(name="file:clip.mp4", demux=lambda streams: failing(number))
    with pytest.raises(VideoError, match=r"^clip\.mp4: the file cannot be read here: "):
        list(decoding.packets(cast(Any, fails), [], lambda pts, what: None))


def failing(number: int) -> Iterator[Any]:
    yield from ()
    raise av.error.FFmpegError(number, os.strerror(number))


def test_what_the_decoder_holds_comes_after_the_last_fault(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_MOST_FAULTS", 1)
    found: list[str] = []

    def broken(streams: list[Any]) -> Iterator[Any]:
        yield from (each for each in opened.demux(streams) if each.size)
        raise av.error.FFmpegError(errno.EINVAL, "broken")

    with av.open(str(clip)) as opened:
        fails = SimpleNamespace(name="file:clip.mp4", demux=broken, format=opened.format)
        frames = decoding.decoded(
            cast(Any, fails), opened.streams.video[0], lambda pts, what: found.append(what)
        )
        assert len(list(frames)) == 30
    assert found == ["the file cannot be read here: broken"]


def test_a_file_that_cannot_be_sought_in_is_read_from_its_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Clip(60, options={"g": "10"}).write(tmp_path / "clip.mp4")
    expected = [each.fingerprint for each in Source(str(path)).pictures()][50:]

    class Unseekable:
        def __init__(self, container: Any) -> None:
            self._container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

        def seek(self, *arguments: Any, **more: Any) -> None:
            raise av.error.FFmpegError(errno.EPERM, "Operation not permitted")

    @contextmanager
    def opened(path: str) -> Iterator[Any]:
        with decoding.opened(path) as container:
            yield Unseekable(container)

    monkeypatch.setattr(module, "opened", opened)
    source = Source(str(path), start=Fraction(2))
    assert [each.fingerprint for each in source.pictures()] == expected
    assert source.damage == []


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as output:
        output.add_stream("aac", rate=48_000)
        output.start_encoding()
    with pytest.raises(VideoError, match=r"sound\.mp4: there is no video in this file"):
        Source(str(path))


def test_rubbish_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(2000))
    with pytest.raises(VideoError, match=r"clip\.mp4: (cannot be opened|there is no video)"):
        Source(str(path))


def test_interlaced_video_is_refused(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = Clip(pictures=4, options=options).write(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match="interlaced video is not supported; deinterlace it first"):
        Source(str(path))


def test_what_becomes_interlaced_is_noted_once(tmp_path: Path) -> None:
    """As where a progressive title comes before a recording; nothing of the work is lost."""
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as output:
        made: av.VideoStream | None = None
        for begin, flags in ((0, ""), (160, "+ildct+ilme")):
            options = {"flags": flags} if flags else {}
            part = Clip(4, "mpeg2video", unit=Fraction(1, 25), sound=(), options=options)
            with av.open(str(part.write(tmp_path / "part.mkv"))) as opened:
                made = made or output.add_stream_from_template(opened.streams.video[0])
                for packet in opened.demux(video=0):
                    if packet.size and packet.pts is not None:
                        packet.stream, packet.pts = made, packet.pts + begin
                        packet.dts = packet.pts
                        output.mux_one(packet)
    source = Source(str(clip))
    found = list(source.pictures())
    assert [picture.pts for picture in found] == list(range(0, 320, 40))
    [(time, what)] = source.damage
    assert time == 0.16
    assert what.startswith("frames are interlaced from here on")
    resumed = Source(str(clip))
    resumed.remember(source.damage)
    assert len(list(resumed.pictures(6, Mark(found[5].pts, found[5].fingerprint)))) == 2
    assert resumed.damage == source.damage


def test_names_with_colons_are_files(tmp_path: Path) -> None:
    path = Clip(pictures=2).write(tmp_path / "http: clip.mp4")
    assert len(list(Source(str(path)).pictures())) == len(times(path)) == 2
