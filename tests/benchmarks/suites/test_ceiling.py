"""What surrounds the network, measured with an engine that gives faces back."""

import os
from pathlib import Path

import pytest

from benchmarks.suites import ceiling
from benchmarks.suites.ceiling import FLOOR, NULL, SIZES, make_photos, null_engine, on_cores
from benchmarks.suites.runners import BundleRunner, Cases
from benchmarks.suites.setting import Setting
from tests.conftest import picture


@pytest.fixture
def setting(bundle: Path) -> Setting:
    runner = BundleRunner(bundle, "cpu", None)
    return Setting([runner], Cases(runner.memorize, 1), {}, quick=True, null_engine=True)


def test_null_engine(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates on one core and on all, against the floor, and the stages of one photo."""
    monkeypatch.setattr(ceiling, "_PIXELS", 1)
    rows = list(null_engine(setting))
    cores = len(os.sched_getaffinity(0))
    cases = ["1200 x 900, 1 core", f"1200 x 900, {cores} cores"][: 1 if cores == 1 else 2]
    rates = {(row.subject, row.case): row for row in rows if row.unit == "photos/s"}
    assert set(rates) == {(name, case) for name in (NULL, FLOOR) for case in cases}
    for case in cases:
        found, floor = rates[NULL, case], rates[FLOOR, case]
        assert found.ratio is not None
        assert (found.ratio.baseline, floor.ratio) == (FLOOR, None)
        assert 0 < found.ratio.median < 1
        assert 0 < found.value < floor.value
        spent = {row.subject: row.value for row in rows if row.case == f"{case}: CPU time"}
        assert 0 < spent[FLOOR] < spent[NULL]
    stages = {row.case.rpartition(": ")[2]: row.value for row in rows if row.unit == "s"}
    del stages["CPU time"]
    assert set(stages) == {"decode", "detect", "align", "boxes", "network", "paste", "encode"}
    assert stages["network"] < stages["detect"]


def test_photos_of_one_face(tmp_path: Path) -> None:
    for width, height in SIZES:
        files = make_photos(tmp_path / str(width), 2, (width, height))
        assert [picture(Path(file)).shape for file in files] == [(height, width, 3)] * 2


def test_on_cores() -> None:
    before = os.sched_getaffinity(0)
    with on_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
