"""Tables of a result, for the terminal and in Markdown."""

import sys
from dataclasses import replace

import pytest

from benchmarks.measure.timing import Ratio
from benchmarks.report.results import Measurement, Result, Subject, read_result
from benchmarks.report.tables import TRUTH, amount, markdown, show
from benchmarks.report.truth import measurements, rows_of
from calibration.likeness import Distances
from calibration.quality import REGIONS
from calibration.truth import Row
from runtime.bundle.weights import COMPACT_REMARK, TRAINED_FOR
from tests.conftest import ROOT

MACHINE = {"processor": "Xeon", "cores": 2, "gpu": None}
ROWS = (
    Measurement(
        *("latency", "bundle", "1 face, 5 references", "s", 0.7344),
        runs=15,
        p90=0.75,
        p99=0.8,
        ratio=Ratio("torch eager", 0.3787, 0.366, 0.4),
        share_of_peak=0.614,
    ),
    Measurement("latency", "[other]", "4 faces", "s", 2.0, runs=7, p90=2.7, p99=3.0),
    Measurement("quality", "bundle", "a|b", "dB", 40.32),
)


def result(
    *rows: Measurement, errors: dict[str, str] | None = None, gpu: str | None = None
) -> Result:
    return Result(
        date="2026-11-24T10:00:00+00:00",
        machine=MACHINE | {"gpu": gpu and {"name": gpu}},
        versions={"python": "3.11.7", "torch": "2.13"},
        revision=None,
        options={},
        peaks={},
        subjects=(),
        measurements=rows,
        pictures=(),
        errors=errors or {},
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.7344, "s", "734 ms"),
        (0.000123, "s", "0.123 ms"),
        (0.99949, "s", "999 ms"),
        (0.9996, "s", "1.00 s"),
        (9.996, "s", "10.0 s"),
        (371.7, "s", "372 s"),
        (0.0, "s", "0.00 ms"),
        (219325143, "bytes", "219 MB"),
        (12345, "bytes", "0.0123 MB"),
        (999.7e6, "bytes", "1.00 GB"),
        (1025556480, "bytes", "1.03 GB"),
        (40.3236, "dB", "40.3 dB"),
        (0.98427, "SSIM", "0.9843 SSIM"),
        (0.31249, "distance", "0.312 distance"),
        (2.8449, "px", "2.84 px"),
        (2.7444, "faces/s", "2.74 faces/s"),
        (12345.0, "faces/s", "12300 faces/s"),
    ],
)
def test_amount(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_markdown() -> None:
    assert markdown(result(*ROWS, errors={"memory": "no\nroom"})).splitlines() == [
        "Xeon, 2 cores, no GPU; 2026-11-24T10:00:00+00:00; python 3.11.7, torch 2.13",
        "",
        "### latency",
        "",
        "| subject | case | value | p90 | p99 | runs | ratio | of peak | note |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | --- |",
        "| bundle | 1 face, 5 references | 734 ms | 750 ms | 800 ms | 15 "
        "| 0.38 (0.37-0.40) of torch eager | 61 % |  |",
        "| [other] | 4 faces | 2.00 s | 2.70 s | 3.00 s | 7 |  |  | unstable |",
        "",
        "### quality",
        "",
        "| subject | case | value | runs |",
        "| --- | --- | ---: | ---: |",
        "| bundle | a\\|b | 40.3 dB | 1 |",
        "",
        "- memory failed: no room",
    ]


def test_quality_against_the_truth() -> None:
    psnr = dict.fromkeys(REGIONS, (20.0, 21.0))
    like = (Distances(0.25, 2.0), Distances(0.5, 4.5))
    row = Row("x4", "bundle", "generic", psnr, dict.fromkeys(REGIONS, (0.5, 0.75)), like)
    content = replace(
        result(*ROWS[2:], *measurements([row])),
        subjects=tuple(Subject(name, "fp32", "", "", "compact weights") for name in "ab"),
    )
    assert rows_of(content.measurements) == [row]
    assert markdown(content).splitlines()[1:] == [
        "",
        "Weights: compact weights",
        "",
        "### quality",
        "",
        "| subject | case | value | runs |",
        "| --- | --- | ---: | ---: |",
        "| bundle | a\\|b | 40.3 dB | 1 |",
        "",
        "### quality against clean faces",
        "",
        "| degradation | picture | faces | whole | left eye | right eye | mouth | identity "
        "| landmarks |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| x4 | bundle, generic | 2 " + 4 * "| 20.50 dB, 0.625 " + "| 0.375 | 3.25 px |",
    ]


def test_quality_of_a_version_without_likeness() -> None:
    """It has no columns for it, and none is made up."""
    psnr = dict.fromkeys(REGIONS, (20.0, 21.0))
    row = Row("x4", "bundle", "generic", psnr, dict.fromkeys(REGIONS, (0.5, 0.75)))
    content = result(*measurements([row]))
    assert rows_of(content.measurements) == [row]
    assert "| right eye | mouth |\n" in markdown(content)


def test_identities_of_compact_weights_come_with_a_remark() -> None:
    identity = Measurement("quality", "a", "truth x4, generic, identity", "distance", 0.3)
    subjects = tuple(Subject("a", "fp32", "", "", each) for each in (COMPACT_REMARK, None))
    for rows, subject, expected in (
        ((identity,), subjects[0], [COMPACT_REMARK, TRAINED_FOR]),
        (ROWS, subjects[0], [COMPACT_REMARK]),
        ((identity,), subjects[1], []),
    ):
        assert replace(result(*rows), subjects=(subject,)).remarks == expected


@pytest.mark.parametrize("name", ["quality-compact", "quality-compact-samples"])
def test_the_tables_of_the_docs_are_those_of_the_records(name: str) -> None:
    (record,) = (ROOT / "benchmarks" / "results").glob(f"*-{name}.json")
    _, table = markdown(read_result(record)).split(f"### {TRUTH}\n\n")
    assert len(table.splitlines()) > 6
    docs = (ROOT / "docs" / "compact.md").read_text(encoding="utf-8")
    assert table in docs
    assert record.name in docs


def test_show_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    content = result(*ROWS, errors={"memory": "no\nroom"}, gpu="H200")
    show(content)
    shown = capsys.readouterr().out
    assert shown.startswith("Xeon, 2 cores, H200; 2026-11-24")
    for line in markdown(content).splitlines():
        if line.startswith("| ") and "---" not in line:
            cells = line.replace("\\|", "!").strip("| ").split("|")
            words = " ".join(cells).replace("!", "|").split()
            assert words in [shown_line.split() for shown_line in shown.splitlines()]


def test_narrow_terminal_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, no colours
    show(result(*ROWS))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[1:])) <= 80
    for number in ("734 ms", "750 ms", "800 ms", "0.38", "61 %", "unstable"):
        assert number in shown
