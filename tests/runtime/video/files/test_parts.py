"""Errors of the disk: whose they are."""

import errno
import os
from pathlib import Path

import pytest

from runtime.errors import OutputError, VideoError
from runtime.video.files.parts import disk_error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_is_everybodys(number: int, tmp_path: Path) -> None:
    error = disk_error(tmp_path / "out.mp4", OSError(number, os.strerror(number)), "more")
    assert type(error) is OutputError
    assert str(error) == f"{tmp_path / 'out.mp4'}: {os.strerror(number)}; more"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR])
def test_what_is_wrong_with_one_folder_is_one_clips(number: int, tmp_path: Path) -> None:
    """Such as segments that belong to somebody else; without their folder it is everybody's."""
    error = OSError(number, os.strerror(number))
    assert type(disk_error(tmp_path / "out.mp4.segments", error, "more")) is VideoError
    assert type(disk_error(tmp_path / "gone" / "out.mp4.segments", error, "more")) is OutputError
