"""The figures of docs/figures.md and README.md, from runs of record."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.results import read_result
from benchmarks.report.tables import machine_line
from benchmarks.studies.figures.kinds import people_rates
from benchmarks.studies.figures.pages import (
    ALL,
    CLIPS,
    END,
    PEOPLE,
    README,
    START,
    Run,
    decisive,
    read,
    replace,
    table,
    update,
)
from runtime.errors import BenchmarkError
from tests.conftest import ROOT, one_line

INT8, BENCH = "2026-11-23-int8-cpu.json", "2026-11-23-bench-cpu.json"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The runs of record of November 2026."""
    folder = tmp_path / "results"
    folder.mkdir()
    others = ("28-quality-compact", "29-people", "29-video-listing")
    for pattern in ("2026-11-2[23489]-*-cpu.json", *(f"2026-11-{name}.json" for name in others)):
        for path in (ROOT / "benchmarks" / "results").glob(pattern):
            shutil.copy(path, folder)
    return folder


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder with the pages, which have old figures between their markers."""
    for name in (README, ALL, PEOPLE, CLIPS):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(replace((ROOT / name).read_text(), "old", name))
    return tmp_path


def rows(results: Path) -> list[list[str]]:
    """What, figure and command of each row."""
    return cells(table(read(results)))


def cells(block: str) -> list[list[str]]:
    lines = [line for line in block.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def rewrite(path: Path, new: Path, **values: Any) -> None:
    new.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_figures(results: Path) -> None:
    assert [figure for _, figure, _ in rows(results)] == [
        "0.70 s against 1.88 s, ratio 0.38",
        "fp32 0.72, int8 0.27",
        "fp32 0.40, int8 0.15",
        "fp32 1.03 GB, int8 0.58 GB",
        "0.33 s and 0.83 s",
        "40.3, 40.3, 40.2, 41.4 dB (measured before bias correction was added)",
        "219 MB against 601 MB, 0.36",
        "0.58 s against 0.39 s, ratio 1.49",
        "28.77 dB before, 29.45 dB after, 29.45 dB with references",
        "56 s against 54 s, ratio 1.04",
        "16.3, 0.13",
        "4.1, 0.32",
        "100.0, 99.6, 71.2, 19.1 %; 0; 0",
        "19.0 ms, 18.7 ms",
        "ratio 0.990, and 0.987",
        "1.38 against 1.46, ratio 0.90; batching, shared memory 0.86, no batching 0.83, "
        "no batching, shared memory 0.87",
        "187, 0, 55 s and 60 s (0.9 s and 1.1 s)",
        "0.89 and 0.90",
        "0.90 and 0.91",
        "1.02, 0.14 frames a second",
        "15.6, 0.52",
        "462 MB, 477 MB, ratio 1.034",
        "1.05",
        "0, 4.0 s",
    ]
    first, *_ = table(read(results)).splitlines()
    assert first == (
        "Intel(R) Xeon(R) Processor @ 2.80GHz, 2 cores, no GPU: 2026-11-23; "
        "AMD EPYC, 2 cores, no GPU: 2026-11-28, 2026-11-29."
    )
    commands = [command for _, _, command in rows(results)]
    assert commands[5] == (
        "`python -m benchmarks.studies.int8 --fp32 BUNDLE --int8 BUNDLE --json FILE` "
        f"([run of 2026-11-23](../benchmarks/results/{INT8})); "
        "[the curve](int8.md#how-fast-how-near)"
    )
    assert sum("([run of" in command for command in commands) == 14


def test_four_of_them_decide(results: Path) -> None:
    """They stand in the README without their commands, with links that hold there."""
    everything = {what: figure for what, figure, _ in rows(results)}
    block = decisive(read(results))
    shown = cells(block)
    assert len(shown) == 4
    assert all(everything[what] == figure for what, figure, _ in shown)
    assert shown[-1][2] == f"[run of 2026-11-23](benchmarks/results/{INT8})"
    first, *_ = block.splitlines()
    assert first == "Intel(R) Xeon(R) Processor @ 2.80GHz, 2 cores, no GPU: 2026-11-23."


def test_every_record_stays_readable(results: Path) -> None:
    """Those that no row shows any more say when, where and with what they were measured."""
    assert len(read_result(results / BENCH).of("latency")) > 0
    for path in results.iterdir():
        run = json.loads(path.read_text())
        assert run["date"].startswith("2026-11-2")
        assert machine_line(run["machine"]).endswith("2 cores, no GPU"), path
        assert "dmdnet-runtime" in run["versions"]


def test_newest_run_is_taken(results: Path) -> None:
    newest = results / "2027-01-02-int8-cpu.json"
    sizes = {"fp32": 2_000_000, "int8": 1_000_000}
    machine = {"processor": "EPYC", "cores": 64, "gpu": None}
    rewrite(results / INT8, newest, date="2027-01-02T00:00:00", bytes=sizes, machine=machine)
    rewrite(results / INT8, results / "notes-int8-cpu.json", bytes={})
    assert rows(results)[6][1] == "1 MB against 2 MB, 0.50"
    block = table(read(results))
    assert newest.name in block
    first, *_ = block.splitlines()
    assert first.endswith("; EPYC, 64 cores, no GPU: 2027-01-02.")


def test_note_on_bias_correction_goes_with_its_run(results: Path) -> None:
    curve = json.loads((results / INT8).read_text())["curve"]
    curve[0]["variant"] = "plain min-max, no equalisation, no bias correction"
    rewrite(results / INT8, results / INT8, curve=curve)
    assert rows(results)[5][1] == "40.3, 40.3, 40.2, 41.4 dB"


def test_replace() -> None:
    assert replace(f"a\n{START}\nold\n{END}\nb\n", r"\1 new", README) == (
        f"a\n{START}\n\\1 new\n{END}\nb\n"
    )


@pytest.mark.parametrize("text", ["", START, END, f"{END}{START}", f"{START}{END}{START}{END}"])
def test_markers_are_needed(text: str) -> None:
    with pytest.raises(BenchmarkError, match=r"README\.md"):
        replace(text, "block", README)


@pytest.mark.parametrize(("name", "block"), [(README, decisive), (ALL, table)])
def test_update_rewrites_only_the_block(
    results: Path, pages: Path, name: str, block: Callable[[list[Run]], str]
) -> None:
    page = pages / name
    old = page.read_text()
    with pytest.raises(BenchmarkError, match=r"README.md: figures are not those of the runs"):
        update(pages, results, check=True)
    assert page.read_text() == old
    assert update(pages, results, check=False) == 0
    new = block(read(results))
    assert page.read_text() == old.replace(f"\nold\n{END}", f"\n{new}\n{END}")
    assert update(pages, results, check=True) == 0
    page.write_text(page.read_text().replace("ratio 0.38", "ratio 0.28"))
    with pytest.raises(BenchmarkError, match=f"{name}: figures"):
        update(pages, results, check=True)


def test_the_table_of_people(results: Path) -> None:
    run = json.loads((results / "2026-11-29-people.json").read_text())
    head, _, clean, *_, last = people_rates(run).splitlines()
    assert head.startswith("| degraded | found | right | somebody else |")
    assert head.endswith("| right, restored first by compact weights |")
    assert clean == "| clean | 26 of 26 | 26, 100.0 % | 0, 0.0 % | 35 of 35 | 0, 0.0 % |  |"
    assert last == (
        "| x16 | 257 of 260 | 49, 19.1 % | 0, 0.0 % | 342 of 350 | 0, 0.0 % | 21, 8.2 % |"
    )


def test_missing_or_other_runs(results: Path) -> None:
    (results / INT8).write_text('{"date": "2026-11-22", "machine": {}}')
    with pytest.raises(BenchmarkError, match=f"{INT8}: not a result of .*int8.*bytes"):
        read(results)
    (results / INT8).unlink()
    with pytest.raises(BenchmarkError, match=r"no DATE-int8-cpu\.json"):
        read(results)


def test_command_fails_with_one_line() -> None:
    program = [sys.executable, "-m", "benchmarks.studies.figures", "--chek"]
    one_line(subprocess.run(program, capture_output=True, text=True, cwd=ROOT), "--chek")
