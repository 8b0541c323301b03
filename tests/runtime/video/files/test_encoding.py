"""What a clip is encoded with: its own codec where possible, and one line where it is not."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from runtime.errors import VideoError
from runtime.video.files import encoding
from runtime.video.files.encoding import Encoding, Plan, plan_for
from runtime.video.files.source import Source
from tests.runtime.video.files import clips
from tests.runtime.video.files.clips import X265, X265_SOURCE, Clip

MASTERING = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"

HEVC = Clip(2, "libx265", "yuv420p10le", options={"x265-params": X265_SOURCE})


def plan(tmp_path: Path, clip: Clip, name: str, target: str = "", **asked: object) -> Plan:
    source = Source(str(clip.write(tmp_path / name)))
    return plan_for(source, Encoding(**asked), target or name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clip", "name", "encoder"),
    [
        (Clip(2), "clip.mp4", "libx264"),
        (HEVC, "clip.mov", "libx265"),
        (Clip(2, "mpeg4", unit=Fraction(1, 25)), "clip.avi", "mpeg4"),
        (Clip(2, "prores_ks", "yuv422p10le"), "clip.mov", "prores_ks"),
        (Clip(2, "qtrle", "rgb24", sound=()), "clip.mov", "qtrle"),
        (Clip(2, "ffv1", unit=Fraction(1, 1000)), "clip.mkv", "ffv1"),
        (Clip(2, "libvpx", unit=Fraction(1, 1000), sound=()), "clip.webm", "libvpx"),
    ],
)
def test_the_source_decides(tmp_path: Path, clip: Clip, name: str, encoder: str) -> None:
    made = plan(tmp_path, clip, name)
    assert (made.encoder, made.pixel_format) == (encoder, clip.pixel_format)
    assert made.time_base == Fraction(1, 25)
    assert made.notes == ()


def test_a_codec_without_an_encoder_becomes_h264(tmp_path: Path) -> None:
    clip = Clip(2, "mpeg4", unit=Fraction(1, 25), sound=())
    source = Source(str(clip.write(tmp_path / "clip.mp4")))
    object.__setattr__(source.info, "codec", "vc1")
    made = plan_for(source, Encoding(), "clip.mp4")
    assert made.encoder == "libx264"
    (note,) = made.notes
    assert note == "the result is H.264, as vc1 cannot be written (PyAV has no encoder for vc1)"


@pytest.mark.parametrize("suffix", ["mov", "avi", "mkv"])
def test_an_uncompressed_clip_becomes_h264(suffix: str, tmp_path: Path) -> None:
    """Its pictures may be packed, those that are worked on are not, and its encoder takes both."""
    unit = Fraction(1, 25 if suffix == "avi" else 1000)
    clip = Clip(2, "rawvideo", "uyvy422", unit=unit, sound=())
    made = plan(tmp_path, clip, f"clip.{suffix}")
    assert (made.encoder, made.pixel_format) == ("libx264", "yuv422p")
    (note,) = made.notes
    why = "rawvideo is not supported for a result"
    assert note == f"the result is H.264, as rawvideo cannot be written ({why})"


@pytest.mark.parametrize(("codec", "name"), [("libvpx-vp9", "vp9"), ("libsvtav1", "av1")])
def test_a_container_may_refuse_a_codec_in_its_header(
    codec: str, name: str, tmp_path: Path
) -> None:
    """FFmpeg says that MOV holds both, and fails when it begins to write."""
    made = plan(tmp_path, Clip(2, codec, sound=()), "clip.mp4", "clip.mov")
    assert made.encoder == "libx264"
    reason = f"{name} cannot be written (mov files cannot hold {name})"
    assert made.notes == (f"the result is H.264, as {reason}",)


def test_depth_counts_more_than_the_codec(tmp_path: Path) -> None:
    """PyAV's VP9 knows 8 bits only: 10 bits become AV1 in WebM, and H.264 elsewhere."""
    source = Source(str(HEVC.write(tmp_path / "clip.mp4")))
    object.__setattr__(source.info, "codec", "vp9")
    for target, encoder, name in (("a.webm", "libsvtav1", "AV1"), ("a.mkv", "libx264", "H.264")):
        made = plan_for(source, Encoding(), target)
        assert (made.encoder, made.pixel_format) == (encoder, "yuv420p10le")
        (note,) = made.notes
        reason = "libvpx-vp9 knows no yuv420p10le"
        assert note == f"the result is {name}, as vp9 cannot be written ({reason})"


def test_what_is_asked_for_counts(tmp_path: Path) -> None:
    asked = Encoding(codec="h265", crf=30, pixel_format="yuv422p10le")
    source = Source(str(Clip(2).write(tmp_path / "clip.mp4")))
    made = plan_for(source, asked, "clip.mkv")
    assert (made.container, made.codec, made.pixel_format) == ("matroska", "hevc", "yuv422p10le")
    assert made.options["crf"] == "30"
    assert made.notes == ("pictures are yuv422p10le, not yuv420p",)


