"""What is left where a result cannot be joined, or is interrupted."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.errors import OutputError, VideoError
from runtime.video.files import joining, parts
from runtime.video.files.encoding import Encoding, plan_for
from runtime.video.files.segments import Segments
from runtime.video.files.source import Source
from tests.conftest import ROOT
from tests.runtime.video.files.clips import Clip, times
from tests.runtime.video.files.test_joining import restore


def test_a_full_disk_is_said_before_anything_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, whatever lies beside the video, as files often do not say how large that is."""
    path, target = tmp_path / "clip.mkv", tmp_path / "out.mkv"
    Clip(metadata={"comment": "long" * 100_000}, sound=("flac",)).write(path)
    monkeypatch.setattr(joining, "_SPARE", 1 << 20)

    def restored(free: int) -> None:
        usage = SimpleNamespace(free=free)
        with monkeypatch.context() as patch:
            patch.setattr(joining.shutil, "disk_usage", lambda folder: usage)  # type: ignore[attr-defined]
            restore(path, target)

    restored(1 << 40)
    size = target.stat().st_size
    target.unlink()
    with pytest.raises(OutputError, match=r"the disk has 0 MiB left, .* needs 1; make room, and"):
        restored(1 << 10)
    assert not target.exists()
    parts = [each.stat().st_size for each in Path(f"{target}.segments").glob("*.part")]
    needed = size - sum(parts) + max(parts) + (1 << 20)
    with pytest.raises(OutputError):
        restored(needed - 1)
    restored(needed)
    assert target.stat().st_size == size


def second(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something at the fourth packet of what is written, not of the trial before it."""
    real, calls = joining._others, []

    def watched(*arguments: Any) -> Iterator[Any]:
        calls.append(arguments)
        for number, packet in enumerate(real(*arguments)):
            if len(calls) == 2 and number == 3:
                act()
            yield packet

    monkeypatch.setattr(joining, "_others", watched)


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def broken() -> None:
    raise ValueError("broken")


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (full, OutputError, r"out\.mp4: No space left on device"),
        (broken, VideoError, "mp4 files cannot hold this clip: broken"),
    ],
)
def test_a_failure_while_segments_are_deleted_leaves_nothing(
    act: Callable[[], None],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, target = Clip(25, sound=("aac",)).write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    monkeypatch.setattr(parts, "_LEAST", 1)
    monkeypatch.setattr(joining, "_BUFFER", 1 << 12)
    second(monkeypatch, act)
    with pytest.raises(error, match=f"{message}; its segments are used up, so that the clip begin"):
        restore(path, target)
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


def test_what_cannot_be_joined_leaves_the_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, target = Clip().write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"

    def fails(*arguments: Any) -> Iterator[Any]:
        yield from ()
        broken()

    with monkeypatch.context() as patch:
        patch.setattr(joining, "_others", fails)
        with pytest.raises(VideoError, match=r"broken$"):
            restore(path, target)
    source = Source(str(path))
    plan = plan_for(source, Encoding(), str(target))
    with Segments(str(target), source, plan, {}, resume=True) as made:
        assert (made.done()[0], made.notes) == (8, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_waits_until_the_result_is_whole(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segments are gone by then, and nobody could go on from a half of the result."""
    path, target = Clip(4).write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    second(monkeypatch, lambda: signal.raise_signal(number))
    former = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            restore(path, target)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, former)
    assert times(target) == times(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_a_signal_ends_leaves_the_result_alone(
    number: signal.Signals, tmp_path: Path
) -> None:
    """Nobody handles the signal, as in an app, or when a command's terminal is closed."""
    path, target = Clip(4).write(tmp_path / "clip.mp4"), tmp_path / "out.mp4"
    code = f"""
import signal
from pathlib import Path
from runtime.video.files import joining
from tests.runtime.video.files.test_joining import restore
write = joining._write
def interrupted(*arguments, delete):
    if delete:
        signal.raise_signal({number.value})
    return write(*arguments, delete=delete)
joining._write = interrupted
signal.signal({number.value}, signal.SIG_DFL)
restore(Path({str(path)!r}), Path({str(target)!r}))
"""
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == -number
    assert times(target) == times(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]
