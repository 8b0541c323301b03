"""The endurance study on a GPU made of host memory, with PyTorch on the CPU."""

import itertools
import json
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure.timing import Ratio, Times, Work, race
from benchmarks.report.results import Measurement
from benchmarks.studies import endurance
from benchmarks.studies.endurance import BATCH, endure, measure, targets
from runtime.errors import DeviceError
from runtime.images.arrays import Image
from runtime.machine.gpu import Gpu
from tests.fakes.trt import FakeTensorRt, fake_machine

GPU = Gpu("Fake RTX", "8.9", 48 << 30, "13.0")
USED = 7 << 30


def a_round(works: Mapping[str, Work], *limits: float) -> dict[str, Times]:
    return race(works, fewest=1, warm_up=int(limits[-1]))


@pytest.fixture
def trt(engine_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    """TensorRT for RTX on a fake card, whose peak is 500 GFLOP/s."""
    monkeypatch.setattr("benchmarks.measure.machine.gpus", lambda: (GPU,))
    monkeypatch.setattr(endurance, "peaks", lambda threads, on_gpu: {"gpu half": 500.0})
    monkeypatch.setattr(endurance, "memory_used", lambda: USED)
    for name, smaller in (("WARM_UP", 1), ("BATCH", 2), ("THREADS", 3), ("JOBS", 4)):
        monkeypatch.setattr(endurance, name, smaller)
    monkeypatch.setattr("benchmarks.suites.setting.race", a_round)
    with fake_machine(engine_bundle, GPU) as trt:
        yield trt


@pytest.mark.long
def test_a_whole_run(trt: FakeTensorRt, engine_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    arguments = Namespace(
        bundle=engine_bundle,
        checkpoint="compact",
        device="tensorrt-rtx",
        duration=0,
        seconds=1,
        json=file,
    )
    result = measure(arguments)
    assert result["failures"] == []
    written = json.loads(file.read_text())
    assert [engine["graph"] for engine in written["engines"]] == ["memorizer", "restorer"]
    assert written["engines"][1]["receipt"]["asked"]["convolution"]["half"] > 100
    one, two = (result["races"][faces] for faces in (1, 2))
    for each in (one, two):
        ratio = each["engine"].value / each["pytorch"].value
        assert each["engine"].ratio.median == pytest.approx(ratio)
    assert one["engine"].case == "1 face, 10 references"
    measured = {name: row["measured"] for name, row in result["targets"].items()}
    assert measured["p50_ms"] == pytest.approx(1000 * one["engine"].value)
    assert measured["batch8_faces_per_s"] == pytest.approx(2 / two["engine"].value)
    assert measured["floor_ratio"] == pytest.approx(1 / two["engine"].share_of_peak)
    assert (measured["endurance_errors"], measured["endurance_mismatches"]) == (0, 0)
    assert written["endurance"]["answers"] >= 3
    assert written["endurance"]["growth_bytes"]["gpu"] == 0
    assert not trt.driver.live  # everything was closed


def test_a_failing_section_loses_nothing(
    trt: FakeTensorRt, engine_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error:\n out of memory")

    monkeypatch.setattr(endurance, "races", fail)
    monkeypatch.setattr(endurance, "endurance", lambda *_: {"answers": 9})
    file = tmp_path / "result.json"
    result = measure(Namespace(bundle=engine_bundle, device="tensorrt-rtx", seconds=1, json=file))
    assert result["failures"] == ["races: RuntimeError: CUDA error: out of memory"]
    written = json.loads(file.read_text())
    assert written["failures"] == result["failures"]
    assert written["machine"]["gpu"]["name"] == "Fake RTX"
    assert written["build_s"] > 0
    assert written["endurance"]["answers"] == 9


def test_threads_are_compared_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two jobs, one gives other levels now and then, the other an error at last."""
    memory = itertools.chain([100, 160], itertools.repeat(110))
    monkeypatch.setattr(endurance, "memory_used", lambda: next(memory))
    picture = np.full((4, 4, 3), 100, np.uint8)
    numbers = itertools.count()
    alone = threading.Event()

    def steady() -> list[Image]:
        time.sleep(0.001)
        return [picture]

    calls: Counter[int] = Counter()

    def changing() -> list[Image]:
        """Alone for the reference, then: right, 3 levels off, an error, in turns."""
        if threading.current_thread() is threading.main_thread():
            alone.set()
        elif alone.is_set():
            number = next(numbers) % 3
            calls[number] += 1
            if number == 1:
                return [picture, picture + np.uint8(3)]
            if number == 2:
                raise DeviceError("the engine failed")
        return [picture, picture]

    seen = endure([steady, changing], 1.2)
    assert min(calls[1], calls[2]) > 10
    assert (seen["mismatches"], seen["largest difference (levels of 255)"]) == (calls[1], 3)
    assert seen["messages"] == {"the engine failed": calls[2]}
    assert seen["errors of ours"] == calls[2]
    assert seen["growth_bytes"]["gpu"] == 60
    assert seen["answers"] > calls[0] + calls[1]
    assert 0 < seen["p50_s"] <= seen["p99_s"]


def test_growth_on_the_gpu_is_unknown_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    seen = endure([lambda: [np.zeros((4, 4, 3), np.uint8)]], 0.01)
    assert seen["growth_bytes"]["gpu"] is None


def test_targets() -> None:
    """Of the two batches, the speedup is that of the one that gained less."""
    ratio = Ratio("torch eager", 1 / 7, 0.1, 0.2)
    one = Measurement("latency", "fp16", "1 face", "s", 0.0014, ratio=ratio)
    eight = replace(
        one, value=BATCH / 990, share_of_peak=1 / 2.2, ratio=replace(ratio, median=1 / 4.5)
    )
    endured = {"errors of ours": 0, "mismatches": 2}
    rows = targets({1: {"engine": one}, BATCH: {"engine": eight}}, endured)
    assert {name: (row["measured"], row["met"]) for name, row in rows.items()} == {
        "p50_ms": (pytest.approx(1.4), True),
        "batch8_faces_per_s": (pytest.approx(990), False),
        "floor_ratio": (pytest.approx(2.2), True),
        "speedup_over_torch_half": (pytest.approx(4.5), False),
        "endurance_errors": (0, True),
        "endurance_mismatches": (2, False),
    }
    nothing = targets({}, {})
    assert all(row["measured"] is None and not row["met"] for row in nothing.values())
