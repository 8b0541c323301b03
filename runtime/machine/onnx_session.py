"""ONNX Runtime: the only place that imports it and opens sessions."""

from pathlib import Path
from typing import Any

from runtime.errors import DeviceError

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
"""ONNX Runtime's execution provider for each device that it serves."""


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
    """The execution providers that the installed ONNX Runtime was built with.

    Raises `DeviceError` where it is not installed.
    """
    return tuple(load_onnxruntime().get_available_providers())


def open_session(model: Path | bytes, *, device: str = "cpu", threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` of an ONNX file, or of one that is in memory.

    Args:
        model: the file's path, or its bytes.
        device: "cpu" or "cuda".
        threads: CPU threads of one call; None lets ONNX Runtime take one for each core.

    Raises:
        DeviceError: ONNX Runtime is not installed. What ONNX Runtime itself raises for a file that
            it cannot open goes through as it is: its classes are not public.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and said in our words
    options.enable_mem_pattern = False  # saves 200 MB for the restorer, and costs no time
    # on x86 CPUs without VNNI, 8-bit products would else overflow: colours shift by some levels
    options.add_session_config_entry("session.x64quantprecision", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=[PROVIDERS[device]])
