"""This machine's GPUs, as the NVIDIA driver lists them, and PyCUDA's context on the first."""

import ctypes
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runtime.errors import DeviceError, DeviceMemoryError

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: the stream and the legacy stream do not wait for each other."""

_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True)
class Gpu:
    """A GPU that CUDA shows; `driver` is the newest CUDA that the driver can run."""

    name: str
    capability: str  # "9.0"
    memory: int  # bytes
    driver: str  # "13.0"


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to this process. Raises `DeviceError` if the driver fails."""
    cuda = driver_library()
    code = cuda.cuInit(0)
    if code:
        raise DeviceError(f"the NVIDIA driver cannot start (CUDA error {code}); run dmd-doctor")
    number, count = ctypes.c_int(), ctypes.c_int()
    _check(cuda.cuDriverGetVersion(ctypes.byref(number)))
    _check(cuda.cuDeviceGetCount(ctypes.byref(count)))
    driver = f"{number.value // 1000}.{number.value % 1000 // 10}"
    return tuple(_gpu(cuda, index, driver) for index in range(count.value))


def first_gpu() -> Gpu:
    """The GPU that everything runs on; CUDA_VISIBLE_DEVICES chooses another.

    Raises `DeviceError` if there is none.
    """
    found = gpus()
    if not found:
        raise DeviceError("no GPU is visible; check CUDA_VISIBLE_DEVICES")
    return found[0]


class GpuContext:
    """The first GPU's primary context, which PyTorch, CuPy and ONNX Runtime use too.

    `with context:` makes it current in the thread. `facts`: that GPU. `driver`: the module
    `pycuda.driver`. `alone`: held where TensorRT opens something, which may wait for the whole GPU,
    and where this package or TensorRT for RTX captures a CUDA graph, which that would end. Raises
    `DeviceError` where PyCUDA or the GPU is missing.
    """

    def __init__(self) -> None:
        self.facts = first_gpu()
        self.driver = _pycuda()
        self.alone = threading.Lock()
        with self.errors_as_ours("free the GPU"):
            self.driver.init()
            self._context = self.driver.Device(0).retain_primary_context()
        # PyCUDA's destructor treats a primary context as its own and warns at exit: never run it
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._context))

    def __enter__(self) -> "GpuContext":
        with self.errors_as_ours("free the GPU"):
            self._context.push()
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.Context.pop()

    @contextmanager
    def errors_as_ours(self, advice: str) -> Iterator[None]:
        """Turn PyCUDA's errors into `DeviceError`, or into `DeviceMemoryError` with `advice`.

        Any error forgets the variables of the calls that ended with it: who keeps it keeps nothing
        on the GPU.
        """
        try:
            yield
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, self.driver.MemoryError):
                says = f"{self.facts.name} is out of memory; {advice}"
                raise DeviceMemoryError(says) from None
            if isinstance(error, self.driver.Error):
                raise DeviceError(f"{self.facts.name}: {error}") from None
            raise


_opening = threading.Lock()
_context = lru_cache(1)(GpuContext)


def open_gpu() -> GpuContext:
    """The one `GpuContext` of this process. Raises `DeviceError`."""
    with _opening:
        return _context()


def _pycuda() -> Any:
    try:
        import pycuda.driver
    except ModuleNotFoundError:
        raise DeviceError(
            "pycuda is not installed; install dmdnet-runtime[tensorrt] (pip builds it from source, "
            "with the CUDA toolkit)"
        ) from None
    except ImportError as error:
        raise DeviceError(f"pycuda cannot be loaded: {error}") from None
    return pycuda.driver


def driver_library() -> Any:
    """The NVIDIA driver's own API. Raises `DeviceError` where there is none."""
    for name in _DRIVERS:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise DeviceError("no NVIDIA driver is installed here")


def _gpu(cuda: Any, index: int, driver: str) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    _check(cuda.cuDeviceGet(ctypes.byref(device), index))
    _check(cuda.cuDeviceGetName(name, len(name), device))
    _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    values = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        _check(cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device))
        values.append(str(value.value))
    return Gpu(name.value.decode(errors="replace"), ".".join(values), memory.value, driver)


def _check(code: int) -> None:
    if code:
        raise DeviceError(f"the NVIDIA driver answers with CUDA error {code}; run dmd-doctor")
