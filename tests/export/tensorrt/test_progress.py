from types import SimpleNamespace

import pytest

from export.tensorrt.progress import Phases, shown


def test_fraction() -> None:
    phases = Phases()
    phases.begin("all", 4)
    phases.step("all", 0)
    assert phases.fraction == 0.25
    phases.begin("inner", 10)
    phases.step("inner", 4)
    assert phases.fraction == 0.25 + 0.25 * 0.5
    phases.end("inner")
    phases.step("all", 3)
    assert phases.fraction == 1


def test_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(
        "export.tensorrt.progress.time", SimpleNamespace(monotonic=lambda: clock.now)
    )
    lines: list[str] = []
    with shown("engine", lines.append) as show:
        for clock.now in (110.0, 130.0, 131.0, 160.0):
            show(0.5)
    assert lines == ["engine: 50 %, about 30 s left", "engine: 50 %, about 60 s left"]
