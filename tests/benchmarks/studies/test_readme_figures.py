"""The README's figures, from runs of record."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.readme_figures import END, START, replace, table, update
from runtime.errors import BenchmarkError
from tests.conftest import ROOT, one_line

CORE, INT8 = "2026-11-22-core-cpu.json", "2026-11-23-int8-cpu.json"
BENCH = "2026-11-23-bench-cpu.json"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The runs of record of November 2026."""
    folder = tmp_path / "results"
    folder.mkdir()
    for path in (ROOT / "benchmarks" / "results").glob("2026-11-2[23]-*-cpu.json"):
        shutil.copy(path, folder)
    (folder / BENCH).unlink(missing_ok=True)
    times = {"fp32": (2.0, 0.5), "int8": (1.0, 0.25), "torch eager": (4.0, 0), "torch both": (8, 0)}
    measurements = [
        {"suite": "latency", "case": case, "subject": name, "value": factor * value,
         "ratio": {"median": ratio}}
        for case, factor in (("1 face, 5 references", 1), ("1 face, 0 references", 2))
        for name, (value, ratio) in times.items()
    ]  # fmt: skip
    machine = json.loads((folder / CORE).read_text())["machine"]
    run = {"date": "2026-11-22", "machine": machine, "measurements": measurements}
    (folder / "2026-11-22-bench-cpu.json").write_text(json.dumps(run))
    return folder


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    """The README, with nothing but markers for figures."""
    path = tmp_path / "README.md"
    text = (ROOT / "README.md").read_text()
    path.write_text(text.replace(START, "").replace(END, "") + f"\n{START}\nold\n{END}\nthe end\n")
    return path


def rows(results: Path) -> list[list[str]]:
    """What, figure and command of each row."""
    lines = [line for line in table(results).splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def rewrite(path: Path, new: Path, **values: Any) -> None:
    new.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_figures(results: Path) -> None:
    assert [figure for _, figure, _ in rows(results)] == [
        "2.0 s against 3.4 s, ratio 0.61",
        "2.1 s",
        "0.73 s against 1.96 s, ratio 0.38",
        "40.3, 40.3, 40.2, 41.4 dB (before bias correction)",
        "219 MB against 601 MB, 0.36",
        "float32 1.03 GB, INT8 0.59 GB",
        "7 % of the network's 22 s",
        "fp32 0.50, int8 0.25",
        "fp32 0.25, int8 0.12",
        "56 s against 54 s, ratio 1.04",
        "1.38 against 1.46, ratio 0.90; batching, shared memory 0.86, no batching 0.83, "
        "no batching, shared memory 0.87",
        "187, 0, 55 s and 60 s (0.9 s and 1.1 s)",
        "192, 189; back after 16.1 s, all clients go on",
    ]
    first, *_ = table(results).splitlines()
    assert first == (
        "Intel(R) Xeon(R) Processor @ 2.80GHz, 2 cores, no GPU: 2026-11-22, 2026-11-23."
    )


def test_first_row_of_a_run_links_to_it(results: Path) -> None:
    commands = [command for _, _, command in rows(results)]
    assert commands[0] == (
        "`python -m benchmarks.studies.core --checkpoint synthetic --bundle BUNDLE --json FILE` "
        f"([run](benchmarks/results/{CORE}))"
    )
    assert sum("([run](" in command for command in commands) == 6
    assert all((ROOT / f"benchmarks/results/{name}").exists() for name in (CORE, INT8))


def test_newest_run_is_taken(results: Path) -> None:
    peaks = {"fp32": 2_004_000_000, "int8": 996_000_000}
    newest = results / "2027-01-02-int8-cpu.json"
    rewrite(results / INT8, newest, date="2027-01-02T00:00:00", peak_bytes_of_dmd_restore=peaks)
    rewrite(results / INT8, results / "notes-int8-cpu.json", bytes={})
    assert rows(results)[5][1] == "float32 2.00 GB, INT8 1.00 GB"
    assert newest.name in table(results)
    assert "2026-11-23, 2027-01-02." in table(results)


def test_other_machines_are_told_apart(results: Path) -> None:
    machine = {"processor": "EPYC", "cores": 64, "gpu": None}
    rewrite(results / CORE, results / CORE, machine=machine)
    assert table(results).startswith(
        "EPYC, 64 cores, no GPU: 2026-11-22; Intel(R) Xeon(R) Processor @ 2.80GHz, 2 cores, "
        "no GPU: 2026-11-22, 2026-11-23.\n"
    )


def test_note_on_bias_correction_goes_with_its_run(results: Path) -> None:
    curve = json.loads((results / INT8).read_text())["curve"]
    curve[0]["variant"] = "plain min-max, no equalisation, no bias correction"
    rewrite(results / INT8, results / INT8, curve=curve)
    assert rows(results)[3][1] == "40.3, 40.3, 40.2, 41.4 dB"


def test_replace() -> None:
    assert replace(f"a\n{START}\nold\n{END}\nb\n", r"\1 new") == (
        f"a\n{START}\n\\1 new\n{END}\nb\n"
    )


@pytest.mark.parametrize("text", ["", START, END, f"{END}{START}", f"{START}{END}{START}{END}"])
def test_markers_are_needed(text: str) -> None:
    with pytest.raises(BenchmarkError, match=r"README\.md"):
        replace(text, "table")


def test_update_rewrites_only_the_block(results: Path, readme: Path) -> None:
    old = readme.read_text()
    with pytest.raises(BenchmarkError, match=r"README.md: figures are not those of the runs"):
        update(readme, results, check=True)
    assert readme.read_text() == old
    assert update(readme, results, check=False) == 0
    assert readme.read_text() == old.replace(f"\nold\n{END}", f"\n{table(results)}\n{END}")
    assert update(readme, results, check=True) == 0
    readme.write_text(readme.read_text().replace("ratio 0.61", "ratio 0.51"))
    with pytest.raises(BenchmarkError):
        update(readme, results, check=True)


def test_missing_or_other_runs(results: Path) -> None:
    (results / CORE).write_text('{"date": "2026-11-22", "machine": {}}')
    with pytest.raises(BenchmarkError, match=f"{CORE}: not a result of .*core.*median_s"):
        table(results)
    (results / CORE).unlink()
    with pytest.raises(BenchmarkError, match=r"no DATE-core-cpu\.json"):
        table(results)


def test_command_fails_with_one_line(results: Path, readme: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, str(readme), str(results)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 1
    one_line(
        done,
        "python -m benchmarks.studies.readme_figures: README.md: figures are not those of the runs",
    )
    program = [sys.executable, "-m", "benchmarks.studies.readme_figures", "--chek"]
    one_line(subprocess.run(program, capture_output=True, text=True, cwd=ROOT), "--chek")


_COMMAND = """
import sys
from pathlib import Path
from benchmarks import figures
figures.README, figures.RESULTS = map(Path, sys.argv[1:])
sys.argv[1:] = ["--check"]
figures.main()
"""
