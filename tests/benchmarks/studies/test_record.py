import json
from pathlib import Path

import pytest

from benchmarks.studies import record


def test_written_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.json"
    with pytest.raises(SystemExit) as end:
        record.record("prog", file, lambda: {"ratio": 0.5, "failures": []})
    assert end.value.code == 0
    printed = capsys.readouterr()
    assert json.loads(file.read_text()) == json.loads(printed.out)
    result = json.loads(printed.out)
    assert result["ratio"] == 0.5
    assert {"date", "machine", "versions", "revision"} < set(result)
    assert printed.err == ""


def test_failures_are_written_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.json"
    with pytest.raises(SystemExit) as end:
        record.record("prog", file, lambda: {"failures": ["a client got nothing"]})
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"prog: {file} was written, but there were failures: ")
    assert "a client got nothing" in line
    assert json.loads(file.read_text())["failures"] == ["a client got nothing"]
