"""Frames on their way: what of them is in memory, and until when."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import RestoreOptions, Restorer
from runtime.video.files.source import Source
from runtime.video.frames import ClipFrame
from runtime.video.report import Clock
from runtime.video.restoring import Wanted, restored_frames
from tests.fakes.bundle import COLUMNS, write_bundle
from tests.fakes.engines import FakeEngine
from tests.runtime.video.making import moving_face, write_clip

pytest.importorskip("av")


@pytest.mark.parametrize("empty", [False, True])
def test_a_frame_that_is_done_keeps_its_decoded_values_alone(tmp_path: Path, empty: bool) -> None:
    """Frames may wait for others when they are done: their RGB would be twice as much again."""
    frames = moving_face(6)
    if empty:
        frames = [np.full_like(frame, 90) for frame in frames]
    write_clip(tmp_path / "in.mp4", frames, sound=False)
    write_bundle(tmp_path / "bundle")
    seen: list[weakref.ref[Any]] = []

    def noted(frame: ClipFrame) -> ClipFrame:
        seen.append(weakref.ref(frame.rgb()))
        return frame

    engine = FakeEngine(lambda image: 255 - image, COLUMNS)
    source = Source(str(tmp_path / "in.mp4"))
    with Restorer(tmp_path / "bundle", engine=engine, threads=1) as restorer:
        given = map(noted, map(ClipFrame, source.pictures()))
        wanted = Wanted(None, RestoreOptions())
        done = list(restored_frames(restorer, given, wanted, Clock()))
    assert [bool(each.restored) for each in done] == [not empty] * 6
    assert len(seen) == 6
    assert [each() is None for each in seen] == [True] * 6
    kept = [value for each in done for value in vars(each.frame).values()]
    assert not any(isinstance(value, np.ndarray) for value in kept)
