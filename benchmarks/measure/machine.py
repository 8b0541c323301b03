"""The machine a benchmark ran on: what it is, and what it can do at best, measured."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import DeviceError
from runtime.machine.gpu import gpus
from runtime.machine.onnx_session import open_session

_PACKAGES = (
    *("dmdnet-runtime", "numpy", "opencv-python", "onnxruntime", "onnxruntime-gpu", "torch"),
    *("tensorrt", "tensorrt-rtx-cu13-bindings", "pycuda"),
)
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_SIDE = 1536  # of the square matrices of the product
_COPY = 256 << 20  # bytes
_TRIES = 25


def describe() -> dict[str, Any]:
    """Processor, cores, governor, and the GPU with its clocks now."""
    try:
        gpu = asdict(gpus()[0])
    except (DeviceError, IndexError):
        gpu = None
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.exists() else None,
        "system": platform.platform(),
        "gpu": gpu,
        "gpu_clocks": output_of("nvidia-smi", "--query-gpu=clocks.sm,clocks.mem", "--format=csv"),
    }


def versions() -> dict[str, str]:
    """Of Python and of what is installed of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def revision() -> str | None:
    """The git revision of this code, if it is a checkout."""
    return output_of("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")


def peaks(threads: int | None, on_gpu: bool = False) -> dict[str, float]:
    """The best that ONNX Runtime gets out of this CPU: the roof of a roofline.

    GFLOP/s (int8: of 8-bit multiplications and additions) of a large product, and GB/s of a copy.
    "gpu half": of a large product in PyTorch, with `on_gpu` and where PyTorch can use the GPU.
    """
    found = {
        "float": _product_rate("float", threads),
        "int8": _product_rate("int8", threads),
        "copy": _copy_rate(),
    }
    if on_gpu and find_spec("torch"):
        import torch

        from benchmarks.measure.peaks import half_rate

        if torch.cuda.is_available():
            found["gpu half"] = 1000 * float(half_rate()["tflops"])  # type: ignore[arg-type]
    return found


def _product_rate(precision: str, threads: int | None) -> float:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    if precision == "float":
        left = rng.standard_normal((_SIDE, _SIDE), np.float32)
        right: Any = rng.standard_normal((_SIDE, _SIDE), np.float32)
        kinds, operator = (TensorProto.FLOAT, TensorProto.FLOAT), "MatMul"
    else:
        left = rng.integers(0, 255, (_SIDE, _SIDE), np.uint8)
        right = rng.integers(-127, 127, (_SIDE, _SIDE), np.int8)
        kinds, operator = (TensorProto.UINT8, TensorProto.INT32), "MatMulInteger"
    shape = (_SIDE, _SIDE)
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["out"])],
        "product",
        [helper.make_tensor_value_info("left", kinds[0], shape)],
        [helper.make_tensor_value_info("out", kinds[1], shape)],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = open_session(model.SerializeToString(), threads=threads)
    return 2 * _SIDE**3 / _best(lambda: session.run(None, {"left": left})) / 1e9


def _copy_rate() -> float:
    source = np.ones(_COPY, np.uint8)
    target = np.empty_like(source)
    return 2 * _COPY / _best(lambda: np.copyto(target, source)) / 1e9  # read and written


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest try: a peak is what is possible, not what is usual."""
    work()
    seconds = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def processor() -> str:
    """Its name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def output_of(*words: str) -> str | None:
    """What a program prints; None where it is missing or fails."""
    if shutil.which(words[0]) is None:
        return None
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
