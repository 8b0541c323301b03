from dataclasses import replace
from typing import Any

import pytest

from export.checks.verdict import TOLERANCES, Tolerance, failures, table
from runtime.bundle.engine_record import EngineParity
from runtime.bundle.manifest import Parity

GOOD = Parity("generic", 1.0, 0.01, 70.0, True, 10.0)


@pytest.mark.parametrize(
    ("change", "precision", "says"),
    [
        ({}, "fp32", None),
        ({"psnr_db": None, "max_levels": 0.0}, "fp32", None),
        ({"max_levels": 2.0}, "fp32", "2 levels"),
        ({"max_levels": 3.0}, "fp16", None),
        ({"psnr_db": 49.9}, "fp16", "49.9 dB"),
        ({"psnr_db": float("nan")}, "fp16", "nan dB"),
        ({"finite": False}, "fp16", "not finite"),
        ({"reference_peak": 7e4}, "fp16", "overflow"),
        ({"reference_peak": 7e4}, "fp32", None),
    ],
)
def test_tolerances(change: dict[str, Any], precision: str, says: str | None) -> None:
    reasons = failures((replace(GOOD, **change),), TOLERANCES[precision])
    assert (reasons == []) if says is None else (says in reasons[0])


def test_a_component_may_be_3_db_worse() -> None:
    rows = [EngineParity("mixed 0", region, 9.0, 47.5) for region in ("whole", "mo")]
    assert failures(rows, Tolerance(None, 50.0)) == ["mixed 0, whole: 47.5 dB, under 50"]


def test_table() -> None:
    rows = [GOOD, replace(GOOD, case="mixed", psnr_db=None, finite=False)]
    assert table(rows).splitlines() == [
        "case     max levels  mean levels  PSNR dB  finite  largest activation",
        "generic       1.000      0.01000     70.0     yes                10.0",
        "mixed         1.000      0.01000    equal      NO                10.0",
    ]
