"""The GPU benchmark on a GPU made of host memory, with PyTorch on the CPU and clocks made up."""

import itertools
import json
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from benchmarks.measure import peaks as gpu
from benchmarks.measure.peaks import Case
from benchmarks.studies import endurance as tensorrt
from export.model.checkpoint import load_weights
from runtime.backends.tensorrt import backend as backend_module
from runtime.backends.tensorrt.engine_files import read_records
from runtime.bundle.opening import Bundle, open_bundle
from runtime.errors import BundleError, DeviceError, EngineError, UsageError
from runtime.images.arrays import Image
from runtime.machine import gpu as cuda
from runtime.machine.gpu import Gpu
from runtime.machine.tensorrt_editions import Edition
from runtime.restorer import Restorer
from tests.conftest import ROOT, one_line
from tests.fakes.driver import FakeDriver
from tests.fakes.trt import FakeTensorRt

GPU = Gpu("Fake H200", "9.0", 141 << 30, "13.0")
RATE = 0.5  # TFLOP/s of the fake card
USED = 7 << 30


@pytest.fixture
def trt(engine_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    """TensorRT for RTX on a fake card; full TensorRT is not installed."""
    driver = FakeDriver()
    trt = FakeTensorRt(driver, open_bundle(engine_bundle))

    def load_edition(name: str) -> Edition:
        if name == "tensorrt":
            raise DeviceError("TensorRT is not installed")
        return Edition(name, trt.__version__, trt)

    monkeypatch.setattr(cuda, "gpus", lambda: (GPU,))
    monkeypatch.setattr(cuda, "_pycuda", lambda: driver)
    monkeypatch.setattr(backend_module, "load_edition", load_edition)
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    for name, smaller in (("WARM_UP", 1), ("BATCH", 2), ("THREADS", 3)):
        monkeypatch.setattr(gpu, name, smaller)
    monkeypatch.setattr(tensorrt, "JOBS", 4)
    monkeypatch.setattr(gpu, "memory_used", lambda: USED)
    cuda._context.cache_clear()
    yield trt
    cuda._context.cache_clear()


@pytest.fixture
def no_gpu() -> None:
    try:
        cuda.gpus()
    except DeviceError:
        return
    pytest.skip("this machine has an NVIDIA driver")


class Clock:
    """Stands still but for what a `Restore` takes: the next of `seconds`."""

    def __init__(self, seconds: list[float]) -> None:
        self.now, self._left = 100.0, seconds
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self) -> float:
        return self.now

    def restore(self, *inputs: Any) -> Image:
        self.calls.append(inputs)
        self.now += self._left.pop(0)
        image: Image = inputs[0]
        return image


def case(pictures: int) -> Case:
    rng = np.random.default_rng(1)
    return Case(
        rng.integers(0, 256, (pictures, 2, 2, 3), np.uint8),
        np.zeros((4, 4), np.int32),
        np.zeros((10, 5), np.float16),
    )


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """One face: 1 to 100 ms; eight: 50 ms, one call 250 ms. Twenty calls before are not counted."""
    counted = [ms / 1000 for ms in range(1, 101)]
    eights = [0.05] * 99 + [0.25]
    clock = Clock([9.0, *[3.0] * 19, *counted, 8.0, *[2.0] * 19, *eights])
    monkeypatch.setattr(time, "perf_counter", clock)
    row = gpu.speed(clock.restore, case(127), 100)
    assert row["batch_1"] == pytest.approx(
        {
            "p50_ms": 50.5,
            "p90_ms": 90.1,
            "p99_ms": 99.01,
            "runs": 100,
            "warm_up": 20,
            "first_call_s": 9.0,
        }
    )
    assert row["batch_8"]["faces_per_s"] == pytest.approx(800 / 5.2)
    assert row["batch_8"]["p50_ms"] == pytest.approx(50)
    assert row["batch_8"]["first_call_s"] == pytest.approx(8)

    images, boxes, people, memberships = zip(*clock.calls, strict=True)
    assert [len(image) for image in images] == [1] * 120 + [8] * 120
    assert all((a != b).any() for a, b in itertools.pairwise(images[:120]))
    assert all((a != b).any() for a, b in itertools.pairwise(images[120:]))
    assert boxes[-1].shape == (8, 4, 4)
    assert memberships[-1].shape == (8, 10)
    assert len({id(rows) for (rows,) in people}) == 1  # so that it stays on the device


