"""Whole results: the source's times, sound, texts, chapters and tags around changed pictures."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest

from runtime.errors import VideoError
from runtime.video.files import joining
from runtime.video.files.encoding import Encoding, plan_for
from runtime.video.files.joining import join
from runtime.video.files.segments import Segments
from runtime.video.files.source import Source
from tests.runtime.video.files.clips import (
    HEIGHT,
    UNEVEN,
    WIDTH,
    X265_SOURCE,
    Clip,
    in_segments,
    packets,
    pictures,
    ramp,
    times,
    values,
)

MILLI = Fraction(1, 1000)
PATCH = (slice(8, 24), slice(16, 40))
MASTERING = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
CLIPS = {
    "even.mp4": Clip(sound=("aac", "aac"), chapters=True, metadata={"title": "Té"}),
    "uneven.mp4": Clip(unit=Fraction(1, 90_000), times=[90 * time for time in UNEVEN]),
    "texts.mp4": Clip(subtitles="mov_text"),
    "coarse.mov": Clip(
        unit=Fraction(1, 600),
        times=[24 * number + number % 2 for number in range(12)],
        container_options={"video_track_timescale": "600"},
    ),
    "late.mp4": Clip(times=[6400 + 512 * number for number in range(12)]),
    "apple.mov": Clip(
        codec="prores_ks",
        pixel_format="yuv422p10le",
        sound=("pcm_s16le",),
        metadata={"com.apple.quicktime.make": "Us"},
        container_options={"movflags": "use_metadata_tags"},
    ),
    "deep.mp4": Clip(
        codec="libx265",
        pixel_format="yuv420p10le",
        options={"x265-params": f"{X265_SOURCE}:{MASTERING}", "preset": "ultrafast"},
        colours=(1, 9, 16, 9),
    ),
    "everything.mkv": Clip(
        unit=MILLI,
        times=UNEVEN,
        sound=("aac", "libopus"),
        subtitles="subrip",
        chapters=True,
        attachment=True,
        metadata={"title": "T"},
    ),
    "web.webm": Clip(codec="libvpx", unit=MILLI, sound=("libopus",), options={"cpu-used": "8"}),
    "tagged.avi": Clip(
        codec="utvideo", pixel_format="gbrp", unit=Fraction(1, 25), sound=("pcm_s16le",)
    ),
    "old.avi": Clip(codec="mpeg4", unit=Fraction(1, 25), sound=("libmp3lame",)),
}


def restore(
    path: Path,
    target: Path,
    encoding: Encoding | None = None,
    start: Fraction | None = None,
    end: Fraction | None = None,
) -> tuple[str, ...]:
    """Make a part of every picture brighter, as a restored face would be."""
    source = Source(str(path), start, end)
    plan = plan_for(source, encoding or Encoding(), str(target))
    with Segments(str(target), source, plan, {}, resume=False) as made:
        for picture in in_segments(made, source.pictures()):
            before = picture.layout.shown(picture.frame)[PATCH]
            after = np.clip(before.astype(int) + 30, 0, 255).astype(np.uint8)
            picture.change(before, after, (PATCH[1].start, PATCH[0].start))
            made.add(picture)
        return join(source, made, str(target))


def described(path: Path) -> dict[str, Any]:
    """All that a result has to have in common with its source."""
    with av.open(path) as clip:
        video = clip.streams.video[0]
        frame = next(clip.decode(video))
        return {
            "streams": [(each.type, each.time_base, each.language) for each in clip.streams],
            "disposition": [int(each.disposition) for each in clip.streams],
            "start": [each.start_time for each in clip.streams],
            "chapters": clip.chapters(),
            "metadata": {
                key: value
                for key, value in clip.metadata.items()
                if key not in ("compatible_brands",)
            },
            "attachments": [each.data for each in clip.streams.attachments],
            "tag": video.codec_context.codec_tag,
            "format": frame.format.name,
            "colours": (
                frame.color_range,
                frame.color_primaries,
                frame.color_trc,
                frame.colorspace,
            ),
            "side data": [
                (each.type.name, bytes(each))
                for each in cast(Any, frame.side_data)
                if each.type.name != "SEI_UNREGISTERED"  # what the encoder says of itself
            ],
        }


@pytest.mark.parametrize("name", CLIPS)
def test_all_is_the_sources_but_the_pictures(name: str, tmp_path: Path) -> None:
    path, target = CLIPS[name].write(tmp_path / name), tmp_path / "out" / name
    assert restore(path, target) == ()
    assert described(target) == described(path)
    assert times(target) == times(path)
    before, after = packets(path), packets(target)
    assert before.keys() == after.keys()
    for stream in before.keys() - {0}:
        assert after[stream] == before[stream]
    assert [pts for pts, _ in sorted(after[0])] == [pts for pts, _ in sorted(before[0])]
    with av.open(path) as source, av.open(target) as result:
        assert source.duration is not None
        assert result.duration == pytest.approx(source.duration, abs=20_000)
    assert sorted(each.name for each in target.parent.iterdir()) == [name]


def test_texts_at_one_time_stay_there(tmp_path: Path) -> None:
    path, target = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    plain = Clip(unit=MILLI, subtitles="subrip", sound=()).write(tmp_path / "plain.mkv")
    with av.open(plain) as source, av.open(path, "w") as output:
        made = [output.add_stream_from_template(each, opaque=True) for each in source.streams]
        for packet in source.demux():
            if packet.size:
                again = av.Packet(b"two of them")
                again.pts, again.dts, again.duration = packet.pts, packet.dts, packet.duration
                again.time_base, again.stream = packet.time_base, made[packet.stream_index]
                is_text = packet.stream.type == "subtitle"
                packet.stream = made[packet.stream_index]
                output.mux([packet, again] if is_text else packet)
    found = packets(path)[1]
    assert [pts for pts, _ in found] == [0, 0, 200, 200, 400, 400]
    restore(path, target)
    assert packets(target)[1] == found


def test_an_edit_list_hides_what_it_hid(tmp_path: Path) -> None:
    """A cut without encoding leaves frames before time 0 in a file, which are never shown."""
    path = Clip(pictures=30, options={"g": "10"}).write(tmp_path / "clip.mp4")
    cut, target = tmp_path / "cut.mp4", tmp_path / "out.mp4"
    with av.open(path) as source, av.open(cut, "w") as output:
        made = [output.add_stream_from_template(each, opaque=True) for each in source.streams]
        for packet in source.demux():
            if packet.pts is not None and packet.dts is not None:
                earlier = round(Fraction("0.2") / packet.time_base)
                packet.pts, packet.dts = packet.pts - earlier, packet.dts - earlier
                packet.stream = made[packet.stream_index]
                output.mux(packet)
    assert times(cut) == [512 * number for number in range(25)]
    assert restore(cut, target) == ()
    assert times(target) == times(cut)
    assert packets(target)[1] == packets(cut)[1]
    with av.open(cut) as source, av.open(target) as result:
        assert result.duration == source.duration


def test_a_cover_is_copied_and_no_video(tmp_path: Path) -> None:
    path, target = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    with av.open(Clip().write(tmp_path / "plain.mp4")) as source, av.open(path, "w") as output:
        cover = output.add_stream("mjpeg", rate=1)
        assert isinstance(cover, av.VideoStream)
        cover.width, cover.height, cover.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        made = [output.add_stream_from_template(each, opaque=True) for each in source.streams]
        frame = av.VideoFrame.from_ndarray(ramp(0), "rgb24").reformat(format="yuvj420p")
        frame.pts = 0
        output.mux([*cover.encode(frame), *cover.encode(None)])
        for packet in source.demux():
            if packet.size:
                packet.stream = made[packet.stream_index]
                output.mux(packet)
    assert restore(path, target) == ()
    with av.open(target) as result:
        dispositions = [int(each.disposition) for each in result.streams]
    with av.open(path) as source:
        assert dispositions == [int(each.disposition) for each in source.streams]
    kept = [data for each in packets(path).values() for _, data in each if data[:2] == b"\xff\xd8"]
    found = [data for each in packets(target).values() for _, data in each]
    assert len(kept) == 1
    assert kept[0] in found
    restore(path, tmp_path / "part.mp4", start=Fraction("0.2"))
    assert kept[0] in [data for each in packets(tmp_path / "part.mp4").values() for _, data in each]


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_kept(degrees: int, tmp_path: Path) -> None:
    path = Clip(pictures=4, rotation=degrees).write(tmp_path / "clip.mp4")
    target = tmp_path / "out.mp4"
    restore(path, target)
    turned = Source(str(path)).layout.orientation
    assert Source(str(target)).layout.orientation == turned
    restore(path, tmp_path / "other.mkv", Encoding(codec="ffv1"))
    assert Source(str(tmp_path / "other.mkv")).layout.orientation == turned


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
def test_decoded_values_reach_the_encoder_unchanged(pixel_format: str, tmp_path: Path) -> None:
    """With a lossless codec all values but those of the patch are the source's."""
    path = Clip(5, "ffv1", pixel_format, unit=MILLI).write(tmp_path / "clip.mkv")
    target = tmp_path / "out.mkv"
    restore(path, target)
    with av.open(path) as source, av.open(target) as result:
        for one, two in zip(source.decode(video=0), result.decode(video=0), strict=True):
            for old, new in zip(values(one), values(two), strict=True):
                down, across = one.height // old.shape[0], one.width // old.shape[1]
                rows, columns = (
                    slice(part.start // by, part.stop // by)
                    for part, by in zip(PATCH, (down, across), strict=True)
                )
                assert down * across > 1 or (old[rows, columns] < new[rows, columns]).all()
                new[rows, columns] = old[rows, columns]
                assert (old == new).all()


def test_a_part_keeps_its_sync(tmp_path: Path) -> None:
    clip = Clip(pictures=25, chapters=True, options={"g": "5"})
    path, target = clip.write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    restore(path, target, start=Fraction("0.3"), end=Fraction("0.71"))
    assert times(target) == [512 * number for number in range(10)]  # 0.32 to 0.68
    sound = packets(path)[1]
    moved = [(pts - 15_360, data) for pts, data in sound if pts is not None]  # by 0.32 s
    expected = [each for each in moved if 0 <= each[0] < 18_720]
    assert packets(target)[1] == expected
    with av.open(target) as result:
        chapters = [(each["start"], each["end"]) for each in result.chapters()]
    assert chapters == [(0, 160)]


@pytest.mark.parametrize(
    ("start", "end", "length"),
    [
        ("0.2", "0.21", "0.04"),  # one picture
        ("0.2", "0.27", "0.08"),  # no picture is cut in its middle
        ("0.3", "0.71", "0.4"),
        ("0.3", "9", "0.68"),
        (None, "0.03", "0.04"),
        ("0.95", None, "0.04"),
    ],
)
def test_the_length_of_a_part(
    start: str | None, end: str | None, length: str, tmp_path: Path
) -> None:
    path, target = Clip(pictures=25).write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    restore(path, target, start=seconds(start), end=seconds(end))
    assert length_of(target) == Fraction(length)


LONG_BREAKS = Clip(5, times=[0, 512, 13312, 26112, 38912], sound=())  # 3.04 seconds
IN_ORDER = replace(LONG_BREAKS, options={"bf": "0"})  # so that the file says when the last one ends


@pytest.mark.parametrize(
    ("clip", "start", "end", "length"),
    [
        (LONG_BREAKS, None, "3", "3"),
        (LONG_BREAKS, None, "2.5", "2.5"),
        (LONG_BREAKS, "1", "3", "1.96"),
        (IN_ORDER, None, "3", "3"),
        (IN_ORDER, None, "9", "3.08"),
        (IN_ORDER, "1", None, "2.04"),
    ],
)
def test_a_picture_after_a_long_break_is_shown_until_the_end(
    clip: Clip, start: str | None, end: str | None, length: str, tmp_path: Path
) -> None:
    path, target = clip.write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    restore(path, target, start=seconds(start), end=seconds(end))
    assert length_of(target) == Fraction(length)


def seconds(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


def length_of(path: Path) -> Fraction:
    """Seconds for which the video of a file is shown."""
    with av.open(path) as clip:
        video = clip.streams.video[0]
        assert video.time_base is not None
        return (video.duration or 0) * video.time_base


def test_the_full_range_stays_in_another_codec(tmp_path: Path) -> None:
    """H.264 as phones and webcams write it, in a format that VP9 knows by another name."""
    path, target = tmp_path / "clip.mp4", tmp_path / "out.webm"
    Clip(4, pixel_format="yuvj420p", options={"qp": "0"}, sound=()).write(path)
    assert restore(path, target, Encoding("vp9", 4)) == ()
    with av.open(path) as clip, av.open(target) as result:
        pairs = list(zip(clip.decode(video=0), result.decode(video=0), strict=True))
    for before, after in pairs:
        assert after.color_range == 2
        old, new = (
            each.reformat(format="rgb24").to_ndarray().astype(int) for each in (before, after)
        )
        old[PATCH] = new[PATCH]
        assert np.abs(old - new).mean() < 2


@pytest.mark.parametrize("end", [None, Fraction("0.3")])
def test_a_part_has_no_statistics_of_the_whole(end: Fraction | None, tmp_path: Path) -> None:
    """Players take the bit rate and the length of a sound from such tags."""
    plain, path, target = (tmp_path / f"{name}.mkv" for name in ("plain", "clip", "out"))
    Clip(sound=("libopus",)).write(plain)
    tags = {"BPS": "64000", "NUMBER_OF_FRAMES-eng": "999", "DURATION-eng": "00:00:09.000000000"}
    with av.open(plain) as source, av.open(path, "w") as output:
        made = [output.add_stream_from_template(each, opaque=True) for each in source.streams]
        made[1].metadata.update({"title": "Sound", **tags})
        for packet in source.demux():
            if packet.size:
                packet.stream = made[packet.stream_index]
                output.mux_one(packet)
    restore(path, target, end=end)
    with av.open(target) as result:
        found = result.streams.audio[0].metadata
    assert found["title"] == "Sound"
    assert {key: found[key] for key in tags if key in found} == (tags if end is None else {})


def test_other_codecs_and_containers(tmp_path: Path) -> None:
    path = Clip(rotation=90, subtitles="mov_text").write(tmp_path / "clip.mp4")
    target = tmp_path / "out.mkv"
    (note,) = restore(path, target, Encoding(codec="mpeg4", crf=5))
    assert note.startswith("subtitle stream 2 is left out: matroska files cannot hold it (")
    # in milliseconds, and later by what the sound begins early, as Matroska has no time below 0
    assert times(target) == [40 * number + 21 for number in range(12)]
    assert [data for _, data in packets(target)[1]] == [data for _, data in packets(path)[1]]


def test_an_avi_holds_no_rotation_and_no_chapters(tmp_path: Path) -> None:
    path = Clip(4, rotation=90, chapters=True, sound=()).write(tmp_path / "clip.mp4")
    turn, chapters = (
        "the picture's rotation is left out: avi files cannot hold it",
        "chapters are left out: avi files cannot hold them",
    )
    notes = restore(path, tmp_path / "out.avi")
    assert turn in notes
    assert chapters in notes
    assert not {turn, chapters} & set(restore(path, tmp_path / "out.mkv"))
    plain = Clip(4, sound=()).write(tmp_path / "plain.mp4")
    assert restore(plain, tmp_path / "plain.avi") == ()


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_two_pictures_in_a_millisecond(suffix: str, tmp_path: Path) -> None:
    """Both are there, at the same time, which such a file does not split."""
    clip = Clip(4, unit=Fraction(1, 90_000), times=[0, 3600, 3620, 7200], sound=())
    path, target = clip.write(tmp_path / "clip.mp4"), tmp_path / f"out.{suffix}"
    restore(path, target, Encoding(codec="vp9", crf=40))
    assert times(target) == [0, 40, 40, 80]


def test_temporary_files_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every packet that is written, all files together are hardly larger than the result."""
    path, target = Clip(pictures=100).write(tmp_path / "clip.mp4"), tmp_path / "out" / "clip.mp4"
    most = 0
    made = joining._encoded

    def watched(*arguments: Any) -> Iterator[Any]:
        nonlocal most
        for packet in made(*arguments):
            files = [each for each in target.parent.rglob("*") if each.is_file()]
            most = max(most, sum(each.stat().st_size for each in files))
            yield packet

    monkeypatch.setattr(joining, "_encoded", watched)
    monkeypatch.setattr(joining, "_BUFFER", 1 << 12)
    restore(path, target, Encoding(crf=1))
    assert most <= 1.2 * target.stat().st_size


def test_nothing_between_start_and_end(tmp_path: Path) -> None:
    path = Clip(pictures=3).write(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match=r"no picture between start and end"):
        restore(path, tmp_path / "out.mp4", start=Fraction(9))
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


def test_pictures_are_changed_and_nothing_else(tmp_path: Path) -> None:
    path, target = Clip(4).write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    restore(path, target)
    assert pictures(target) != pictures(path)
