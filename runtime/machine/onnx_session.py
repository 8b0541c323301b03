"""ONNX Runtime: the only place that imports it and opens sessions, and how an engine runs one."""

import contextlib
import io
import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from runtime.errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
"""ONNX Runtime's execution provider for each device that it serves."""

# TF32 would keep 10 bits of float32, too few for the promised difference of one level. Convolution
# search and layout are ONNX Runtime's own choice until they are measured.
_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {"cuda": {"use_tf32": "0"}, "cpu": {}}


_loading = threading.Lock()


def load_onnxruntime() -> Any:
    """The module `onnxruntime`. Raises `DeviceError` that says how to install it."""
    try:
        import onnxruntime
    except ImportError:
        raise DeviceError(
            "onnxruntime is not installed: install dmdnet-runtime[cpu] or dmdnet-runtime[gpu]"
        ) from None
    return onnxruntime


def offered_providers() -> tuple[str, ...]:
    """The execution providers that the installed ONNX Runtime offers.

    Raises `DeviceError` where it is not installed.
    """
    _preload()  # where the CUDA provider is a plug-in, it is there only after this
    return tuple(load_onnxruntime().get_available_providers())


def open_session(
    model: Path | bytes,
    *,
    device: str = "cpu",
    threads: int | None = None,
    options: Mapping[str, str] | None = None,
) -> Any:
    """An `onnxruntime.InferenceSession` of an ONNX file, or of one that is in memory.

    Args:
        model: the file's path, or its bytes.
        device: "cpu" or "cuda".
        threads: CPU threads of one call; None lets ONNX Runtime take one for each core.
        options: of the execution provider, beside those that are always set.

    Raises:
        DeviceError: ONNX Runtime is not installed, or the device's provider could not start. What
            ONNX Runtime itself raises for a file that it cannot open goes through as it is: its
            classes are not public.
    """
    onnxruntime = load_onnxruntime()
    session = onnxruntime.SessionOptions()
    session.log_severity_level = 4  # what fails is raised, and said in our words
    session.enable_mem_pattern = False  # saves 200 MB for the restorer, and costs no time
    # on x86 CPUs without VNNI, 8-bit products would else overflow: colours shift by some levels
    session.add_session_config_entry("session.x64quantprecision", "1")
    if threads is not None:
        session.intra_op_num_threads = threads
    if device == "cuda":
        _preload()
    provider = (PROVIDERS[device], {**_PROVIDER_OPTIONS[device], **(options or {})})
    # with the fallback, it would print why a provider fails, and go on with the CPU's
    opened = onnxruntime.InferenceSession(model, session, providers=[provider], enable_fallback=0)
    # some providers that fail are left out all the same
    if (used := opened.get_providers()[0]) != PROVIDERS[device]:
        raise DeviceError(
            f"{PROVIDERS[device]} could not start (its libraries or the GPU are missing); ONNX "
            f"Runtime would have used {used}"
        )
    return opened


def run_bound(session: Any, inputs: Mapping[str, Any]) -> "NDArray[Any]":
    """Run with I/O binding: inputs go to the device once, the result comes back once.

    An input is an array, or an `OrtValue` that is on the device already.
    """
    import numpy as np  # dmd-doctor imports this module, and answers at once

    binding = session.io_binding()
    for name, value in inputs.items():
        if isinstance(value, np.ndarray):
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        else:
            binding.bind_ortvalue_input(name, value)
    binding.bind_output(session.get_outputs()[0].name, "cpu")
    session.run_with_iobinding(binding)
    return cast("NDArray[Any]", binding.copy_outputs_to_cpu()[0])


def _preload() -> None:
    """Load the CUDA libraries that pip installed: the loader does not find them by itself.

    A build for CPUs has none to load.
    """
    preload = load_onnxruntime().preload_dlls
    with _loading:  # `redirect_stdout` is of the whole process: one thread at a time
        _preload_once(preload)


@cache
def _preload_once(preload: Callable[[], None]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # where it prints what it misses
        preload()


def on_device(array: Any, device: str) -> Any:
    """A copy of a NumPy array on the device, as an `onnxruntime.OrtValue`."""
    return load_onnxruntime().OrtValue.ortvalue_from_numpy(array, device, 0)
