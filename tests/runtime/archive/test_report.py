"""Reports: whole lines, appended where a run goes on, and never in the place of something else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.archive.job import Outcome
from runtime.archive.report import Report
from runtime.errors import UsageError
from tests.conftest import ROOT, SAMPLES


def outcome(name: str) -> Outcome:
    return Outcome(name, f"out/{name}", "cpu")


def add(path: Path, append: bool, *names: str) -> list[str]:
    """Write a report; returns what was said."""
    said: list[str] = []
    with Report(path, append, said.append) as report:
        for name in names:
            report.add(outcome(name))
    return said


def names(path: Path) -> list[str]:
    return [json.loads(line)["input"] for line in path.read_text().splitlines()]


def test_replaced_or_appended(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    assert add(path, True, "a") == []
    assert add(path, True, "b") == [f"{path}: this run is appended to the earlier report"]
    assert names(path) == ["a", "b"]
    assert add(path, False) == []
    assert names(path) == ["a", "b"], "a run that came to nothing replaces nothing"
    assert add(path, False, "c", "d") == []
    assert names(path) == ["c", "d"]


@pytest.mark.parametrize("cut", [5, 11, 40, 10_000])
def test_a_line_that_was_cut_short_is_removed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "report.jsonl"
    add(path, False, "a", "b" * 200_000)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:cut])
    (said,) = add(path, True, "c")
    assert said.endswith("; its last line was not finished, and is removed")
    assert names(path) == ["a", "c"]
    path.write_bytes(lines[0][:cut])
    add(path, True, "d")
    assert names(path)[-1] == "d"
    path.write_bytes(lines[0] + lines[1].rstrip())  # only the line's end is missing
    assert add(path, True, "e") == [f"{path}: this run is appended to the earlier report"]
    assert names(path) == ["a", "b" * 200_000, "e"]


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "x.JPG"
    for content in (b"\x89PNG", b'{"inputs": 1}', b"\n", (SAMPLES / "astronaut.png").read_bytes()):
        path.write_bytes(content)
        for append in (False, True):
            with pytest.raises(UsageError, match=r"x\.JPG: this file exists and is no report"):
                add(path, append, "a")
        assert path.read_bytes() == content
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(UsageError, match="is no report"):
        add(link, False, "a")
    path.write_bytes(b"")
    add(path, False, "a")
    assert names(path) == ["a"]
    with pytest.raises(FileNotFoundError, match="none"):
        add(tmp_path / "none" / "x", False)
    add(Path("/dev/zero"), True, "a")  # a device takes what it is given


def test_a_killed_run_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    code = f"""
from pathlib import Path
from tests.runtime.archive.test_report import outcome
from runtime.archive.report import Report
with Report(Path({str(path)!r}), True, print) as report:
    while True:
        report.add(outcome("x" * 100_000))
        print(flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.kill()
    process.communicate()
    found = names(path)
    assert len(found) >= 5
    assert set(found) == {"x" * 100_000}


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    code = f"""
import resource, signal
from pathlib import Path
from tests.runtime.archive.test_report import outcome
from runtime.archive.report import Report
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Report(Path({str(path)!r}), True, print) as report:
    report.add(outcome("a"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    report.add(outcome("b" * 1000))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True, check=False
    )
    assert f"File too large: '{path}'" in done.stderr
    assert names(path) == ["a"]


def test_no_secrets(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    with Report(path, False, print) as report:
        report.add(Outcome("https://u:secret@h/a.png?sig=secret", "s3://k:secret@b/a.png", "cpu"))
    assert "secret" not in path.read_text()
    assert names(path) == ["https://***@h/a.png?***"]
