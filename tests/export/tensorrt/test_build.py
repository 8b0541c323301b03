"""Engines really built by TensorRT for RTX, which needs no GPU; judged on a fake one."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

from export.tensorrt import build as engines
from export.tensorrt.build import build_engines
from export.tensorrt.options import BuildOptions
from runtime.backends.tensorrt.engine_files import Wanted, find_engine, read_records
from runtime.bundle.engine_record import FOLDER, EngineRecord, Profile, Receipt
from runtime.bundle.opening import Bundle, open_bundle
from runtime.errors import BundleError, DeviceError, DeviceMemoryError, EngineError, ExportError
from runtime.machine.tensorrt_editions import Edition, load_edition
from tests.conftest import ROOT, Command, one_line
from tests.export.tensorrt.test_compile import builder_of
from tests.fakes.trt import FakeTensorRt, fake_machine
from tests.runtime.backends.test_tensorrt import GPU

RTX = BuildOptions("tensorrt-rtx")
NAME = "tensorrt_rtx-1.7.1-any-fp16.engine"
PROGRAM = Path(sys.executable).with_name("dmd-build-engine")


@pytest.fixture
def bundle(engine_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of the float16 bundle with its engines, to be spoilt."""
    shutil.copytree(engine_bundle, tmp_path / "fp16")
    return open_bundle(tmp_path / "fp16")


@pytest.fixture
def bare(bundle: Bundle) -> Bundle:
    """The same without engines."""
    shutil.rmtree(bundle.path / FOLDER)
    return bundle


@pytest.fixture(scope="module")
def rtx() -> Edition:
    return load_edition("tensorrt_rtx")


def wanted(bundle: Bundle, edition: Edition, **changes: Any) -> Wanted:
    sha256 = bundle.manifest.graph_sha256("restorer")
    return replace(Wanted("restorer", sha256, "fp16", edition, GPU), **changes)


