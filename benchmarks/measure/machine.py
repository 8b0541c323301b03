"""The circumstances of a benchmark: its machine, and the versions of what ran."""

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from runtime.errors import DeviceError
from runtime.machine.gpu import gpus

_PACKAGES = (
    *("dmdnet-runtime", "numpy", "opencv-python", "onnx", "onnxruntime", "onnxruntime-gpu"),
    *("torch", "tensorrt", "tensorrt-rtx-cu13-bindings", "polygraphy", "pycuda"),
    *("ray", "pyarrow", "tritonclient", "nvidia-pytriton", "av"),
)
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CLOCKS = "clocks.sm,clocks.mem,pstate,power.draw,temperature.gpu"


def circumstances() -> dict[str, Any]:
    """The circumstances that each result records beside its figures.

    `date` (UTC, ISO 8601), `machine` (processor, cores, governor, and the GPU with its present
    clocks and temperature), `versions`, and git `revision`.
    """
    try:
        gpu = asdict(gpus()[0])
    except (DeviceError, IndexError):
        gpu = None
    here = str(Path(__file__).parent)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.exists() else None,
            "system": platform.platform(),
            "gpu": gpu,
            "gpu_clocks": _output_of("nvidia-smi", f"--query-gpu={_CLOCKS}", "--format=csv"),
        },
        "versions": _versions(),
        "revision": _output_of("git", "-C", here, "describe", "--always", "--dirty"),
    }


def _versions() -> dict[str, str]:
    """Versions of Python and of those packages that are installed and matter."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    """CPU model name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _output_of(*words: str) -> str | None:
    """What a program prints; None if it is missing or fails."""
    if shutil.which(words[0]) is None:
        return None
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
