from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.studies.service import Task, measure
from runtime.errors import BenchmarkError
from runtime.images.arrays import Image
from tests.export.triton.test_local_server import needs_triton


@needs_triton
@pytest.mark.soak
def test_many_clients(bundle: Path) -> None:
    result: dict[str, Any] = measure(
        Namespace(bundle=bundle, clients=6, duration=8, rounds=1, faces=8, max_batch=4)
    )
    assert set(result["throughput"]["ratio to local"]) == {
        f"{batching}{memory}"
        for batching in ("batching", "no batching")
        for memory in ("", ", shared memory")
    }
    for seen in (result["one client"], result["6 clients"]):
        assert seen["answers"] > 0
        assert seen["largest difference (levels of 255)"] <= 1
        assert seen["errors of ours"] == 0
        assert 0 < seen["p50_s"] <= seen["p99_s"]
    assert result["levels that another identity changes, at least"] > 10
    assert result["failures"] == []


class Other:
    """A Restorer whose results are a little off."""

    def __init__(self, levels: int) -> None:
        self._levels = levels

    def restore_aligned(self, face: Image, *_: object) -> Image:
        return face + np.uint8(self._levels)


def test_answers_must_be_near() -> None:
    face = np.full((512, 512, 3), 7, np.uint8)
    task = Task(face, None, None, face, allowed=1)
    assert task.levels(Other(1)) == 1  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match="2 levels"):
        task.levels(Other(2))  # type: ignore[arg-type]