class TestBuilt:
    def test_receipt(self, bundle: Bundle) -> None:
        restorer, memorizer = read_records(bundle.path)
        assert restorer.receipt.asked == {
            "convolution": {"half": 171},
            "matrix product": {"float": 18, "half": 48},
            "softmax": {"float": 18},
        }
        assert restorer.receipt.parsed == restorer.receipt.asked
        assert restorer.receipt.arithmetic == {"half": 0.9999, "float": 0.0001}
        assert memorizer.receipt.parsed == {
            "convolution": {"half": 60},
            "matrix product": {"half": 12},
        }
        assert memorizer.receipt.arithmetic == {"half": 1.0}
        assert restorer.receipt.engine is None  # no GPU to ask

    def test_files(self, bundle: Bundle, rtx: Edition) -> None:
        """The engine is plain; its record is beside it, and the manifest knows neither."""
        files = {path.name for path in (bundle.path / FOLDER).iterdir()}
        memorizer = "tensorrt_rtx-1.7.1-any-fp16-memorizer.engine"
        assert files == {".lock", NAME, f"{NAME}.json", memorizer, f"{memorizer}.json"}
        assert FOLDER not in (bundle.path / "manifest.json").read_text()
        content = (bundle.path / FOLDER / NAME).read_bytes()
        assert content[:4] == b"vtrt"  # nothing glued in front of what TensorRT wrote
        assert find_engine(bundle.path, wanted(bundle, rtx)) == (
            read_records(bundle.path)[0],
            content,
        )

    def test_schema(self, bundle: Bundle) -> None:
        schema = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
        schema = {"$ref": "#/$defs/EngineRecord", "$defs": schema["$defs"]}
        content = json.loads((bundle.path / FOLDER / f"{NAME}.json").read_text())
        jsonschema.validate(content, schema)
        content["receipt"]["asked"]["convolution"]["double"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, schema)

    def test_an_older_manifest(self, bundle: Bundle) -> None:
        """It copied the records; its hash is of that."""
        content = json.loads(bundle.manifest.to_json())
        del content["manifest_sha256"]
        content["engines"] = [asdict(record) for record in read_records(bundle.path)]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        content["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        (bundle.path / "manifest.json").write_text(json.dumps(content))
        assert open_bundle(bundle.path).manifest == bundle.manifest
        content["engines"].pop()
        (bundle.path / "manifest.json").write_text(json.dumps(content))
        with pytest.raises(BundleError, match="it was altered"):
            open_bundle(bundle.path)


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
        record = replace(read_records(bundle.path)[0], **changes)
        sidecar.write_text(record.to_json())
        with pytest.raises(EngineError, match=f"{reason}.*--rebuild"):
            find_engine(bundle.path, wanted(bundle, rtx))

    def test_full_tensorrt_wants_its_own_gpu(self, bundle: Bundle) -> None:
        edition = Edition("tensorrt", "10.13.3.9", None)
        here = wanted(bundle, edition)
        assert here.file == "tensorrt-10.13.3-8.9-fp16.engine"
        built: dict[str, Any] = {"edition": "tensorrt"}
        built |= {"version": "10.13.3.9", "capability": "8.9", "gpu": "Fake RTX", "driver": "12.8"}
        record = replace(read_records(bundle.path)[0], **built)
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
        smaller = ("dmd-build-engine", bundle.path, "--max-batch", 2, "--opt-references", 3)
        result = command(*smaller)
        assert "8 faces (best at 1)" in result.stderr.splitlines()[-1]
        assert "asked for 2 faces" in result.stderr.splitlines()[-1]
        result = command(*smaller, "--rebuild")
        assert result.returncode == 0, result.stderr
        records = read_records(bundle.path)
        assert [record.profile for record in records] == [Profile(2, 32, 1, 3)] * 2
        assert find_engine(bundle.path, wanted(bundle, load_edition("tensorrt_rtx")))

    def test_two_processes_build_once(self, bare: Bundle, tmp_path: Path) -> None:
        """With neither torch nor ONNX Runtime."""
        for module in ("torch", "onnxruntime"):
            (tmp_path / f"{module}.py").write_text("raise ImportError(__name__)")
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        environment = os.environ | {"PYTHONPATH": path}
        start = partial(subprocess.Popen, stderr=subprocess.PIPE, text=True, env=environment)
        both = [start([PROGRAM, bare.path]) for _ in range(2)]
        said = [process.communicate(timeout=120)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert sum("restorer engine: " in text for text in said) == 1
        assert sum("are there already" in text for text in said) == 1
        assert sum("another process builds here" in text for text in said) == 1
        assert len(read_records(bare.path)) == 2

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_interrupted(self, bare: Bundle, number: signal.Signals) -> None:
        """The builder goes with it; what a killed one leaves, the next build removes."""
        process = subprocess.Popen(
            [PROGRAM, bare.path], stderr=subprocess.PIPE, text=True, process_group=0
        )
        builder = builder_of(process.pid)
        time.sleep(1.5)  # inside the build
        os.killpg(process.pid, number)  # as a terminal does
        said = process.communicate(timeout=60)[1].splitlines()
        end = time.monotonic() + 60
        while Path(f"/proc/{builder}").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(f"/proc/{builder}").exists()
        left = {path.name for path in (bare.path / FOLDER).iterdir()}
        if number == signal.SIGKILL:
            assert left == {".lock", ".building"}
            assert not list((bare.path / FOLDER / ".building").rglob("*.engine"))
            build_engines(bare, RTX)
            assert ".building" not in {path.name for path in (bare.path / FOLDER).iterdir()}
        else:
            assert process.returncode == 130
            assert said[-1] == "dmd-build-engine: interrupted; no half-written file is left"
            assert left == {".lock"}

    def test_wrong_arguments(self, bundle: Bundle, command: Command, int8_bundle: Path) -> None:
        for words, says in (
            (("nowhere",), "nowhere: no such bundle"),
            ((bundle.path, "--workspace", "0"), "not a number of GiB"),
            ((bundle.path, "--opt-batch", 9), "opt <= max is needed"),
            ((bundle.path, "--max-batch", "x"), "whole number"),
            ((int8_bundle, "--engine", "tensorrt-rtx"), "INT8 bundle for CPUs has no engine"),
        ):
            one_line(command("dmd-build-engine", *words), says)
        result = command("dmd-build-engine", int8_bundle)
        assert result.returncode == 1
        assert result.stderr == "no engine: an INT8 bundle for CPUs has no use for one\n"


class TestRefused:
    def test_no_space(self, bare: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1 << 20))
        with pytest.raises(EngineError, match=r"no space: the engines need about \d+ MiB, 1 are"):
            build_engines(bare, RTX, report=lambda _line: None)
        assert read_records(bare.path) == []

    def test_a_read_only_bundle(self, bare: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(BundleError, match="engines: cannot be written: Permission"):
            build_engines(bare, RTX, report=lambda _line: None)

    def test_tensorrt_does_not_start(self, bare: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        """As where the driver is too old: whoever left the choice to us keeps the bundle."""

        def refuse(*_: object, **__: object) -> None:
            raise DeviceError("TensorRT cannot start")

        monkeypatch.setattr(engines, "compile_engine", refuse)
        lines: list[str] = []
        assert build_engines(bare, BuildOptions(), report=lines.append) == ()
        assert lines[-1] == "no engine: TensorRT cannot start"
        with pytest.raises(DeviceError, match="TensorRT cannot start"):
            build_engines(bare, RTX, report=lines.append)

    def test_memory_runs_out(self, bare: Bundle) -> None:
        """The builder is killed: whoever left the choice to us keeps the bundle."""
        lines: list[str] = []
        with ThreadPoolExecutor(1) as pool:
            for options in (BuildOptions(), RTX):
                build = pool.submit(build_engines, bare, options, report=lines.append)
                os.kill(builder_of(os.getpid()), signal.SIGKILL)
                if options is RTX:
                    with pytest.raises(DeviceMemoryError, match="was killed"):
                        build.result(60)
                else:
                    assert build.result(60) == ()
                    assert lines[-1].startswith("no engine: ")
                    assert "was killed, most likely because memory ran out" in lines[-1]
        assert read_records(bare.path) == []


class TestJudged:
    """With a GPU, a new engine is run before it is kept."""

    @pytest.fixture
    def fake(self, engine_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
        def take(source: Path, *arguments: Any) -> Receipt:
            """The engines of the bundle, in place of building."""
            (record,) = (r for r in read_records(engine_bundle) if source.stem == r.graph)
            shutil.copy(engine_bundle / FOLDER / record.file, arguments[3])
            return record.receipt

        monkeypatch.setattr(engines, "compile_engine", take)
        with fake_machine(engine_bundle, GPU) as trt:
            yield trt

    def build(self, bundle: Bundle) -> tuple[tuple[EngineRecord, ...], str]:
        lines: list[str] = []
        built = build_engines(bundle, RTX, report=lines.append)
        return built, "\n".join(lines)

    def test_parity(self, bare: Bundle, fake: FakeTensorRt) -> None:
        (restorer, memorizer), said = self.build(bare)
        cases = ["generic", "specific", "mixed 0", "mixed 1", "mixed 2"]
        assert [row.case for row in restorer.parity[::4]] == cases
        assert [row.region for row in restorer.parity[:4]] == ["whole", "le", "re", "mo"]
        # ONNX Runtime against itself, on one thread
        assert all(row.psnr_db > 60 for row in (*restorer.parity, *memorizer.parity))
        assert restorer.receipt.engine == {"half": 1}
        assert "warning: restorer: TensorRT's inspector tells the precision of 1 of 171" in said
        assert restorer.gpu == "Fake RTX"
        assert "generic    whole" in said
        assert read_records(bare.path) == [restorer, memorizer]

    @pytest.mark.parametrize(
        ("profile", "left"),
        [
            (Profile(2, 32, 1, 3), []),
            (Profile(1, 2, 1, 1), ["specific"]),
            (Profile(1, 1, 1, 1), ["specific", "mixed 1"]),
        ],
    )
    def test_a_small_engine_is_judged_in_several_calls(
        self, bare: Bundle, fake: FakeTensorRt, profile: Profile, left: list[str]
    ) -> None:
        lines: list[str] = []
        options = replace(RTX, profile=profile)
        restorer, memorizer = build_engines(bare, options, report=lines.append)
        cases = ["generic", "specific", "mixed 0", "mixed 1", "mixed 2"]
        assert [row.case for row in restorer.parity[::4]] == [c for c in cases if c not in left]
        assert all(row.psnr_db > 60 for row in (*restorer.parity, *memorizer.parity))
        (said,) = [line for line in lines if line.startswith("not judged")] or [""]
        assert said.endswith(", ".join(left))
        assert bool(said) == bool(left)

    @pytest.mark.parametrize(
        ("graph", "breaking", "reason"),
        [
            ("restorer", np.zeros_like, "generic, whole: .* dB, under 50"),
            ("restorer", lambda x: np.full_like(x, 128), "mixed 2, mo: .* dB, under 47"),
            ("memorizer", lambda x: x * np.float16("nan"), "memorizer, dictionary: nan dB"),
            ("engine", None, "runs 1 convolutions in float32"),
        ],
    )
    def test_black_flat_or_nan_is_not_kept(
        self, bare: Bundle, fake: FakeTensorRt, graph: str, breaking: Any, reason: str
    ) -> None:
        if graph == "engine":
            fake.convolution_weights = "Float"
        else:
            fake.broken[graph] = breaking
        with pytest.raises(ExportError, match=reason):
            self.build(bare)
        assert [path.name for path in (bare.path / FOLDER).iterdir()] == [".lock"]
        assert read_records(bare.path) == []

    def test_a_gpu_that_cannot_run_it_is_told(self, bare: Bundle, fake: FakeTensorRt) -> None:
        fake.invalid = 2
        (restorer, _), said = self.build(bare)
        assert restorer.parity == ()
        assert "their parity is not measured: " in said
        assert "does not run on compute capability 8.9" in said

    @pytest.mark.parametrize("invalid", [4, 8, 16, 64])
    def test_a_driver_that_does_not_fit_costs_no_engine(
        self, bare: Bundle, fake: FakeTensorRt, invalid: int
    ) -> None:
        fake.invalid = invalid
        records, said = self.build(bare)
        assert [record.parity for record in records] == [(), ()]
        assert "their parity is not measured: TensorRT for RTX 1.7.1.116 cannot load the" in said
        assert read_records(bare.path) == list(records)

    def test_a_gpu_that_is_full_costs_no_engine(self, bare: Bundle, fake: FakeTensorRt) -> None:
        """The memorizer is opened when the restorer has run."""
        fake.context_limit = 1
        records, said = self.build(bare)
        assert [record.parity for record in records] == [(), ()]
        assert "their parity is not measured: Fake RTX has no memory for an execution" in said

    @pytest.mark.parametrize("graph", ["restorer", "memorizer"])
    def test_an_engine_that_fails_when_it_runs_is_not_kept(
        self, bare: Bundle, fake: FakeTensorRt, graph: str
    ) -> None:
        def fail(_result: object) -> None:
            raise fake.driver.LogicError("an illegal memory access was encountered")

        fake.broken[graph] = fail
        with pytest.raises(DeviceError, match="Fake RTX: an illegal memory access was encounter"):
            self.build(bare)
        assert [path.name for path in (bare.path / FOLDER).iterdir()] == [".lock"]
        assert not fake.driver.live
        lines: list[str] = []
        # as by default, where an export keeps its bundle
        assert build_engines(bare, BuildOptions("auto"), report=lines.append) == ()
        assert lines[-1].startswith("no engine: Fake RTX: an illegal memory access")
        assert [path.name for path in (bare.path / FOLDER).iterdir()] == [".lock"]

    def test_a_gpu_that_fills_up_in_a_call_costs_no_engine(
        self, bare: Bundle, fake: FakeTensorRt
    ) -> None:
        def fill(_result: object) -> None:
            raise fake.driver.MemoryError("cuMemAlloc failed: out of memory")

        fake.broken["restorer"] = fill
        records, said = self.build(bare)
        assert [record.parity for record in records] == [(), ()]
        assert "their parity is not measured: Fake RTX is out of memory" in said

    def test_what_a_new_build_should_have_mended(self, bare: Bundle, fake: FakeTensorRt) -> None:
        fake.invalid = 32
        with pytest.raises(EngineError, match="MALFORMED_ENGINE"):
            self.build(bare)
        assert read_records(bare.path) == []
