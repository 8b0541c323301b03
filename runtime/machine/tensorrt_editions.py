"""TensorRT in its two editions: find one that is installed, and load it.

`tensorrt` is the full TensorRT, 10 or 11; `tensorrt_rtx` is TensorRT for RTX, whose libraries may
also come inside the wheel of ONNX Runtime's provider for it. Both have the same Python API.
"""

import ctypes
import importlib
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from runtime.errors import DeviceError
from runtime.machine.gpu import Gpu

EDITIONS = ("tensorrt", "tensorrt_rtx")
TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}
EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""The extra of this package that installs each edition; `device=` and `--engine` use it, too."""

DEVICES = (*EXTRAS.values(), "cuda", "cpu")
"""What a Restorer runs on, in the order in which "auto" tries them."""

OLDEST = (10, 1)
"""Oldest full TensorRT that is used: before, execution contexts cannot share memory as ours do."""

RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0", "12.1")
"""What TensorRT for RTX 1.7 compiles for by its documentation (7.5 only where a build asks)."""

_DISTRIBUTIONS = {
    "tensorrt": ("tensorrt", "tensorrt_cu13", "tensorrt_cu12"),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu12_bindings"),
}
_WHEEL = "onnxruntime_ep_nv_tensorrt_rtx"
_BINDINGS = "tensorrt_rtx_bindings"
_LIBRARIES = ("libtensorrt_rtx", "libtensorrt_onnxparser_rtx")


@dataclass(frozen=True)
class Edition:
    """A loaded edition: its name in `EDITIONS`, full version, and Python module."""

    name: str
    version: str
    module: Any

    def __str__(self) -> str:
        return f"{TITLES[self.name]} {self.version}"


def installed_version(name: str) -> str | None:
    """The version of an edition that is installed, without loading it; None if it is not."""
    modules = {"tensorrt": ("tensorrt",), "tensorrt_rtx": (_BINDINGS, _WHEEL)}[name]
    if not find_spec(name) and not all(find_spec(module) for module in modules):
        return None
    found = (one for owner in _DISTRIBUTIONS[name] for one in distributions(name=owner))
    return next((one.version for one in found), "unknown")


def load_edition(name: str) -> Edition:
    """Import the edition. Raises `DeviceError` that says what is missing."""
    title, extra = TITLES[name], EXTRAS[name]
    try:
        module = _load_rtx() if name == "tensorrt_rtx" else importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"{title} is not installed ({error.name} is missing); install dmdnet-runtime[{extra}]"
        ) from None
    except (ImportError, OSError) as error:
        raise DeviceError(f"{title} is installed, but cannot be loaded: {error}") from None
    found = str(module.__version__)
    if name == "tensorrt" and numbers(found) < OLDEST:
        raise DeviceError(f"TensorRT {found} is too old; install version 10.1 or later")
    return Edition(name, found, module)


def refuse_capability(name: str, gpu: Gpu) -> None:
    """Raise `DeviceError` where the edition does not run on this GPU, with what does."""
    if name == "tensorrt_rtx" and gpu.capability not in RTX_CAPABILITIES:
        raise DeviceError(
            f"{TITLES[name]} runs on compute capability {', '.join(RTX_CAPABILITIES)}, and "
            f"{gpu.name} has {gpu.capability}; install full TensorRT (dmdnet-runtime[tensorrt]), "
            "or dmdnet-runtime[gpu] for device cuda"
        )


def _load_rtx() -> Any:
    if "tensorrt_rtx" in sys.modules or find_spec("tensorrt_rtx"):
        return importlib.import_module("tensorrt_rtx")
    (bindings, wheel) = (find_spec(name) for name in (_BINDINGS, _WHEEL))
    for name, spec in ((_BINDINGS, bindings), (_WHEEL, wheel)):
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert wheel is not None
    folder = Path(str(wheel.origin)).parent
    for library in _LIBRARIES:  # the bindings look them up among what is loaded already
        # not RTLD_GLOBAL: full TensorRT in the same process has functions of the same names
        ctypes.CDLL(str(_newest(folder, library)))
    module = importlib.import_module(_BINDINGS)
    sys.modules["tensorrt_rtx"] = module  # the name under which Polygraphy imports it
    return module


def _newest(folder: Path, library: str) -> Path:
    """The library with its full version: beside the bindings' own, its short names are links."""
    found = sorted(folder.rglob(f"{library}.so.*.*.*"), key=lambda path: numbers(path.name))
    if not found:
        raise OSError(f"{folder} holds no {library}.so")
    return found[-1]


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a version or capability: "10.7.0" becomes (10, 7, 0)."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())
