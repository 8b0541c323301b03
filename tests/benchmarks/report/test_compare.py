"""Comparing two results: which measurements are reported as worse, as missing and as failed."""

from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.report.compare import compare, fraction, main_compare, only_in
from benchmarks.report.results import Measurement, Result
from runtime.errors import BenchmarkError
from tests.benchmarks.report.test_tables import MACHINE, result


def row(
    value: float, unit: str = "s", case: str = "1 face", p90: float | None = None
) -> Measurement:
    return Measurement("latency", "bundle", case, unit, value, runs=9, p90=p90)


@pytest.mark.parametrize(
    ("unit", "old", "new", "change"),
    [
        ("s", 2.0, 2.5, 0.25),
        ("s", 2.0, 1.5, -0.25),
        ("bytes", 100.0, 110.0, 0.1),
        ("faces/s", 4.0, 3.0, 0.25),
        ("faces/s", 4.0, 5.0, -0.25),
        ("dB", 40.0, 39.0, 1 / 40),
        ("SSIM", 0.8, 0.6, 0.25),
        ("SSIM", 0.8, 0.8, 0.0),
        ("bytes", 0.0, 0.0, 0.0),
        ("bytes", 0.0, 5.0, float("inf")),
    ],
)
def test_positive_is_worse(unit: str, old: float, new: float, change: float) -> None:
    (found,) = compare(result(row(old, unit)), result(row(new, unit)), 0.05)
    assert found.change == pytest.approx(change)
    assert (found.old.value, found.new.value) == (old, new)
    assert found.failed == (change > 0.05)


@pytest.mark.parametrize(
    ("new", "failed"), [(1.04, False), (1.05, False), (1.051, True), (float("nan"), True)]
)
def test_fails_above_and_not_at(new: float, failed: bool) -> None:
    (found,) = compare(result(row(1.0)), result(row(new)), 0.05)
    assert found.failed is failed


def test_matches_all_of_suite_subject_case_and_unit() -> None:
    one = row(1.0)
    others = [
        replace(one, suite="load", value=2.0),
        replace(one, subject="other", value=3.0),
        replace(one, case="4 faces", value=4.0),
        replace(one, unit="faces/s", value=5.0),
    ]
    found = compare(result(one, *others), result(*reversed(others), one), 0.05)
    assert [change.new.value for change in found] == [5.0, 4.0, 3.0, 2.0, 1.0]
    assert {change.change for change in found} == {0.0}


@pytest.mark.parametrize(("before", "after"), [(1.5, 1.0), (1.0, 1.5)])
def test_unstable_in_either(before: float, after: float) -> None:
    (found,) = compare(result(row(1.0, p90=before)), result(row(1.0, p90=after)), 0.05)
    assert found.unstable
    (found,) = compare(result(row(1.0, p90=1.1)), result(row(1.0, p90=1.1)), 0.05)
    assert not found.unstable


def test_only_in_one() -> None:
    old, new = result(row(1.0), row(2.0, case="a")), result(row(1.0), row(3.0, case="b"))
    assert only_in(old, new) == [row(2.0, case="a")]
    assert only_in(new, old) == [row(3.0, case="b")]
    assert len(compare(old, new, 0.05)) == 1


def test_unclear() -> None:
    with pytest.raises(BenchmarkError, match="twice: latency, bundle, 1 face, s"):
        compare(result(row(1.0), row(2.0)), result(row(1.0)), 0.05)
    with pytest.raises(BenchmarkError, match="unknown unit levels"):
        compare(result(row(1.0, "levels")), result(row(1.0, "levels")), 0.05)


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), (" 12.5 %", 0.125), ("0", 0.0), ("100%", 1.0)]
)
def test_fraction(text: str, share: float) -> None:
    assert fraction(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["5", "-5%", "-0.1", "", "%", "5%%", "nan", "inf%", "five", "101%"]
)
def test_no_fraction(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"write it as 5% or 0.05"):
        fraction(text)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    write("old.json", result(row(1.0), row(40.0, "dB"), row(2.0, case="a")))
    write("new.json", result(row(1.2, p90=1.9), row(41.0, "dB"), row(5e8, "bytes", case="b")))
    return Path("old.json"), Path("new.json")


def write(name: str, content: Result) -> None:
    content.write(Path(name))


def test_main_prints_all_and_fails(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_compare(*files, 0.05) == 1
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "latency bundle 1 face 1.00 s 1.20 s 20.0 % worse FAILED, unstable" in lines
    assert "latency bundle 1 face 40.0 dB 41.0 dB 2.5 % better" in lines
    assert "only in old.json: latency, bundle, a: 2.00 s" in lines
    assert "only in new.json: latency, bundle, b: 500 MB" in lines
    assert lines[-1] == "1 of 2 worse by more than 5 %; 1 only in old.json, 1 only in new.json"
    assert err == ""


def test_main_passes_and_names_machines(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(result(row(1.2)), machine=MACHINE | {"processor": "EPYC"})
    write("new.json", other)
    assert main_compare(*files, 0.2) == 0
    out, err = capsys.readouterr()
    assert err == ("warning: the machines differ: Xeon, 2 cores, no GPU / EPYC, 2 cores, no GPU\n")
    assert out.splitlines()[-1].startswith("0 of 1 worse by more than 20 %; 2 only in old.json")


def test_nothing_in_common_does_not_pass(files: tuple[Path, Path]) -> None:
    write("new.json", result(row(1.0, case="b")))
    with pytest.raises(BenchmarkError, match="no measurement in common"):
        main_compare(*files, 0.05)
