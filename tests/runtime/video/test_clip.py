"""A clip from file to file: what changes and what stays, who is told, and how it ends."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import (
    CancelledError,
    EngineCallError,
    NoFaceError,
    RestoreOptions,
    Restorer,
    UsageError,
    VideoError,
    VideoReport,
    restore_video,
)
from runtime.images.arrays import Image
from runtime.samples.faces import samples
from runtime.video.clip import restore_clip
from runtime.video.files import decoding
from runtime.video.files import source as module
from runtime.video.options import ClipOptions
from runtime.video.restoring import Wanted
from tests.conftest import ROOT, Once
from tests.fakes.bundle import COLUMNS, write_bundle
from tests.fakes.engines import FakeEngine
from tests.runtime.video.making import (
    HEIGHT,
    RATE,
    WIDTH,
    decoded,
    moving_face,
    sound_of,
    write_clip,
)

pytest.importorskip("av")

FRAMES = 90  # of 15 a second
SEGMENT = 75  # frames of a segment, five seconds
pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@dataclass(frozen=True)
class Clip:
    """A clip, and what an uninterrupted run makes of it."""

    source: Path
    result: Path
    report: VideoReport


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    return once("echo", lambda path: write_bundle(path))


@pytest.fixture(scope="module")
def restorer(bundle: Path) -> Iterator[Restorer]:
    """Its network inverts faces."""
    engine = FakeEngine(lambda image: 255 - image, COLUMNS)
    with Restorer(bundle, engine=engine, threads=1) as restorer:
        yield restorer


@pytest.fixture(scope="module")
def clip(once: Once, restorer: Restorer, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    source = once("moving.mp4", lambda path: write_clip(path, moving_face(FRAMES)))
    result = tmp_path_factory.mktemp("whole") / "result.mp4"
    return Clip(source, result, restore_video(restorer, source, result))


def same_frames(one: Path, other: Path) -> bool:
    """Whether two clips have the same times and decoded values."""
    pairs = zip(decoded(one), decoded(other), strict=True)
    return all(a[0] == b[0] and (a[1] == b[1]).all() for a, b in pairs)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_what_changes_and_what_stays(clip: Clip) -> None:
    before, after = decoded(clip.source), decoded(clip.result)
    assert [at for at, _ in after] == [at for at, _ in before]
    assert sound_of(clip.result) == sound_of(clip.source)
    assert len(sound_of(clip.source)) > 250
    for (_, old), (_, new) in list(zip(before, after, strict=True))[::10]:
        change = np.abs(new.astype(int) - old).max(axis=2)
        assert change.max() > 100  # the face is inverted
        assert np.percentile(change[:20], 99) <= 3  # there the encoder alone changed something
    assert names(clip.result.parent) == ["result.mp4"]


def test_the_report(clip: Clip) -> None:
    report = clip.report
    assert (report.frames, report.resumed, report.warnings) == (FRAMES, 0, ())
    (track,) = report.tracks
    assert (track.number, track.begin, track.frames) == (0, 0.0, FRAMES)
    assert track.end == pytest.approx((FRAMES - 1) / RATE)
    assert (track.name, track.distance, track.guess) == (None, None, None)
    stages = ["cut", "decode", "encode", "find", "follow", "join", "network", "paste"]
    assert sorted(report.timings) == stages
    assert sum(report.timings.values()) > 0
    assert report.seconds > max(report.timings[name] for name in ("encode", "join"))


def test_cancelling_and_going_on(restorer: Restorer, clip: Clip, tmp_path: Path) -> None:
    target, stop = tmp_path / "result.mp4", threading.Event()
    told: list[tuple[int, int | None]] = []

    def progress(done: int, total: int | None, fps: float) -> None:
        told.append((done, total))
        assert fps > 0
        if done == SEGMENT + 5:
            stop.set()

    with pytest.raises(CancelledError, match="resume goes on"):
        restore_video(restorer, clip.source, target, progress=progress, cancel=stop)
    assert told == [(done, FRAMES) for done in range(1, SEGMENT + 6)]
    assert names(tmp_path) == ["result.mp4.segments"]
    report = restore_video(restorer, clip.source, target, resume=True)
    assert (report.frames, report.resumed) == (FRAMES, SEGMENT)
    assert report.tracks == clip.report.tracks
    assert same_frames(target, clip.result)
    assert names(tmp_path) == ["result.mp4"]


def test_a_process_that_is_killed(bundle: Path, clip: Clip, tmp_path: Path) -> None:
    """As by `kill -9`: another one goes on, and its frames are those of one run."""
    script = f"""
