"""Single engines, really built by TensorRT for RTX, which needs no GPU."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calibration.calibrate import Floats, choose_faces, prepare
from calibration.options import Options
from export.tensorrt.compile import compile_engine
from export.tensorrt.options import BuildOptions
from runtime.bundle.opening import open_bundle
from runtime.errors import DeviceError, DeviceMemoryError, EngineError
from runtime.machine.tensorrt_editions import Edition, load_edition


@pytest.fixture(scope="module")
def rtx() -> Edition:
    return load_edition("tensorrt_rtx")


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return tmp_path / "new.engine"


def builder_of(pid: int) -> int:
    """The builder that the process has started, as soon as there is one."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text().split():
                if "export.tensorrt.builder" in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
        time.sleep(0.02)
    raise TimeoutError("no builder was started")


CRASHED = r"memorizer\.onnx: TensorRT for RTX 1\.7\..* crashed \(SIGSEGV\) while"
KILLED = "was killed, most likely because memory ran out, while it built"


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (signal.SIGSEGV, EngineError, CRASHED),
        (signal.SIGKILL, DeviceMemoryError, KILLED),
    ],
)
def test_a_builder_that_dies(
    half_bundle: Path, rtx: Edition, engine: Path, number: signal.Signals, kind: type[DeviceError],
    says: str,
) -> None:  # fmt: skip
    spec = open_bundle(half_bundle).manifest.memorizer
    with ThreadPoolExecutor(1) as pool:
        source = half_bundle / "memorizer.onnx"
        build = pool.submit(compile_engine, source, spec, rtx, BuildOptions(), engine)
        os.kill(builder_of(os.getpid()), number)
        with pytest.raises(kind, match=says):
            build.result(60)
    assert not engine.exists()


def test_a_graph_that_cannot_be_read(
    half_bundle: Path, rtx: Edition, engine: Path, tmp_path: Path
) -> None:
    """The error ends with what TensorRT logged; nothing of it goes to our stderr."""
    broken = tmp_path / "memorizer.onnx"
    broken.write_bytes((half_bundle / "memorizer.onnx").read_bytes())  # without its weights
    spec = open_bundle(half_bundle).manifest.memorizer
    says = r"cannot read it: .*; the end of its log: .*network\.E_hq\.conv1\.0\.weight"
    with pytest.raises(EngineError, match=says):
        compile_engine(broken, spec, rtx, BuildOptions(), engine)


def full_edition(folder: Path, patch: pytest.MonkeyPatch, builder: str = "") -> Edition:
    """Full TensorRT, as the builder's process finds it: RTX's bindings by the other name."""
    (folder / "tensorrt.py").write_text(
        "from runtime.machine.tensorrt_editions import load_edition\n"
        "rtx = load_edition('tensorrt_rtx').module\n"
        "globals().update({n: v for n, v in vars(rtx).items() if not n.startswith('__')})\n"
        f"__version__ = '10.13.3.9'\n{builder}"
    )
    patch.syspath_prepend(str(folder))  # the builder gets it as PYTHONPATH
    return Edition("tensorrt", "10.13.3.9", None)


def test_the_full_edition(
    half_bundle: Path, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = full_edition(tmp_path, monkeypatch)
    spec = open_bundle(half_bundle).manifest.memorizer
    source = half_bundle / "memorizer.onnx"
    checked = compile_engine(source, spec, full, BuildOptions(workspace=1), engine)
    assert engine.stat().st_size > 1 << 20
    assert checked.parsed["convolution"] == {"half": 60}


def test_a_tensorrt_that_makes_no_builder(
    half_bundle: Path, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pybind words it; what TensorRT logged says why."""
    builder = (
        "def Builder(logger):\n"
        "    logger.log(Logger.ERROR, 'CUDA initialization failure with error: 35')\n"
        "    raise TypeError('pybind11::init(): factory function returned nullptr')\n"
    )
    full = full_edition(tmp_path, monkeypatch, builder)
    spec = open_bundle(half_bundle).manifest.memorizer
    source = half_bundle / "memorizer.onnx"
    says = r"TensorRT 10\.13\.3\.9 cannot start; the end of its log: .*with error: 35"
    with pytest.raises(DeviceError, match=says) as caught:
        compile_engine(source, spec, full, BuildOptions(), engine)
    assert type(caught.value) is DeviceError


LOGGED = "logger.log(Logger.ERROR, 'Error Code 2: OutOfMemory (Requested 17 bytes)')"


@pytest.mark.parametrize(
    "fails", [f"{LOGGED}; raise PolygraphyException('Invalid Engine')", "raise MemoryError"]
)
def test_a_builder_that_runs_out_of_memory(
    half_bundle: Path, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    builder = (
        f"from polygraphy.exception import PolygraphyException\ndef Builder(logger): {fails}\n"
    )
    full = full_edition(tmp_path, monkeypatch, builder)
    spec = open_bundle(half_bundle).manifest.memorizer
    source = half_bundle / "memorizer.onnx"
    with pytest.raises(DeviceMemoryError, match=r"memorizer\.onnx.*[Oo]ut ?[Oo]f ?[Mm]emory"):
        compile_engine(source, spec, full, BuildOptions(), engine)


@pytest.mark.long
class TestFullSize:
    """Graphs of the published network's size."""

    def test_float32(self, full_bundle: Path, rtx: Edition, engine: Path) -> None:
        manifest = open_bundle(full_bundle).manifest
        options = BuildOptions()
        source = full_bundle / "restorer.onnx"
        checked = compile_engine(source, manifest.restorer, rtx, options, engine)
        assert engine.stat().st_size > 500 << 20
        assert checked.parsed["convolution"] == {"float": 171}
        assert abs(checked.gflop / 382 - 1) < 0.02
        source = full_bundle / "memorizer.onnx"
        checked = compile_engine(source, manifest.memorizer, rtx, options, engine)
        assert abs(checked.gflop / 111 - 1) < 0.02

    def test_float16(self, half_graph: Path, full_bundle: Path, rtx: Edition, engine: Path) -> None:
        spec = open_bundle(full_bundle).manifest.restorer
        checked = compile_engine(half_graph, spec, rtx, BuildOptions(), engine)
        assert 250 << 20 < engine.stat().st_size < 400 << 20
        assert checked.arithmetic["half"] > 0.999

    def test_int8(
        self, half_graph: Path, full_bundle: Path, rtx: Edition, engine: Path, tmp_path: Path
    ) -> None:
        floats = Floats(full_bundle / "restorer.onnx", full_bundle / "memorizer.onnx", half_graph)
        options = Options(size=2, target="tensorrt", method="minmax")
        work = prepare(floats, choose_faces(options), options, tmp_path / "cache", "weights")
        source = tmp_path / "restorer.onnx"
        work.write(work.graph.blocks, source)
        spec = open_bundle(full_bundle).manifest.restorer
        checked = compile_engine(source, spec, rtx, BuildOptions(), engine)
        assert 150 << 20 < engine.stat().st_size < 300 << 20
        assert checked.parsed["convolution"] == {"half": 54, "int8": 117}
        assert checked.arithmetic["int8"] > 0.9