def test_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock([0.03, 0.01] * 23)
    monkeypatch.setattr(time, "perf_counter", clock)
    seconds = gpu.in_turns({"slow": clock.restore, "quick": clock.restore}, case(30), 1, 3)
    assert seconds["slow"] == pytest.approx([0.03] * 23)
    assert seconds["quick"] == pytest.approx([0.01] * 23)
    for (one, *_), (other, *_) in zip(clock.calls[::2], clock.calls[1::2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_floor() -> None:
    row = {"batch_1": {"p50_ms": 1.5}, "batch_8": {"faces_per_s": 1000}}
    assert gpu.floor(row, 400.0, 800.0) == pytest.approx(
        {"gflop": 400, "floor_ms": 0.5, "batch_1_ratio": 3, "batch_8_ratio": 2}
    )


def test_half_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of products of 64 x 64: 9 ms while the card warms up, then 2 ms, 1 and 4 at times."""
    milliseconds = iter([9.0] * 50 + [2.0] * 15 + [1.0] * 3 + [4.0] * 2)
    _events(monkeypatch, milliseconds)
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    rate = gpu.half_rate(size=64)
    assert rate["tflops"] == pytest.approx(2 * 64**3 / 0.002 / 1e12)
    assert rate["median_s"] == pytest.approx(0.002)
    assert next(milliseconds, None) is None


def test_endurance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two jobs, one gives other levels now and then, the other an error at last."""
    memory = itertools.chain([100, 160], itertools.repeat(110))
    monkeypatch.setattr(gpu, "memory_used", lambda: next(memory))
    picture = np.full((4, 4, 3), 100, np.uint8)
    numbers = itertools.count()
    alone = threading.Event()

    def steady() -> list[Image]:
        time.sleep(0.001)
        return [picture]

    calls: list[int] = []

    def changing() -> list[Image]:
        """Alone for the reference, then: right, 3 levels off, an error, in turns."""
        if threading.current_thread() is threading.main_thread():
            alone.set()
        elif alone.is_set():
            number = next(numbers)
            calls.append(number % 3)
            if number % 3 == 1:
                return [picture, picture + np.uint8(3)]
            if number % 3 == 2:
                raise DeviceError("the engine failed")
        return [picture, picture]

    row = gpu.endure([steady, changing], 1.2)
    wrong, errors = calls.count(1), calls.count(2)
    assert min(wrong, errors) > 10
    assert row["mismatches"] == wrong
    assert row["largest_difference_levels"] == 3
    assert row["errors"] == errors
    assert row["messages"] == {"the engine failed": errors}
    assert row["gpu_bytes"] == {"start": 100, "after": 110, "peak_growth": 60}
    assert isinstance(row["faces"], int)
    assert row["faces"] > 2 * (calls.count(0) + wrong)


def test_endurance_of_what_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "memory_used", lambda: USED)
    row = gpu.endure([lambda: [np.zeros((4, 4, 3), np.uint8)]], 0.1)
    assert (row["errors"], row["mismatches"], row["largest_difference_levels"]) == (0, 0, 0)
    assert row["gpu_bytes"] == {"start": USED, "after": USED, "peak_growth": 0}


def test_targets() -> None:
    """Of the first device that ran; of the two batches, the one that gained less."""
    rates = {"batch_1": {"p50_ms": 1.4}, "batch_8": {"faces_per_s": 990}}
    result = {
        "fp16": {
            "tensorrt": {"error": "not installed"},
            "tensorrt-rtx": rates | {"floor": {"batch_8_ratio": 2.2}},
            "cuda": {"batch_1": {"p50_ms": 0.1}, "batch_8": {"faces_per_s": 9000}},
        },
        "pytorch": {"batch_1": {"speedup": 7.0}, "batch_8": {"speedup": 4.5}},
        "endurance": {"errors": 0, "mismatches": 2},
    }
    rows = tensorrt.targets(result)
    assert {name: (row["measured"], row["met"]) for name, row in rows.items()} == {
        "p50_ms": (1.4, True),
        "batch8_faces_per_s": (990, False),
        "floor_ratio": (2.2, True),
        "speedup_over_torch_half": (4.5, False),
        "endurance_errors": (0, True),
        "endurance_mismatches": (2, False),
    }
    nothing = tensorrt.targets({"pytorch": {"error": "no"}, "endurance": {"error": "no"}})
    assert all(row["measured"] is None and not row["met"] for row in nothing.values())


def test_a_failing_section_loses_nothing(tmp_path: Path) -> None:
    log = tensorrt.Log(tmp_path / "result.json")
    log.section(lambda: 1, "first")

    def fail() -> None:
        raise RuntimeError("CUDA error:\n out of memory")

    log.section(fail, "fp16", "cuda")
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["first"] == 1
    assert written["fp16"] == {"cuda": {"error": "RuntimeError: CUDA error: out of memory"}}
    log.section(lambda: {"x": 2}, "fp16", "tensorrt")
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["fp16"]["tensorrt"] == {"x": 2}
    assert log.failed


def test_a_whole_run(
    trt: FakeTensorRt,
    engine_bundle: Path,
    bundle: Path,
    narrow_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TensorRT for RTX runs fp16; nothing else can be had, which is written down."""
    (tmp_path / "fp16").symlink_to(engine_bundle)
    (tmp_path / "fp32").symlink_to(bundle)
    built: list[tuple[str, str]] = []
    monkeypatch.setattr(tensorrt, "build", lambda path, device: built.append((path.name, device)))
    monkeypatch.setattr(tensorrt, "installed_version", lambda name: "1" if "rtx" in name else None)
    monkeypatch.setattr(gpu, "half_rate", lambda: {"tflops": RATE})
    arguments = Namespace(
        checkpoint=str(narrow_checkpoint),
        bundles=tmp_path,
        json=tmp_path / "result.json",
        seconds=1,
        rounds=1,
    )
    assert tensorrt.measure(arguments) == 0
    result = json.loads(arguments.json.read_text())

    machine = result["environment"]["machine"]
    assert machine["gpu"] == {
        "name": "Fake H200",
        "capability": "9.0",
        "memory": 141 << 30,
        "driver": "13.0",
    }
    assert {"torch", "onnxruntime", "polygraphy"} <= set(result["environment"]["versions"])
    manifest = open_bundle(engine_bundle).manifest
    hashes = result["environment"]["restorer_sha256"]
    assert hashes["fp16"] == manifest.graph_sha256("restorer")
    assert built == [("fp16", "tensorrt-rtx"), ("fp32", "tensorrt-rtx")]

    half = result["fp16"]
    assert half["tensorrt"] == {"error": "TensorRT is not installed"}
    assert "offers no CUDAExecutionProvider" in half["cuda"]["error"]
    rtx = half["tensorrt-rtx"]
    assert rtx["backend"] == "TensorRT for RTX 1.7.1.116, Fake H200, fp16"
    assert rtx["batch_1"]["runs"] == rtx["batch_8"]["runs"] == 1
    assert 0 < rtx["batch_1"]["device"]["engine_ms"] < rtx["batch_1"]["p99_ms"] * 2
    gflop = read_records(engine_bundle)[0].receipt.gflop
    least = gflop / RATE
    assert rtx["floor"]["gflop"] == gflop
    assert rtx["floor"]["floor_ms"] == pytest.approx(least)
    assert rtx["floor"]["batch_1_ratio"] == pytest.approx(rtx["batch_1"]["p50_ms"] / least)
    assert [engine["graph"] for engine in half["engines"]] == ["restorer", "memorizer"]
    assert half["engines"][0]["receipt"]["asked"]["convolution"]["half"] > 100
    assert half["engines"][0]["parity"] == []  # it was built without a GPU
    assert "holds no TensorRT for RTX engine" in result["fp32"]["tensorrt-rtx"]["error"]

    for batch in ("batch_1", "batch_8"):
        row = result["pytorch"][batch]
        assert row["speedup"] == pytest.approx(row["pytorch"]["p50_ms"] / row["engine"]["p50_ms"])
    endurance = result["endurance"]
    assert (endurance["errors"], endurance["mismatches"]) == (0, 0)
    assert endurance["faces"] >= 3
    assert endurance["gpu_bytes"]["peak_growth"] == 0
    assert "error" in result["onnxruntime_plugin"]
    wanted = {
        "p50_ms": rtx["batch_1"]["p50_ms"],
        "batch8_faces_per_s": rtx["batch_8"]["faces_per_s"],
        "floor_ratio": rtx["floor"]["batch_8_ratio"],
    }
    for name, value in wanted.items():
        assert result["targets"][name]["measured"] == value
    assert not trt.driver.live  # each Restorer was closed


def test_a_card_that_rtx_does_not_run_on(trt: FakeTensorRt, engine_bundle: Path) -> None:
    trt.invalid = 2  # UNSUPPORTED_CC
    row = tensorrt._speed(engine_bundle, "tensorrt-rtx", 1, RATE)
    assert row == {
        "error": "TensorRT for RTX 1.7.1.116 does not run on compute capability 9.0 (Fake H200)"
    }


def test_no_device_is_a_failure(
    trt: FakeTensorRt, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle without engines: what needs one fails, and all the rest is still there."""
    monkeypatch.setattr(tensorrt, "_bundles", lambda folder: {"fp16": bundle})
    monkeypatch.setattr(tensorrt, "installed_version", lambda name: None)
    monkeypatch.setattr(gpu, "half_rate", lambda: {"tflops": RATE})
    arguments = Namespace(
        checkpoint="", bundles=tmp_path, json=tmp_path / "result.json", seconds=1, rounds=1
    )
    assert tensorrt.measure(arguments) == 1
    result = json.loads(arguments.json.read_text())
    assert result["pytorch"] == {"error": "no device here runs the fp16 bundle"}
    assert result["endurance"] == {"error": "no device here runs the fp16 bundle"}
    assert result["half_rate"] == {"tflops": RATE}
    assert "nvidia_smi_afterwards" in result


def test_bytes_are_those_that_cross(trt: FakeTensorRt, engine_bundle: Path) -> None:
    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
        person = Case.of(Bundle(engine_bundle, restorer.manifest), 1)
        row = gpu.speed(restorer._engine.restore, person, 1)["bytes"]
    faces = 2 + 2 * gpu.BATCH  # a warm-up and a round of each size
    assert trt.driver.to_device == row["dictionary"] + faces * row["in_a_face"]
    assert row["out_a_face"] == 512 * 512 * 3
    assert person.rows.shape[0] == 10


def test_pytorch_does_the_same(
    trt: FakeTensorRt, engine_bundle: Path, narrow_checkpoint: Path
) -> None:
    network = load_weights(str(narrow_checkpoint)).network
    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
        person = Case.of(Bundle(engine_bundle, restorer.manifest), 1)
        inputs = person.inputs(0, 2)
        wanted = restorer._engine.restore(*inputs)
    with gpu.TorchHalf(network, person.rows) as eager:
        got = eager.restore(*inputs)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - wanted).mean() < 0.5


def test_another_checkpoint_is_refused(
    trt: FakeTensorRt, engine_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SimpleNamespace(network=None, record=SimpleNamespace(sha256="0" * 64))
    monkeypatch.setattr("export.model.checkpoint.load_weights", lambda _checkpoint: other)
    with pytest.raises(UsageError, match=r"was not made from other\.pth"):
        tensorrt._against_torch(engine_bundle, "tensorrt-rtx", "other.pth", 1)


@pytest.mark.usefixtures("no_gpu")
def test_builds_in_another_process(engine_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there stays; what cannot be built says why in one line."""
    seconds = tensorrt.build(engine_bundle, "tensorrt-rtx")["seconds"]
    assert isinstance(seconds, float)
    assert 0 < seconds < 60
    assert "the engines are there already" in capsys.readouterr().err
    with pytest.raises(EngineError) as raised:
        tensorrt.build(engine_bundle, "tensorrt")
    assert str(raised.value) == (
        "dmd-build-engine: no NVIDIA driver is installed here (exit code 1)"
    )


def test_bundles(engine_bundle: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="fp16: no such bundle"):
        tensorrt._bundles(tmp_path)
    (tmp_path / "fp16").symlink_to(engine_bundle)
    assert list(tensorrt._bundles(tmp_path)) == ["fp16"]
    (tmp_path / "int8").symlink_to(bundle)
    with pytest.raises(BundleError, match="int8: the bundle's precision is fp32"):
        tensorrt._bundles(tmp_path)


@pytest.mark.usefixtures("no_gpu")
def test_the_plugin_without_a_driver(engine_bundle: Path) -> None:
    row = tensorrt._plugin(engine_bundle, 1)
    assert list(row) == ["error"]
    assert "\n" not in row["error"]


def test_the_plugin(
    trt: FakeTensorRt, engine_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that is ONNX Runtime's own provider for the CPU."""
    cpu = "CPUExecutionProvider"
    plugin = SimpleNamespace(get_ep_name=lambda: cpu, get_library_path=lambda: "plugin.so")
    monkeypatch.setitem(sys.modules, gpu.PLUGIN, plugin)
    registered: list[tuple[str, str]] = []
    monkeypatch.setattr(
        onnxruntime,
        "register_execution_provider_library",
        lambda name, path: registered.append((name, path)),
    )
    row = tensorrt._plugin(engine_bundle, 2)
    assert registered == [(cpu, "plugin.so")]
    assert row["nodes"][cpu] > 1000
    assert row["batch_1"]["runs"] == 2
    assert row["batch_8"]["faces_per_s"] > 0

    person = Case.of(open_bundle(engine_bundle), 1)
    got = gpu.PluginSession(open_bundle(engine_bundle)).restore(*person.inputs(0, 1))
    with Restorer(engine_bundle, device="tensorrt-rtx") as restorer:
        wanted = restorer._engine.restore(*person.inputs(0, 1))
    assert np.abs(got.astype(int) - wanted).max() <= 1

    monkeypatch.setattr(onnxruntime, "get_ep_devices", list)
    assert tensorrt._plugin(engine_bundle, 2) == {"error": f"{cpu} finds no GPU that it can use"}


def test_the_plugins_sizes(engine_bundle: Path) -> None:
    bundle = open_bundle(engine_bundle)
    columns = bundle.manifest.memorizer.outputs[0].shape[1]
    assert gpu._profiles(bundle)["nv_profile_max_shapes"] == (
        f"image:8x512x512x3,boxes:8x4x4,dictionary:32x{columns},membership:8x32"
    )


def test_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.nvidia_smi() is None
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '580.159.04, P0, 1980 MHz, 3201 MHz, 310.20 W, 45'\n")
    program.chmod(0o755)
    found = gpu.nvidia_smi()
    assert found is not None
    assert found["driver_version"] == "580.159.04"
    assert found["clocks.sm"] == "1980 MHz"
    program.write_text("#!/bin/sh\nexit 9\n")
    assert gpu.nvidia_smi() is None


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu(engine_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "fp16").symlink_to(engine_bundle)
    out = tmp_path / "result.json"
    done = _python("--checkpoint", "synthetic", "--bundles", str(tmp_path), "--json", str(out))
    one_line(done, "benchmarks.studies.endurance: no NVIDIA driver is installed here")
    assert done.returncode == 1
    assert done.stdout == ""
    assert not out.exists()


def test_help_is_quick() -> None:
    done = _python("--help")
    assert done.returncode == 0
    assert "--rounds" in done.stdout
    code = (
        "import sys, benchmarks.studies.endurance;"
        "print(*{'torch', 'onnxruntime'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert loaded.stdout.strip() == ""


def _python(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "benchmarks.studies.endurance", *words]
    return subprocess.run(program, capture_output=True, text=True, cwd=ROOT)


def _events(monkeypatch: pytest.MonkeyPatch, milliseconds: Iterator[float]) -> None:
    """CUDA's events with times made up."""

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            pass

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, _end: object) -> float:
            return next(milliseconds)

    monkeypatch.setattr(torch.cuda, "Event", Event)