import os, signal, sys
from runtime import Restorer, restore_video
def progress(done, total, fps):
    if done == {SEGMENT + 10}:
        os.kill(os.getpid(), signal.SIGKILL)
with Restorer({str(bundle)!r}, device="cpu", threads=1) as restorer:
    restore_video(restorer, {str(clip.source)!r}, sys.argv[1], progress=progress)
"""
    words = [sys.executable, "-c", script, str(tmp_path / "killed.mp4")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(tmp_path) == ["killed.mp4.segments"]
    with Restorer(bundle, device="cpu", threads=1) as echo:
        report = restore_video(echo, clip.source, tmp_path / "killed.mp4", resume=True)
        restore_video(echo, clip.source, tmp_path / "whole.mp4")
    assert report.resumed == SEGMENT
    assert same_frames(tmp_path / "killed.mp4", tmp_path / "whole.mp4")


def test_other_settings_do_not_go_on(restorer: Restorer, clip: Clip, tmp_path: Path) -> None:
    """The finished segments stay, for a run with the settings they were made with."""
    target = tmp_path / "result.mp4"
    with pytest.raises(CancelledError):
        restore_video(restorer, clip.source, target, progress=cancelling(SEGMENT + 1))
    with pytest.raises(VideoError, match=r"result\.mp4\.segments: .* made with other settings"):
        restore_video(restorer, clip.source, target, strength=0.5, resume=True)
    assert restore_video(restorer, clip.source, target, resume=True).resumed == SEGMENT
    with pytest.raises(CancelledError):
        restore_video(restorer, clip.source, target, progress=cancelling(SEGMENT + 1))
    assert restore_video(restorer, clip.source, target, strength=0.5).resumed == 0


def test_other_engines_and_detectors_do_not_go_on(
    restorer: Restorer, bundle: Path, clip: Clip, tmp_path: Path
) -> None:
    """Another engine's faces, and another's landmarks, would not fit to those before."""

    class Other(FakeEngine):
        description = "another engine"

    target = tmp_path / "result.mp4"
    echo = FakeEngine(lambda image: image, COLUMNS)
    own = Restorer(bundle, engine=echo, landmark_detector=lambda face: samples()[0].landmarks)
    other = Restorer(bundle, engine=Other(lambda image: image, COLUMNS))
    with pytest.raises(CancelledError):
        restore_video(restorer, clip.source, target, progress=cancelling(SEGMENT + 1))
    for another in (other, own):
        with another, pytest.raises(VideoError, match="made with other settings"):
            restore_video(another, clip.source, target, resume=True)


def test_tracks_are_the_same_when_one_of_them_is_restored_by_hand(
    restorer: Restorer, clip: Clip, tmp_path: Path
) -> None:
    """Vectors have a voice in which face is which: so they count in the second run, too."""
    sample = samples()[0]
    alice, bob = (
        restorer.memorize([sample.image], [sample.landmarks], name=name)
        for name in ("alice", "bob")
    )
    target = tmp_path / "a.mp4"
    options: dict[str, Any] = {"people": [alice], "end": 0.6}
    (looked_at,) = restore_video(restorer, clip.source, target, **options).tracks
    assert looked_at.name == "alice"
    assert looked_at.distance is not None
    (same,) = restore_video(restorer, clip.source, target, identity=alice, only=0, **options).tracks
    assert same == looked_at
    (other,) = restore_video(restorer, clip.source, target, identity=bob, only=0, **options).tracks
    assert other == replace(looked_at, name="bob", distance=None)


@pytest.mark.parametrize("how", ["cancel", "Ctrl-C"])
def test_what_comes_before_a_part_is_not_waited_for(
    how: str, restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an AVI all of it is decoded, which may be hours."""
    source, stop, main = tmp_path / "in.avi", threading.Event(), threading.main_thread()
    write_clip(source, [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * 90, sound=False)
    real, passed = decoding.decoded, []

    def slow(*arguments: Any) -> Iterator[Any]:
        for frame in real(*arguments):
            passed.append(frame.pts)
            if len(passed) == 5 and how == "cancel":
                stop.set()
            elif len(passed) == 5:
                signal.pthread_kill(main.ident or 0, signal.SIGINT)
            if len(passed) > 5:
                time.sleep(0.05)
            yield frame

    monkeypatch.setattr(module, "decoded", slow)
    with pytest.raises(CancelledError if how == "cancel" else KeyboardInterrupt):
        restore_video(restorer, source, tmp_path / "out.avi", start=5, cancel=stop)
    assert len(passed) < 45
    assert names(tmp_path) == ["in.avi"]


def cancelling(at: int) -> Any:
    def progress(done: int, total: int | None, fps: float) -> None:
        if done == at:
            raise CancelledError("by the caller")

    return progress


def test_nothing_is_left_of_a_run_without_a_segment(
    restorer: Restorer, clip: Clip, tmp_path: Path
) -> None:
    with pytest.raises(CancelledError, match="by the caller"):
        restore_video(restorer, clip.source, tmp_path / "a.mp4", progress=cancelling(3))
    assert names(tmp_path) == []


def test_an_engine_that_fails(bundle: Path, clip: Clip, tmp_path: Path) -> None:
    calls = 0

    def work(image: Image) -> Image:
        nonlocal calls
        calls += 1
        if calls > SEGMENT + 10:
            raise EngineCallError("no more")
        return image

    (tmp_path / "a.mp4").write_text("the result of yesterday")
    with (
        Restorer(bundle, engine=FakeEngine(work, COLUMNS)) as failing,
        pytest.raises(EngineCallError, match="no more"),
    ):
        restore_video(failing, clip.source, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_text() == "the result of yesterday"
    assert names(tmp_path) == ["a.mp4", "a.mp4.segments"]


def test_an_engine_that_fails_leaves_no_file_open(bundle: Path, clip: Clip, tmp_path: Path) -> None:
    """Also before Python looks for cycles of garbage, which may be much later."""

    def fail(image: Image) -> Image:
        raise EngineCallError("never")

    gc.disable()
    try:
        with (
            Restorer(bundle, engine=FakeEngine(fail, COLUMNS)) as failing,
            pytest.raises(EngineCallError, match="never"),
        ):
            restore_video(failing, clip.source, tmp_path / "a.mp4")
        opened = map(os.path.realpath, Path("/proc/self/fd").iterdir())
        assert os.path.realpath(clip.source) not in opened
    finally:
        gc.enable()


def test_a_part(restorer: Restorer, clip: Clip, tmp_path: Path) -> None:
    report = restore_video(restorer, clip.source, tmp_path / "a.mp4", start=1, end=1.4, crf=10)
    assert report.frames == 6
    assert report.tracks[0].begin == pytest.approx(1.0)
    frames = decoded(tmp_path / "a.mp4")
    assert frames[0][0] == 0
    assert frames[5][0] - frames[0][0] == pytest.approx(1 / 3)
    assert frames[0][1].shape == (HEIGHT, WIDTH, 3)


def test_a_part_that_begins_and_ends_with_the_times_of_frames(
    restorer: Restorer, clip: Clip, tmp_path: Path
) -> None:
    """0.2 and 1.4 seconds are frames 3 and 21, though no float is 1/5, nor 7/5."""
    report = restore_video(restorer, clip.source, tmp_path / "a.mp4", start=0.2, end=1.4)
    assert report.frames == 18
    assert report.tracks[0].begin == pytest.approx(0.2)


def test_a_track_that_is_not_there(restorer: Restorer, clip: Clip, tmp_path: Path) -> None:
    """It is said, and counts as no face where one is needed."""
    part: dict[str, Any] = {"end": 0.4}
    said = "there is no track 3, so no face was restored; there are 0"
    report = restore_video(restorer, clip.source, tmp_path / "a.mp4", only=3, **part)
    assert report.warnings == (said,)
    assert [track.frames for track in report.tracks] == [0]
    report = restore_video(restorer, clip.source, tmp_path / "a.mp4", only=0, **part)
    assert (report.warnings, report.tracks[0].frames) == ((), 6)
    needs = Wanted(None, RestoreOptions(3, require_face=True))
    words = restorer, str(clip.source), str(tmp_path / "b.mp4"), needs
    with pytest.raises(NoFaceError, match=said):
        restore_clip(*words, ClipOptions(end=Fraction(2, 5)))
    assert names(tmp_path) == ["a.mp4"]


def test_a_clip_without_a_face(restorer: Restorer, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    write_clip(source, [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * 4, sound=False)
    assert restore_video(restorer, source, tmp_path / "out.mp4").tracks == ()
    needs = Wanted(None, RestoreOptions(require_face=True))
    with pytest.raises(NoFaceError):
        restore_clip(restorer, str(source), str(tmp_path / "none.mp4"), needs, ClipOptions())
    assert names(tmp_path) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"start": 2, "end": 1}, UsageError, "end must be after its start"),
        ({"end": float("inf")}, UsageError, "end must be seconds of the clip"),
        ({"start": float("nan")}, UsageError, "start must be seconds of the clip"),
        ({"only": "center"}, UsageError, "number of a track"),
        ({"codec": "h266"}, VideoError, "h266"),
        ({"start": 100}, VideoError, "no picture"),
    ],
)
def test_what_cannot_be_done(
    restorer: Restorer,
    clip: Clip,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    part: str,
) -> None:
    with pytest.raises(error, match=part):
        restore_video(restorer, clip.source, tmp_path / "a.mp4", **options)
    assert names(tmp_path) == []


