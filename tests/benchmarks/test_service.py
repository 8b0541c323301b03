from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.service import Service, measure
from benchmarks.triton_server import missing


@pytest.mark.soak
def test_many_clients_and_a_server_that_is_killed(bundle: Path) -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    result: dict[str, Any] = measure(
        Namespace(bundle=bundle, clients=6, duration=8, rounds=1, faces=8, max_batch=4)
    )
    assert set(result["throughput"]["ratio to local"]) == {
        f"{batching}{memory}"
        for batching in ("batching", "no batching")
        for memory in ("", ", shared memory")
    }
    many = result["6 clients, server killed and started again"]
    for seen in (result["one client"], many):
        assert seen["answers"] > 0
        assert seen["largest difference (levels of 255)"] <= 1
        assert seen["other errors"] == []
        assert 0 < seen["p50_s"] <= seen["p99_s"]
    assert many["clients without an answer afterwards"] == 0
    assert many["back_after_s"] > 0


def test_summary() -> None:
    seen = Service([1.0, 2.0, 3.0], [0, 0, 1], errors=["away"], idle=2, back_after=5.0)
    assert seen.summary() == {
        "answers": 3,
        "exactly the local result": 2,
        "largest difference (levels of 255)": 1,
        "p50_s": 2.0,
        "p99_s": pytest.approx(2.98),
        "errors of ours": 1,
        "other errors": [],
        "clients without an answer afterwards": 2,
        "back_after_s": 5.0,
    }
