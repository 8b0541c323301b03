"""CUDA graphs, by the driver's own API: PyCUDA cannot capture them."""

import ctypes
from collections.abc import Callable
from typing import Any

from runtime.errors import DeviceError, DeviceMemoryError
from runtime.machine.gpu import driver_library

# CU_STREAM_CAPTURE_MODE_RELAXED: other threads may allocate meanwhile, and the garbage collector
# may free the GPU memory of a Restorer that was dropped, in this thread
_RELAXED = 2
_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


class CudaGraph:
    """What `work` gives the stream `handle`, captured; `launch` has it run again.

    The GPU context must be current in the thread, and the stream idle. `work` returns whether it
    succeeded. Raises `DeviceError` where it, or the capture, fails: `DeviceMemoryError` where the
    driver says that it has no memory.
    """

    def __init__(self, handle: int, work: Callable[[], bool]) -> None:
        self._cuda = driver_library()
        stream, graph = ctypes.c_void_p(handle), ctypes.c_void_p()
        try:
            try:
                self._check("cuStreamBeginCapture_v2", stream, _RELAXED)
                succeeded = work()
            finally:  # the stream is of no use until the capture has ended
                code = self._cuda.cuStreamEndCapture(stream, ctypes.byref(graph))
            if code or not succeeded:
                raise DeviceError(f"a CUDA graph cannot be captured (CUDA error {code})")
            self._graph = ctypes.c_void_p()
            created, flags = ctypes.byref(self._graph), ctypes.c_ulonglong(0)
            self._check("cuGraphInstantiateWithFlags", created, graph, flags)
        finally:
            if graph:
                self._cuda.cuGraphDestroy(graph)

    def launch(self, handle: int) -> None:
        """Put the captured work on the stream. Raises `DeviceError`, also `DeviceMemoryError`."""
        self._check("cuGraphLaunch", self._graph, ctypes.c_void_p(handle))

    def free(self) -> None:
        """The GPU context must be current, and the stream idle."""
        # not checked: after an error of the GPU every call answers with it, and nothing is left
        self._cuda.cuGraphExecDestroy(self._graph)

    def _check(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code == _OUT_OF_MEMORY:
            raise DeviceMemoryError(f"{name} answers that the GPU is out of memory; free the GPU")
        if code:
            raise DeviceError(f"{name} answers with CUDA error {code}")