@pytest.mark.parametrize("url", ["s3://bucket/a.mp4", "https://user:secret@host/a.mp4?token=x"])
def test_urls_are_no_sources_or_targets(
    url: str, restorer: Restorer, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a path, such a name would be that of a folder here."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="a clip is written to a file; dmd-restore sends") as sent:
        restore_video(restorer, clip.source, url, end=0.2)
    with pytest.raises(UsageError, match="a clip is read from a file: download it first") as read:
        restore_video(restorer, url, "a.mp4")
    assert "secret" not in f"{sent.value}{read.value}"
    assert names(tmp_path) == []


def test_a_url_of_this_machine_is_a_path(restorer: Restorer, clip: Clip, tmp_path: Path) -> None:
    restore_video(restorer, clip.source.as_uri(), f"file://{tmp_path}/a.mp4", end=0.2)
    assert names(tmp_path) == ["a.mp4"]


def test_what_is_no_source_or_target(restorer: Restorer, clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would be overwritten"):
        restore_video(restorer, clip.source, clip.source)
    with pytest.raises(VideoError, match="no such file"):
        restore_video(restorer, tmp_path / "none.mp4", tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="name ends in"):
        restore_video(restorer, clip.source, tmp_path / "a.gif")
    few = Wanted(None, RestoreOptions())
    with pytest.raises(Exception, match="limit of 1000 pixels"):
        restore_clip(
            restorer, str(clip.source), str(tmp_path / "b.mp4"), few, ClipOptions(), max_pixels=1000
        )
