"""What `dmd-doctor` finds: on this machine, and on machines that are made up."""

import json
import os
import sys
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runtime.cli.doctor import diagnose
from runtime.errors import DeviceError
from runtime.machine import doctor
from runtime.machine import gpu as cuda
from runtime.machine import tensorrt_editions as editions
from runtime.machine.doctor import Device, Report, Software, examine
from runtime.machine.gpu import Gpu
from tests.conftest import ROOT, Command

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
RTX = ("tensorrt_rtx_cu13_bindings", "onnxruntime-ep-nv-tensorrt-rtx-cu13")


def install(folder: Path, name: str, version: str = "1.0", module: str | None = None) -> None:
    """A distribution as pip leaves it; `module` is a folder that it brought."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{module}/__init__.py,,\n" if module else "")


class Machine:
    """A machine without a GPU, with ONNX Runtime and OpenCV; tests change it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.editions: dict[str, str | Exception] = {}
        patch.setattr(doctor, "distributions", lambda: distributions(path=[str(folder)]))
        patch.setattr(doctor, "load_edition", self._load)
        patch.setattr(doctor, "installed_version", lambda name: None)
        patch.setenv("PATH", str(folder))
        self.gpu(None)
        self.onnxruntime(CPU)
        self.module("cv2", "5.0.0")
        self.patch.setitem(sys.modules, "pycuda.driver", None)
        self.install("onnxruntime", "1.30.0", "onnxruntime")
        self.install("opencv-python", "5.0.0.93", "cv2")

    def install(self, name: str, version: str = "1.0", module: str | None = None) -> None:
        install(self.folder, name, version, module)

    def module(self, name: str, version: str | None = None, **content: object) -> None:
        module = ModuleType(name)
        vars(module).update(content | ({"__version__": version} if version else {}))
        self.patch.setitem(sys.modules, name, module)

    def onnxruntime(self, *providers: str) -> None:
        content = {"get_available_providers": lambda: providers, "preload_dlls": lambda: None}
        self.module("onnxruntime", "1.30.0", **content)

    def gpu(self, newest: str | None, capability: str = "9.0") -> None:
        """With a driver that runs CUDA up to `newest`."""

        def gpus() -> tuple[Gpu, ...]:
            if newest is None:
                raise DeviceError("no NVIDIA driver is installed here")
            return (Gpu("NVIDIA H200", capability, 2**37, newest),)

        self.patch.setattr(doctor, "visible_gpus", gpus)

    def all_for_tensorrt(self) -> None:
        self.gpu("13.0")
        self.install("pycuda", "2026.1")
        self.module("pycuda.driver")
        self.install("tensorrt_cu13", "11.4.0")
        self.editions["tensorrt"] = "11.4.0"

    def _load(self, name: str) -> Any:
        found = self.editions.get(name)
        if isinstance(found, str):
            return SimpleNamespace(version=found)
        title, extra = editions.TITLES[name], editions.EXTRAS[name]
        raise found or DeviceError(f"{title} is not installed; install dmdnet-runtime[{extra}]")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def device(report: Report, name: str) -> Device:
    return next(one for one in report.devices if one.name == name)


def remedies(report: Report, name: str) -> dict[str, str]:
    return {finding.problem: finding.remedy for finding in device(report, name).findings}


def software(report: Report, name: str) -> Software:
    return next(one for one in report.software if one.name == name)


def test_this_machine(command: Command) -> None:
    done = command("dmd-doctor", "--json")
    found = json.loads(done.stdout)
    keys = "device healthy software providers driver cuda gpus clashes devices"
    assert set(found) == set(keys.split())
    assert [one["name"] for one in found["devices"]] == list(editions.DEVICES)
    assert CPU in found["providers"]
    versions = {one["name"]: one["version"] for one in found["software"]}
    assert versions["Python"] == ".".join(map(str, sys.version_info[:3]))
    for name in editions.EDITIONS:
        assert versions[editions.TITLES[name]] == editions.installed_version(name)
    assert not found["devices"][-1]["findings"], "this suite runs on the CPU"
    assert done.returncode == (1 if found["clashes"] else 0)
    try:
        seen = [gpu.name for gpu in cuda.gpus()]
    except DeviceError:
        seen = []
    assert [gpu["name"] for gpu in found["gpus"]] == seen


