"""Which inputs are clips, by name and content, and what their results are called."""

import os
from pathlib import Path

import pytest

from runtime.video.naming import SUFFIXES, is_clip, output_name

MP4 = b"\0\0\0\x18ftypisom" + bytes(64)
WEBM = b"\x1a\x45\xdf\xa3" + bytes(64)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"])
def test_by_name(suffix: str) -> None:
    assert suffix in SUFFIXES
    assert is_clip(f"no/such/file{suffix.upper()}")
    assert is_clip(f"s3://bucket/a{suffix}")
    assert output_name(f"in/a{suffix.upper()}") == f"a{suffix.upper()}"


@pytest.mark.parametrize("name", ["a.jpg", "a.gif", "a", "", "s3://bucket/a", "x\0y", "n" * 300])
def test_what_is_none(name: str) -> None:
    assert not is_clip(name)


def test_by_content(tmp_path: Path) -> None:
    """Where the name says nothing; a picture's name is a picture's."""
    for name, data in (("one", MP4), ("two.film", WEBM), ("three.jpg", MP4), ("four", b"GIF89a")):
        (tmp_path / name).write_bytes(data)
    found = [is_clip(str(tmp_path / name)) for name in ("one", "two.film", "three.jpg", "four")]
    assert found == [True, True, False, False]
    assert output_name(str(tmp_path / "one")) == "one.mov"
    assert output_name(str(tmp_path / "two.film")) == "two.film.mkv"


def test_a_fifo_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    assert not is_clip(str(tmp_path / "x"))
