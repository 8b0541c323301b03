"""Engines really built by TensorRT for RTX, which needs no GPU; judged on a fake one."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from calibration.calibrate import Floats, choose_faces, prepare
from calibration.options import Options
from export.tensorrt import build as engines
from export.tensorrt.build import BuildOptions, build_engines, choose_edition, compile_engine
from export.tensorrt.progress import Progress
from export.tensorrt.receipt import finished_convolutions, receipt
from runtime.backends.tensorrt import backend as backend_module
from runtime.backends.tensorrt.engine_files import Wanted, find_engine
from runtime.bundle.engine_record import FOLDER, EngineRecord, Profile
from runtime.bundle.opening import Bundle, open_bundle
from runtime.errors import BundleError, DeviceError, EngineError, ExportError, UsageError
from runtime.machine import gpu as cuda
from runtime.machine.tensorrt_editions import Edition, load_edition
from tests.conftest import ROOT, Command, one_line
from tests.fakes.driver import FakeDriver
from tests.fakes.trt import FakeTensorRt
from tests.runtime.backends.test_tensorrt import GPU

NAME = "tensorrt_rtx-1.7.1-any-fp16.engine"


@pytest.fixture
def bundle(engine_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of the float16 bundle with its engines, to be spoilt."""
    shutil.copytree(engine_bundle, tmp_path / "fp16")
    return open_bundle(tmp_path / "fp16")


@pytest.fixture
def bare(bundle: Bundle) -> Bundle:
    """The same without engines."""
    shutil.rmtree(bundle.path / FOLDER)
    manifest = replace(bundle.manifest, engines=())
    (bundle.path / "manifest.json").write_text(manifest.to_json())
    return Bundle(bundle.path, manifest)


@pytest.fixture(scope="module")
def rtx() -> Edition:
    return load_edition("tensorrt_rtx")


def wanted(bundle: Bundle, edition: Edition, **changes: Any) -> Wanted:
    sha256 = bundle.manifest.graph_sha256("restorer")
    return replace(Wanted("restorer", sha256, "fp16", edition, GPU), **changes)


class TestBuilt:
    def test_receipt(self, bundle: Bundle) -> None:
        restorer, memorizer = bundle.manifest.engines
        assert restorer.receipt.asked == {
            "convolution": {"half": 171},
            "matrix product": {"float": 18, "half": 54},
            "softmax": {"float": 18},
        }
        assert restorer.receipt.parsed == restorer.receipt.asked
        assert restorer.receipt.arithmetic == {"half": 0.9999, "float": 0.0001}
        assert memorizer.receipt.parsed == {
            "convolution": {"half": 60},
            "matrix product": {"half": 18},
        }
        assert memorizer.receipt.arithmetic == {"half": 1.0}
        assert restorer.receipt.engine is None  # no GPU to ask

    def test_files(self, bundle: Bundle, rtx: Edition) -> None:
        """The engine is plain; its record is beside it, and in the manifest."""
        files = {path.name for path in (bundle.path / FOLDER).iterdir()}
        memorizer = "tensorrt_rtx-1.7.1-any-fp16-memorizer.engine"
        assert files == {".lock", NAME, f"{NAME}.json", memorizer, f"{memorizer}.json"}
        for record in bundle.manifest.engines:
            text = (bundle.path / FOLDER / f"{record.file}.json").read_text()
            assert EngineRecord.from_json(text) == record
        content = (bundle.path / FOLDER / NAME).read_bytes()
        assert content[:4] == b"vtrt"  # nothing glued in front of what TensorRT wrote
        assert find_engine(bundle.path, wanted(bundle, rtx)) == bundle.manifest.engines[0]

    def test_schema(self, bundle: Bundle) -> None:
        schema = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
        content = json.loads((bundle.path / "manifest.json").read_text())
        jsonschema.validate(content, schema)
        assert len(content["engines"]) == 2
        content["engines"][0]["receipt"]["asked"]["convolution"]["double"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, schema)

    def test_stays(self, bundle: Bundle, command: Command) -> None:
        before = (bundle.path / FOLDER / NAME).stat().st_mtime_ns
        result = command("dmd-build-engine", bundle.path)
        assert result.returncode == 0
        assert "are there already" in result.stderr
        assert (bundle.path / FOLDER / NAME).stat().st_mtime_ns == before