def test_text(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose(as_json=False) == 0
    text = capsys.readouterr().out
    no_gpu = "no NVIDIA driver is installed here"
    for lines in (
        "  dmdnet-runtime    not installed\n  ONNX Runtime      1.30.0 (onnxruntime 1.30.0)\n",
        f"\n  tensorrt          no: {no_gpu}; TensorRT is not installed; pycuda is not installed\n",
        "\nWould be used: cpu\nHow to fix it\n",
        '\n  TensorRT is not installed\n      pip install "dmdnet-runtime[tensorrt]"\n',
        "\n      with a GPU: pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
    ):
        assert lines in text
    assert text.count(f"\n  {no_gpu}\n") == 1  # though it is in the way of three devices


def test_all_is_fine(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.all_for_tensorrt()
    smi = machine.folder / "nvidia-smi"
    smi.write_text(f"#!{sys.executable}\nprint('580.65.06\\n580.65.06')\n")
    smi.chmod(0o755)
    report = examine()
    assert (report.device, report.healthy, report.clashes) == ("tensorrt", True, ())
    assert (report.driver, report.cuda) == ("580.65.06", "13.0")
    assert software(report, "TensorRT").version == "11.4.0"
    assert software(report, "pycuda").version == "2026.1"
    assert not device(report, "tensorrt").findings
    assert diagnose(as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  NVIDIA driver     580.65.06, runs CUDA up to 13.0" in lines
    assert "  GPU               NVIDIA H200, compute capability 9.0, 128.0 GiB" in lines
    assert "  tensorrt          yes, if the bundle holds an engine for this GPU" in lines


def test_rtx_alone(machine: Machine) -> None:
    machine.all_for_tensorrt()
    machine.editions = {"tensorrt_rtx": "1.7.1.116"}
    for capability in ("8.0", "8.6", "8.9", "12.0", "12.1"):
        machine.gpu("13.0", capability)
        report = examine()
        assert report.device == "tensorrt-rtx"
        assert list(remedies(report, "tensorrt")) == ["TensorRT is not installed"]


@pytest.mark.parametrize("capability", ["7.5", "9.0", "10.0"])
def test_a_gpu_that_rtx_does_not_know(machine: Machine, capability: str) -> None:
    machine.all_for_tensorrt()
    machine.editions["tensorrt_rtx"] = "1.7.1.116"
    machine.gpu("13.0", capability)
    report = examine()
    assert report.device == "tensorrt"
    assert remedies(report, "tensorrt-rtx") == {
        "TensorRT for RTX runs on compute capability 8.0, 8.6, 8.9, 12.0, 12.1, and NVIDIA H200 "
        f"has {capability}": "install full TensorRT (dmdnet-runtime[tensorrt]), or "
        "dmdnet-runtime[gpu] for device cuda"
    }


def test_cuda(machine: Machine) -> None:
    machine.gpu("13.0")
    report = examine()
    assert report.device == "cpu"
    assert remedies(report, "cuda") == {
        f"this ONNX Runtime offers no {CUDA} (only {CPU})": "pip uninstall -y onnxruntime && "
        "pip install onnxruntime-gpu"
    }
    machine.onnxruntime(CUDA, CPU)
    report = examine()
    assert (report.device, report.healthy) == ("cuda", True)
    machine.gpu(None)
    assert examine().device == "cpu"


def test_driver_cannot_start(machine: Machine) -> None:
    def gpus() -> tuple[Gpu, ...]:
        raise DeviceError("the NVIDIA driver cannot start (CUDA error 803); run dmd-doctor")

    machine.patch.setattr(doctor, "visible_gpus", gpus)
    found = remedies(examine(), "cuda")
    assert "nvidia-smi" in found["the NVIDIA driver cannot start (CUDA error 803)"]
    machine.patch.setattr(doctor, "visible_gpus", lambda: ())
    assert "no GPU is visible" in remedies(examine(), "cuda")


@pytest.mark.parametrize(
    ("driver", "other", "brought", "wanted"),
    [
        (None, ("onnxruntime_gpu", "1.31.1", "onnxruntime"), "onnxruntime", "onnxruntime"),
        ("13.0", ("onnxruntime_gpu", "1.31.1", "onnxruntime"), "onnxruntime", "onnxruntime-gpu"),
        (None, ("opencv_python_headless", "4.13", "cv2"), "opencv-python", "opencv-python"),
    ],
)
def test_installed_over_each_other(
    machine: Machine, driver: str | None, other: tuple[str, str, str], brought: str, wanted: str
) -> None:
    machine.gpu(driver)
    machine.install(*other)
    machine.install("onnxruntime-extensions", "0.15.2", "onnxruntime_extensions")
    report = examine()
    (clash,) = report.clashes
    second = other[0].replace("_", "-")
    assert clash.remedy == f"pip uninstall -y {brought} {second} && pip install {wanted}"
    assert f" and {second} {other[1]} are installed over" in clash.problem
    assert (report.device, report.healthy) == ("cpu", False)


def test_a_clash_is_printed(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.install("onnxruntime_gpu", "1.31.1", "onnxruntime")
    for as_json in (True, False):
        assert diagnose(as_json) == 1
        assert "pip uninstall -y onnxruntime onnxruntime-gpu &&" in capsys.readouterr().out


def test_one_hides_the_other(machine: Machine, tmp_path: Path) -> None:
    """A venv that sees the system's packages: pip can and need not remove those."""
    below = tmp_path / "system"
    install(below, "onnxruntime-gpu", "1.31.1", "onnxruntime")
    install(below, "onnxruntime", "1.29.0", "onnxruntime")
    path = [str(tmp_path), str(below)]
    machine.patch.setattr(doctor, "distributions", lambda: distributions(path=path))
    report = examine()
    assert report.clashes == ()
    assert software(report, "ONNX Runtime").distributions == {"onnxruntime": "1.30.0"}


def test_tensorrt_is_too_new_for_the_driver(machine: Machine) -> None:
    machine.all_for_tensorrt()
    for name in ("tensorrt", "tensorrt_cu13_libs", "tensorrt-dispatch-cu13"):
        machine.install(name, "11.4.0")
    for name in RTX:
        machine.install(name)
    machine.editions["tensorrt_rtx"] = "1.7.1.116"
    assert examine().clashes == ()
    machine.gpu("12.4", "8.9")
    report = examine()
    full, rtx = report.clashes
    assert full.problem == "TensorRT was built for CUDA 13, but the driver runs CUDA 12.4 at most"
    assert full.remedy == (
        "update the NVIDIA driver to release 580 or later, or `pip uninstall -y tensorrt "
        "tensorrt-cu13 tensorrt-cu13-libs && pip install tensorrt-cu12 tensorrt-cu12-libs`"
    )
    assert rtx.problem.startswith("TensorRT for RTX was built for CUDA 13")
    assert rtx.remedy.endswith(
        "pip install onnxruntime-ep-nv-tensorrt-rtx-cu12 tensorrt-rtx-cu12-bindings`"
    )
    assert device(report, "tensorrt").findings == (full,)
    assert device(report, "tensorrt-rtx").findings == (rtx,)
    assert report.device == "cpu"
    assert not report.healthy


def test_other_drivers(machine: Machine) -> None:
    for name in RTX:
        machine.install(name)
    assert examine().healthy  # without a driver there is no clash
    machine.gpu("11.8")
    assert examine().clashes[0].remedy == "update the NVIDIA driver to release 580 or later"
    machine.gpu("13.1")
    machine.install("tensorrt-cu14")
    (clash,) = examine().clashes
    assert clash.remedy == (
        "update the NVIDIA driver to a newer one, or `pip uninstall -y tensorrt-cu14 && pip "
        "install tensorrt-cu13`"
    )


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (DeviceError("TensorRT 8.6 is old; install version 10.1 or later"), "TensorRT 8.6 is old"),
        (RuntimeError("bad\nluck"), "TensorRT cannot be loaded: RuntimeError: bad luck"),
    ],
)
def test_edition_that_fails_to_load(machine: Machine, error: Exception, problem: str) -> None:
    machine.all_for_tensorrt()
    machine.editions["tensorrt"] = error
    machine.patch.setattr(doctor, "installed_version", lambda name: "8.6")
    report = examine()
    remedy = 'pip uninstall -y tensorrt-cu13 && pip install "dmdnet-runtime[tensorrt]"'
    assert remedies(report, "tensorrt") == {problem: remedy}
    assert software(report, "TensorRT").version == "8.6"
    assert (report.device, report.healthy) == ("cpu", True)


def test_no_onnx_runtime(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.patch.setattr(doctor, "distributions", lambda: [])
    machine.patch.setitem(sys.modules, "onnxruntime", None)
    report = examine()
    assert report.device is None
    assert report.clashes == ()
    assert remedies(report, "cpu") == {"ONNX Runtime is not installed": "pip install onnxruntime"}
    assert "ONNX Runtime is not installed" in remedies(report, "cuda")
    assert diagnose(as_json=False) == 1
    assert "Would be used: none" in capsys.readouterr().out


def test_what_is_left_of_two_onnx_runtimes(machine: Machine) -> None:
    machine.module("onnxruntime")
    ((problem, remedy),) = remedies(examine(), "cpu").items()
    assert "ONNX Runtime cannot be loaded: AttributeError" in problem
    assert remedy == "pip uninstall -y onnxruntime && pip install onnxruntime"


def test_pycuda(machine: Machine) -> None:
    machine.all_for_tensorrt()
    machine.patch.setitem(sys.modules, "pycuda.driver", None)
    (problem, remedy), *_ = remedies(examine(), "tensorrt").items()
    assert problem.startswith("pycuda cannot be loaded: ")
    assert remedy.startswith("pip uninstall -y pycuda && pip install --no-cache-dir pycuda")
    machine.gpu(None)
    assert list(remedies(examine(), "tensorrt")) == ["no NVIDIA driver is installed here"]


def test_modules_that_raise(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = "libGL.so.1: cannot open shared object file: No such file or directory"
    for name, code in {
        "cv2": f"print('help!')\nraise ImportError({library!r})",
        "onnxruntime": "raise RuntimeError('bad')",
        "tensorrt": "import nothing_here",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        install(tmp_path, f"some-{name}", "1.0", name)
    (tmp_path / "gone-1.0.dist-info").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    done = command("dmd-doctor", "--json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert found["device"] is None
    opencv, runtime = found["devices"][-1]["findings"]
    assert opencv["problem"] == f"OpenCV cannot be loaded: {library}"
    assert opencv["remedy"].startswith("install the system's package with libGL.so.1, or `pip un")
    assert runtime["problem"] == "ONNX Runtime cannot be loaded: RuntimeError: bad"
    assert runtime["remedy"].startswith("pip uninstall -y some-onnxruntime && pip install onnx")
    problems = [finding["problem"] for finding in found["devices"][0]["findings"]]
    assert "TensorRT is not installed (nothing_here is missing)" in problems


def test_what_pycudas_build_lacks(machine: Machine) -> None:
    """Only where there is a GPU, and PyCUDA is not there yet."""
    assert not any("PyCUDA's build" in problem for problem in remedies(examine(), "tensorrt"))
    machine.gpu("13.0")
    found = remedies(examine(), "tensorrt")
    assert "first in PATH" in found["PyCUDA's build needs nvcc, which is not in PATH"]
    machine.all_for_tensorrt()
    assert not remedies(examine(), "tensorrt")
