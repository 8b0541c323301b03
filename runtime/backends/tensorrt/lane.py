"""One stream that runs an engine, with buffers of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import DeviceSeconds, Rows
from runtime.backends.tensorrt.contexts import ADVICE, Contexts, LoadedEngine
from runtime.machine.gpu import NON_BLOCKING

_RESULTS = 2  # buffers that are kept: one is copied from while the next call fills the other

Inputs = Mapping[str, NDArray[Any]]
"""A call's inputs in host memory, by name."""

Resident = Mapping[str, Sequence[tuple[Any, Rows]]]
"""A call's inputs in GPU memory, by name: the address of each part, and the rows copied there."""


@dataclass(frozen=True)
class Result:
    """A call's output, in page-locked memory that the lane wants back, and its time on the GPU."""

    array: NDArray[Any]
    buffer: NDArray[np.uint8]
    seconds: DeviceSeconds


class Lane:
    """An engine's contexts on one stream, and page-locked and GPU buffers of the largest size.

    Raises `DeviceMemoryError` where the GPU has no memory for them. The GPU context must be
    current in the thread that opens, runs or frees it; one thread at a time.
    """

    def __init__(self, loaded: LoadedEngine) -> None:
        gpu, spec, record = loaded.gpu, loaded.spec, loaded.record
        self._gpu = gpu
        self._inputs, self._output = spec.inputs, spec.outputs[0]
        self._host: dict[str, NDArray[Any]] = {}
        self._results: list[NDArray[np.uint8]] = []  # page-locked, and not in use
        self._memory: dict[str, Any] = {}
        self._contexts: Contexts | None = None
        sizes = {"faces": record.profile.max_batch, "references": record.profile.max_references}
        if record.graph == "memorizer":
            sizes["references"] = record.profile.max_batch
        try:
            with gpu.errors_as_ours(ADVICE):
                self._stream = gpu.driver.Stream(NON_BLOCKING)
                self._events = [gpu.driver.Event() for _ in range(4)]
                for tensor in (*spec.inputs, *spec.outputs):
                    shape = [sizes[n] if isinstance(n, str) else n for n in tensor.shape]
                    nbytes = int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize
                    self._memory[tensor.name] = gpu.driver.mem_alloc(nbytes)
                    if tensor is self._output:
                        self._result_size = nbytes
                        self._results.append(self._new_result())
                    elif tensor.name != "dictionary":
                        self._host[tensor.name] = gpu.driver.pagelocked_empty(nbytes, np.uint8)
            addresses = {name: int(memory) for name, memory in self._memory.items()}
            self._contexts = Contexts(loaded, addresses, self._stream.handle)
        except BaseException:
            self.free()
            raise

    @property
    def context(self) -> Any:
        """TensorRT's IExecutionContext, set to the shapes of a call."""
        assert self._contexts is not None
        return self._contexts.any_shape

    def run(self, inputs: Inputs, resident: Resident) -> Result:
        """Make one engine call. The caller copies the result's array, then calls `give_back`."""
        with self._gpu.errors_as_ours(ADVICE):
            try:
                return self._run(inputs, resident)
            except BaseException:
                self._stream.synchronize()  # the buffers may not change while they are copied
                raise

    def give_back(self, result: Result) -> None:
        """Use the memory of a result again. Any thread may call it, also while the lane runs."""
        if len(self._results) < _RESULTS:  # more were made while many threads copied
            self._results.append(result.buffer)

    def _run(self, inputs: Inputs, resident: Resident) -> Result:
        assert self._contexts is not None
        driver, stream, output = self._gpu.driver, self._stream, self._output
        begin, copied, done, end = self._events
        # the host's work comes before the first event, so that it does not count as the GPU's
        host = {name: self._locked(name, array) for name, array in inputs.items()}
        shapes = {name: array.shape for name, array in inputs.items()}
        for name, parts in resident.items():
            shapes[name] = (sum(len(rows) for _, rows in parts), parts[0][1].shape[1])
        ready = self._contexts.prepare({t.name: shapes[t.name] for t in self._inputs})
        if not self._results:  # threads are still copying theirs
            self._results.append(self._new_result())
        result = _view(self._results[0], ready.output_shape(output.name), np.dtype(output.dtype))
        begin.record(stream)
        for name, array in host.items():
            driver.memcpy_htod_async(self._memory[name], array, stream)
        for name, parts in resident.items():
            self._join(name, parts)
        copied.record(stream)
        ready.enqueue(stream.handle)
        done.record(stream)
        driver.memcpy_dtoh_async(result, self._memory[output.name], stream)
        end.record(stream)
        stream.synchronize()
        steps = ((begin, copied), (copied, done), (done, end))
        seconds = DeviceSeconds(*(late.time_since(early) / 1000 for early, late in steps))
        return Result(result, self._results.pop(0), seconds)

    def free(self) -> None:
        """Free the GPU memory; the GPU context must be current in the thread."""
        if self._contexts is not None:
            self._contexts.free()
        self._contexts = self._stream = None
        self._events = []
        for memory in self._memory.values():
            memory.free()
        self._memory, self._host, self._results = {}, {}, []

    def _join(self, name: str, parts: Sequence[tuple[Any, Rows]]) -> None:
        """Copy people's rows below each other, to an address that a CUDA graph can keep."""
        start = int(self._memory[name])
        for memory, rows in parts:
            self._gpu.driver.memcpy_dtod_async(start, memory, rows.nbytes, self._stream)
            start += rows.nbytes

    def _locked(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """The array, copied to the page-locked buffer of that input."""
        host = _view(self._host[name], array.shape, array.dtype)
        np.copyto(host, array)
        return host

    def _new_result(self) -> NDArray[np.uint8]:
        """Page-locked memory for a result."""
        buffer: NDArray[np.uint8] = self._gpu.driver.pagelocked_empty(self._result_size, np.uint8)
        return buffer


def _view(buffer: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The first bytes of a buffer as an array."""
    nbytes = int(np.prod(shape)) * dtype.itemsize
    return buffer[:nbytes].view(dtype).reshape(shape)