class TestFingerprint:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"version": "1.8.0.5"}, r"TensorRT for RTX 1\.8\.0\.5, here 1\.7\.1\.116"),
            ({"graph_sha256": "0" * 64}, "graph 000000000000, here "),
            ({"precision": "fp32"}, "precision fp32, here fp16"),
            ({"capability": "9.0", "gpu": "H200"}, r"9\.0, here any, GPU H200, here Fake RTX"),
            ({"driver": "13.1"}, r"a driver for CUDA 13\.1, here 13\.0"),
        ],
    )
    def test_differs(
        self, bundle: Bundle, rtx: Edition, changes: dict[str, Any], reason: str
    ) -> None:
        sidecar = bundle.path / FOLDER / f"{NAME}.json"
        record = replace(bundle.manifest.engines[0], **changes)
        sidecar.write_text(record.to_json())
        with pytest.raises(EngineError, match=f"{reason}.*--rebuild"):
            find_engine(bundle.path, wanted(bundle, rtx))

    def test_an_old_gpu(self, bundle: Bundle, rtx: Edition) -> None:
        old = replace(GPU, capability="7.5")
        with pytest.raises(EngineError, match=r"from compute capability 8\.0, here 7\.5"):
            find_engine(bundle.path, wanted(bundle, rtx, gpu=old))

    def test_full_tensorrt_wants_its_own_gpu(self, bundle: Bundle) -> None:
        edition = Edition("tensorrt", "10.13.3.9", None)
        here = wanted(bundle, edition)
        assert here.file == "tensorrt-10.13.3-8.9-fp16.engine"
        record = replace(
            bundle.manifest.engines[0],
            edition="tensorrt",
            version="10.13.3.9",
            capability="8.9",
            gpu="Fake RTX",
            driver="12.8",
        )
        assert here.differences(record) == []
        other = replace(record, gpu="Other RTX")
        assert here.differences(other) == ["GPU Other RTX, here Fake RTX"]

    def test_spoilt_files(self, bundle: Bundle, rtx: Edition) -> None:
        engine, sidecar = bundle.path / FOLDER / NAME, bundle.path / FOLDER / f"{NAME}.json"
        here, content, text = wanted(bundle, rtx), engine.read_bytes(), sidecar.read_text()
        engine.write_bytes(content[:-1] + b"x")
        with pytest.raises(EngineError, match=r"altered .*SHA-256.*--rebuild"):
            find_engine(bundle.path, here)
        assert find_engine(bundle.path, here, verify=False)  # asked not to look
        engine.write_bytes(content[:1000])
        with pytest.raises(EngineError, match=r"1000 bytes in place of \d+; .*--rebuild"):
            find_engine(bundle.path, here, verify=False)
        engine.unlink()
        with pytest.raises(EngineError, match="missing"):
            find_engine(bundle.path, here)
        for broken in ("", "[]", "{}", text[:-20], text.replace('"record_version": 1', '"x": 1')):
            sidecar.write_text(broken)
            with pytest.raises(EngineError, match=f"{NAME}.json: not an engine's record"):
                find_engine(bundle.path, here)
        sidecar.unlink()
        with pytest.raises(EngineError, match=r"no TensorRT for RTX engine of the restorer; run"):
            find_engine(bundle.path, here)

    def test_a_record_of_another_file(self, bundle: Bundle, rtx: Edition) -> None:
        folder = bundle.path / FOLDER
        (folder / f"{NAME}.json").rename(folder / "tensorrt_rtx-x.engine.json")
        with pytest.raises(EngineError, match="it is the record of"):
            find_engine(bundle.path, wanted(bundle, rtx))