@pytest.mark.parametrize(
    ("asked", "target", "message"),
    [
        ({"codec": "cinema"}, "clip.mp4", "PyAV has no encoder for cinema"),
        ({"codec": "aac"}, "clip.mp4", "aac is no video codec"),
        ({"codec": "rawvideo"}, "clip.mov", "rawvideo is not supported for a result"),
        ({"codec": "wrapped_avframe"}, "clip.mkv", "wrapped_avframe is not supported for a result"),
        ({"codec": "h264"}, "clip.webm", "webm files cannot hold h264"),
        ({"codec": "av1"}, "clip.mov", "mov files cannot hold av1"),
        ({"codec": "ffv1", "crf": 9}, "clip.mkv", "ffv1 takes no crf"),
        ({"pixel_format": "yuv411p"}, "clip.mp4", "libx264 does not encode this clip"),
        ({"pixel_format": "violet"}, "clip.mp4", "libx264 does not encode this clip"),
        ({}, "clip.txt", "a video's name ends in one of"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    tmp_path: Path, asked: dict[str, object], target: str, message: str
) -> None:
    with pytest.raises(VideoError, match=message) as error:
        plan(tmp_path, Clip(2), "source.mp4", target, **asked)
    assert "\n" not in str(error.value)


def test_depth_is_kept_before_colour(tmp_path: Path) -> None:
    """ProRes knows 4:2:2 of 10 bits at least."""
    made = plan(tmp_path, Clip(2), "clip.mp4", "clip.mov", codec="prores")
    assert made.pixel_format == "yuv422p10le"
    assert plan(tmp_path, HEVC, "clip.mp4", codec="h264").pixel_format == "yuv420p10le"


def test_pictures_in_another_format_are_the_same_each_time(tmp_path: Path) -> None:
    """The threads of FFmpeg's scaler spoil a few pixels where each one's rows begin."""
    clip = Clip(2, "prores_ks", "yuv422p10le", sound=())
    source = Source(str(clip.write(tmp_path / "clip.mov")))
    made = plan_for(source, Encoding(codec="h264", pixel_format="yuv420p10le"), "clip.mp4")
    grey = av.VideoFrame.from_ndarray(np.full((482, 642, 3), 128, np.uint8), "rgb24")
    frame = grey.reformat(format="yuv422p10le", threads=1)
    found = [made.fitted(frame, source, VideoReformatter()).to_ndarray() for _ in range(12)]
    assert all((each == found[0]).all() for each in found)
    assert np.ptp(found[0][:482]) == 0  # the luma


def test_prores_keeps_its_profile(tmp_path: Path) -> None:
    clip = Clip(2, "prores_ks", "yuv422p10le", options={"profile": "1"})
    assert plan(tmp_path, clip, "clip.mov").options == {"profile": "1"}


def test_hdr_metadata_goes_to_the_encoder(tmp_path: Path) -> None:
    params = f"{MASTERING}:max-cll=1000,400"
    options = {"x265-params": f"{X265_SOURCE}:{params}"}
    clip = Clip(2, "libx265", "yuv420p10le", options=options, colours=(1, 9, 16, 9))
    source = Source(str(clip.write(tmp_path / "clip.mp4")))
    assert source.info.colours.hdr == "PQ"
    made = plan_for(source, Encoding(), "clip.mp4").options["x265-params"]
    assert made == f"{X265}:{params}"
    other = plan_for(source, Encoding(codec="h264"), "clip.mp4").options["x264-params"]
    assert other == f"mastering-display{MASTERING[14:]}:cll=1000,400"


def test_an_avi_has_no_pictures_out_of_order(tmp_path: Path) -> None:
    assert plan(tmp_path, Clip(2), "clip.mp4", "clip.avi").options["bf"] == "0"


@pytest.mark.parametrize("codec", ["msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "flv", "mpeg1video"])
def test_old_codecs_keep_their_quality(codec: str, tmp_path: Path) -> None:
    """Without a quantiser FFmpeg would write 200 kbit/s, whatever the picture's size."""
    clip = Clip(2, codec, unit=Fraction(1, 25), sound=())
    made = plan(tmp_path, clip, "clip.avi")
    assert (made.encoder, made.notes) == (codec, ())
    assert made.options["flags"] == "+qscale"
    assert made.options["global_quality"] == "236"


def test_a_codec_without_a_quality_becomes_h264(tmp_path: Path) -> None:
    clip = Clip(2, unit=Fraction(1, 25), sound=())
    source = Source(str(clip.write(tmp_path / "clip.avi")))
    object.__setattr__(source.info, "codec", "cinepak")
    made = plan_for(source, Encoding(), "clip.avi")
    assert made.encoder == "libx264"
    assert "cinepak has no setting for a constant quality" in made.notes[0]


def test_an_encoder_without_a_quality_gets_twice_the_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_trouble", lambda made, source: None)  # of Cinepak's formats
    source = Source(str(Clip(2).write(tmp_path / "clip.avi")))
    assert source.info.bit_rate > 0
    object.__setattr__(source.info, "bit_rate", 3_000_000)
    made = plan_for(source, Encoding(codec="cinepak"), "clip.avi")
    assert (made.encoder, made.options["b"]) == ("cinepak", "6000000")


def test_nvenc_gets_a_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_trouble", lambda made, source: None)  # there need not be a GPU
    made = plan(tmp_path, Clip(2), "clip.mp4", codec="h264_nvenc")
    assert (made.options["cq"], made.options["b"], made.options["rc"]) == ("19", "0", "vbr")
    assert plan(tmp_path, Clip(2), "a.mp4", codec="hevc_nvenc", crf=30).options["cq"] == "30"


@pytest.mark.parametrize(
    ("codec", "own", "pixel_format", "notes"),
    [
        ("hevc_nvenc", "yuv420p10le", "p010le", ()),
        ("av1_nvenc", "yuv422p10le", "p210le", ()),
        ("hevc_nvenc", "yuv420p12le", "p010le", ("pictures are p010le, not yuv420p12le",)),
        ("hevc_nvenc", "yuv420p", "yuv420p", ()),
        ("h264_qsv", "yuv420p", "nv12", ()),
        ("h264_nvenc", "yuvj420p", "yuv420p", ()),
        ("h264_qsv", "yuvj420p", "nv12", ()),
        ("libx264", "yuvj420p", "yuvj420p", ()),
        ("libsvtav1", "yuvj420p", "yuv420p", ()),
    ],
)
def test_formats_of_fewer_planes(
    codec: str,
    own: str,
    pixel_format: str,
    notes: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """NVENC knows 10 bits with both kinds of chroma in one plane only."""

    def trouble(made: Plan, source: Source) -> str | None:  # there need not be a GPU
        known = {each.name for each in av.codec.Codec(made.encoder, "w").video_formats or ()}
        return None if made.pixel_format in known else "unknown"

    monkeypatch.setattr(encoding, "_trouble", trouble)
    source = Source(str(Clip(2, sound=()).write(tmp_path / "clip.mp4")))
    object.__setattr__(source.info, "pixel_format", own)
    made = plan_for(source, Encoding(codec=codec), "clip.mp4")
    assert (made.pixel_format, made.notes) == (pixel_format, notes)


def test_the_full_range_needs_a_stream_that_tells_it(tmp_path: Path) -> None:
    clip = Clip(2, "mjpeg", "yuvj420p", unit=Fraction(1, 25), sound=())
    source = Source(str(clip.write(tmp_path / "clip.avi")))
    assert plan_for(source, Encoding(codec="vp9"), "clip.webm").pixel_format == "yuv420p"
    assert plan_for(source, Encoding(), "clip.webm").codec == "av1"
    with pytest.raises(VideoError, match="mpeg4 does not encode this clip"):
        plan_for(source, Encoding(codec="mpeg4"), "clip.avi")


def test_odd_sizes_keep_their_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "WIDTH", clips.WIDTH - 1)
    path = Clip(2, "libvpx-vp9", unit=Fraction(1, 1000), sound=()).write(tmp_path / "clip.webm")
    made = plan_for(Source(str(path)), Encoding(), "clip.mov")
    assert (made.codec, made.pixel_format) == ("h264", "yuv444p")


def test_p010le_has_an_even_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's scaler leaves out its last column of chroma else."""
    monkeypatch.setattr(clips, "WIDTH", 95)
    clip = Clip(2, "ffv1", "yuv420p10le", unit=Fraction(1, 1000), sound=())
    source = Source(str(clip.write(tmp_path / "clip.mkv")))
    with pytest.raises(VideoError, match="p010le needs an even width"):
        plan_for(source, Encoding(codec="hevc_nvenc", pixel_format="p010le"), "clip.mkv")


def test_a_picture_every_hour_is_a_rate(tmp_path: Path) -> None:
    source = Source(str(Clip(2).write(tmp_path / "clip.mp4")))
    object.__setattr__(source.info, "rate", Fraction(1, 3600))
    assert plan_for(source, Encoding(), "clip.mp4").time_base == 1001


def test_prores_keeps_its_transparency(tmp_path: Path) -> None:
    """FFmpeg reads 12 bits of it and writes 10."""
    clip = Clip(2, "prores_ks", "yuva444p10le", sound=())
    made = plan(tmp_path, clip, "clip.mov")
    assert (made.encoder, made.pixel_format) == ("prores_ks", "yuva444p10le")
    assert made.options == {"profile": "4"}
