"""A short run of the study of closing; tests/runtime/backends runs it through Triton."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import closing
from benchmarks.studies.closing import THREADS, endure
from runtime import Restorer
from runtime.engine_calls import EngineCalls


def open_local(bundle: Path) -> Restorer:
    return Restorer(bundle, device="cpu", threads=1)


@pytest.mark.long
def test_sixteen_threads_and_close(bundle: Path) -> None:
    seen = endure(lambda: open_local(bundle), 0, life=1)
    assert seen.failures == {}
    assert len(seen.right) == 8
    assert min(seen.refused.values()) >= THREADS
    assert seen.summary()["calls"] >= seen.right.total() + 8 * THREADS


def test_what_is_wrong_is_seen(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that differs in other threads than the first, and work after `close`."""
    calls = 0
    real = EngineCalls.restore

    def changing(self: EngineCalls, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        images = real(self, *arguments)
        return images if calls < 8 else [image ^ 1 for image in images]

    monkeypatch.setattr(EngineCalls, "restore", changing)
    monkeypatch.setattr(EngineCalls, "refuse_closed", lambda self: None)
    monkeypatch.setattr(closing, "THREADS", 4)
    monkeypatch.setattr(closing, "PATIENCE", 2)
    seen = endure(lambda: open_local(bundle), 0, life=1)
    assert seen.failures["restore_aligned: another result than alone"] > 0
    assert seen.failures["detect after close: right"] > 0