class TestCommand:
    def test_refuses_what_does_not_fit_until_rebuild(
        self, bundle: Bundle, command: Command
    ) -> None:
        engine = bundle.path / FOLDER / NAME
        engine.write_bytes(b"not an engine")
        result = command("dmd-build-engine", bundle.path)
        assert "13 bytes in place of" in result.stderr.splitlines()[-1]
        assert result.returncode == 1
        result = command("dmd-build-engine", bundle.path, "--max-batch", 2, "--opt-references", 3)
        assert "8 faces (best at 1)" in result.stderr.splitlines()[-1]
        assert "asked for 2 faces" in result.stderr.splitlines()[-1]
        result = command(
            "dmd-build-engine", bundle.path, "--max-batch", 2, "--opt-references", 3, "--rebuild"
        )
        assert result.returncode == 0, result.stderr
        records = open_bundle(bundle.path).manifest.engines
        assert [record.profile for record in records] == [Profile(2, 32, 1, 3)] * 2
        assert find_engine(bundle.path, wanted(bundle, load_edition("tensorrt_rtx")))

    def test_two_processes_build_once(self, bare: Bundle) -> None:
        """With neither torch nor ONNX Runtime."""
        without = "sys.modules['torch'] = sys.modules['onnxruntime'] = None"
        program = f"import sys; {without}; from export.cli.build_engine import main; main()"
        both = [
            subprocess.Popen(
                [sys.executable, "-c", program, bare.path], stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        said = [process.communicate(timeout=120)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert sum("restorer engine: " in text for text in said) == 1
        assert sum("are there already" in text for text in said) == 1
        assert sum("another process builds here" in text for text in said) == 1
        assert len(open_bundle(bare.path).manifest.engines) == 2

    def test_interrupted(self, bare: Bundle) -> None:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dmd-build-engine"), bare.path],
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while not list(bare.path.glob(f"{FOLDER}/.building.*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)  # inside the build
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1].splitlines()
        assert process.returncode == 130
        assert said[-1] == "dmd-build-engine: interrupted; nothing half written is left"
        assert [path.name for path in (bare.path / FOLDER).iterdir()] == [".lock"]
        assert open_bundle(bare.path).manifest.engines == ()

    def test_wrong_arguments(self, bundle: Bundle, command: Command, int8_bundle: Path) -> None:
        one_line(command("dmd-build-engine", "nowhere"), "nowhere: no such bundle")
        one_line(
            command("dmd-build-engine", bundle.path, "--workspace", "0"), "not a number of GiB"
        )
        one_line(command("dmd-build-engine", bundle.path, "--opt-batch", 9), "opt <= max is needed")
        one_line(command("dmd-build-engine", bundle.path, "--max-batch", "x"), "whole number")
        one_line(
            command("dmd-build-engine", int8_bundle, "--engine", "tensorrt-rtx"),
            "INT8 bundle for CPUs has no engine",
        )
        result = command("dmd-build-engine", int8_bundle)
        assert result.returncode == 1
        assert result.stderr == "no engine: an INT8 bundle for CPUs has no use for one\n"


class TestChoice:
    def test_edition(self, monkeypatch: pytest.MonkeyPatch, rtx: Edition) -> None:
        def no_driver() -> tuple[cuda.Gpu, ...]:
            raise DeviceError("no NVIDIA driver is installed here")

        monkeypatch.setattr(cuda, "gpus", no_driver)
        assert choose_edition("none", None) == (None, "none was asked for")
        edition, why = choose_edition("auto", None)
        assert edition is not None
        assert edition.name == "tensorrt_rtx"
        assert why == "not tensorrt: no NVIDIA driver is installed here"
        assert choose_edition("auto", "tensorrt")[0] == edition
        assert choose_edition("auto", "cpu")[0] is None
        with pytest.raises(DeviceError, match="no NVIDIA driver"):
            choose_edition("tensorrt", None)
        monkeypatch.setattr(engines, "find_spec", lambda name: None)
        with pytest.raises(DeviceError, match=r"polygraphy, filelock not installed; install .*rtx"):
            choose_edition("tensorrt-rtx", None)
        edition, why = choose_edition("auto", None)
        assert edition is None
        assert "polygraphy" in why

    def test_options(self) -> None:
        with pytest.raises(UsageError, match="--opt-references is 40 and --max-references 32"):
            BuildOptions(profile=Profile(opt_references=40))

    def test_no_space(self, bare: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        class Usage:
            free = 1 << 20

        monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage)
        with pytest.raises(EngineError, match=r"no space: the engines need about \d+ MiB, 1 are"):
            build_engines(bare, BuildOptions("tensorrt-rtx"), report=lambda _line: None)
        assert open_bundle(bare.path).manifest.engines == ()

    def test_a_read_only_bundle(self, bare: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(BundleError, match="engines: cannot be written: Permission"):
            build_engines(bare, BuildOptions("tensorrt-rtx"), report=lambda _line: None)


class TestReceipt:
    def test_a_network_of_another_precision(
        self, bundle: Bundle, narrow_bundles: dict[str, Path], rtx: Edition
    ) -> None:
        """What a builder of float32 engines for fp16 graphs would be caught by."""
        trt = rtx.module
        network = trt.Builder(trt.Logger(trt.Logger.ERROR)).create_network(0)
        parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
        assert parser.parse_from_file(str(narrow_bundles["fp32"] / "memorizer.onnx"))
        sizes = {"image": (1, 512, 512, 3), "boxes": (1, 4, 4)}
        with pytest.raises(ExportError, match=r"asked 60 half conv.*; read .*float conv"):
            receipt(bundle.path / "memorizer.onnx", trt, network, sizes)

    def test_finished_convolutions(self) -> None:
        layers = [
            {"LayerType": "CaskConvolution", "ParameterType": "Convolution", "Inputs": [
                {"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
            {"LayerType": "kgen", "Metadata": "[ONNX Layer: node_conv2d_3]", "Inputs": [
                {"Format/Datatype": "Half"}]},
            {"LayerType": "CaskConvolution", "ParameterType": "Convolution", "Inputs": [
                {"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]},
            {"LayerType": "Reformat", "Metadata": "[ONNX Layer: node_conv2d_3]", "Inputs": [
                {"Format/Datatype": "Float"}]},
            "only a name",
        ]  # fmt: skip
        asked = {"convolution": {"half": 2, "int8": 1}}
        text = json.dumps({"Layers": layers})
        assert finished_convolutions(text, asked) == {"half": 2, "int8": 1}
        layers[1]["Inputs"][0]["Format/Datatype"] = "Float"  # type: ignore[index]
        text = json.dumps({"Layers": layers})
        with pytest.raises(ExportError, match="runs 1 convolutions in float32, the graph asks fo"):
            finished_convolutions(text, asked)
        assert finished_convolutions(text, {"convolution": {"float": 1}})["float"] == 1


class TestJudged:
    """With a GPU, a new engine is run before it is kept."""

    @pytest.fixture
    def fake(self, engine_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
        bundle = open_bundle(engine_bundle)  # takes its engines in place of building
        driver = FakeDriver()
        trt = FakeTensorRt(driver)
        monkeypatch.setattr(cuda, "gpus", lambda: (GPU,))
        monkeypatch.setattr(cuda, "_pycuda", lambda: driver)
        edition = Edition("tensorrt_rtx", trt.__version__, trt)
        monkeypatch.setattr(backend_module, "load_edition", lambda _name: edition)
        built = {
            getattr(bundle.manifest, record.graph).file: (
                (bundle.path / FOLDER / record.file).read_bytes(),
                record.receipt,
            )
            for record in bundle.manifest.engines
        }
        monkeypatch.setattr(engines, "compile_engine", lambda source, *_: built[source.name])
        judge = engines._judge

        def know_and_judge(
            bundle: Bundle, staging: Path, records: list[EngineRecord], *rest: Any
        ) -> list[EngineRecord]:
            for record in records:
                spec = getattr(bundle.manifest, record.graph)
                trt.known[record.sha256] = (record, spec, bundle.path / spec.file)
            return judge(bundle, staging, records, *rest)

        monkeypatch.setattr(engines, "_judge", know_and_judge)
        cuda._device.cache_clear()
        yield trt
        cuda._device.cache_clear()

    def build(self, bundle: Bundle) -> tuple[tuple[EngineRecord, ...], str]:
        lines: list[str] = []
        built = build_engines(bundle, BuildOptions("tensorrt-rtx"), report=lines.append)
        return built.manifest.engines, "\n".join(lines)

    def test_parity(self, bare: Bundle, fake: FakeTensorRt) -> None:
        (restorer, memorizer), said = self.build(bare)
        assert [row.case for row in restorer.parity[::4]] == [
            "generic",
            "specific",
            "mixed 0",
            "mixed 1",
            "mixed 2",
        ]
        assert [row.region for row in restorer.parity[:4]] == ["whole", "le", "re", "mo"]
        # ONNX Runtime against itself, on one thread
        assert all(row.psnr_db > 60 for row in (*restorer.parity, *memorizer.parity))
        assert restorer.receipt.engine == {"half": 1}
        assert restorer.gpu == "Fake RTX"
        assert "generic    whole" in said
        assert open_bundle(bare.path).manifest.engines == (restorer, memorizer)

    @pytest.mark.parametrize(
        ("graph", "breaking", "reason"),
        [
            ("restorer", np.zeros_like, "generic, whole: .* dB, under 50"),
            ("restorer", lambda x: np.full_like(x, 128), "mixed 2, mo: .* dB, under 47"),
            ("memorizer", lambda x: x * np.float16("nan"), "memorizer, dictionary: nan dB"),
        ],
    )
    def test_black_flat_or_nan_is_not_kept(
        self, bare: Bundle, fake: FakeTensorRt, graph: str, breaking: Any, reason: str
    ) -> None:
        fake.broken[graph] = breaking
        with pytest.raises(ExportError, match=reason):
            self.build(bare)
        assert [path.name for path in (bare.path / FOLDER).iterdir()] == [".lock"]
        assert open_bundle(bare.path).manifest.engines == ()

    def test_a_float32_convolution_is_not_kept(self, bare: Bundle, fake: FakeTensorRt) -> None:
        fake.convolution_input = "Float"
        with pytest.raises(ExportError, match="runs 1 convolutions in float32"):
            self.build(bare)
        assert open_bundle(bare.path).manifest.engines == ()

    def test_a_gpu_that_cannot_run_it_is_told(self, bare: Bundle, fake: FakeTensorRt) -> None:
        fake.invalid = 2
        (restorer, _), said = self.build(bare)
        assert restorer.parity == ()
        assert "its parity is not measured: " in said
        assert "does not run on compute capability 8.9" in said


class TestProgress:
    def test_fraction(self, rtx: Edition) -> None:
        with Progress(rtx.module, "engine", print) as progress:
            progress.begin("all", 4)
            progress.step("all", 0)
            assert progress.fraction == 0.25
            progress.begin("inner", 10)
            progress.step("inner", 4)
            assert progress.fraction == 0.25 + 0.25 * 0.5
            progress.end("inner")
            progress.step("all", 3)
            assert progress.fraction == 1

    def test_says_what_is_left(self, rtx: Edition, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("export.tensorrt.progress._EVERY", 0.1)
        lines: list[str] = []
        with Progress(rtx.module, "engine", lines.append) as progress:
            progress.begin("all", 2)
            progress.step("all", 0)
            progress._start = time.monotonic() - 10

            def build() -> int:
                time.sleep(0.5)
                return 7

            assert progress.run(build) == 7
        assert lines[0] in ("engine: 50 %, about 10 s left", "engine: 50 %, about 11 s left")

    def test_errors_come_back(self, rtx: Edition) -> None:
        def fail() -> None:
            raise EngineError("why")

        with Progress(rtx.module, "engine", print) as progress, pytest.raises(EngineError):
            progress.run(fail)


@pytest.mark.slow
class TestFullSize:
    """Graphs of the published network's size."""

    def test_float32(self, full_bundle: Path, rtx: Edition) -> None:
        manifest = open_bundle(full_bundle).manifest
        options = BuildOptions()
        source = full_bundle / "restorer.onnx"
        engine, checked = compile_engine(source, manifest.restorer, rtx, options)
        assert memoryview(engine).nbytes > 500 << 20
        assert checked.parsed["convolution"] == {"float": 171}
        assert abs(checked.gflop / 382 - 1) < 0.02
        source = full_bundle / "memorizer.onnx"
        _, checked = compile_engine(source, manifest.memorizer, rtx, options)
        assert abs(checked.gflop / 111 - 1) < 0.02

    def test_float16(self, half_graph: Path, full_bundle: Path, rtx: Edition) -> None:
        spec = open_bundle(full_bundle).manifest.restorer
        engine, checked = compile_engine(half_graph, spec, rtx, BuildOptions())
        assert 250 << 20 < memoryview(engine).nbytes < 400 << 20
        assert checked.parsed == {
            "convolution": {"half": 171},
            "matrix product": {"float": 18, "half": 54},
            "softmax": {"float": 18},
        }
        assert checked.arithmetic["half"] > 0.999

    def test_int8(self, half_graph: Path, full_bundle: Path, rtx: Edition, tmp_path: Path) -> None:
        floats = Floats(full_bundle / "restorer.onnx", full_bundle / "memorizer.onnx", half_graph)
        options = Options(size=2, target="tensorrt", method="minmax")
        work = prepare(floats, choose_faces(options), options, tmp_path / "cache", "weights")
        source = tmp_path / "restorer.onnx"
        work.write(work.graph.blocks, source)
        spec = open_bundle(full_bundle).manifest.restorer
        engine, checked = compile_engine(source, spec, rtx, BuildOptions())
        assert 150 << 20 < memoryview(engine).nbytes < 300 << 20
        assert checked.parsed["convolution"] == {"half": 54, "int8": 117}
        assert checked.arithmetic["int8"] > 0.9
