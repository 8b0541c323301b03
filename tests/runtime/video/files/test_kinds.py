"""Which files are videos, by their content, and what is written under a name."""

from pathlib import Path

import pytest

from runtime.errors import VideoError
from runtime.video.files.kinds import container_of, demuxer_of, is_video

HEADS = {
    "mov": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "matroska": b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01",
    "avi": b"RIFF\0\1\0\0AVI LIST",
}
OTHERS = {
    "a HEIF picture": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "an AVIF picture": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1",
    "a WebP picture": b"RIFF\0\1\0\0WEBPVP8 ",
    "a playlist": b"#EXTM3U\n#EXTINF:9,\nhttp://example.org/a.ts\n",
    "nothing": b"",
}


@pytest.mark.parametrize("demuxer", HEADS)
def test_content_counts(demuxer: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(HEADS[demuxer] + bytes(100))
    assert is_video(str(file))
    assert demuxer_of(str(file)) == demuxer


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_video_is_never_opened(kind: str, tmp_path: Path) -> None:
    """Also under a video's name: FFmpeg would follow the addresses in a playlist."""
    file = tmp_path / "clip.mp4"
    file.write_bytes(OTHERS[kind])
    assert not is_video(str(file))
    with pytest.raises(VideoError, match=r"clip\.mp4: not a video in a known container"):
        demuxer_of(str(file))


def test_what_cannot_be_read_is_no_video() -> None:
    assert not is_video("/missing/clip.mp4")
    with pytest.raises(VideoError, match="no such file"):
        demuxer_of("/missing/clip.mp4")


def test_the_container_follows_from_the_name() -> None:
    endings = ("mp4", "m4v", "mov", "MKV", "webm", "avi")
    found = [container_of(f"out/clip.{ending}") for ending in endings]
    assert found == ["mp4", "mp4", "mov", "matroska", "webm", "avi"]
    with pytest.raises(VideoError, match=r"clip\.ts: a video's name ends in one of \.mp4"):
        container_of("clip.ts")
