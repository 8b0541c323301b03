"""What is written beside its place: permissions, names, and what a killed process left."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.storage.local import are_one_file, folder_beside, write_atomically
from runtime.storage.temporary import remove_unfinished, temporary_file, temporary_folder
from tests.conftest import ROOT

HANGING = """
import sys
from pathlib import Path
from runtime.storage.temporary import temporary_file, temporary_folder
beside = Path(sys.argv[1])
with temporary_file(beside) as (path, file), temporary_folder(beside) as folder:
    (folder / "weights").write_bytes(b"half")
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    sys.stdin.read()
"""


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.tmp"))


def begun(folder: Path) -> "subprocess.Popen[str]":
    """A process in the middle of writing a file and a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, folder / "x.png"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Not what a living one writes, nor what has another name, or another machine's."""
    living = begun(tmp_path)
    held = left(tmp_path)
    killed = begun(tmp_path)
    assert len(left(tmp_path)) == 4
    killed.kill()
    killed.communicate()
    (made,) = {path.name.split("-")[1] for path in held}
    others = [
        tmp_path / held[0].name.replace(made, "0123456789ab"),
        tmp_path / ".x.png.0a1b2c3d.tmp",
        tmp_path / "x.tmp",
    ]
    for other in others:
        other.touch()
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / f".dmdnet-{made}-00000000.tmp").symlink_to(tmp_path / "elsewhere")
    write_atomically(tmp_path / "y.png", b"whole")
    assert {*held, others[0], others[1]} <= set(left(tmp_path))
    assert len(left(tmp_path)) == 5
    assert (tmp_path / "elsewhere").read_bytes() == b"kept"
    living.kill()
    living.communicate()
    remove_unfinished(tmp_path)
    assert not set(held) & set(left(tmp_path))
    assert others[2].exists()


def test_a_folder_is_looked_at_once_or_when_asked(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "new" / "bundle") as temporary:
        process = begun(tmp_path / "new")
        process.kill()
        process.communicate()
        temporary.rename(tmp_path / "new" / "bundle")
    assert len(left(tmp_path / "new")) == 2
    write_atomically(tmp_path / "new" / "x", b"")
    assert len(left(tmp_path / "new")) == 2
    remove_unfinished(tmp_path / "new")
    assert not left(tmp_path / "new")


def test_nothing_is_left_by_an_error(tmp_path: Path) -> None:
    for temporary in (temporary_file, temporary_folder):
        with suppress(RuntimeError), temporary(tmp_path / "x"):
            assert len(left(tmp_path)) == 1
            raise RuntimeError
        assert not left(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", b"x")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_names_are_short(tmp_path: Path) -> None:
    name = "é" * 127
    with temporary_file(tmp_path / name) as (path, _):
        assert re.fullmatch(r"\.dmdnet-[0-9a-f]{12}-[0-9a-f]{8}\.tmp", path.name)
    write_atomically(tmp_path / name, b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"
    with pytest.raises(OSError, match="too long"):
        write_atomically(tmp_path / (name + "é"), b"x")


def test_permissions_are_those_of_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The umask, which all threads share, is never touched."""
    old = os.umask(0o027)
    with monkeypatch.context() as patch:
        patch.setattr(os, "umask", None)
        write_atomically(tmp_path / "file", b"x")
        with folder_beside(tmp_path / "folder") as temporary:
            temporary.rename(tmp_path / "folder")
    os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        write_atomically(tmp_path / "fifo", b"x")
    assert (tmp_path / "fifo").is_fifo()


def test_names_that_this_disk_takes_for_one(tmp_path: Path) -> None:
    assert are_one_file(tmp_path / "not" / "there", "a.png", "a.png")
    assert not are_one_file(tmp_path, "a.png", "b.png")
    assert not are_one_file(tmp_path, "a" * 300, "A" * 300)
    assert not list(tmp_path.iterdir())
