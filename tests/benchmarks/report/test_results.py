import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from benchmarks.measure.timing import Ratio
from benchmarks.report.results import Measurement, Picture, Result, Subject, read_result
from runtime.errors import BenchmarkError
from tests.conftest import ROOT

RESULT = Result(
    date="2026-11-23T04:00:00+00:00",
    machine={"processor": "Some CPU", "cores": 2, "gpu": None},
    versions={"python": "3.11.7"},
    revision=None,
    options={"suite": "all"},
    peaks={"float": 200.0},
    subjects=(Subject("fp32", "fp32", "ONNX Runtime", "0" * 64),),
    measurements=(
        Measurement("latency", "fp32", "1 face, 5 references", "s", 2.0, 3, 2.1, 2.2, 2.5,
                    Ratio("torch eager", 0.6, 0.5, 0.7), 382.0, 0.9, (1.9, 2.0, 2.2)),
        Measurement("memory", "fp32", "dmd-restore", "bytes", 1e9),
    ),
    pictures=(Picture("astronaut", "aaaa", {"fp32": "bbbb"}),),
    errors={"quality": "no float32 bundle"},
    seconds=12.5,
)  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    RESULT.write(tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == RESULT


def test_schema(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "docs" / "benchmark.schema.json").read_text())
    RESULT.write(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    jsonschema.validate(content, schema)
    assert content["measurements"][0]["unstable"] is False
    content["measurements"][0]["mood"] = "good"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def test_unstable() -> None:
    row = RESULT.measurements[0]
    assert not row.unstable
    assert replace(row, p90=2.61).unstable
    rate = replace(row, unit="faces/s", value=1.0, p90=0.8)
    assert not rate.unstable
    assert replace(rate, p90=0.7).unstable  # the slow tail of a rate is low


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not a result of dmd-bench"),
        ("[]", "not a result"),
        ('{"schema_version": 2}', "schema version 2, this program reads version 1"),
        ("{}", "schema version None"),
        ('{"schema_version": 1}', "not a result of dmd-bench: .*missing required field"),
        ('{"schema_version": 1, "date": 1}', r"not a result of dmd-bench: .*`\$\.date`"),
        ("[" * 100_000, "not a result of dmd-bench: nested too deeply"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BenchmarkError, match=f"r.json: {reason}"):
        read_result(tmp_path / "r.json")
    with pytest.raises(BenchmarkError, match="cannot be read"):
        read_result(tmp_path / "none.json")
